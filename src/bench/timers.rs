//! Many enrollments that wait, over a year; a herd of others that are all due in one second, while
//! events go on; then a steady stream. The engine's clock is the machine's plus an offset, which
//! grows while the waiting ones are made and leaps to where the herd is due.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::never;
use serde::Serialize;

use super::{
    Error, Place, Scratch, Spread,
    answers::reading,
    at_most,
    clock::Shifted,
    load::{self, ATTRIBUTE_BYTES, closed_loop, register, sent},
    machine::{self, Ground},
    pace::Pace,
    rate,
};
use crate::{
    Onward, Options,
    app::SystemClock,
    base::{Clock, Span, Timestamp},
    delivery::{Channel, Channels, Message, Sending},
    engine::ClockCheck,
    machine::delivery::Content,
};

/// Events while the herd is worked off, whether or not those before are answered.
const PROBES_PER_S: u64 = 200;
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long a steady one waits, from its event on.
const STEADY_WAIT: Span = Span::seconds(2);
/// How long the herd waits: long enough for all of it to be there before the first is due.
const HERD_WAIT: Span = Span::hours(20);
/// How long without any message before the run counts as stuck.
const STUCK_AFTER: Span = Span::seconds(60);

pub(super) const DEFINITIONS: &[u8] = br#"{
    "segments": [
        { "id": "all", "name": "All", "rule": "true" },
        { "id": "herd", "name": "Herd", "rule": "true" },
        { "id": "steady", "name": "Steady", "rule": "true" }
    ],
    "flows": [
        { "id": "wait", "name": "Wait", "segment": "all", "trigger": { "event": "wait" }, "steps": [
            { "id": "pause", "step_order": 1, "step_type": "WAIT", "config": { "duration_days": 365 } },
            { "id": "end", "step_order": 2, "step_type": "EXIT", "config": {} } ] },
        { "id": "herd", "name": "Herd", "segment": "herd", "trigger": { "event": "herd" }, "steps": [
            { "id": "pause", "step_order": 1, "step_type": "WAIT", "config": { "duration": "20h" } },
            { "id": "mail", "step_order": 2, "step_type": "SEND_EMAIL", "config": {
                "subject": "{{ flow.id }} {{ enrollment.started_at }}", "text": "It is time, {{ customer.id }}." } } ] },
        { "id": "steady", "name": "Steady", "segment": "steady", "trigger": { "event": "steady" }, "steps": [
            { "id": "pause", "step_order": 1, "step_type": "WAIT", "config": { "duration": "2s" } },
            { "id": "mail", "step_order": 2, "step_type": "SEND_EMAIL", "config": {
                "subject": "{{ flow.id }} {{ enrollment.started_at }}", "text": "It is time, {{ customer.id }}." } } ] }
    ]
}"#;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Enrollments that wait for a year.
    pub waiting: u64,
    /// Enrollments that are due in one second.
    pub herd: u64,
    /// Timers per second of the steady stream.
    pub rate: u64,
    /// How long it goes on.
    pub seconds: u64,
}

/// The figures of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Timers {
    /// `timers`.
    pub scenario: &'static str,
    /// What it ran on.
    #[serde(flatten)]
    pub ground: Ground,
    /// Enrollments that wait, due over a year.
    pub waiting: u64,
    /// Of them per second: customer, event, enrollment, timer.
    pub registered_per_s: f64,
    /// What the process has in memory once all of them wait.
    pub waiting_rss_mib: Option<f64>,
    /// Enrollments due at one instant.
    pub herd: u64,
    /// Of them per second: due, durably requested, rendered, handed to the channel.
    pub herd_drained_per_s: f64,
    /// Events while the herd was worked off: from when each was to come to its answer.
    pub event: Spread,
    /// Timers per second of the steady stream, as asked for.
    pub rate: u64,
    /// How much later than due a steady timer fired.
    pub lateness: Spread,
    /// How much later than due its message was handed to the channel: fired, durable, rendered.
    pub handed: Spread,
    /// Timers that fired before they were due; there must be none.
    pub early: u64,
    /// Bytes of the data directory at the end.
    pub disk_bytes: u64,
    /// Bytes that the process had written to the file system for all this.
    pub written_bytes: Option<u64>,
    /// The most memory that the process had.
    pub rss_mib: Option<f64>,
}

/// Runs the scenario in a directory of its own at `place`, which is removed afterwards.
pub fn timers(place: Place<'_>, scale: Scale) -> Result<Timers, Error> {
    let customers = scale.waiting + scale.herd + scale.rate * scale.seconds;
    at_most("customers, those of the steady stream among them", load::ANYWHERE, customers)?;
    let scratch = Scratch::new(place)?;
    let ground = Ground::of(&scratch);
    let clock = Arc::new(Shifted::default());
    let fired = Arc::new(Fired::new(Arc::clone(&clock)));
    let shifted: Arc<dyn Clock> = Arc::<Shifted>::clone(&clock);
    let options = Options { clock: shifted, clock_check: ClockCheck::Trust, ..scratch.options() };
    let channels = Channels::all(Noting(Arc::clone(&fired)));
    let data = scratch.data("data")?;
    let onward = Onward::open_with(&data, &channels, &options)?;
    onward.publish(&[("bench", DEFINITIONS)])?.wait()?;
    let registered = register(&onward, &clock, 0..scale.waiting, scale.waiting)?;
    let waiting_rss_mib = machine::rss_mib();
    let (drained, event) = herd(&onward, &clock, &fired, scale)?;
    let (lateness, handed) = steady(&onward, &fired, scale)?;
    onward.close()?;
    let disk_bytes = machine::bytes_of(&data);
    Ok(Timers {
        scenario: "timers",
        ground,
        waiting: scale.waiting,
        registered_per_s: rate(scale.waiting, registered),
        waiting_rss_mib,
        herd: scale.herd,
        herd_drained_per_s: rate(scale.herd, drained),
        event,
        rate: scale.rate,
        lateness,
        handed,
        early: fired.early.load(Ordering::Acquire),
        disk_bytes,
        written_bytes: machine::written_bytes(),
        rss_mib: machine::peak_rss_mib(),
    })
}

