//! Backups of a log in memory: what is damaged, interrupted or of something else.

use std::{fs, sync::Arc};

use super::*;
use crate::{
    base::{InstanceId, PartitionId},
    store::{ChunkBuilder, Group, Inserted, LocalLog, Log, MemoryStore, Store, golden},
};

const TIME: Timestamp = Timestamp::EPOCH;

/// A log and its owner.
struct Owner {
    store: MemoryStore,
    log: LocalLog,
    fold: Fold,
}

impl Owner {
    fn new(instance: u8) -> Self {
        let store = MemoryStore::new();
        let log = LocalLog::new(Arc::new(store.clone()), PartitionId(0));
        let mut owner = Self { store, log, fold: start(instance) };
        owner.fence(1);
        owner
    }

    fn fence(&mut self, nonce: u64) {
        let position = self.fold.position();
        let bytes = self.fold.new_fence(nonce, TIME);
        assert_eq!(self.log.submit(position, &bytes).unwrap(), Inserted::Stored);
        self.fold.offer(position, chunk::decode(&bytes).unwrap()).unwrap();
    }

    fn append(&mut self, body: &[u8], group: Group) {
        let mut records = ChunkBuilder::new(TIME);
        records.push(TIME, 1, 1, body);
        let (position, bytes) = self.fold.seal(records, group);
        assert_eq!(self.log.submit(position, &bytes).unwrap(), Inserted::Stored);
    }

    fn back_up(&self, dir: &Path, goal: Option<u64>) -> Result<BackedUp, Error> {
        let start = Fold::new(self.fold.instance(), self.fold.partition());
        self.back_up_from(dir, start, goal)
    }

    fn back_up_from(&self, dir: &Path, start: Fold, goal: Option<u64>) -> Result<BackedUp, Error> {
        let mut backup = Backup::create(dir, Path::new("src"))?;
        if backup.needs_image(&start) {
            backup.write_image(&self.store, Lsn(1))?;
        }
        backup.append(&Original { log: &self.log, start, goal, renamed: None }, &mut |_| {})
    }
}

fn start(instance: u8) -> Fold {
    Fold::new(InstanceId([instance; 16]), PartitionId(0))
}

/// Every chunk in the backup, or why it is refused.
fn read(dir: &Path) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let mut chunks = Vec::new();
    Backup::open(dir)?.read(&mut |position, bytes| {
        chunks.push((position, bytes.to_vec()));
        Ok(())
    })?;
    Ok(chunks)
}

fn chunks_of(log: &LocalLog) -> Vec<(u64, Vec<u8>)> {
    (0..log.tail().unwrap()).map(|position| log.read(position).unwrap().unwrap()).collect()
}

#[test]
fn a_backup_has_the_chunks_byte_for_byte_and_grows() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner = Owner::new(7);
    for round in 0..5_u8 {
        owner.append(&[round; 100], Group::Ends);
        // A group that its owner left unfinished, and the next owner voids.
        owner.append(&[round; 10], Group::Continues);
        let done = owner.back_up(dir.path(), None).unwrap();
        assert_eq!(read(dir.path()).unwrap().len() + 1, chunks_of(&owner.log).len());
        // The unfinished chunk of the round before counts once the fence after it is there.
        assert_eq!(done.chunks_added, if round == 0 { 2 } else { 3 });
        owner.fence(u64::from(round) + 2);
    }
    owner.back_up(dir.path(), None).unwrap();
    assert_eq!(read(dir.path()).unwrap(), chunks_of(&owner.log));
    let done = owner.back_up(dir.path(), None).unwrap();
    assert_eq!((done.chunks_added, done.bytes_added), (0, 0));
}

#[test]
fn a_backup_ends_where_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner = Owner::new(7);
    (0..5).for_each(|_| owner.append(b"record", Group::Ends));
    assert_eq!(owner.back_up(dir.path(), Some(3)).unwrap().lsn, Lsn(2));
    assert_eq!(read(dir.path()).unwrap(), chunks_of(&owner.log)[..3]);
    assert_eq!(owner.back_up(dir.path(), None).unwrap().lsn, Lsn(5));
}

#[test]
fn what_an_interrupted_backup_left_is_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner = Owner::new(7);
    owner.append(b"one", Group::Ends);
    owner.back_up(dir.path(), None).unwrap();
    owner.append(b"two", Group::Ends);
    let path = dir.path().join(ChunkFile::name(0));
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(&[0xAB; 3_000]);
    fs::write(&path, bytes).unwrap();
    fs::write(dir.path().join(MANIFEST_NEW), b"half a mani").unwrap();
    assert_eq!(read(dir.path()).unwrap(), chunks_of(&owner.log)[..2], "it counts as it was");
    owner.back_up(dir.path(), None).unwrap();
    assert_eq!(read(dir.path()).unwrap(), chunks_of(&owner.log));
}

