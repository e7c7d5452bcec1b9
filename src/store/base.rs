//! A base: what a log whose beginning is trimmed starts from.
//!
//! At the LSN of a checkpoint it keeps the fold, the memory image, and the number and digest of all
//! rows; copies of the pages too, as long as they are small. Reading the log begins at the oldest
//! base at or after the first chunk that is left.
//!
//! | Key in [`Tree::Meta`] | Value |
//! |---|---|
//! | `base`, LSN (u64) | a frame (magic `ONWB`, version) of [`BaseState`] |
//! | `base`, LSN, `m`, part (u32) | a part of the memory image |
//! | `base`, LSN, `r`, key of a page | that page |
//!
//! The state is written last and removed first, each time with a sync in between, so a base without
//! it is none, and [`sweep`] removes its parts.

use std::{collections::VecDeque, marker::PhantomData};

use serde::{Deserialize, Serialize};

use super::{
    CheckpointState, Entry, Error, Fold, Log, MemoryStore, Row, Store, Tree, frame,
    image::{Digest, StoredPages},
};
use crate::base::{
    ContentHash, Lsn, Malformed, Timestamp, codec, limits::MEMORY_PART_BYTES, planted::is_planted,
};

const MAGIC: [u8; 4] = *b"ONWB";
const VERSION: u8 = 1;
/// How the keys of a base begin.
pub(super) const PREFIX: &[u8] = b"base";
const MEMORY: u8 = b'm';
const ROWS: u8 = b'r';
/// Above every part.
const END: u8 = u8::MAX;

/// What a base says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseState {
    /// Up to which record.
    pub at: Lsn,
    /// Where reading the log goes on.
    pub fold: Fold,
    /// The engine's time.
    pub time: Timestamp,
    memory_parts: u32,
    memory_crc: u32,
    /// How many rows there were.
    pub rows: u64,
    /// Their digest, see [`Digest`].
    pub digest: ContentHash,
    /// How many pages are copied; none where they were too large.
    copies: Option<u64>,
}

impl BaseState {
    /// Whether it keeps copies of all rows, and not only their digest.
    pub const fn has_copies(&self) -> bool {
        self.copies.is_some()
    }

    /// Checks that in `store` it has all that gives the rows again.
    pub(super) fn check<R: Row>(&self, store: &dyn Store) -> Result<(), Error> {
        let damaged = |what: &str| {
            let (what, place) = (what.to_owned(), format!("the base at record {}", self.at));
            Err(Error::Damaged { what, place })
        };
        if !self.has_copies() {
            return damaged("it has no copies of the rows, because they were too many");
        }
        self.memory(store)?;
        let rows = MemoryStore::new();
        self.each_copy(store, &mut |key, value| rows.put(Tree::Rows, key, value))?;
        let (mut pages, mut digest) = (StoredPages::default(), Digest::new(self.time));
        while let Some(stored) = pages.next::<R>(&rows)? {
            digest.add_page(&stored.page)?;
        }
        if digest.finish() == (self.rows, self.digest) || is_planted!("base_copies_unchecked") {
            return Ok(());
        }
        damaged("the copies of its rows are not those that it counted")
    }

    /// Its memory image.
    pub fn memory(&self, store: &dyn Store) -> Result<Vec<u8>, Error> {
        let damaged = || Error::malformed(|| format!("the base at record {}", self.at));
        let mut memory = Vec::new();
        for part in 0..self.memory_parts {
            let bytes = store.get(Tree::Meta, &memory_key(self.at, part))?;
            let gone = Malformed("a part of its memory image is gone");
            memory.extend(bytes.ok_or(gone).map_err(damaged())?);
        }
        if crc32c::crc32c(&memory) == self.memory_crc {
            return Ok(memory);
        }
        Err(damaged()(Malformed("the checksum of its memory image does not match")))
    }

