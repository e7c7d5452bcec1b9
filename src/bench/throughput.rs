//! Enrollments through a welcome series, as fast as one caller gets them through.
//!
//! Event, e-mail, wait of a real second, e-mail, push, exit: five steps. Every event comes as JSON
//! with 200 bytes of properties, its trigger has one comparison in the filter and one in the
//! segment's rule, every message two variables, and every message is rendered and then dropped.
//! The caller keeps a bounded number of events under way, so the engine always has work and never
//! refuses any. It runs in this process, and its processor time is part of the figure.

use std::{ops::Range, sync::Arc, time::Duration};

use crossbeam_channel::never;
use serde::Serialize;

use super::{
    Error, Place, Scratch, float,
    floor::{self, Floors},
    load::{self, PAYLOAD_BYTES, closed_loop},
    machine::{self, Ground},
    rate,
};
use crate::{
    Onward, Options,
    app::SystemClock,
    base::{Clock, FlowId, Lsn, Span, Timestamp},
    delivery::Channels,
    engine::Tally,
    machine::counters::FlowCounts,
};

/// How often the end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long without any step before the run counts as stuck.
const STUCK_AFTER: Span = Span::seconds(60);
pub(super) const STEPS: u64 = 5;
const FLOW: &str = "welcome";
/// How long its customers wait, as the definitions have it.
pub(super) const WAIT: &str = r#""duration": "1s""#;

pub(super) const DEFINITIONS: &[u8] = br#"{
    "segments": [{ "id": "uk", "name": "UK", "rule": "customer.attributes.country == 'GB'" }],
    "flows": [{ "id": "welcome", "name": "Welcome series", "segment": "uk",
        "trigger": { "event": "signup", "filter": "event.properties.plan == 'free'" },
        "steps": [
            { "id": "hello", "step_order": 1, "step_type": "SEND_EMAIL", "config": {
                "subject": "Welcome, {{ customer.id }}",
                "text": "Thank you for choosing {{ trigger.properties.plan }}." } },
            { "id": "pause", "step_order": 2, "step_type": "WAIT", "config": { "duration": "1s" } },
            { "id": "tip", "step_order": 3, "step_type": "SEND_EMAIL", "config": {
                "subject": "A tip for {{ customer.id }}",
                "text": "With {{ trigger.properties.plan }} you can do more." } },
            { "id": "nudge", "step_order": 4, "step_type": "SEND_PUSH", "config": {
                "title": "Hello {{ customer.id }}",
                "body": "Your plan is {{ trigger.properties.plan }}." } },
            { "id": "end", "step_order": 5, "step_type": "EXIT", "config": {} }
        ] }]
}"#;

/// The figures of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Throughput {
    /// `throughput`.
    pub scenario: &'static str,
    /// What it ran on.
    #[serde(flatten)]
    pub ground: Ground,
    /// Into how many partitions the customers are shared.
    pub partitions: u16,
    /// Enrollments that went through.
    pub enrollments: u64,
    /// From the first event sent in to the last exit durable, the waits of a second included.
    pub seconds: f64,
    /// Steps that enrollments left, five each, per second.
    pub step_transitions_per_s: f64,
    /// Enrollments that ended per second.
    pub enrollments_per_s: f64,
    /// Records made durable per second.
    pub records_per_s: f64,
    /// Records of the run.
    pub records: u64,
    /// Bytes of a record in the log, chunk headers included, on average.
    pub bytes_per_record: f64,
    /// The same records without an engine, in this run.
    #[serde(flatten)]
    pub floors: Floors,
    /// Processor time of the caller: making events, reading them, handing them over.
    pub generator_cpu_s: Option<f64>,
    /// The most memory that the process had up to the last exit.
    pub rss_mib: Option<f64>,
}

/// Runs the scenario in a directory of its own at `place`, which is removed afterwards.
pub fn throughput(
    place: Place<'_>,
    enrollments: u64,
    partitions: u16,
) -> Result<Throughput, Error> {
    let scratch = Scratch::new(place)?;
    let ground = Ground::of(&scratch);
    let data = scratch.join("data");
    let ran = run(&scratch, enrollments, partitions)?;
    let bare = floor::Bare::read_all(&data, &ran.before)?;
    let records = bare.count();
    let records_per_s = rate(records, ran.series.seconds);
    Ok(Throughput {
        scenario: "throughput",
        ground,
        partitions,
        enrollments,
        seconds: ran.series.seconds,
        step_transitions_per_s: rate(enrollments * STEPS, ran.series.seconds),
        enrollments_per_s: rate(enrollments, ran.series.seconds),
        records_per_s,
        records,
        bytes_per_record: float(bare.chunk_bytes) / float(records.max(1)),
        floors: Floors::measure(&scratch, &bare, records_per_s)?,
        generator_cpu_s: ran.series.generator_cpu_s,
        rss_mib: ran.rss_mib,
    })
}

