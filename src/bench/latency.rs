//! From an event to its first message, while events come whether or not the engine keeps up: the
//! clock of each event starts when it was to be sent, not when the caller got round to it.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::never;
use serde::Serialize;

use super::{
    Error, Place, Scratch, Spread, at_most,
    floor::{self, owned},
    load::{self, sent},
    machine::{self, Ground},
    pace::Pace,
    throughput,
};
use crate::{
    Onward, Options,
    app::SystemClock,
    base::{Clock, Limits, Span, Timestamp},
    delivery::{Channel, Channels, Message, Sending},
    store::{ChunkBuilder, Directory, Group, LocalLog, Log, Store},
};

/// Checkpoints during a run, at least, so that what they cost is in the figures.
const CHECKPOINTS: u64 = 4;
/// Records that an event causes: itself, the enrollment, request, outcome, exit.
const RECORDS_EACH: u64 = 5;
/// Events, each of which is remembered until the end.
const EVENTS_MAX: u64 = 20_000_000;
/// Appends of one chunk for the baseline.
const APPENDS: usize = 500;
const APPEND_BYTES: usize = 200;
/// How long nothing may leave before the run counts as stuck.
const STUCK_AFTER: Span = Span::seconds(60);
const LOOK_EVERY: Duration = Duration::from_millis(2);

const DEFINITIONS: &[u8] = br#"{
    "segments": [{ "id": "all", "name": "All", "rule": "true" }],
    "flows": [{ "id": "hello", "name": "Hello", "segment": "all",
        "trigger": { "event": "signup", "filter": "event.properties.plan == 'free'" },
        "steps": [{ "id": "mail", "step_order": 1, "step_type": "SEND_EMAIL", "config": {
            "subject": "Welcome, {{ customer.id }}", "text": "You chose {{ trigger.properties.plan }}." } }
        ] }]
}"#;

/// The figures of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    /// `latency`.
    pub scenario: &'static str,
    /// What it ran on.
    #[serde(flatten)]
    pub ground: Ground,
    /// Events per second, as asked for.
    pub rate: u64,
    /// Events in all; each sends one message.
    pub events: u64,
    /// Records between two checkpoints.
    pub checkpoint_records: u64,
    /// From when an event was to be sent in to when its message was handed to its channel.
    pub latency: Spread,
    /// The longest time between two messages while events came.
    pub longest_gap_ms: f64,
    /// Checkpoints that were written meanwhile.
    pub checkpoints: usize,
    /// The longest time between two messages that is within one of them, wholly or in part.
    pub longest_checkpoint_stall_ms: f64,
    /// Appending one chunk of 200 bytes to the same kind of store, synced, in this run.
    pub append: Spread,
    /// Half of the messages took so many times as long as half of the appends.
    pub ratio_p50: f64,
    /// The same of one in a hundred.
    pub ratio_p99: f64,
    /// The most memory that the process had.
    pub rss_mib: Option<f64>,
}

/// Runs the scenario in a directory of its own at `place`, which is removed afterwards.
pub fn latency(place: Place<'_>, rate: u64, seconds: u64) -> Result<Latency, Error> {
    let events = rate * seconds;
    at_most("events, which are so many a second for so long", EVENTS_MAX, events)?;
    let scratch = Scratch::new(place)?;
    let ground = Ground::of(&scratch);
    let checkpoint_records = (events * RECORDS_EACH / CHECKPOINTS).max(1);
    let append = Spread::of(appends(&scratch.data("append")?)?);
    let limits = Limits { checkpoint_records, ..scratch.limits.clone() };
    let options = Options { limits, ..scratch.options() };
    let Ran { handed, checkpoints } = run(&scratch.data("data")?, (rate, events), &options)?;
    let latency = Spread::of(handed.iter().map(|(due, at)| at.since(*due)));
    let mut instants: Vec<Timestamp> = handed.iter().map(|(_, at)| *at).collect();
    instants.sort_unstable();
    Ok(Latency {
        scenario: "latency",
        ground,
        rate,
        events,
        checkpoint_records,
        latency,
        longest_gap_ms: longest_ms(&instants, |_| true),
        checkpoints: checkpoints.len(),
        longest_checkpoint_stall_ms: longest_ms(&instants, |gap| {
            checkpoints.iter().any(|it| overlap(*it, gap))
        }),
        append,
        ratio_p50: latency.p50_ms / append.p50_ms,
        ratio_p99: latency.p99_ms / append.p99_ms,
        rss_mib: machine::peak_rss_mib(),
    })
}

/// When each event was to be sent in, and when its message was handed over.
type Handed = Vec<(Timestamp, Timestamp)>;
/// From when until when.
type Period = (Timestamp, Timestamp);

const fn overlap(one: Period, other: Period) -> bool {
    one.0.micros() < other.1.micros() && other.0.micros() < one.1.micros()
}

/// The longest time between two instants that follow each other, of those that count.
fn longest_ms(instants: &[Timestamp], counts: impl Fn(Period) -> bool) -> f64 {
    let gaps = instants.iter().copied().zip(instants.iter().copied().skip(1));
    let longest = gaps.filter(|gap| counts(*gap)).map(|(from, to)| to.since(from)).max();
    longest.unwrap_or(Span::ZERO).to_std().as_secs_f64() * 1_000.0
}

