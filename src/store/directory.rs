//! A directory and the store in it: the one place that knows which stores there are.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
};

#[cfg(feature = "store-redb")]
use super::redb::RedbStore;
use super::{Error, Lock, SledStore, Store, StoreKind, beside, cached, partitions, prepare};

/// A directory that is open, and held until dropped.
#[derive(Debug, Clone)]
pub struct Directory {
    dir: PathBuf,
    kind: StoreKind,
    store: Arc<dyn Store>,
    is_doubtful: bool,
}

impl Directory {
    /// Opens the directory, creating it with sled if need be.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Self::open_as(dir, None)
    }

    /// Opens the directory, which must be of this kind where one is given, creating it if need be.
    pub fn open_as(dir: &Path, kind: Option<StoreKind>) -> Result<Self, Error> {
        if beside::is_reserved(dir) {
            return Err(Error::Unfinished { path: dir.to_owned() });
        }
        // Nothing is made for what is refused.
        StoreKind::decide(dir, kind)?;
        beside::create(dir)?;
        Self::open_held(dir, kind, &Lock::take(dir)?)
    }

    /// Opens a directory whose lock is held already, even one that is being made.
    pub fn open_held(dir: &Path, kind: Option<StoreKind>, lock: &Arc<Lock>) -> Result<Self, Error> {
        let dir = std::path::absolute(dir).map_err(Error::io("find", dir))?;
        partitions::check_one(&dir)?;
        let kind = StoreKind::decide(&dir, kind)?;
        cached::forget_all(&dir)?;
        let store: Arc<dyn Store> = match kind {
            StoreKind::Sled => Arc::new(SledStore::open_held(&dir, lock)?),
            #[cfg(feature = "store-redb")]
            StoreKind::Redb => Arc::new(RedbStore::open_held(&dir, lock)?),
            #[cfg(not(feature = "store-redb"))]
            StoreKind::Redb => unreachable!("a store that is not there is not decided for"),
        };
        let is_doubtful = prepare::is_doubtful(&dir)?;
        Ok(Self { dir, kind, store, is_doubtful })
    }

    /// Opens a directory that must hold data already.
    pub fn open_existing(dir: &Path) -> Result<Self, Error> {
        Self::check_has_store(dir)?;
        Self::open(dir)
    }

    /// Checks that there is a store in `dir`; which it is.
    pub(crate) fn check_has_store(dir: &Path) -> Result<StoreKind, Error> {
        prepare::check_holds_data(dir)?;
        StoreKind::find(dir)?.ok_or_else(|| Error::Missing { path: dir.to_owned() })
    }

    /// Checks that the store is of this kind, where one is given.
    pub(crate) fn check_kind(&self, asked: Option<StoreKind>) -> Result<(), Error> {
        StoreKind::decide(&self.dir, asked).map(drop)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Which store it is.
    pub const fn kind(&self) -> StoreKind {
        self.kind
    }

    /// The store, for whoever shares it.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// Whether, when it was opened, the projections might be older in some places than in others,
    /// so that only the log says what holds. It stays so, restarts included, until
    /// [`Directory::settle`].
    pub const fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// Says that nothing is doubtful any more: the projections are gone, durably.
    pub fn settle(&self) -> Result<(), Error> {
        prepare::settle(&self.dir)
    }

    /// Closes the directory, which nobody else has any more. Nothing of the store looks at its files
    /// after this, so they may be moved.
    pub fn close(self) -> Result<(), Error> {
        assert!(Arc::strong_count(&self.store) == 1, "whoever used the store is gone");
        self.store.close()
    }
}

impl Deref for Directory {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

#[cfg(test)]
mod tests;
