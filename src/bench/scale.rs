//! What much of everything takes: many flows, a segment with many members, many event ids that are
//! remembered.

use std::{fmt::Write, ops::Range};

use serde::Serialize;

use super::{
    Error, Place, Scratch,
    disk::bytes_in,
    float,
    load::{self, closed_loop},
    machine::{self, Ground},
    rate, seconds_since, throughput,
};
use crate::{Onward, app::SystemClock, base::Clock, delivery::Channels, model::Event, store::Tree};

/// Events that start each flow.
const EVENTS_EACH: u64 = 10;
/// Events of members and others, at most.
const MEMBER_EVENTS_MAX: u64 = 100_000;
/// Flows in one document: how much may be published at once is bounded.
const PUBLISHED_AT_ONCE: u64 = 1_000;
/// Event ids of one customer.
const IDS_EACH: u64 = 10;
const MIB: f64 = 1024.0 * 1024.0;

/// How much there is of what.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Flows, each with a segment and an event of its own.
    pub flows: u64,
    /// Members of one segment.
    pub members: u64,
    /// Event ids that are remembered.
    pub ids: u64,
}

/// The figures of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Scale {
    /// `scale`.
    pub scenario: &'static str,
    /// What it ran on.
    #[serde(flatten)]
    pub ground: Ground,
    /// Flows, each with a segment and an event of its own.
    pub flows: u64,
    /// What it took to publish them and to keep them compiled.
    pub flows_published: Published,
    /// Events per second that each start one of them, for a customer of their own.
    pub flow_events_per_s: f64,
    /// Members of one segment.
    pub members: u64,
    /// What it took to publish that segment and to keep it.
    pub members_published: Published,
    /// Events per second of members, who are enrolled, and others, who are not, in turns.
    pub member_events_per_s: f64,
    /// From when a closed directory with all this is opened until an event is answered.
    pub ready_ms: f64,
    /// Event ids that are remembered, ten of each customer.
    pub ids: u64,
    /// Bytes of rows that a million ids take, in the store and in the cache, in MiB.
    pub row_mib_per_million_ids: f64,
    /// Bytes by which the directory is larger for a million ids, the full history included, in MiB.
    pub disk_mib_per_million_ids: f64,
    /// The most memory that the process had.
    pub rss_mib: Option<f64>,
}

/// What publishing took.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Published {
    /// Bytes of the documents.
    pub document_bytes: usize,
    /// Until all of it was in force.
    pub seconds: f64,
    /// By how much the memory of the process grew.
    pub rss_mib: Option<f64>,
}

/// Runs the scenario in directories of its own at `place`, which are removed afterwards.
pub fn scale(place: Place<'_>, sizes: Sizes) -> Result<Scale, Error> {
    let scratch = Scratch::new(place)?;
    let ground = Ground::of(&scratch);
    let Sizes { flows, members, ids } = sizes;
    let onward = open(&scratch, "definitions")?;
    let documents: Vec<_> = (0..flows.div_ceil(PUBLISHED_AT_ONCE))
        .map(|part| {
            flows_document(PUBLISHED_AT_ONCE * part..flows.min(PUBLISHED_AT_ONCE * (part + 1)))
        })
        .collect();
    let flows_published = publish(&onward, &documents)?;
    let starts = flows * EVENTS_EACH;
    throughput::make_customers(&onward, 0..starts)?;
    let event = |n| load::event(&flow_event(n % flows), n, n, 0);
    let flow_events_per_s = track(&onward, starts, event)?;
    load::expect(onward.engine(), starts, |flow| flow.enrolled)?;
    let members_published = publish(&onward, &[members_document(members)])?;
    let asked = 2 * members.min(MEMBER_EVENTS_MAX / 2);
    // Every other one is a member. Its number is its id, and some of them sent others before.
    let event = |n| load::event("member", starts + n, load::anywhere(n), 0);
    let member_events_per_s = track(&onward, asked, event)?;
    load::expect(onward.engine(), starts + asked / 2, |flow| flow.enrolled)?;
    onward.close()?;
    let closed = SystemClock.now();
    let onward = open(&scratch, "definitions")?;
    onward.track(load::event("member", starts + asked, 0, 0))?.wait()?;
    let ready_ms = seconds_since(closed) * 1_000.0;
    onward.close()?;
    let without = remember(&scratch, "without", ids, |event| Event { id: None, ..event })?;
    let with = remember(&scratch, "with", ids, |event| event)?;
    let millions = float(ids) / 1e6;
    let each = |with: u64, without: u64| float(with.saturating_sub(without)) / MIB / millions;
    Ok(Scale {
        scenario: "scale",
        ground,
        flows,
        flows_published,
        flow_events_per_s,
        members,
        members_published,
        member_events_per_s,
        ready_ms,
        ids,
        row_mib_per_million_ids: each(with.rows, without.rows),
        disk_mib_per_million_ids: each(with.disk, without.disk),
        rss_mib: machine::peak_rss_mib(),
    })
}

