//! `apply(state, record)`: copies what was decided into every projection.
//!
//! **Architecture invariant:** each target is computed from the record and that target alone, so
//! that replay may skip the targets that a checkpoint already holds.

mod phase;

use std::sync::Arc;

use super::{
    delivery::ChannelKind,
    key::{self, Key},
    memory::{
        CampaignState, FlowState, InFlight, InputState, LastInput, Memory, Restoration, Stored,
        index,
    },
    reason::InputKind,
    record::{At, DeliveryFailed, Enrolled, EventReceived, KeyChange, Record},
    row::{CustomerRow, DeadLetter, Enrollment, Entry, Phase, Row},
};
use crate::{
    base::{CustomerId, DeliveryId, Lsn, PartitionId, Timestamp, planted::is_planted},
    model::{Activity, Customer},
};

/// When an enrollment must be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerSet {
    /// When.
    pub due: Timestamp,
    /// Which enrollment.
    pub enrollment: Lsn,
    /// The record that set it; the enrollment's row names it as long as the timer is live.
    pub set: Lsn,
    /// The customer's hash: where the row is.
    pub place: u64,
}

/// The projections that records are applied to.
pub trait Projections {
    /// Changes the row under `key`, unless its page already holds the record at `lsn`.
    fn row(&mut self, lsn: Lsn, key: Key, change: &mut dyn FnMut(&mut Option<Row>));
    /// Adds a timer; adding it again changes nothing.
    fn set_timer(&mut self, timer: TimerSet);
    /// Removes a timer; one that is not there is fine.
    fn clear_timer(&mut self, timer: TimerSet);
    /// The projection in memory.
    fn memory(&mut self) -> &mut Memory;
}

/// Applies the record at `lsn`, recorded at `time`.
pub fn apply<P: Projections>(
    state: &mut P,
    partition: PartitionId,
    lsn: Lsn,
    time: Timestamp,
    record: &Record,
) {
    let it = Applied { partition, lsn, time };
    let memory = state.memory();
    assert_eq!(lsn, memory.next_lsn(), "records are applied in order, each once");
    memory.latest = lsn;
    memory.now = memory.now.max(time);
    memory.counters.count(record);
    it.inputs(memory, record);
    it.definitions(memory, record);
    it.in_flight(memory, record);
    it.timers(state, record);
    it.rows(state, record);
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is of no enrollment and not named changes no row"
)]
/// The rows that a record changes: what replay must have at hand before it applies it.
pub fn rows_of(lsn: Lsn, record: &Record) -> Vec<Key> {
    match record {
        Record::DocumentPart(it) => vec![key::document(it.document, it.part)],
        Record::CustomerChanged(it) => vec![key::customer(&it.customer)],
        Record::EventReceived(it) => {
            let mut keys = vec![key::customer(&it.customer)];
            keys.extend(it.counted.then(|| key::activity(&it.customer, &it.name)));
            keys.extend(it.id.as_ref().map(|id| key::seen(&it.customer, id)));
            keys
        }
        Record::Enrolled(it) => {
            let entry = key::entry(&it.customer, it.flow, it.key.as_deref());
            let mut keys = vec![key::enrollment(it.place, lsn), entry];
            if let Some(change) = &it.keys {
                keys.push(key::entry_keys(&it.customer));
                let forgets = change.forgets.iter();
                keys.extend(forgets.map(|f| key::entry(&it.customer, f.flow, Some(&f.key))));
            }
            keys
        }
        Record::DeliveryFailed(it) => vec![enrollment_key(lsn, &it.at), key::dead_letter(lsn)],
        other => other.at().map(|at| enrollment_key(lsn, at)).into_iter().collect(),
    }
}

