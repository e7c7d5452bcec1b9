//! `verify`: the log replayed into fresh state must give what the live projections hold, row by
//! row, timers and counters included. Reading the log checks every CRC and the fold on the way.
//!
//! A trimmed log is replayed from its base. Where that has copies of the rows, everything is
//! compared as ever; where it has not, the rows that began before it cannot be.

use std::{collections::BTreeSet, sync::Arc};

use serde::Serialize;

use super::{
    partition::Partition,
    recover::{self, Applying},
    restore,
    scan::{Rows, timers_of},
    since,
    state::State,
};
use crate::{
    base::{Limits, Lsn, limits::DIFFERENCES_SHOWN},
    machine::{key, memory::Memory, row::Row},
    store::{self, BaseState, MemoryStore, RecordReader, Start, Store, Timer, base, image},
};

/// What `verify` found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verified {
    /// Whether the projections are doubtful, so that there was nothing to compare with the log.
    pub doubtful: bool,
    /// Records replayed.
    pub records: u64,
    /// The last record that is trimmed, where replaying began; none of a whole log.
    pub base: Option<Lsn>,
    /// Later bases that were compared on the way.
    pub bases: u64,
    /// Rows compared.
    pub rows: u64,
    /// Rows from before a base without copies, which nothing could be compared with.
    pub older_rows: u64,
    /// Live timers compared.
    pub timers: u64,
    /// Where only rows that began later could be replayed.
    #[serde(skip)]
    rows_since: Option<Lsn>,
    /// How many things differ.
    pub difference_count: u64,
    /// The first of them, in words.
    pub differences: Vec<String>,
}

impl Verified {
    fn differs(&mut self, what: impl FnOnce() -> String) {
        self.difference_count += 1;
        if self.differences.len() < DIFFERENCES_SHOWN {
            self.differences.push(what());
        }
    }
}

/// Compares the live projections of `live` with what its log says.
pub fn verify(live: &mut Partition) -> store::Result<Verified> {
    let scratch: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut found = Verified::default();
    let mut fresh = replay(live, &scratch, &mut found)?;
    if live.are_projections_made {
        // One replay would be compared with another.
        found.doubtful = true;
        return Ok(found);
    }
    compare_memory(&live.state.memory, &fresh.memory, &mut found);
    let store = Arc::clone(&live.store);
    let fresh_store = (&*scratch, &live.limits);
    let expected = compare_rows(&mut live.state, &*store, &mut fresh, fresh_store, &mut found)?;
    let live_timers: BTreeSet<Timer> = live.state.timers.all(&*store)?.into_iter().collect();
    for timer in &expected {
        found.timers += 1;
        if !live_timers.contains(timer) {
            found.differs(|| format!("timer {timer:?} is not in the timer index"));
        }
    }
    Ok(found)
}

/// What the log says from its start on, all of it in memory: `scratch` gets the copies of a base.
fn replay(
    live: &Partition,
    scratch: &Arc<dyn Store>,
    found: &mut Verified,
) -> store::Result<State> {
    let limits = &everything(&live.limits);
    let start = live.start()?;
    let apply: Applying = match &start {
        Start::Base(base) if !base.has_copies() => {
            found.rows_since = Some(base.at);
            since::apply_known
        }
        Start::Base(_) | Start::Whole(_) => recover::apply_all,
    };
    let mut fresh = match &start {
        Start::Whole(_) => State::new(Memory::default(), limits.timer_span, live.id),
        Start::Base(base) => {
            found.base = Some(base.at);
            let memory = restore::memory_of(base, &*live.store)?;
            let mut fresh = State::new(memory, limits.timer_span, live.id);
            if base.has_copies() {
                restore::copy_rows(base, &*live.store, &**scratch)?;
                compare_digest(base, &mut fresh, (&**scratch, limits), found)?;
            }
            fresh
        }
    };
    let mut fold = start.fold().clone();
    let is_on_the_way = |base: &BaseState| start.at() < base.at && base.at <= live.latest();
    for base in base::list(&*live.store)?.into_iter().filter(is_on_the_way) {
        let reader = RecordReader::new(&*live.log, fold).until(base.fold.position());
        fold = recover::replay_log(&mut fresh, &**scratch, reader, limits, apply)?;
        found.bases += 1;
        if fold != base.fold {
            found.differs(|| format!("the fold at record {}: {:?}, {fold:?}", base.at, base.fold));
        }
        compare_memory(&restore::memory_of(&base, &*live.store)?, &fresh.memory, found);
        if found.rows_since.is_none() {
            compare_digest(&base, &mut fresh, (&**scratch, limits), found)?;
        }
    }
    let reader = RecordReader::new(&*live.log, fold);
    let fold = recover::replay_log(&mut fresh, &**scratch, reader, limits, apply)?;
    if fold != live.fold {
        found.differs(|| format!("the fold: {:?} live, {fold:?} replayed", live.fold));
    }
    found.records = fresh.memory.latest.0.saturating_sub(start.at().0);
    Ok(fresh)
}

