//! Opening a directory: the checkpoint, then `apply` over the log from there. There is no other
//! recovery code.

use std::{
    hash::BuildHasher,
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::{debug, debug_span, trace_span, warn};

use super::{
    partition::Partition,
    restore,
    state::State,
    verify::verify,
    watch::{Watch, Watched},
};
use crate::{
    base::{InstanceId, Limits, Lsn, Malformed, PartitionId, Timestamp, planted::is_planted},
    machine::{
        apply::{apply, rows_of},
        memory::Memory,
        record::Record,
    },
    store::{
        self, Directory, DirectoryFormat, Effect, Fold, Head, HeadState, Inserted, LocalLog, Log,
        RecordReader, Start, Store, StoreKind, Tree, apart::Apart, checkpoint, chunk,
    },
};

/// Records replayed between two evictions.
const EVICT_EVERY: u64 = 1_000;

/// How to open a directory.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The identity of the directory, should it be new.
    pub instance: InstanceId,
    /// The store that the directory must have; none: the one it has, or sled, should it be new.
    pub store: Option<StoreKind>,
    /// The bounds to run with.
    pub limits: Limits,
    /// Whether to go on where acknowledged records are gone.
    pub accept_loss: AcceptLoss,
    /// Whose log it is; none: as it was created, the first partition's where it is new.
    pub partition: Option<PartitionId>,
}

impl Opening {
    /// As the directory is, and as usual where it is new; where acknowledged records are gone it is
    /// refused.
    pub const fn new(instance: InstanceId, limits: Limits) -> Self {
        Self { instance, store: None, limits, accept_loss: AcceptLoss::No, partition: None }
    }
}

/// What to do where the log ends before what was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AcceptLoss {
    /// Refuse to open.
    #[default]
    No,
    /// Go on and record the loss.
    Yes,
}

/// A directory opened by its owner.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) partition: Partition,
    /// None where the store is not a directory.
    pub(super) head: Option<Head>,
    /// What is gone, as the head says: the last record there and the last acknowledged.
    pub(super) loss: Option<(Lsn, Lsn)>,
    /// When the engine was last seen running.
    pub(super) alive: Timestamp,
    /// Over what is asked of the disk.
    pub(super) watch: Arc<Watch>,
}

/// Where the data of an engine is.
#[derive(Debug, Clone)]
pub(super) enum Site {
    /// In a directory.
    Directory(PathBuf),
    /// In a store of another kind.
    #[cfg(test)]
    Store(Arc<dyn Store>),
}

impl Site {
    /// Opens it and takes it over.
    pub(super) fn own(&self, opening: &Opening, watch: &Arc<Watch>) -> store::Result<Owned> {
        let (site, opening, watching) = (self.clone(), opening.clone(), Arc::clone(watch));
        watch.guard(move || match site {
            Self::Directory(dir) => own_watched(&dir, &opening, watching),
            #[cfg(test)]
            Self::Store(inner) => {
                let store: Arc<dyn Store> = Arc::new(Watched::new(inner, &watching));
                own_store(&store, &opening).map(|owned| Owned { watch: watching, ..owned })
            }
        })?
    }

    /// For messages.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Directory(dir) => dir,
            #[cfg(test)]
            Self::Store(store) => store.path(),
        }
    }

    /// Bytes that are free there, whether it is open or not.
    pub(super) fn free_bytes(&self) -> store::Result<u64> {
        match self {
            Self::Directory(dir) => store::free_bytes(dir),
            #[cfg(test)]
            Self::Store(store) => store.free_bytes(),
        }
    }
}

/// Opens `dir`, creating it if need be, and takes it over with a fence.
pub(super) fn own(dir: &Path, opening: &Opening) -> store::Result<Owned> {
    let watch = Watch::start(dir, opening.limits.stall)?;
    Site::Directory(dir.to_owned()).own(opening, &watch)
}

fn own_watched(dir: &Path, opening: &Opening, watch: Arc<Watch>) -> store::Result<Owned> {
    let _span = debug_span!("open").entered();
    let opened = watch.during("open", || Directory::open_as(dir, opening.store))?;
    own_open(opened, dir, opening, watch)
}

