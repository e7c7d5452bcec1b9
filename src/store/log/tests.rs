//! Finding and trimming chunks and records.

use super::*;
use crate::{
    base::{InstanceId, Timestamp},
    store::{ChunkBuilder, Group, MemoryStore},
};

fn log(store: &MemoryStore, partition: u16) -> LocalLog {
    LocalLog::new(Arc::new(store.clone()), PartitionId(partition))
}

#[test]
fn positions_belong_to_a_partition() {
    let store = MemoryStore::new();
    let [zero, one, two] = [log(&store, 0), log(&store, 1), log(&store, 2)];
    assert_eq!(one.tail().unwrap(), 0);
    assert_eq!(zero.submit(0, b"a").unwrap(), Inserted::Stored);
    assert_eq!(two.submit(0, b"c").unwrap(), Inserted::Stored);
    assert_eq!(one.tail().unwrap(), 0);
    assert_eq!(one.read(0).unwrap(), None);
    assert_eq!(one.submit(0, b"b").unwrap(), Inserted::Stored);
    assert_eq!(one.submit(0, b"x").unwrap(), Inserted::Occupied);
    assert_eq!(one.submit(1, b"d").unwrap(), Inserted::Stored);
    assert_eq!(one.read(0).unwrap(), Some((0, b"b".to_vec())));
    assert_eq!(one.read(1).unwrap(), Some((1, b"d".to_vec())));
    assert_eq!(one.read(2).unwrap(), None);
    assert_eq!(one.tail().unwrap(), 2);
    assert_eq!(zero.tail().unwrap(), 1);
}

#[test]
fn trimming_keeps_the_last_chunk_and_the_other_partitions() {
    let store = MemoryStore::new();
    let [zero, one] = [log(&store, 0), log(&store, 1)];
    for position in 0..5 {
        let _ = zero.submit(position, b"a").unwrap();
        let _ = one.submit(position, b"b").unwrap();
    }
    assert!(one.trim(3, usize::MAX).unwrap());
    assert_eq!(one.read(0).unwrap(), Some((3, b"b".to_vec())));
    assert!(one.trim(99, usize::MAX).unwrap());
    assert_eq!(one.read(0).unwrap(), Some((4, b"b".to_vec())));
    assert_eq!(one.tail().unwrap(), 5);
    assert_eq!(zero.read(0).unwrap(), Some((0, b"a".to_vec())));
}

/// A log with a fence before every tenth chunk of three records.
fn written(store: &MemoryStore) -> (LocalLog, Fold) {
    let log = log(store, 0);
    let mut fold = Fold::new(InstanceId([0; 16]), PartitionId(0));
    for n in 0..100_u8 {
        if n % 10 == 0 {
            let fence = fold.new_fence(n.into(), Timestamp::EPOCH);
            assert_eq!(log.submit(fold.position(), &fence).unwrap(), Inserted::Stored);
            fold.offer(fold.position(), chunk::decode(&fence).unwrap()).unwrap();
        }
        let mut chunk = ChunkBuilder::new(Timestamp::EPOCH);
        for part in 0..3 {
            chunk.push(Timestamp::EPOCH, 1, 1, &[n, part]);
        }
        // A group that the next fence voids.
        let group = if n % 10 == 9 { Group::Continues } else { Group::Ends };
        let (position, bytes) = fold.seal(chunk, group);
        assert_eq!(log.submit(position, &bytes).unwrap(), Inserted::Stored);
    }
    (log, fold)
}

#[test]
fn a_record_is_found_among_fences_and_voided_groups_and_after_trimming() {
    let (log, fold) = written(&MemoryStore::new());
    let all: Vec<Record> = RecordReader::new(&log, Fold::new(InstanceId([0; 16]), PartitionId(0)))
        .flat_map(|records| records.unwrap())
        .collect();
    assert_eq!(all.len(), 270);
    assert_eq!(fold.last_lsn(), Lsn(270));
    for record in &all {
        assert_eq!(record_at(&log, &fold, record.lsn).unwrap().as_ref(), Some(record));
    }
    assert_eq!(record_at(&log, &fold, Lsn::ZERO).unwrap(), None);
    assert_eq!(record_at(&log, &fold, Lsn(271)).unwrap(), None);

    for below in [5, 44, 46] {
        assert!(log.trim(below, usize::MAX).unwrap());
        for record in &all {
            let position = find(&log, &fold, record.lsn).unwrap();
            let found = record_at(&log, &fold, record.lsn).unwrap();
            assert!(position.is_none_or(|position| below <= position));
            assert_eq!(found.is_some(), position.is_some());
            assert!(found.is_none_or(|found| found == *record));
        }
        assert!(record_at(&log, &fold, Lsn(270)).unwrap().is_some());
        assert_eq!(record_at(&log, &fold, Lsn(1)).unwrap(), None);
    }
}

#[test]
fn a_flipped_byte_stops_the_reader_and_names_the_position() {
    let store = MemoryStore::new();
    let (log, _) = written(&store);
    let (_, mut bytes) = log.read(17).unwrap().unwrap();
    bytes[90] ^= 1;
    store.put(Tree::Log, &log.key(17), &bytes).unwrap();
    let fold = Fold::new(InstanceId([0; 16]), PartitionId(0));
    let error = RecordReader::new(&log, fold).find_map(Result::err).unwrap();
    assert!(error.to_string().contains("position 17"), "{error}");
}
