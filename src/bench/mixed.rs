//! Everything at once for a long time, at half of what goes: whether memory and latency stay flat,
//! and what the file grows by.

use std::{path::Path, thread};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde::Serialize;

use super::{
    Error, Place, Scratch, Spread, float, floor,
    load::{self, ATTRIBUTE_BYTES, PAYLOAD_BYTES, closed_loop},
    machine::{self, Ground},
    pace::Pace,
    spread::Spans,
    throughput, timers,
};
use crate::{
    Onward, Ticket,
    app::SystemClock,
    base::{Clock, Timestamp},
    delivery::Channels,
    machine::input::Answer,
};

/// Events with which the greatest rate is looked for.
const TRIAL: u64 = 40_000;
/// Answers that nobody has looked at yet, at most.
const UNREAD: usize = 1 << 16;
/// Into how many parts the time is divided; the first and the last are compared.
const PARTS: u64 = 4;
/// Of as many calls two make a customer, one sends a customer through the welcome series, one lets a
/// customer wait for a year, two are events with a payload, the rest hardly have any.
const CYCLE: u64 = 10;
/// The first call of them that begins a series.
const SIGNUP: u64 = 2;

/// The figures of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Mixed {
    /// `mixed`.
    pub scenario: &'static str,
    /// What it ran on.
    #[serde(flatten)]
    pub ground: Ground,
    /// How long calls came.
    pub seconds: u64,
    /// Calls per second: as asked for, or half of what a trial before it came to.
    pub rate: u64,
    /// Calls in all.
    pub calls: u64,
    /// Enrollments through the welcome series, all of which ended.
    pub ended: u64,
    /// The first part of the time.
    pub early: Part,
    /// The last part of the time.
    pub late: Part,
    /// Memory in the last part as a multiple of the first.
    pub rss_growth: Option<f64>,
    /// Half of the calls: the last part as a multiple of the first.
    pub p50_growth: f64,
    /// One call in a hundred: the last part as a multiple of the first.
    pub p99_growth: f64,
    /// By how much the directory grew.
    pub grown_bytes: u64,
    /// Bytes of chunks in the log for it: the full history is kept.
    pub log_bytes: u64,
    /// By how much the directory grew as a multiple of that.
    pub grown_ratio: f64,
    /// The most memory that the process had.
    pub rss_mib: Option<f64>,
}

/// What a part of the time came to.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Part {
    /// From when a call was to be made to its answer.
    pub answered: Spread,
    /// Memory at its end.
    pub rss_mib: Option<f64>,
    /// Bytes of the directory at its end.
    pub disk_bytes: u64,
}

/// Runs the scenario in a directory of its own at `place`, which is removed afterwards. Without
/// a rate it is half of what a short trial comes to.
pub fn mixed(place: Place<'_>, seconds: u64, rate: Option<u64>) -> Result<Mixed, Error> {
    let scratch = Scratch::new(place)?;
    let ground = Ground::of(&scratch);
    let rate = match rate {
        Some(rate) => rate,
        None => trial(&scratch)?,
    };
    let data = scratch.data("data")?;
    let calls = rate * seconds;
    let onward = open(&data, &scratch)?;
    let before = onward.engine().query(|it| Ok(it.memory().latest))?.wait()?;
    let empty = machine::bytes_of(&data);
    let parts = run(&onward, &data, rate, calls)?;
    let ended = series_in(calls);
    throughput::wait_for_the_end(&onward, ended)?;
    onward.close()?;
    let grown_bytes = machine::bytes_of(&data).saturating_sub(empty);
    let log_bytes = floor::Bare::read(&data, before)?.chunk_bytes;
    let (early, late) = match (parts.first(), parts.last()) {
        (Some(early), Some(late)) => (*early, *late),
        _ => return Err(Error::Incomplete { done: 0, expected: ended }),
    };
    Ok(Mixed {
        scenario: "mixed",
        ground,
        seconds,
        rate,
        calls,
        ended,
        early,
        late,
        rss_growth: late.rss_mib.zip(early.rss_mib).map(|(late, early)| late / early),
        p50_growth: late.answered.p50_ms / early.answered.p50_ms,
        p99_growth: late.answered.p99_ms / early.answered.p99_ms,
        grown_bytes,
        log_bytes,
        grown_ratio: float(grown_bytes) / float(log_bytes.max(1)),
        rss_mib: machine::peak_rss_mib(),
    })
}

