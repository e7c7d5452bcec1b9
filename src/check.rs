//! What must hold for any bytes whatever: the body of every fuzz target, and of a test that runs
//! them over the committed corpora.
//!
//! Formats with a checksum get the right one first, so that what lies behind it is reached.
//!
//! **Architecture invariant:** built for tests and fuzzing only.

mod directory;

pub use directory::directory;

use crate::{
    base::{
        CustomerId, EventId, FlowId, Lsn, Reader, SegmentId, Timestamp,
        codec::{decode, encode},
    },
    machine::{memory::Memory, record::Record, row::Row},
    model::{
        Activity, Condition, Customer, CustomerUpdate, Definitions, Event, Expression, Facts,
        Fields, Flow, Form, JsonText, Known, LineError, Place, Segment, Template, Unknown,
    },
    store::{
        Chunk, ChunkBuilder, Effect, Fold, Group, Stamp,
        backup::{
            entries::{Entries, entry},
            manifest::Manifest,
        },
        base, checkpoint,
        chunk::{self, ChunkKind},
        export, head, nodes,
        page::{self, decode_page, encode_page},
        segments, snapshot, timers,
    },
};

/// Bytes before the checksum of a chunk, which is the last field of its header.
const CHUNK_CHECKED_BYTES: usize = 85;
const CRC_BYTES: usize = 4;
/// Bytes before the first entry of a file of a backup.
const ENTRIES_START_BYTES: usize = 5;

/// A chunk decodes or not; what decodes reads the same when it is written back, and if neither is
/// compressed, it is the same byte for byte. A fold takes any chunk.
pub fn chunk(data: &[u8]) {
    let bytes = with_chunk_crc(data);
    let Ok(read) = chunk::decode(&bytes) else { return };
    assert_eq!(Ok(&read.header), chunk::peek(&bytes).as_ref(), "one reading of a header");
    let again = rewritten(&read);
    let second = chunk::decode(&again).expect("our own chunk decodes");
    assert_eq!(second.records, read.records, "records are written back");
    if !read.header.compressed && !second.header.compressed {
        assert_eq!(again, bytes, "a chunk that is not compressed has one encoding");
    }
    fold(&read);
}

/// Two owners and a reader around a chunk that may say anything of itself.
fn fold(any: &Chunk) {
    let fresh = Fold::new(any.header.instance, any.header.partition);
    let offer = |fold: &mut Fold, position, bytes: &[u8]| {
        fold.offer(position, chunk::decode(bytes).expect("our own chunk decodes"))
    };
    let mut owner = fresh.clone();
    let fence = owner.new_fence(1, any.header.base_time);
    assert!(matches!(offer(&mut owner, 0, &fence), Ok(Effect::Adopted)), "a fence is adopted");
    let mut reader = owner.clone();
    if any.header.kind == ChunkKind::Data {
        let (position, bytes) = owner.seal(builder(any), Group::Ends);
        let Ok(Effect::Records(records)) = offer(&mut reader, position, &bytes) else {
            panic!("the owner's chunk takes effect");
        };
        let bodies = |records: &[crate::store::Record]| -> Vec<Vec<u8>> {
            records.iter().map(|it| it.body.clone()).collect()
        };
        assert_eq!(bodies(&records), bodies(&any.records), "records pass through a fold");
        assert_eq!(reader, owner, "owner and reader agree");
    }
    for mut fold in [fresh, reader] {
        let position = fold.position();
        if fold.offer(position, any.clone()).is_ok() {
            assert_eq!(fold.position(), position + 1, "every chunk takes one position");
        }
        if fold.is_between_groups() {
            assert_eq!(decode(&encode(&fold)), Ok(fold), "a fold is saved as it stands");
        }
    }
}

fn builder(read: &Chunk) -> ChunkBuilder {
    let mut builder = ChunkBuilder::new(read.header.base_time);
    for it in &read.records {
        builder.push(it.time, it.kind, it.version, &it.body);
    }
    builder
}

fn rewritten(read: &Chunk) -> Vec<u8> {
    let header = &read.header;
    let stamp = Stamp {
        instance: header.instance,
        partition: header.partition,
        epoch: header.epoch,
        nonce: header.nonce,
        n: header.n,
        first_lsn: header.first_lsn,
        fence: header.fence,
        previous_crc: header.previous_crc,
        continues: header.continues,
    };
    match header.kind {
        ChunkKind::Fence => chunk::fence(&stamp, header.base_time),
        ChunkKind::Data => builder(read).finish(&stamp),
    }
}

