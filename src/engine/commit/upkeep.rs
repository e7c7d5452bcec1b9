//! Keeping the log short: a base now and then, and what is old enough below one goes.
//!
//! It follows a checkpoint, as work in slices like that, so a base is of exactly that checkpoint. A
//! crash leaves a base that is none or a log that is trimmed in part; the upkeep after a later
//! checkpoint goes on with it.

use tracing::trace_span;

use super::{Worker, saving::Work};
use crate::{
    base::{Lsn, Span, limits::PAGE_BYTES_MAX},
    machine::row::Row,
    store::{self, BaseWriter, CheckpointState, Log, Store, base, checkpoint},
};

/// One part of it.
#[derive(Debug)]
pub(super) enum Upkeep {
    /// Writes a base.
    Base(Box<BaseWriter<Row>>),
    /// Removes the chunks below a base.
    Trim { below: u64, is_done: bool },
    /// Removes bases before this one, and parts of none.
    Sweep { oldest: Lsn, is_done: bool },
}

impl Upkeep {
    /// Does about `budget` bytes of it.
    pub(super) fn write_slice(
        &mut self,
        store: &dyn Store,
        log: &dyn Log,
        budget: usize,
    ) -> store::Result<()> {
        match self {
            Self::Base(writer) => {
                let _span = trace_span!("base").entered();
                writer.write(store, store, budget)?;
            }
            Self::Trim { below, is_done } => {
                let _span = trace_span!("trim").entered();
                *is_done = log.trim(*below, budget)?;
            }
            Self::Sweep { oldest, is_done } => {
                let _span = trace_span!("sweep").entered();
                *is_done = base::sweep(store, *oldest, budget / PAGE_BYTES_MAX)?;
            }
        }
        Ok(())
    }

    pub(super) const fn is_written(&self) -> bool {
        match self {
            Self::Base(writer) => writer.is_whole(),
            Self::Trim { is_done, .. } | Self::Sweep { is_done, .. } => *is_done,
        }
    }

    /// Puts it in force; all of it is on the device.
    pub(super) fn finish(self, store: &dyn Store) -> store::Result<()> {
        match self {
            Self::Base(writer) => {
                writer.record(store)?;
                store.sync()
            }
            Self::Trim { .. } | Self::Sweep { .. } => Ok(()),
        }
    }
}

impl Worker {
    /// Puts in front of all other work what is due after the checkpoint `recorded`.
    pub(super) fn keep_up(
        &mut self,
        recorded: &CheckpointState,
        (keep, copy_bytes): (Span, usize),
    ) -> store::Result<()> {
        let bases = base::list(&*self.store)?;
        let half = Span::millis(keep.micros() / 2_000);
        let newest = bases.last();
        let is_due =
            newest.is_none_or(|it| it.at < recorded.at && it.time.plus(half) <= recorded.time);
        let start = bases.iter().rfind(|it| it.time.plus(keep) <= recorded.time);
        let mut due = Vec::new();
        if is_due && let Some((_, memory)) = checkpoint::load(&*self.store)? {
            due.push(Upkeep::Base(Box::new(BaseWriter::new(recorded, &memory, copy_bytes))));
        }
        let first = self.log.read(0)?.map(|(position, _)| position);
        let start = start.filter(|it| first.is_some_and(|first| first < it.fold.position()));
        due.extend(start.map(|it| Upkeep::Trim { below: it.fold.position(), is_done: false }));
        if !due.is_empty() {
            let oldest = start.map_or(Lsn::ZERO, |it| it.at);
            due.push(Upkeep::Sweep { oldest, is_done: false });
        }
        due.into_iter().rev().for_each(|it| self.work.push_front(Work::Upkeep(it)));
        Ok(())
    }
}
