//! What was written since the last sync, and what a sync that is under way writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use crate::store::{Entry, Tree};

/// Bytes that a change takes besides its key and value, about.
const CHANGE_BYTES: usize = 64;

/// Where to look from a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    AtOrBelow,
    Above,
}

/// What becomes of a key; none: it goes.
type Value = Option<Arc<[u8]>>;

#[derive(Debug)]
struct Change {
    value: Value,
    /// How many syncs had begun before.
    after: u64,
}

/// Changes that are not known to be on the device, over a file that has all others.
#[derive(Debug, Default)]
pub(super) struct Pending {
    trees: [BTreeMap<Vec<u8>, Change>; Tree::ALL.len()],
    /// Syncs that have begun.
    begun: u64,
    bytes: usize,
}

/// What becomes of the keys of a tree.
type Changes = Vec<(Vec<u8>, Value)>;

/// What one sync writes.
#[derive(Debug)]
pub(super) struct Batch([(Tree, Changes); Tree::ALL.len()]);

impl Pending {
    const fn of(&self, tree: Tree) -> &BTreeMap<Vec<u8>, Change> {
        let [log, rows, timers, meta] = &self.trees;
        match tree {
            Tree::Log => log,
            Tree::Rows => rows,
            Tree::Timers => timers,
            Tree::Meta => meta,
        }
    }

    const fn of_mut(&mut self, tree: Tree) -> &mut BTreeMap<Vec<u8>, Change> {
        let [log, rows, timers, meta] = &mut self.trees;
        match tree {
            Tree::Log => log,
            Tree::Rows => rows,
            Tree::Timers => timers,
            Tree::Meta => meta,
        }
    }

    pub(super) fn set(&mut self, tree: Tree, key: &[u8], value: Option<&[u8]>) {
        self.bytes += key.len() + value.map_or(0, <[u8]>::len) + CHANGE_BYTES;
        let change = Change { value: value.map(Arc::from), after: self.begun };
        self.of_mut(tree).insert(key.to_vec(), change);
    }

    /// The value of `key`, none where it is removed, if it is pending.
    pub(super) fn get(&self, tree: Tree, key: &[u8]) -> Option<Option<Vec<u8>>> {
        self.of(tree).get(key).map(|change| change.value.as_deref().map(<[u8]>::to_vec))
    }

    /// The nearest pending entry, and what is removed between it and the key.
    pub(super) fn nearest(
        &self,
        tree: Tree,
        key: &[u8],
        side: Side,
    ) -> (Option<Entry>, BTreeSet<Vec<u8>>) {
        let changes = self.of(tree);
        match side {
            Side::AtOrBelow => {
                let range = (Bound::Unbounded, Bound::Included(key));
                first(changes.range::<[u8], _>(range).rev())
            }
            Side::Above => {
                let range = (Bound::Excluded(key), Bound::Unbounded);
                first(changes.range::<[u8], _>(range))
            }
        }
    }

    /// Bytes that were set since the last sync began, about.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Begins a sync of all there is. It stays pending until the end of the sync.
    pub(super) fn begin(&mut self) -> Batch {
        self.begun += 1;
        self.bytes = 0;
        Batch(Tree::ALL.map(|tree| {
            let changes = self.of(tree).iter();
            (tree, changes.map(|(key, it)| (key.clone(), it.value.clone())).collect())
        }))
    }

    /// Ends the sync that began last: the file has what was set before it.
    pub(super) fn end(&mut self) {
        let begun = self.begun;
        for changes in &mut self.trees {
            changes.retain(|_, change| change.after == begun);
        }
    }
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|(_, changes)| changes.is_empty())
    }

    /// The trees that something becomes of.
    pub(super) fn trees(&self) -> impl Iterator<Item = (Tree, &[(Vec<u8>, Value)])> {
        let changed = self.0.iter().filter(|(_, changes)| !changes.is_empty());
        changed.map(|(tree, changes)| (*tree, changes.as_slice()))
    }
}

/// The first entry that has a value, and the keys before it.
fn first<'a>(
    changes: impl Iterator<Item = (&'a Vec<u8>, &'a Change)>,
) -> (Option<Entry>, BTreeSet<Vec<u8>>) {
    let mut removed = BTreeSet::new();
    for (key, change) in changes {
        match &change.value {
            Some(value) => return (Some((key.clone(), value.to_vec())), removed),
            None => drop(removed.insert(key.clone())),
        }
    }
    (None, removed)
}