#[test]
fn a_flip_in_any_byte_and_every_cut_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner = Owner::new(7);
    (0..3).for_each(|_| owner.append(b"record", Group::Ends));
    owner.back_up(dir.path(), None).unwrap();
    for name in [MANIFEST.to_owned(), ChunkFile::name(0)] {
        let path = dir.path().join(&name);
        let whole = fs::read(&path).unwrap();
        let refused = |bytes: &[u8], what: &str| {
            fs::write(&path, bytes).unwrap();
            let error = read(dir.path()).expect_err(what);
            assert!(
                matches!(&error, Error::BackupDamaged { path: at, .. } if *at == path),
                "{error}"
            );
        };
        for byte in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[byte] ^= 1 << (byte % 8);
            refused(&flipped, &format!("{name}: byte {byte}"));
        }
        for length in 0..whole.len() {
            refused(&whole[..length], &format!("{name}: {length} bytes"));
        }
        fs::write(&path, whole).unwrap();
    }
    fs::remove_file(dir.path().join(ChunkFile::name(0))).unwrap();
    assert!(read(dir.path()).unwrap_err().to_string().contains("is gone"));
}

#[test]
fn another_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner = Owner::new(7);
    owner.append(b"one", Group::Ends);
    let mut twin = Owner::new(7);
    twin.append(b"another", Group::Ends);
    owner.back_up(dir.path(), None).unwrap();
    let refusal = |owner: &Owner| match owner.back_up(dir.path(), None) {
        Err(Error::OtherBackup { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert!(refusal(&Owner::new(8)).contains("of directory 0707"));
    assert_eq!(refusal(&twin), "the two differ at position 1 of the log");
    assert_eq!(refusal(&Owner::new(7)), "it has 2 chunks and the directory 1");
    twin.append(b"more", Group::Ends);
    assert_eq!(refusal(&twin), "the two differ at position 1 of the log");
    owner.append(b"two", Group::Ends);
    owner.append(b"three", Group::Ends);
    assert!(owner.log.trim(3, usize::MAX).unwrap());
    assert_eq!(refusal(&owner), "it ends at position 2, the log begins at 3");
    assert_eq!(read(dir.path()).unwrap().len(), 2, "what was refused has changed nothing");
}

#[test]
fn one_writer_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let owner = Owner::new(7);
    let _held = Backup::create(dir.path(), Path::new("src")).unwrap();
    assert!(matches!(owner.back_up(dir.path(), None), Err(Error::InUse { .. })));
}

#[test]
fn the_backup_of_a_trimmed_log_has_an_image_of_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner = Owner::new(7);
    (0..3).for_each(|_| owner.append(b"record", Group::Ends));
    let base = owner.fold.clone();
    owner.append(b"later", Group::Ends);
    assert!(owner.log.trim(base.position(), usize::MAX).unwrap());
    let entries = [(Tree::Rows, "a", "row"), (Tree::Timers, "a", "timer"), (Tree::Meta, "b", "")];
    for (tree, key, value) in entries {
        owner.store.put(tree, key.as_bytes(), value.as_bytes()).unwrap();
    }
    let done = owner.back_up_from(dir.path(), base, None).unwrap();
    assert_eq!((done.lsn, done.chunks_added, done.bytes_added), (Lsn(4), 1, done.bytes));
    owner.append(b"more", Group::Ends);
    owner.store.put(Tree::Rows, b"a", b"another row").unwrap();
    let base_later = owner.fold.clone();
    owner.back_up_from(dir.path(), base_later, None).unwrap();
    assert_eq!(read(dir.path()).unwrap().len(), 2);
    let mut image = Vec::new();
    let read_image = |image: &mut Vec<_>| {
        Backup::open(dir.path())?.read_image(&mut |tree, key, value| {
            image.push((tree, key.to_vec(), value.to_vec()));
            Ok(())
        })
    };
    read_image(&mut image).unwrap();
    let expected = entries.map(|(tree, key, value)| (tree, key.into(), value.into()));
    assert_eq!(image, expected, "it stays as it was at its checkpoint");
    let path = dir.path().join(format!("image-{:020}", 1));
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(
        matches!(read_image(&mut image), Err(Error::BackupDamaged { path: at, .. }) if at == path)
    );
}

/// The files of a backup as they are in version 1.
#[test]
fn the_files_are_as_in_version_1() {
    let start = start(7);
    let mut end = start.clone();
    let fence = end.new_fence(9, TIME);
    end.offer(0, chunk::decode(&fence).unwrap()).unwrap();
    let part = manifest::Part { bytes: 300, entries: 1, crc: 0x0102_0304 };
    let files = vec![ChunkFile { start, part }];
    let whole = Manifest { end: end.clone(), files, image: None };
    let image = Some(Image { at: Lsn(5), part });
    let trimmed =
        Manifest { files: vec![ChunkFile { start: end.clone(), part }], image, ..whole.clone() };
    golden::check("backup_manifest_v1.hex", &whole.encode());
    assert_eq!(Manifest::decode(&golden::read("backup_manifest_v1.hex")), Ok(whole));
    // Files in the order of their positions, and an image exactly where the beginning is not there.
    assert!(Manifest::decode(&trimmed.encode()).is_err(), "a file that begins where all ends");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("entries");
    let mut sink = entries::Sink::open(&path, &manifest::Part::default()).unwrap();
    sink.put(b"key", b"value").unwrap();
    sink.put(&[0; 8], b"").unwrap();
    let part = sink.finish().unwrap();
    golden::check("backup_entries_v1.hex", &fs::read(&path).unwrap());
    fs::write(&path, golden::read("backup_entries_v1.hex")).unwrap();
    let mut source = Source::open(&path, &part).unwrap();
    assert_eq!(source.read().unwrap(), Some((b"key".to_vec(), b"value".to_vec())));
    assert_eq!(source.read().unwrap(), Some((vec![0; 8], Vec::new())));
    assert_eq!(source.read().unwrap(), None);
}
