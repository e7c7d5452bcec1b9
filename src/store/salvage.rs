//! The log, found in sled's file without sled, and put in order again.
//!
//! A chunk says of itself whose it is and what it follows: its number and the checksum of the one
//! before it. So what can be saved is a chain that begins with the first fence, or at a base whose
//! memory image and rows are all there; of these the one that goes farthest under the latest owner,
//! and of equal ones the longest. A chunk that it does not reach lies behind one that is gone.
//!
//! What sled has freed counts as long as its bytes are there: an older base, and chunks that were
//! trimmed. The checksums say that they fit.

use std::{cmp::Reverse, collections::BTreeMap, path::Path, sync::Arc};

use super::{
    BaseState, Effect, Error, Fold, MemoryStore, Row, Start, Store, Tree, base,
    chunk::{self, Header},
    nodes,
    segments::{self, Segments, at64},
};
use crate::base::{
    InstanceId, Lsn, Malformed, PartitionId,
    limits::{CHUNK_BYTES_MAX, VALUE_BYTES_MAX},
};

/// A whole chunk, and where its bytes are.
#[derive(Debug, Clone)]
struct Found {
    header: Header,
    offset: u64,
}

/// Where the value of a key is.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// In sled's log.
    lsn: u64,
    /// In the file.
    offset: u64,
    length: usize,
}

/// What is whole in a file.
#[derive(Debug)]
struct Index {
    file: Arc<Segments>,
    /// Chunks by their numbers and checksums.
    chunks: BTreeMap<(u64, u32), Found>,
    /// The latest values under the keys of bases.
    bases: BTreeMap<Vec<u8>, Place>,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Salvage {
    /// What can be saved.
    pub(crate) log: Option<Saved>,
    /// The records of whole chunks that cannot: first and last of each run.
    pub(crate) unreachable: Vec<(Lsn, Lsn)>,
    /// Bases that a longer log could begin at, were they whole.
    pub(crate) broken_bases: Vec<Error>,
}

/// The beginning of a log and what follows it without a gap.
#[derive(Debug)]
pub(crate) struct Saved {
    file: Arc<Segments>,
    start: Start,
    /// What is stored of the base that it begins at.
    base: MemoryStore,
    chain: Vec<Found>,
    fold: Fold,
}

impl Salvage {
    /// Looks for the log of `instance`, or of whoever has most chunks, in the store of `dir`.
    /// Tells `progress` how much of it is read, in percent.
    pub(crate) fn search<R: Row>(
        dir: &Path,
        instance: Option<InstanceId>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, Error> {
        let mut index = Index::read(dir, progress)?;
        let mut salvage = Self { log: None, unreachable: Vec::new(), broken_bases: Vec::new() };
        index.chunks.retain(|_, it| instance.is_none_or(|owner| it.header.instance == owner));
        // Without a chunk there is no log of theirs either.
        let Some(owner) = most_frequent(&index.chunks) else { return Ok(salvage) };
        index.chunks.retain(|_, it| owner_of(it) == owner);
        for (end, start, chain) in index.candidates(owner)? {
            if salvage.log.as_ref().is_some_and(|it| end <= end_of(&it.fold)) {
                break;
            }
            match index.save::<R>(start, chain) {
                Ok(saved) if salvage.log.as_ref().is_none_or(|it| it.is_shorter_than(&saved)) => {
                    salvage.log = Some(saved);
                }
                Ok(_) => {}
                Err(damage @ Error::Damaged { .. }) => salvage.broken_bases.push(damage),
                Err(error) => return Err(error),
            }
        }
        let last = salvage.log.as_ref().map_or(Lsn::ZERO, |it| it.fold.last_lsn());
        salvage.unreachable = runs(index.chunks.values().filter(|it| last < it.header.first_lsn));
        Ok(salvage)
    }
}

impl Saved {
    /// Where it begins.
    pub(crate) const fn start(&self) -> &Start {
        &self.start
    }

    /// What a reader of the saved log sees at its end.
    pub(crate) const fn fold(&self) -> &Fold {
        &self.fold
    }

    /// The entries of the base that it begins at; none where it begins at its first record.
    pub(crate) const fn base(&self) -> &MemoryStore {
        &self.base
    }

    /// The saved chunks, in the order of their positions.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = Result<(u64, Vec<u8>), Error>> {
        let positions = self.start.fold().position()..;
        positions.zip(&self.chain).map(|(position, it)| Ok((position, it.bytes(&self.file)?)))
    }