/// The rows that a record changes and no decision for it reads: they may not be at hand yet.
#[expect(clippy::wildcard_enum_match_arm, reason = "all others follow from rows that were read")]
pub fn unread_rows(lsn: Lsn, record: &Record) -> [Option<Key>; 2] {
    match record {
        Record::DocumentPart(it) => [Some(key::document(it.document, it.part)), None],
        Record::Enrolled(it) => {
            let forgets = it.keys.as_ref().and_then(|change| change.forgets.as_ref());
            let forgotten = forgets.map(|old| key::entry(&it.customer, old.flow, Some(&old.key)));
            [Some(key::enrollment(it.place, lsn)), forgotten]
        }
        Record::DeliveryFailed(_) => [Some(key::dead_letter(lsn)), None],
        _ => [None, None],
    }
}

fn enrollment_key(lsn: Lsn, at: &At) -> Key {
    key::enrollment(at.place, at.enrollment.from(lsn))
}

/// Where and when the record being applied stands.
#[derive(Clone, Copy)]
struct Applied {
    partition: PartitionId,
    lsn: Lsn,
    time: Timestamp,
}

impl Applied {
    fn inputs(self, memory: &mut Memory, record: &Record) {
        match record {
            Record::InputOpened(it) => {
                assert_eq!(index(it.input), memory.inputs.len(), "inputs are numbered in order");
                memory.inputs.push(InputState {
                    kind: it.kind,
                    name: it.name.clone(),
                    length: it.length,
                    hash: it.hash,
                    rejected: 0,
                    // Definitions come into force with the record: there is nothing to resume.
                    offset: if it.kind == InputKind::Definitions { it.length } else { 0 },
                });
                memory.last_input = LastInput::Outside;
            }
            Record::LineRead(it) => memory.read_to(it.source),
            Record::LineRejected(it) => memory.reject(it.source),
            Record::CustomerChanged(it) => memory.read_to(it.source),
            Record::EventReceived(it) => memory.read_to(it.source),
            Record::SegmentChanged(it) => memory.read_to(it.source),
            Record::FlowPublished(it) => memory.read_to(it.source),
            Record::CampaignChanged(it) => memory.read_to(it.source),
            Record::WaitEnded(_) | Record::DeliveryAttempted(_) => {
                memory.last_input = LastInput::Timer;
            }
            Record::DeliverySent(_) | Record::DeliveryDeferred(_) | Record::DeliveryFailed(_) => {
                memory.last_input = LastInput::Outcome;
            }
            Record::DeliverySkipped(it) => {
                if it.requested.is_some() {
                    memory.last_input = LastInput::Outcome;
                }
            }
            Record::Restored(it) => {
                memory.restorations.push(Restoration { at: self.time, instance: it.instance });
            }
            Record::LossAccepted(_)
            | Record::DocumentPart(_)
            | Record::EntriesRefused(_)
            | Record::Enrolled(_)
            | Record::WaitStarted(_)
            | Record::Exited(_)
            | Record::DeliveryRequested(_) => {}
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "each projection takes what concerns it; the counters name every record"
    )]
    fn definitions(self, memory: &mut Memory, record: &Record) {
        match record {
            Record::SegmentChanged(it) => {
                let stored = Stored { document: it.document, parts: it.parts };
                memory.segments.insert(it.segment.clone(), stored);
            }
            Record::FlowPublished(it) => {
                let stored = Stored { document: it.document, parts: it.parts };
                if index(it.number) == memory.flows.len() {
                    memory.flows.push(FlowState {
                        id: it.flow.clone(),
                        segment: it.segment.clone(),
                        versions: Vec::new(),
                    });
                }
                let flow = memory.flows.get_mut(index(it.number)).expect("flows are numbered");
                flow.segment.clone_from(&it.segment);
                flow.versions.push(stored);
                assert_eq!(index(it.version), flow.versions.len(), "versions are numbered");
            }
            Record::CampaignChanged(it) => {
                let stored = Stored { document: it.document, parts: it.parts };
                let state = CampaignState { id: it.campaign.clone(), stored };
                match memory.campaigns.get_mut(index(it.number)) {
                    Some(campaign) => *campaign = state,
                    None => memory.campaigns.push(state),
                }
            }
            _ => {}
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "each projection takes what concerns it; the counters name every record"
    )]
    fn in_flight(self, memory: &mut Memory, record: &Record) {
        match record {
            Record::DeliveryRequested(it) => {
                let id = self.delivery(&it.at, it.subscription);
                let flying = self.flying(&it.at, 1, it.recipient.channel());
                memory.in_flight.insert((it.round, id), flying);
            }
            Record::DeliveryAttempted(it) => {
                let id = self.delivery(&it.at, it.subscription);
                let channel =
                    if it.subscription == 0 { ChannelKind::Email } else { ChannelKind::Push };
                memory.in_flight.insert((0, id), self.flying(&it.at, it.attempt, channel));
            }
            Record::DeliverySent(it) => self.landed(memory, &it.at, it.subscription, it.round),
            Record::DeliveryDeferred(it) => self.landed(memory, &it.at, it.subscription, it.round),
            Record::DeliveryFailed(it) => self.landed(memory, &it.at, it.subscription, it.round),
            Record::DeliverySkipped(it) => {
                if let Some(subscription) = it.requested {
                    self.landed(memory, &it.at, subscription, it.round);
                }
            }
            _ => {}
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "each projection takes what concerns it; the counters name every record"
    )]
    fn timers<P: Projections>(self, state: &mut P, record: &Record) {
        match record {
            Record::WaitStarted(it) => state.set_timer(self.timer(&it.at, it.due, self.lsn)),
            Record::DeliveryDeferred(it) if !is_planted!("forget_retry") => {
                state.set_timer(self.timer(&it.at, it.until, self.lsn));
            }
            Record::WaitEnded(it) => {
                state.clear_timer(self.timer(&it.at, it.due, it.set.from(self.lsn)));
            }
            Record::DeliveryAttempted(it) => {
                state.clear_timer(self.timer(&it.at, it.due, it.set.from(self.lsn)));
            }
            _ => {}
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "each projection takes what concerns it; the counters name every record"
    )]
    fn rows<P: Projections>(self, state: &mut P, record: &Record) {
        match record {
            Record::DocumentPart(it) => {
                state.row(self.lsn, key::document(it.document, it.part), &mut |row| {
                    *row = Some(Row::Document(it.text.clone()));
                });
            }
            Record::CustomerChanged(it) => {
                self.customer(state, &it.customer, &mut |row| {
                    row.change(it);
                });
            }
            Record::EventReceived(it) => self.event(state, it),
            Record::Enrolled(it) => self.enrolled(state, it),
            Record::DeliveryFailed(it) => {
                self.dead_letter(state, it);
                self.enrollment(state, &it.at, record);
            }
            other => {
                if let Some(at) = other.at() {
                    self.enrollment(state, at, other);
                }
            }
        }
    }

