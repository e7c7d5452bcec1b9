//! What happened, counted: read from the counters, so that it adds up with the log.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    base::{Lsn, Timestamp},
    engine::partition::Partition,
    machine::{
        counters::{CampaignCounts, FlowCounts, StepCounts},
        memory::index,
    },
    store,
};

/// The summary of a directory; every count is since it was created unless it says otherwise.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Lines of input files read.
    pub lines_read: u64,
    /// Events accepted, duplicates not among them.
    pub events_read: u64,
    /// Lines that repeat an event whose id is remembered.
    pub duplicates: u64,
    /// Lines that are no customer or event.
    pub rejected_lines: u64,
    /// Customers known.
    pub customers: u64,
    /// Enrollments.
    pub enrolled: u64,
    /// Entries refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Entry keys forgotten because their customer had too many.
    pub forgotten_keys: u64,
    /// Messages taken, by flow and step: `flow/step`.
    pub sent: BTreeMap<String, u64>,
    /// Messages not sent, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Deliveries on the dead-letter list.
    pub dead_letters: u64,
    /// Enrollments in a WAIT.
    pub waiting: u64,
    /// Enrollments that are not over.
    pub active: u64,
    /// Enrollments that are over, by reason.
    pub exited: BTreeMap<String, u64>,
    /// What happened for each campaign.
    pub campaigns: BTreeMap<String, CampaignCounts>,
    /// Records in the log.
    pub records: u64,
    /// Records that this run added.
    pub records_added: u64,
    /// Bytes of records, framed, that this run added.
    pub record_bytes_added: u64,
    /// Bytes that the directory's store takes on disk.
    pub disk_bytes: u64,
    /// The engine's time of the last record.
    pub now: Timestamp,
    /// The names of the input files, in the order in which they were read.
    pub inputs: Vec<String>,
    /// Seconds that this run took, by the machine's clock.
    pub seconds: f64,
    /// Records that this run added, per second.
    pub records_per_second: f64,
}

/// One step of a flow with what happened in it.
#[derive(Debug, Clone, Serialize)]
pub struct StepSummary {
    /// The flow version.
    pub version: u32,
    /// The step.
    pub step: String,
    /// What kind of step it is.
    pub step_type: &'static str,
    /// What happened in it.
    #[serde(flatten)]
    pub counts: StepCounts,
}

impl Summary {
    pub(super) fn of(partition: &Partition, first: Lsn) -> store::Result<Self> {
        let memory = &partition.state.memory;
        let counters = &memory.counters;
        let flows = || counters.flows.values();
        let steps = || flows().flat_map(|flow| flow.steps.values());
        let records = memory.latest.0;
        Ok(Self {
            lines_read: counters.lines,
            events_read: counters.events,
            duplicates: counters.duplicates,
            rejected_lines: counters.rejected,
            customers: counters.customers,
            enrolled: flows().map(|flow| flow.enrolled).sum(),
            refused: sums(flows().flat_map(|flow| &flow.refused)),
            forgotten_keys: memory.forgotten_keys.values().sum(),
            sent: sent(partition),
            skipped: sums(steps().flat_map(|step| &step.skipped)),
            dead_letters: counters.dead_letters,
            waiting: steps().map(|step| step.waiting).sum(),
            active: flows().map(|flow| flow.active).sum(),
            exited: sums(flows().flat_map(|flow| &flow.exited)),
            campaigns: campaigns(partition),
            records,
            records_added: records.saturating_sub(first.0),
            record_bytes_added: partition.body_bytes,
            disk_bytes: partition.store.size_on_disk()?,
            now: memory.now,
            inputs: memory.inputs.iter().map(|it| format!("{}: {}", it.kind, it.name)).collect(),
            seconds: 0.0,
            records_per_second: 0.0,
        })
    }

    /// Adds what another partition of the same directory came to.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.lines_read += other.lines_read;
        self.events_read += other.events_read;
        self.duplicates += other.duplicates;
        self.rejected_lines += other.rejected_lines;
        self.customers += other.customers;
        self.enrolled += other.enrolled;
        self.forgotten_keys += other.forgotten_keys;
        self.dead_letters += other.dead_letters;
        self.waiting += other.waiting;
        self.active += other.active;
        self.records += other.records;
        self.records_added += other.records_added;
        self.record_bytes_added += other.record_bytes_added;
        self.disk_bytes += other.disk_bytes;
        self.now = self.now.max(other.now);
        add(&mut self.refused, other.refused);
        add(&mut self.sent, other.sent);
        add(&mut self.skipped, other.skipped);
        add(&mut self.exited, other.exited);
        for (name, counts) in other.campaigns {
            let sum = self.campaigns.entry(name).or_default();
            sum.enrolled += counts.enrolled;
            sum.exited += counts.exited;
            sum.sent += counts.sent;
            sum.skipped += counts.skipped;
            sum.failed += counts.failed;
        }
        self
    }

    /// Notes how long the run took.
    #[must_use]
    pub fn timed(mut self, seconds: f64) -> Self {
        let records = u32::try_from(self.records_added).map_or(f64::MAX, f64::from);
        self.seconds = seconds;
        self.records_per_second = if seconds > 0.0 { (records / seconds).round() } else { 0.0 };
        self
    }
}

fn add(sums: &mut BTreeMap<String, u64>, others: BTreeMap<String, u64>) {
    for (name, count) in others {
        *sums.entry(name).or_default() += count;
    }
}

fn sums<'a, K: ToString + 'a>(
    counts: impl Iterator<Item = (&'a K, &'a u64)>,
) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (key, count) in counts {
        *sums.entry(key.to_string()).or_default() += count;
    }
    sums
}

fn sent(partition: &Partition) -> BTreeMap<String, u64> {
    let mut sent = BTreeMap::new();
    for (number, counts) in &partition.state.memory.counters.flows {
        for ((version, step), counts) in &counts.steps {
            let Some(published) = partition.state.catalog.version(*number, *version) else {
                continue;
            };
            let Some(step) = published.flow.steps.get(index(*step)) else { continue };
            if counts.sent > 0 {
                let name = format!("{}/{}", published.flow.id, step.id);
                *sent.entry(name).or_default() += counts.sent;
            }
        }
    }
    sent
}

fn campaigns(partition: &Partition) -> BTreeMap<String, CampaignCounts> {
    let memory = &partition.state.memory;
    let counted = memory.counters.campaigns.iter();
    let named = counted.filter_map(|(number, counts)| {
        Some((memory.campaign(*number)?.id.to_string(), counts.clone()))
    });
    named.collect()
}

impl Partition {
    /// What happened in a flow, and in each of its steps.
    pub fn flow_counts(&self, number: u32) -> (FlowCounts, Vec<StepSummary>) {
        let counts = self.state.memory.counters.flows.get(&number).cloned().unwrap_or_default();
        let mut steps = Vec::new();
        let versions = self.state.memory.flow(number).map_or(0, |flow| flow.versions.len());
        for version in 1..=crate::machine::memory::number(versions) {
            let Some(published) = self.state.catalog.version(number, version) else { continue };
            for (step, position) in published.flow.steps.iter().zip(0_u32..) {
                let counts = counts.steps.get(&(version, position)).cloned().unwrap_or_default();
                let (step, step_type) = (step.id.to_string(), step.action.step_type());
                steps.push(StepSummary { version, step, step_type, counts });
            }
        }
        (counts, steps)
    }
}
