//! The disk of the simulated machine: the store in memory, and everything that may go wrong with
//! it but damage.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};

use super::{
    rng::Rng,
    swarm::{FREE_BYTES_MIN, Faults},
};
use crate::{
    engine::commit::Worker,
    store::{self, Entry, Error, Inserted, MemoryStore, Store, Tree},
};

/// What failed, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Failures {
    pub(super) writes: u64,
    /// Those of them that left the write behind all the same.
    pub(super) unknown: u64,
    pub(super) syncs: u64,
    pub(super) reads: u64,
    pub(super) full: u64,
}

impl Failures {
    pub(super) fn add(&mut self, it: &Self) {
        self.writes += it.writes;
        self.unknown += it.unknown;
        self.syncs += it.syncs;
        self.reads += it.reads;
        self.full += it.full;
    }
}

/// Who holds this handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The engine that runs.
    Current,
    /// One that has been deposed and goes on appending; it can reach nothing but the log.
    Deposed {
        /// Whether it takes an occupied position for its own.
        stubborn: bool,
    },
}

/// What was synced of the log and has been trimmed since, by key: a clean stop may trim what nobody
/// outside has read yet.
pub(super) type Attic = Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>;

/// One engine's handle of the disk.
#[derive(Debug)]
pub(super) struct Handle {
    inner: MemoryStore,
    attic: Attic,
    state: Mutex<State>,
    /// A deposed owner that may get in between any two writes.
    rival: Option<Arc<Mutex<Worker>>>,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    faults: Faults,
    owner: Owner,
    has_failed: bool,
    /// It failed for want of room.
    is_full: bool,
    is_calm: bool,
    /// Writes until the power fails.
    fuse: Option<u64>,
    /// What the power cut left.
    left: Option<MemoryStore>,
    failures: Failures,
}

impl Handle {
    pub(super) fn new(
        inner: MemoryStore,
        attic: &Attic,
        faults: Faults,
        rng: Rng,
        rival: Option<Arc<Mutex<Worker>>>,
    ) -> Self {
        let state = State {
            rng,
            faults,
            owner: Owner::Current,
            has_failed: false,
            is_full: false,
            is_calm: false,
            fuse: None,
            left: None,
            failures: Failures::default(),
        };
        Self { inner, attic: Arc::clone(attic), state: Mutex::new(state), rival }
    }

    pub(super) fn depose(&self, stubborn: bool) {
        let mut state = self.state();
        state.owner = Owner::Deposed { stubborn };
        state.faults = Faults::default();
        state.fuse = None;
    }

    /// Opened again after the disk was full.
    pub(super) fn reopen(&self) {
        let mut state = self.state();
        if std::mem::take(&mut state.is_full) {
            state.has_failed = false;
        }
    }

    /// From now on nothing fails.
    pub(super) fn calm(&self) {
        let mut state = self.state();
        state.faults = Faults::default();
        state.fuse = None;
        state.is_calm = true;
    }

    pub(super) fn arm_power_cut(&self, writes: u64) {
        self.state().fuse = Some(writes);
    }

    pub(super) fn cut_power(&self) -> MemoryStore {
        let mut state = self.state();
        state.has_failed = true;
        crashed(&self.inner, &mut state.rng)
    }

    /// What is left after a power cut that came at a write.
    pub(super) fn left(&self) -> Option<MemoryStore> {
        self.state().left.clone()
    }

    pub(super) fn failures(&self) -> Failures {
        self.state().failures
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn write<T>(
        &self,
        tree: Tree,
        done: T,
        write: impl FnOnce(&MemoryStore) -> store::Result<T>,
    ) -> store::Result<T> {
        self.let_rival_in();
        let mut state = self.state();
        state.check()?;
        if state.owner != Owner::Current && tree != Tree::Log {
            return Ok(done);
        }
        if let Some(fuse) = &mut state.fuse {
            *fuse = fuse.saturating_sub(1);
            if *fuse == 0 {
                if state.rng.coin() {
                    write(&self.inner)?;
                }
                state.left = Some(crashed(&self.inner, &mut state.rng));
                state.has_failed = true;
                return Err(fault("write to"));
            }
        }
        if let Some(error) = state.fills_up(&self.inner) {
            if state.rng.coin() {
                write(&self.inner)?;
            }
            return Err(error);
        }
        let rate = state.faults.writes;
        if state.rng.one_in(rate) {
            state.failures.writes += 1;
            state.has_failed = true;
            if state.rng.coin() {
                state.failures.unknown += 1;
                write(&self.inner)?;
            }
            return Err(fault("write to"));
        }
        write(&self.inner)
    }

    fn read<T>(&self, read: impl FnOnce(&MemoryStore) -> store::Result<T>) -> store::Result<T> {
        let mut state = self.state();
        state.check()?;
        let rate = state.faults.reads;
        if state.rng.one_in(rate) {
            state.failures.reads += 1;
            state.has_failed = true;
            return Err(fault("read from"));
        }
        read(&self.inner)
    }

    fn let_rival_in(&self) {
        let Some(rival) = &self.rival else { return };
        while !self.state().is_calm && self.state().rng.one_in(3) {
            rival.lock().unwrap().step(false);
        }
    }
}

impl State {
    /// Whether the disk is full now, as the seed says.
    fn fills_up(&mut self, inner: &MemoryStore) -> Option<Error> {
        let rate = self.faults.full;
        self.rng.one_in(rate).then(|| {
            self.failures.full += 1;
            (self.has_failed, self.is_full) = (true, true);
            inner.set_free_bytes(FREE_BYTES_MIN / 2);
            no_space()
        })
    }