/// Takes over what has been opened in `dir`.
pub(super) fn own_open(
    opened: Directory,
    dir: &Path,
    opening: &Opening,
    watch: Arc<Watch>,
) -> store::Result<Owned> {
    let (mut head, state) = watch.during("open the head of", || Head::open(dir))?;
    let store: Arc<dyn Store> = Arc::new(Watched::new(opened.store(), &watch));
    check_format(&*store, state.as_ref())?;
    let format = format(&*store, opening)?;
    let partition = check_partition(&*store, opening)?;
    let bounds = (&opening.limits, opening.accept_loss);
    let sought = Sought { dir, instance: format.instance, partition, head: state.as_ref() };
    // Without a head nobody knows which records are gone that the projections may have.
    let is_headless = state.is_none() && store.above(Tree::Log, &[])?.is_some();
    if opened.is_doubtful() || (is_headless && opening.accept_loss == AcceptLoss::Yes) {
        settle(&store, &*store, &sought, bounds)?;
    }
    if opened.is_doubtful() {
        opened.settle()?;
    }
    let owner = (format.instance, partition);
    let mut partition = replay(&store, owner, &opening.limits)?;
    let alive = state.as_ref().map_or(Timestamp::EPOCH, |state| state.alive);
    let loss = check_head(&sought, &partition.fold, opening.accept_loss)?;
    if loss.is_some_and(|(ends, acknowledged)| ends < acknowledged) {
        // Pages and timers may hold records that are gone; the LSNs of those are used again.
        restore::forget_projections(&*store, &partition.start()?, partition.latest())?;
        partition = replay(&store, owner, &opening.limits)?;
    }
    fence(&mut partition)?;
    if loss.is_none() {
        // Otherwise the head says what was lost until the log says so itself.
        let state = HeadState::of(&partition.fold, alive);
        watch.during("write the head of", || head.write(&state))?;
    }
    Ok(Owned { partition, head: Some(head), loss, alive, watch })
}

/// Takes over what a store of another kind holds.
#[cfg(test)]
pub(super) fn own_store(store: &Arc<dyn Store>, opening: &Opening) -> store::Result<Owned> {
    let format = format(&**store, opening)?;
    let partition = check_partition(&**store, opening)?;
    let mut partition = replay(store, (format.instance, partition), &opening.limits)?;
    fence(&mut partition)?;
    Ok(Owned { partition, head: None, loss: None, alive: Timestamp::EPOCH, watch: Watch::blind() })
}

fn format(store: &dyn Store, opening: &Opening) -> store::Result<DirectoryFormat> {
    DirectoryFormat { instance: opening.instance, partitions: 1 }.create_or_check(store)
}

/// The log that should be there.
struct Sought<'a> {
    dir: &'a Path,
    instance: InstanceId,
    partition: PartitionId,
    head: Option<&'a HeadState>,
}

/// Whose log it is that is opened.
fn check_partition(store: &dyn Store, opening: &Opening) -> store::Result<PartitionId> {
    match (LocalLog::partition_in(store)?, opening.partition) {
        (Some(PartitionId(found)), Some(PartitionId(expected))) if found != expected => {
            Err(store::Error::OtherPartition { path: store.path().to_owned(), found, expected })
        }
        (found, expected) => Ok(found.or(expected).unwrap_or_default()),
    }
}

/// What became of projections that are doubtful.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    /// They are gone, so that replaying makes them again.
    Gone,
    /// They cannot be made again, and fit the log as far as it goes back.
    Kept,
}

/// Settles what `doubtful` holds besides its log, in `target`: that store, or one apart from it.
/// The log is looked at first: where it is not whole, the projections may be all there is.
fn settle(
    doubtful: &Arc<dyn Store>,
    target: &dyn Store,
    sought: &Sought<'_>,
    (limits, accept): (&Limits, AcceptLoss),
) -> store::Result<Settled> {
    let Sought { instance, partition, .. } = *sought;
    let log = LocalLog::new(Arc::clone(doubtful), partition);
    let start = Start::find(&**doubtful, &log, Fold::new(instance, partition))?;
    let mut reader = RecordReader::new(&log, start.fold().clone());
    while reader.next().transpose()?.is_some() {}
    check_head(sought, reader.state(), accept)?;
    match restore::forget_projections(target, &start, reader.state().last_lsn()) {
        Ok(()) => {
            warn!("the projections are doubtful and made again from the log");
            Ok(Settled::Gone)
        }
        Err(store::Error::NoWayBack { trimmed }) => {
            // What began before the base cannot be made again; the rest shows whether it fits.
            let found = verify(&mut replay(doubtful, (instance, partition), limits)?)?;
            let (differences, older) = (found.difference_count, found.older_rows);
            if differences > 0 {
                let what = format!("{differences} differences from a log trimmed at {trimmed}");
                return Err(store::Error::Damaged { what, place: "the projections".to_owned() });
            }
            warn!(older, "the projections were doubtful and verified, but for rows so old");
            Ok(Settled::Kept)
        }
        Err(error) => Err(error),
    }
}

