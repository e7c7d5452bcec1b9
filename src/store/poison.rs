//! What keeps a store from going on after a failure: what is in memory may not be on disk.

use std::{any::Any, io::ErrorKind, path::Path, sync::OnceLock};

use super::Error;

/// Set by the first failure; with its kind, where it was that there was no room.
#[derive(Debug, Default)]
pub(super) struct Poison(OnceLock<Option<ErrorKind>>);

impl Poison {
    /// Refuses to go on with `dir` after a failure.
    pub(super) fn check(&self, dir: &Path) -> Result<(), Error> {
        match self.0.get() {
            None => Ok(()),
            // Whoever meets this before the failure itself must know that it may pass.
            Some(Some(kind)) => Err(Error::io("go on with", dir)((*kind).into())),
            Some(None) => Err(Error::Poisoned { path: dir.to_owned() }),
        }
    }

    /// Notes a failure.
    pub(super) fn note(&self, error: &Error) {
        let kind = error.is_no_space().then_some(ErrorKind::StorageFull);
        // The first failure is the cause of all others.
        let _ = self.0.set(kind).is_ok();
    }
}

/// What a panic says.
pub(super) fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a text")
}