    fn event<P: Projections>(self, state: &mut P, it: &EventReceived) {
        self.customer(state, &it.customer, &mut |row| {
            row.names += u32::from(it.first);
            row.overflowed |= !it.counted;
        });
        if it.counted {
            let time = activity_time(it.time, self.time);
            state.row(self.lsn, key::activity(&it.customer, &it.name), &mut |row| match row {
                Some(Row::Activity(activity)) => activity.add(time),
                _ => *row = Some(Row::Activity(Activity::new(time))),
            });
        }
        if let Some(id) = &it.id {
            state.row(self.lsn, key::seen(&it.customer, id), &mut |row| {
                *row = Some(Row::Seen(self.time));
            });
        }
    }

    fn enrolled<P: Projections>(self, state: &mut P, it: &Enrolled) {
        state.row(self.lsn, key::enrollment(it.place, self.lsn), &mut |row| {
            *row = Some(Row::Enrollment(Box::new(Enrollment {
                customer: it.customer.clone(),
                flow: it.flow,
                version: it.version,
                key: it.key.clone(),
                started_at: self.time,
                event: it.event.from(self.lsn),
                trigger: Arc::clone(&it.trigger),
                campaign: it.campaign,
                latest: self.lsn,
                visits: 0,
                phase: Phase::Entering,
            })));
        });
        let entry = key::entry(&it.customer, it.flow, it.key.as_deref());
        state.row(self.lsn, entry, &mut |row| {
            let before = if let Some(Row::Entry(entry)) = row { entry.count } else { 0 };
            let count = before.saturating_add(1);
            *row = Some(Row::Entry(Entry { started_at: self.time, latest: self.lsn, count }));
        });
        if let Some(change) = &it.keys {
            self.entry_keys(state, &it.customer, change);
        }
    }

