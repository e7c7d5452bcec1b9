//! Seam 2: one partition's log of chunks, the local one over a store, and reading it.

use std::sync::Arc;

use super::{
    Effect, Error, Fold, Inserted, Record, Store, Tree,
    chunk::{self, Header},
    fold::damaged,
};
use crate::base::{Lsn, PartitionId, planted::is_planted};

const PARTITION_BYTES: usize = 2;

/// Chunks at dense positions. Appends end in stored, conflict or, as an error, unknown.
pub trait Log: Send + Sync + std::fmt::Debug {
    /// Appends `chunk` at `position`, unless something is there.
    fn submit(&self, position: u64, chunk: &[u8]) -> Result<Inserted, Error>;
    /// Returns once every chunk submitted before is durable.
    fn sync(&self) -> Result<(), Error>;
    /// The chunk at the first position at or after `from`.
    fn read(&self, from: u64) -> Result<Option<(u64, Vec<u8>)>, Error>;
    /// The position after the last chunk.
    fn tail(&self) -> Result<u64, Error>;
    /// Removes chunks at positions below `below`, lowest first, about `budget` bytes of them, but
    /// never the last one of the log. Tells whether that was all; sync before going on.
    fn trim(&self, below: u64, budget: usize) -> Result<bool, Error>;
}

/// A log in a store.
#[derive(Debug, Clone)]
pub struct LocalLog {
    store: Arc<dyn Store>,
    partition: PartitionId,
}

impl LocalLog {
    /// The log of `partition` in `store`.
    pub fn new(store: Arc<dyn Store>, partition: PartitionId) -> Self {
        Self { store, partition }
    }

    /// Whose log is in `store`; none where it has not begun.
    pub fn partition_in(store: &dyn Store) -> Result<Option<PartitionId>, Error> {
        let first = store.above(Tree::Log, &[])?;
        let number = first.as_ref().and_then(|(key, _)| key.first_chunk::<PARTITION_BYTES>());
        Ok(number.map(|number| PartitionId(u16::from_be_bytes(*number))))
    }

    fn key(&self, position: u64) -> [u8; 10] {
        let mut key = [0; 10];
        let (partition, place) =
            key.split_first_chunk_mut::<PARTITION_BYTES>().expect("ten bytes are more than two");
        *partition = self.partition.0.to_be_bytes();
        place.copy_from_slice(&position.to_be_bytes());
        key
    }

    /// The position in a key, if it is one of this partition.
    fn position(&self, key: &[u8]) -> Option<u64> {
        let (partition, place) = key.split_first_chunk::<PARTITION_BYTES>()?;
        let place = place.first_chunk()?;
        (*partition == self.partition.0.to_be_bytes()).then(|| u64::from_be_bytes(*place))
    }
}

impl Log for LocalLog {
    fn submit(&self, position: u64, chunk: &[u8]) -> Result<Inserted, Error> {
        if is_planted!("overwrite_position") {
            self.store.put(Tree::Log, &self.key(position), chunk)?;
            return Ok(Inserted::Stored);
        }
        self.store.insert_new(Tree::Log, &self.key(position), chunk)
    }

    fn sync(&self) -> Result<(), Error> {
        self.store.sync()
    }

    fn read(&self, from: u64) -> Result<Option<(u64, Vec<u8>)>, Error> {
        // One question: between two of them the chunk that is asked for and the next one may come.
        let found = match from.checked_sub(1) {
            Some(before) => self.store.above(Tree::Log, &self.key(before))?,
            None => self.store.above(Tree::Log, &self.partition.0.to_be_bytes())?,
        };
        Ok(found.and_then(|(key, chunk)| Some((self.position(&key)?, chunk))))
    }

    fn tail(&self) -> Result<u64, Error> {
        let last = self.store.at_or_below(Tree::Log, &self.key(u64::MAX))?;
        let last = last.and_then(|(key, _)| self.position(&key));
        Ok(last.map_or(0, |position| position + 1))
    }

    fn trim(&self, below: u64, budget: usize) -> Result<bool, Error> {
        let below = if is_planted!("trim_too_far") { below + 1 } else { below };
        let below = below.min(self.tail()?.saturating_sub(1));
        let mut removed = 0;
        // From the lowest up, so that a crash leaves no hole.
        while let Some((position, chunk)) = self.read(0)?
            && position < below
        {
            if budget <= removed {
                return Ok(false);
            }
            removed += chunk.len();
            self.store.remove(Tree::Log, &self.key(position))?;
        }
        Ok(true)
    }
}

