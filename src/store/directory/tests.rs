//! One directory at a time, one store in it.

use std::fs;

use super::*;
#[cfg(feature = "store-redb")]
use crate::store::Tree;

#[test]
fn one_handle_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = Directory::open(dir.path()).unwrap();
    let second = Directory::open(dir.path()).unwrap_err();
    assert!(matches!(second, Error::InUse { .. }), "{second}");
    drop(store);
    Directory::open(dir.path()).unwrap();
}

#[test]
fn a_closed_directory_opens_while_a_child_is_being_started() {
    let dir = tempfile::tempdir().unwrap();
    let lock = Lock::take(dir.path()).unwrap();
    // Between fork and exec a child holds every descriptor of its parent.
    let of_child = lock.0.try_clone().unwrap();
    let store = Directory::open_held(dir.path(), None, &lock).unwrap();
    drop(lock);
    let second = Directory::open(dir.path()).unwrap_err();
    assert!(matches!(second, Error::InUse { .. }), "{second}");
    drop(store);
    drop(Directory::open(dir.path()).unwrap());
    drop(of_child);
}

#[test]
fn a_directory_is_created_where_it_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b");
    let missing = Directory::open_existing(&deep).unwrap_err();
    assert!(matches!(missing, Error::Missing { .. }), "{missing}");
    assert!(!deep.exists());
    drop(Directory::open(&deep).unwrap());
    drop(Directory::open_existing(&deep).unwrap());
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Directory::open(&file).unwrap_err();
    assert!(matches!(error, Error::NotADirectory { .. }), "{error}");
}

#[test]
fn a_new_directory_is_kept_by_sled_and_stays_so() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Directory::open(dir.path()).unwrap();
    assert_eq!(opened.kind(), StoreKind::Sled);
    opened.close().unwrap();
    let error = Directory::open_as(dir.path(), Some(StoreKind::Redb)).unwrap_err();
    assert!(matches!(error, Error::OtherStore { .. }), "{error}");
    assert!(error.to_string().contains("kept by sled, not redb"), "{error}");
    assert_eq!(StoreKind::find(dir.path()).unwrap(), Some(StoreKind::Sled));
}

#[cfg(feature = "store-redb")]
#[test]
fn a_directory_is_kept_by_the_store_that_it_was_made_with() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Directory::open_as(dir.path(), Some(StoreKind::Redb)).unwrap();
    opened.put(Tree::Meta, b"key", b"value").unwrap();
    opened.close().unwrap();
    let error = Directory::open_as(dir.path(), Some(StoreKind::Sled)).unwrap_err();
    assert!(error.to_string().contains("kept by redb, not sled"), "{error}");
    let opened = Directory::open_existing(dir.path()).unwrap();
    assert_eq!(opened.kind(), StoreKind::Redb);
    assert_eq!(opened.get(Tree::Meta, b"key").unwrap(), Some(b"value".to_vec()));
    opened.close().unwrap();
    let names = fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name());
    let mut names: Vec<String> = names.map(|it| it.into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["db.redb", "lock"]);
}

#[cfg(not(feature = "store-redb"))]
#[test]
fn a_store_that_this_program_has_not_is_refused_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let error = Directory::open_as(dir.path(), Some(StoreKind::Redb)).unwrap_err();
    assert!(error.to_string().contains("feature store-redb"), "{error}");
    assert_eq!(StoreKind::find(dir.path()).unwrap(), None);
    fs::write(StoreKind::Redb.path(dir.path()), "some").unwrap();
    let error = Directory::open(dir.path()).unwrap_err();
    assert!(matches!(error, Error::NoSuchStore { .. }), "{error}");
}

#[test]
fn a_directory_with_two_stores_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    Directory::open(dir.path()).unwrap().close().unwrap();
    fs::write(StoreKind::Redb.path(dir.path()), "").unwrap();
    let error = Directory::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("two stores"), "{error}");
}