struct Ran {
    handed: Handed,
    checkpoints: Vec<Period>,
}

fn run(data: &Path, (rate, events): (u64, u64), options: &Options) -> Result<Ran, Error> {
    let stamps = Arc::new(Stamps((0..events).map(|_| AtomicI64::new(0)).collect()));
    let onward = Onward::open_with(data, &Channels::all(Stamping(Arc::clone(&stamps))), options)?;
    onward.publish(&[("bench", DEFINITIONS)])?.wait()?;
    throughput::make_customers(&onward, 0..events)?;
    let tally = onward.engine().tally();
    let (mut checkpoints, mut began) = (Vec::new(), None);
    let pace = Pace::of(rate);
    for n in 0..events {
        let event = load::event("signup", n, n, load::PAYLOAD_BYTES);
        // Whoever does not keep up is not helped by waiting: the answer is not asked for.
        let (_, _) = pace.call(n, || onward.track(event.clone()))?;
        if tally.is_checkpointing() {
            began.get_or_insert_with(|| SystemClock.now());
        } else if let Some(began) = began.take() {
            checkpoints.push((began, SystemClock.now()));
        }
    }
    stamps.wait_for_all(events)?;
    checkpoints.extend(began.map(|began| (began, SystemClock.now())));
    onward.close()?;
    let handed = stamps.0.iter().zip(0..).map(|(stamp, n)| (pace.due(n), at(stamp))).collect();
    Ok(Ran { handed, checkpoints })
}

fn at(stamp: &AtomicI64) -> Timestamp {
    Timestamp::from_micros(stamp.load(Ordering::Acquire)).unwrap_or(Timestamp::EPOCH)
}

/// When the message to each customer was handed over; zero: not yet.
#[derive(Debug)]
struct Stamps(Vec<AtomicI64>);

impl Stamps {
    fn wait_for_all(&self, expected: u64) -> Result<(), Error> {
        let count = || self.0.iter().filter(|it| it.load(Ordering::Acquire) != 0).count();
        let (mut before, mut moved) = (0, SystemClock.now());
        while before < self.0.len() {
            let done = count();
            if done > before {
                (before, moved) = (done, SystemClock.now());
            } else if SystemClock.now().since(moved) > STUCK_AFTER {
                let done = u64::try_from(done).unwrap_or(u64::MAX);
                return Err(Error::Incomplete { done, expected });
            }
            let _ = never::<()>().recv_timeout(LOOK_EVERY).is_ok();
        }
        Ok(())
    }
}

/// Notes when each message is handed over.
struct Stamping(Arc<Stamps>);

impl Channel for Stamping {
    fn name(&self) -> &'static str {
        "stamping"
    }

    fn send(&self, message: Arc<Message>) -> Sending<'_> {
        let number = message.customer.as_str().strip_prefix('c').and_then(|it| it.parse().ok());
        let stamp = number.and_then(|number: usize| self.0.0.get(number));
        stamp.into_iter().for_each(|it| it.store(SystemClock.now().micros(), Ordering::Release));
        Box::pin(std::future::ready(sent()))
    }
}

/// How long it takes to append one small chunk and sync.
fn appends(dir: &Path) -> Result<Vec<Span>, Error> {
    let store: Arc<dyn Store> = Directory::open(dir)?.store();
    let log = LocalLog::new(store, floor::PARTITION);
    let mut fold = owned();
    let mut spans = Vec::with_capacity(APPENDS);
    for _ in 0..APPENDS {
        let mut open = ChunkBuilder::new(Timestamp::EPOCH);
        open.push(Timestamp::EPOCH, 1, 1, &[0x5a; APPEND_BYTES]);
        let (position, bytes) = fold.seal(open, Group::Ends);
        let started = SystemClock.now();
        if log.submit(position, &bytes)? == crate::store::Inserted::Occupied {
            return Err(crate::store::Error::Conflict { position }.into());
        }
        log.sync()?;
        spans.push(SystemClock.now().since(started));
    }
    Ok(spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_within_a_checkpoint_in_part_at_least() {
        let at = |ms: i64| Timestamp::EPOCH.plus(Span::millis(ms));
        let instants = [0, 10, 11, 15, 16].map(at);
        assert_eq!(longest_ms(&instants, |_| true), 10.0);
        let within = |from, to| longest_ms(&instants, |gap| overlap((at(from), at(to)), gap));
        assert_eq!((within(10, 12), within(9, 12), within(16, 20)), (4.0, 10.0, 0.0));
    }

    #[test]
    fn every_message_has_its_time_and_nothing_is_left_behind() {
        let parent = tempfile::tempdir().unwrap();
        let figures = latency(Place::tested(parent.path()), 50, 1).unwrap();
        assert_eq!((figures.rate, figures.events), (50, 50));
        assert!(figures.latency.p50_ms > 0.0 && figures.latency.p50_ms <= figures.latency.max_ms);
        assert!(figures.longest_checkpoint_stall_ms <= figures.longest_gap_ms);
        assert!(figures.append.p50_ms > 0.0 && figures.ratio_p50 > 0.0);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
