//! `verify`: the log replayed into fresh state must give what the live projections hold, row by
//! row, timers and counters included. Reading the log checks every CRC and the fold on the way.

use std::{collections::BTreeSet, sync::Arc};

use serde::Serialize;

use super::{partition::Partition, recover, state::State};
use crate::{
    base::{Limits, Lsn, Timestamp},
    machine::{
        memory::Memory,
        row::{Enrollment, Phase, Row, Stage},
    },
    store::{self, Fold, Key, MemoryStore, Store, Table, Timer},
};

/// Rows compared at a time.
const BATCH_ROWS: usize = 1_000;
/// Differences that are described; the rest are counted.
const DESCRIBED_MAX: usize = 100;

/// What `verify` found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verified {
    /// Records replayed.
    pub records: u64,
    /// Rows compared.
    pub rows: u64,
    /// Live timers compared.
    pub timers: u64,
    /// How many things differ.
    pub difference_count: u64,
    /// The first of them, in words.
    pub differences: Vec<String>,
}

impl Verified {
    fn differs(&mut self, what: impl FnOnce() -> String) {
        self.difference_count += 1;
        if self.differences.len() < DESCRIBED_MAX {
            self.differences.push(what());
        }
    }
}

/// Compares the live projections of `live` with what its log says.
pub fn verify(live: &mut Partition) -> store::Result<Verified> {
    let scratch: Arc<dyn Store> = Arc::new(MemoryStore::new());
    // Everything stays in memory: the scratch store never gets a page to read back.
    let limits = Limits { cache_bytes: usize::MAX, cache_pages: usize::MAX, ..live.limits.clone() };
    let mut fresh = State::new(Memory::default(), limits.timer_span);
    let start = Fold::new(live.instance, live.id);
    let fold = recover::replay_log(&mut fresh, &*scratch, &*live.log, start, &limits)?;
    let mut found = Verified { records: fresh.memory.latest.0, ..Verified::default() };
    if fold != live.fold {
        found.differs(|| format!("the fold: {:?} live, {fold:?} replayed", live.fold));
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

fn compare_memory(live: &Memory, fresh: &Memory, found: &mut Verified) {
    let parts: [(&str, String, String); 10] = [
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
    // The fresh rows exist in memory only.
    let kept = Limits { cache_bytes: usize::MAX, cache_pages: usize::MAX, ..limits.clone() };
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
        found.rows += 1;
        if ours != theirs {
            found.differs(|| format!("row: {ours:?} live, {theirs:?} replayed"));
        }
        if let Some((key, Row::Enrollment(enrollment))) = &theirs {
            timers.extend(timers_of(key, enrollment));
        }
    }
}

/// The timers that an enrollment's row names.
fn timers_of(key: &Key, enrollment: &Enrollment) -> Vec<Timer> {
    let number = |bytes: Option<&[u8]>| {
        let bytes: Option<[u8; 8]> = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_be_bytes)
    };
    let (place, lsn) = (number(key.get(1..9)), Lsn(number(key.get(10..18))));
    let timer = |due, set| Timer { due, enrollment: lsn, set, place };
    match &enrollment.phase {
        Phase::Waiting { due, set, .. } => vec![timer(*due, *set)],
        Phase::Sending { deliveries, .. } => {
            let deferred = deliveries.iter().filter_map(|open| match open.stage {
                Stage::Deferred { until, set } => Some(timer(until, set)),
                Stage::InFlight | Stage::Sent | Stage::Failed | Stage::Skipped => None,
            });
            deferred.collect()
        }
        Phase::Entering | Phase::Ended { .. } => Vec::new(),
    }
}

/// Rows in the order of their keys, a batch at a time, without those that count as absent.
struct Rows<'a> {
    table: &'a mut Table<Row>,
    store: &'a dyn Store,
    limits: &'a Limits,
    now: Timestamp,
    batch: std::vec::IntoIter<(Key, Row)>,
    /// Where the next batch begins; none after the last one.
    from: Option<Vec<u8>>,
    peeked: Option<(Key, Row)>,
}

impl<'a> Rows<'a> {
    fn new(
        table: &'a mut Table<Row>,
        (store, limits): (&'a dyn Store, &'a Limits),
        now: Timestamp,
    ) -> Self {
        let batch = Vec::new().into_iter();
        Self { table, store, limits, now, batch, from: Some(Vec::new()), peeked: None }
    }

    fn peek(&mut self) -> store::Result<Option<&(Key, Row)>> {
        while self.peeked.is_none() {
            match self.batch.next() {
                Some((_, row)) if row.is_expired(self.now) => {}
                Some(entry) => self.peeked = Some(entry),
                None if !self.fill()? => return Ok(None),
                None => {}
            }
        }
        Ok(self.peeked.as_ref())
    }

    fn fill(&mut self) -> store::Result<bool> {
        let Some(from) = self.from.take() else { return Ok(false) };
        self.table.evict(self.limits.cache_bytes, self.limits.cache_pages);
        let rows = self.table.scan(self.store, &from, None, BATCH_ROWS)?;
        // The least key above the last one.
        let next = |key: &Key| [&key[..], &[0]].concat();
        self.from = rows.last().filter(|_| rows.len() == BATCH_ROWS).map(|(key, _)| next(key));
        self.batch = rows.into_iter();
        Ok(true)
    }

    fn take(&mut self) -> Option<(Key, Row)> {
        self.peeked.take()
    }
}
