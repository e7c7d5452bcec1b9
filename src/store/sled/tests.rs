//! What only the back end over sled does: snapshots, settings, poison.

use std::{fs, io::ErrorKind};

use super::*;

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn open(dir: &Path) -> SledStore {
    SledStore::open_held(dir, &Lock::take(dir).unwrap()).unwrap()
}

#[test]
fn settings_that_a_crash_tore_are_written_again() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let whole = fs::read(dir.path().join("conf")).unwrap();
    fs::write(dir.path().join("conf"), vec![0; whole.len()]).unwrap();
    drop(open(dir.path()));
    assert_eq!(fs::read(dir.path().join("conf")).unwrap(), whole);
}

#[test]
fn a_broken_snapshot_is_set_aside_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.put(Tree::Meta, b"key", b"value").unwrap();
    store.sync().unwrap();
    drop(store);
    drop(open(dir.path()));
    let taken = snapshots(dir.path()).unwrap();
    assert!(!taken.is_empty());
    taken.iter().for_each(|path| flip(path, 20));
    fs::write(dir.path().join("snap.00000000000000FF.generating"), "torn").unwrap();
    let store = open(dir.path());
    assert_eq!(store.get(Tree::Meta, b"key").unwrap(), Some(b"value".to_vec()));
    let names = fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name());
    let names: Vec<String> = names.map(|it| it.into_string().unwrap()).collect();
    assert!(names.iter().any(|it| it.starts_with("set-aside.snap.")), "{names:?}");
    assert!(!names.iter().any(|it| it.ends_with(".generating")), "{names:?}");
}

#[test]
fn a_panic_of_sled_is_damage_and_poisons() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.put(Tree::Meta, b"key", b"value").unwrap();
    let error = store.call::<()>("test", || panic!("broken page")).unwrap_err();
    assert!(error.to_string().contains("sled panicked: broken page"), "{error}");
    let poisoned = |error| matches!(error, Error::Poisoned { .. });
    assert!(poisoned(store.get(Tree::Meta, b"key").unwrap_err()));
    assert!(poisoned(store.insert_new(Tree::Log, b"key", b"value").unwrap_err()));
    assert!(poisoned(store.sync().unwrap_err()));
}

#[test]
fn an_error_of_the_device_poisons() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // A pipe cannot be synced.
    let (reader, _writer) = std::io::pipe().unwrap();
    *store.device.lock().unwrap() = File::from(std::os::fd::OwnedFd::from(reader));
    store.put(Tree::Meta, b"key", b"value").unwrap();
    assert!(matches!(store.sync().unwrap_err(), Error::Io { what: "sync", .. }));
    assert!(matches!(store.sync().unwrap_err(), Error::Poisoned { .. }));
    assert!(matches!(store.put(Tree::Meta, b"key", b"").unwrap_err(), Error::Poisoned { .. }));
}

#[test]
fn whoever_comes_after_a_full_disk_learns_that_it_was_full() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.poison.note(&Error::io("write to", dir.path())(ErrorKind::StorageFull.into()));
    for error in [store.get(Tree::Meta, b"key").unwrap_err(), store.sync().unwrap_err()] {
        assert!(error.is_no_space(), "{error}");
    }
    // The first failure is the cause of all others.
    store.poison.note(&Error::io("write to", dir.path())(ErrorKind::Other.into()));
    assert!(store.sync().unwrap_err().is_no_space());
}

/// A log is written once, whatever sled does with its leaves: of incompressible chunks the file has
/// little more than they are.
#[test]
fn the_file_has_each_chunk_once() {
    const CHUNKS: u64 = 600;
    const BYTES: usize = 60_000;
    let dir = tempfile::tempdir().unwrap();
    let key = |n: u64| [&[0, 0][..], &n.to_be_bytes()].concat();
    let store = open(dir.path());
    for n in 1..=CHUNKS {
        let (n, byte) = (key(n), n.to_be_bytes()[7]);
        assert_eq!(store.insert_new(Tree::Log, &n, &vec![byte; BYTES]).unwrap(), Inserted::Stored);
        assert_eq!(store.insert_new(Tree::Log, &n, b"other").unwrap(), Inserted::Occupied);
        store.sync().unwrap();
    }
    let (size, given) = (store.size_on_disk().unwrap(), CHUNKS * 60_000);
    assert!(size < given + given / 2, "{size} of {given}");
    // What is set aside is not there, before or after an opening.
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.get(Tree::Log, &key(CHUNKS + 1)).unwrap(), None);
    assert_eq!(store.above(Tree::Log, &key(CHUNKS)).unwrap(), None);
    let (last, value) = store.at_or_below(Tree::Log, &key(u64::MAX)).unwrap().unwrap();
    assert_eq!((last, value.len()), (key(CHUNKS), BYTES));
    assert_eq!(store.insert_new(Tree::Log, &key(CHUNKS + 1), b"x").unwrap(), Inserted::Stored);
    store.remove(Tree::Log, &key(CHUNKS + 1)).unwrap();
    assert_eq!(store.insert_new(Tree::Log, &key(CHUNKS + 1), b"y").unwrap(), Inserted::Stored);
}