/// Whether the row at `key` may have begun at or before `since`.
fn began_by(key: &key::Key, since: Lsn) -> bool {
    key::began_at(key).is_none_or(|began| began <= since)
}

/// The limits of state that never gets a page to read back.
fn everything(limits: &Limits) -> Limits {
    Limits { cache_bytes: usize::MAX, cache_pages: usize::MAX, ..limits.clone() }
}

/// Compares the rows that `fresh` has at the record of `base` with what that says of them.
fn compare_digest(
    base: &BaseState,
    fresh: &mut State,
    (store, limits): (&dyn Store, &Limits),
    found: &mut Verified,
) -> store::Result<()> {
    let mut digest = image::Digest::new(base.time);
    let mut rows = Rows::new(&mut fresh.table, (store, limits), base.time);
    while rows.peek()?.is_some() {
        if let Some((key, row)) = rows.take() {
            digest.add(&key, &row);
        }
    }
    let replayed = digest.finish();
    if replayed != (base.rows, base.digest) {
        let (rows, digest) = replayed;
        found.differs(|| {
            let (at, of_base, its) = (base.at, base.rows, base.digest);
            format!("the base at record {at}: {of_base} rows, {its}; replayed {rows}, {digest}")
        });
    }
    Ok(())
}

fn compare_memory(live: &Memory, fresh: &Memory, found: &mut Verified) {
    let parts: [(&str, String, String); 11] = [
        ("latest record", debug(&live.latest), debug(&fresh.latest)),
        ("clock", debug(&live.now), debug(&fresh.now)),
        ("latest input", debug(&live.last_input), debug(&fresh.last_input)),
        ("inputs", debug(&live.inputs), debug(&fresh.inputs)),
        ("segments", debug(&live.segments), debug(&fresh.segments)),
        ("flows", debug(&live.flows), debug(&fresh.flows)),
        ("campaigns", debug(&live.campaigns), debug(&fresh.campaigns)),
        ("deliveries in flight", debug(&live.in_flight), debug(&fresh.in_flight)),
        ("counters", debug(&live.counters), debug(&fresh.counters)),
        ("restorations", debug(&live.restorations), debug(&fresh.restorations)),
        ("forgotten keys", debug(&live.forgotten_keys), debug(&fresh.forgotten_keys)),
    ];
    for (name, live, fresh) in parts {
        if live != fresh {
            found.differs(|| format!("{name}: {live} live, {fresh} replayed"));
        }
    }
}

fn debug<T: std::fmt::Debug>(value: &T) -> String {
    format!("{value:?}")
}

/// Compares all rows in the order of their keys and returns the timers that they name.
fn compare_rows(
    live: &mut State,
    live_store: &dyn Store,
    fresh: &mut State,
    (fresh_store, limits): (&dyn Store, &Limits),
    found: &mut Verified,
) -> store::Result<BTreeSet<Timer>> {
    let now = fresh.memory.now;
    let mut timers = BTreeSet::new();
    let mut live = Rows::new(&mut live.table, (live_store, limits), now);
    let kept = everything(limits);
    let mut fresh = Rows::new(&mut fresh.table, (fresh_store, &kept), now);
    loop {
        let (ours, theirs) = (live.peek()?, fresh.peek()?);
        let (ours, theirs) = match (ours, theirs) {
            (None, None) => return Ok(timers),
            (Some(ours), Some(theirs)) if ours.0 == theirs.0 => (live.take(), fresh.take()),
            (Some(ours), Some(theirs)) if ours.0 < theirs.0 => (live.take(), None),
            (Some(_), None) => (live.take(), None),
            (_, Some(_)) => (None, fresh.take()),
        };
        if let (Some((key, row)), None) = (&ours, &theirs)
            && found.rows_since.is_some_and(|since| began_by(key, since))
        {
            found.older_rows += 1;
            if let Row::Enrollment(enrollment) = row {
                timers.extend(timers_of(key, enrollment));
            }
            continue;
        }
        found.rows += 1;
        if ours != theirs {
            found.differs(|| format!("row: {ours:?} live, {theirs:?} replayed"));
        }
        if let Some((key, Row::Enrollment(enrollment))) = &theirs {
            timers.extend(timers_of(key, enrollment));
        }
    }
}
