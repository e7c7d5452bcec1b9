//! Decide and apply: an event that enrols its customer into a WAIT. The baseline puts the same rows
//! into a map without deciding anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    hint::black_box,
};

use criterion::{BatchSize, Criterion, Throughput};
use onward::{
    base::{CustomerId, Lsn, PartitionId, Timestamp},
    machine::{
        apply::{Projections, TimerSet, apply},
        catalog::Catalog,
        decide::decide,
        input::{Found, Input, View},
        key::{self, Key},
        memory::Memory,
        record::Source,
        row::Row,
    },
    model::{Definitions, Event, Known},
};

const PARTITION: PartitionId = PartitionId(0);
const EVENTS: u64 = 1_000;
const DEFINITIONS: &[u8] = br#"{
    "segments": [{ "id": "all", "name": "All", "rule": "customer.id != 'nobody'" }],
    "flows": [{ "id": "wait", "name": "Wait", "segment": "all",
        "trigger": { "event": "signup", "filter": "event.properties.plan == 'free'" },
        "steps": [
            { "id": "wait", "step_order": 1, "step_type": "WAIT", "config": { "duration": "2d" } },
            { "id": "end", "step_order": 2, "step_type": "EXIT", "config": {} }
        ] }]
}"#;

pub(super) fn bench(criterion: &mut Criterion) {
    let now = Timestamp::parse("2026-01-31T08:00:00Z").expect("a valid time");
    let published = State::with(DEFINITIONS, now);
    let events: Vec<Input> = (0..EVENTS).map(event).collect();
    let mut played = published.clone();
    play(&mut played, now, &events);
    assert_eq!(played.timers.len(), events.len(), "every event enrols into the wait");

    let mut group = criterion.benchmark_group("event enrols into a WAIT");
    group.throughput(Throughput::Elements(EVENTS)).sample_size(20);
    group.bench_function("decide and apply", |bencher| {
        let fresh = || published.clone();
        bencher.iter_batched_ref(fresh, |state| play(state, now, &events), BatchSize::LargeInput);
    });
    group.bench_function("baseline: the same rows into a map", |bencher| {
        bencher.iter(|| {
            let mut rows = BTreeMap::new();
            for (key, row) in &played.rows {
                rows.insert(key.clone(), row.clone());
            }
            black_box(rows)
        });
    });
    group.finish();
}

fn event(n: u64) -> Input {
    let note = "x".repeat(160);
    let line = format!(
        r#"{{"id":"e{n}","name":"signup","customer":"c{n}","properties":{{"plan":"free","note":"{note}"}}}}"#
    );
    let event = Event::parse(line.as_bytes()).expect("the bench's events are valid");
    Input::Event { source: Source::Api, event }
}

fn play(state: &mut State, now: Timestamp, inputs: &[Input]) {
    for input in inputs {
        let decision = decide(state, PARTITION, now, input).expect("everything is in memory");
        for record in &decision.records {
            let lsn = state.memory.next_lsn();
            apply(state, PARTITION, lsn, now, record);
        }
    }
}

/// All of the state in memory, without pages.
#[derive(Debug, Clone, Default)]
struct State {
    rows: BTreeMap<Key, Row>,
    timers: BTreeSet<TimerSet>,
    memory: Memory,
    catalog: Catalog,
}

impl State {
    fn with(definitions: &[u8], now: Timestamp) -> Self {
        let definitions = Definitions::parse(&[("bench", definitions)], &Known::default());
        let definitions = definitions.expect("the bench's definitions are valid");
        let mut state = Self::default();
        let input = Input::Publish { source: Source::Api, files: Vec::new(), definitions };
        play(&mut state, now, &[input]);
        let rows = &state.rows;
        let mut read = |hash, parts: u32| {
            let parts = (0..parts).filter_map(|part| match rows.get(&key::document(hash, part)) {
                Some(Row::Document(text)) => Some(text.as_str()),
                _ => None,
            });
            Ok::<String, Infallible>(parts.collect())
        };
        let mut catalog = Catalog::default();
        catalog.refresh(&state.memory, &mut read).expect("what was published can be read");
        state.catalog = catalog;
        state
    }
}

impl View for State {
    fn row(&self, key: &Key) -> Found<'_> {
        self.rows.get(key).map_or(Found::Absent, Found::Row)
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn catalog(&self) -> &Catalog {
        &self.catalog
    }
}

impl Projections for State {
    fn row(&mut self, _: Lsn, key: Key, change: &mut dyn FnMut(&mut Option<Row>)) {
        let mut row = self.rows.remove(&key);
        change(&mut row);
        if let Some(row) = row {
            self.rows.insert(key, row);
        }
    }

    fn set_timer(&mut self, timer: TimerSet) {
        self.timers.insert(timer);
    }

    fn clear_timer(&mut self, timer: TimerSet) {
        self.timers.remove(&timer);
    }

    fn memory(&mut self) -> &mut Memory {
        &mut self.memory
    }
}

/// The records that some events of a run give, for the benches of formats.
pub(super) fn records() -> Vec<onward::machine::record::Record> {
    let now = Timestamp::EPOCH;
    let mut state = State::with(DEFINITIONS, now);
    let mut records = Vec::new();
    for input in (0..300).map(event) {
        let decision = decide(&state, PARTITION, now, &input).expect("everything is in memory");
        for record in decision.records {
            let lsn = state.memory.next_lsn();
            apply(&mut state, PARTITION, lsn, now, &record);
            records.push(record);
        }
    }
    records
}

/// Customers by number.
pub(super) fn customer(n: u64) -> CustomerId {
    CustomerId::new(format!("c{n}")).expect("a short id")
}
