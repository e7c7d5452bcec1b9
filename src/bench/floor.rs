//! Floors: the same records and bytes, without an engine above them. A figure says little
//! by itself on a machine that is noisy or shared; its ratio to these, taken in the same run, does.

use std::{fs::File, io::Write, path::Path, sync::Arc};

use serde::Serialize;

use super::{Error, Scratch, rate};
use crate::{
    app::SystemClock,
    base::{
        Clock, InstanceId, Limits, Lsn, PartitionId, Timestamp,
        bytes::length_of,
        limits::{CHECKPOINT_SLICE_BYTES, SYNC_BYTES_MAX},
    },
    store::{
        self, ChunkBuilder, Directory, DirectoryFormat, Fold, Group, Inserted, LocalLog, Log,
        Record, RecordReader, Store, chunk, partitions,
    },
};

/// Bytes of log between two syncs, as the engine has it.
pub(super) const BATCH_BYTES: usize = SYNC_BYTES_MAX - 2 * CHECKPOINT_SLICE_BYTES;
pub(super) const PARTITION: PartitionId = PartitionId(0);

/// The records of a log in chunks of their own, as full as they may be: the bytes of a floor.
#[derive(Debug, Default)]
pub(super) struct Bare {
    chunks: Vec<Vec<u8>>,
    /// Whether only the bytes are counted.
    is_counted: bool,
    records: u64,
    /// Bytes of all chunks, headers included.
    pub(super) chunk_bytes: u64,
    /// The same before compression.
    pub(super) plain_bytes: u64,
}

impl Bare {
    /// Of the records of each partition that come after what it had.
    pub(super) fn read_all(dir: &Path, before: &[Lsn]) -> Result<Self, Error> {
        let count = u16::try_from(before.len()).expect("partitions are bounded");
        let mut bare = Self::default();
        for (number, after) in (0..count).zip(before) {
            bare.read_more(&partitions::place(dir, PartitionId(number), count), *after)?;
        }
        Ok(bare)
    }

    /// Counts the bytes of the records after `after` in the directory of one partition.
    pub(super) fn count_in(dir: &Path, after: Lsn) -> Result<Self, Error> {
        let mut bare = Self { is_counted: true, ..Self::default() };
        bare.read_more(dir, after)?;
        Ok(bare)
    }

    fn read_more(&mut self, dir: &Path, after: Lsn) -> Result<(), Error> {
        let store: Arc<dyn Store> = Directory::open_existing(dir)?.store();
        let missing = || store::Error::Missing { path: dir.to_owned() };
        let format = DirectoryFormat::load(&*store)?.ok_or_else(missing)?;
        let partition = LocalLog::partition_in(&*store)?.unwrap_or_default();
        let log = LocalLog::new(store, partition);
        let mut fold = owned();
        let mut open = None;
        for group in RecordReader::new(&log, Fold::new(format.instance, partition)) {
            for record in group?.iter().filter(|record| after < record.lsn) {
                self.push(&mut fold, &mut open, record);
            }
        }
        self.seal(&mut fold, open);
        Ok(())
    }

    fn push(&mut self, fold: &mut Fold, open: &mut Option<ChunkBuilder>, record: &Record) {
        let limit = Limits::default().chunk_bytes;
        let is_full =
            |it: &mut ChunkBuilder| limit <= it.len_bytes() || !it.has_room(record.body.len());
        self.seal(fold, open.take_if(is_full));
        let open = open.get_or_insert_with(|| ChunkBuilder::new(record.time));
        open.push(record.time, record.kind, record.version, &record.body);
        self.records += 1;
    }

