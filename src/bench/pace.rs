//! Calls at a given rate, whether or not the engine keeps up.

use std::time::Duration;

use crossbeam_channel::never;

use super::Error;
use crate::{
    app::SystemClock,
    base::{Clock, Span, Timestamp},
    engine,
};

/// How late a call may be before the engine counts as too slow.
const PATIENCE: Span = Span::seconds(10);
const RETRY_AFTER: Span = Span::millis(1);
/// The shortest sleep. Waking for each of 20,000 calls a second took half of a core from the engine;
/// those that are due meanwhile come late, and count from when they were due.
const NAP: Duration = Duration::from_micros(200);

/// So many calls a second, from when it was made on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    started: Timestamp,
    rate: u64,
}

impl Pace {
    pub(super) fn of(rate: u64) -> Self {
        Self { started: SystemClock.now(), rate }
    }

    /// When the n-th call is to come.
    pub(super) fn due(&self, n: u64) -> Timestamp {
        let micros = i64::try_from(n.saturating_mul(1_000_000) / self.rate).unwrap_or(i64::MAX);
        let due = self.started.micros().saturating_add(micros);
        Timestamp::from_micros(due).unwrap_or(Timestamp::MAX)
    }

    /// Makes the n-th call when it is to come, at once where that is over; where there is no room for
    /// it, again until there is. When it was to come, and what it came to.
    pub(super) fn call<T>(
        &self,
        n: u64,
        mut call: impl FnMut() -> Result<T, engine::Error>,
    ) -> Result<(Timestamp, T), Error> {
        let due = self.due(n);
        let mut left = due.since(SystemClock.now());
        loop {
            if left > Span::ZERO {
                let _ = never::<()>().recv_timeout(left.to_std().max(NAP)).is_ok();
            }
            match call() {
                Err(engine::Error::Busy) if SystemClock.now().since(due) > PATIENCE => {
                    let seconds = SystemClock.now().since(self.started).to_std().as_secs();
                    return Err(Error::Behind { rate: self.rate, calls: n, seconds });
                }
                Err(engine::Error::Busy) => left = RETRY_AFTER,
                called => return Ok((due, called?)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_without_room_is_made_again_and_one_that_is_too_late_says_so() {
        let pace = Pace::of(100);
        assert_eq!(pace.due(250).since(pace.due(0)), Span::millis(2_500));
        let mut busy = 3;
        let (due, answer) = pace
            .call(1, || {
                busy -= 1;
                if busy > 0 { Err(engine::Error::Busy) } else { Ok("taken") }
            })
            .unwrap();
        assert_eq!((due, answer, busy), (pace.due(1), "taken", 0));
        let long_ago = Pace { started: SystemClock.now().minus(Span::minutes(1)), rate: 100 };
        let behind = long_ago.call::<()>(200, || Err(engine::Error::Busy)).unwrap_err();
        assert!(behind.to_string().contains("100 a second: 200 calls took 60 s"), "{behind}");
    }
}