/// Lets a herd be due at once; seconds until the last message is handed over, and how long events
/// took meanwhile.
fn herd(
    onward: &Onward,
    clock: &Shifted,
    fired: &Fired,
    scale: Scale,
) -> Result<(f64, Spread), Error> {
    // Their waits begin within one second of the engine's time, however long it takes to send them in.
    clock.stop();
    closed_loop((0..scale.herd).flat_map(|n| {
        let id = load::anywhere(n + scale.waiting);
        [
            onward.upsert_customer(load::customer(id, ATTRIBUTE_BYTES)),
            onward.track(load::event("herd", n, id, 0)),
        ]
    }))?;
    clock.go_on();
    clock.forward(HERD_WAIT.micros());
    let started = SystemClock.now();
    let event = reading(|answers| {
        let pace = Pace::of(PROBES_PER_S);
        let mut moved = (fired.count(), started);
        for n in 0.. {
            if fired.count() >= scale.herd {
                break;
            }
            let event = load::event("probe", n, n, 0);
            let (due, ticket) = pace.call(n, || onward.track(event.clone()))?;
            answers.note(due, ticket);
            let now = SystemClock.now();
            if fired.count() > moved.0 {
                moved = (fired.count(), now);
            } else if now.since(moved.1) > STUCK_AFTER {
                return Err(Error::Incomplete { done: fired.count(), expected: scale.herd });
            }
        }
        answers.spread()
    })?;
    Ok((fired.last().since(started).to_std().as_secs_f64(), event))
}

/// Sends in so many a second; how late their timers fired and their messages were handed over.
fn steady(onward: &Onward, fired: &Fired, scale: Scale) -> Result<(Spread, Spread), Error> {
    let (events, before) = (scale.rate * scale.seconds, fired.count());
    fired.clear();
    let pace = Pace::of(scale.rate);
    for n in 0..events {
        let id = load::anywhere(n + scale.waiting + scale.herd);
        let event = load::event("steady", n, id, 0);
        let customer = load::customer(id, 0);
        let (_, _) = pace.call(n, || onward.upsert_customer(customer.clone()))?;
        let (_, _) = pace.call(n, || onward.track(event.clone()))?;
    }
    let mut moved = (fired.count(), SystemClock.now());
    while fired.count() < before + events {
        let now = SystemClock.now();
        if fired.count() > moved.0 {
            moved = (fired.count(), now);
        } else if now.since(moved.1) > STUCK_AFTER {
            return Err(Error::Incomplete { done: fired.count() - before, expected: events });
        }
        let _ = never::<()>().recv_timeout(LOOK_EVERY).is_ok();
    }
    let spans = std::mem::take(&mut *fired.spans.lock().expect("no holder of this lock panics"));
    let late = Spread::of(spans.iter().map(|(late, _)| *late));
    Ok((late, Spread::of(spans.iter().map(|(_, handed)| *handed))))
}

/// What the messages say about the timers that sent them.
#[derive(Debug)]
struct Fired {
    clock: Arc<Shifted>,
    count: AtomicU64,
    early: AtomicU64,
    /// When the last one was handed over, on the machine's clock.
    last: AtomicI64,
    /// How late each fired and was handed over.
    spans: Mutex<Vec<(Span, Span)>>,
}

impl Fired {
    fn new(clock: Arc<Shifted>) -> Self {
        let (count, early) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { clock, count, early, last: AtomicI64::new(0), spans: Mutex::new(Vec::new()) }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    fn last(&self) -> Timestamp {
        Timestamp::from_micros(self.last.load(Ordering::Acquire)).unwrap_or(Timestamp::EPOCH)
    }

    fn clear(&self) {
        self.spans.lock().expect("no holder of this lock panics").clear();
    }

    /// A message whose subject says for which flow its wait began, and when.
    fn note(&self, message: &Message) {
        let Content::Email { subject, .. } = &message.content else { return };
        let Some((flow, began)) = subject.split_once(' ') else { return };
        let Ok(began) = Timestamp::parse(began) else { return };
        let due = began.plus(if flow == "herd" { HERD_WAIT } else { STEADY_WAIT });
        self.early.fetch_add(u64::from(message.time < due), Ordering::AcqRel);
        let late = (message.time.since(due), self.clock.now().since(due));
        self.spans.lock().expect("no holder of this lock panics").push(late);
        self.last.store(SystemClock.now().micros(), Ordering::Release);
        self.count.fetch_add(1, Ordering::AcqRel);
    }
}

/// Notes every message.
struct Noting(Arc<Fired>);

impl Channel for Noting {
    fn name(&self) -> &'static str {
        "noting"
    }

    fn send(&self, message: Arc<Message>) -> Sending<'_> {
        self.0.note(&message);
        Box::pin(std::future::ready(sent()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_herd_and_of_the_stream_fire_and_none_early() {
        let parent = tempfile::tempdir().unwrap();
        let scale = Scale { waiting: 40, herd: 30, rate: 20, seconds: 1 };
        let figures = timers(Place::tested(parent.path()), scale).unwrap();
        assert_eq!((figures.waiting, figures.herd, figures.early), (40, 30, 0));
        assert!(figures.lateness.max_ms <= figures.handed.max_ms);
        assert!(figures.herd_drained_per_s > 0.0 && figures.disk_bytes > 0);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
