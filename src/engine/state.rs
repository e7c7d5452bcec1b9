//! The state that decisions read and records change: rows behind the page cache, timers, memory,
//! and the compiled definitions.

use crate::{
    base::{ContentHash, Lsn, Malformed, PartitionId, Span, Timestamp, planted::is_planted},
    machine::{
        apply::{Projections, TimerSet},
        catalog::{Catalog, Unreadable},
        input::{Found, View},
        key::{self, Key},
        memory::Memory,
        row::Row,
    },
    store::{self, Store, Table, Timer, Timers},
};

/// All projections of one partition.
#[derive(Debug)]
pub(super) struct State {
    pub(super) table: Table<Row>,
    pub(super) timers: Timers,
    pub(super) memory: Memory,
    pub(super) catalog: Catalog,
    pub(super) partition: PartitionId,
}

impl store::Row for Row {
    fn encode(&self, out: &mut Vec<u8>) {
        Self::encode(self, out);
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::decode(bytes)
    }

    fn is_expired(&self, now: Timestamp) -> bool {
        Self::is_expired(self, now)
    }

    fn are_expired(bytes: &[u8], now: Timestamp) -> bool {
        Self::are_expired(bytes, now)
    }

    fn weight(&self) -> usize {
        self.encoded_len()
    }
}

impl State {
    /// State that starts from what a checkpoint saved; the default is that of an empty log.
    pub(super) fn new(memory: Memory, timer_span: Span, partition: PartitionId) -> Self {
        Self {
            table: Table::new(),
            timers: Timers::new(timer_span),
            memory,
            catalog: Catalog::default(),
            partition,
        }
    }

    /// Loads the rows under `keys`, in the order of the pages.
    pub(super) fn fetch(&mut self, store: &dyn Store, mut keys: Vec<Key>) -> store::Result<()> {
        keys.sort_unstable();
        self.table.fetch(store, keys)
    }

    /// Compiles the definitions that memory names, from the documents in the rows.
    pub(super) fn refresh_catalog(&mut self, store: &dyn Store) -> store::Result<()> {
        let table = &mut self.table;
        let read = &mut |hash, parts| read_document(table, store, hash, parts);
        self.catalog.refresh(&self.memory, read).map_err(|error| match error {
            Unreadable::Document(error) => error,
            Unreadable::Invalid(_) => {
                store::Error::Damaged { what: error.to_string(), place: "definitions".to_owned() }
            }
        })
    }
}

fn read_document(
    table: &mut Table<Row>,
    store: &dyn Store,
    hash: ContentHash,
    parts: u32,
) -> store::Result<String> {
    let mut json = String::new();
    for part in 0..parts {
        let key = key::document(hash, part);
        table.fetch(store, [&key])?;
        if let store::Found::Row(Row::Document(text)) = table.get(&key) {
            json.push_str(text);
        }
    }
    if ContentHash::of(json.as_bytes()) == hash {
        return Ok(json);
    }
    let what = format!("the stored document {hash} is not what its hash says");
    Err(store::Error::Damaged { what, place: "definitions".to_owned() })
}

impl View for State {
    fn row(&self, key: &Key) -> Found<'_> {
        match self.table.get(key) {
            store::Found::Row(row) => Found::Row(row),
            store::Found::Absent => Found::Absent,
            store::Found::Missing => Found::Missing,
        }
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn catalog(&self) -> &Catalog {
        &self.catalog
    }
}

impl Projections for State {
    fn row(&mut self, lsn: Lsn, key: Key, change: &mut dyn FnMut(&mut Option<Row>)) {
        self.table.update(lsn, &key, change);
    }

    fn set_timer(&mut self, timer: TimerSet) {
        if is_planted!("timer_only_with_row")
            && let Found::Row(Row::Enrollment(it)) =
                View::row(self, &key::enrollment(timer.place, timer.enrollment))
            && timer.set <= it.latest
        {
            return;
        }
        self.timers.set(stored(timer));
    }

    fn clear_timer(&mut self, timer: TimerSet) {
        self.timers.clear(&stored(timer));
    }

    fn memory(&mut self) -> &mut Memory {
        &mut self.memory
    }
}

const fn stored(timer: TimerSet) -> Timer {
    Timer { due: timer.due, enrollment: timer.enrollment, set: timer.set, place: timer.place }
}

pub(super) const fn timer_set(timer: Timer) -> TimerSet {
    TimerSet { due: timer.due, enrollment: timer.enrollment, set: timer.set, place: timer.place }
}
