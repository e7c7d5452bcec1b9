//! A clock that a scenario can move.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::{
    app::SystemClock,
    base::{Clock, Timestamp},
};

/// The machine's clock plus an offset, or standing still.
#[derive(Debug, Default)]
pub(super) struct Shifted {
    offset: AtomicI64,
    /// Where it stands; zero while it goes.
    stopped: AtomicI64,
}

impl Shifted {
    pub(super) fn forward(&self, micros: i64) {
        self.offset.fetch_add(micros, Ordering::SeqCst);
    }

    pub(super) fn stop(&self) {
        self.stopped.store(self.now().micros(), Ordering::SeqCst);
    }

    /// From where it stands.
    pub(super) fn go_on(&self) {
        let stood = self.stopped.load(Ordering::SeqCst);
        self.offset.store(stood - SystemClock.now().micros(), Ordering::SeqCst);
        // Only now: who asks in between sees it stand.
        self.stopped.store(0, Ordering::SeqCst);
    }
}

impl Clock for Shifted {
    fn now(&self) -> Timestamp {
        let stopped = self.stopped.load(Ordering::SeqCst);
        let going = || SystemClock.now().micros() + self.offset.load(Ordering::SeqCst);
        let micros = if stopped > 0 { stopped } else { going() };
        Timestamp::from_micros(micros).unwrap_or(Timestamp::MAX)
    }
}
