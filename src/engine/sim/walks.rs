//! What the flows say of each enrollment's records: which may follow, and when.

use std::collections::BTreeMap;

use super::workers::Reported;
use crate::{
    base::{
        CustomerId, DeliveryId, EnrollmentId, Lsn, PartitionId, Span, Timestamp,
        limits::{ATTEMPTS_MAX, BACKOFF_FIRST, BACKOFF_MAX},
    },
    machine::record::{At, DeliveryRequested, DeliverySent, DeliverySkipped, Enrolled, Record},
    model::{Action, After, EntryRule, Flow},
};

/// Every enrollment, by the LSN that is its id.
#[derive(Debug, Default)]
pub(super) struct Walks {
    flows: BTreeMap<(u32, u32), Flow>,
    walks: BTreeMap<Lsn, Walk>,
    /// The latest enrollment of each customer in each flow, by entry key, and when it began.
    latest: BTreeMap<(CustomerId, u32, Option<String>), (Lsn, Timestamp)>,
}

#[derive(Debug)]
struct Walk {
    version: (u32, u32),
    visits: u32,
    latest: Lsn,
    doing: Doing,
}

/// What an enrollment is at.
#[derive(Debug)]
enum Doing {
    /// About to enter the step at this position, or to complete.
    Entering(Option<usize>),
    /// About to exit for a message that was not sent.
    Leaving(&'static str),
    Waiting {
        step: usize,
        due: Timestamp,
        set: Lsn,
    },
    Sending {
        step: usize,
        of: u16,
        sends: BTreeMap<u16, Send>,
    },
    Ended,
}

#[derive(Debug, Clone, Copy)]
struct Send {
    attempt: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    InFlight,
    Deferred { until: Timestamp, set: Lsn },
    Sent,
    Failed,
    Skipped,
}

impl Walks {
    pub(super) fn publish(&mut self, number: u32, version: u32, flow: Flow) {
        let before = self.flows.insert((number, version), flow);
        assert!(before.is_none(), "version {version} of flow {number} is published twice");
    }

    /// A customer is in a flow once at a time for each key, and again when the flow says so.
    fn check_entry(&mut self, lsn: Lsn, time: Timestamp, it: &Enrolled) {
        let key = (it.customer.clone(), it.flow, it.key.clone());
        let Some((before, began)) = self.latest.insert(key, (lsn, time)) else { return };
        let has_ended = matches!(self.walks[&before].doing, Doing::Ended);
        assert!(has_ended, "{lsn}: entered while {before} goes on");
        match self.flows[&(it.flow, it.version)].entry {
            EntryRule::EveryTime => {}
            EntryRule::Once => panic!("{lsn}: entered again, after {before}"),
            EntryRule::After(span) => {
                assert!(span <= time.since(began), "{lsn}: entered too soon after {before}");
            }
        }
    }

    /// Whether every enrollment has ended; otherwise which has not.
    pub(super) fn unfinished(&self) -> Option<String> {
        let open = self.walks.iter().find(|(_, walk)| !matches!(walk.doing, Doing::Ended));
        open.map(|(id, walk)| format!("enrollment {id}: {walk:?}"))
    }

    /// Whether this attempt is under way, as far as the log says.
    pub(super) fn is_in_flight(&self, id: DeliveryId, attempt: u32) -> bool {
        let Some(walk) = self.walks.get(&id.enrollment.lsn) else { return false };
        let Doing::Sending { sends, .. } = &walk.doing else { return false };
        let send = sends.get(&id.subscription);
        walk.visits == id.visit
            && send.is_some_and(|it| it.attempt == attempt && it.state == State::InFlight)
    }

    /// Whether no other delivery of the visit has been sent.
    pub(super) fn is_first_sent(&self, it: &DeliverySent, lsn: Lsn) -> bool {
        let Some(walk) = self.walks.get(&it.at.enrollment.from(lsn)) else { return false };
        let Doing::Sending { sends, .. } = &walk.doing else { return false };
        sends.values().all(|send| send.state != State::Sent)
    }

