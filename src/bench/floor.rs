//! Floors: the same records, number and sizes, without an engine above them. A figure says little
//! by itself on a machine that is noisy or shared; its ratio to these, taken in the same run, does.

use std::{fs::File, io::Write, path::Path, sync::Arc};

use serde::Serialize;

use super::{Error, Scratch, rate};
use crate::{
    app::SystemClock,
    base::{
        Clock, InstanceId, Limits, Lsn, PartitionId, Timestamp,
        bytes::length_of,
        limits::{CHECKPOINT_SLICE_BYTES, RECORD_BYTES_MAX, SYNC_BYTES_MAX},
    },
    store::{
        self, ChunkBuilder, Directory, DirectoryFormat, Fold, Group, Inserted, LocalLog, Log,
        RecordReader, Store, chunk, partitions,
    },
};

/// Bytes of log between two syncs, as the engine has it.
pub(super) const BATCH_BYTES: usize = SYNC_BYTES_MAX - 2 * CHECKPOINT_SLICE_BYTES;
pub(super) const PARTITION: PartitionId = PartitionId(0);

/// The sizes of a log's record bodies.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    bodies: Vec<u32>,
    /// Bytes of all of them in chunks, framing included.
    pub(super) chunk_bytes: u64,
}

impl Sizes {
    /// Of the records of each partition that come after what it had.
    pub(super) fn read_all(dir: &Path, before: &[Lsn]) -> Result<Self, Error> {
        let count = u16::try_from(before.len()).expect("partitions are bounded");
        let mut sizes = Self::default();
        for (number, after) in (0..count).zip(before) {
            let place = partitions::place(dir, PartitionId(number), count);
            let Self { bodies, chunk_bytes } = Self::read(&place, *after)?;
            sizes.bodies.extend(bodies);
            sizes.chunk_bytes += chunk_bytes;
        }
        Ok(sizes)
    }

    /// Of the records after `after` in the directory of one partition.
    pub(super) fn read(dir: &Path, after: Lsn) -> Result<Self, Error> {
        let store: Arc<dyn Store> = Directory::open_existing(dir)?.store();
        let missing = || store::Error::Missing { path: dir.to_owned() };
        let format = DirectoryFormat::load(&*store)?.ok_or_else(missing)?;
        let partition = LocalLog::partition_in(&*store)?.unwrap_or_default();
        let log = LocalLog::new(store, partition);
        let mut sizes = Self::default();
        for group in RecordReader::new(&log, Fold::new(format.instance, partition)) {
            for record in group?.iter().filter(|record| after < record.lsn) {
                let bytes = u32::try_from(record.body.len()).expect("a record is far below 4 GiB");
                sizes.bodies.push(bytes);
            }
        }
        sizes.chunk_bytes = sizes.chunks().map(|(_, bytes)| length_of(&bytes)).sum();
        Ok(sizes)
    }

    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.bodies.len()).expect("an address space is at most 64 bits wide")
    }

    /// Chunks of records of these sizes, with their positions, as an owner seals them.
    fn chunks(&self) -> impl Iterator<Item = (u64, Vec<u8>)> {
        let limit = Limits::default().chunk_bytes;
        let mut bodies = self.bodies.iter().copied().peekable();
        let mut fold = owned();
        std::iter::from_fn(move || {
            bodies.peek()?;
            let mut open = ChunkBuilder::new(Timestamp::EPOCH);
            while open.len_bytes() < limit
                && let Some(bytes) = bodies.next_if(|it| open.has_room(length(*it)))
            {
                open.push(Timestamp::EPOCH, 1, 1, filler(length(bytes)));
            }
            Some(fold.seal(open, Group::Ends))
        })
    }
}

fn length(bytes: u32) -> usize {
    usize::try_from(bytes).expect("an address space is at least 32 bits wide")
}

fn filler(bytes: usize) -> &'static [u8] {
    static FILLER: [u8; RECORD_BYTES_MAX] = [0x5a; RECORD_BYTES_MAX];
    FILLER.get(..bytes).expect("a record stays within its limit")
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
        sizes: &Sizes,
        records_per_s: f64,
    ) -> Result<Self, Error> {
        let floor = store_seconds(&scratch.data("floor")?, sizes, &SystemClock)?;
        let raw = raw_seconds(&scratch.join("raw"), sizes, &SystemClock)?;
        let (floor, raw) = (rate(sizes.count(), floor), rate(sizes.count(), raw));
        Ok(Self {
            floor_records_per_s: floor,
            ratio_to_floor: records_per_s / floor,
            raw_records_per_s: raw,
            ratio_to_raw: records_per_s / raw,
        })
    }
}

/// Seconds to seal and append the records to a store of the same kind, synced after each batch.
fn store_seconds(dir: &Path, sizes: &Sizes, clock: &dyn Clock) -> Result<f64, Error> {
    let store: Arc<dyn Store> = Directory::open(dir)?.store();
    let log = LocalLog::new(store, PARTITION);
    let started = clock.now();
    let mut unsynced = 0;
    for (position, bytes) in sizes.chunks() {
        unsynced += bytes.len();
        if log.submit(position, &bytes)? == Inserted::Occupied {
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
fn raw_seconds(path: &Path, sizes: &Sizes, clock: &dyn Clock) -> Result<f64, Error> {
    let failed = |source| Error::Directory { path: path.to_owned(), source };
    let mut file = File::create_new(path).map_err(failed)?;
    let started = clock.now();
    let mut unsynced = 0;
    for (_, bytes) in sizes.chunks() {
        unsynced += bytes.len();
        file.write_all(&bytes).map_err(failed)?;
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
    fn chunks_hold_records_of_the_sizes_given() {
        let bodies = vec![0, 10, 64 * 1024, 64 * 1024, 7, 100];
        let sizes = Sizes { bodies: bodies.clone(), chunk_bytes: 0 };
        let mut reader = owned();
        let mut found = Vec::new();
        for (position, bytes) in sizes.chunks() {
            let effect = reader.offer(position, chunk::decode(&bytes).unwrap()).unwrap();
            let store::Effect::Records(records) = effect else { panic!("{effect:?}") };
            found.extend(records.iter().map(|it| u32::try_from(it.body.len()).unwrap()));
        }
        assert_eq!(found, bodies);
    }
}
