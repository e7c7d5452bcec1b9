//! What was written once is read for ever: literal values and the bytes they had in version 1.
//!
//! `fixtures/records_v1.txt` has a line for each kind of record and row, for the memory image and
//! for the recorded checkpoint: what it is, its version, its bytes. A line is never changed; a new
//! kind or version adds one, which the failing test prints.

mod records;
mod rows;

use std::{collections::BTreeMap, fmt::Write};

use onward::{
    base::{Lsn, Malformed, PartitionId, Timestamp},
    machine::{
        memory::Memory,
        reason::{Failure, Idle, InputKind, Refusal, Skip},
        record::Record,
        row::Row,
    },
    store::{
        CheckpointState, ChunkBuilder, Fold, Group, MemoryStore, Store, Tree, checkpoint, chunk,
    },
};

const FIXTURE: &str = include_str!("fixtures/records_v1.txt");
const UNKNOWN_RECORD: Malformed = Malformed("a record of an unknown kind or version");
const UNKNOWN_ROW: Malformed = Malformed("a row of an unknown kind or version");

/// The lines of the fixture: bytes by what they are.
fn fixture() -> BTreeMap<String, Vec<u8>> {
    let lines = FIXTURE.lines().filter(|line| !line.starts_with('#'));
    let entries = lines.map(|line| {
        let (name, hex) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), bytes(hex))
    });
    entries.collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    bytes.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
    text
}

/// Checks that `written` is what the fixture has under `name`, and gives that.
fn check(fixture: &BTreeMap<String, Vec<u8>>, name: &str, written: &[u8]) -> Vec<u8> {
    let known = fixture.get(name);
    let known = known.unwrap_or_else(|| panic!("no line in the fixture:\n{name} {}", hex(written)));
    assert_eq!(hex(known), hex(written), "{name}");
    known.clone()
}

#[test]
fn records_are_as_in_version_1() {
    let fixture = fixture();
    for record in records::all() {
        let (kind, version) = (record.kind(), record.version());
        let name = format!("record {kind} v{version} {}", record.name());
        let body = check(&fixture, &name, &record.encode());
        assert_eq!(Record::decode(kind, version, &body), Ok(record), "{name}");
    }
}

#[test]
fn records_of_old_versions_read_as_what_they_meant() {
    let fixture = fixture();
    for (name, record) in records::old() {
        let version = name.split(' ').nth(2).unwrap().trim_start_matches('v').parse().unwrap();
        assert!(version < record.version(), "{name} is no longer written");
        assert_eq!(Record::decode(record.kind(), version, &fixture[name]), Ok(record), "{name}");
    }
}

#[test]
fn every_kind_of_record_has_its_bytes() {
    let fixture = fixture();
    for kind in 0..=u16::MAX {
        let known = (0..=9)
            .filter(|version| Record::decode(kind, *version, &[]).err() != Some(UNKNOWN_RECORD));
        for version in known {
            let start = format!("record {kind} v{version} ");
            assert!(fixture.keys().any(|name| name.starts_with(&start)), "no line of {start}");
        }
    }
}

#[test]
fn rows_are_as_in_version_1() {
    let fixture = fixture();
    for row in rows::all() {
        let mut written = Vec::new();
        row.encode(&mut written);
        let name = format!("row {} v{}", written[0], written[1]);
        // The same kind may come in several forms.
        let form =
            (0..).map(|form| if form == 0 { name.clone() } else { format!("{name} {form}") });
        let known = form.map_while(|name| Some((fixture.get(&name)?, name)));
        let found = known.into_iter().find(|(known, _)| **known == written);
        let (known, name) =
            found.unwrap_or_else(|| panic!("no line in the fixture:\n{name} {}", hex(&written)));
        assert_eq!(Row::decode(known), Ok(row), "{name}");
    }
}

#[test]
fn every_kind_of_row_has_its_bytes() {
    let fixture = fixture();
    for (kind, version) in (0..=u8::MAX).flat_map(|kind| (0..=9_u8).map(move |it| (kind, it))) {
        if Row::decode(&[kind, version]).err() != Some(UNKNOWN_ROW) {
            let name = format!("row {kind} v{version}");
            assert!(fixture.contains_key(&name), "no line of {name}");
        }
    }
}

#[test]
fn the_memory_image_is_as_in_versions_1_to_3() {
    let memory = rows::memory();
    let known = check(&fixture(), "memory v3", &memory.encode());
    assert_eq!(Memory::decode(&known), Ok(memory.clone()));
    let second = Memory { forgotten_keys: BTreeMap::new(), ..memory };
    assert_eq!(Memory::decode(&fixture()["memory v2"]), Ok(second.clone()));
    let first = Memory { restorations: Vec::new(), ..second };
    assert_eq!(Memory::decode(&fixture()["memory v1"]), Ok(first));
}

#[test]
fn the_recorded_checkpoint_is_as_in_version_1() {
    let time = Timestamp::parse("2026-01-31T08:00:00Z").unwrap();
    let mut fold = Fold::new(records::INSTANCE, PartitionId(0));
    let fence = fold.new_fence(0x0102_0304_0506_0708, time);
    fold.offer(0, chunk::decode(&fence).unwrap()).unwrap();
    let mut builder = ChunkBuilder::new(time);
    [1_u16, 2, 3].iter().for_each(|kind| builder.push(time, *kind, 1, b"body"));
    fold.seal(builder, Group::Ends);
    let image = fixture()["memory v1"].clone();
    let (memory, entries) = checkpoint::memory_entries(Lsn(3), &image);
    let state = CheckpointState { at: Lsn(3), fold, time, memory };

    let store = MemoryStore::new();
    checkpoint::record(&store, &state).unwrap();
    let written = store.get(Tree::Meta, b"checkpoint").unwrap().unwrap();
    let known = check(&fixture(), "checkpoint v1", &written);

    let store = MemoryStore::new();
    store.put(Tree::Meta, b"checkpoint", &known).unwrap();
    entries.iter().for_each(|(key, value)| store.put(Tree::Meta, key, value).unwrap());
    assert_eq!(checkpoint::load(&store).unwrap(), Some((state, image)));
}

#[test]
fn reasons_keep_their_numbers_and_names() {
    macro_rules! set {
        ($set:ident) => {
            $set::ALL
                .iter()
                .map(|it| format!("{} {it}", it.number()))
                .collect::<Vec<_>>()
                .join(", ")
        };
    }
    assert_eq!(
        set!(Refusal),
        "1 filter, 2 filter_unknown, 3 not_in_segment, 4 segment_unknown, 5 no_entry_key, \
         6 already_active, 7 already_entered, 8 too_soon, 9 too_large, 10 too_old, 11 too_much_at_once, \
         12 too_many_keys"
    );
    assert_eq!(set!(Skip), "1 no_address, 2 no_subscription, 3 template_error");
    assert_eq!(set!(Failure), "1 rejected, 2 exhausted");
    assert_eq!(set!(Idle), "1 blank, 2 duplicate, 3 unchanged");
    assert_eq!(set!(InputKind), "1 definitions, 2 customers, 3 events");
}
