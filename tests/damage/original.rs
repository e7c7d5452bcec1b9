//! The directory that is damaged, and the program that goes on with one.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use onward::{
    Onward, Options,
    base::{Clock, ContentHash, Limits, Lsn, Span, Timestamp},
    delivery::{Channel, Channels, Message, Sending},
    engine::{ClockCheck, Partition, recover},
    machine::delivery::Outcome,
    model::{CustomerUpdate, Event},
    store,
};
use serde_json::json;

const START: &str = "2026-01-01T00:00:00Z";
/// Customers of each of the two sessions.
pub(crate) const CUSTOMERS: usize = 240;

/// A clock that moves with the work.
pub(crate) struct Manual(AtomicI64);

impl Manual {
    pub(crate) fn at(time: &str) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(Timestamp::parse(time).unwrap().micros())))
    }

    fn advance(&self, span: Span) {
        self.0.fetch_add(span.micros(), Ordering::SeqCst);
    }
}

impl Clock for Manual {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

/// Sends every message but some, which it puts off.
struct Moody;

impl Channel for Moody {
    fn name(&self) -> &'static str {
        "moody"
    }

    fn send(&self, message: Arc<Message>) -> Sending<'_> {
        let customer =
            message.customer.as_str().len() + usize::from(message.customer.as_str().ends_with('7'));
        let outcome = if customer.is_multiple_of(3) {
            Outcome::Deferred { error: "not now".to_owned() }
        } else {
            Outcome::Sent { hash: ContentHash::of(b"sent") }
        };
        Box::pin(async { outcome })
    }
}

/// Limits that make many small chunks, several checkpoints and a small cache.
pub(crate) fn limits() -> Limits {
    Limits {
        cache_pages: 64,
        checkpoint_records: 400,
        chunk_bytes: 1_024,
        timer_span: Span::minutes(10),
        ..Limits::default()
    }
}

pub(crate) fn open(dir: &Path, clock: &Arc<Manual>) -> Result<Onward, onward::Error> {
    let clock: Arc<dyn Clock> = Arc::<Manual>::clone(clock);
    let options =
        Options { clock, limits: limits(), clock_check: ClockCheck::Trust, ..Options::default() };
    Onward::open_with(dir, &Channels::all(Moody), &options)
}

/// Drives one session over `dir`: customers `from` and those after it.
pub(crate) fn drive(onward: &Onward, clock: &Manual, from: usize) {
    let flow = json!({
        "segments": [{ "id": "all", "name": "All", "rule": "true" }],
        "flows": [{ "id": "welcome", "name": "Welcome", "segment": "all",
            "trigger": { "event": "signup" }, "steps": [
            { "id": "hello", "step_order": 1, "step_type": "SEND_EMAIL",
              "config": { "subject": "Welcome", "text": "Hello {{ customer.id }}." } },
            { "id": "pause", "step_order": 2, "step_type": "WAIT", "config": { "duration": "2h" } },
            { "id": "again", "step_order": 3, "step_type": "SEND_EMAIL",
              "config": { "subject": "Again", "text": "Still there?" } },
            { "id": "long", "step_order": 4, "step_type": "WAIT", "config": { "duration_days": 9 } }
        ] }]
    });
    let flow = flow.to_string();
    onward.publish(&[("flows.json", flow.as_bytes())]).unwrap().wait().unwrap();
    let mut tickets = Vec::new();
    for number in from..from + CUSTOMERS {
        tickets.extend(enter(onward, number));
        clock.advance(Span::seconds(40));
        if tickets.len() >= 8 {
            tickets.drain(..).for_each(|ticket| assert!(ticket.wait().is_ok()));
        }
    }
    tickets.into_iter().for_each(|ticket| assert!(ticket.wait().is_ok()));
}

/// A customer signs up.
pub(crate) fn enter(onward: &Onward, number: usize) -> [onward::Ticket<onward::Answer>; 2] {
    let id = format!("c{number}");
    let note = format!("{number:x}").repeat(1_400);
    let line =
        json!({ "id": id, "email": format!("{id}@example.com"), "attributes": { "note": note } });
    let update = CustomerUpdate::parse(line.to_string().as_bytes()).unwrap();
    let line = json!({ "id": format!("e{number}"), "name": "signup", "customer": id });
    let event = Event::parse(line.to_string().as_bytes()).unwrap();
    [onward.upsert_customer(update).unwrap(), onward.track(event).unwrap()]
}

/// A hash of each record.
pub(crate) fn records(partition: &Partition) -> store::Result<Vec<String>> {
    let mut found = Vec::new();
    partition.each_record::<store::Error>(Lsn(1), &mut |logged| {
        found.push(ContentHash::of(logged.json(partition.id()).as_bytes()).to_string());
        Ok(())
    })?;
    Ok(found)
}

/// Makes the original: one session that ends cleanly, of which `older` keeps a copy, and one that
/// ends in the middle. `child` runs a session in a process of its own.
pub(crate) fn make(dir: &Path, older: &Path, session: impl Fn(&Path, usize)) -> Vec<String> {
    session(dir, 0);
    copy(dir, older);
    session(dir, 1);
    // Looking writes a snapshot, so it is done on a copy.
    let looked = dir.with_extension("looked");
    copy(dir, &looked);
    let partition = recover::read(&looked, &limits()).unwrap();
    let records = records(&partition).unwrap();
    drop(partition);
    fs::remove_dir_all(&looked).unwrap();
    records
}

/// One session; the second one ends without a word.
pub(crate) fn session(dir: &Path, number: usize) {
    let clock = Manual::at(START);
    if number == 0 {
        let onward = open(dir, &clock).unwrap();
        drive(&onward, &clock, 0);
        onward.close().unwrap();
        return;
    }
    clock.advance(Span::days(4));
    let onward = open(dir, &clock).unwrap();
    drive(&onward, &clock, CUSTOMERS);
    std::process::abort();
}

/// Copies a directory; runs of zeros become holes.
pub(crate) fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::FileExt;
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
            continue;
        }
        let bytes = fs::read(entry.path()).unwrap();
        let file = fs::File::create(&target).unwrap();
        file.set_len(u64::try_from(bytes.len()).unwrap()).unwrap();
        for (number, block) in (0_u64..).zip(bytes.chunks(4_096)) {
            if block.iter().any(|byte| *byte != 0) {
                file.write_all_at(block, number * 4_096).unwrap();
            }
        }
    }
}
