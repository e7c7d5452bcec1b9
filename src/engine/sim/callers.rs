//! The callers: they send events, changes, questions and definitions, remember what they were told,
//! and hold the witness to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use super::{rng::Rng, swarm::Swarm, witness::Witness};
use crate::{
    base::{ContentHash, CustomerId, Lsn, Span, Timestamp},
    engine::{Engine, Error, Ticket},
    machine::{
        counters::Counters,
        input::{Answer, Input},
        record::Source,
    },
    model::{CustomerUpdate, Definitions, Event, Flow, Known},
};

const DOCUMENTS: [&str; 3] =
    [include_str!("first.json"), include_str!("second.json"), include_str!("third.json")];

/// What was sent and is not answered.
#[derive(Debug)]
struct Waiting {
    sent: Sent,
    /// The latest durable record when it was sent, and its time.
    since: (Lsn, Timestamp),
    ticket: Asked,
}

#[derive(Debug)]
enum Asked {
    Answer(Ticket<Answer>),
    Seen(Ticket<Box<Seen>>),
    Known(Ticket<Known>),
}

#[derive(Debug, Clone)]
enum Sent {
    Event(Numbered),
    Change { customer: CustomerId, value: u64 },
    Question { customer: CustomerId, at_least: u64 },
    Definitions,
}

impl std::fmt::Display for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Event(Numbered { number, event }) => {
                let id = event.id.as_ref().map_or("no id", |id| id.as_str());
                write!(f, "event {number} ({id}), `{}` of {}", event.name, event.customer)
            }
            Self::Change { customer, value } => write!(f, "change {value} of {customer}"),
            Self::Question { customer, .. } => write!(f, "what of {customer}"),
            Self::Definitions => f.write_str("definitions"),
        }
    }
}

/// An event with the number that it carries.
#[derive(Debug, Clone)]
struct Numbered {
    number: u64,
    event: Event,
}

/// What a reader was shown.
#[derive(Debug)]
pub(super) struct Seen {
    latest: Lsn,
    counters: Counters,
    change: u64,
}

/// All of them, and what they know.
#[derive(Debug)]
pub(super) struct Callers {
    waiting: Vec<Waiting>,
    /// Events to be sent again: their outcome is not known.
    again: Vec<Numbered>,
    rejected: BTreeSet<u64>,
    accepted: BTreeSet<u64>,
    next_number: u64,
    /// The latest change of each customer that was acknowledged.
    changed: BTreeMap<CustomerId, u64>,
    /// The document to publish next.
    publishing: usize,
    pub(super) acknowledged: u64,
    pub(super) duplicates: u64,
    pub(super) unknown: u64,
    pub(super) busy: u64,
    pub(super) no_space: u64,
    pub(super) answered_questions: u64,
}

/// The flows of all documents, by the hash under which the log names them.
pub(super) fn documents() -> BTreeMap<ContentHash, Flow> {
    let mut known = Known::default();
    let mut all = BTreeMap::new();
    for text in DOCUMENTS {
        let definitions = Definitions::parse(&[("file", text.as_bytes())], &known).unwrap();
        known.segments.extend(definitions.segments.iter().map(|it| (it.value.id.clone(), None)));
        all.extend(definitions.flows.into_iter().map(|it| (it.hash, it.value)));
    }
    all
}

fn question(
    id: CustomerId,
) -> impl FnOnce(&mut crate::engine::Partition) -> Result<Box<Seen>, Error> + Send {
    move |partition| {
        let known = partition.customer(&id)?;
        let value = known.and_then(|it| it.customer.customer.attributes.get("v").cloned());
        let change = value.and_then(|it| it.value().as_u64()).unwrap_or(0);
        let counters = partition.memory().counters.clone();
        Ok(Box::new(Seen { latest: partition.latest(), counters, change }))
    }
}

