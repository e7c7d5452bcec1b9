//! What is seen in a directory that sled wrote, whole and damaged.

use std::sync::Arc;

use super::*;
use crate::{
    base::{InstanceId, PartitionId, Timestamp},
    store::{
        ChunkBuilder, Effect, Fold, Group, Head, Inserted, LocalLog, Log, SledStore, Store, Tree,
        chunk, page::tests::Tally, salvage::Salvage,
    },
};

const INSTANCE: InstanceId = InstanceId([7; 16]);
const CHUNKS: u64 = 300;

/// A fence and many chunks of one record, each followed by another value, and a head that knows
/// them all.
fn write(dir: &Path) -> Fold {
    let store: Arc<dyn Store> = Arc::new(SledStore::open(dir).unwrap());
    let log = LocalLog::new(Arc::clone(&store), PartitionId(0));
    let mut fold = Fold::new(INSTANCE, PartitionId(0));
    let fence = fold.new_fence(1, Timestamp::EPOCH);
    assert_eq!(log.submit(0, &fence).unwrap(), Inserted::Stored);
    assert_eq!(fold.offer(0, chunk::decode(&fence).unwrap()).unwrap(), Effect::Adopted);
    for number in 0..CHUNKS {
        let mut records = ChunkBuilder::new(Timestamp::EPOCH);
        records.push(Timestamp::EPOCH, 1, 1, &number.to_be_bytes().repeat(500));
        let (position, bytes) = fold.seal(records, Group::Ends);
        assert_eq!(log.submit(position, &bytes).unwrap(), Inserted::Stored);
        store.put(Tree::Meta, b"key", &bytes).unwrap();
        log.sync().unwrap();
    }
    let (mut head, _) = Head::open(dir).unwrap();
    head.write(&HeadState::of(&fold, Timestamp::EPOCH)).unwrap();
    fold
}

fn head(dir: &Path) -> Option<HeadState> {
    Head::open(dir).unwrap().1
}

fn damage(dir: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let path = dir.join("db");
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Where the chunks begin whose first record is `lsn`.
fn places_of(dir: &Path, lsn: Lsn) -> Vec<usize> {
    let bytes = fs::read(dir.join("db")).unwrap();
    let places = segments::chunks(&bytes).filter(|(_, _, header)| header.first_lsn == lsn);
    places.map(|(at, _, _)| at).collect()
}

#[test]
fn a_whole_directory_has_nothing_to_tell() {
    let dir = tempfile::tempdir().unwrap();
    let fold = write(dir.path());
    let seen = survey(dir.path(), head(dir.path()).as_ref()).unwrap();
    assert!(seen.gaps.is_empty(), "{seen:?}");
    assert!(seen.broken_snapshots.is_empty(), "{seen:?}");
    assert_eq!(seen.cleared, None);
    let found = Salvage::search::<Tally>(dir.path(), None, &mut |_| {}).unwrap();
    assert_eq!(*found.log.unwrap().fold(), fold);
    assert!(found.unreachable.is_empty());
}

#[test]
fn acknowledged_records_behind_damage_refuse_the_directory_and_stay() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let at = places_of(dir.path(), Lsn(100))[0] + 50;
    damage(dir.path(), |bytes| bytes[at] ^= 1);
    let before = fs::read(dir.path().join("db")).unwrap();
    let error = SledStore::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("acknowledged records up to 300 lie behind"), "{error}");
    assert!(fs::read(dir.path().join("db")).unwrap() == before, "nothing was changed");
}

#[test]
fn a_chunk_that_is_gone_hides_those_after_it() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    // Every copy: leaves hold older ones.
    let places = places_of(dir.path(), Lsn(100));
    damage(dir.path(), |bytes| places.iter().for_each(|at| bytes[at + 90] ^= 1));
    let found = Salvage::search::<Tally>(dir.path(), Some(INSTANCE), &mut |_| {}).unwrap();
    let log = found.log.unwrap();
    assert_eq!(log.fold().last_lsn(), Lsn(99));
    assert_eq!(found.unreachable, [(Lsn(101), Lsn(300))]);
    assert_eq!(log.chunks().count(), 100);
}

#[test]
fn a_tail_that_nobody_was_told_of_is_a_torn_write() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let at = places_of(dir.path(), Lsn(250))[0];
    damage(dir.path(), |bytes| bytes.truncate(at));
    let told = head(dir.path()).map(|it| HeadState { lsn: Lsn(200), ..it });
    let seen = survey(dir.path(), told.as_ref()).unwrap();
    assert!(seen.gaps.is_empty(), "{seen:?}");
    assert_eq!(seen.cleared, None);
}

#[test]
fn a_gap_makes_the_projections_doubtful_until_they_are_settled() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    // Bytes of nobody where the next segment would be, and one behind it.
    damage(dir.path(), |bytes| {
        bytes.resize(crate::base::limits::SEGMENT_BYTES, 0);
        bytes.extend([1; 4_096]);
    });
    let store = SledStore::open(dir.path()).unwrap();
    assert!(store.is_doubtful());
    drop(store);
    let store = SledStore::open(dir.path()).unwrap();
    assert!(store.is_doubtful(), "a restart does not forget it");
    store.settle().unwrap();
    drop(store);
    damage(dir.path(), |bytes| bytes.truncate(crate::base::limits::SEGMENT_BYTES));
    assert!(!SledStore::open(dir.path()).unwrap().is_doubtful());
}

#[test]
fn a_store_that_is_gone_beside_its_head_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    fs::remove_file(dir.path().join("db")).unwrap();
    let error = SledStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(!dir.path().join("db").exists());
}
