//! The library in this process, on a clock and through a channel of ours, and what its log says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use onward::{
    Error, Onward, Options,
    base::{
        Clock, ContentHash, DeliveryId, Limits, Lsn, PartitionId, Span, Timestamp,
        limits::DEDUP_WINDOW,
    },
    delivery::{Channel, Channels, Message, Sending},
    engine::{ClockCheck, history::Logged, recover, verify::verify},
    machine::{delivery::Outcome, record::Record},
    model::{CustomerUpdate, Event},
    store,
};

use crate::{
    UNDER,
    disk::Mark,
    workload::{self, Scale},
};

/// Limits that force the rare paths.
pub(crate) fn limits() -> Limits {
    Limits {
        cache_pages: 64,
        checkpoint_records: 150,
        chunk_bytes: 2048,
        timer_span: Span::minutes(1),
        deliveries: 16,
        ..Limits::default()
    }
}

/// A clock that stands where the latest event put it.
#[derive(Default)]
pub(crate) struct Manual(AtomicI64);

impl Manual {
    /// Puts it there, unless it is further on.
    pub(crate) fn reach(&self, time: Timestamp) {
        self.0.fetch_max(time.micros(), Ordering::SeqCst);
    }
}

impl Clock for Manual {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

/// A channel that tells of every delivery, and defers some of them once.
struct Telling<F>(F);

impl<F: Fn(DeliveryId) + Send + Sync + 'static> Channel for Telling<F> {
    fn name(&self) -> &'static str {
        "telling"
    }

    fn send(&self, message: Arc<Message>) -> Sending<'_> {
        (self.0)(message.id);
        let is_deferred = message.attempt == 1 && message.id.enrollment.lsn.0.is_multiple_of(7);
        Box::pin(async move {
            if is_deferred {
                return Outcome::Deferred { error: "not now".to_owned() };
            }
            Outcome::Sent { hash: ContentHash::of(b"sent") }
        })
    }
}

/// Opens `dir` on this clock, however far it is from the last record.
pub(crate) fn open(
    dir: &Path,
    clock: &Arc<Manual>,
    told: impl Fn(DeliveryId) + Send + Sync + 'static,
) -> Result<Onward, Error> {
    open_with(dir, clock, limits(), told)
}

/// The same with other limits.
pub(crate) fn open_with(
    dir: &Path,
    clock: &Arc<Manual>,
    limits: Limits,
    told: impl Fn(DeliveryId) + Send + Sync + 'static,
) -> Result<Onward, Error> {
    let clock: Arc<dyn Clock> = Arc::<Manual>::clone(clock);
    let (store, clock_check) = (Some(UNDER), ClockCheck::Trust);
    let options = Options { clock, clock_check, limits, store, ..Options::default() };
    Onward::open_with(dir, &Channels::all(Telling(told)), &options)
}

/// What is sent in.
pub(crate) struct Inputs {
    pub(crate) definitions: Vec<u8>,
    pub(crate) customers: Vec<CustomerUpdate>,
    pub(crate) events: Vec<Event>,
}

impl Inputs {
    /// As the lines of the first command say, without those that are wrong.
    pub(crate) fn new(seed: u64, customers: u64, events: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let scale = Scale { customers, events: [events, 0], days: 0 };
        workload::write(dir.path(), seed, scale);
        let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
        Self {
            definitions: read("definitions-1.json"),
            customers: parsed(&read("customers.ndjson"), CustomerUpdate::parse),
            events: parsed(&read("events-1.ndjson"), Event::parse),
        }
    }

    /// Without events so old that the last one lets their ids be forgotten: all of them can be sent
    /// again, and are known.
    pub(crate) fn remembered(seed: u64, customers: u64, events: u64) -> Self {
        let mut inputs = Self::new(seed, customers, events);
        let last = inputs.events.iter().filter_map(|it| it.time).max();
        let age = |it: &Event| last.zip(it.time).map(|(last, time)| last.since(time));
        inputs.events.retain(|it| age(it).is_none_or(|age| age < DEDUP_WINDOW));
        inputs
    }

    /// Brings the definitions into force and the customers in.
    pub(crate) fn begin(&self, onward: &Onward) -> Result<(), Error> {
        onward.publish(&[("flows.json", &self.definitions)])?.wait()?;
        let upsert = |it: &CustomerUpdate| onward.upsert_customer(it.clone());
        let tickets: Result<Vec<_>, Error> = self.customers.iter().map(upsert).collect();
        tickets?.into_iter().try_for_each(|ticket| ticket.wait().map(drop))
    }
}

/// Lines that are what `parse` reads.
fn parsed<T, E>(lines: &[u8], parse: impl Fn(&[u8]) -> Result<T, E>) -> Vec<T> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| parse(line).ok()).collect()
}

/// Every record of a directory, of which `verify` must have nothing to say.
pub(crate) fn read(data: &Path) -> store::Result<Vec<Logged>> {
    let mut partition = recover::read(data, &limits())?;
    let verified = verify(&mut partition)?;
    assert_eq!(verified.differences, Vec::<String>::new(), "verify");
    let mut records = Vec::new();
    partition.each_record(Lsn::ZERO, &mut |logged| {
        records.push(logged);
        Ok::<_, store::Error>(())
    })?;
    Ok(records)
}

/// What a log says of events and deliveries.
pub(crate) struct Said {
    received: BTreeMap<String, usize>,
    requested: BTreeSet<String>,
}

impl Said {
    pub(crate) fn by(records: &[Logged]) -> Self {
        let mut said = Self { received: BTreeMap::new(), requested: BTreeSet::new() };
        for (logged, lsn) in records.iter().zip(1..) {
            assert_eq!(logged.lsn, Lsn(lsn), "the places of records are dense");
            if let Record::EventReceived(it) = &logged.record {
                let id = it.id.as_ref().map(ToString::to_string).unwrap_or_default();
                *said.received.entry(id).or_default() += 1;
            }
            if let Record::DeliveryRequested(it) = &logged.record {
                let enrollment = it.at.enrollment(logged.lsn, PartitionId(0));
                let (visit, subscription) = (it.at.visit, it.subscription);
                let id = DeliveryId { enrollment, visit, subscription };
                said.requested.insert(id.to_string());
            }
        }
        said
    }

    /// Everything that these marks tell of is in the log; how many events and deliveries that was.
    pub(crate) fn holds<'a>(&self, marks: impl IntoIterator<Item = &'a Mark>) -> [usize; 2] {
        let [mut events, mut deliveries] = [0, 0];
        for mark in marks {
            match mark {
                Mark::Acknowledged(id) => {
                    let count = self.received.get(id).copied().unwrap_or(0);
                    assert_eq!(count, 1, "times that the acknowledged event {id} is in the log");
                    events += 1;
                }
                Mark::Left(id) => {
                    assert!(self.requested.contains(id), "{id} left and is not in the log");
                    deliveries += 1;
                }
                Mark::Finished(_) | Mark::Synced(_) => {}
            }
        }
        [events, deliveries]
    }
}
