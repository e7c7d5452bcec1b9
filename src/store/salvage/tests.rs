//! What is saved of a log that begins at a base, in files that sled wrote and somebody damaged.

use std::{fs, path::Path, sync::Arc};

use tempfile::TempDir;

use super::*;
use crate::{
    base::Timestamp,
    store::{
        BaseWriter, CheckpointState, ChunkBuilder, Directory, Group, Inserted, LocalLog, Log,
        Table, checkpoint, page::encode_page, page::tests::Tally,
    },
};

const INSTANCE: InstanceId = InstanceId([7; 16]);
const PARTITION: PartitionId = PartitionId(0);
/// Chunks after the fence, of one record each; there is a base at these.
const CHUNKS: u64 = 60;
const BASES: [u64; 2] = [20, 40];

/// Bytes of rows with which a base is a few pages, and so many that sled leaves out of their keys
/// what all of a leaf begin with.
const FEW: usize = 100;
const MANY: usize = 500;

/// Writes a log with two bases on the way, and trims it at the first.
fn write() -> TempDir {
    write_rows(FEW)
}

fn write_rows(padding: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Directory::open(dir.path()).unwrap().store();
    let log = LocalLog::new(Arc::clone(&store), PARTITION);
    let mut fold = Fold::new(INSTANCE, PARTITION);
    let fence = fold.new_fence(1, Timestamp::EPOCH);
    assert_eq!(log.submit(0, &fence).unwrap(), Inserted::Stored);
    fold.offer(0, chunk::decode(&fence).unwrap()).unwrap();
    let mut table = Table::new();
    for n in 1..=CHUNKS {
        let mut records = ChunkBuilder::new(Timestamp::EPOCH);
        records.push(Timestamp::EPOCH, 1, 1, &noise(n));
        let (position, bytes) = fold.seal(records, Group::Ends);
        assert_eq!(log.submit(position, &bytes).unwrap(), Inserted::Stored);
        table.fetch(&*store, [n.to_be_bytes()]).unwrap();
        table.update(Lsn(n), &n.to_be_bytes(), |row| {
            *row = Some(Tally { sum: n, expires: Timestamp::MAX, padding: vec![b'x'; padding] });
        });
        if BASES.contains(&n) {
            for page in table.checkpoint() {
                let (key, value) = encode_page(&page, Timestamp::EPOCH);
                store.put(Tree::Rows, &key, &value).unwrap();
            }
            table.written();
            write_base(&*store, &fold);
        }
        log.sync().unwrap();
    }
    while !log.trim(BASES[0] + 1, 10_000).unwrap() {}
    log.sync().unwrap();
    dir
}

/// The body of record `n`: bytes that no compression changes, so that they are found in the file.
fn noise(n: u64) -> Vec<u8> {
    let part =
        |it: u64| crc32c::crc32c(&[n.to_be_bytes(), it.to_be_bytes()].concat()).to_be_bytes();
    (0..200).flat_map(part).collect()
}

fn write_base(store: &dyn Store, fold: &Fold) {
    let memory = format!("memory at {}", fold.last_lsn()).repeat(100).into_bytes();
    let (image, _) = checkpoint::memory_entries(fold.last_lsn(), &memory);
    let at = CheckpointState {
        at: fold.last_lsn(),
        fold: fold.clone(),
        time: Timestamp::EPOCH,
        memory: image,
    };
    let mut writer = BaseWriter::<Tally>::new(&at, &memory, 1 << 20);
    while !writer.is_whole() {
        writer.write(store, store, 1_000).unwrap();
    }
    writer.record(store).unwrap();
}

fn search(dir: &Path) -> Salvage {
    Salvage::search::<Tally>(dir, Some(INSTANCE), &mut |_| {}).unwrap()
}

/// Changes every copy of `bytes` at its end.
fn damage(dir: &Path, bytes: &[u8]) {
    let path = dir.join("db");
    let mut file = fs::read(&path).unwrap();
    let places: Vec<usize> = memchr::memmem::find_iter(&file, bytes).collect();
    assert!(!places.is_empty(), "there is something to damage");
    places.iter().for_each(|at| file[at + bytes.len() - 1] ^= 1);
    fs::write(path, file).unwrap();
}

fn damage_chunk(dir: &Path, n: u64) {
    damage(dir, &noise(n));
}

fn damage_base(dir: &Path, at: u64) {
    damage(dir, format!("memory at {at}").repeat(100).as_bytes());
}

/// Where the saved log begins and ends.
fn range(found: &Salvage) -> (Lsn, Lsn) {
    let log = found.log.as_ref().unwrap();
    (log.start().at(), log.fold().last_lsn())
}

#[test]
fn every_entry_that_sled_gives_is_in_its_file() {
    check_entries(&write_rows(FEW));
    check_entries(&write_rows(MANY));
}