    /// After an error every further call fails.
    fn check(&self) -> store::Result<()> {
        if self.is_full {
            return Err(no_space());
        }
        if self.has_failed {
            return Err(Error::Poisoned { path: PathBuf::from("simulated") });
        }
        Ok(())
    }
}

fn no_space() -> Error {
    let source = io::ErrorKind::StorageFull.into();
    Error::Io { what: "write to", path: PathBuf::from("simulated"), source }
}

fn fault(what: &'static str) -> Error {
    let source = io::Error::other("as the seed says");
    Error::Io { what, path: PathBuf::from("simulated"), source }
}

/// What a power cut now leaves: all that was synced, and of the rest nothing, all, what came first,
/// or of each tree what came first. Timers and meta entries do not depend on each other between
/// two syncs: of those, any.
fn crashed(inner: &MemoryStore, rng: &mut Rng) -> MemoryStore {
    let unsynced = u64::try_from(inner.unsynced()).unwrap();
    match rng.below(4) {
        0 => inner.crashed(),
        1 => inner.crashed_keeping(&mut |_| true),
        2 => {
            let mut left = rng.below(unsynced + 1);
            inner.crashed_keeping(&mut |_| {
                left = left.saturating_sub(1);
                left > 0
            })
        }
        _ => {
            let mut left = Tree::ALL.map(|_| rng.below(unsynced + 1));
            inner.crashed_keeping(&mut |tree| {
                if matches!(tree, Tree::Timers | Tree::Meta) {
                    return rng.coin();
                }
                let left = &mut left[usize::from(tree == Tree::Rows)];
                *left = left.saturating_sub(1);
                *left > 0
            })
        }
    }
}

impl Store for Handle {
    fn insert_new(&self, tree: Tree, key: &[u8], value: &[u8]) -> Result<Inserted, Error> {
        let inserted = self.write(tree, Inserted::Stored, |it| it.insert_new(tree, key, value))?;
        let stubborn = self.state().owner == Owner::Deposed { stubborn: true };
        Ok(if stubborn { Inserted::Stored } else { inserted })
    }

    fn put(&self, tree: Tree, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.write(tree, (), |it| it.put(tree, key, value))
    }

    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.read(|it| it.get(tree, key))
    }

    fn at_or_below(&self, tree: Tree, key: &[u8]) -> Result<Option<Entry>, Error> {
        self.read(|it| it.at_or_below(tree, key))
    }

    fn above(&self, tree: Tree, key: &[u8]) -> Result<Option<Entry>, Error> {
        self.read(|it| it.above(tree, key))
    }

    fn remove(&self, tree: Tree, key: &[u8]) -> Result<(), Error> {
        if self.state().owner != Owner::Current {
            // Whoever removes looks whether it is gone.
            self.state().has_failed = true;
        }
        if let Some(value) = self.inner.synced(tree, key).filter(|_| tree == Tree::Log) {
            self.attic.lock().unwrap().insert(key.to_vec(), value);
        }
        self.write(tree, (), |it| it.remove(tree, key))
    }

    fn sync(&self) -> Result<(), Error> {
        self.let_rival_in();
        let mut state = self.state();
        state.check()?;
        if state.owner != Owner::Current {
            return Ok(());
        }
        if let Some(error) = state.fills_up(&self.inner) {
            return Err(error);
        }
        let rate = state.faults.syncs;
        if state.rng.one_in(rate) {
            state.failures.syncs += 1;
            state.has_failed = true;
            return Err(fault("sync"));
        }
        self.inner.sync()
    }

    fn size_on_disk(&self) -> Result<u64, Error> {
        self.inner.size_on_disk()
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        self.inner.free_bytes()
    }
}

/// What is synced of the log, as nobody but a power cut sees it.
#[derive(Debug)]
pub(super) struct Synced(pub(super) MemoryStore, pub(super) Attic);

impl Store for Synced {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let trimmed = || self.1.lock().unwrap().get(key).filter(|_| tree == Tree::Log).cloned();
        Ok(self.0.synced(tree, key).or_else(trimmed))
    }

    /// Positions are dense: what comes after one is the next, after a partition alone its first.
    fn above(&self, tree: Tree, key: &[u8]) -> Result<Option<Entry>, Error> {
        let (partition, position) = key.split_first_chunk::<2>().expect("a key of the log");
        let next = position.first_chunk().map_or(0, |it| u64::from_be_bytes(*it) + 1);
        let key = [&partition[..], &next.to_be_bytes()].concat();
        Ok(self.get(tree, &key)?.map(|chunk| (key, chunk)))
    }

    fn insert_new(&self, _: Tree, _: &[u8], _: &[u8]) -> Result<Inserted, Error> {
        unreachable!("a witness does not write")
    }

    fn put(&self, _: Tree, _: &[u8], _: &[u8]) -> Result<(), Error> {
        unreachable!("a witness does not write")
    }

    fn at_or_below(&self, _: Tree, _: &[u8]) -> Result<Option<Entry>, Error> {
        unreachable!("a witness reads by position")
    }

    fn remove(&self, _: Tree, _: &[u8]) -> Result<(), Error> {
        unreachable!("a witness does not write")
    }

    fn sync(&self) -> Result<(), Error> {
        unreachable!("a witness does not write")
    }

    fn size_on_disk(&self) -> Result<u64, Error> {
        self.0.size_on_disk()
    }
}
