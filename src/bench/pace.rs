//! Calls at a given rate, whether or not the engine keeps up.

use crossbeam_channel::never;

use super::Error;
use crate::{
    app::SystemClock,
    base::{Clock, Span, Timestamp},
    engine,
};

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

    /// Sleeps until the n-th call is to come, not at all where it is late; when it was to come.
    pub(super) fn wait(&self, n: u64) -> Timestamp {
        let due = self.due(n);
        let left = due.since(SystemClock.now());
        if left > Span::ZERO {
            let _ = never::<()>().recv_timeout(left.to_std()).is_ok();
        }
        due
    }

    /// What a call came to; one for which there was no room was one too many.
    pub(super) fn taken<T>(&self, call: Result<T, engine::Error>) -> Result<T, Error> {
        if matches!(call, Err(engine::Error::Busy)) {
            let seconds = SystemClock.now().since(self.started).to_std().as_secs();
            return Err(Error::Behind { rate: self.rate, seconds });
        }
        Ok(call?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_due_one_after_the_other_and_one_too_many_says_so() {
        let pace = Pace::of(100);
        assert_eq!(pace.due(250).since(pace.due(0)), Span::millis(2_500));
        assert_eq!(pace.wait(0), pace.due(0));
        let behind = pace.taken::<()>(Err(engine::Error::Busy)).unwrap_err();
        assert!(behind.to_string().contains("100 a second"), "{behind}");
        assert!(matches!(pace.taken(Ok(7)), Ok(7)));
    }
}
