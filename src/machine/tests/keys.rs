//! How many entry keys of a customer are remembered, and which go.

use super::*;
use crate::{
    base::{CustomerId, limits::ENTRY_KEYS_MAX},
    machine::{apply::apply, key, record::Enrolled},
};

/// Two flows by `k`: one that ends at once, and one whose customer may wait a year in it.
const BY_KEY: &str = r#"{ "segments": [
    { "id": "short", "name": "S", "rule": "true" }, { "id": "long", "name": "L", "rule": "true" } ],
  "flows": [
    { "id": "a", "name": "A", "segment": "short", "trigger": { "event": "short" },
      "entry": "once", "entry_key": "event.properties.k",
      "steps": [{ "id": "x", "step_order": 1, "step_type": "EXIT", "config": {} }] },
    { "id": "b", "name": "B", "segment": "long", "trigger": { "event": "long" },
      "entry": "every_time", "entry_key": "event.properties.k",
      "steps": [{ "id": "w", "step_order": 1, "step_type": "WAIT", "config": { "duration": "365d" } }] }] }"#;

struct Shop {
    world: World,
    records: Vec<Record>,
}

impl Shop {
    fn new() -> Self {
        Self { world: World::new(BY_KEY), records: Vec::new() }
    }

    /// An event of the customer; the enrollment it began, or why it began none.
    fn event(&mut self, name: &str, key: usize) -> Result<Box<Enrolled>, Refusal> {
        let line = format!(r#"{{"name":"{name}","customer":"c","properties":{{"k":{key}}}}}"#);
        let (_, records) = self.world.accept(now(), &event(&line));
        let said = if let Record::Enrolled(it) = &records[1] {
            Ok(it.clone())
        } else {
            let Record::EntriesRefused(it) = &records[1] else { panic!("one flow is asked") };
            Err(it.refused[0].1)
        };
        self.records.extend(records);
        said
    }

    fn enters(&mut self, name: &str, keys: impl IntoIterator<Item = usize>) {
        for key in keys {
            let entered = self.event(name, key).unwrap_or_else(|why| panic!("{key}: {why}"));
            let change = entered.keys.expect("an entry with a key changes the keys");
            assert_eq!(change.forgets, None, "{key}");
        }
    }

    /// A new key enters, and this one of that flow goes for it.
    fn forgets(&mut self, name: &str, key: usize, forgotten: (u32, usize)) {
        let change = self.event(name, key).unwrap().keys.expect("an entry with a key");
        let gone = change.forgets.map(|it| (it.flow, it.key));
        assert_eq!(gone, Some((forgotten.0, forgotten.1.to_string())));
    }

    /// How many keys are remembered: by their rows, and by the row that lists them.
    fn remembered(&self) -> (usize, usize) {
        let is_entry = |row: &&Row| matches!(row, Row::Entry(_));
        let listed = self.world.rows.values().find_map(|row| {
            let Row::EntryKeys(keys) = row else { return None };
            Some(keys.len())
        });
        (self.world.rows.values().filter(is_entry).count(), listed.unwrap_or(0))
    }
}

#[test]
fn the_oldest_key_goes_for_the_one_that_is_too_many_and_is_counted() {
    let mut shop = Shop::new();
    shop.enters("short", 0..ENTRY_KEYS_MAX);
    assert_eq!(shop.event("short", 0), Err(Refusal::AlreadyEntered));
    assert_eq!(shop.remembered(), (ENTRY_KEYS_MAX, ENTRY_KEYS_MAX));
    assert_eq!(shop.world.memory.forgotten_keys, [].into());

    shop.forgets("short", ENTRY_KEYS_MAX, (0, 0));
    assert_eq!(shop.event("short", 1), Err(Refusal::AlreadyEntered), "the second oldest stays");
    assert_eq!(shop.world.memory.forgotten_keys, [(0, 1)].into());
    // The oldest is new again, and the second oldest goes for it.
    shop.forgets("short", 0, (0, 1));
    assert_eq!(shop.remembered(), (ENTRY_KEYS_MAX, ENTRY_KEYS_MAX));
    assert_eq!(shop.world.memory.forgotten_keys, [(0, 2)].into());

    let mut replayed = World::new(BY_KEY);
    for record in &shop.records {
        let lsn = replayed.memory.next_lsn();
        replayed.name_rows_of(lsn, record);
        apply(&mut replayed, crate::base::PartitionId(0), lsn, now(), record);
    }
    assert_eq!(replayed.rows, shop.world.rows, "replay gives the same rows");
    assert_eq!(replayed.memory, shop.world.memory, "and the same counts");
}

/// `every_time` enters again with a key that is known: no key more, and the latest one counts.
#[test]
fn a_key_that_enters_again_is_the_newest_one() {
    let mut shop = Shop::new();
    shop.enters("long", 0..1);
    let timer = *shop.world.timers.first().unwrap();
    shop.world.accept(timer.due, &Input::TimerDue(timer));
    shop.enters("short", 1..ENTRY_KEYS_MAX);
    shop.enters("long", 0..1);
    assert_eq!(shop.remembered(), (ENTRY_KEYS_MAX, ENTRY_KEYS_MAX));
    shop.forgets("short", ENTRY_KEYS_MAX, (0, 1));
}

/// A key must not be forgotten while its enrollment is active: it could be active twice.
#[test]
fn a_key_that_is_active_stays_and_a_thousand_of_them_are_the_most() {
    let mut shop = Shop::new();
    shop.enters("long", 0..ENTRY_KEYS_MAX - 1);
    shop.enters("short", [0]);
    shop.forgets("long", ENTRY_KEYS_MAX, (0, 0));
    assert_eq!(shop.event("long", 0), Err(Refusal::AlreadyActive));
    assert_eq!(shop.event("short", 0), Err(Refusal::TooManyKeys));
    assert_eq!(shop.remembered(), (ENTRY_KEYS_MAX, ENTRY_KEYS_MAX));

    let timer = *shop.world.timers.first().unwrap();
    shop.world.accept(timer.due, &Input::TimerDue(timer));
    shop.forgets("short", 0, (1, 0));
}

/// What an older version enrolled is in no list: it is remembered as before and never goes.
#[test]
fn a_key_of_an_older_version_is_remembered_without_being_listed() {
    let mut shop = Shop::new();
    shop.enters("short", [7]);
    shop.world.rows.remove(&key::entry_keys(&CustomerId::new("c").unwrap()));
    assert_eq!(shop.event("short", 7), Err(Refusal::AlreadyEntered));
    shop.enters("short", [8]);
    assert_eq!(shop.remembered(), (2, 1));
}
