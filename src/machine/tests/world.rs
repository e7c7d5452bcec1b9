//! All projections in memory, and suspicious: a decision starts with no row at hand and must come
//! out as with all of them, and a record changes only the rows that it names.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    base::{ContentHash, Lsn, PartitionId, Timestamp},
    machine::{
        apply::{Projections, TimerSet, apply, rows_of, unread_rows},
        catalog::Catalog,
        decide::decide,
        input::{Answer, Decision, Found, Input, Rejection, Stop, View},
        key::{self, Key},
        memory::Memory,
        record::{Record, Source},
        row::Row,
    },
    model::{Definitions, Known},
};

const PARTITION: PartitionId = PartitionId(0);

#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) rows: BTreeMap<Key, Row>,
    pub(super) timers: BTreeSet<TimerSet>,
    pub(super) memory: Memory,
    catalog: Catalog,
    /// The rows that the record being applied names.
    named: Vec<Key>,
}

/// What a decision sees of the world: of the rows only those that it has asked for.
struct Glimpse<'a> {
    world: &'a World,
    asked: &'a BTreeSet<Key>,
}

impl World {
    pub(super) fn new(definitions: &str) -> Self {
        let mut world = Self::default();
        let files = [("definitions.json", definitions.as_bytes())];
        let definitions = Definitions::parse(&files, &Known::default()).unwrap();
        let publish = Input::Publish { source: Source::Api, files: Vec::new(), definitions };
        world.accept(Timestamp::EPOCH, &publish);
        world
    }

    /// Gives an input that is not refused.
    pub(super) fn accept(&mut self, now: Timestamp, input: &Input) -> (Answer, Vec<Record>) {
        self.give(now, input).expect("the input is right")
    }

    /// Decides an input and applies what follows.
    pub(super) fn give(
        &mut self,
        now: Timestamp,
        input: &Input,
    ) -> Result<(Answer, Vec<Record>), Rejection> {
        let Decision { records, answer } = self.decide(now, input)?;
        for record in &records {
            let lsn = self.memory.next_lsn();
            self.name_rows_of(lsn, record);
            apply(self, PARTITION, lsn, now, record);
        }
        if matches!(answer, Answer::Published { .. }) {
            let rows = &self.rows;
            let read = &mut |hash, parts| Ok::<_, std::fmt::Error>(document(rows, hash, parts));
            self.catalog.refresh(&self.memory, read).unwrap();
        }
        Ok((answer, records))
    }

    /// Only the rows that this record names may change next.
    pub(super) fn name_rows_of(&mut self, lsn: Lsn, record: &Record) {
        self.named = rows_of(lsn, record);
    }

    /// Whoever applies the records has the rows that the decision read and those that are said to be
    /// unread: there are no others.
    fn check_rows_at_hand(&self, mut at_hand: BTreeSet<Key>, records: &[Record]) {
        let first = self.memory.next_lsn();
        for (record, n) in records.iter().zip(0_u64..) {
            let lsn = first.plus(n);
            at_hand.extend(unread_rows(lsn, record).into_iter().flatten());
            for key in rows_of(lsn, record) {
                assert!(at_hand.contains(&key), "{record:?} changes what nobody has read: {key:?}");
            }
        }
    }

    fn decide(&self, now: Timestamp, input: &Input) -> Result<Decision, Rejection> {
        let whole = decide(self, PARTITION, now, input);
        let mut asked = BTreeSet::new();
        loop {
            match decide(&Glimpse { world: self, asked: &asked }, PARTITION, now, input) {
                Err(Stop::Missing(keys)) => {
                    assert!(!keys.is_empty(), "a decision asks for something");
                    for key in keys {
                        assert!(asked.insert(key), "a decision asks for a row once");
                    }
                }
                found => {
                    assert_eq!(found, whole, "what is at hand does not change the decision");
                    if let Ok(decision) = found {
                        self.check_rows_at_hand(asked, &decision.records);
                    }
                    break;
                }
            }
        }
        whole.map_err(|stop| match stop {
            Stop::Rejected(rejection) => rejection,
            Stop::Missing(keys) => panic!("nothing is missing: {keys:?}"),
        })
    }
}

fn document(rows: &BTreeMap<Key, Row>, hash: ContentHash, parts: u32) -> String {
    let part = |part| match rows.get(&key::document(hash, part)) {
        Some(Row::Document(text)) => text.as_str(),
        other => panic!("{other:?} is no document"),
    };
    (0..parts).map(part).collect()
}

impl View for World {
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

impl View for Glimpse<'_> {
    fn row(&self, key: &Key) -> Found<'_> {
        if self.asked.contains(key) { View::row(self.world, key) } else { Found::Missing }
    }

    fn memory(&self) -> &Memory {
        &self.world.memory
    }

    fn catalog(&self) -> &Catalog {
        &self.world.catalog
    }
}

impl Projections for World {
    fn row(&mut self, _: Lsn, key: Key, change: &mut dyn FnMut(&mut Option<Row>)) {
        assert!(self.named.contains(&key), "a record names the rows that it changes");
        let mut row = self.rows.remove(&key);
        change(&mut row);
        row.map(|row| self.rows.insert(key, row));
    }

    fn set_timer(&mut self, timer: TimerSet) {
        self.timers.insert(timer);
    }

    fn clear_timer(&mut self, timer: TimerSet) {
        assert!(self.timers.remove(&timer), "a timer that fires was set");
    }

    fn memory(&mut self) -> &mut Memory {
        &mut self.memory
    }
}
