//! What time it is for a running engine: the clock's word, within bounds.
//!
//! The records are a floor. Where the clock goes back, time stands still there until the clock has
//! caught up; the engine starts so only where that is soon. Where the clock leaps ahead by more than
//! a day between two looks, nobody can tell a restored machine from a wrong clock, and years of
//! timers would fire: the engine stops before it records anything at that time. A smaller leap makes
//! timers late and is taken.

use std::sync::Arc;

use tracing::warn;

use super::Error;
use crate::base::{
    Clock, Timestamp,
    limits::{CLOCK_AHEAD_MAX, CLOCK_BEHIND_MAX},
};

/// What to do where the clock and the engine's time are too far apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClockCheck {
    /// Do not start, or stop.
    #[default]
    Strict,
    /// Take the clock's word: it was off for long, or it moves with what a test says.
    Trust,
}

/// What an engine that starts knows of time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Past {
    /// The time of the last record; none where there is no record.
    pub(super) recorded: Option<Timestamp>,
    /// When the engine was last seen running.
    pub(super) alive: Timestamp,
}

/// The clock as the engine reads it.
pub(super) struct Present {
    clock: Arc<dyn Clock>,
    check: ClockCheck,
    /// The latest that the clock has said; a floor for leaps, not for time.
    seen: Timestamp,
    /// What was told at the last look.
    now: Timestamp,
    is_stopped: bool,
    is_behind_told: bool,
}

impl Present {
    /// Begins to look at the clock.
    pub(super) fn start(
        clock: Arc<dyn Clock>,
        check: ClockCheck,
        past: Past,
    ) -> Result<Self, Error> {
        let now = clock.now();
        if let (ClockCheck::Strict, Some(recorded)) = (check, past.recorded) {
            let latest = past.alive.max(recorded);
            if now.since(latest) > CLOCK_AHEAD_MAX {
                return Err(Error::Clock { clock: now, engine: latest });
            }
            if recorded.since(now) > CLOCK_BEHIND_MAX {
                return Err(Error::Clock { clock: now, engine: recorded });
            }
        }
        Ok(Self { clock, check, seen: now, now, is_stopped: false, is_behind_told: false })
    }

    /// Looks at the clock: never before `recorded`, the time of the last record.
    pub(super) fn look(&mut self, recorded: Timestamp) -> Result<Timestamp, Error> {
        if !self.is_stopped {
            let clock = self.clock.now();
            if self.check == ClockCheck::Strict && clock.since(self.seen) > CLOCK_AHEAD_MAX {
                return Err(Error::Clock { clock, engine: self.seen });
            }
            self.tell(clock, recorded);
            self.seen = self.seen.max(clock);
            self.now = clock;
        }
        Ok(self.now.max(recorded))
    }

    /// From now on it is the time of the last look that was believed.
    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
    }

    fn tell(&mut self, clock: Timestamp, recorded: Timestamp) {
        if !self.is_behind_told && recorded.since(clock) > CLOCK_BEHIND_MAX {
            self.is_behind_told = true;
            warn!(%clock, %recorded, "the clock went back; time stands still until it catches up");
        } else if self.is_behind_told && clock >= recorded {
            self.is_behind_told = false;
            warn!(%clock, "the clock has caught up; time goes on");
        }
    }
}

#[cfg(test)]
mod tests;
