//! The witness: reads what is durable of the log, and nothing else, and holds it against what
//! callers were told, what workers reported, and what the flows say.

use std::collections::{BTreeMap, BTreeSet};

use super::{disk::Synced, walks::Walks, workers::Reported};
use crate::{
    base::{
        ContentHash, CustomerId, InstanceId, Lsn, PartitionId, Timestamp, limits::DEDUP_WINDOW,
    },
    engine::recover,
    machine::record::{CustomerChanged, EventReceived, Record},
    model::Flow,
    store::{self, Effect, Fold, LocalLog, Log, chunk},
};

/// What outside can count of the log, up to some record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counted {
    pub(super) customers: u64,
    pub(super) events: u64,
    pub(super) enrolled: u64,
    pub(super) exited: u64,
    pub(super) sent: u64,
    pub(super) deferred: u64,
    pub(super) failed: u64,
}

/// What the witness has seen.
#[derive(Debug)]
pub(super) struct Witness {
    fold: Fold,
    pub(super) now: Timestamp,
    /// By LSN, from 0.
    counted: Vec<Counted>,
    pub(super) walks: Walks,
    /// By the number in the event's properties.
    events: BTreeMap<u64, Vec<Lsn>>,
    ids: BTreeMap<(CustomerId, String), Vec<Timestamp>>,
    /// The customers known, with the latest value of the attribute that counts their changes.
    customers: BTreeMap<CustomerId, u64>,
    /// Events that must enrol, until the enrollment is seen.
    owed: BTreeSet<u64>,
    /// The documents that callers may publish.
    documents: BTreeMap<ContentHash, Flow>,
    flows: BTreeMap<String, u32>,
}

impl Witness {
    pub(super) fn new(instance: InstanceId, documents: BTreeMap<ContentHash, Flow>) -> Self {
        Self {
            fold: Fold::new(instance, PartitionId(0)),
            now: Timestamp::EPOCH,
            counted: vec![Counted::default()],
            walks: Walks::default(),
            events: BTreeMap::new(),
            ids: BTreeMap::new(),
            customers: BTreeMap::new(),
            owed: BTreeSet::new(),
            documents,
            flows: BTreeMap::new(),
        }
    }

    /// The last durable record, as far as read.
    pub(super) fn latest(&self) -> Lsn {
        self.fold.last_lsn()
    }

    /// Reads on to the end of what is durable on the disk. `clock_max` is the latest time that any
    /// clock has shown.
    pub(super) fn read_on(&mut self, disk: Synced, clock_max: Timestamp, reported: &Reported) {
        let log = LocalLog::new(std::sync::Arc::new(disk), PartitionId(0));
        while let Some((position, bytes)) = log.read(self.fold.position()).unwrap() {
            let chunk = chunk::decode(&bytes).expect("a durable chunk decodes");
            let effect = self.fold.offer(position, chunk).expect("the durable log folds");
            let Effect::Records(records) = effect else { continue };
            for stored in records {
                self.take(&stored, clock_max, reported);
            }
            assert!(self.owed.is_empty(), "events without their enrollment: {:?}", self.owed);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are the walks' business")]
    fn take(&mut self, stored: &store::Record, clock_max: Timestamp, reported: &Reported) {
        let record = recover::decode(stored).expect("a durable record decodes");
        let (lsn, time) = (stored.lsn, stored.time);
        assert_eq!(lsn.0, u64::try_from(self.counted.len()).unwrap(), "LSNs are dense");
        assert!(self.now <= time, "{lsn} is of {time}, after one of {}", self.now);
        assert!(time <= clock_max, "{lsn} is of {time}, and no clock has shown that yet");
        self.now = time;
        let mut counted = *self.counted.last().unwrap();
        self.count(&record, &mut counted);
        self.counted.push(counted);
        match &record {
            Record::EventReceived(it) => self.event(lsn, time, it),
            Record::CustomerChanged(it) => self.customer(it),
            Record::FlowPublished(it) => {
                let flow = self.documents.get(&it.document).expect("a flow that was published");
                self.walks.publish(it.number, it.version, flow.clone());
                self.flows.insert(it.flow.to_string(), it.number);
            }
            Record::Enrolled(it) => {
                let number = it.key.as_ref().and_then(|key| key.parse().ok());
                if let Some(number) = number {
                    self.owed.remove(&number);
                }
            }
            _ => {}
        }
        self.walks.take(lsn, time, &record, reported);
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are not counted from outside")]
    fn count(&self, record: &Record, counted: &mut Counted) {
        match record {
            Record::EventReceived(it) => {
                counted.events += 1;
                counted.customers += u64::from(!self.customers.contains_key(&it.customer));
            }
            Record::CustomerChanged(it) => {
                counted.customers += u64::from(!self.customers.contains_key(&it.customer));
            }
            Record::Enrolled(_) => counted.enrolled += 1,
            Record::Exited(_) => counted.exited += 1,
            Record::DeliverySent(it) => {
                counted.sent += u64::from(self.walks.is_first_sent(it, Lsn(self.length())));
            }
            Record::DeliveryDeferred(_) => counted.deferred += 1,
            Record::DeliveryFailed(_) => counted.failed += 1,
            _ => {}
        }
    }

    fn length(&self) -> u64 {
        u64::try_from(self.counted.len()).unwrap()
    }

    fn event(&mut self, lsn: Lsn, time: Timestamp, it: &EventReceived) {
        let number = it.properties.value()["n"].as_u64().expect("our events are numbered");
        let seen = self.events.entry(number).or_default();
        seen.push(lsn);
        self.customers.entry(it.customer.clone()).or_default();
        if &*it.name == "a" && !it.too_old && seen.len() == 1 && self.flows.contains_key("each") {
            self.owed.insert(number);
        }
        match &it.id {
            None => assert_eq!(seen.len(), 1, "event {number}, which has no id, is there twice"),
            Some(id) => {
                let times = self.ids.entry((it.customer.clone(), id.to_string())).or_default();
                if let Some(before) = times.last() {
                    let apart = time.since(*before);
                    assert!(DEDUP_WINDOW <= apart, "{lsn}: `{id}` again after {apart}");
                }
                times.push(time);
            }
        }
    }

    fn customer(&mut self, it: &CustomerChanged) {
        let value = it.attributes.get("v").and_then(Option::as_ref);
        let latest = self.customers.entry(it.customer.clone()).or_default();
        if let Some(value) = value {
            let value = value.value().as_u64().expect("our changes are numbered");
            assert!(*latest < value, "{}: change {value} after {latest}", it.customer);
            *latest = value;
        }
    }

    /// Whether an event with this number is durable.
    pub(super) fn has_event(&self, number: u64) -> bool {
        self.events.contains_key(&number)
    }

    /// Whether an event with this id is durable that was remembered at `now` or later.
    pub(super) fn remembers(&self, customer: &CustomerId, id: &str, now: Timestamp) -> bool {
        let times = self.ids.get(&(customer.clone(), id.to_owned()));
        times.is_some_and(|it| it.iter().any(|time| now.since(*time) < DEDUP_WINDOW))
    }

    /// The customer's latest change that is durable.
    pub(super) fn change(&self, customer: &CustomerId) -> u64 {
        self.customers.get(customer).copied().unwrap_or(0)
    }

    /// What there was to count up to `lsn`.
    pub(super) fn counted(&self, lsn: Lsn) -> Counted {
        self.counted[usize::try_from(lsn.0).unwrap()]
    }
}
