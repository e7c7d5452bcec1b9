//! What an engine does with its store, for whoever watches it. Asking costs the engine nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::store::Tree;

/// Counted since the engine was started. Each figure is right by itself; two of them may be of
/// different moments.
#[derive(Debug, Default)]
pub struct Tally {
    log: AtomicU64,
    rows: AtomicU64,
    timers: AtomicU64,
    meta: AtomicU64,
    is_checkpointing: AtomicBool,
}

impl Tally {
    /// Bytes of keys and values that were given to the store for this tree, each time they were.
    pub fn given_bytes(&self, tree: Tree) -> u64 {
        self.of(tree).load(Ordering::Relaxed)
    }

    /// Whether a checkpoint has begun that is not recorded yet.
    pub fn is_checkpointing(&self) -> bool {
        self.is_checkpointing.load(Ordering::Relaxed)
    }

    pub(super) fn give(&self, tree: Tree, key: &[u8], value: &[u8]) {
        let bytes = u64::try_from(key.len() + value.len()).unwrap_or(u64::MAX);
        self.of(tree).fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn checkpoint(&self, is_running: bool) {
        self.is_checkpointing.store(is_running, Ordering::Relaxed);
    }

    const fn of(&self, tree: Tree) -> &AtomicU64 {
        match tree {
            Tree::Log => &self.log,
            Tree::Rows => &self.rows,
            Tree::Timers => &self.timers,
            Tree::Meta => &self.meta,
        }
    }
}
