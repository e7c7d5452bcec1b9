//! The store over sled, and everything that is needed to trust it.
//!
//! - `flush` ends in `sync_file_range`, which reaches neither the device's cache nor the file's
//!   metadata, so every sync ends in an `fdatasync` through a descriptor of our own. It is open
//!   before the first write, because a descriptor hears only of errors after its opening.
//! - Damage makes sled panic, so every call goes through one `catch_unwind`. After any failure the
//!   handle is poisoned.
//! - Opening writes, so the directory is looked at before: see [`survey`](super::survey). A snapshot
//!   that a crash cut short is set aside, because it only saves a scan of the file.
//! - Dropping sled's handle releases its lock a moment later, so opening tries for a while.

mod guarded;
mod places;

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use guarded::Guarded;
use places::{ASIDE, Places, is_aside};
use sled::IVec;

use super::{
    Entry, Error, Inserted, Lock, Store, Tree, assert_storable, beside, free_bytes,
    poison::{Poison, text_of},
    prepare, pulse,
    survey::snapshots,
    there,
};
use crate::base::{
    limits::{OPENING_PATIENCE, SEGMENT_BYTES},
    planted::is_planted,
};

const CACHE_BYTES: u64 = 64 * 1024 * 1024;
const LOCK_TRIES: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Trees in a directory.
#[derive(Debug)]
pub(super) struct SledStore {
    dir: PathBuf,
    trees: Guarded<[sled::Tree; Tree::ALL.len()]>,
    db: Guarded<sled::Db>,
    /// Our descriptor of sled's file. The lock makes syncs take turns, because the kernel tells of
    /// a failed write once: the next `fdatasync` would succeed.
    device: Mutex<File>,
    poison: Poison,
    places: Places,
    /// Held until sled's handle is gone.
    _lock: Arc<Lock>,
}

impl SledStore {
    /// Opens a directory whose lock is held, by its absolute path.
    pub(super) fn open_held(dir: &Path, lock: &Arc<Lock>) -> Result<Self, Error> {
        let dir = dir.to_owned();
        prepare::before_opening(&dir)?;
        let device = open_device(&dir.join("db"))?;
        let db = Guarded::new(open_or_scan(&dir)?);
        let trees = Guarded::new(open_trees(&dir, db.get())?);
        let store = Self {
            trees,
            db,
            device: Mutex::new(device),
            poison: Poison::default(),
            places: Places::default(),
            _lock: Arc::clone(lock),
            dir,
        };
        store.sync()?;
        beside::sync(&store.dir.join("conf"))?;
        beside::sync(&store.dir)?;
        Ok(store)
    }

    /// Closes the directory. Nothing of sled looks at its files after this, so they may be moved.
    fn close(self) -> Result<(), Error> {
        let Self { dir, trees, db, device, .. } = self;
        // sled's last sync comes after ours, so nothing that was acknowledged needs it; but a disk
        // that fails is not a disk to be silent about.
        trees.close().and_then(|()| db.close()).map_err(|panic| {
            let text = format!("the last sync failed: {}", text_of(&*panic));
            Error::io("close", &dir.join("db"))(std::io::Error::other(text))
        })?;
        let device = device.into_inner().expect("no holder of this lock panics");
        // sled locks its file until the last of its threads has let go.
        for _ in 0..LOCK_TRIES {
            match device.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => pause(),
                Err(TryLockError::Error(source)) => {
                    return Err(Error::io("lock", &dir.join("db"))(source));
                }
            }
        }
        Err(Error::InUse { path: dir })
    }

    fn tree(&self, tree: Tree) -> &sled::Tree {
        let [log, rows, timers, meta] = self.trees.get();
        match tree {
            Tree::Log => log,
            Tree::Rows => rows,
            Tree::Timers => timers,
            Tree::Meta => meta,
        }
    }

    /// Stores `value` where what is there is what is expected.
    fn swap(
        &self,
        tree: Tree,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Result<Inserted, Error> {
        let tree = self.tree(tree);
        let swap = || tree.compare_and_swap(key, expected, Some(value));
        Ok(match self.call("append to", swap)? {
            Ok(()) => Inserted::Stored,
            Err(_) => Inserted::Occupied,
        })
    }

    /// The first entry that is no place set aside, from `key` on in the direction of `step`.
    fn next(
        &self,
        tree: Tree,
        key: &[u8],
        step: impl Fn(&sled::Tree, &[u8]) -> sled::Result<Option<(IVec, IVec)>>,
    ) -> Result<Option<Entry>, Error> {
        let step = |key: &[u8]| self.call("read from", || step(self.tree(tree), key));
        Ok(places::past(tree, key, step)?.map(entry))
    }

    /// Before a chunk comes to `key`.
    fn set_places_aside(&self, key: &[u8]) -> Result<(), Error> {
        if is_planted!("no_places_aside") {
            return Ok(());
        }
        for place in self.places.before(key) {
            // One that is taken, or set aside already, stays.
            let (Inserted::Stored | Inserted::Occupied) =
                self.swap(Tree::Log, &place, None, ASIDE)?;
        }
        Ok(())
    }

    fn call<T>(
        &self,
        what: &'static str,
        call: impl FnOnce() -> sled::Result<T>,
    ) -> Result<T, Error> {
        self.poison.check(&self.dir)?;
        let answer = guard(&self.dir, what, call);
        pulse::beat();
        answer.inspect_err(|error| self.poison.note(error))
    }
}