    fn seal(&mut self, fold: &mut Fold, full: Option<ChunkBuilder>) {
        let Some(full) = full else { return };
        self.plain_bytes += u64::try_from(full.len_bytes()).expect("a chunk is far below 4 GiB");
        let (_, bytes) = fold.seal(full, Group::Ends);
        self.chunk_bytes += length_of(&bytes);
        if !self.is_counted {
            self.chunks.push(bytes);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.records
    }
}

/// A fold whose owner has fenced at position 0.
pub(super) fn owned() -> Fold {
    let mut fold = Fold::new(InstanceId([0; 16]), PARTITION);
    let fence = fold.new_fence(0, Timestamp::EPOCH);
    fold.offer(0, chunk::decode(&fence).expect("our own fence decodes"))
        .expect("a log may begin with a fence");
    fold
}

/// The same records without an engine, and what a rate is beside that.
#[derive(Debug, Clone, Serialize)]
pub struct Floors {
    /// Records per second as bare chunks appended to the same kind of store.
    pub floor_records_per_s: f64,
    /// The engine's records per second as a part of that.
    pub ratio_to_floor: f64,
    /// Records per second as the same chunks written to a plain file.
    pub raw_records_per_s: f64,
    /// The engine's records per second as a part of that.
    pub ratio_to_raw: f64,
}

impl Floors {
    /// Measures below `dir`.
    pub(super) fn measure(
        scratch: &Scratch,
        bare: &Bare,
        records_per_s: f64,
    ) -> Result<Self, Error> {
        let floor = store_seconds(&scratch.data("floor")?, bare, &SystemClock)?;
        let raw = raw_seconds(&scratch.join("raw"), bare, &SystemClock)?;
        let (floor, raw) = (rate(bare.count(), floor), rate(bare.count(), raw));
        Ok(Self {
            floor_records_per_s: floor,
            ratio_to_floor: records_per_s / floor,
            raw_records_per_s: raw,
            ratio_to_raw: records_per_s / raw,
        })
    }
}

/// Seconds to append the chunks to a store of the same kind, synced after each batch.
fn store_seconds(dir: &Path, bare: &Bare, clock: &dyn Clock) -> Result<f64, Error> {
    let store: Arc<dyn Store> = Directory::open(dir)?.store();
    let log = LocalLog::new(store, PARTITION);
    let started = clock.now();
    let mut unsynced = 0;
    for (position, bytes) in (0..).zip(&bare.chunks) {
        unsynced += bytes.len();
        if log.submit(position, bytes)? == Inserted::Occupied {
            return Err(store::Error::Conflict { position }.into());
        }
        if unsynced >= BATCH_BYTES {
            log.sync()?;
            unsynced = 0;
        }
    }
    log.sync()?;
    Ok(clock.now().since(started).to_std().as_secs_f64())
}

/// Seconds to write the same chunks to a plain file, with an fdatasync after each batch.
fn raw_seconds(path: &Path, bare: &Bare, clock: &dyn Clock) -> Result<f64, Error> {
    let failed = |source| Error::Directory { path: path.to_owned(), source };
    let mut file = File::create_new(path).map_err(failed)?;
    let started = clock.now();
    let mut unsynced = 0;
    for bytes in &bare.chunks {
        unsynced += bytes.len();
        file.write_all(bytes).map_err(failed)?;
        if unsynced >= BATCH_BYTES {
            file.sync_data().map_err(failed)?;
            unsynced = 0;
        }
    }
    file.sync_data().map_err(failed)?;
    Ok(clock.now().since(started).to_std().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_hold_the_records_given() {
        let bodies = [0, 10, 64 * 1024, 64 * 1024, 7, 100].map(|bytes| vec![0x5a; bytes]);
        let mut bare = Bare::default();
        let (mut fold, mut open) = (owned(), None);
        for body in &bodies {
            let time = Timestamp::EPOCH;
            let record = Record { lsn: Lsn(1), time, kind: 1, version: 1, body: body.clone() };
            bare.push(&mut fold, &mut open, &record);
        }
        bare.seal(&mut fold, open);
        let mut reader = owned();
        let mut found = Vec::new();
        for (position, bytes) in (1..).zip(&bare.chunks) {
            let effect = reader.offer(position, chunk::decode(bytes).unwrap()).unwrap();
            let store::Effect::Records(records) = effect else { panic!("{effect:?}") };
            found.extend(records.into_iter().map(|it| it.body));
        }
        assert_eq!(found, bodies);
        assert_eq!(bare.count(), 6);
        assert!(bare.chunk_bytes < bare.plain_bytes && 2 * 64 * 1024 < bare.plain_bytes);
    }
}
