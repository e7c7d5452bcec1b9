//! Enrollments through a welcome series, as fast as one caller gets them through.
//!
//! Event, e-mail, wait of a real second, e-mail, push, exit: five steps. Every event comes as JSON
//! with 200 bytes of properties, its trigger has one comparison in the filter and one in the
//! segment's rule, every message two variables, and every message is rendered and then dropped.
//! The caller keeps a bounded number of events under way, so the engine always has work and never
//! refuses any. It runs in this process, and its processor time is part of the figure.

use std::{path::Path, time::Duration};

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
    Onward,
    app::SystemClock,
    base::{Clock, Lsn, Span, Timestamp},
    delivery::Channels,
    machine::counters::FlowCounts,
};

/// How often the end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long without any step before the run counts as stuck.
const STUCK_AFTER: Span = Span::seconds(60);
pub(super) const STEPS: u64 = 5;

const DEFINITIONS: &[u8] = br#"{
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
pub fn throughput(place: Place<'_>, enrollments: u64) -> Result<Throughput, Error> {
    let scratch = Scratch::new(place)?;
    let ground = Ground::of(&scratch);
    let data = scratch.data("data")?;
    let ran = run(&data, enrollments)?;
    let sizes = floor::Sizes::read(&data, ran.before)?;
    let records = sizes.count();
    let records_per_s = rate(records, ran.seconds);
    Ok(Throughput {
        scenario: "throughput",
        ground,
        enrollments,
        seconds: ran.seconds,
        step_transitions_per_s: rate(enrollments * STEPS, ran.seconds),
        enrollments_per_s: rate(enrollments, ran.seconds),
        records_per_s,
        records,
        bytes_per_record: float(sizes.chunk_bytes) / float(records.max(1)),
        floors: Floors::measure(&scratch, &sizes, records_per_s)?,
        generator_cpu_s: ran.generator_cpu_s,
        rss_mib: ran.rss_mib,
    })
}

pub(super) struct Ran {
    /// The last record before the first event.
    before: Lsn,
    seconds: f64,
    generator_cpu_s: Option<f64>,
    rss_mib: Option<f64>,
}

pub(super) fn run(data: &Path, enrollments: u64) -> Result<Ran, Error> {
    let onward = Onward::open(data, &Channels::all(load::Nothing))?;
    onward.publish(&[("bench", DEFINITIONS)])?.wait()?;
    closed_loop((0..enrollments).map(|n| onward.upsert_customer(load::customer(n, 0))))?;
    let before = onward.engine().query(|it| Ok(it.memory().latest))?.wait()?;

    let cpu = machine::thread_cpu_seconds();
    let started = SystemClock.now();
    closed_loop(
        (0..enrollments).map(|n| onward.track(load::event("signup", n, n, PAYLOAD_BYTES))),
    )?;
    let cpu = machine::thread_cpu_seconds().zip(cpu).map(|(after, before)| after - before);
    let ended = wait_for_the_end(&onward, enrollments)?;
    let rss_mib = machine::peak_rss_mib();
    onward.close()?;
    let seconds = ended.since(started).to_std().as_secs_f64();
    Ok(Ran { before, seconds, generator_cpu_s: cpu, rss_mib })
}

/// Waits until every enrollment is over and that is durable; when it was.
fn wait_for_the_end(onward: &Onward, expected: u64) -> Result<Timestamp, Error> {
    let (mut latest, mut moved) = (Lsn::ZERO, SystemClock.now());
    loop {
        let counts = onward.engine().query(|it| {
            let memory = it.memory();
            Ok((memory.latest, memory.counters.flows.values().next().cloned().unwrap_or_default()))
        })?;
        let (lsn, flow) = counts.wait()?;
        let now = SystemClock.now();
        let done = ended(&flow);
        if done == expected {
            return Ok(now);
        }
        if lsn > latest {
            (latest, moved) = (lsn, now);
        }
        let over = flow.enrolled == expected && flow.active == 0;
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
        let figures = throughput(Place::tested(parent.path()), 20).unwrap();
        // Per enrollment: the event, its enrollment, three requests, three outcomes, the wait's
        // begin and end, the exit. A fence is no record.
        assert_eq!((figures.enrollments, figures.records), (20, 20 * 11));
        let left = std::fs::read_dir(parent.path()).unwrap().count();
        assert_eq!(left, 0, "what was measured in is removed");
    }
}