pub(super) struct Ran {
    /// The last record of each partition before the first event.
    before: Vec<Lsn>,
    series: Series,
    rss_mib: Option<f64>,
    /// What the first partition does with its store.
    pub(super) tally: Arc<Tally>,
}

/// What the welcome series took.
pub(super) struct Series {
    /// From the first event to the last exit.
    pub(super) seconds: f64,
    /// Processor time of the caller.
    pub(super) generator_cpu_s: Option<f64>,
}

pub(super) fn run(scratch: &Scratch, enrollments: u64, partitions: u16) -> Result<Ran, Error> {
    let options = Options { partitions: Some(partitions), ..scratch.options() };
    let onward = Onward::open_with(&scratch.join("data"), &Channels::all(load::Nothing), &options)?;
    onward.publish(&[("bench", DEFINITIONS)])?.wait()?;
    make_customers(&onward, 0..enrollments)?;
    let before = load::latest(&onward)?;
    let series = series(&onward, 0..enrollments, enrollments)?;
    let rss_mib = machine::peak_rss_mib();
    let tally = onward.engine().tally();
    onward.close()?;
    Ok(Ran { before, series, rss_mib, tally })
}

/// Makes the customers with these numbers.
pub(super) fn make_customers(onward: &Onward, numbers: Range<u64>) -> Result<(), crate::Error> {
    closed_loop(numbers.map(|n| onward.upsert_customer(load::customer(n, 0))))
}

/// Sends the customers with these numbers through the welcome series, after which as many as
/// `expected` have gone through it in all.
pub(super) fn series(onward: &Onward, numbers: Range<u64>, expected: u64) -> Result<Series, Error> {
    let cpu = machine::thread_cpu_seconds();
    let started = SystemClock.now();
    closed_loop(numbers.map(|n| onward.track(load::event("signup", n, n, PAYLOAD_BYTES))))?;
    let cpu = machine::thread_cpu_seconds().zip(cpu).map(|(after, before)| after - before);
    let ended = wait_for_the_end(onward, expected)?;
    let seconds = ended.since(started).to_std().as_secs_f64();
    Ok(Series { seconds, generator_cpu_s: cpu })
}

/// Waits until so many enrollments of the series are over and that is durable; when it was.
pub(super) fn wait_for_the_end(onward: &Onward, expected: u64) -> Result<Timestamp, Error> {
    let (mut latest, mut moved) = (0, SystemClock.now());
    loop {
        let (mut lsns, mut done, mut enrolled, mut active) = (0, 0, 0, 0);
        for engine in onward.engines() {
            let counts = engine.query(|it| {
                let memory = it.memory();
                let number = FlowId::new(FLOW).ok().and_then(|flow| memory.flow_number(&flow));
                let counts = number.and_then(|flow| memory.counters.flows.get(&flow)).cloned();
                Ok((memory.latest, counts.unwrap_or_default()))
            })?;
            let (Lsn(lsn), flow) = counts.wait()?;
            lsns += lsn;
            done += ended(&flow);
            enrolled += flow.enrolled;
            active += flow.active;
        }
        let now = SystemClock.now();
        if done == expected {
            return Ok(now);
        }
        if lsns > latest {
            (latest, moved) = (lsns, now);
        }
        let over = enrolled == expected && active == 0;
        if over || now.since(moved) > STUCK_AFTER {
            return Err(Error::Incomplete { done, expected });
        }
        // Nothing ever comes: this is a pause.
        let _ = never::<()>().recv_timeout(LOOK_EVERY).is_ok();
    }
}

/// Enrollments that are over and were sent all three messages.
fn ended(flow: &FlowCounts) -> u64 {
    let sent = flow.steps.values().filter(|step| step.sent > 0).map(|step| step.sent);
    let (steps, least) = sent.fold((0, u64::MAX), |(n, least), sent| (n + 1, least.min(sent)));
    let completed = flow.exited.get("completed").copied().unwrap_or_default();
    if steps == 3 { completed.min(least) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_enrollment_goes_all_the_way() {
        let parent = tempfile::tempdir().unwrap();
        let figures = throughput(Place::tested(parent.path()), 20, 1).unwrap();
        // Per enrollment: the event, its enrollment, three requests, three outcomes, the wait's
        // begin and end, the exit. A fence is no record.
        assert_eq!((figures.enrollments, figures.records), (20, 20 * 11));
        let left = std::fs::read_dir(parent.path()).unwrap().count();
        assert_eq!(left, 0, "what was measured in is removed");
    }

    #[test]
    fn two_partitions_do_the_same_work() {
        let parent = tempfile::tempdir().unwrap();
        let figures = throughput(Place::tested(parent.path()), 20, 2).unwrap();
        assert_eq!((figures.partitions, figures.records), (2, 20 * 11));
    }
}