    fn is_shorter_than(&self, other: &Self) -> bool {
        let order = |it: &Self| (end_of(&it.fold), Reverse(it.start.at()));
        order(self) < order(other)
    }
}

impl Found {
    fn bytes(&self, file: &Segments) -> Result<Vec<u8>, Error> {
        let mut bytes = file.bytes(self.offset, CHUNK_BYTES_MAX)?;
        let gone = || Error::malformed(|| format!("the chunk at byte {}", self.offset));
        let length = chunk::stated_length(&bytes);
        bytes.truncate(length.ok_or(Malformed("it is there no more")).map_err(gone())?);
        Ok(bytes)
    }
}

/// How far a chain goes: the last owner's epoch, and the number that comes next.
type End = (u64, u64);

fn end_of(fold: &Fold) -> End {
    (fold.epoch(), fold.next_link().0)
}

impl Index {
    fn read(dir: &Path, progress: &mut dyn FnMut(u64)) -> Result<Self, Error> {
        let file = Arc::new(Segments::open(dir)?);
        let (mut chunks, mut bases) = (BTreeMap::new(), BTreeMap::<Vec<u8>, Place>::new());
        let offsets = || file.offsets().filter(|it| !file.is_hole(*it));
        // Twice: a link may be before the node that says how its keys begin.
        let count = 2 * at64(offsets().count());
        let mut numbers = 0_u64..;
        let mut prefixes = nodes::Prefixes::default();
        for (offset, number) in offsets().zip(&mut numbers) {
            progress(number * 100 / count.max(1));
            prefixes.add(&file.read(offset)?, base::PREFIX);
        }
        for (offset, number) in offsets().zip(&mut numbers) {
            progress(number * 100 / count.max(1));
            let bytes = file.read(offset)?;
            for (at, _, header) in segments::chunks(&bytes) {
                let key = (header.n, header.crc);
                chunks.entry(key).or_insert_with(|| Found { header, offset: offset + at64(at) });
            }
            let segment = match segments::header(&bytes) {
                segments::Header::Used { lsn, .. } => lsn,
                segments::Header::Blank | segments::Header::Broken => 0,
            };
            nodes::each(&bytes, &prefixes, &mut |entry| {
                let is_storable = entry.value.len() <= VALUE_BYTES_MAX;
                if !is_storable || !entry.key.starts_with(base::PREFIX) {
                    return;
                }
                let (lsn, offset) = (segment + at64(entry.at), offset + at64(entry.at));
                let place = Place { lsn, offset, length: entry.value.len() };
                let latest = bases.entry(entry.key).or_insert(place);
                if latest.lsn < lsn {
                    *latest = place;
                }
            });
        }
        Ok(Self { file, chunks, bases })
    }

    /// Where the log may begin, with the chunks that follow and how far they seem to go, the most
    /// promising first.
    fn candidates(&self, owner: Owner) -> Result<Vec<(End, Start, Vec<Found>)>, Error> {
        let mut found = Vec::new();
        let empty = Fold::new(owner.0, owner.1);
        let chain = self.chain_after(&empty);
        if !chain.is_empty() {
            found.push((Start::Whole(empty), chain));
        }
        for (key, place) in &self.bases {
            let Ok(state) = base::decode(&self.value(place)?) else { continue };
            let is_ours = (state.fold.instance(), state.fold.partition()) == owner;
            if *key == base::state_key(state.at) && is_ours {
                let chain = self.chain_after(&state.fold);
                found.push((Start::Base(Box::new(state)), chain));
            }
        }
        let mut found: Vec<_> = found
            .into_iter()
            .map(|(start, chain)| {
                let last = chain.last().map(|it| (it.header.epoch, it.header.n + 1));
                (last.unwrap_or_else(|| end_of(start.fold())), start, chain)
            })
            .collect();
        found.sort_by_key(|(end, start, _)| (Reverse(*end), start.at()));
        Ok(found)
    }

    /// Checks a beginning, and keeps of the chain what a reader takes, up to the first chunk that it
    /// does not: positions are not in chunks, and a log in which a deposed owner left some has others
    /// than this.
    fn save<R: Row>(&self, start: Start, mut chain: Vec<Found>) -> Result<Saved, Error> {
        let base = MemoryStore::new();
        if let Start::Base(state) = &start {
            self.read_base(state, &base)?;
            state.check::<R>(&base)?;
        }
        let mut fold = start.fold().clone();
        let mut kept = 0;
        for found in &chain {
            let Ok(chunk) = chunk::decode(&found.bytes(&self.file)?) else { break };
            let mut next = fold.clone();
            match next.offer(fold.position(), chunk) {
                Ok(Effect::Adopted | Effect::Records(_)) => fold = next,
                Ok(Effect::Void) | Err(_) => break,
            }
            kept += 1;
        }
        chain.truncate(kept);
        Ok(Saved { file: Arc::clone(&self.file), start, base, chain, fold })
    }

    /// Copies what is stored of a base.
    fn read_base(&self, state: &BaseState, to: &MemoryStore) -> Result<(), Error> {
        let prefix = base::state_key(state.at);
        for (key, place) in self.bases.range(prefix.clone()..) {
            if !key.starts_with(&prefix) {
                break;
            }
            to.put(Tree::Meta, key, &self.value(place)?)?;
        }
        Ok(())
    }

    fn value(&self, place: &Place) -> Result<Vec<u8>, Error> {
        self.file.bytes(place.offset, place.length)
    }

    /// The chain of chunks that follows `fold`, ends under the latest owner, and there as far as
    /// possible.
    fn chain_after(&self, fold: &Fold) -> Vec<Found> {
        let (first, previous_crc) = fold.next_link();
        // The chunks that a chain reaches, each with the checksum of the one before it.
        let mut reached: BTreeMap<(u64, u32), &Found> = BTreeMap::new();
        for (key, it) in self.chunks.range((first, 0)..) {
            let header = &it.header;
            let is_reached = match header.n.checked_sub(1).filter(|_| first < header.n) {
                None => header.previous_crc == previous_crc,
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
}

/// Whose a log is.
type Owner = (InstanceId, PartitionId);

fn owner_of(found: &Found) -> Owner {
    (found.header.instance, found.header.partition)
}

fn most_frequent(found: &BTreeMap<(u64, u32), Found>) -> Option<Owner> {
    let mut counts: Vec<(Owner, u64)> = Vec::new();
    for it in found.values().map(owner_of) {
        match counts.iter_mut().find(|(owner, _)| *owner == it) {
            Some((_, count)) => *count += 1,
            None => counts.push((it, 1)),
        }
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(owner, _)| owner)
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

#[cfg(test)]
mod tests;
