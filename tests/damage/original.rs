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
    engine::{ClockCheck, Partition, copies, recover, trim::trim},
    machine::delivery::Outcome,
    model::{CustomerUpdate, Event},
    store,
};
use serde_json::json;

const START: &str = "2026-01-01T00:00:00Z";
/// Customers of each session.
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

/// The records of a log.
#[derive(Debug)]
pub(crate) struct Records {
    /// The last one that is trimmed.
    pub(crate) base: usize,
    /// A hash of each one after it.
    hashes: Vec<String>,
}

impl Records {
    pub(crate) fn of(partition: &Partition) -> store::Result<Self> {
        let mut hashes = Vec::new();
        partition.each_record::<store::Error>(Lsn(1), &mut |logged| {
            hashes.push(ContentHash::of(logged.json(partition.id()).as_bytes()).to_string());
            Ok(())
        })?;
        let base = usize::try_from(partition.start()?.at().0).unwrap();
        Ok(Self { base, hashes })
    }

    pub(crate) fn save(&self, path: &Path) {
        fs::write(path, format!("{}\n{}", self.base, self.hashes.join("\n"))).unwrap();
    }

    pub(crate) fn load(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let (base, hashes) = text.split_once('\n').unwrap();
        let hashes = hashes.lines().map(str::to_owned).collect();
        Self { base: base.parse().unwrap(), hashes }
    }

    /// The last one.
    pub(crate) fn end(&self) -> usize {
        self.base + self.hashes.len()
    }

    /// The first one up to `end` that is another in `other`; those that only one has do not count.
    pub(crate) fn first_other(&self, other: &Self, end: usize) -> Option<usize> {
        let begin = self.base.max(other.base);
        let end = end.min(self.end()).min(other.end());
        (begin..end)
            .find(|at| self.hashes[at - self.base] != other.hashes[at - other.base])
            .map(|at| at + 1)
    }
}

/// A directory that gets damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its log is whole.
    Whole,
    /// Its log was trimmed.
    Trimmed,
}

/// Makes the original: sessions that end cleanly, after which `older` keeps a copy, and one that
/// ends in the middle. `child` runs a session in a process of its own.
pub(crate) fn make(
    kind: Kind,
    dir: &Path,
    older: &Path,
    session: impl Fn(&Path, usize),
) -> Records {
    session(dir, 0);
    if kind == Kind::Trimmed {
        session(dir, 1);
        let trimmed = trim(dir, &limits(), Span::days(3), None).unwrap();
        assert!(trimmed.chunks > 0, "{trimmed:?}");
        // What was trimmed leaves the file too.
        copies::compact(dir, &limits(), &mut |_| {}).unwrap();
    }
    copy(dir, older);
    session(dir, 2);
    // Looking writes a snapshot, so it is done on a copy.
    let looked = dir.with_extension("looked");
    copy(dir, &looked);
    let records = Records::of(&recover::read(&looked, &limits()).unwrap()).unwrap();
    assert_eq!(records.base > 0, kind == Kind::Trimmed);
    fs::remove_dir_all(&looked).unwrap();
    records
}

/// One session; the last one ends without a word.
pub(crate) fn session(dir: &Path, number: usize) {
    let clock = Manual::at(START);
    clock.advance(Span::days(4 * i64::try_from(number).unwrap()));
    let onward = open(dir, &clock).unwrap();
    drive(&onward, &clock, number * CUSTOMERS);
    if number == 2 {
        std::process::abort();
    }
    onward.close().unwrap();
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
