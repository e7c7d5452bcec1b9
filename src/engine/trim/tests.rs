//! A trim that is cut off at any write goes on as if it had not been.

use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::*;
use crate::{
    base::{InstanceId, PartitionId},
    engine::{
        history::Logged,
        runner::{Deliveries, Outbound},
        verify::verify,
    },
    machine::{input::Input, record::Source},
    model::CustomerUpdate,
    store::{Entry, Error, Inserted, LocalLog, Log},
};

const OWNER: (InstanceId, PartitionId) = (InstanceId([7; 16]), PartitionId(0));

/// A store whose writes fail from the n-th on.
#[derive(Debug)]
struct Failing {
    inner: MemoryStore,
    left: AtomicU64,
}

impl Failing {
    fn spend(&self) -> Result<(), Error> {
        let spent =
            self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1));
        spent.map(drop).map_err(|_| Error::Poisoned { path: "memory".into() })
    }
}

impl Store for Failing {
    fn insert_new(&self, tree: Tree, key: &[u8], value: &[u8]) -> Result<Inserted, Error> {
        self.spend()?;
        self.inner.insert_new(tree, key, value)
    }

    fn put(&self, tree: Tree, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.spend()?;
        self.inner.put(tree, key, value)
    }

    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.inner.get(tree, key)
    }

    fn at_or_below(&self, tree: Tree, key: &[u8]) -> Result<Option<Entry>, Error> {
        self.inner.at_or_below(tree, key)
    }

    fn above(&self, tree: Tree, key: &[u8]) -> Result<Option<Entry>, Error> {
        self.inner.above(tree, key)
    }

    fn remove(&self, tree: Tree, key: &[u8]) -> Result<(), Error> {
        self.spend()?;
        self.inner.remove(tree, key)
    }

    fn sync(&self) -> Result<(), Error> {
        self.spend()?;
        self.inner.sync()
    }

    fn size_on_disk(&self) -> Result<u64, Error> {
        self.inner.size_on_disk()
    }
}

/// Small enough that a base takes several slices of everything.
fn limits(copy_bytes: usize) -> Limits {
    Limits { chunk_bytes: 2_000, base_copy_bytes: copy_bytes, ..Limits::default() }
}