fn check_entries(dir: &TempDir) {
    let mut found = BTreeMap::new();
    let file = Segments::open(dir.path()).unwrap();
    let mut prefixes = nodes::Prefixes::default();
    for offset in file.offsets() {
        prefixes.add(&file.read(offset).unwrap(), b"");
    }
    for offset in file.offsets() {
        nodes::each(&file.read(offset).unwrap(), &prefixes, &mut |entry| {
            found.entry(entry.key).or_insert_with(Vec::new).push(entry.value.to_vec());
        });
    }
    let store = Directory::open(dir.path()).unwrap();
    let mut count = 0;
    for tree in Tree::ALL {
        let mut key = Vec::new();
        while let Some((next, value)) = store.above(tree, &key).unwrap() {
            let is_there = found.get(&next).is_some_and(|it| it.contains(&value));
            assert!(is_there, "{tree:?} {}", next.escape_ascii());
            (count, key) = (count + 1, next);
        }
    }
    assert!(count > CHUNKS - BASES[0], "{count} entries");
}

#[test]
fn chunks_that_are_trimmed_count_while_their_bytes_are_there() {
    let dir = write();
    assert_eq!(range(&search(dir.path())), (Lsn::ZERO, Lsn(CHUNKS)));
}

#[test]
fn a_trimmed_log_begins_at_its_base() {
    let dir = write();
    damage_chunk(dir.path(), 3);
    let found = search(dir.path());
    assert_eq!(range(&found), (Lsn(BASES[0]), Lsn(CHUNKS)));
    assert!(found.unreachable.is_empty() && found.broken_bases.is_empty(), "{found:?}");
    let log = found.log.unwrap();
    let chunks: Vec<_> = log.chunks().map(Result::unwrap).collect();
    assert_eq!(chunks.first().unwrap().0, BASES[0] + 1);
    assert_eq!(chunks.last().unwrap().0, CHUNKS);
    let [base] = &base::list(log.base()).unwrap()[..] else { panic!("one base") };
    base.check::<Tally>(log.base()).unwrap();
}

#[test]
fn a_base_behind_the_damage_saves_what_follows_it() {
    check_base_behind(&write_rows(FEW));
    check_base_behind(&write_rows(MANY));
}

fn check_base_behind(dir: &TempDir) {
    for n in [3, BASES[0] + 5] {
        damage_chunk(dir.path(), n);
    }
    let found = search(dir.path());
    assert_eq!(range(&found), (Lsn(BASES[1]), Lsn(CHUNKS)));
    assert!(found.unreachable.is_empty(), "{found:?}");
}

#[test]
fn of_a_base_that_is_not_whole_nothing_follows() {
    let dir = write();
    for n in [3, BASES[0] + 5] {
        damage_chunk(dir.path(), n);
    }
    damage_base(dir.path(), BASES[1]);
    let found = search(dir.path());
    assert_eq!(range(&found), (Lsn(BASES[0]), Lsn(BASES[0] + 4)));
    assert_eq!(found.unreachable, [(Lsn(BASES[0] + 6), Lsn(CHUNKS))]);
    let [broken] = &found.broken_bases[..] else { panic!("{found:?}") };
    assert!(broken.to_string().contains("the base at record 40"), "{broken}");
}

#[test]
fn without_a_beginning_nothing_is_saved_and_all_of_it_is_told() {
    let dir = write();
    let fence = {
        let index = Index::read(dir.path(), &mut |_| {}).unwrap();
        let (_, found) = index.chunks.iter().find(|(key, _)| key.0 == 0).unwrap();
        found.bytes(&index.file).unwrap()
    };
    damage(dir.path(), &fence);
    BASES.iter().for_each(|at| damage_base(dir.path(), *at));
    let found = search(dir.path());
    assert!(found.log.is_none());
    assert_eq!(found.unreachable, [(Lsn(1), Lsn(CHUNKS))]);
    assert_eq!(found.broken_bases.len(), 2);
}

#[test]
fn copies_of_rows_that_are_others_are_not_taken() {
    let dir = write();
    let [first, second] = BASES;
    let store = Directory::open(dir.path()).unwrap();
    // As if bytes had changed before they were written: every checksum of the store is right.
    let state = base::list(&*store).unwrap().into_iter().find(|it| it.at == Lsn(first)).unwrap();
    let mut copies = Vec::new();
    let take = &mut |key: &[u8], value: &[u8]| {
        copies.push((key.to_vec(), value.to_vec()));
        Ok(())
    };
    state.each_copy(&*store, take).unwrap();
    let other = base::list(&*store).unwrap().into_iter().find(|it| it.at == Lsn(second)).unwrap();
    let mut wrong = None;
    let take = &mut |key: &[u8], value: &[u8]| {
        if copies.iter().any(|(its, has)| its == key && has != value) {
            wrong = Some((key.to_vec(), value.to_vec()));
        }
        Ok(())
    };
    other.each_copy(&*store, take).unwrap();
    let (key, value) = wrong.expect("a page changed between the bases");
    let key = [base::state_key(Lsn(first)), vec![b'r'], key].concat();
    store.put(Tree::Meta, &key, &value).unwrap();
    store.sync().unwrap();
    drop(store);
    damage_chunk(dir.path(), 3);
    let found = search(dir.path());
    assert_eq!(range(&found), (Lsn(second), Lsn(CHUNKS)));
    let [broken] = &found.broken_bases[..] else { panic!("{found:?}") };
    assert!(broken.to_string().contains("copies of its rows"), "{broken}");
}