impl Callers {
    pub(super) fn new() -> Self {
        Self {
            waiting: Vec::new(),
            again: Vec::new(),
            rejected: BTreeSet::new(),
            accepted: BTreeSet::new(),
            next_number: 1,
            changed: BTreeMap::new(),
            publishing: 0,
            acknowledged: 0,
            duplicates: 0,
            unknown: 0,
            busy: 0,
            no_space: 0,
            answered_questions: 0,
        }
    }

    /// Others, who know nothing of what these were told, and number what they send behind it.
    pub(super) fn followed(&self) -> Self {
        Self { next_number: self.next_number, ..Self::new() }
    }

    /// Somebody sends something; gives a word on what.
    pub(super) fn call(
        &mut self,
        rng: &mut Rng,
        swarm: &Swarm,
        engine: &Engine,
        witness: &Witness,
        clock: Timestamp,
    ) -> String {
        let since = (witness.latest(), witness.now);
        let customer = CustomerId::new(format!("c{}", rng.below(swarm.customers))).unwrap();
        let is_publishing = self.waiting.iter().any(|it| matches!(it.sent, Sent::Definitions));
        if self.publishing == 0 && !is_publishing {
            return self.ask_known(engine, since);
        }
        match rng.below(100) {
            0..60 => {
                let event = self.event(rng, swarm, customer, clock);
                self.send_event(engine, event, since)
            }
            60..70 => match self.again.pop() {
                Some(event) => self.send_event(engine, event, since),
                None => String::from("nothing to send again"),
            },
            70..85 => self.change(rng, swarm, engine, customer, since),
            85..99 => {
                let at_least = self.changed.get(&customer).copied().unwrap_or(0);
                let ticket = engine.query(question(customer.clone()));
                let sent = Sent::Question { customer, at_least };
                self.note(sent, since, ticket.map(Asked::Seen))
            }
            _ => self.ask_known(engine, since),
        }
    }

    /// Publishing begins with asking what is there.
    fn ask_known(&mut self, engine: &Engine, since: (Lsn, Timestamp)) -> String {
        let ticket = engine.query(|it| Ok(it.catalog().known(it.memory())));
        self.note(Sent::Definitions, since, ticket.map(Asked::Known))
    }

