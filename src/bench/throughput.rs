//! Enrollments through a welcome series, as fast as one caller gets them through.
//!
//! Event, e-mail, wait of a real second, e-mail, push, exit: five steps. Every event comes as JSON
//! with 200 bytes of properties, its trigger has one comparison in the filter and one in the
//! segment's rule, every message two variables, and every message is rendered and then dropped.
//! The caller keeps a bounded number of events under way, so the engine always has work and never
//! refuses any. It runs in this process, and its processor time is part of the figure.

use std::{collections::VecDeque, path::Path, sync::Arc, time::Duration};

use crossbeam_channel::never;
use serde::Serialize;

use super::{Error, Machine, Scratch, float, floor, machine, rate};
use crate::{
    Onward, Ticket,
    app::SystemClock,
    base::{Clock, ContentHash, Lsn, Span, Timestamp},
    delivery::{Channel, Channels, Message, Sending},
    machine::{counters::FlowCounts, delivery::Outcome, input::Answer},
    model::{CustomerUpdate, Event},
};

/// Calls under way at once; fewer than the inbox holds.
const UNDER_WAY: usize = 4_096;
/// How often the end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long without any step before the run counts as stuck.
const STUCK_AFTER: Span = Span::seconds(60);
const STEPS: u64 = 5;
/// Bytes of an event's properties.
const PAYLOAD_BYTES: usize = 200;

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
    pub machine: Machine,
    /// What had happened when a record counted as done.
    pub durability: &'static str,
    /// The store below.
    pub store: &'static str,
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
    /// Records per second as bare chunks appended to the same kind of store, in this run.
    pub floor_records_per_s: f64,
    /// `records_per_s` as a part of that.
    pub ratio_to_floor: f64,
    /// Records per second as the same chunks written to a plain file, in this run.
    pub raw_records_per_s: f64,
    /// `records_per_s` as a part of that.
    pub ratio_to_raw: f64,
    /// Processor time of the caller: making events, reading them, handing them over.
    pub generator_cpu_s: Option<f64>,
    /// The most memory that the process had up to the last exit.
    pub rss_mib: Option<f64>,
}

/// Runs the scenario in a directory of its own below `parent`, which is removed afterwards.
pub fn throughput(parent: &Path, enrollments: u64) -> Result<Throughput, Error> {
    let scratch = Scratch::new(parent)?;
    let machine = Machine::of(&scratch.0);
    let data = scratch.0.join("data");
    let ran = run(&data, enrollments)?;
    let sizes = floor::Sizes::read(&data, ran.before)?;
    let records = sizes.count();
    let floor = floor::store_seconds(&scratch.0.join("floor"), &sizes, &SystemClock)?;
    let raw = floor::raw_seconds(&scratch.0.join("raw"), &sizes, &SystemClock)?;
    let records_per_s = rate(records, ran.seconds);
    let (floor, raw) = (rate(records, floor), rate(records, raw));
    Ok(Throughput {
        scenario: "throughput",
        machine,
        durability: "fdatasync after every commit",
        store: "sled",
        enrollments,
        seconds: ran.seconds,
        step_transitions_per_s: rate(enrollments * STEPS, ran.seconds),
        enrollments_per_s: rate(enrollments, ran.seconds),
        records_per_s,
        records,
        bytes_per_record: float(sizes.chunk_bytes) / float(records.max(1)),
        floor_records_per_s: floor,
        ratio_to_floor: records_per_s / floor,
        raw_records_per_s: raw,
        ratio_to_raw: records_per_s / raw,
        generator_cpu_s: ran.generator_cpu_s,
        rss_mib: ran.rss_mib,
    })
}

struct Ran {
    /// The last record before the first event.
    before: Lsn,
    seconds: f64,
    generator_cpu_s: Option<f64>,
    rss_mib: Option<f64>,
}

fn run(data: &Path, enrollments: u64) -> Result<Ran, Error> {
    let onward = Onward::open(data, &Channels::all(Nothing))?;
    onward.publish(&[("bench", DEFINITIONS)])?.wait()?;
    closed_loop((0..enrollments).map(|n| onward.upsert_customer(customer(n))))?;
    let before = onward.engine().query(|it| Ok(it.memory().latest))?.wait()?;

    let cpu = machine::thread_cpu_seconds();
    let started = SystemClock.now();
    closed_loop((0..enrollments).map(|n| onward.track(event(n))))?;
    let cpu = machine::thread_cpu_seconds().zip(cpu).map(|(after, before)| after - before);
    let ended = wait_for_the_end(&onward, enrollments)?;
    let rss_mib = machine::peak_rss_mib();
    onward.close()?;
    let seconds = ended.since(started).to_std().as_secs_f64();
    Ok(Ran { before, seconds, generator_cpu_s: cpu, rss_mib })
}

/// Makes calls and waits for the oldest one where enough are under way.
fn closed_loop(
    calls: impl Iterator<Item = Result<Ticket<Answer>, crate::Error>>,
) -> Result<(), Error> {
    let mut under_way = VecDeque::with_capacity(UNDER_WAY);
    for call in calls {
        under_way.push_back(call?);
        if under_way.len() == UNDER_WAY
            && let Some(oldest) = under_way.pop_front()
        {
            oldest.wait()?;
        }
    }
    under_way.into_iter().try_for_each(|ticket| ticket.wait().map(drop))?;
    Ok(())
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

fn customer(n: u64) -> CustomerUpdate {
    let line = format!(
        r#"{{"id":"c{n:08}","email":"c{n:08}@example.com","attributes":{{"country":"GB"}},"push":[
            {{"endpoint":"https://push.example.com/{n:08}","keys":{{"p256dh":"k","auth":"a"}}}}]}}"#
    );
    CustomerUpdate::parse(line.as_bytes()).expect("the bench's customers are valid")
}

/// Read from JSON, as every event from outside is.
fn event(n: u64) -> Event {
    Event::parse(line(n).as_bytes()).expect("the bench's events are valid")
}

fn line(n: u64) -> String {
    let known = r#"{"plan":"free","note":""}"#;
    let note = "x".repeat(PAYLOAD_BYTES - known.len());
    format!(
        r#"{{"id":"e{n:08}","name":"signup","customer":"c{n:08}","properties":{{"plan":"free","note":"{note}"}}}}"#
    )
}

/// Takes every message and does nothing with it.
#[derive(Debug)]
struct Nothing;

impl Channel for Nothing {
    fn name(&self) -> &'static str {
        "nothing"
    }

    fn send(&self, _: Arc<Message>) -> Sending<'_> {
        Box::pin(std::future::ready(Outcome::Sent { hash: ContentHash([0; 16]) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_carry_the_payload_that_is_promised() {
        assert_eq!(event(7).properties.as_str().len(), PAYLOAD_BYTES);
    }

    #[test]
    fn every_enrollment_goes_all_the_way() {
        let parent = tempfile::tempdir().unwrap();
        let figures = throughput(parent.path(), 20).unwrap();
        // Per enrollment: the event, its enrollment, three requests, three outcomes, the wait's
        // begin and end, the exit. A fence is no record.
        assert_eq!((figures.enrollments, figures.records), (20, 20 * 11));
        let left = std::fs::read_dir(parent.path()).unwrap().count();
        assert_eq!(left, 0, "what was measured in is removed");
    }
}