fn with_chunk_crc(data: &[u8]) -> Vec<u8> {
    let Some((checked, rest)) = data.split_at_checked(CHUNK_CHECKED_BYTES) else {
        return data.to_vec();
    };
    let records = rest.get(CRC_BYTES..).unwrap_or_default();
    let crc = crc32c::crc32c_append(crc32c::crc32c(checked), records);
    [checked, &crc.to_be_bytes(), records].concat()
}

/// A value in a frame, with the right checksum for its last four bytes.
fn with_frame_crc(data: &[u8]) -> Vec<u8> {
    let (sealed, _) = data.split_last_chunk::<CRC_BYTES>().unwrap_or((data, &[0; CRC_BYTES]));
    [sealed, &crc32c::crc32c(sealed).to_be_bytes()].concat()
}

/// A page of rows decodes or not; what decodes is the same after writing it. The first byte is the
/// length of the page's lower bound, which follows it.
pub fn page(data: &[u8]) {
    let mut reader = Reader::new(data);
    let lower = reader.u8().and_then(|length| reader.take(usize::from(length)));
    let Ok(lower) = lower else { return };
    let Ok(read) = decode_page::<Row>(lower, &with_frame_crc(reader.rest())) else { return };
    // Whatever its rows are, asking for them ends in rows or errors.
    let is_sound = read.check().is_ok();
    // At the beginning of time nothing has expired.
    let (key, value) = encode_page(&read, Timestamp::EPOCH);
    assert_eq!(page::page_lower(&key), Some(lower), "a page is found under its lower bound");
    let read = decode_page::<Row>(lower, &value).expect("a page that was written is read");
    assert_eq!(read.check().is_ok(), is_sound, "rows that nobody asked for stay as they are");
    assert_eq!(encode_page(&read, Timestamp::EPOCH).1, value, "a page reads back as written");
}

/// A piece of timers decodes or not; what decodes is written back byte for byte.
pub fn timer_run(data: &[u8]) {
    let bytes = with_frame_crc(data);
    let Ok(read) = timers::decode_piece(&bytes) else { return };
    assert_eq!(timers::encode_piece(&read), bytes, "a piece of timers has one encoding");
}

/// A segment of sled's file is read to its end, and what is found in it is whole.
pub fn segment(data: &[u8]) {
    if let segments::Header::Used { lsn, .. } = segments::header(data)
        && let segments::End::Torn(at) = segments::end(data, lsn, &mut |_, _| {})
    {
        assert!(at <= data.len(), "reading ends within the bytes");
    }
    // Any number of segment: the messages are the same, but for that.
    for number in [0, 1] {
        segments::end(data, number * segments::segment_bytes(), &mut |_, _| {});
    }
    let mut prefixes = nodes::Prefixes::default();
    prefixes.add(data, b"");
    nodes::each(data, &prefixes, &mut |entry| {
        let found = data.get(entry.at..entry.at + entry.value.len());
        assert_eq!(found, Some(entry.value), "a value is where it is said to be");
    });
    for (at, value, header) in segments::chunks(data) {
        assert_eq!(
            data.get(at..at + value.len()),
            Some(value),
            "a chunk is where it is said to be"
        );
        assert_eq!(chunk::peek(value), Ok(header), "a chunk that is found is whole");
    }
}

/// A snapshot of sled, without its length and checksum, says which segments are in use, or nothing.
pub fn snapshot(data: &[u8]) {
    let crc = crc32fast::hash(data).swap_bytes().to_be_bytes();
    let Ok(read) = snapshot::decode(&[data, &[0; 8], &crc].concat()) else { return };
    let is_begin = |at: u64| at.is_multiple_of(segments::segment_bytes());
    assert!(is_begin(read.from()) && read.from() <= read.stable, "reading begins with a segment");
    let named = |it: &snapshot::Named| is_begin(it.offset) && is_begin(it.lsn);
    assert!(read.pages.keys().all(named), "a segment is named by where it begins");
    let pages: usize = read.pages.values().map(Vec::len).sum();
    assert!(pages <= data.len(), "no more is kept than there are bytes");
}

/// The state of a base decodes or not; what decodes reads back as written.
pub fn base(data: &[u8]) {
    let Ok(state) = base::decode(&with_frame_crc(data)) else { return };
    assert_eq!(base::decode(&base::encode(&state)), Ok(state), "a base reads back as written");
}

