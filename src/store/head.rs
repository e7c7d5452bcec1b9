//! The head: a small file that says how far the log was acknowledged, so that a log that lost its
//! end is told from a short one.
//!
//! It has two slots of 512 bytes that are written in turn, so that a torn write leaves the other. A
//! slot is: magic `ONWH`, version (u8), sequence (u64), instance (16), partition (u16), epoch (u64),
//! position (u64), LSN (u64), time (i64), alive (i64), zeros, CRC-32C of all that (u32). Version 1 had
//! no `alive`.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{Error, Fold, frame, there};
use crate::base::{
    InstanceId, Lsn, Malformed, PartitionId, Reader, Timestamp, planted::is_planted,
};

const MAGIC: [u8; 4] = *b"ONWH";
const VERSION: u8 = 2;
/// The version that did not say when the engine was last seen alive.
const VERSION_1: u8 = 1;
/// The file.
pub(crate) const NAME: &str = "head";
const SLOT_BYTES: usize = 512;
/// More than the file has.
pub(crate) const BYTES_MAX: u64 = 4096;
const CRC_BYTES: usize = 4;

/// How far a log was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadState {
    /// The directory.
    pub instance: InstanceId,
    /// The partition.
    pub partition: PartitionId,
    /// The owner's epoch.
    pub epoch: u64,
    /// The position after the last durable chunk.
    pub position: u64,
    /// The last durable record.
    pub lsn: Lsn,
    /// When it happened, in engine time.
    pub time: Timestamp,
    /// When the engine last looked at its clock, as far as was written down; `time` or later.
    pub alive: Timestamp,
}

impl HeadState {
    /// What to write once everything that `fold` has counted is durable, by an engine that was
    /// running at `alive`.
    pub fn of(fold: &Fold, alive: Timestamp) -> Self {
        Self {
            instance: fold.instance(),
            partition: fold.partition(),
            epoch: fold.epoch(),
            position: fold.position(),
            lsn: fold.last_lsn(),
            time: fold.last_time(),
            alive: alive.max(fold.last_time()),
        }
    }

    /// Checks that a log, read to its end, reaches as far as this says.
    pub fn check(&self, fold: &Fold) -> Result<(), Error> {
        if self.instance != fold.instance() {
            return Err(Error::OtherInstance {
                place: String::from("the file head"),
                found: self.instance,
                expected: fold.instance(),
            });
        }
        if fold.last_lsn() < self.lsn && !is_planted!("head_unchecked") {
            return Err(Error::Shortened {
                ends: fold.last_lsn(),
                acknowledged: self.lsn,
                at: self.time,
            });
        }
        Ok(())
    }
}

/// The file.
#[derive(Debug)]
pub struct Head {
    dir: PathBuf,
    /// Open from the first write on, because whoever only reads need not be allowed to write.
    file: Option<File>,
    sequence: u64,
    /// What it says.
    last: Option<HeadState>,
}

impl Head {
    /// Opens `<dir>/head` and reads its newest whole slot; nothing where there is no such file yet.
    pub fn open(dir: &Path) -> Result<(Self, Option<HeadState>), Error> {
        let mut head = Self { dir: dir.to_owned(), file: None, sequence: 0, last: None };
        let path = dir.join(NAME);
        let Some(bytes) = there::read(&path, BYTES_MAX)? else { return Ok((head, None)) };
        let newest = slots(&bytes).into_iter().flatten().max_by_key(|(sequence, _)| *sequence);
        let (sequence, state) = newest
            .ok_or(Malformed("neither slot is whole"))
            .map_err(Error::malformed(|| path.display().to_string()))?;
        head.sequence = sequence;
        head.last = Some(state.clone());
        Ok((head, Some(state)))
    }

    /// Gives the directory `to` the head of `from`, as it is.
    pub fn copy(from: &Path, to: &Path) -> Result<(), Error> {
        let (_, state) = Self::open(from)?;
        let (mut head, _) = Self::open(to)?;
        state.map_or(Ok(()), |state| head.write(&state))
    }

    /// Writes `state` over the older slot and syncs it.
    pub fn write(&mut self, state: &HeadState) -> Result<(), Error> {
        let is_there = self.last.is_some();
        self.sequence += 1;
        self.last = Some(state.clone());
        let slot = encode(self.sequence, state);
        let path = self.dir.join(NAME);
        let file = match &mut self.file {
            Some(file) => file,
            none if is_there => {
                let file = OpenOptions::new().write(true).open(&path);
                none.insert(file.map_err(Error::io("open", &path))?)
            }
            none => {
                *none = Some(create(&self.dir, &path, &slot)?);
                return Ok(());
            }
        };
        let offset = if self.sequence.is_multiple_of(2) { 0 } else { 512 };
        file.write_all_at(&slot, offset)
            .and_then(|()| file.sync_data())
            .map_err(Error::io("write", &path))
    }

    /// Writes what it says once more, by an engine that is running at `alive`.
    pub fn write_alive(&mut self, alive: Timestamp) -> Result<(), Error> {
        let Some(mut state) = self.last.clone() else { return Ok(()) };
        state.alive = alive.max(state.time);
        self.write(&state)
    }
}

/// Makes the file whole before it has its name, so that there is never one without a slot.
fn create(dir: &Path, path: &Path, slot: &[u8]) -> Result<File, Error> {
    let unnamed = dir.join("head.new");
    let mut file = there::create_anew(&unnamed)?;
    file.write_all(&slot.repeat(2))
        .and_then(|()| file.sync_all())
        .map_err(Error::io("write", &unnamed))?;
    fs::rename(&unnamed, path).map_err(Error::io("create", path))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", dir))?;
    Ok(file)
}

/// What each slot says, or why it does not.
pub(crate) fn slots(bytes: &[u8]) -> Vec<Result<(u64, HeadState), Malformed>> {
    bytes.chunks(SLOT_BYTES).map(decode).collect()
}

pub(crate) fn encode(sequence: u64, state: &HeadState) -> Vec<u8> {
    frame::seal(MAGIC, VERSION, |out| {
        out.extend_from_slice(&sequence.to_be_bytes());
        out.extend_from_slice(&state.instance.0);
        out.extend_from_slice(&state.partition.0.to_be_bytes());
        for number in [state.epoch, state.position, state.lsn.0] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        for time in [state.time, state.alive] {
            out.extend_from_slice(&time.micros().to_be_bytes());
        }
        out.resize(SLOT_BYTES - CRC_BYTES, 0);
    })
}

pub(crate) fn decode(slot: &[u8]) -> Result<(u64, HeadState), Malformed> {
    let newest = frame::open(MAGIC, VERSION, slot);
    let is_newest = newest.is_ok();
    let mut reader = newest.or_else(|_| frame::open(MAGIC, VERSION_1, slot))?;
    let sequence = reader.u64()?;
    let mut state = HeadState {
        instance: InstanceId(reader.array()?),
        partition: PartitionId(reader.u16()?),
        epoch: reader.u64()?,
        position: reader.u64()?,
        lsn: Lsn(reader.u64()?),
        time: read_time(&mut reader)?,
        alive: Timestamp::EPOCH,
    };
    state.alive = if is_newest { read_time(&mut reader)? } else { state.time };
    if state.alive < state.time {
        return Err(Malformed("last seen alive before its last record"));
    }
    Ok((sequence, state))
}

fn read_time(reader: &mut Reader<'_>) -> Result<Timestamp, Malformed> {
    Timestamp::from_micros(reader.i64()?).map_err(|_| Malformed("a time outside 1970 to 9999"))
}

#[cfg(test)]
mod tests;