    pub(super) fn take(&mut self, lsn: Lsn, time: Timestamp, record: &Record, reported: &Reported) {
        if let Record::Enrolled(it) = record {
            let version = (it.flow, it.version);
            let doing = Doing::Entering(Some(0));
            self.check_entry(lsn, time, it);
            self.walks.insert(lsn, Walk { version, visits: 0, latest: lsn, doing });
        }
        let Some(at) = record.at() else { return };
        let id = at.enrollment.from(lsn);
        let walk = self.walks.get_mut(&id).expect("an enrollment begins with its first record");
        let flow = &self.flows[&walk.version];
        assert_eq!((at.flow, at.version), walk.version, "{lsn}: an enrollment keeps its version");
        assert!(at.previous.from(lsn) <= walk.latest, "{lsn}: a link to a later record");
        walk.latest = lsn;
        let step = usize::try_from(at.step).unwrap();
        let it = Taken { lsn, time, id, step, at: *at, flow, reported };
        walk.doing = it.next(std::mem::replace(&mut walk.doing, Doing::Ended), record, walk.visits);
        walk.visits = at.visit;
    }
}

/// A record as it is taken.
struct Taken<'a> {
    lsn: Lsn,
    time: Timestamp,
    id: Lsn,
    step: usize,
    at: At,
    flow: &'a Flow,
    reported: &'a Reported,
}

