//! Which checkpoint is in force, and which formats of a directory are refused.

use super::*;
use crate::{
    base::PartitionId,
    store::{ChunkBuilder, Group, MemoryStore, chunk},
};

const HERE: InstanceId = InstanceId([3; 16]);

/// A fold after so many records.
fn fold(records: u64) -> Fold {
    let mut fold = Fold::new(HERE, PartitionId(0));
    let fence = chunk::decode(&fold.new_fence(1, Timestamp::EPOCH)).unwrap();
    fold.offer(0, fence).unwrap();
    let mut chunk = ChunkBuilder::new(Timestamp::EPOCH);
    (0..records).for_each(|_| chunk.push(Timestamp::EPOCH, 1, 1, b"body"));
    fold.seal(chunk, Group::Ends);
    fold
}

fn save(store: &MemoryStore, at: u64, memory: &[u8]) -> CheckpointState {
    let (memory, entries) = memory_entries(Lsn(at), memory);
    entries.iter().for_each(|(key, value)| store.put(Tree::Meta, key, value).unwrap());
    CheckpointState { at: Lsn(at), fold: fold(at), time: Timestamp::MAX, memory }
}

#[test]
fn the_recorded_checkpoint_is_in_force_and_no_other() {
    let store = MemoryStore::new();
    assert_eq!(load(&store).unwrap(), None);
    let long = vec![7; MEMORY_PART_BYTES * 2 + 1];
    let first = save(&store, 5, &long);
    assert_eq!(load(&store).unwrap(), None);
    record(&store, &first).unwrap();
    assert_eq!(load(&store).unwrap(), Some((first.clone(), long.clone())));
    let second = save(&store, 9, b"short");
    assert_eq!(load(&store).unwrap(), Some((first, long)));
    record(&store, &second).unwrap();
    forget_below(&store, Lsn(9)).unwrap();
    assert_eq!(load(&store).unwrap(), Some((second, b"short".to_vec())));
    let (first_part, _) = store.above(Tree::Meta, MEMORY).unwrap().unwrap();
    assert_eq!(first_part, memory_key(Lsn(9), 0));
    let third = save(&store, 10, b"");
    record(&store, &third).unwrap();
    assert_eq!(load(&store).unwrap(), Some((third, vec![])));
}

#[test]
fn a_damaged_memory_image_is_noticed() {
    let store = MemoryStore::new();
    let state = save(&store, 5, b"image");
    record(&store, &state).unwrap();
    store.put(Tree::Meta, &memory_key(Lsn(5), 0), b"imagf").unwrap();
    assert!(load(&store).unwrap_err().to_string().contains("checksum of its memory image"));
    store.remove(Tree::Meta, &memory_key(Lsn(5), 0)).unwrap();
    assert!(load(&store).unwrap_err().to_string().contains("is gone"));
    store.put(Tree::Meta, CHECKPOINT, b"ONWC?").unwrap();
    assert!(matches!(load(&store).unwrap_err(), Error::Damaged { .. }));
}

#[test]
fn a_directory_keeps_the_format_it_was_created_with() {
    let store = MemoryStore::new();
    let format = DirectoryFormat { instance: HERE, partitions: 1 };
    assert_eq!(DirectoryFormat::load(&store).unwrap(), None);
    assert_eq!(format.create_or_check(&store).unwrap(), format);
    let store = store.crashed();
    let again = DirectoryFormat { instance: InstanceId([9; 16]), partitions: 1 };
    assert_eq!(again.create_or_check(&store).unwrap(), format);
    format.check_instance(HERE).unwrap();
    let error = format.check_instance(InstanceId([9; 16])).unwrap_err();
    assert!(matches!(error, Error::OtherInstance { .. }));
    let more = DirectoryFormat { instance: HERE, partitions: 4 };
    let error = more.create_or_check(&store).unwrap_err();
    assert!(matches!(error, Error::PartitionCount { found: 1, expected: 4 }));
}

/// A format as a program that writes this version stores it.
fn body(version: u16, hash: &str) -> Vec<u8> {
    frame::seal(FORMAT_MAGIC, VERSION, |out| {
        out.extend_from_slice(&version.to_be_bytes());
        out.extend_from_slice(&1_u16.to_be_bytes());
        out.extend_from_slice(&HERE.0);
        put_sized(out, hash.as_bytes());
    })
}

#[test]
fn whoever_owns_a_directory_raises_its_version_durably() {
    let store = MemoryStore::new();
    store.put(Tree::Meta, FORMAT, &body(1, HASH)).unwrap();
    let asked = DirectoryFormat { instance: InstanceId([7; 16]), partitions: 1 };
    let format = DirectoryFormat::load(&store).unwrap().expect("it is there");
    assert_eq!(
        store.get(Tree::Meta, FORMAT).unwrap(),
        Some(body(1, HASH)),
        "looking changes nothing"
    );
    assert_eq!((asked.create_or_check(&store).unwrap(), format.instance), (format, HERE));
    let after = store.crashed();
    assert_eq!(after.get(Tree::Meta, FORMAT).unwrap(), Some(body(FORMAT_VERSION, HASH)));
}

#[test]
fn formats_that_this_program_does_not_know_are_refused() {
    let store = MemoryStore::new();
    store.put(Tree::Meta, FORMAT, &body(FORMAT_VERSION + 1, "whatever")).unwrap();
    let error = DirectoryFormat::load(&store).unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 3, known: 2 }), "{error}");
    store.put(Tree::Meta, FORMAT, &body(1, "md5")).unwrap();
    let error = DirectoryFormat::load(&store).unwrap_err();
    assert!(matches!(error, Error::OtherHash { .. }), "{error}");
    store.put(Tree::Meta, FORMAT, b"").unwrap();
    assert!(matches!(DirectoryFormat::load(&store).unwrap_err(), Error::Damaged { .. }));
}

/// A fold that no log has: the next record is this one.
fn unsound(next: u64, open_group: Option<Lsn>) -> Fold {
    let counts = (0_u64, 1_u64, 1_u64, 0_u64, 1_u64, Lsn(next));
    let fields = (HERE, PartitionId(0), counts, 0_u32, open_group, Timestamp::EPOCH);
    codec::decode(&codec::encode(&fields)).unwrap()
}

#[test]
fn a_checkpoint_with_a_fold_that_no_log_has_is_damaged() {
    let store = MemoryStore::new();
    let state = save(&store, 5, b"image");
    let unsound = [unsound(0, None), unsound(u64::MAX, None), unsound(6, Some(Lsn(6)))];
    // Sound, but at another record than the checkpoint.
    for fold in unsound.into_iter().chain([fold(4)]) {
        let state = CheckpointState { fold, ..state.clone() };
        let value = frame::seal(MAGIC, VERSION, |out| codec::encode_into(out, &state));
        store.put(Tree::Meta, CHECKPOINT, &value).unwrap();
        let error = load(&store).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
    }
    record(&store, &state).unwrap();
    assert_eq!(load(&store).unwrap().unwrap().0, state);
}