impl Store for SledStore {
    fn insert_new(&self, tree: Tree, key: &[u8], value: &[u8]) -> Result<Inserted, Error> {
        assert_storable(tree, key, value);
        if tree == Tree::Log {
            self.set_places_aside(key)?;
            // Whoever appends beside this may set the place aside between two of these.
            for expected in [Some(ASIDE), None] {
                if self.swap(tree, key, expected, value)? == Inserted::Stored {
                    return Ok(Inserted::Stored);
                }
            }
            return self.swap(tree, key, Some(ASIDE), value);
        }
        self.swap(tree, key, None, value)
    }

    fn put(&self, tree: Tree, key: &[u8], value: &[u8]) -> Result<(), Error> {
        assert_storable(tree, key, value);
        // A compaction puts the chunks of a log, too.
        if tree == Tree::Log {
            self.set_places_aside(key)?;
        }
        self.call("write to", || self.tree(tree).insert(key, value)).map(drop)
    }

    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let value = self.call("read from", || self.tree(tree).get(key))?;
        Ok(value.filter(|value| !is_aside(tree, value)).map(|value| value.to_vec()))
    }

    fn at_or_below(&self, tree: Tree, key: &[u8]) -> Result<Option<Entry>, Error> {
        // Nothing lies between a key and the same key with a zero byte after it.
        self.next(tree, &[key, &[0]].concat(), |tree, key| tree.get_lt(key))
    }

    fn above(&self, tree: Tree, key: &[u8]) -> Result<Option<Entry>, Error> {
        self.next(tree, key, |tree, key| tree.get_gt(key))
    }

    fn remove(&self, tree: Tree, key: &[u8]) -> Result<(), Error> {
        self.call("write to", || self.tree(tree).remove(key)).map(drop)
    }

    fn sync(&self) -> Result<(), Error> {
        let device = self.device.lock().expect("no holder of this lock panics");
        self.call("flush", || self.db.get().flush())?;
        if is_planted!("skip_fdatasync") {
            return Ok(());
        }
        device
            .sync_data()
            .map_err(Error::io("sync", &self.dir.join("db")))
            .inspect_err(|error| self.poison.note(error))
    }

    fn size_on_disk(&self) -> Result<u64, Error> {
        self.call("measure", || self.db.get().size_on_disk())
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

fn entry((key, value): (IVec, IVec)) -> Entry {
    (key.to_vec(), value.to_vec())
}

/// Opens sled's file beside sled.
fn open_device(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(Error::io("open", path))
}

fn open_or_scan(dir: &Path) -> Result<sled::Db, Error> {
    match open_when_unlocked(dir) {
        Err(damage @ Error::Damaged { .. }) => {
            if snapshots(dir)?.is_empty() {
                return Err(damage);
            }
            // It is whole, so the file is not what it says.
            prepare::doubt(dir)?;
            prepare::set_snapshots_aside(dir)?;
            tracing::warn!(
                dir = %dir.display(),
                %damage,
                "the snapshot does not fit and is set aside; reading the whole file instead"
            );
            open_when_unlocked(dir)
        }
        other => other,
    }
}

fn open_when_unlocked(dir: &Path) -> Result<sled::Db, Error> {
    let by_default = is_planted!("default_segment_size");
    let config = sled::Config::new()
        .path(dir)
        .segment_size(if by_default { 512 * 1024 } else { SEGMENT_BYTES })
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None)
        .use_compression(false);
    for _ in 0..LOCK_TRIES {
        // One call reads the whole file, which may be large.
        match guard(dir, "open", || pulse::patiently(OPENING_PATIENCE, || config.open())) {
            Err(Error::Io { source, .. })
                if source.to_string().starts_with("could not acquire lock") => {}
            // sled makes the directory, which is there, and could not look whether it is one: that
            // it exists is no reason, and the disk says what is.
            Err(Error::Io { source, .. })
                if source.kind() == ErrorKind::AlreadyExists && there::is_dir(dir)? => {}
            other => return other,
        }
        pause();
    }
    Err(Error::InUse { path: dir.to_owned() })
}

/// Waiting on a channel that nobody sends on is the pause that our rules allow.
fn pause() {
    let _ = crossbeam_channel::never::<()>().recv_timeout(LOCK_PAUSE);
    pulse::beat();
}

fn open_trees(dir: &Path, db: &sled::Db) -> Result<[sled::Tree; 4], Error> {
    let open = |name: &str| guard(dir, "open", || db.open_tree(name));
    Ok([open("log")?, open("rows")?, open("timers")?, open("meta")?])
}

/// The one place where sled runs: its errors and panics become ours.
fn guard<T>(
    dir: &Path,
    what: &'static str,
    call: impl FnOnce() -> sled::Result<T>,
) -> Result<T, Error> {
    let damaged = |what: String| Error::Damaged { what, place: dir.display().to_string() };
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(source))) => Err(Error::io(what, dir)(source)),
        Ok(Err(other)) => Err(damaged(other.to_string())),
        Err(panic) => Err(damaged(format!("sled panicked: {}", text_of(&*panic)))),
    }
}

#[cfg(test)]
mod tests;