fn open(scratch: &Scratch, name: &str) -> Result<Onward, Error> {
    let channels = Channels::all(load::Nothing);
    Ok(Onward::open_with(&scratch.join(name), &channels, &scratch.options())?)
}

/// One document after the other.
fn publish(onward: &Onward, documents: &[String]) -> Result<Published, Error> {
    let (began, before) = (SystemClock.now(), machine::rss_mib());
    for document in documents {
        onward.publish(&[("scale", document.as_bytes())])?.wait()?;
    }
    Ok(Published {
        document_bytes: documents.iter().map(String::len).sum(),
        seconds: seconds_since(began),
        rss_mib: machine::rss_mib().zip(before).map(|(after, before)| after - before),
    })
}

/// Sends events in; how many a second until the last is durable.
fn track(onward: &Onward, count: u64, event: impl Fn(u64) -> Event) -> Result<f64, Error> {
    let began = SystemClock.now();
    closed_loop((0..count).map(|n| onward.track(event(n))))?;
    Ok(rate(count, seconds_since(began)))
}

fn flow_event(number: u64) -> String {
    format!("act-{number}")
}

/// Flows that send an e-mail and end, each with a segment that everybody is in.
fn flows_document(flows: Range<u64>) -> String {
    let segments = listed(flows.clone(), |n, out| {
        write!(out, r#"{{"id":"s{n}","name":"S","rule":"customer.id != 'nobody-{n}'"}}"#)
    });
    let flows = listed(flows, |n, out| {
        let event = flow_event(n);
        write!(
            out,
            r#"{{"id":"f{n}","name":"F","segment":"s{n}","trigger":{{"event":"{event}","filter":"event.properties.plan == 'free'"}},
            "steps":[{{"id":"mail","step_order":1,"step_type":"SEND_EMAIL","config":{{
                "subject":"Welcome, {{{{ customer.id }}}}","text":"Thank you for choosing {{{{ trigger.properties.plan }}}}."}}}},
            {{"id":"end","step_order":2,"step_type":"EXIT","config":{{}}}}]}}"#
        )
    });
    format!(r#"{{"segments":[{segments}],"flows":[{flows}]}}"#)
}

/// A segment of so many members, and a flow for them.
fn members_document(members: u64) -> String {
    let members = listed(0..members, |n, out| write!(out, r#""c{:08}""#, load::anywhere(2 * n)));
    format!(
        r#"{{"segments":[{{"id":"listed","name":"Listed","members":[{members}]}}],
        "flows":[{{"id":"listed","name":"Listed","segment":"listed","trigger":{{"event":"member"}},"entry":"every_time",
        "steps":[{{"id":"end","step_order":1,"step_type":"EXIT","config":{{}}}}]}}]}}"#
    )
}

fn listed(numbers: Range<u64>, one: impl Fn(u64, &mut String) -> std::fmt::Result) -> String {
    let mut list = String::new();
    for n in numbers {
        if !list.is_empty() {
            list.push(',');
        }
        one(n, &mut list).expect("a string takes text");
    }
    list
}

/// What a directory with events comes to.
struct Kept {
    rows: u64,
    disk: u64,
}

/// Sends so many events in, and looks at what is kept of them.
fn remember(
    scratch: &Scratch,
    name: &str,
    events: u64,
    as_sent: impl Fn(Event) -> Event,
) -> Result<Kept, Error> {
    let onward = open(scratch, name)?;
    let customers = events.div_ceil(IDS_EACH);
    track(&onward, events, |n| as_sent(load::event("visit", n, load::anywhere(n % customers), 0)))?;
    onward.close()?;
    let data = scratch.join(name);
    Ok(Kept { disk: machine::bytes_of(&data), rows: bytes_in(&data, Tree::Rows)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flow_starts_and_members_alone_are_enrolled() {
        let parent = tempfile::tempdir().unwrap();
        let sizes = Sizes { flows: 7, members: 30, ids: 100 };
        let figures = scale(Place::tested(parent.path()), sizes).unwrap();
        assert_eq!((figures.flows, figures.members, figures.ids), (7, 30, 100));
        // A row of each id: sixteen bytes of its key, and when.
        assert!(figures.row_mib_per_million_ids > 16.0, "{figures:?}");
        assert!(figures.ready_ms > 0.0 && figures.member_events_per_s > 0.0);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
