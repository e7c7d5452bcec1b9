//! What only the back end over redb does: pending writes, damage, poison.

use super::*;

fn open(dir: &Path) -> Result<RedbStore, Error> {
    RedbStore::open_held(dir, &Lock::take(dir)?)
}

fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

#[test]
fn what_is_pending_lies_over_what_the_file_has() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for number in 0..10 {
        store.put(Tree::Rows, &key(number), b"file").unwrap();
    }
    store.sync().unwrap();
    (2..8).for_each(|number| store.remove(Tree::Rows, &key(number)).unwrap());
    store.put(Tree::Rows, &key(1), b"pending").unwrap();
    store.put(Tree::Rows, &key(5), b"pending").unwrap();
    let near = |number: u64| {
        let found =
            [store.at_or_below(Tree::Rows, &key(number)), store.above(Tree::Rows, &key(number))];
        found.map(|it| it.unwrap().map(|(key, _)| u64::from_be_bytes(key.try_into().unwrap())))
    };
    for _ in 0..2 {
        assert_eq!(near(0), [Some(0), Some(1)]);
        assert_eq!(near(1), [Some(1), Some(5)]);
        assert_eq!(near(4), [Some(1), Some(5)]);
        assert_eq!(near(7), [Some(5), Some(8)]);
        assert_eq!(near(9), [Some(9), None]);
        assert_eq!(store.get(Tree::Rows, &key(1)).unwrap().unwrap(), b"pending");
        assert_eq!(store.insert_new(Tree::Rows, &key(8), b"new").unwrap(), Inserted::Occupied);
        store.sync().unwrap();
    }
}

#[test]
fn what_waits_for_a_sync_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for number in 0..200 {
        store.put(Tree::Rows, &key(number), &[0; 60_000]).unwrap();
        assert!(store.pending.read().unwrap().bytes() <= PENDING_BYTES_MAX);
    }
    store.close().unwrap();
}

#[test]
fn a_change_of_any_byte_is_found_or_of_no_consequence() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for number in 0..200 {
        store.put(Tree::Rows, &key(number), &[7; 3_000]).unwrap();
    }
    store.close().unwrap();
    let path = StoreKind::Redb.path(dir.path());
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for at in (0..512).step_by(7).chain((512..whole.len()).step_by(24_571)) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        let store = match open(dir.path()) {
            Err(error) => {
                assert!(matches!(error, Error::Damaged { .. }), "byte {at}: {error}");
                refused += 1;
                continue;
            }
            Ok(store) => store,
        };
        for number in 0..200 {
            let found = store.get(Tree::Rows, &key(number)).unwrap();
            assert_eq!(found.as_deref(), Some(&[7; 3_000][..]), "byte {at}, key {number}");
        }
    }
    assert!(refused > 10, "{refused} refusals");
}

#[test]
fn what_is_no_file_of_redb_or_ends_too_early_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = StoreKind::Redb.path(dir.path());
    open(dir.path()).unwrap().close().unwrap();
    let whole = fs::read(&path).unwrap();
    for bytes in [&[0; 9_000], &whole[..5], &whole[..whole.len() / 2]] {
        fs::write(&path, bytes).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
    }
}

#[test]
fn a_file_that_was_half_made_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(NEW), "half").unwrap();
    open(dir.path()).unwrap().close().unwrap();
    assert!(!dir.path().join(NEW).exists());
}

#[test]
fn a_panic_of_redb_is_damage_and_poisons() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.put(Tree::Meta, b"key", b"value").unwrap();
    let error = store.call::<()>("test", |_| panic!("broken page")).unwrap_err();
    assert!(error.to_string().contains("redb panicked: broken page"), "{error}");
    let poisoned = |error| matches!(error, Error::Poisoned { .. });
    assert!(poisoned(store.get(Tree::Meta, b"key").unwrap_err()));
    assert!(poisoned(store.insert_new(Tree::Log, b"key", b"value").unwrap_err()));
    assert!(poisoned(store.sync().unwrap_err()));
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(store.get(Tree::Meta, b"key").unwrap(), None, "it was never synced");
}