    /// Calls `take` for each copied page, with the key and the value that it had in [`Tree::Rows`].
    pub fn each_copy(&self, store: &dyn Store, take: &mut Take<'_>) -> Result<(), Error> {
        let mut after = part_key(self.at, ROWS, &[]);
        let prefix = after.clone();
        let mut count = 0;
        while let Some((key, value)) = store.above(Tree::Meta, &after)?
            && let Some(page) = key.strip_prefix(&*prefix)
        {
            take(page, &value)?;
            count += 1;
            after = key;
        }
        if Some(count) == self.copies {
            return Ok(());
        }
        let damaged = Error::malformed(|| format!("the base at record {}", self.at));
        Err(damaged(Malformed("copies of its rows are gone")))
    }
}

/// The state of a base as it is stored.
pub(crate) fn encode(state: &BaseState) -> Vec<u8> {
    frame::seal(MAGIC, VERSION, |out| codec::encode_into(out, state))
}

/// Reads the state of a base.
pub(crate) fn decode(value: &[u8]) -> Result<BaseState, Malformed> {
    let state: BaseState = codec::decode(frame::open(MAGIC, VERSION, value)?.rest())?;
    if !state.fold.is_sound_at(state.at) {
        return Err(Malformed("a fold that is not at its record"));
    }
    Ok(state)
}

/// The bases in force, oldest first.
pub fn list(store: &dyn Store) -> Result<Vec<BaseState>, Error> {
    let mut found = Vec::new();
    let mut after = PREFIX.to_vec();
    while let Some((key, value)) = store.above(Tree::Meta, &after)?
        && let Some(at) = lsn_of(&key)
    {
        after = part_key(at, END, &[]);
        if key == state_key(at) {
            let place = || format!("the base at record {at}");
            let state = decode(&value).map_err(Error::malformed(place))?;
            if state.at != at {
                return Err(Error::malformed(place)(Malformed("it says another record")));
            }
            found.push(state);
        }
    }
    Ok(found)
}

/// Who takes an entry.
type Take<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), Error> + 'a;

/// Where reading a log begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// At its first record: nothing is trimmed.
    Whole(Fold),
    /// At a base.
    Base(Box<BaseState>),
}

impl Start {
    /// Where the log of which `empty` is the beginning starts now.
    pub fn find(store: &dyn Store, log: &dyn Log, empty: Fold) -> Result<Self, Error> {
        let first = log.read(0)?.map_or(0, |(position, _)| position);
        if first == 0 {
            return Ok(Self::Whole(empty));
        }
        let mut bases = list(store)?.into_iter();
        if let Some(base) = bases.find(|base| first <= base.fold.position()) {
            return Ok(Self::Base(Box::new(base)));
        }
        let what = format!("it begins at position {first}, and no base says what was before");
        Err(Error::Damaged { what, place: String::from("the log") })
    }

    /// The fold to read on from.
    pub const fn fold(&self) -> &Fold {
        match self {
            Self::Whole(fold) => fold,
            Self::Base(base) => &base.fold,
        }
    }

    /// The last record that is trimmed.
    pub fn at(&self) -> Lsn {
        match self {
            Self::Whole(_) => Lsn::ZERO,
            Self::Base(base) => base.at,
        }
    }
}

/// Removes bases before `oldest`, and parts that belong to no base in force; at most about
/// `removals` keys. Tells whether that was all; sync before going on.
pub fn sweep(store: &dyn Store, oldest: Lsn, mut removals: usize) -> Result<bool, Error> {
    let mut after = PREFIX.to_vec();
    while let Some((key, value)) = store.above(Tree::Meta, &after)?
        && let Some(at) = lsn_of(&key)
    {
        let is_state = key == state_key(at);
        if is_state && oldest <= at {
            let damaged = Error::malformed(|| format!("the base at record {at}"));
            let has_copies = decode(&value).map_err(damaged)?.has_copies();
            after = part_key(at, if has_copies { END } else { ROWS }, &[]);
            continue;
        }
        if removals == 0 {
            return Ok(false);
        }
        removals -= 1;
        store.remove(Tree::Meta, &key)?;
        if is_state {
            // Its parts go only when it is gone for good.
            return Ok(false);
        }
        after = key;
    }
    Ok(true)
}

