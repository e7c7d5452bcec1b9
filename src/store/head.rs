//! The head: a small file that says how far the log was acknowledged, so that a log that lost its
//! end is told from a short one.
//!
//! It has two slots of 512 bytes that are written in turn, so that a torn write leaves the other. A
//! slot is: magic `ONWH`, version (u8), sequence (u64), instance (16), partition (u16), epoch (u64),
//! position (u64), LSN (u64), time (i64), zeros, CRC-32C of all that (u32).

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{Error, Fold, frame};
use crate::base::{InstanceId, Lsn, Malformed, PartitionId, Timestamp, planted::is_planted};

const MAGIC: [u8; 4] = *b"ONWH";
const VERSION: u8 = 1;
const SLOT_BYTES: usize = 512;
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
}

impl HeadState {
    /// What to write once everything that `fold` has counted is durable.
    pub fn of(fold: &Fold) -> Self {
        Self {
            instance: fold.instance(),
            partition: fold.partition(),
            epoch: fold.epoch(),
            position: fold.position(),
            lsn: fold.last_lsn(),
            time: fold.last_time(),
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
    /// None until the first write.
    file: Option<File>,
    sequence: u64,
}

impl Head {
    /// Opens `<dir>/head` and reads its newest whole slot; nothing where there is no such file yet.
    pub fn open(dir: &Path) -> Result<(Self, Option<HeadState>), Error> {
        let path = dir.join("head");
        let mut head = Self { dir: dir.to_owned(), file: None, sequence: 0 };
        if !path.exists() {
            return Ok((head, None));
        }
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        let newest = slots(&bytes).into_iter().flatten().max_by_key(|(sequence, _)| *sequence);
        let place = || path.display().to_string();
        let (sequence, state) =
            newest.ok_or(Malformed("neither slot is whole")).map_err(Error::malformed(place))?;
        let mut options = OpenOptions::new();
        head.file = Some(options.write(true).open(&path).map_err(Error::io("open", &path))?);
        head.sequence = sequence;
        Ok((head, Some(state)))
    }

    /// Writes `state` over the older slot and syncs it.
    pub fn write(&mut self, state: &HeadState) -> Result<(), Error> {
        self.sequence += 1;
        let slot = encode(self.sequence, state);
        let path = self.dir.join("head");
        let Some(file) = &self.file else {
            self.file = Some(self.create(&path, &slot)?);
            return Ok(());
        };
        let offset = if self.sequence.is_multiple_of(2) { 0 } else { 512 };
        file.write_all_at(&slot, offset)
            .and_then(|()| file.sync_data())
            .map_err(Error::io("write", &path))
    }

    /// Makes the file whole before it has its name, so that there is never one without a slot.
    fn create(&self, path: &Path, slot: &[u8]) -> Result<File, Error> {
        let unnamed = self.dir.join("head.new");
        let mut file = File::create(&unnamed).map_err(Error::io("create", &unnamed))?;
        file.write_all(&slot.repeat(2))
            .and_then(|()| file.sync_all())
            .map_err(Error::io("write", &unnamed))?;
        fs::rename(&unnamed, path).map_err(Error::io("create", path))?;
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(Error::io("sync", &self.dir))?;
        Ok(file)
    }
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
        out.extend_from_slice(&state.time.micros().to_be_bytes());
        out.resize(SLOT_BYTES - CRC_BYTES, 0);
    })
}

pub(crate) fn decode(slot: &[u8]) -> Result<(u64, HeadState), Malformed> {
    let mut reader = frame::open(MAGIC, VERSION, slot)?;
    let sequence = reader.u64()?;
    let state = HeadState {
        instance: InstanceId(reader.array()?),
        partition: PartitionId(reader.u16()?),
        epoch: reader.u64()?,
        position: reader.u64()?,
        lsn: Lsn(reader.u64()?),
        time: Timestamp::from_micros(reader.i64()?)
            .map_err(|_| Malformed("a time outside 1970 to 9999"))?,
    };
    Ok((sequence, state))
}

#[cfg(test)]
mod tests;
