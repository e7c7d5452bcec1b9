//! Trimming a directory that nobody runs: a base at exactly the place asked for, the chunks below it
//! exported, then removed.
//!
//! The order makes every step safe to be cut off in: the base is in force before a chunk goes, and a
//! chunk is durable in the export before it goes. The same command goes on.

use std::{path::Path, sync::Arc};

use serde::Serialize;

use super::{
    partition::Partition,
    recover::{self, Opening, random_instance},
    restore,
    runner::Runner,
    state::State,
};
use crate::{
    base::{
        Limits, Lsn, Span, Timestamp,
        limits::{CHUNK_BYTES_MAX, DEDUP_WINDOW, SYNC_BYTES_MAX},
    },
    machine::{memory::Memory, row::Row},
    store::{
        self, BaseState, BaseWriter, CheckpointState, Directory, Export, Fold, MemoryStore,
        RecordReader, Start, Store, Tree, base, checkpoint, page::encode_page,
    },
};

/// Bytes written or removed between two syncs.
const SLICE_BYTES: usize = SYNC_BYTES_MAX - CHUNK_BYTES_MAX;

/// What was trimmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trimmed {
    /// Records up to this one are gone, now or since earlier; none where the log is whole.
    pub up_to: Option<Lsn>,
    /// When that one happened.
    pub time: Option<Timestamp>,
    /// Chunks removed by this.
    pub chunks: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Chunks added to the export.
    pub exported: u64,
}

/// Removes the records of `dir` that are older than `keep` in engine time, but never those within
/// the dedup window. What goes is appended to `export` first.
pub fn trim(
    dir: &Path,
    limits: &Limits,
    keep: Span,
    export: Option<&Path>,
) -> store::Result<Trimmed> {
    Directory::check_has_store(dir)?;
    let limits = Limits { keep_log: None, ..limits.clone() };
    let opening = Opening::new(random_instance(), limits);
    let owned = recover::own(dir, &opening)?;
    let mut runner = Runner::start(owned, Box::new(|delivery| Err(Box::new(delivery))))?;
    runner.hold_deliveries();
    // Trimming stays below the checkpoint in force, which is at the end of the log now.
    let partition = runner.finish()?;
    let trimmed = trim_partition(&partition, keep, export)?;
    partition.close()?;
    Ok(trimmed)
}

pub(super) fn trim_partition(
    partition: &Partition,
    keep: Span,
    export: Option<&Path>,
) -> store::Result<Trimmed> {
    let start = partition.start()?;
    let before = partition.recorded_time().minus(keep.max(DEDUP_WINDOW));
    let goal = match cut(partition, &start, before)? {
        Some(cut) => base_at(partition, &start, cut)?,
        None => None,
    };
    let goal = match (goal, start.clone()) {
        (Some(goal), _) => goal,
        // Nothing more is old enough, but an earlier trim may have been cut off.
        (None, Start::Base(base)) => *base,
        (None, Start::Whole(_)) => return Ok(Trimmed::nothing()),
    };
    let exported = match export {
        Some(path) => add_to(path, partition, &start, goal.fold.position())?,
        None => 0,
    };
    let (chunks, bytes) = remove(partition, &goal)?;
    Ok(Trimmed { up_to: Some(goal.at), time: Some(goal.time), chunks, bytes, exported })
}

impl Trimmed {
    const fn nothing() -> Self {
        Self { up_to: None, time: None, chunks: 0, bytes: 0, exported: 0 }
    }
}

/// The fold after the last chunk of which everything happened at or before `time`.
fn cut(partition: &Partition, start: &Start, time: Timestamp) -> store::Result<Option<Fold>> {
    let mut reader = RecordReader::new(&*partition.log, start.fold().clone());
    let mut cut = None;
    while let Some(records) = reader.next().transpose()? {
        if records.iter().any(|record| time < record.time) {
            return Ok(cut);
        }
        cut = Some(reader.state().clone());
    }
    Ok(cut)
}