    fn event(
        &mut self,
        rng: &mut Rng,
        swarm: &Swarm,
        customer: CustomerId,
        clock: Timestamp,
    ) -> Numbered {
        let number = self.next_number;
        self.next_number += 1;
        let name = rng.pick(&["a", "b", "c"]);
        let id = match rng.below(3) {
            0 => String::new(),
            _ => format!(r#""id":"e{}","#, rng.below(swarm.ids)),
        };
        let time = match rng.below(10) {
            0 => clock.minus(Span::hours(rng.between(0, 100))),
            1 => clock.plus(Span::hours(rng.between(0, 40))),
            _ => clock,
        };
        let time = if rng.coin() { format!(r#","time":"{time}""#) } else { String::new() };
        let line = format!(
            r#"{{{id}"name":"{name}","customer":"{customer}"{time},"properties":{{"n":{number}}}}}"#
        );
        Numbered { number, event: Event::parse(line.as_bytes()).unwrap() }
    }

    fn send_event(&mut self, engine: &Engine, it: Numbered, since: (Lsn, Timestamp)) -> String {
        let input = Input::Event { source: Source::Api, event: it.event.clone() };
        let ticket = engine.submit(input).map(Asked::Answer);
        self.note(Sent::Event(it), since, ticket)
    }

    fn change(
        &mut self,
        rng: &mut Rng,
        swarm: &Swarm,
        engine: &Engine,
        customer: CustomerId,
        since: (Lsn, Timestamp),
    ) -> String {
        let value = self.next_number;
        self.next_number += 1;
        let pad = if rng.one_in(swarm.long) { rng.index(6_000) } else { 0 };
        let email = rng.pick(&["null", r#""x@y.example""#, r#""z@y.example""#]);
        let push = |n| {
            format!(r#"{{"endpoint":"https://p.example/{n}","keys":{{"p256dh":"k","auth":"a"}}}}"#)
        };
        let push: Vec<String> = (0..rng.below(3)).map(push).collect();
        let line = format!(
            r#"{{"id":"{customer}","email":{email},"attributes":{{"v":{value},"pad":"{}"}},"push":[{}]}}"#,
            "x".repeat(pad),
            push.join(",")
        );
        let update = CustomerUpdate::parse(line.as_bytes()).unwrap();
        let ticket = engine.submit(Input::Customer { source: Source::Api, update });
        self.note(Sent::Change { customer, value }, since, ticket.map(Asked::Answer))
    }

    fn note(
        &mut self,
        sent: Sent,
        since: (Lsn, Timestamp),
        ticket: Result<Asked, Error>,
    ) -> String {
        let text = sent.to_string();
        match ticket {
            Ok(ticket) => self.waiting.push(Waiting { sent, since, ticket }),
            Err(Error::Busy) => {
                self.busy += 1;
                self.send_again(sent);
            }
            Err(error) => panic!("{text}: {error}"),
        }
        text
    }

    /// An event with an id may be sent again whatever became of it.
    fn send_again(&mut self, sent: Sent) {
        if let Sent::Event(it) = sent
            && it.event.id.is_some()
        {
            self.again.push(it);
        }
    }

    /// Takes the answers that have come.
    pub(super) fn listen(&mut self, engine: Option<&Engine>, witness: &Witness) -> Vec<String> {
        let mut heard = Vec::new();
        for mut it in std::mem::take(&mut self.waiting) {
            let mut context = Context::from_waker(Waker::noop());
            let said = match &mut it.ticket {
                Asked::Answer(ticket) => match Pin::new(ticket).poll(&mut context) {
                    Poll::Pending => None,
                    Poll::Ready(answer) => {
                        Some(self.answered(it.sent.clone(), it.since, answer, witness))
                    }
                },
                Asked::Seen(ticket) => match Pin::new(ticket).poll(&mut context) {
                    Poll::Pending => None,
                    Poll::Ready(seen) => Some(self.seen(&it.sent, it.since, seen, witness)),
                },
                Asked::Known(ticket) => match Pin::new(ticket).poll(&mut context) {
                    Poll::Pending => None,
                    Poll::Ready(known) => Some(self.publish(engine, it.since, known)),
                },
            };
            match said {
                Some(said) => heard.push(format!("{}: {said}", it.sent)),
                None => self.waiting.push(it),
            }
        }
        heard
    }

    fn publish(
        &mut self,
        engine: Option<&Engine>,
        since: (Lsn, Timestamp),
        known: Result<Known, Error>,
    ) -> String {
        let (Ok(known), Some(engine)) = (known, engine) else { return String::from("unknown") };
        let document = DOCUMENTS[self.publishing % DOCUMENTS.len()];
        let definitions = Definitions::parse(&[("file", document.as_bytes())], &known).unwrap();
        let input = Input::Publish { source: Source::Api, files: Vec::new(), definitions };
        let ticket = engine.submit(input).map(Asked::Answer);
        self.note(Sent::Definitions, since, ticket)
    }

    fn answered(
        &mut self,
        sent: Sent,
        since: (Lsn, Timestamp),
        answer: Result<Answer, Error>,
        witness: &Witness,
    ) -> String {
        let text = format!("{answer:?}");
        match (&sent, answer) {
            (Sent::Event(it), Ok(Answer::Accepted)) => {
                assert!(witness.has_event(it.number), "{it:?} was accepted and is not durable");
                self.acknowledged += 1;
                self.accepted.insert(it.number);
                // Some callers lose the answer.
                if it.number.is_multiple_of(5) {
                    self.send_again(sent);
                }
            }
            (Sent::Event(it), Ok(Answer::Duplicate)) => {
                let id = it.event.id.as_ref().expect("only what has an id is a duplicate");
                let remembers = witness.remembers(&it.event.customer, id.as_str(), since.1);
                assert!(remembers, "{it:?} is no duplicate of anything durable");
                self.duplicates += 1;
            }
            (Sent::Event(it), Err(Error::Rejected(_))) => {
                self.rejected.insert(it.number);
            }
            (Sent::Change { customer, value }, Ok(Answer::Accepted)) => {
                let durable = witness.change(customer);
                assert!(*value <= durable, "{sent:?} was accepted, and {durable} is durable");
                let latest = self.changed.entry(customer.clone()).or_default();
                *latest = (*latest).max(*value);
            }
            (Sent::Definitions, Ok(Answer::Published { .. })) => self.publishing += 1,
            (Sent::Event(_), Err(Error::Busy)) => {
                self.busy += 1;
                self.send_again(sent);
            }
            (_, Err(Error::NoSpace(_))) => {
                self.no_space += 1;
                self.send_again(sent);
            }
            (_, Err(Error::Unknown)) => {
                self.unknown += 1;
                self.send_again(sent);
            }
            (sent, answer) => panic!("{sent:?} was answered {answer:?}"),
        }
        text
    }

    fn seen(
        &mut self,
        sent: &Sent,
        since: (Lsn, Timestamp),
        seen: Result<Box<Seen>, Error>,
        witness: &Witness,
    ) -> String {
        let Sent::Question { customer, at_least } = sent else { unreachable!("nothing else asks") };
        let seen = match seen {
            Ok(seen) => seen,
            Err(Error::Unknown) => return String::from("unknown"),
            Err(Error::NoSpace(_)) => {
                self.no_space += 1;
                return String::from("no space");
            }
            Err(error) => panic!("{sent:?}: {error}"),
        };
        self.answered_questions += 1;
        assert!(seen.latest <= witness.latest(), "{sent:?}: {} is not durable", seen.latest);
        assert!(since.0 <= seen.latest, "{sent:?}: {} is older than known", seen.latest);
        assert!(*at_least <= seen.change, "{sent:?}: {} is older than acknowledged", seen.change);
        assert!(seen.change <= witness.change(customer), "{sent:?}: not durable");
        check_counters(&seen.counters, seen.latest, witness);
        format!("{} at {}", seen.change, seen.latest)
    }

    /// What was refused is nowhere, what was accepted is there.
    pub(super) fn check(&self, witness: &Witness) {
        for number in &self.rejected {
            let is_there = witness.has_event(*number) && !self.accepted.contains(number);
            assert!(!is_there, "event {number} was refused and is in the log");
        }
        for number in &self.accepted {
            assert!(witness.has_event(*number), "event {number} was accepted and is gone");
        }
        assert!(self.waiting.is_empty(), "callers wait for ever: {:?}", self.waiting);
    }
}

/// The engine's counters against what outside counts.
pub(super) fn check_counters(counters: &Counters, at: Lsn, witness: &Witness) {
    let counted = witness.counted(at);
    let flows = || counters.flows.values();
    let steps = || flows().flat_map(|flow| flow.steps.values());
    let ours = super::witness::Counted {
        customers: counters.customers,
        events: counters.events,
        enrolled: flows().map(|it| it.enrolled).sum(),
        exited: flows().flat_map(|it| it.exited.values()).sum(),
        sent: steps().map(|it| it.sent).sum(),
        deferred: steps().map(|it| it.deferred).sum(),
        failed: steps().map(|it| it.failed).sum(),
    };
    assert_eq!(ours, counted, "the counters at {at}, and what outside counts");
    assert_eq!(counters.dead_letters, counted.failed);
    let active: u64 = flows().map(|it| it.active).sum();
    assert_eq!(active, counted.enrolled - counted.exited, "active at {at}");
}
