//! One suite for every store.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{Directory, Entry, Inserted, MemoryStore, Store, StoreKind, Tree, apart::Apart};

/// Something that can be opened again and again.
trait Home {
    fn open(&self) -> Arc<dyn Store>;
}

/// A directory with this store.
struct InDirectory(TempDir, StoreKind);

impl InDirectory {
    fn new(kind: StoreKind) -> Self {
        Self(tempfile::tempdir().unwrap(), kind)
    }
}

impl Home for InDirectory {
    fn open(&self) -> Arc<dyn Store> {
        Directory::open_as(self.0.path(), Some(self.1)).unwrap().store()
    }
}

impl Home for MemoryStore {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.clone())
    }
}

impl Home for Arc<Apart> {
    fn open(&self) -> Arc<dyn Store> {
        Self::clone(self)
    }
}

#[derive(Debug, Clone)]
enum Op {
    InsertNew(Tree, Vec<u8>, Vec<u8>),
    Put(Tree, Vec<u8>, Vec<u8>),
    Get(Tree, Vec<u8>),
    AtOrBelow(Tree, Vec<u8>),
    Above(Tree, Vec<u8>),
    Remove(Tree, Vec<u8>),
    Sync,
    Reopen,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let tree = || prop::sample::select(Tree::ALL.to_vec());
    let byte = prop::sample::select(vec![0_u8, 1, 127, 255]);
    let key = move || prop::collection::vec(byte.clone(), 1..4);
    let placed = key.clone();
    let entry = move || {
        (tree(), placed(), prop::collection::vec(any::<u8>(), 0..200)).prop_map(|mut it| {
            // A chunk is not empty.
            if it.0 == Tree::Log {
                it.2.push(0);
            }
            it
        })
    };
    let op = prop_oneof![
        4 => entry().prop_map(|(tree, key, value)| Op::InsertNew(tree, key, value)),
        4 => entry().prop_map(|(tree, key, value)| Op::Put(tree, key, value)),
        2 => (tree(), key()).prop_map(|(tree, key)| Op::Get(tree, key)),
        4 => (tree(), key()).prop_map(|(tree, key)| Op::AtOrBelow(tree, key)),
        4 => (tree(), key()).prop_map(|(tree, key)| Op::Above(tree, key)),
        2 => (tree(), key()).prop_map(|(tree, key)| Op::Remove(tree, key)),
        1 => Just(Op::Sync),
        1 => Just(Op::Reopen),
    ];
    prop::collection::vec(op, 1..80)
}

type Model = BTreeMap<(Tree, Vec<u8>), Vec<u8>>;

fn below(model: &Model, tree: Tree, key: &[u8]) -> Option<Entry> {
    let (key, value) = model.range((tree, vec![])..=(tree, key.to_vec())).next_back()?;
    Some((key.1.clone(), value.clone()))
}

fn above(model: &Model, tree: Tree, key: &[u8]) -> Option<Entry> {
    let ((found, key), value) = model.range((tree, key.to_vec())..).find(|(it, _)| it.1 != *key)?;
    (*found == tree).then(|| (key.clone(), value.clone()))
}