/// What is recorded of a checkpoint decodes or not; what decodes reads back as written.
pub fn checkpoint(data: &[u8]) {
    let Ok(state) = checkpoint::decode(&with_frame_crc(data)) else { return };
    let read = checkpoint::decode(&checkpoint::encode(&state));
    assert_eq!(read.ok(), Some(state), "a checkpoint reads back as written");
}

/// A memory image decodes or not; what decodes reads back as written.
pub fn memory(data: &[u8]) {
    let Ok(memory) = Memory::decode(data) else { return };
    let bytes = memory.encode();
    let read = Memory::decode(&bytes).map(|memory| memory.encode());
    assert_eq!(read, Ok(bytes), "a memory image reads back as written");
}

/// An entry of an export decodes or not; what decodes reads back as written.
pub fn export(data: &[u8]) {
    let Ok(entry) = export::decode(&with_frame_crc(data)) else { return };
    assert_eq!(export::decode(&export::encode(&entry)), Ok(entry), "an entry reads back");
}

/// A slot of the head decodes or not; what decodes reads back as written.
pub fn head(data: &[u8]) {
    let Ok((sequence, state)) = head::decode(&with_frame_crc(data)) else { return };
    let bytes = head::encode(sequence, &state);
    assert_eq!(head::decode(&bytes), Ok((sequence, state)), "a slot reads back as written");
}

/// The manifest of a backup decodes or not; what decodes reads back as written.
pub fn manifest(data: &[u8]) {
    let Ok(read) = Manifest::decode(&with_frame_crc(data)) else { return };
    assert_eq!(Manifest::decode(&read.encode()), Ok(read), "a manifest reads back as written");
}

/// A file of entries is read up to what is wrong with it; what was read is written back byte for
/// byte.
pub fn entries(data: &[u8]) {
    let mut entries = Entries::new(data);
    if entries.begin().is_err() {
        return;
    }
    let mut written = Vec::new();
    while let Ok((key, value)) = entries.read() {
        written.extend_from_slice(&entry(&key, &value));
    }
    let body = data.get(ENTRIES_START_BYTES..).unwrap_or_default();
    assert!(body.starts_with(&written), "an entry has one encoding");
}

/// A record of a kind (u16), a version (u8) and a body decodes or not; what decodes reads back as
/// written and can be shown.
pub fn record(data: &[u8]) {
    let mut reader = Reader::new(data);
    let (Ok(kind), Ok(version)) = (reader.u16(), reader.u8()) else { return };
    let Ok(read) = Record::decode(kind, version, reader.rest()) else { return };
    assert_eq!(read.kind(), kind, "a record keeps its kind");
    assert!(version <= read.version(), "a record is written in its newest form");
    let written = Record::decode(kind, read.version(), &read.encode());
    assert_eq!(written.as_ref(), Ok(&read), "a record reads back as written");
    assert!(read.fields().is_ok(), "every record can be shown as JSON");
    crate::machine::apply::rows_of(Lsn(1), &read);
}

/// Definitions are refused with findings or taken, and then their stored documents say the same.
pub fn definitions(data: &[u8]) {
    match Definitions::parse(&[("fuzz.json", data)], &Known::default()) {
        Ok(read) => {
            for it in &read.segments {
                assert_eq!(Segment::from_json(&it.json).as_ref(), Ok(&it.value), "one meaning");
            }
            for it in &read.flows {
                assert_eq!(Flow::from_json(&it.json).as_ref(), Ok(&it.value), "one meaning");
            }
        }
        Err(findings) => {
            assert!(!findings.list.is_empty(), "what is refused has a finding");
            assert!(!findings.to_string().is_empty(), "findings can be shown");
            let placed = findings.list.iter().all(|it| 1 <= it.line && 1 <= it.column);
            assert!(placed, "every finding has a place");
        }
    }
}

/// A condition is refused or gives the same answer every time.
pub fn condition(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    for place in [Place::TriggerFilter, Place::SegmentRule] {
        match Condition::compile(source, place) {
            Ok(condition) => with_facts(|facts| {
                assert_eq!(condition.holds(facts), condition.holds(facts), "one answer");
            }),
            Err(faults) => assert!(!faults.is_empty(), "what is refused has a fault"),
        }
    }
    if let Ok(expression) = Expression::compile(source, Place::EntryKey) {
        with_facts(|facts| assert_eq!(expression.key(facts), expression.key(facts), "one key"));
    }
}