fn open(data: &Path, scratch: &Scratch) -> Result<Onward, Error> {
    let channels = Channels::all(load::Nothing);
    let onward = Onward::open_with(data, &channels, &scratch.options())?;
    let documents = [("series", throughput::DEFINITIONS), ("waits", timers::DEFINITIONS)];
    onward.publish(&documents)?.wait()?;
    Ok(onward)
}

/// Half of the rate at which so many calls go.
fn trial(scratch: &Scratch) -> Result<u64, Error> {
    let data = scratch.data("trial")?;
    let onward = open(&data, scratch)?;
    let started = SystemClock.now();
    closed_loop((0..TRIAL).map(|n| call(&onward, n)))?;
    throughput::wait_for_the_end(&onward, series_in(TRIAL))?;
    let taken = SystemClock.now().since(started);
    onward.close()?;
    std::fs::remove_dir_all(&data).map_err(|source| Error::Directory { path: data, source })?;
    let micros = u64::try_from(taken.micros()).unwrap_or(1).max(1);
    Ok((TRIAL * 1_000_000 / micros / 2).max(1))
}

/// How many of so many calls begin a series.
const fn series_in(calls: u64) -> u64 {
    (calls + CYCLE - 1 - SIGNUP) / CYCLE
}

/// The n-th call.
fn call(onward: &Onward, n: u64) -> Result<Ticket<Answer>, crate::Error> {
    // Two customers, of whom one goes through the series and one waits.
    let new = |n: u64| load::anywhere(n);
    let known = load::anywhere(n / 2);
    match n % CYCLE {
        0 | 1 => onward.upsert_customer(load::customer(new(n), ATTRIBUTE_BYTES)),
        SIGNUP => onward.track(load::event("signup", n, new(n - SIGNUP), PAYLOAD_BYTES)),
        3 => onward.track(load::event("wait", n, new(n - 2), 0)),
        4 | 5 => onward.track(load::event("browse", n, known, PAYLOAD_BYTES)),
        _ => onward.track(load::event("visit", n, known, 0)),
    }
}

/// Makes the calls, whether or not the engine keeps up, and looks at it after each part of them.
fn run(onward: &Onward, data: &Path, rate: u64, calls: u64) -> Result<Vec<Part>, Error> {
    let (asked, answers) = bounded(UNREAD);
    let (told, spans) = bounded(0);
    thread::scope(move |scope| {
        // The reader ends when nobody asks any more, and nobody waits for it before.
        let asked = asked;
        scope.spawn(move || read(&answers, &told));
        let pace = Pace::of(rate);
        (1..=PARTS)
            .map(|part| {
                let (from, to) = (calls * (part - 1) / PARTS, calls * part / PARTS);
                for n in from..to {
                    let due = pace.wait(n);
                    ask(&asked, Asked::Call(due, pace.taken(call(onward, n))?));
                }
                ask(&asked, Asked::Spread);
                let answered = spans.recv().unwrap_or_else(|_| Ok(Spread::default()))?;
                Ok(Part {
                    answered,
                    rss_mib: machine::rss_mib(),
                    disk_bytes: machine::bytes_of(data),
                })
            })
            .collect()
    })
}

/// What is read on a thread of its own, so that nobody waits for an answer before the next call.
enum Asked {
    /// A call and when it was to be made.
    Call(Timestamp, Ticket<Answer>),
    /// How long the calls since the last one took.
    Spread,
}

fn ask(asked: &Sender<Asked>, it: Asked) {
    // The reader outlives every question.
    let _ = asked.send(it).is_ok();
}

fn read(answers: &Receiver<Asked>, told: &Sender<Result<Spread, crate::Error>>) {
    let (mut spans, mut failed) = (Spans::new(), None);
    for asked in answers {
        match asked {
            Asked::Call(due, ticket) => match ticket.wait() {
                Ok(_) => spans.add(SystemClock.now().since(due)),
                Err(error) => failed = Some(error),
            },
            Asked::Spread => {
                let seen = std::mem::replace(&mut spans, Spans::new());
                let spread = failed.take().map_or_else(|| Ok(seen.spread()), Err);
                let _ = told.send(spread).is_ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_goes_through_and_both_ends_are_compared() {
        let parent = tempfile::tempdir().unwrap();
        let figures = mixed(Place::tested(parent.path()), 1, Some(100)).unwrap();
        assert_eq!((figures.calls, figures.ended), (100, 10));
        assert!(figures.early.answered.p50_ms > 0.0 && figures.p99_growth > 0.0);
        // The file grows by whole segments, so that it may be as large as before.
        assert!(figures.log_bytes > 0);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
