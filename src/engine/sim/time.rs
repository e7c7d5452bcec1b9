//! The clock of the simulated machine, and what an engine makes of it.
//!
//! An engine that believes any clock may record whatever it showed at one of its looks. A strict one
//! stops at the look at which the clock is more than a day ahead of all it has seen, before anything
//! is recorded there, and starts only near the last record; then somebody sets the clock right, or
//! says that it is.

use std::sync::{Arc, atomic::Ordering};

use super::world::{Shown, World};
use crate::{
    base::{Clock, Lsn, Span, Timestamp},
    engine::{
        ClockCheck, Error,
        present::{Past, Present},
        runner::Runner,
    },
};

/// How far ahead the clock may be, of the last look or the last record.
const AHEAD_MAX: Span = Span::hours(24);
/// How far behind the last record it may be at a start.
const BEHIND_MAX: Span = Span::minutes(5);

impl World {
    pub(super) fn tick(&mut self) {
        let span = match self.rng.below(10) {
            0..6 => Span::millis(self.rng.between(0, 20_000)),
            6..8 => Span::seconds(self.rng.between(0, 300)),
            8 => Span::seconds(self.rng.between(0, 9_000)),
            _ => Span::hours(self.rng.between(0, 23)),
        };
        let now = self.clock.now();
        let to = if self.rng.one_in(self.swarm.leaps) {
            match self.rng.below(3) {
                0 => now.minus(Span::minutes(self.rng.between(0, 3_000))),
                1 => now.minus(span),
                _ if self.rng.one_in(self.swarm.years) => {
                    now.plus(Span::days(self.rng.between(300, 3_000)))
                }
                _ => now.plus(Span::days(self.rng.between(1, 10))),
            }
        } else {
            now.plus(span)
        };
        self.show(to);
    }

    pub(super) fn show(&mut self, to: Timestamp) {
        self.clock.0.store(to.micros(), Ordering::Relaxed);
        self.say(|_| String::from("is the time"));
    }

    /// The engine looks at the clock: whether it must believe what that shows.
    pub(super) fn believes(&mut self) -> bool {
        let check = self.running.as_ref().map_or(ClockCheck::Trust, |it| it.check);
        self.would_believe(check)
    }

    pub(super) fn would_believe(&mut self, check: ClockCheck) -> bool {
        let now = self.clock.now();
        let is_believed = now <= self.believable(check);
        if is_believed {
            self.seen = self.seen.max(now);
            self.clock_max = self.clock_max.max(now);
        }
        is_believed
    }

    /// The latest time that the engine believes at its next look.
    pub(super) fn believable(&self, check: ClockCheck) -> Timestamp {
        match check {
            ClockCheck::Strict => self.seen.plus(AHEAD_MAX),
            ClockCheck::Trust => Timestamp::MAX,
        }
    }

    /// How the next engine takes the clock.
    pub(super) fn check(&self) -> ClockCheck {
        if self.is_trusting { ClockCheck::Trust } else { self.swarm.check }
    }

    /// The first look of an engine that starts.
    pub(super) fn look_first(&mut self, runner: &Runner) -> Result<Present, Error> {
        let recorded = runner.partition.recorded_time();
        let is_new = runner.partition.latest() == Lsn::ZERO;
        let past = Past { recorded: (!is_new).then_some(recorded), alive: runner.alive() };
        let clock: Arc<dyn Clock> = Arc::<Shown>::clone(&self.clock);
        let now = clock.now();
        let present = Present::start(clock, self.check(), past);
        if self.check() == ClockCheck::Strict && !is_new {
            let is_behind = recorded.since(now) > BEHIND_MAX;
            match &present {
                Ok(_) => {
                    let latest = self.seen.max(recorded);
                    assert!(!is_behind, "{now} is before the record of {recorded}");
                    assert!(now.since(latest) <= AHEAD_MAX, "{now} is long after {latest}");
                }
                Err(error) => {
                    let is_ahead = now.since(recorded) > AHEAD_MAX;
                    assert!(is_behind || is_ahead, "{now}, and the last is {recorded}: {error}");
                }
            }
        }
        let present = present?;
        self.seen = now;
        self.clock_max = self.clock_max.max(now);
        Ok(present)
    }

    /// The clock cannot be right: the engine writes what it has decided and stops.
    pub(super) fn clock_stops(&mut self) {
        self.say(|_| String::from("the engine stops: the clock leapt"));
        self.totals.clock_stops += 1;
        let running = self.running.as_mut().expect("an engine runs between steps");
        running.live.stop_clock();
        running.live.runner.hold_deliveries();
        let result = running.live.round();
        self.look();
        match result {
            Ok(()) => self.close(),
            Err(Error::Store(error)) => self.gives_up(&error),
            Err(error) => panic!("the engine does not stop: {error}"),
        }
    }

    /// An engine does not start at this time: somebody looks at the clock.
    pub(super) fn clock_refused(&mut self) {
        self.totals.clock_refusals += 1;
        self.is_trusting = self.rng.coin();
        self.say(|it| format!("does not start at this time; believe it: {}", it.is_trusting));
        if !self.is_trusting {
            let after = Span::seconds(self.rng.between(0, 80_000));
            self.show(self.witness.now.plus(after));
        }
    }
}
