//! Events that enrol nobody, the same with a payload that is stored in full, and events that each
//! enrol their customer into a wait of a year.

use serde::Serialize;

use super::{
    Error, Place, Scratch,
    floor::{self, Floors},
    load::{self, closed_loop},
    machine::{self, Ground},
    rate, seconds_since,
};
use crate::{
    Onward, Options,
    app::SystemClock,
    base::{Clock, Lsn},
    delivery::Channels,
};

/// Events that come from one customer, where they enrol nobody.
const EVENTS_EACH: u64 = 10;
/// Bytes of properties where no payload is to be stored.
const SMALL_BYTES: usize = 25;

const DEFINITIONS: &[u8] = br#"{
    "segments": [{ "id": "all", "name": "All", "rule": "true" }],
    "flows": [{ "id": "wait", "name": "Wait", "segment": "all",
        "trigger": { "event": "signup", "filter": "event.properties.plan == 'free'" },
        "steps": [
            { "id": "pause", "step_order": 1, "step_type": "WAIT", "config": { "duration_days": 365 } },
            { "id": "end", "step_order": 2, "step_type": "EXIT", "config": {} }
        ] }]
}"#;

/// The figures of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Ingest {
    /// `ingest`.
    pub scenario: &'static str,
    /// What it ran on.
    #[serde(flatten)]
    pub ground: Ground,
    /// Events of each of the three kinds.
    pub events: u64,
    /// Into how many partitions the customers are shared.
    pub partitions: u16,
    /// Bytes of the properties that are stored.
    pub payload_bytes: usize,
    /// Events per second that enrol nobody and have hardly any properties.
    pub idle_events_per_s: f64,
    /// Events per second with the payload.
    pub stored_events_per_s: f64,
    /// Events per second that each enrol a customer of their own.
    pub enrolling_events_per_s: f64,
    /// Records per second of the last kind: the event, the enrollment, the wait.
    pub records_per_s: f64,
    /// Records of the last kind without an engine, in this run.
    #[serde(flatten)]
    pub floors: Floors,
    /// Processor time of the caller over all three: making events, reading them, handing them over.
    pub generator_cpu_s: Option<f64>,
    /// The most memory that the process had up to the last event.
    pub rss_mib: Option<f64>,
}

/// Runs the scenario in directories of its own below `parent`, which are removed afterwards.
pub fn ingest(
    place: Place<'_>,
    events: u64,
    payload: usize,
    partitions: u16,
) -> Result<Ingest, Error> {
    let scratch = Scratch::new(place)?;
    let ground = Ground::of(&scratch);
    let cpu = machine::thread_cpu_seconds();
    let run = |name: &str, kind: &Kind| part(&scratch, name, (events, partitions), kind);
    let idle =
        Kind { event: "visit", customers: events.div_ceil(EVENTS_EACH), payload: SMALL_BYTES };
    let (idle, _) = run("idle", &idle)?;
    let stored = Kind { event: "visit", customers: events.div_ceil(EVENTS_EACH), payload };
    let (stored, _) = run("stored", &stored)?;
    let enrolling = Kind { event: "signup", customers: events, payload: SMALL_BYTES };
    let (enrolling, before) = run("enrolling", &enrolling)?;
    let cpu = machine::thread_cpu_seconds().zip(cpu).map(|(after, before)| after - before);
    let rss_mib = machine::peak_rss_mib();
    let bare = floor::Bare::read_all(&scratch.join("enrolling"), &before)?;
    if bare.count() != 3 * events {
        return Err(Error::Incomplete { done: bare.count() / 3, expected: events });
    }
    let records_per_s = rate(bare.count(), enrolling);
    Ok(Ingest {
        scenario: "ingest",
        ground,
        partitions,
        events,
        payload_bytes: payload,
        idle_events_per_s: rate(events, idle),
        stored_events_per_s: rate(events, stored),
        enrolling_events_per_s: rate(events, enrolling),
        records_per_s,
        floors: Floors::measure(&scratch, &bare, records_per_s)?,
        generator_cpu_s: cpu,
        rss_mib,
    })
}

struct Kind {
    event: &'static str,
    customers: u64,
    payload: usize,
}

/// Sends the events of one kind in; seconds until the last is durable, and the last record before.
fn part(
    scratch: &Scratch,
    name: &str,
    (events, partitions): (u64, u16),
    kind: &Kind,
) -> Result<(f64, Vec<Lsn>), Error> {
    let options = Options { partitions: Some(partitions), ..scratch.options() };
    let onward = Onward::open_with(&scratch.join(name), &Channels::all(load::Nothing), &options)?;
    onward.publish(&[("bench", DEFINITIONS)])?.wait()?;
    let before = load::latest(&onward)?;
    let started = SystemClock.now();
    let event =
        |n: u64| load::event(kind.event, n, load::anywhere(n % kind.customers), kind.payload);
    closed_loop((0..events).map(|n| onward.track(event(n))))?;
    let seconds = seconds_since(started);
    onward.close()?;
    Ok((seconds, before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_recorded_and_nothing_is_left_behind() {
        let parent = tempfile::tempdir().unwrap();
        let figures = ingest(Place::tested(parent.path()), 30, 200, 2).unwrap();
        assert_eq!((figures.events, figures.payload_bytes), (30, 200));
        assert!(figures.enrolling_events_per_s > 0.0 && figures.floors.ratio_to_floor > 0.0);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
