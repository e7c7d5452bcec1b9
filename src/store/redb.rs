//! The store over redb, for directories that are made with it.
//!
//! - redb makes a whole transaction durable, or nothing of it. What is written between two syncs is
//!   kept in memory (`pending`) and goes into one transaction, so that reading never waits for a
//!   device, and a power cut takes the end of what was written.
//! - All that redb asks of the disk goes through `device`: its errors are ours, with their kind.
//! - redb checks the sums of its pages only where it is asked to, so opening asks for it: the whole
//!   file is read, as with sled. Damage may make it panic all the same: see `guard`.
//! - A new file is made under another name, because one that a power cut has left half made is not
//!   told from a damaged one.

mod device;
mod pending;

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, RwLock},
};

use redb::{
    AccessGuard, Builder, Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, StorageError,
    TableDefinition,
};

use super::{
    Entry, Error, Head, Inserted, Lock, Store, StoreKind, Tree, assert_storable, beside,
    free_bytes,
    poison::{Poison, text_of},
    prepare, pulse, there,
};
use crate::base::{limits::SYNC_BYTES_MAX, planted::is_planted};
use device::Device;
use pending::{Batch, Pending, Side};

/// Memory for pages of the file.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that wait for a sync at most; whoever writes more without one gets one.
const PENDING_BYTES_MAX: usize = 4 * SYNC_BYTES_MAX;
/// What a new file is called until it is whole.
const NEW: &str = "db.redb.new";

type Table = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Trees in a directory.
#[derive(Debug)]
pub(super) struct RedbStore {
    dir: PathBuf,
    file: PathBuf,
    /// None once it is closed.
    db: Option<Database>,
    pending: RwLock<Pending>,
    /// Held by who looks whether a key is free until it is taken, and by whoever writes.
    writing: Mutex<()>,
    /// Makes syncs take turns.
    syncing: Mutex<()>,
    poison: Poison,
    /// Held until redb's handle is gone.
    _lock: Arc<Lock>,
}

impl RedbStore {
    /// Opens a directory whose lock is held, by its absolute path.
    pub(super) fn open_held(dir: &Path, lock: &Arc<Lock>) -> Result<Self, Error> {
        let path = StoreKind::Redb.path(dir);
        let (_, head) = Head::open(dir)?;
        if prepare::is_new(&path, head.as_ref())? {
            create(dir, &path)?;
        }
        there::is_file_or_absent(&path)?;
        let db = guard("open", &path, || open(&path))?;
        beside::sync(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            file: path,
            db: Some(db),
            pending: RwLock::default(),
            writing: Mutex::new(()),
            syncing: Mutex::new(()),
            poison: Poison::default(),
            _lock: Arc::clone(lock),
        })
    }

    /// Closes the directory, with all that was written in its file.
    fn close(mut self) -> Result<(), Error> {
        Store::sync(&self)?;
        let db = self.db.take().expect("only closing takes it");
        guard("sync", &self.file, || Ok(db.close()?))
    }

    fn call<T>(
        &self,
        what: &'static str,
        call: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, Error> {
        self.poison.check(&self.dir)?;
        let db = self.db.as_ref().expect("only closing takes it");
        let answer = guard(what, &self.file, || call(db));
        pulse::beat();
        answer.inspect_err(|error| self.poison.note(error))
    }

    /// What is pending, as it is now, and the file beneath it.
    fn look<T>(&self, look: impl FnOnce(&Pending) -> T) -> Result<(T, ReadTransaction), Error> {
        let pending = self.pending.read().expect("no holder of this lock panics");
        // The file is the same or newer where a sync ends meanwhile, and what is newer is pending.
        let file = self.call("read from", |db| Ok(db.begin_read()?))?;
        Ok((look(&pending), file))
    }

    /// The entry nearest to `key` on this side.
    fn nearest(&self, tree: Tree, key: &[u8], side: Side) -> Result<Option<Entry>, Error> {
        let ((pending, removed), file) = self.look(|it| it.nearest(tree, key, side))?;
        let kept = self.call("read from", |_| {
            let table = table(&file, tree)?;
            Ok(match side {
                Side::AtOrBelow => first(table.range::<&[u8]>(..=key)?.rev(), &removed)?,
                Side::Above => {
                    let above = (Bound::Excluded(key), Bound::Unbounded);
                    first(table.range::<&[u8]>(above)?, &removed)?
                }
            })
        })?;
        Ok(match (pending, kept) {
            (Some(pending), Some(kept)) => {
                // Of two with one key the pending one is the newer.
                let is_kept = match side {
                    Side::AtOrBelow => pending.0 < kept.0,
                    Side::Above => kept.0 < pending.0,
                };
                Some(if is_kept { kept } else { pending })
            }
            (pending, kept) => pending.or(kept),
        })
    }

    /// Changes what is pending; for one writer at a time.
    fn write(&self, tree: Tree, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        self.poison.check(&self.dir)?;
        let mut pending = self.pending.write().expect("no holder of this lock panics");
        pending.set(tree, key, value);
        let is_full = pending.bytes() > PENDING_BYTES_MAX;
        drop(pending);
        if is_full { self.sync() } else { Ok(()) }
    }
}

impl Store for RedbStore {
    fn insert_new(&self, tree: Tree, key: &[u8], value: &[u8]) -> Result<Inserted, Error> {
        assert_storable(tree, key, value);
        let _turn = self.writing.lock().expect("no holder of this lock panics");
        if self.get(tree, key)?.is_some() {
            return Ok(Inserted::Occupied);
        }
        self.write(tree, key, Some(value))?;
        Ok(Inserted::Stored)
    }

