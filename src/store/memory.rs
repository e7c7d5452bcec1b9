//! The store in memory: same contract, for tests and simulations.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard},
};

use super::{Entry, Error, Inserted, Store, Tree, assert_storable};

/// Trees in memory. A clone is another handle to the same trees, as if opened again.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
}

type Key = (Tree, Vec<u8>);
type Value = Arc<[u8]>;

#[derive(Debug, Default)]
struct Shared {
    live: BTreeMap<Key, Value>,
    /// What was there at the last sync.
    durable: BTreeMap<Key, Value>,
    /// What happened since, in order.
    unsynced: Vec<(Key, Option<Value>)>,
    /// The most of these at any time.
    most_unsynced: usize,
    /// Bytes that are free; none: no limit.
    free: Option<u64>,
}

impl Shared {
    fn write(&mut self, key: Key, value: Option<Value>) {
        self.unsynced.push((key.clone(), value.clone()));
        self.most_unsynced = self.most_unsynced.max(self.unsynced.len());
        set(&mut self.live, key, value);
    }
}

fn set(map: &mut BTreeMap<Key, Value>, key: Key, value: Option<Value>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

impl MemoryStore {
    /// Empty trees.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a power cut now would leave: everything up to the last sync, and nothing after it.
    #[must_use]
    pub fn crashed(&self) -> Self {
        self.crashed_keeping(&mut |_| false)
    }

    /// What a power cut now might leave: everything up to the last sync, and of the writes after it
    /// those that `keep` says; it is asked in their order, with the tree.
    #[must_use]
    pub fn crashed_keeping(&self, keep: &mut dyn FnMut(Tree) -> bool) -> Self {
        let shared = self.shared();
        let mut durable = shared.durable.clone();
        for (key, value) in shared.unsynced.iter().filter(|((tree, _), _)| keep(*tree)) {
            set(&mut durable, key.clone(), value.clone());
        }
        let shared = Shared { live: durable.clone(), durable, ..Shared::default() };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// How many writes there were since the last sync.
    pub fn unsynced(&self) -> usize {
        self.shared().unsynced.len()
    }

    /// How many writes there were between two syncs, at most.
    pub fn most_unsynced(&self) -> usize {
        self.shared().most_unsynced
    }

    /// What was under `key` at the last sync.
    pub fn synced(&self, tree: Tree, key: &[u8]) -> Option<Vec<u8>> {
        self.shared().durable.get(&(tree, key.to_vec())).map(|value| value.to_vec())
    }

    /// Says that so many bytes are free from now on. What is written does not count.
    pub fn set_free_bytes(&self, free: u64) {
        self.shared().free = Some(free);
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no holder of this lock panics")
    }
}

impl Store for MemoryStore {
    fn insert_new(&self, tree: Tree, key: &[u8], value: &[u8]) -> Result<Inserted, Error> {
        assert_storable(tree, key, value);
        let mut shared = self.shared();
        let key = (tree, key.to_vec());
        if shared.live.contains_key(&key) {
            return Ok(Inserted::Occupied);
        }
        shared.write(key, Some(value.into()));
        Ok(Inserted::Stored)
    }

    fn put(&self, tree: Tree, key: &[u8], value: &[u8]) -> Result<(), Error> {
        assert_storable(tree, key, value);
        self.shared().write((tree, key.to_vec()), Some(value.into()));
        Ok(())
    }

    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.shared().live.get(&(tree, key.to_vec())).map(|value| value.to_vec()))
    }

    fn at_or_below(&self, tree: Tree, key: &[u8]) -> Result<Option<Entry>, Error> {
        let shared = self.shared();
        let found = shared.live.range(..=(tree, key.to_vec())).next_back();
        Ok(found.and_then(|found| within(tree, found)))
    }

    fn above(&self, tree: Tree, key: &[u8]) -> Result<Option<Entry>, Error> {
        let shared = self.shared();
        let bounds = (Bound::Excluded((tree, key.to_vec())), Bound::Unbounded);
        let found = shared.live.range(bounds).next();
        Ok(found.and_then(|found| within(tree, found)))
    }

    fn remove(&self, tree: Tree, key: &[u8]) -> Result<(), Error> {
        self.shared().write((tree, key.to_vec()), None);
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        let mut shared = self.shared();
        let Shared { durable, unsynced, .. } = &mut *shared;
        for (key, value) in unsynced.drain(..) {
            set(durable, key, value);
        }
        Ok(())
    }

    fn size_on_disk(&self) -> Result<u64, Error> {
        let bytes = |value: &Value| crate::base::bytes::length_of(value);
        Ok(self.shared().live.values().map(bytes).sum())
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        Ok(self.shared().free.unwrap_or(u64::MAX))
    }
}

fn within(tree: Tree, ((found, key), value): (&Key, &Value)) -> Option<Entry> {
    (*found == tree).then(|| (key.clone(), value.to_vec()))
}
