//! The library as another program embeds it.

mod api;
mod backup;
mod clock;
mod delivery;
mod hostile;
mod opening;
mod trim;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, unbounded};
use onward::{
    Answer, Onward, Options, Ticket,
    base::{Clock, ContentHash, CustomerId, EnrollmentId, Span, Timestamp},
    delivery::{Channel, Channels, Message, Sending},
    engine::history::Logged,
    machine::{
        delivery::Outcome,
        record::Record,
        row::{Enrollment, Phase},
    },
    model::{CustomerUpdate, Event},
};
use serde_json::{Value, json};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
const START: &str = "2026-01-01T00:00:00Z";

/// A clock that a test owns.
struct Manual(AtomicI64);

impl Manual {
    fn at(time: &str) -> Arc<Self> {
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

/// A channel that tells a test of every attempt and does what it says.
struct Recorder<F> {
    told: Sender<Arc<Message>>,
    behave: F,
}

impl<F: Fn(&Message) -> Option<Outcome> + Send + Sync + 'static> Channel for Recorder<F> {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn send(&self, message: Arc<Message>) -> Sending<'_> {
        let _ = self.told.send(Arc::clone(&message)).is_ok();
        match (self.behave)(&message) {
            Some(outcome) => Box::pin(async { outcome }),
            None => Box::pin(std::future::pending()),
        }
    }
}

/// Channels that behave so (none: no answer ever), and the attempts as they are made.
fn channels(
    behave: impl Fn(&Message) -> Option<Outcome> + Send + Sync + 'static,
) -> (Channels, Receiver<Arc<Message>>) {
    let (told, attempts) = unbounded();
    (Channels::all(Recorder { told, behave }), attempts)
}

fn sent() -> Outcome {
    Outcome::Sent { hash: ContentHash::of(b"sent") }
}

fn deferred() -> Outcome {
    Outcome::Deferred { error: "not now".to_owned() }
}

/// Opens `dir` on this clock.
fn options(clock: &Arc<Manual>) -> Options {
    let clock: Arc<dyn Clock> = Arc::<Manual>::clone(clock);
    Options { clock, ..Options::default() }
}

fn open_at(dir: &Path, channels: &Channels, clock: &Arc<Manual>) -> Onward {
    Onward::open_with(dir, channels, &options(clock)).unwrap()
}

fn next(attempts: &Receiver<Arc<Message>>) -> Arc<Message> {
    attempts.recv_timeout(PATIENCE).expect("an attempt is made")
}

/// A flow `welcome` for everybody whom a signup starts.
fn welcome(steps: &[Value]) -> Vec<u8> {
    let document = json!({
        "segments": [{ "id": "all", "name": "All", "rule": "true" }],
        "flows": [{ "id": "welcome", "name": "Welcome", "segment": "all",
                    "trigger": { "event": "signup" }, "steps": steps }]
    });
    document.to_string().into_bytes()
}

fn email(order: usize, subject: &str) -> Value {
    json!({ "id": format!("mail-{order}"), "step_order": order, "step_type": "SEND_EMAIL",
            "config": { "subject": subject, "text": "Hello." } })
}

fn publish(onward: &Onward, steps: &[Value]) -> Answer {
    onward.publish(&[("flows.json", &welcome(steps))]).unwrap().wait().unwrap()
}

fn upsert(onward: &Onward, line: &Value) -> Ticket<Answer> {
    let update = CustomerUpdate::parse(line.to_string().as_bytes()).unwrap();
    onward.upsert_customer(update).unwrap()
}

fn signup(id: &str, customer: &str) -> Event {
    let line = json!({ "id": id, "name": "signup", "customer": customer });
    Event::parse(line.to_string().as_bytes()).unwrap()
}

/// A customer with an address, in the flow.
fn enter(onward: &Onward, customer: &str) -> EnrollmentId {
    let address = format!("{customer}@example.com");
    let _ = upsert(onward, &json!({ "id": customer, "email": address })).wait().unwrap();
    let event = signup(&format!("signup-{customer}"), customer);
    assert_eq!(onward.track(event).unwrap().wait().unwrap(), Answer::Accepted);
    enrollments(onward, customer).first().expect("the signup enrolled").0
}

fn enrollments(onward: &Onward, customer: &str) -> Vec<(EnrollmentId, Enrollment)> {
    let id = CustomerId::new(customer).unwrap();
    let view = onward.customer(id).unwrap().wait().unwrap();
    view.map(|view| view.enrollments).unwrap_or_default()
}

fn history(onward: &Onward, id: EnrollmentId) -> Vec<Logged> {
    onward.history(id).unwrap().wait().unwrap()
}

/// The history after a whole round of the engine's loop, in which whatever was due has happened.
fn settled(onward: &Onward, id: EnrollmentId) -> Vec<Logged> {
    // The first question wakes it; the second is answered after that round.
    history(onward, id);
    history(onward, id)
}

fn names(history: &[Logged]) -> Vec<&'static str> {
    history.iter().map(|logged| logged.record.name()).collect()
}

/// Waits until the last record of the enrollment is of this name; each look also wakes the engine.
fn await_record(onward: &Onward, id: EnrollmentId, name: &str) -> Vec<Logged> {
    let pause = Duration::from_millis(5);
    for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
        let history = history(onward, id);
        if names(&history).last() == Some(&name) {
            return history;
        }
        let _ = crossbeam_channel::never::<()>().recv_timeout(pause);
    }
    panic!("no {name} after {:?}", names(&history(onward, id)));
}

/// How the enrollment ended; none where it has not.
fn ended(onward: &Onward, id: EnrollmentId) -> Option<String> {
    let enrollment = onward.enrollment(id).unwrap().wait().unwrap().unwrap();
    match enrollment.phase {
        Phase::Ended { reason, .. } => Some(reason.to_string()),
        Phase::Entering | Phase::Waiting { .. } | Phase::Sending { .. } => None,
    }
}

/// What failed attempts said.
fn errors(history: &[Logged]) -> Vec<&str> {
    history.iter().filter_map(error_of).collect()
}

fn error_of(logged: &Logged) -> Option<&str> {
    if let Record::DeliveryDeferred(it) = &logged.record {
        return Some(&it.error);
    }
    if let Record::DeliveryFailed(it) = &logged.record {
        return Some(&it.error);
    }
    None
}