    fn put(&self, tree: Tree, key: &[u8], value: &[u8]) -> Result<(), Error> {
        assert_storable(tree, key, value);
        let _turn = self.writing.lock().expect("no holder of this lock panics");
        self.write(tree, key, Some(value))
    }

    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let (pending, file) = self.look(|it| it.get(tree, key))?;
        if let Some(value) = pending {
            return Ok(value);
        }
        self.call("read from", |_| {
            Ok(table(&file, tree)?.get(key)?.map(|value| value.value().to_vec()))
        })
    }

    fn at_or_below(&self, tree: Tree, key: &[u8]) -> Result<Option<Entry>, Error> {
        self.nearest(tree, key, Side::AtOrBelow)
    }

    fn above(&self, tree: Tree, key: &[u8]) -> Result<Option<Entry>, Error> {
        self.nearest(tree, key, Side::Above)
    }

    fn remove(&self, tree: Tree, key: &[u8]) -> Result<(), Error> {
        let _turn = self.writing.lock().expect("no holder of this lock panics");
        self.write(tree, key, None)
    }

    fn sync(&self) -> Result<(), Error> {
        let _turn = self.syncing.lock().expect("no holder of this lock panics");
        self.poison.check(&self.dir)?;
        let batch = self.pending.write().expect("no holder of this lock panics").begin();
        if batch.is_empty() {
            return Ok(());
        }
        self.call("write to", |db| commit(db, &batch))?;
        self.pending.write().expect("no holder of this lock panics").end();
        Ok(())
    }

    fn size_on_disk(&self) -> Result<u64, Error> {
        beside::used_bytes(&self.file)
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        free_bytes(&self.dir)
    }

    fn path(&self) -> &Path {
        &self.dir
    }

    fn close(self: Arc<Self>) -> Result<(), Error> {
        Arc::into_inner(self).map_or(Ok(()), Self::close)
    }
}

/// As sled's does, merely dropping it writes what was written, and says nothing.
impl Drop for RedbStore {
    fn drop(&mut self) {
        if self.db.is_some() {
            let _ = Store::sync(self).is_ok();
        }
        let db = self.db.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(db))).is_ok();
    }
}

const fn definition(tree: Tree) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(match tree {
        Tree::Log => "log",
        Tree::Rows => "rows",
        Tree::Timers => "timers",
        Tree::Meta => "meta",
    })
}

fn table(file: &ReadTransaction, tree: Tree) -> Result<Table, redb::Error> {
    Ok(file.open_table(definition(tree))?)
}

/// The first entry that is not removed.
fn first<'a>(
    entries: impl Iterator<Item = Result<Pair<'a>, StorageError>>,
    removed: &BTreeSet<Vec<u8>>,
) -> Result<Option<Entry>, redb::Error> {
    for entry in entries {
        let (key, value) = entry?;
        if !removed.contains(key.value()) {
            return Ok(Some((key.value().to_vec(), value.value().to_vec())));
        }
    }
    Ok(None)
}

type Pair<'a> = (AccessGuard<'a, &'static [u8]>, AccessGuard<'a, &'static [u8]>);

/// Makes all of it durable in one step.
fn commit(db: &Database, batch: &Batch) -> Result<(), redb::Error> {
    let transaction = db.begin_write()?;
    for (tree, changes) in batch.trees() {
        let mut table = transaction.open_table(definition(tree))?;
        for (key, value) in changes {
            match value {
                Some(value) => drop(table.insert(&**key, &**value)?),
                None => drop(table.remove(&**key)?),
            }
        }
    }
    Ok(transaction.commit()?)
}

/// Makes a file with empty trees in it, durably.
fn create(dir: &Path, path: &Path) -> Result<(), Error> {
    let new = dir.join(NEW);
    drop(there::create_anew(&new)?);
    guard("create", &new, || {
        let db = Builder::new().create_with_backend(Device::open(&new)?)?;
        let transaction = db.begin_write()?;
        for tree in Tree::ALL {
            transaction.open_table(definition(tree))?;
        }
        transaction.commit()?;
        Ok(db.close()?)
    })?;
    fs::rename(&new, path).map_err(Error::io("name", path))?;
    beside::sync(dir)
}

/// Reads and checks all of the file.
fn open(path: &Path) -> Result<Database, redb::Error> {
    let device = Device::open(path)?;
    let mut builder = Builder::new();
    builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(!is_planted!("redb_pages_unchecked"));
    Ok(builder.create_with_backend(device)?)
}

/// The one place where redb runs: its errors and panics become ours.
fn guard<T>(
    what: &'static str,
    path: &Path,
    call: impl FnOnce() -> Result<T, redb::Error>,
) -> Result<T, Error> {
    let damaged = |what: String| Error::Damaged { what, place: path.display().to_string() };
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        // What redb takes for no file of its own, and a file that ends before it should.
        Ok(Err(redb::Error::Io(source)))
            if matches!(source.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
        {
            Err(damaged(source.to_string()))
        }
        Ok(Err(redb::Error::Io(source))) => Err(Error::io(what, path)(source)),
        Ok(Err(redb::Error::PreviousIo)) => Err(Error::Poisoned { path: path.to_owned() }),
        Ok(Err(other)) => Err(damaged(other.to_string())),
        Err(panic) => Err(damaged(format!("redb panicked: {}", text_of(&*panic)))),
    }
}

#[cfg(test)]
mod tests;