/// A base at `cut`, made if need be; where the rows of that moment cannot be had, the newest base
/// before it. None where there is none after `start`.
fn base_at(partition: &Partition, start: &Start, cut: Fold) -> store::Result<Option<BaseState>> {
    let store = &partition.store;
    let mut older = base::list(&**store)?.into_iter();
    let found = older.rfind(|base| base.fold.position() <= cut.position());
    let found = found.filter(|base| start.at() < base.at);
    if found.as_ref().is_some_and(|base| base.at == cut.last_lsn()) {
        return Ok(found);
    }
    let has_rows = match start {
        Start::Whole(_) => true,
        Start::Base(base) => base.has_copies(),
    };
    let goal = if has_rows { Some(make_base(partition, start, cut)?) } else { found };
    if !goal.as_ref().is_some_and(BaseState::has_copies) {
        // The rows of later moments could not be had either, but those of now can.
        base_now(partition)?;
    }
    Ok(goal)
}

/// Replays the log up to `cut` and writes a base there.
fn make_base(partition: &Partition, start: &Start, cut: Fold) -> store::Result<BaseState> {
    let limits = &partition.limits;
    let scratch: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let memory = match start {
        Start::Whole(_) => Memory::default(),
        Start::Base(base) => {
            restore::copy_rows(base, &*partition.store, &*scratch)?;
            restore::memory_of(base, &*partition.store)?
        }
    };
    let everything = Limits { cache_bytes: usize::MAX, cache_pages: usize::MAX, ..limits.clone() };
    let mut state = State::new(memory, limits.timer_span, partition.id);
    let reader = RecordReader::new(&*partition.log, start.fold().clone()).until(cut.position());
    recover::replay_log(&mut state, &*scratch, reader, &everything, recover::apply_all)?;
    let time = state.memory.now;
    for page in state.table.checkpoint() {
        let (key, value) = encode_page(&page, time);
        scratch.put(Tree::Rows, &key, &value)?;
    }
    let image = state.memory.encode();
    let (at, (memory, _)) = (cut.last_lsn(), checkpoint::memory_entries(cut.last_lsn(), &image));
    let state = CheckpointState { at, fold: cut, time, memory };
    write(&state, &image, limits.base_copy_bytes, (&*scratch, &*partition.store))
}

/// Writes a base of the checkpoint in force, unless there is one.
fn base_now(partition: &Partition) -> store::Result<()> {
    let store = &*partition.store;
    let Some((state, image)) = checkpoint::load(store)? else { return Ok(()) };
    if base::list(store)?.last().is_none_or(|newest| newest.at < state.at) {
        write(&state, &image, partition.limits.base_copy_bytes, (store, store))?;
    }
    Ok(())
}

fn write(
    state: &CheckpointState,
    image: &[u8],
    copy_bytes: usize,
    (from, to): (&dyn Store, &dyn Store),
) -> store::Result<BaseState> {
    // What an interrupted attempt left may be other copies.
    restore::sweep(to, Lsn::ZERO)?;
    let mut writer = BaseWriter::<Row>::new(state, image, copy_bytes);
    while !writer.is_whole() {
        writer.write(from, to, SLICE_BYTES)?;
        to.sync()?;
    }
    let base = writer.record(to)?;
    to.sync()?;
    Ok(base)
}

/// Adds the chunks below `end` to the export at `path`, durably; tells how many.
fn add_to(path: &Path, partition: &Partition, start: &Start, end: u64) -> store::Result<u64> {
    let log = &partition.log;
    let first = log.read(0)?.map_or(0, |(position, _)| position);
    let mut export = Export::open(path, start.fold(), first)?;
    let mut added = 0;
    while export.end() < end
        && let Some((position, bytes)) = log.read(export.end())?
    {
        if position != export.end() {
            let (path, ends) = (path.to_owned(), export.end());
            return Err(store::Error::ExportGap { path, ends, first: position });
        }
        export.append(bytes)?;
        added += 1;
    }
    export.sync()?;
    Ok(added)
}

/// Removes the chunks below `goal`, then the bases before it; tells how many chunks and bytes.
fn remove(partition: &Partition, goal: &BaseState) -> store::Result<(u64, u64)> {
    let (store, log) = (&*partition.store, &*partition.log);
    let below = goal.fold.position();
    let (mut chunks, mut bytes) = (0, 0);
    let mut from = 0;
    while let Some((position, chunk)) = log.read(from)?
        && position < below
    {
        chunks += 1;
        bytes += crate::base::bytes::length_of(&chunk);
        from = position + 1;
    }
    while !log.trim(below, SLICE_BYTES)? {
        store.sync()?;
    }
    store.sync()?;
    restore::sweep(store, goal.at)?;
    Ok((chunks, bytes))
}

#[cfg(test)]
mod tests;
