//! Dropping what panics when it is dropped over a failing disk.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

/// A handle of sled's: the last one to be dropped writes and syncs, and panics where that fails.
/// Whoever wants to hear of that closes it.
#[derive(Debug)]
pub(super) struct Guarded<T>(Option<T>);

impl<T> Guarded<T> {
    pub(super) const fn new(handle: T) -> Self {
        Self(Some(handle))
    }

    pub(super) const fn get(&self) -> &T {
        self.0.as_ref().expect("only dropping takes it")
    }

    /// Drops the handle and gives back its panic.
    pub(super) fn close(mut self) -> thread::Result<()> {
        self.let_go()
    }

    fn let_go(&mut self) -> thread::Result<()> {
        let handle = self.0.take();
        catch_unwind(AssertUnwindSafe(|| drop(handle)))
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        let _ = self.let_go().is_ok();
    }
}
