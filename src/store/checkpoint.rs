//! What is recorded of a checkpoint, and the format of the directory.
//!
//! A checkpoint at LSN P is, in this order: pages, pieces of timers and the memory image, all from
//! the state at exactly P and written only when P is durable; a sync; the recording of P; a sync;
//! the head. A crash before the recording leaves the one before in force, and what was written
//! already is skipped or stale. At one LSN there is one checkpoint: a second would write over the
//! memory image that is in force.

use serde::{Deserialize, Serialize};

use super::{Entry, Error, Fold, Store, Tree, frame};
use crate::base::{
    InstanceId, Lsn, Malformed, Timestamp, bytes::put_sized, codec, limits::MEMORY_PART_BYTES,
};

const MAGIC: [u8; 4] = *b"ONWC";
const VERSION: u8 = 1;
const CHECKPOINT: &[u8] = b"checkpoint";
const MEMORY: &[u8] = b"memory";
const FORMAT: &[u8] = b"format";
const FORMAT_MAGIC: [u8; 4] = *b"ONWF";
/// 2: the log may have places without a value, which programs of before take for damage.
const FORMAT_VERSION: u16 = 2;
const HASH: &str = "xxh3_64";

/// A checkpoint that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointState {
    /// Up to which record everything is in the store.
    pub at: Lsn,
    /// Where reading the log goes on.
    pub fold: Fold,
    /// The engine's time.
    pub time: Timestamp,
    /// The memory image that belongs to it.
    pub memory: MemoryImage,
}

/// How a memory image is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryImage {
    parts: u32,
    crc: u32,
}

/// Packs the caller's memory image of the checkpoint at `at` as entries for [`Tree::Meta`].
pub fn memory_entries(at: Lsn, bytes: &[u8]) -> (MemoryImage, Vec<Entry>) {
    let entries: Vec<Entry> = (0_u32..)
        .zip(bytes.chunks(MEMORY_PART_BYTES))
        .map(|(part, bytes)| (memory_key(at, part), bytes.to_vec()))
        .collect();
    let parts = u32::try_from(entries.len()).expect("a memory image has fewer than 2^32 parts");
    (MemoryImage { parts, crc: crc32c::crc32c(bytes) }, entries)
}

/// Puts the checkpoint in force with the next sync. Everything of it is synced already.
pub fn record(store: &dyn Store, state: &CheckpointState) -> Result<(), Error> {
    assert!(state.fold.is_between_groups(), "a fold is saved between groups");
    assert!(state.fold.last_lsn() == state.at, "a checkpoint is saved with the fold at its LSN");
    store.put(Tree::Meta, CHECKPOINT, &encode(state))
}

pub(crate) fn encode(state: &CheckpointState) -> Vec<u8> {
    frame::seal(MAGIC, VERSION, |out| codec::encode_into(out, state))
}

pub(crate) fn decode(value: &[u8]) -> Result<CheckpointState, Malformed> {
    let state: CheckpointState = codec::decode(frame::open(MAGIC, VERSION, value)?.rest())?;
    let is_sound = state.fold.is_sound_at(state.at);
    is_sound.then_some(state).ok_or(Malformed("a fold that is not at its record"))
}

/// The checkpoint in force and its memory image.
pub fn load(store: &dyn Store) -> Result<Option<(CheckpointState, Vec<u8>)>, Error> {
    let Some(value) = store.get(Tree::Meta, CHECKPOINT)? else {
        return Ok(None);
    };
    let damaged = || Error::malformed(|| String::from("the recorded checkpoint"));
    let state = decode(&value).map_err(damaged())?;
    let mut memory = Vec::new();
    for part in 0..state.memory.parts {
        let bytes = store.get(Tree::Meta, &memory_key(state.at, part))?;
        memory.extend(
            bytes.ok_or(Malformed("a part of its memory image is gone")).map_err(damaged())?,
        );
    }
    if crc32c::crc32c(&memory) != state.memory.crc {
        return Err(damaged()(Malformed("the checksum of its memory image does not match")));
    }
    Ok(Some((state, memory)))
}

/// Removes the memory images of checkpoints before `at`, which is recorded and synced.
pub fn forget_below(store: &dyn Store, at: Lsn) -> Result<(), Error> {
    let end = memory_key(at, 0);
    while let Some((key, _)) = store.above(Tree::Meta, MEMORY)?
        && key.starts_with(MEMORY)
        && key < end
    {
        store.remove(Tree::Meta, &key)?;
    }
    Ok(())
}

/// Removes the checkpoint in force.
pub fn forget(store: &dyn Store) -> Result<(), Error> {
    store.remove(Tree::Meta, CHECKPOINT)
}

fn memory_key(at: Lsn, part: u32) -> Vec<u8> {
    let mut key = MEMORY.to_vec();
    key.extend_from_slice(&at.0.to_be_bytes());
    key.extend_from_slice(&part.to_be_bytes());
    key
}

/// What is fixed when a directory is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryFormat {
    /// Its identity.
    pub instance: InstanceId,
    /// Into how many logs its customers are shared.
    pub partitions: u16,
}

impl DirectoryFormat {
    /// What the directory was created as, if it was.
    pub fn load(store: &dyn Store) -> Result<Option<Self>, Error> {
        store.get(Tree::Meta, FORMAT)?.map(|value| Self::decode(&value)).transpose()
    }

    /// Gives a new directory the format `self`, durably; checks that an old one has it, but for
    /// the instance id, which is the directory's own, and raises its version to what this program
    /// writes. The result is in force.
    pub fn create_or_check(&self, store: &dyn Store) -> Result<Self, Error> {
        let there = store.get(Tree::Meta, FORMAT)?;
        let format = match &there {
            None => self.clone(),
            Some(value) => Self::decode(value)?,
        };
        if format.partitions != self.partitions {
            let (found, expected) = (format.partitions, self.partitions);
            return Err(Error::PartitionCount { found, expected });
        }
        let value = format.encode();
        if there.as_ref() != Some(&value) {
            store.put(Tree::Meta, FORMAT, &value)?;
            store.sync()?;
        }
        Ok(format)
    }

    /// Checks that the directory is the one that `expected` names.
    pub fn check_instance(&self, expected: InstanceId) -> Result<(), Error> {
        if self.instance == expected {
            return Ok(());
        }
        let place = String::from("the data directory");
        Err(Error::OtherInstance { place, found: self.instance, expected })
    }

    fn encode(&self) -> Vec<u8> {
        frame::seal(FORMAT_MAGIC, VERSION, |out| {
            out.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
            out.extend_from_slice(&self.partitions.to_be_bytes());
            out.extend_from_slice(&self.instance.0);
            put_sized(out, HASH.as_bytes());
        })
    }

    fn decode(value: &[u8]) -> Result<Self, Error> {
        let damaged = || Error::malformed(|| String::from("the format of the directory"));
        let mut reader = frame::open(FORMAT_MAGIC, VERSION, value).map_err(damaged())?;
        let version = reader.u16().map_err(damaged())?;
        if FORMAT_VERSION < version {
            return Err(Error::NewerFormat { found: version, known: FORMAT_VERSION });
        }
        let partitions = reader.u16().map_err(damaged())?;
        let instance = InstanceId(reader.array().map_err(damaged())?);
        let hash = reader.sized().map_err(damaged())?;
        reader.end().map_err(damaged())?;
        if hash != HASH.as_bytes() {
            let found = String::from_utf8_lossy(hash).into_owned();
            return Err(Error::OtherHash { found, expected: HASH });
        }
        Ok(Self { instance, partitions })
    }
}

#[cfg(test)]
mod tests;
