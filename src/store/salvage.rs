//! The chunks of a log, found in sled's file without sled, and put in order again.
//!
//! A chunk says of itself whose it is and what it follows: its number and the checksum of the one
//! before it. So the log is the chain that begins with the first fence and goes farthest under the
//! latest owner. A chunk that no chain reaches lies behind one that is gone. Of a log whose beginning
//! is trimmed this finds no more than that it is.

use std::{collections::BTreeMap, path::Path};

use memchr::memmem;

use super::{
    Effect, Error, Fold, base,
    chunk::{self, Header},
    segments::{self, Segments, at64},
};
use crate::base::{InstanceId, Lsn, PartitionId, limits::CHUNK_BYTES_MAX};

/// A whole chunk, and where its bytes are.
#[derive(Debug, Clone)]
struct Found {
    header: Header,
    offset: u64,
}

/// What can be saved of a log, in order.
#[derive(Debug)]
pub(crate) struct Salvage {
    file: Segments,
    chain: Vec<Found>,
    fold: Fold,
    /// The records of whole chunks behind a gap: first and last of each run.
    unreachable: Vec<(Lsn, Lsn)>,
    is_trimmed: bool,
}

impl Salvage {
    /// Looks for the log of `instance`, or of whoever has most chunks, in the store of `dir`.
    /// Tells `progress` how much of it is read, in percent.
    pub(crate) fn search(
        dir: &Path,
        instance: Option<InstanceId>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Option<Self>, Error> {
        let file = Segments::open(dir)?;
        let mut found: BTreeMap<(u64, u32), Found> = BTreeMap::new();
        let count = at64(file.offsets().count());
        let mut is_trimmed = false;
        for (number, offset) in (0_u64..).zip(file.offsets()) {
            progress(number * 100 / count.max(1));
            let bytes = file.read(offset)?;
            is_trimmed |= memmem::find(&bytes, &base::MARK).is_some();
            for (at, _, header) in segments::chunks(&bytes) {
                let key = (header.n, header.crc);
                found.entry(key).or_insert_with(|| Found { header, offset: offset + at64(at) });
            }
        }
        let Some(instance) = instance.or_else(|| most_frequent(&found)) else { return Ok(None) };
        found.retain(|_, it| it.header.instance == instance && it.header.partition == PARTITION);
        let chain = longest_chain(&found);
        let fold = Fold::new(instance, PARTITION);
        let mut salvage = Self { file, chain, fold, unreachable: Vec::new(), is_trimmed };
        salvage.fold_chain()?;
        let last = salvage.fold.last_lsn();
        salvage.unreachable = runs(found.values().filter(|it| last < it.header.first_lsn));
        Ok(Some(salvage))
    }

    /// Whether there is or was a base, so that the log may begin later than the chain.
    pub(crate) const fn is_trimmed(&self) -> bool {
        self.is_trimmed
    }

    /// What a reader of the saved log sees at its end.
    pub(crate) fn fold(&self) -> &Fold {
        &self.fold
    }

    /// First and last record of each run that is whole and lies behind a gap.
    pub(crate) fn unreachable(&self) -> &[(Lsn, Lsn)] {
        &self.unreachable
    }

    /// The bytes of the saved chunks, in the order of their positions.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = Result<Vec<u8>, Error>> {
        self.chain.iter().map(|it| self.bytes(it))
    }

    fn bytes(&self, found: &Found) -> Result<Vec<u8>, Error> {
        let mut bytes = self.file.bytes(found.offset, CHUNK_BYTES_MAX)?;
        bytes.truncate(chunk::stated_length(&bytes).unwrap_or(0));
        Ok(bytes)
    }

    /// Keeps of the chain what a reader takes, up to the first chunk that it does not: positions
    /// are not in chunks, and a log in which a deposed owner left some has others than this.
    fn fold_chain(&mut self) -> Result<(), Error> {
        let mut kept = 0;
        for found in &self.chain {
            let Ok(chunk) = chunk::decode(&self.bytes(found)?) else { break };
            let mut fold = self.fold.clone();
            match fold.offer(fold.position(), chunk) {
                Ok(Effect::Adopted | Effect::Records(_)) => self.fold = fold,
                Ok(Effect::Void) | Err(_) => break,
            }
            kept += 1;
        }
        self.chain.truncate(kept);
        Ok(())
    }
}

/// The one partition of a single node.
const PARTITION: PartitionId = PartitionId(0);

fn most_frequent(found: &BTreeMap<(u64, u32), Found>) -> Option<InstanceId> {
    let mut counts: Vec<(InstanceId, u64)> = Vec::new();
    for it in found.values() {
        match counts.iter_mut().find(|(instance, _)| *instance == it.header.instance) {
            Some((_, count)) => *count += 1,
            None => counts.push((it.header.instance, 1)),
        }
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(instance, _)| instance)
}

/// The chain from the first chunk that ends under the latest owner, and there as far as possible.
fn longest_chain(found: &BTreeMap<(u64, u32), Found>) -> Vec<Found> {
    // The chunks that a chain reaches, each with the checksum of the one before it.
    let mut reached: BTreeMap<(u64, u32), &Found> = BTreeMap::new();
    for (key, it) in found {
        let header = &it.header;
        let is_reached = match header.n.checked_sub(1) {
            None => header.previous_crc == 0,
            Some(before) => reached.contains_key(&(before, header.previous_crc)),
        };
        if is_reached {
            reached.insert(*key, it);
        }
    }
    let last = reached.values().max_by_key(|it| (it.header.epoch, it.header.n));
    let mut chain = Vec::new();
    let mut next = last.copied();
    while let Some(it) = next {
        chain.push(it.clone());
        let before = it.header.n.checked_sub(1).map(|n| (n, it.header.previous_crc));
        next = before.and_then(|key| reached.get(&key).copied());
    }
    chain.reverse();
    chain
}

/// The records of chunks as runs without gaps.
fn runs<'a>(found: impl Iterator<Item = &'a Found>) -> Vec<(Lsn, Lsn)> {
    let covered = found.filter(|it| it.header.count > 0).map(|it| {
        let Lsn(first) = it.header.first_lsn;
        (first, first + u64::from(it.header.count) - 1)
    });
    let mut covered: Vec<_> = covered.collect();
    covered.sort_unstable();
    let mut runs: Vec<(Lsn, Lsn)> = Vec::new();
    for (first, last) in covered {
        match runs.last_mut() {
            Some((_, end)) if first <= end.0 + 1 => *end = Lsn(end.0.max(last)),
            _ => runs.push((Lsn(first), Lsn(last))),
        }
    }
    runs
}
