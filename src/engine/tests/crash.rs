//! A store that keeps what a crash at its n-th write would leave.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use crate::store::{Entry, Error, Inserted, MemoryStore, Store, Tree};

/// When a run is cut off, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crash {
    after: u64,
    how: How,
}

#[derive(Debug, Clone, Copy)]
enum How {
    /// The process is killed: everything written stays.
    Kill,
    /// The power fails: what was not synced is gone.
    PowerCut,
}

impl From<(u64, bool)> for Crash {
    fn from((after, kill): (u64, bool)) -> Self {
        Self { after, how: if kill { How::Kill } else { How::PowerCut } }
    }
}

/// Passes everything on, and looks away from the crash on.
#[derive(Debug)]
pub(super) struct Tapped {
    inner: MemoryStore,
    crash: Option<Crash>,
    writes: AtomicU64,
    left: Mutex<Option<MemoryStore>>,
}

impl Tapped {
    pub(super) fn new(inner: MemoryStore, crash: Option<Crash>) -> Self {
        Self { inner, crash, writes: AtomicU64::new(0), left: Mutex::new(None) }
    }

    /// Whether the crash has come.
    pub(super) fn is_tapped(&self) -> bool {
        self.left.lock().unwrap().is_some()
    }

    /// What the crash left.
    pub(super) fn left(&self) -> MemoryStore {
        self.left.lock().unwrap().clone().expect("a store is asked for what is left after a crash")
    }

    fn count_write(&self) {
        let writes = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(crash) = self.crash.filter(|crash| crash.after == writes) else { return };
        let left = match crash.how {
            How::Kill => copy(&self.inner),
            How::PowerCut => self.inner.crashed(),
        };
        *self.left.lock().unwrap() = Some(left);
    }
}

fn copy(from: &MemoryStore) -> MemoryStore {
    let to = MemoryStore::new();
    for tree in Tree::ALL {
        let mut after = Vec::new();
        while let Some((key, value)) = from.above(tree, &after).unwrap() {
            to.put(tree, &key, &value).unwrap();
            after = key;
        }
    }
    to.sync().unwrap();
    to
}

impl Store for Tapped {
    fn insert_new(&self, tree: Tree, key: &[u8], value: &[u8]) -> Result<Inserted, Error> {
        let inserted = self.inner.insert_new(tree, key, value)?;
        self.count_write();
        Ok(inserted)
    }

    fn put(&self, tree: Tree, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.inner.put(tree, key, value)?;
        self.count_write();
        Ok(())
    }

    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.inner.get(tree, key)
    }

    fn at_or_below(&self, tree: Tree, key: &[u8]) -> Result<Option<Entry>, Error> {
        self.inner.at_or_below(tree, key)
    }

    fn above(&self, tree: Tree, key: &[u8]) -> Result<Option<Entry>, Error> {
        self.inner.above(tree, key)
    }

    fn remove(&self, tree: Tree, key: &[u8]) -> Result<(), Error> {
        self.inner.remove(tree, key)?;
        self.count_write();
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        self.inner.sync()?;
        self.count_write();
        Ok(())
    }

    fn size_on_disk(&self) -> Result<u64, Error> {
        self.inner.size_on_disk()
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        self.inner.free_bytes()
    }
}