/// A directory that was opened before has its format, and a log that has records has a head.
fn check_format(store: &dyn Store, head: Option<&HeadState>) -> store::Result<()> {
    let is_used = head.is_some() || store.above(Tree::Log, &[])?.is_some();
    if is_used && DirectoryFormat::load(store)?.is_none() {
        return Err(damaged("the directory", Malformed("its format is gone")));
    }
    Ok(())
}

/// Opens `dir` to look at it: nothing is appended.
pub fn read(dir: &Path, limits: &Limits) -> store::Result<Partition> {
    let watch = Watch::start(dir, limits.stall)?;
    let (dir, limits, watching) = (dir.to_owned(), limits.clone(), Arc::clone(&watch));
    watch.guard(move || {
        let opened = watching.during("open", || Directory::open_existing(&dir))?;
        read_open(&opened, &dir, &limits, &watching)
    })?
}

/// Looks at what has been opened in `dir`.
pub(super) fn read_open(
    opened: &Directory,
    dir: &Path,
    limits: &Limits,
    watch: &Arc<Watch>,
) -> store::Result<Partition> {
    let (_, state) = watch.during("open the head of", || Head::open(dir))?;
    let store: Arc<dyn Store> = Arc::new(Watched::new(opened.store(), watch));
    check_format(&*store, state.as_ref())?;
    let missing = || store::Error::Missing { path: dir.to_owned() };
    let format = DirectoryFormat::load(&*store)?.ok_or_else(missing)?;
    let (instance, partition) =
        (format.instance, LocalLog::partition_in(&*store)?.unwrap_or_default());
    let sought = Sought { dir, instance, partition, head: state.as_ref() };
    let (store, are_made) =
        if opened.is_doubtful() { look_apart(store, &sought, limits)? } else { (store, false) };
    let mut partition = replay(&store, (instance, partition), limits)?;
    check_head(&sought, &partition.fold, AcceptLoss::No)?;
    partition.are_projections_made = are_made;
    Ok(partition)
}

/// Where to look at a directory that is doubtful, and whether its projections are made again there.
/// That is for its owner to do for good: looking changes nothing.
fn look_apart(
    store: Arc<dyn Store>,
    sought: &Sought<'_>,
    limits: &Limits,
) -> store::Result<(Arc<dyn Store>, bool)> {
    let apart = Arc::new(Apart::new(Arc::clone(&store))?);
    Ok(match settle(&store, &*apart, sought, (limits, AcceptLoss::No))? {
        Settled::Gone => (apart, true),
        Settled::Kept => (store, false),
    })
}

/// What `store` holds: its checkpoint and the log after it.
pub(super) fn replay(
    store: &Arc<dyn Store>,
    (instance, partition): (InstanceId, PartitionId),
    limits: &Limits,
) -> store::Result<Partition> {
    let limits = &limits.clone().within_reason();
    let log: Arc<dyn Log> = Arc::new(LocalLog::new(Arc::clone(store), partition));
    let (at, mut state, fold) = match checkpoint::load(&**store)? {
        Some((recorded, image)) => {
            let damaged = |why| damaged("the checkpoint's memory image", why);
            let memory = Memory::decode(&image).map_err(damaged)?;
            (recorded.at, State::new(memory, limits.timer_span, partition), recorded.fold)
        }
        None => {
            let start = Start::find(&**store, &*log, Fold::new(instance, partition))?;
            (Lsn::ZERO, restore::state(store, &start, limits)?, start.fold().clone())
        }
    };
    if log.tail()? < fold.position() {
        let what =
            format!("it ends before position {}, which a checkpoint covers", fold.position());
        return Err(store::Error::Damaged { what, place: "the log".to_owned() });
    }
    let reader = RecordReader::new(&*log, fold);
    let fold = replay_log(&mut state, &**store, reader, limits, apply_all)?;
    state.refresh_catalog(&**store)?;
    let store = Arc::clone(store);
    let mut partition = Partition::new(instance, state, store, log, limits.clone(), fold);
    // What was replayed counts, or processes that are killed early would never checkpoint.
    partition.since_checkpoint = partition.latest().0.saturating_sub(at.0);
    Ok(partition)
}