fn with_facts(ask: impl Fn(&Facts<'_>)) {
    let id = CustomerId::new("c1").expect("a short id");
    let json = |text: &str| JsonText::parse(text).expect("the test's own JSON");
    let mut customer = Customer::new(id.clone());
    customer.email = Some("c1@example.com".into());
    customer.attributes = [
        ("country", json(r#""United Kingdom""#)),
        ("total", json("12.5")),
        ("tags", json(r#"["a","b",3]"#)),
        ("vip", json("true")),
    ]
    .into_iter()
    .collect();
    let now = Timestamp::parse("2026-01-31T08:00:00Z").expect("a valid time");
    let event = Event {
        id: EventId::new("e1").ok(),
        name: "buy".into(),
        customer: id.clone(),
        time: Some(now),
        properties: json(r#"{"a":1,"b":{"c":"x"},"d":[1,2.5,"y"],"e":null}"#),
    };
    let flow = FlowId::new("welcome").expect("a short id");
    let activity = Activity::new(now);
    let facts = Facts {
        reads: &std::cell::Cell::new(0),
        now,
        id: &id,
        customer: Some(&customer),
        event: Some(&event),
        flow: Some(&flow),
        activity: &|name| (name == "buy").then_some(&activity),
        segment: &|id: &SegmentId| match id.as_str() {
            "uk" => Ok(true),
            _ => Err(Unknown("there is no such segment".to_owned())),
        },
    };
    ask(&facts);
    ask(&Facts { customer: None, event: None, flow: None, ..facts });
}

/// A template is refused or renders to the same text, or the same error, every time.
pub fn template(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    for form in [Form::Text, Form::Html] {
        let Ok(template) = Template::compile(source, form) else { continue };
        let values = ["\"<b>x</b>\"", "7", "null", r#"{"a":[1,"b"]}"#, "[true,2.5]"];
        let values = values.map(|text| JsonText::parse(text).expect("the test's own JSON"));
        let values = template.variables().iter().cloned().zip(values.into_iter().cycle());
        let values: Fields = values.collect();
        assert_eq!(template.render(&values), template.render(&values), "one text");
    }
}

/// A line is an event, which reads back as written, or says where it is not.
pub fn event(data: &[u8]) {
    match Event::parse(data) {
        Ok(event) => {
            assert!(event.properties.value().is_object(), "properties are an object");
            assert_eq!(decode(&encode(&event)), Ok(event), "an event reads back as written");
        }
        Err(error) => placed(data, &error),
    }
}

/// A line is a customer, which reads back as written, or says where it is not.
pub fn customer(data: &[u8]) {
    match CustomerUpdate::parse(data) {
        Ok(update) => {
            assert_eq!(decode(&encode(&update)), Ok(update), "an update reads back as written");
        }
        Err(error) => placed(data, &error),
    }
}

fn placed(line: &[u8], error: &LineError) {
    assert!((1..=line.len() + 1).contains(&error.column), "{error} lies in the line");
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    type Check = fn(&[u8]);

    const CHECKS: [(&str, Check); 19] = [
        ("snapshot", snapshot),
        ("directory", directory),
        ("memory", memory),
        ("checkpoint", checkpoint),
        ("export", export),
        ("base", base),
        ("chunk", chunk),
        ("page", page),
        ("timer_run", timer_run),
        ("head", head),
        ("manifest", manifest),
        ("entries", entries),
        ("segment", segment),
        ("record", record),
        ("definitions", definitions),
        ("condition", condition),
        ("template", template),
        ("event", event),
        ("customer", customer),
    ];

    #[test]
    fn every_committed_input_passes_its_check() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, check) in CHECKS {
            let inputs = fs::read_dir(corpora.join(name)).unwrap();
            let mut count = 0;
            for input in inputs {
                check(&fs::read(input.unwrap().path()).unwrap());
                count += 1;
            }
            assert!(count > 0, "{name} has inputs to begin with");
        }
    }

    #[test]
    fn every_check_has_a_target() {
        let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
        let mut found: Vec<String> = fs::read_dir(targets)
            .unwrap()
            .map(|it| it.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        found.sort();
        let mut expected: Vec<&str> = CHECKS.iter().map(|(name, _)| *name).collect();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}