    fn entry_keys<P: Projections>(self, state: &mut P, customer: &CustomerId, it: &KeyChange) {
        let before = it.before.map(|it| it.from(self.lsn));
        let forgotten = it.forgets.as_ref().map(|it| it.enrollment.from(self.lsn));
        state.row(self.lsn, key::entry_keys(customer), &mut |row| {
            if !matches!(row, Some(Row::EntryKeys(_))) {
                *row = Some(Row::EntryKeys(Vec::new()));
            }
            if let Some(Row::EntryKeys(keys)) = row {
                keys.retain(|it| Some(*it) != before && Some(*it) != forgotten);
                keys.push(self.lsn);
            }
        });
        if let Some(it) = &it.forgets {
            state.row(self.lsn, key::entry(customer, it.flow, Some(&it.key)), &mut |row| {
                *row = None;
            });
            *state.memory().forgotten_keys.entry(it.flow).or_default() += 1;
        }
    }

    fn dead_letter<P: Projections>(self, state: &mut P, it: &DeliveryFailed) {
        state.row(self.lsn, key::dead_letter(self.lsn), &mut |row| {
            *row = Some(Row::DeadLetter(DeadLetter {
                enrollment: it.at.enrollment.from(self.lsn),
                visit: it.at.visit,
                subscription: it.subscription,
                place: it.at.place,
                attempts: it.attempt,
                error: it.error.clone(),
                at: self.time,
            }));
        });
    }

    fn customer<P: Projections>(
        self,
        state: &mut P,
        id: &CustomerId,
        change: &mut dyn FnMut(&mut CustomerRow),
    ) {
        state.row(self.lsn, key::customer(id), &mut |row| {
            let fresh = || {
                let customer = Customer::new(id.clone());
                Box::new(CustomerRow { customer, names: 0, overflowed: false })
            };
            if !matches!(row, Some(Row::Customer(_))) {
                *row = Some(Row::Customer(fresh()));
            }
            if let Some(Row::Customer(customer)) = row {
                change(customer);
            }
        });
    }

    fn enrollment<P: Projections>(self, state: &mut P, at: &At, record: &Record) {
        state.row(self.lsn, enrollment_key(self.lsn, at), &mut |row| {
            let Some(Row::Enrollment(enrollment)) = row else {
                panic!("a record of an enrollment follows the one that began it");
            };
            enrollment.latest = self.lsn;
            enrollment.visits = at.visit;
            self.phase(enrollment, record);
        });
    }

    fn timer(self, at: &At, due: Timestamp, set: Lsn) -> TimerSet {
        TimerSet { due, enrollment: at.enrollment.from(self.lsn), set, place: at.place }
    }

    fn delivery(self, at: &At, subscription: u16) -> DeliveryId {
        let enrollment = at.enrollment(self.lsn, self.partition);
        DeliveryId { enrollment, visit: at.visit, subscription }
    }

    fn flying(self, at: &At, attempt: u32, channel: ChannelKind) -> InFlight {
        InFlight { place: at.place, attempt, channel, requested: self.lsn }
    }

    fn landed(self, memory: &mut Memory, at: &At, subscription: u16, round: u32) {
        memory.in_flight.remove(&(round, self.delivery(at, subscription)));
    }
}

/// When an event counts as having happened: its own time, but not after it was handled.
pub(super) fn activity_time(time: Option<Timestamp>, now: Timestamp) -> Timestamp {
    time.unwrap_or(now).min(now)
}
