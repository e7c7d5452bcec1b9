//! What happened how often. Counted from records alone, so that every sum adds up with the log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    reason::{Idle, Refusal, Skip},
    record::{At, DeliverySkipped, Record},
};
use crate::base::planted::is_planted;

/// All counters of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Customers known.
    pub customers: u64,
    /// Events accepted.
    pub events: u64,
    /// Events that were older than events may be to enrol.
    pub too_old: u64,
    /// Lines of input files read, rejected ones included.
    pub lines: u64,
    /// Lines that repeat an event whose id is remembered.
    pub duplicates: u64,
    /// Lines that are no customer or event.
    pub rejected: u64,
    /// Deliveries on the dead-letter list.
    pub dead_letters: u64,
    /// Per flow, by number.
    pub flows: BTreeMap<u32, FlowCounts>,
    /// Per campaign, by number.
    pub campaigns: BTreeMap<u32, CampaignCounts>,
}

/// What happened in a flow.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FlowCounts {
    /// Enrollments.
    pub enrolled: u64,
    /// Enrollments that are not over.
    pub active: u64,
    /// Entries refused, by reason.
    pub refused: BTreeMap<Refusal, u64>,
    /// Enrollments that are over, by reason.
    pub exited: BTreeMap<String, u64>,
    /// Per version and step position.
    pub steps: BTreeMap<(u32, u32), StepCounts>,
}

/// What happened in a step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StepCounts {
    /// Enrollments that entered it, each time.
    pub entered: u64,
    /// Enrollments that are waiting in it.
    pub waiting: u64,
    /// Visits whose message was taken.
    pub sent: u64,
    /// Attempts that were deferred.
    pub deferred: u64,
    /// Deliveries that failed for good.
    pub failed: u64,
    /// Deliveries not sent, by reason.
    pub skipped: BTreeMap<Skip, u64>,
}

/// What happened for a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CampaignCounts {
    /// Enrollments.
    pub enrolled: u64,
    /// Enrollments that are over.
    pub exited: u64,
    /// Visits whose message was taken.
    pub sent: u64,
    /// Deliveries not sent.
    pub skipped: u64,
    /// Deliveries that failed for good.
    pub failed: u64,
}

impl Counters {
    /// Counts one record.
    pub(super) fn count(&mut self, record: &Record) {
        match record {
            Record::LineRead(it) => {
                self.lines += 1;
                self.duplicates += u64::from(it.line == Idle::Duplicate);
            }
            Record::LineRejected(_) => {
                self.lines += 1;
                self.rejected += 1;
            }
            Record::CustomerChanged(it) => {
                self.customers += u64::from(it.created);
                self.lines += u64::from(it.source.is_line());
            }
            Record::EventReceived(it) => {
                self.events += 1;
                self.customers += u64::from(it.created);
                self.too_old += u64::from(it.too_old);
                self.lines += u64::from(it.source.is_line());
            }
            Record::EntriesRefused(it) => {
                for (flow, reason) in &it.refused {
                    *self.flow(*flow).refused.entry(*reason).or_default() += 1;
                }
            }
            Record::Enrolled(it) => {
                let flow = self.flow(it.flow);
                flow.enrolled += 1;
                flow.active += 1;
                self.campaign(it.campaign).enrolled += 1;
            }
            Record::WaitStarted(it) => {
                let step = self.step(&it.at);
                step.entered += 1;
                step.waiting += 1;
            }
            Record::WaitEnded(it) => {
                let step = self.step(&it.at);
                step.waiting = step.waiting.saturating_sub(1);
            }
            Record::Exited(it) => {
                self.step(&it.at).entered += u64::from(it.by_step);
                self.exited(&it.at, &it.reason);
            }
            Record::DeliveryRequested(it) => {
                self.step(&it.at).entered += u64::from(it.subscription <= 1);
            }
            Record::DeliverySent(it) => {
                self.step(&it.at).sent += u64::from(it.first || is_planted!("count_twice"));
                self.campaign(it.at.campaign).sent += u64::from(it.first);
            }
            Record::DeliveryDeferred(it) => self.step(&it.at).deferred += 1,
            Record::DeliveryFailed(it) => {
                self.dead_letters += 1;
                self.step(&it.at).failed += 1;
                self.campaign(it.at.campaign).failed += 1;
            }
            Record::DeliverySkipped(it) => self.skipped(it),
            Record::InputOpened(_)
            | Record::DeliveryAttempted(_)
            | Record::LossAccepted(_)
            | Record::Restored(_)
            | Record::DocumentPart(_)
            | Record::SegmentChanged(_)
            | Record::FlowPublished(_)
            | Record::CampaignChanged(_) => {}
        }
    }

    fn skipped(&mut self, it: &DeliverySkipped) {
        let step = self.step(&it.at);
        step.entered += u64::from(it.requested.is_none());
        *step.skipped.entry(it.reason).or_default() += 1;
        self.campaign(it.at.campaign).skipped += 1;
    }

    fn exited(&mut self, at: &At, reason: &str) {
        let flow = self.flow(at.flow);
        flow.active = flow.active.saturating_sub(1);
        *flow.exited.entry(reason.to_owned()).or_default() += 1;
        self.campaign(at.campaign).exited += 1;
    }

    fn flow(&mut self, number: u32) -> &mut FlowCounts {
        self.flows.entry(number).or_default()
    }

    fn step(&mut self, at: &At) -> &mut StepCounts {
        self.flow(at.flow).steps.entry((at.version, at.step)).or_default()
    }

    /// The campaign's counts; the counts of no campaign are kept under a number that none has.
    fn campaign(&mut self, number: Option<u32>) -> &mut CampaignCounts {
        self.campaigns.entry(number.unwrap_or(u32::MAX)).or_default()
    }
}