impl Taken<'_> {
    fn next(&self, doing: Doing, record: &Record, visits: u32) -> Doing {
        match (doing, record) {
            (Doing::Entering(Some(step)), Record::WaitStarted(it)) => {
                self.enters(step, visits);
                let Action::Wait(wait) = &self.flow.steps[step].action else {
                    panic!("{}: step {step} is no wait", self.lsn);
                };
                assert_eq!(it.due, self.time.plus(wait.span), "{}: how long it waits", self.lsn);
                Doing::Waiting { step, due: it.due, set: self.lsn }
            }
            (Doing::Waiting { step, due, set }, Record::WaitEnded(it)) => {
                assert_eq!((step, visits), (self.step, self.at.visit), "{}: which wait", self.lsn);
                assert_eq!((due, set), (it.due, it.set.from(self.lsn)), "{}: whose", self.lsn);
                assert!(due <= self.time, "{}: a wait until {due} ended {}", self.lsn, self.time);
                Doing::Entering(self.flow.steps[step].next)
            }
            (Doing::Entering(Some(step)), Record::DeliveryRequested(it)) => {
                self.enters(step, visits);
                let sends = BTreeMap::new();
                self.requested(Doing::Sending { step, of: it.subscriptions, sends }, it)
            }
            (doing @ Doing::Sending { .. }, Record::DeliveryRequested(it)) => {
                assert_eq!(visits, self.at.visit, "{}: a visit's deliveries", self.lsn);
                self.requested(doing, it)
            }
            (Doing::Entering(Some(step)), Record::DeliverySkipped(it)) => {
                self.enters(step, visits);
                self.skipped(step, it)
            }
            (Doing::Entering(Some(step)), Record::Exited(it)) => {
                self.enters(step, visits);
                assert!(it.by_step, "{}: it exits before step {step}", self.lsn);
                assert!(matches!(self.flow.steps[step].action, Action::Exit(_)), "{}", self.lsn);
                Doing::Ended
            }
            (Doing::Entering(None), Record::Exited(it)) => {
                assert_eq!((it.by_step, &*it.reason), (false, "completed"), "{}", self.lsn);
                Doing::Ended
            }
            (Doing::Leaving(reason), Record::Exited(it)) => {
                assert_eq!((it.by_step, &*it.reason), (false, reason), "{}", self.lsn);
                Doing::Ended
            }
            (Doing::Sending { step, of, mut sends }, record) => {
                assert_eq!((step, visits), (self.step, self.at.visit), "{}: which", self.lsn);
                assert_eq!(sends.len(), usize::from(of.max(1)), "{}: too early", self.lsn);
                self.settle(&mut sends, record);
                self.go_on(step, of, sends)
            }
            (doing, record) => panic!("{}: {} after {doing:?}", self.lsn, record.name()),
        }
    }

    fn enters(&self, step: usize, visits: u32) {
        assert_eq!((step, visits + 1), (self.step, self.at.visit), "{}: which step", self.lsn);
    }

    fn requested(&self, doing: Doing, it: &DeliveryRequested) -> Doing {
        let Doing::Sending { step, of, mut sends } = doing else { unreachable!() };
        assert_eq!((step, of), (self.step, it.subscriptions), "{}", self.lsn);
        let before = sends.insert(it.subscription, Send { attempt: 1, state: State::InFlight });
        assert!(before.is_none(), "{}: a delivery is requested twice", self.lsn);
        Doing::Sending { step, of, sends }
    }

    fn skipped(&self, step: usize, it: &DeliverySkipped) -> Doing {
        assert_eq!(it.requested, None, "{}", self.lsn);
        match after(&self.flow.steps[step].action, false) {
            After::Continue => Doing::Entering(self.flow.steps[step].next),
            After::Exit => Doing::Leaving("skipped"),
        }
    }

    fn delivery(&self, subscription: u16) -> DeliveryId {
        let enrollment = EnrollmentId { partition: PartitionId(0), lsn: self.id };
        DeliveryId { enrollment, visit: self.at.visit, subscription }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "every other record is wrong")]
    fn settle(&self, sends: &mut BTreeMap<u16, Send>, record: &Record) {
        let (subscription, attempt) = match record {
            Record::DeliveryAttempted(it) => (it.subscription, it.attempt),
            Record::DeliverySent(it) => (it.subscription, it.attempt),
            Record::DeliveryDeferred(it) => (it.subscription, it.attempt),
            Record::DeliveryFailed(it) => (it.subscription, it.attempt),
            Record::DeliverySkipped(it) => {
                let subscription = it.requested.expect("a step that sends is not skipped whole");
                (subscription, sends[&subscription].attempt)
            }
            other => panic!("{}: {} while sending", self.lsn, other.name()),
        };
        let send = sends.get_mut(&subscription).expect("a delivery is settled once requested");
        if let Record::DeliveryAttempted(it) = record {
            let State::Deferred { until, set } = send.state else {
                panic!("{}: attempt {attempt} while {:?}", self.lsn, send.state);
            };
            assert_eq!(attempt, send.attempt + 1, "{}: attempts rise by one", self.lsn);
            assert_eq!((it.due, it.set.from(self.lsn)), (until, set), "{}", self.lsn);
            assert!(until <= self.time, "{}: due {until}, repeated {}", self.lsn, self.time);
            *send = Send { attempt, state: State::InFlight };
            return;
        }
        assert_eq!(send.state, State::InFlight, "{}: {}", self.lsn, record.name());
        assert_eq!(attempt, send.attempt, "{}: an attempt that is over", self.lsn);
        let said = self.reported.said(self.delivery(subscription), attempt);
        send.state = match record {
            Record::DeliverySent(it) => {
                assert_eq!(said, Some(format!("sent {}", it.hash)), "{}", self.lsn);
                State::Sent
            }
            Record::DeliveryDeferred(it) => {
                assert_eq!(said.as_deref(), Some(&*it.error), "{}", self.lsn);
                assert!(attempt < ATTEMPTS_MAX, "{}: one attempt too many", self.lsn);
                self.check_backoff(attempt, it.until);
                State::Deferred { until: it.until, set: self.lsn }
            }
            Record::DeliveryFailed(it) => {
                assert_eq!(said.as_deref(), Some(&*it.error), "{}", self.lsn);
                let rejected = it.error.starts_with("rejected");
                assert!(rejected || attempt == ATTEMPTS_MAX, "{}: it gave up early", self.lsn);
                State::Failed
            }
            Record::DeliverySkipped(it) => {
                assert_eq!(said, it.error, "{}", self.lsn);
                State::Skipped
            }
            _ => unreachable!("looked at above"),
        };
    }

    /// The back-off doubles up to its bound, and is drawn from the upper half.
    fn check_backoff(&self, attempt: u32, until: Timestamp) {
        let doubled = BACKOFF_FIRST.micros() << attempt.saturating_sub(1);
        let full = doubled.min(BACKOFF_MAX.micros());
        let span: Span = until.since(self.time);
        let fits = (full / 2..=full).contains(&span.micros());
        assert!(fits, "{}: attempt {attempt} is repeated after {span}", self.lsn);
    }

    fn go_on(&self, step: usize, of: u16, sends: BTreeMap<u16, Send>) -> Doing {
        let has = |state: State| sends.values().any(|it| it.state == state);
        let is_open = |it: &Send| matches!(it.state, State::InFlight | State::Deferred { .. });
        if sends.values().any(is_open) {
            return Doing::Sending { step, of, sends };
        }
        let action = &self.flow.steps[step].action;
        let (then, reason) = match () {
            () if has(State::Sent) => (After::Continue, ""),
            () if has(State::Failed) => (after(action, true), "failed"),
            () => (after(action, false), "skipped"),
        };
        match then {
            After::Continue => Doing::Entering(self.flow.steps[step].next),
            After::Exit => Doing::Leaving(reason),
        }
    }
}

fn after(action: &Action, failed: bool) -> After {
    match action {
        Action::SendEmail(it) if failed => it.on_failure,
        Action::SendEmail(it) => it.on_skip,
        Action::SendPush(it) if failed => it.on_failure,
        Action::SendPush(it) => it.on_skip,
        Action::Wait(_) | Action::Exit(_) => panic!("only messages fail"),
    }
}
