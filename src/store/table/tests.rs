//! The page cache against a plain map, whatever is evicted, written and replayed.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    base::Timestamp,
    store::{MemoryStore, page::encode_page, page::tests::Tally},
};

#[derive(Debug, Clone)]
enum Change {
    Add(u64, usize),
    Remove,
}

fn apply(row: &mut Option<Tally>, change: &Change) {
    match change {
        Change::Remove => *row = None,
        Change::Add(by, padding) => {
            let sum = row.as_ref().map_or(0, |row| row.sum) + by;
            *row = Some(Tally { sum, expires: Timestamp::MAX, padding: vec![1; *padding] });
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    Update(Vec<Vec<u8>>, Change),
    Begin,
    /// Writes so many of the pages that the checkpoint took.
    Write(usize),
    Finish,
    Evict(usize, usize),
    /// The process dies; what it wrote is there.
    Reopen,
    Scan(Vec<u8>, Vec<u8>, usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = || prop::collection::vec(0_u8..4, 0..4);
    let change = prop_oneof![
        4 => (1..9_u64, prop_oneof![0..300_usize, 3_000..5_000_usize])
            .prop_map(|(by, padding)| Change::Add(by, padding)),
        1 => Just(Change::Remove),
    ];
    let op = prop_oneof![
        12 => (prop::collection::vec(key(), 1..4), change).prop_map(|(keys, it)| Op::Update(keys, it)),
        2 => Just(Op::Begin),
        3 => (0..4_usize).prop_map(Op::Write),
        2 => Just(Op::Finish),
        2 => (0..40_000_usize, 0..4_usize).prop_map(|(bytes, pages)| Op::Evict(bytes, pages)),
        1 => Just(Op::Reopen),
        2 => (key(), key(), 0..9_usize).prop_map(|(from, to, limit)| Op::Scan(from, to, limit)),
    ];
    prop::collection::vec(op, 1..120)
}

/// A table with the log that feeds it and the map that it must equal.
struct World {
    store: MemoryStore,
    table: Table<Tally>,
    model: BTreeMap<Vec<u8>, Tally>,
    log: Vec<(Vec<Vec<u8>>, Change)>,
    /// How many records the recorded checkpoint covers.
    recorded: usize,
    running: Option<(usize, Vec<Arc<Page<Tally>>>)>,
}

impl World {
    fn new() -> Self {
        Self {
            store: MemoryStore::new(),
            table: Table::new(),
            model: BTreeMap::new(),
            log: vec![],
            recorded: 0,
            running: None,
        }
    }

    /// One record may change several rows.
    fn feed(&mut self, number: usize) {
        let (keys, change) = self.log[number].clone();
        self.table.fetch(&self.store, &keys).unwrap();
        for key in &keys {
            self.table
                .update(Lsn(u64::try_from(number).unwrap() + 1), key, |row| apply(row, &change));
        }
    }

    fn write(&mut self, count: usize) {
        let Some((_, pages)) = &mut self.running else { return };
        for page in pages.drain(..count.min(pages.len())) {
            let (key, value) = encode_page(&page, Timestamp::EPOCH);
            self.store.put(Tree::Rows, &key, &value).unwrap();
        }
    }

    fn play(&mut self, op: Op) {
        match op {
            Op::Update(keys, change) => {
                for key in &keys {
                    let mut row = self.model.remove(key);
                    apply(&mut row, &change);
                    self.model.extend(row.map(|row| (key.clone(), row)));
                }
                self.log.push((keys, change));
                self.feed(self.log.len() - 1);
            }
            Op::Begin if self.running.is_none() => {
                self.running = Some((self.log.len(), self.table.checkpoint()));
                assert_eq!(self.table.dirty_bytes(), 0);
            }
            Op::Begin => {}
            Op::Write(count) => self.write(count),
            Op::Finish => {
                self.write(usize::MAX);
                if let Some((at, _)) = self.running.take() {
                    self.recorded = at;
                    self.table.written();
                }
            }
            Op::Evict(bytes, pages) => {
                self.table.cool(bytes % 5);
                self.table.evict(bytes, pages, usize::MAX);
                let fits = self.table.resident_bytes() <= bytes;
                let few = self.table.resident_pages() <= pages;
                let clean = self.table.slots.iter().any(|slot| slot.state == State::Clean);
                assert!(fits && few || !clean);
            }
            Op::Reopen => {
                self.running = None;
                self.table = Table::new();
                (self.recorded..self.log.len()).for_each(|number| self.feed(number));
            }
            Op::Scan(from, to, limit) => {
                let found = self.table.scan(&self.store, &from, Some(&to), limit).unwrap();
                let rows = self.model.range(from.clone()..).filter(|(key, _)| **key < to);
                let rows = rows.take(limit).map(|(key, row)| (Key::from_slice(key), row.clone()));
                assert_eq!(found, rows.collect::<Vec<_>>());
            }
        }
        self.check_counts();
    }

    fn check_counts(&self) {
        let slots = || self.table.slots.iter();
        let bytes = |state| -> usize {
            slots().filter(|slot| slot.state == state).map(|slot| slot.page.memory()).sum()
        };
        let all = bytes(State::Clean) + bytes(State::Dirty) + bytes(State::Writing);
        assert_eq!(self.table.resident_bytes, all);
        assert_eq!(self.table.dirty_bytes, bytes(State::Dirty));
        let clean = slots().filter(|slot| slot.state == State::Clean).count();
        assert_eq!(self.table.clean_pages, clean);
    }

    fn check_rows(&mut self) {
        let all = self.table.scan(&self.store, &[], None, usize::MAX).unwrap();
        let model = self.model.iter().map(|(key, row)| (Key::from_slice(key), row.clone()));
        assert_eq!(all, model.collect::<Vec<_>>());
        self.table.fetch(&self.store, self.model.keys()).unwrap();
        for (key, row) in &self.model {
            assert_eq!(self.table.get(key), Found::Row(row));
        }
        assert_eq!(self.table.get(&[9, 9]), Found::Absent);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn a_table_is_a_map_whatever_is_evicted_written_and_replayed(ops in ops()) {
        let mut world = World::new();
        for op in ops {
            world.play(op);
        }
        world.check_rows();
        world.play(Op::Reopen);
        world.check_rows();
        for op in [Op::Finish, Op::Begin, Op::Finish, Op::Evict(0, 0), Op::Reopen] {
            world.play(op);
        }
        world.check_rows();
    }
}

#[test]
fn what_is_not_resident_is_missing_and_absence_is_known() {
    let store = MemoryStore::new();
    let mut table = Table::<Tally>::new();
    assert_eq!(table.get(b"a"), Found::Missing);
    table.fetch(&store, [b"a"]).unwrap();
    assert_eq!(table.get(b"a"), Found::Absent);
    assert_eq!((table.resident_pages(), table.dirty_bytes()), (1, 0));
    table.evict(0, 0, usize::MAX);
    assert_eq!(table.get(b"a"), Found::Missing);
    assert_eq!((table.resident_pages(), table.resident_bytes()), (0, 0));
}

#[test]
fn a_used_page_outlives_an_unused_one() {
    let mut world = World::new();
    for key in 0..4_u8 {
        world.play(Op::Update(vec![vec![key]], Change::Add(1, 5_000)));
    }
    world.play(Op::Begin);
    world.play(Op::Finish);
    let pages = world.table.resident_pages();
    assert_eq!(pages, 4);
    // All were used, so the first round spares them once, and the second begins after the first.
    world.table.evict(usize::MAX, pages - 1, usize::MAX);
    let is_there = |world: &World, key: u8| world.table.slots.covering(&[key]).is_some();
    assert!(!is_there(&world, 0));
    assert!(is_there(&world, 1));
    assert_eq!(world.table.get(&[1]), Found::Missing, "its rows are let go of first");
    world.table.fetch(&world.store, [[1]]).unwrap();
    assert!(matches!(world.table.get(&[1]), Found::Row(_)));
    world.table.evict(usize::MAX, pages - 2, usize::MAX);
    assert!(!is_there(&world, 2));
    assert!(is_there(&world, 1));
}

#[test]
fn a_damaged_page_is_named() {
    let store = MemoryStore::new();
    store.put(Tree::Rows, b"pkey", b"ONWPnonsense").unwrap();
    let error = Table::<Tally>::new().fetch(&store, [b"kez"]).unwrap_err();
    assert!(error.to_string().starts_with("the page of rows from key is damaged"), "{error}");
}
