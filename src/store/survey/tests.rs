//! What is seen in a directory that sled wrote, whole and damaged.

use std::{fs, sync::Arc};

use super::*;
use crate::{
    base::{InstanceId, PartitionId, Timestamp},
    store::{
        ChunkBuilder, Directory, Effect, Fold, Group, Head, Inserted, LocalLog, Log, Store, Tree,
        chunk, page::tests::Tally, salvage::Salvage,
    },
};

const INSTANCE: InstanceId = InstanceId([7; 16]);
const CHUNKS: u64 = 300;

/// A fence and many chunks of one record, each followed by another value, and a head that knows
/// them all.
fn write(dir: &Path) -> Fold {
    let store: Arc<dyn Store> = Directory::open(dir).unwrap().store();
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
    let error = Directory::open(dir.path()).unwrap_err();
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
        bytes.resize(SEGMENT_BYTES, 0);
        bytes.extend([1; 4_096]);
    });
    let store = Directory::open(dir.path()).unwrap();
    assert!(store.is_doubtful());
    drop(store);
    let store = Directory::open(dir.path()).unwrap();
    assert!(store.is_doubtful(), "a restart does not forget it");
    store.settle().unwrap();
    drop(store);
    damage(dir.path(), |bytes| bytes.truncate(SEGMENT_BYTES));
    assert!(!Directory::open(dir.path()).unwrap().is_doubtful());
}

#[test]
fn a_store_that_is_gone_beside_its_head_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    fs::remove_file(dir.path().join("db")).unwrap();
    let error = Directory::open(dir.path()).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(!dir.path().join("db").exists());
}

/// Writes of the tests below go to this many keys.
const KEYS: u64 = 60;

/// What was put under each key last.
type Put = BTreeMap<u64, Vec<u8>>;

/// A session in `dir`: `puts` values go to some of the keys, so that segments are freed and used
/// again. Then the directory as a kill at its end leaves it goes to `killed`.
fn churn(dir: &Path, killed: &Path, (round, puts): (u64, u64), put: &mut Put) {
    let store = Directory::open(dir).unwrap();
    assert!(!store.is_doubtful(), "round {round}");
    for number in 0..puts {
        let key = (number * number + number * round + round * 7) % KEYS;
        let value = (round << 32 | number).to_be_bytes().repeat(11_000);
        store.put(Tree::Meta, &key.to_be_bytes(), &value).unwrap();
        put.insert(key, value);
        if number % 8 == 7 {
            store.sync().unwrap();
        }
    }
    store.sync().unwrap();
    copy(dir, killed);
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to).is_ok();
    fs::create_dir_all(to.join("blobs")).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|it| it.unwrap().path()) {
        if entry.is_file() {
            fs::copy(&entry, to.join(entry.file_name().unwrap())).unwrap();
        }
    }
}

fn headers(dir: &Path) -> Vec<(u64, Header)> {
    let file = Segments::open(dir).unwrap();
    file.offsets().map(|offset| (offset, file.header(offset).unwrap())).collect()
}

/// Directories of many segments, many of which sled freed, cleared and used again: how they were
/// closed, and killed, after each of some sessions.
fn each_churned(look: &mut dyn FnMut(&Path, &Put)) {
    let root = tempfile::tempdir().unwrap();
    let [dir, killed, next] = ["open", "killed", "next"].map(|name| root.path().join(name));
    let mut put = Put::new();
    for round in 0..16 {
        let puts = [400, 5, 60, 0][usize::try_from(round % 4).unwrap()];
        churn(&dir, &killed, (round, puts), &mut put);
        look(&dir, &put);
        look(&killed, &put);
        if round % 3 == 2 {
            fs::rename(&dir, &next).unwrap();
            fs::rename(&killed, &dir).unwrap();
            fs::remove_dir_all(&next).unwrap();
        }
    }
}

#[test]
fn segments_that_sled_cleared_are_no_gaps() {
    let (mut most, mut cleared) = (0, 0);
    each_churned(&mut |dir, _| {
        let seen = survey(dir, None).unwrap();
        assert!(seen.gaps.is_empty(), "{seen:?}");
        let headers = headers(dir);
        let is_used = |(_, it): &&(u64, Header)| matches!(it, Header::Used { .. });
        let last = headers.iter().rfind(is_used).unwrap().0;
        let blank = headers.iter().filter(|it| it.1 == Header::Blank && it.0 < last);
        cleared += blank.count();
        most = most.max(headers.len());
    });
    assert!(most >= 5, "{most} segments are few");
    assert!(cleared >= 20, "{cleared} cleared before others that are used are few");
}

#[test]
fn a_segment_that_is_lost_is_found_or_makes_no_difference() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("damaged");
    let (mut number, mut found, mut without) = (0, 0, 0);
    each_churned(&mut |churned, put| {
        number += 1;
        if number % 4 != 1 {
            return;
        }
        let headers = headers(churned);
        let newest = headers.iter().filter_map(|(at, it)| match it {
            Header::Used { lsn, .. } => Some((lsn, *at)),
            Header::Blank | Header::Broken => None,
        });
        let newest = newest.max().unwrap().1;
        for (offset, header) in headers {
            // Without the newest one it is as if its writes had not happened: what the head is for.
            if offset == newest || header == Header::Blank {
                continue;
            }
            copy(churned, &dir);
            damage(&dir, |bytes| {
                let from = usize_of(offset);
                let to = bytes.len().min(from + usize_of(segment_bytes()));
                bytes[from..to].fill(0);
            });
            if !survey(&dir, None).unwrap().gaps.is_empty() {
                found += 1;
                continue;
            }
            without += 1;
            let store = Directory::open(&dir).unwrap();
            for (key, value) in put {
                let read = store.get(Tree::Meta, &key.to_be_bytes()).unwrap();
                let place = format!("directory {number}, {offset}, {header:?}, key {key}");
                assert!(read.as_ref() == Some(value), "{place}");
            }
        }
    });
    println!("{found} found, {without} without consequence");
    assert!(found >= 10, "{found}");
}
