//! The lock of a directory, whatever store is in it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
    sync::Arc,
};

use super::{Error, cached, there};

/// The lock of a directory. Closing the file is not enough to release it: a child that another
/// thread is starting has a descriptor of it too, until it runs its own program.
#[derive(Debug)]
pub struct Lock(pub(super) File);

impl Lock {
    /// Keeps others from opening a directory for as long as anything holds this.
    pub fn take(dir: &Path) -> Result<Arc<Self>, Error> {
        let path = dir.join("lock");
        // Opening a pipe would wait for its other end.
        there::is_file_or_absent(&path)?;
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        Self::of(dir, file).map(Arc::new)
    }

    /// Keeps others from opening a directory that is only looked at, where it has a lock at all.
    pub(crate) fn hold(dir: &Path) -> Result<Option<Self>, Error> {
        if !there::is_dir(dir)? {
            return Err(Error::Missing { path: dir.to_owned() });
        }
        let file = there::open(&dir.join("lock"))?;
        let lock = file.map(|file| Self::of(dir, file)).transpose()?;
        cached::forget_all(dir)?;
        Ok(lock)
    }

    fn of(dir: &Path, file: File) -> Result<Self, Error> {
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::InUse { path: dir.to_owned() }),
            Err(TryLockError::Error(source)) => Err(Error::io("lock", dir)(source)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Where this fails, closing the file releases it.
        let _ = self.0.unlock().is_ok();
    }
}
