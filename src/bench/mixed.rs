//! Everything at once for a long time, at half of what goes: whether memory and latency stay flat,
//! and what the file grows by.

use std::path::Path;

use serde::Serialize;

use super::{
    Error, Place, Scratch, Spread,
    answers::reading,
    at_most, float, floor,
    load::{self, ATTRIBUTE_BYTES, PAYLOAD_BYTES, closed_loop},
    machine::{self, Ground},
    pace::Pace,
    throughput, timers,
};
use crate::{
    Onward, Ticket, app::SystemClock, base::Clock, delivery::Channels, machine::input::Answer,
};

/// Calls with which the greatest rate is looked for. Only the second half of them counts: the customers
/// of the first are as many as the cache holds, and as long as it has room, calls go at a rate that
/// half of was more than a minute could keep up.
const TRIAL: u64 = 3_000_000;
/// Into how many parts the time is divided; the first and the last are compared.
const PARTS: u64 = 4;
/// Of as many calls two make a customer each, one sends the first through the welcome series, one lets
/// the second wait for a year, and six are events of one that is known, two of them with a payload.
const CYCLE: u64 = 10;
const NEWCOMERS: u64 = 2;
/// More would be customers that there are already.
const CALLS_MAX: u64 = load::ANYWHERE / NEWCOMERS * CYCLE;
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
/// a rate it is half of what a trial comes to.
pub fn mixed(place: Place<'_>, seconds: u64, rate: Option<u64>) -> Result<Mixed, Error> {
    let calls_of = |rate: u64| {
        let calls = rate * seconds;
        at_most("calls, which are so many a second for so long", CALLS_MAX, calls).map(|()| calls)
    };
    calls_of(rate.unwrap_or_default())?;
    let scratch = Scratch::new(place)?;
    let ground = Ground::of(&scratch);
    let rate = match rate {
        Some(rate) => rate,
        None => trial(&scratch)?,
    };
    let data = scratch.data("data")?;
    let calls = calls_of(rate)?;
    let onward = open(&data, &scratch)?;
    let before = load::latest_of(onward.engine())?;
    let empty = machine::bytes_of(&data);
    let parts = run(&onward, &data, rate, calls)?;
    let ended = series_in(calls);
    throughput::wait_for_the_end(&onward, ended)?;
    onward.close()?;
    let grown_bytes = machine::bytes_of(&data).saturating_sub(empty);
    let rss_mib = machine::peak_rss_mib();
    let log_bytes = floor::Bare::count_in(&data, before)?.chunk_bytes;
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
        rss_mib,
    })
}

fn open(data: &Path, scratch: &Scratch) -> Result<Onward, Error> {
    let channels = Channels::all(load::Nothing);
    let onward = Onward::open_with(data, &channels, &scratch.options())?;
    let documents = [("series", throughput::DEFINITIONS), ("waits", timers::DEFINITIONS)];
    onward.publish(&documents)?.wait()?;
    Ok(onward)
}

/// Half of the rate at which calls go once the cache is full.
fn trial(scratch: &Scratch) -> Result<u64, Error> {
    let data = scratch.data("trial")?;
    let onward = open(&data, scratch)?;
    closed_loop((0..TRIAL / 2).map(|n| call(&onward, n)))?;
    let started = SystemClock.now();
    closed_loop((TRIAL / 2..TRIAL).map(|n| call(&onward, n)))?;
    // The last of the series still wait for a second, in which nothing else is done.
    let taken = SystemClock.now().since(started);
    throughput::wait_for_the_end(&onward, series_in(TRIAL))?;
    onward.close()?;
    std::fs::remove_dir_all(&data).map_err(|source| Error::Directory { path: data, source })?;
    let micros = u64::try_from(taken.micros()).unwrap_or(1).max(1);
    Ok((TRIAL / 2 * 1_000_000 / micros / 2).max(1))
}

/// How many of so many calls begin a series.
const fn series_in(calls: u64) -> u64 {
    (calls + CYCLE - 1 - SIGNUP) / CYCLE
}

/// The n-th call.
fn call(onward: &Onward, n: u64) -> Result<Ticket<Answer>, crate::Error> {
    let (cycle, step) = (n / CYCLE, n % CYCLE);
    let signup = newcomer(cycle, 0);
    let waiter = newcomer(cycle, 1);
    match step {
        0 => onward.upsert_customer(load::customer(signup, ATTRIBUTE_BYTES)),
        1 => onward.upsert_customer(load::customer(waiter, ATTRIBUTE_BYTES)),
        SIGNUP => onward.track(load::event("signup", n, signup, PAYLOAD_BYTES)),
        3 => onward.track(load::event("wait", n, waiter, 0)),
        4 | 5 => onward.track(load::event("browse", n, known(cycle), PAYLOAD_BYTES)),
        _ => onward.track(load::event("visit", n, known(cycle), 0)),
    }
}

/// The customers that a cycle makes: the first goes through the series, the second waits.
const fn newcomer(cycle: u64, which: u64) -> u64 {
    load::anywhere(NEWCOMERS * cycle + which)
}

/// Somebody of the cycles up to this one, another for each of them, as likely one as the other.
const fn known(cycle: u64) -> u64 {
    let somewhere = load::anywhere(cycle);
    newcomer(somewhere % (cycle + 1), somewhere / 2 % NEWCOMERS)
}

/// Makes the calls, whether or not the engine keeps up, and looks at it after each part of them.
fn run(onward: &Onward, data: &Path, rate: u64, calls: u64) -> Result<Vec<Part>, Error> {
    reading(|answers| {
        let pace = Pace::of(rate);
        (1..=PARTS)
            .map(|part| {
                for n in calls * (part - 1) / PARTS..calls * part / PARTS {
                    let (due, ticket) = pace.call(n, || call(onward, n))?;
                    answers.note(due, ticket);
                }
                Ok(Part {
                    answered: answers.spread()?,
                    rss_mib: machine::rss_mib(),
                    disk_bytes: machine::bytes_of(data),
                })
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_known_was_made_before_and_may_be_anybody() {
        let made = |cycle: u64| [newcomer(cycle, 0), newcomer(cycle, 1)];
        let mut seen = std::collections::BTreeSet::new();
        for cycle in 0..1_000 {
            let known = known(cycle);
            assert!((0..=cycle).any(|it| made(it).contains(&known)), "{cycle}");
            seen.insert(known);
        }
        assert!(seen.len() > 500, "{}", seen.len());
    }

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
