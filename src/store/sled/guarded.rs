//! Dropping what panics when it is dropped over a failing disk.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A handle of sled's: the last one to be dropped writes and syncs, and panics where that fails.
/// Whoever wanted to hear of a failure has asked for a sync before.
#[derive(Debug)]
pub(super) struct Guarded<T>(Option<T>);

impl<T> Guarded<T> {
    pub(super) const fn new(handle: T) -> Self {
        Self(Some(handle))
    }

    pub(super) const fn get(&self) -> &T {
        self.0.as_ref().expect("only dropping takes it")
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        let handle = self.0.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(handle))).is_ok();
    }
}