/// How a record is applied.
pub(super) type Applying = fn(&mut State, Lsn, Timestamp, &Record);

/// Applies every record that `reader` gives to `state`, as `apply` does it, and tells where it ended.
pub(super) fn replay_log(
    state: &mut State,
    store: &dyn Store,
    mut reader: RecordReader<'_>,
    limits: &Limits,
    apply: Applying,
) -> store::Result<Fold> {
    let _span = trace_span!("replay").entered();
    let mut since_eviction = 0;
    while let Some(group) = reader.next().transpose()? {
        for stored in group {
            let record = decode(&stored)?;
            state.fetch(store, rows_of(stored.lsn, &record))?;
            apply(state, stored.lsn, stored.time, &record);
            since_eviction += 1;
        }
        if since_eviction >= EVICT_EVERY {
            state.table.evict(limits.cache_bytes, limits.cache_pages, usize::MAX);
            since_eviction = 0;
        }
    }
    debug!(records = %state.memory.latest, "replayed");
    Ok(reader.into_fold())
}

/// Applies a record to every projection.
pub(super) fn apply_all(state: &mut State, lsn: Lsn, time: Timestamp, record: &Record) {
    apply(state, state.partition, lsn, time, record);
}

/// The record that stored bytes say.
pub(super) fn decode(stored: &store::Record) -> store::Result<Record> {
    let place = format!("record {}", stored.lsn);
    Record::decode(stored.kind, stored.version, &stored.body).map_err(|why| damaged(&place, why))
}

pub(super) fn damaged(place: &str, why: Malformed) -> store::Error {
    store::Error::Damaged { what: why.to_string(), place: place.to_owned() }
}

/// The last record there and the last acknowledged, where acknowledged ones are gone, or may be.
fn check_head(
    sought: &Sought<'_>,
    fold: &Fold,
    accept: AcceptLoss,
) -> store::Result<Option<(Lsn, Lsn)>> {
    let last = fold.last_lsn();
    let checked = match sought.head {
        Some(state) => state.check(fold),
        // A new directory gets its head before its first record.
        None if last == Lsn::ZERO || is_planted!("missing_head_ignored") => Ok(()),
        None => Err(store::Error::Headless { path: sought.dir.to_owned(), last }),
    };
    match checked {
        Ok(()) => Ok(None),
        Err(store::Error::Shortened { ends, acknowledged, at }) if accept == AcceptLoss::Yes => {
            warn!(%ends, %acknowledged, %at, "acknowledged records are gone, as accepted");
            Ok(Some((ends, acknowledged)))
        }
        Err(store::Error::Headless { last, .. }) if accept == AcceptLoss::Yes => {
            warn!(%last, "records after this one may be gone, as accepted: there is no head");
            Ok(Some((last, last)))
        }
        Err(error) => Err(error),
    }
}

/// Takes the log over: whatever a deposed owner still appends is void from here on.
fn fence(partition: &mut Partition) -> store::Result<()> {
    let _span = trace_span!("fence").entered();
    let now = partition.recorded_time();
    append_fence(&mut partition.fold, &*partition.log, now)
}

/// Appends the fence of a new owner, durably.
pub(super) fn append_fence(fold: &mut Fold, log: &dyn Log, now: Timestamp) -> store::Result<()> {
    let position = fold.position();
    let bytes = fold.new_fence(fresh_nonce(), now);
    if log.submit(position, &bytes)? == Inserted::Occupied {
        return Err(store::Error::Conflict { position });
    }
    log.sync()?;
    let chunk = chunk::decode(&bytes).expect("our own fence decodes");
    let effect = fold.offer(position, chunk)?;
    assert!(effect == Effect::Adopted, "our own fence is the latest");
    Ok(())
}

/// A number that no other start has: the standard library seeds its hasher from the system.
fn fresh_nonce() -> u64 {
    std::hash::RandomState::new().hash_one("fence")
}

/// A random identity for a new directory.
pub fn random_instance() -> InstanceId {
    let half = || fresh_nonce().to_be_bytes();
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(half().into_iter().chain(half())).for_each(|(to, from)| *to = from);
    InstanceId(bytes)
}