/// The records of a log from a fold on, a chunk at a time, whole groups only.
#[derive(Debug)]
pub struct RecordReader<'a> {
    log: &'a dyn Log,
    fold: Fold,
    /// Where it stops.
    end: u64,
}

impl<'a> RecordReader<'a> {
    /// Reads on from where `fold` stands.
    pub fn new(log: &'a dyn Log, fold: Fold) -> Self {
        assert!(fold.is_between_groups(), "a fold is saved between groups");
        Self { log, fold, end: u64::MAX }
    }

    /// Stops before the chunk at `position`.
    #[must_use]
    pub fn until(mut self, position: u64) -> Self {
        self.end = position;
        self
    }

    /// Where reading stands.
    pub fn state(&self) -> &Fold {
        &self.fold
    }

    /// Where reading ended.
    pub fn into_fold(self) -> Fold {
        self.fold
    }

    fn read(&mut self) -> Result<Option<Vec<Record>>, Error> {
        while self.fold.position() < self.end
            && let Some((position, bytes)) = self.log.read(self.fold.position())?
        {
            let chunk = chunk::decode(&bytes).map_err(|why| damaged(position, why.to_string()))?;
            match self.fold.offer(position, chunk)? {
                Effect::Records(records) if !records.is_empty() => return Ok(Some(records)),
                Effect::Records(_) | Effect::Adopted | Effect::Void => {}
            }
        }
        Ok(None)
    }
}

impl Iterator for RecordReader<'_> {
    type Item = Result<Vec<Record>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// The record at `lsn`, unless it is trimmed or not there yet. `fold` is the log's latest.
pub fn record_at(log: &dyn Log, fold: &Fold, lsn: Lsn) -> Result<Option<Record>, Error> {
    let Some(position) = find(log, fold, lsn)? else {
        return Ok(None);
    };
    let Some((_, bytes)) = log.read(position)? else {
        return Ok(None);
    };
    let chunk = chunk::decode(&bytes).map_err(|why| damaged(position, why.to_string()))?;
    Ok(chunk.records.into_iter().find(|record| record.lsn == lsn))
}

/// The position of the effective chunk that holds the record at `lsn`.
///
/// LSNs go back over the whole log (a fence voids a group and its LSNs are used again), but not
/// between two fences. So this walks back from the latest fence, one step a start of the engine,
/// to the one that ruled when `lsn` was written, and halves the positions between it and the next.
pub fn find(log: &dyn Log, fold: &Fold, lsn: Lsn) -> Result<Option<u64>, Error> {
    if lsn == Lsn::ZERO || fold.last_lsn() < lsn {
        return Ok(None);
    }
    let mut fence = fold.fence_position();
    let mut end = fold.position();
    loop {
        match header_at(log, fence)? {
            Some((position, header)) if position == fence && lsn < header.first_lsn => {
                end = fence;
                fence = header.fence;
            }
            // Here it ruled, or it is trimmed and so is everything that other fences ruled.
            Some((position, _)) => return halve(log, fence, position..end, lsn),
            None => return Ok(None),
        }
    }
}

/// Searches the chunks that the fence at `fence` rules; others in between are void.
fn halve(
    log: &dyn Log,
    fence: u64,
    mut range: std::ops::Range<u64>,
    lsn: Lsn,
) -> Result<Option<u64>, Error> {
    while !range.is_empty() {
        let middle = range.start + (range.end - range.start) / 2;
        match ruled(log, fence, middle..range.end)? {
            None => range.end = middle,
            Some((position, header)) if header.covers(lsn) => return Ok(Some(position)),
            Some((_, header)) if lsn < header.first_lsn => range.end = middle,
            Some((position, _)) => range.start = position + 1,
        }
    }
    Ok(None)
}

/// The first chunk in `range` that the fence at `fence` rules.
fn ruled(
    log: &dyn Log,
    fence: u64,
    range: std::ops::Range<u64>,
) -> Result<Option<(u64, Header)>, Error> {
    let mut from = range.start;
    while from < range.end {
        let Some((position, header)) = header_at(log, from)? else {
            return Ok(None);
        };
        if range.end <= position {
            return Ok(None);
        }
        if header.kind == chunk::ChunkKind::Data && header.fence == fence {
            return Ok(Some((position, header)));
        }
        from = position + 1;
    }
    Ok(None)
}

fn header_at(log: &dyn Log, from: u64) -> Result<Option<(u64, Header)>, Error> {
    let Some((position, bytes)) = log.read(from)? else {
        return Ok(None);
    };
    let header = chunk::peek(&bytes).map_err(|why| damaged(position, why.to_string()))?;
    Ok(Some((position, header)))
}

#[cfg(test)]
mod tests;