/// Removes bases above `at`: their records are gone, and other records get the same LSNs.
pub fn forget_above(store: &dyn Store, at: Lsn) -> Result<(), Error> {
    for base in list(store)?.iter().filter(|base| at < base.at) {
        store.remove(Tree::Meta, &state_key(base.at))?;
    }
    store.sync()
}

/// Writes a base in slices.
#[derive(Debug)]
pub struct BaseWriter<R> {
    state: BaseState,
    memory: VecDeque<Entry>,
    pages: StoredPages,
    digest: Digest,
    /// What copies may still take.
    copy_bytes: usize,
    is_whole: bool,
    rows: PhantomData<R>,
}

impl<R: Row> BaseWriter<R> {
    /// A base at the checkpoint `at`, whose memory image is `memory`. It copies the rows unless
    /// that takes more than `copy_bytes`.
    pub fn new(at: &CheckpointState, memory: &[u8], copy_bytes: usize) -> Self {
        assert!(at.fold.is_between_groups(), "a fold is saved between groups");
        let parts = (0_u32..).zip(memory.chunks(MEMORY_PART_BYTES));
        let entries: VecDeque<Entry> =
            parts.map(|(part, bytes)| (memory_key(at.at, part), bytes.to_vec())).collect();
        let state = BaseState {
            at: at.at,
            fold: at.fold.clone(),
            time: at.time,
            memory_parts: u32::try_from(entries.len()).expect("an image has fewer than 2^32 parts"),
            memory_crc: crc32c::crc32c(memory),
            rows: 0,
            digest: ContentHash([0; 16]),
            copies: Some(0),
        };
        Self {
            digest: Digest::new(at.time),
            pages: StoredPages::default(),
            memory: entries,
            copy_bytes,
            is_whole: false,
            rows: PhantomData,
            state,
        }
    }

    /// Reads pages of `from`, which are at the checkpoint, and writes parts to `to`, about `budget`
    /// bytes together.
    pub fn write(&mut self, from: &dyn Store, to: &dyn Store, budget: usize) -> Result<(), Error> {
        let mut spent = 0;
        while spent < budget {
            if let Some((key, value)) = self.memory.pop_front() {
                spent += value.len();
                to.put(Tree::Meta, &key, &value)?;
                continue;
            }
            let Some(stored) = self.pages.next::<R>(from)? else {
                self.is_whole = true;
                return Ok(());
            };
            let (key, value) = stored.entry;
            spent += value.len();
            self.digest.add_page(&stored.page)?;
            match self.copy_bytes.checked_sub(key.len() + value.len()) {
                Some(left) => self.copy_bytes = left,
                // The sweep that follows every base takes away what has been copied.
                None => self.state.copies = None,
            }
            if let Some(copies) = &mut self.state.copies {
                *copies += 1;
                to.put(Tree::Meta, &part_key(self.state.at, ROWS, &key), &value)?;
            }
        }
        Ok(())
    }

    /// Whether all parts are written.
    pub const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Puts the base in force with the next sync. Everything of it is synced already.
    pub fn record(mut self, to: &dyn Store) -> Result<BaseState, Error> {
        assert!(self.is_whole, "a base is recorded once it is whole");
        (self.state.rows, self.state.digest) = self.digest.finish();
        to.put(Tree::Meta, &state_key(self.state.at), &encode(&self.state))?;
        Ok(self.state)
    }
}

/// The key of a base, with which those of its parts begin.
pub(super) fn state_key(at: Lsn) -> Vec<u8> {
    [PREFIX, &at.0.to_be_bytes()].concat()
}

fn part_key(at: Lsn, kind: u8, part: &[u8]) -> Vec<u8> {
    [PREFIX, &at.0.to_be_bytes(), &[kind], part].concat()
}

fn memory_key(at: Lsn, part: u32) -> Vec<u8> {
    part_key(at, MEMORY, &part.to_be_bytes())
}

/// The LSN in a key of a base.
pub(super) fn lsn_of(key: &[u8]) -> Option<Lsn> {
    let rest = key.strip_prefix(PREFIX)?;
    rest.first_chunk().map(|bytes| Lsn(u64::from_be_bytes(*bytes)))
}

#[cfg(test)]
mod tests;
