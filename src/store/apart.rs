//! A store whose projections are not to be trusted, for whoever only looks: the log is the one
//! beneath, and all else is a copy in memory, without rows and timers, that may be changed.

use std::{path::Path, sync::Arc};

use super::{Entry, Error, Inserted, MemoryStore, Store, Tree};

/// A log, and the rest apart from it.
#[derive(Debug)]
pub(crate) struct Apart {
    beneath: Arc<dyn Store>,
    rest: MemoryStore,
}

impl Apart {
    /// Sets all but the log of `beneath` apart.
    pub(crate) fn new(beneath: Arc<dyn Store>) -> Result<Self, Error> {
        let rest = MemoryStore::new();
        let mut key = Vec::new();
        while let Some((next, value)) = beneath.above(Tree::Meta, &key)? {
            rest.put(Tree::Meta, &next, &value)?;
            key = next;
        }
        Ok(Self { beneath, rest })
    }

    fn of(&self, tree: Tree) -> &dyn Store {
        match tree {
            Tree::Log => &*self.beneath,
            Tree::Rows | Tree::Timers | Tree::Meta => &self.rest,
        }
    }
}

impl Store for Apart {
    fn insert_new(&self, tree: Tree, key: &[u8], value: &[u8]) -> Result<Inserted, Error> {
        self.of(tree).insert_new(tree, key, value)
    }

    fn put(&self, tree: Tree, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.of(tree).put(tree, key, value)
    }

    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.of(tree).get(tree, key)
    }

    fn at_or_below(&self, tree: Tree, key: &[u8]) -> Result<Option<Entry>, Error> {
        self.of(tree).at_or_below(tree, key)
    }

    fn above(&self, tree: Tree, key: &[u8]) -> Result<Option<Entry>, Error> {
        self.of(tree).above(tree, key)
    }

    fn remove(&self, tree: Tree, key: &[u8]) -> Result<(), Error> {
        self.of(tree).remove(tree, key)
    }

    fn sync(&self) -> Result<(), Error> {
        self.rest.sync()?;
        self.beneath.sync()
    }

    fn size_on_disk(&self) -> Result<u64, Error> {
        self.beneath.size_on_disk()
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        self.beneath.free_bytes()
    }

    fn path(&self) -> &Path {
        self.beneath.path()
    }
}
