//! What the commit thread does between commits, in order, a slice between two syncs.

use std::{collections::VecDeque, sync::Arc};

use tracing::trace_span;

use super::{Frozen, upkeep::Upkeep};
use crate::{
    base::{Span, limits::REMOVALS_MAX},
    engine::ticket::Reply,
    machine::row::Row,
    store::{self, CheckpointState, Log, Page, Store, Tree, page::encode_page},
};

/// Work that appending comes before.
#[derive(Debug)]
pub(super) enum Work {
    Checkpoint(Box<Checkpoint>),
    Remove(Vec<Vec<u8>>),
    Freeze(Reply<Frozen>),
    Upkeep(Upkeep),
}

/// Everything that a checkpoint saves.
#[derive(Debug)]
pub(in crate::engine) struct Checkpoint {
    pub(in crate::engine) pages: VecDeque<Arc<Page<Row>>>,
    pub(in crate::engine) runs: VecDeque<store::Entry>,
    pub(in crate::engine) memory: VecDeque<store::Entry>,
    pub(in crate::engine) state: CheckpointState,
    /// How long records are kept, and how much of the rows a base copies.
    pub(in crate::engine) keep_log: Option<(Span, usize)>,
}

impl Work {
    /// Does as much of it as the budget between two syncs allows.
    pub(super) fn write_slice(
        &mut self,
        store: &dyn Store,
        log: &dyn Log,
        budget: usize,
    ) -> store::Result<()> {
        match self {
            Self::Checkpoint(checkpoint) => checkpoint.write_slice(store, budget),
            Self::Remove(keys) => {
                let _span = trace_span!("retire").entered();
                let some = keys.split_off(keys.len().saturating_sub(REMOVALS_MAX));
                some.iter().try_for_each(|key| store.remove(Tree::Timers, key))
            }
            Self::Upkeep(upkeep) => upkeep.write_slice(store, log, budget),
            Self::Freeze(_) => Ok(()),
        }
    }

    pub(super) fn is_written(&self) -> bool {
        match self {
            Self::Checkpoint(it) => {
                it.pages.is_empty() && it.runs.is_empty() && it.memory.is_empty()
            }
            Self::Remove(keys) => keys.is_empty(),
            Self::Upkeep(it) => it.is_written(),
            Self::Freeze(_) => true,
        }
    }
}

impl Checkpoint {
    fn write_slice(&mut self, store: &dyn Store, budget: usize) -> store::Result<()> {
        let mut written = 0;
        while written < budget {
            if let Some(page) = self.pages.pop_front() {
                let _span = trace_span!("page").entered();
                let (key, value) = encode_page(&page, self.state.time);
                written += value.len();
                store.put(Tree::Rows, &key, &value)?;
            } else if let Some((key, value)) = self.runs.pop_front() {
                let _span = trace_span!("timer_run").entered();
                written += value.len();
                store.put(Tree::Timers, &key, &value)?;
            } else if let Some((key, value)) = self.memory.pop_front() {
                let _span = trace_span!("memory").entered();
                written += value.len();
                store.put(Tree::Meta, &key, &value)?;
            } else {
                break;
            }
        }
        Ok(())
    }
}