fn behaves_like_a_map(home: &dyn Home, ops: Vec<Op>) {
    let mut store = home.open();
    let mut model = Model::new();
    for op in ops {
        match op {
            Op::InsertNew(tree, key, value) => {
                let inserted = store.insert_new(tree, &key, &value).unwrap();
                let occupied = model.contains_key(&(tree, key.clone()));
                assert_eq!(inserted, if occupied { Inserted::Occupied } else { Inserted::Stored });
                model.entry((tree, key)).or_insert(value);
            }
            Op::Put(tree, key, value) => {
                store.put(tree, &key, &value).unwrap();
                model.insert((tree, key), value);
            }
            Op::Get(tree, key) => {
                let found = store.get(tree, &key).unwrap();
                assert_eq!(found.as_ref(), model.get(&(tree, key)));
            }
            Op::AtOrBelow(tree, key) => {
                assert_eq!(store.at_or_below(tree, &key).unwrap(), below(&model, tree, &key));
            }
            Op::Above(tree, key) => {
                assert_eq!(store.above(tree, &key).unwrap(), above(&model, tree, &key));
            }
            Op::Remove(tree, key) => {
                store.remove(tree, &key).unwrap();
                model.remove(&(tree, key));
            }
            Op::Sync => store.sync().unwrap(),
            Op::Reopen => {
                store.sync().unwrap();
                drop(store);
                store = home.open();
            }
        }
    }
    drop(store);
    let store = home.open();
    for tree in Tree::ALL {
        let mut found = Vec::new();
        let mut key = Vec::new();
        while let Some((next, value)) = store.above(tree, &key).unwrap() {
            key.clone_from(&next);
            found.push((next, value));
        }
        let expected: Vec<Entry> = model
            .iter()
            .filter(|((it, _), _)| *it == tree)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        assert_eq!(found, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn memory_behaves_like_a_map(ops in ops()) {
        behaves_like_a_map(&MemoryStore::new(), ops);
    }

    #[test]
    fn one_apart_behaves_like_a_map(ops in ops()) {
        let beneath = MemoryStore::new();
        for tree in [Tree::Rows, Tree::Timers] {
            beneath.put(tree, b"doubtful", b"value").unwrap();
        }
        let before = beneath.clone();
        behaves_like_a_map(&Arc::new(Apart::new(Arc::new(beneath)).unwrap()), ops);
        for tree in [Tree::Rows, Tree::Timers] {
            let (key, value) = before.above(tree, &[]).unwrap().expect("it stays");
            prop_assert_eq!((&*key, &*value), (&b"doubtful"[..], &b"value"[..]));
            prop_assert!(before.above(tree, &key).unwrap().is_none(), "nothing came to it");
        }
        prop_assert!(before.above(Tree::Meta, &[]).unwrap().is_none(), "nothing came to it");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn sled_behaves_like_a_map(ops in ops()) {
        behaves_like_a_map(&InDirectory::new(StoreKind::Sled), ops);
    }

    #[cfg(feature = "store-redb")]
    #[test]
    fn redb_behaves_like_a_map(ops in ops()) {
        behaves_like_a_map(&InDirectory::new(StoreKind::Redb), ops);
    }
}

#[test]
fn the_largest_values_come_back() {
    let sled = InDirectory::new(StoreKind::Sled);
    let memory = MemoryStore::new();
    #[cfg(feature = "store-redb")]
    let redb = InDirectory::new(StoreKind::Redb);
    let homes: &[&dyn Home] = &[
        &sled,
        &memory,
        #[cfg(feature = "store-redb")]
        &redb,
    ];
    for home in homes {
        let store = home.open();
        let value = |n: u8| vec![n; crate::base::limits::VALUE_BYTES_MAX];
        for n in 0..40 {
            store.put(Tree::Rows, &[n], &value(n)).unwrap();
        }
        store.sync().unwrap();
        assert!(store.size_on_disk().unwrap() >= 40 * 96 * 1024);
        drop(store);
        let store = home.open();
        for n in 0..40 {
            assert_eq!(store.get(Tree::Rows, &[n]).unwrap(), Some(value(n)));
        }
    }
    // sled never syncs the files that hold what its segments do not.
    assert_eq!(std::fs::read_dir(sled.0.path().join("blobs")).unwrap().count(), 0);
}

#[test]
fn a_power_cut_takes_what_was_not_synced_from_memory() {
    let store = MemoryStore::new();
    store.put(Tree::Meta, b"a", b"1").unwrap();
    store.put(Tree::Meta, b"b", b"1").unwrap();
    store.sync().unwrap();
    store.put(Tree::Meta, b"a", b"2").unwrap();
    store.remove(Tree::Meta, b"b").unwrap();
    let after = store.crashed();
    assert_eq!(after.get(Tree::Meta, b"a").unwrap(), Some(b"1".to_vec()));
    assert_eq!(after.get(Tree::Meta, b"b").unwrap(), Some(b"1".to_vec()));
    assert_eq!(store.get(Tree::Meta, b"b").unwrap(), None);
}