/// Customers that change every other hour for ten days, started anew every day.
fn written() -> MemoryStore {
    let store = MemoryStore::new();
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    for day in 0..10 {
        let opening = Opening::new(InstanceId([7; 16]), limits(0));
        let outbound: Outbound = Box::new(|delivery| Err(Box::new(delivery)));
        let owned = recover::own_store(&shared, &opening).unwrap();
        let (mut runner, _worker) = Runner::stepped(owned, Deliveries::new(outbound)).unwrap();
        for hour in (0..24).step_by(2) {
            let now = Timestamp::EPOCH.plus(Span::hours(day * 24 + hour));
            let (id, pad) = ((day * 5 + hour) % 31, "x".repeat(600));
            let line = format!(r#"{{"id":"c{id}","attributes":{{"pad":"{pad}","at":{hour}}}}}"#);
            let update = CustomerUpdate::parse(line.as_bytes()).unwrap();
            let input = Input::Customer { source: Source::Api, update };
            runner.decide(now, &input).unwrap().unwrap();
            runner.drain().unwrap();
        }
        runner.finish().unwrap();
    }
    store
}

fn copy(from: &MemoryStore) -> MemoryStore {
    let to = MemoryStore::new();
    for tree in Tree::ALL {
        let mut after = Vec::new();
        while let Some((key, value)) = from.above(tree, &after).unwrap() {
            to.put(tree, &key, &value).unwrap();
            after = key;
        }
    }
    to.sync().unwrap();
    to
}

fn open(store: Arc<dyn Store>, copy_bytes: usize) -> Partition {
    recover::replay(&store, OWNER, &limits(copy_bytes)).unwrap()
}

fn records(partition: &Partition) -> Vec<Logged> {
    let mut records = Vec::new();
    let read = partition.each_record(Lsn(1), &mut |logged| {
        records.push(logged);
        Ok::<(), Error>(())
    });
    read.unwrap();
    records
}

/// What the export and the log hold together; the export alone may have more of it.
fn together(path: &Path, partition: &Partition) -> Vec<Logged> {
    let left = records(partition);
    let mut all = Vec::new();
    if path.exists() {
        let read = crate::engine::history::each_exported(path, Lsn(1), &mut |_, logged| {
            all.push(logged.clone());
            Ok::<(), Error>(())
        });
        // A crash may have cut the end short.
        assert!(matches!(read, Ok(()) | Err(Error::Damaged { .. })), "{read:?}");
    }
    let first = left.first().unwrap().lsn;
    all.retain(|logged| logged.lsn < first);
    all.extend(left);
    all
}

fn check(store: &MemoryStore, path: &Path, whole: &[Logged], copy_bytes: usize) -> Partition {
    let mut partition = open(Arc::new(store.clone()), copy_bytes);
    assert_eq!(verify(&mut partition).unwrap().differences, Vec::<String>::new());
    assert_eq!(together(path, &partition), whole);
    partition
}

#[test]
fn a_trim_cut_off_at_any_write_loses_nothing_and_goes_on() {
    let before = written();
    let whole = records(&open(Arc::new(before.clone()), 0));
    assert_eq!(whole.len(), 120);
    let keep = Span::hours(72);
    for copy_bytes in [0, 1 << 20] {
        let dir = TempDir::new().unwrap();
        let store = copy(&before);
        let trimmed = trim_partition(
            &open(Arc::new(store.clone()), copy_bytes),
            keep,
            Some(&dir.path().join("export")),
        );
        let trimmed = trimmed.unwrap();
        // The last change that is 72 hours old.
        assert_eq!(trimmed.up_to, Some(Lsn(120 - 36)));
        let end = records(&check(&store, &dir.path().join("export"), &whole, copy_bytes));
        let mut cuts = 0;
        for writes in 0.. {
            let path = dir.path().join(format!("export-{writes}"));
            let inner = copy(&before);
            let failing = Failing { inner: inner.clone(), left: AtomicU64::new(writes) };
            let partition = open(Arc::new(failing), copy_bytes);
            if trim_partition(&partition, keep, Some(&path)).is_ok() {
                break;
            }
            cuts += 1;
            // Killed, or the power is gone.
            let left = if writes % 2 == 0 { copy(&inner) } else { inner.crashed() };
            let partition = check(&left, &path, &whole, copy_bytes);
            trim_partition(&partition, keep, Some(&path)).unwrap();
            let partition = check(&left, &path, &whole, copy_bytes);
            assert_eq!(records(&partition), end);
            assert_eq!(base::list(&left).unwrap().first().unwrap().at, Lsn(120 - 36));
        }
        assert!(cuts > 50, "only {cuts} writes");
    }
}

#[test]
fn nothing_above_the_base_goes() {
    let store = written();
    let partition = open(Arc::new(store.clone()), 0);
    trim_partition(&partition, Span::hours(100), None).unwrap();
    let base = base::list(&store).unwrap().remove(0);
    let log = LocalLog::new(Arc::new(store.clone()), partition.id());
    assert_eq!(log.read(0).unwrap().unwrap().0, base.fold.position());
    assert_eq!(base.at, Lsn(120 - 50));
    check(&store, Path::new("none"), &records(&partition), 0);
}

#[test]
fn a_base_with_copies_gives_the_rows_again_and_one_without_says_that_it_cannot() {
    for copy_bytes in [1 << 20, 0] {
        let store = written();
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        let partition = open(Arc::clone(&shared), copy_bytes);
        let whole = records(&partition);
        trim_partition(&partition, Span::hours(72), None).unwrap();
        let left = records(&partition);
        // As an accepted loss leaves it that is cut off: nothing but the log, and some old pages.
        checkpoint::forget(&store).unwrap();
        let (first, _) = store.above(Tree::Rows, &[]).unwrap().unwrap();
        store.remove(Tree::Rows, &first).unwrap();
        let opened = recover::replay(&shared, OWNER, &limits(copy_bytes));
        if copy_bytes == 0 {
            assert!(matches!(opened, Err(Error::NoWayBack { trimmed: Lsn(84) })), "{opened:?}");
            continue;
        }
        let mut again = opened.unwrap();
        let found = verify(&mut again).unwrap();
        assert_eq!(found.differences, Vec::<String>::new());
        assert_eq!((found.rows, found.base), (31, Some(Lsn(84))));
        assert_eq!(records(&again), left);
        assert!(whole.ends_with(&left));
    }
}
