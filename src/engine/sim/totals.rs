//! What happened in all seeds together.

use super::disk::Failures;

/// What happened, added up over seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    pub(super) seeds: u64,
    pub(super) steps: u64,
    pub(super) records: u64,
    pub(super) acknowledged: u64,
    pub(super) duplicates: u64,
    pub(super) unknown: u64,
    pub(super) busy: u64,
    pub(super) no_space: u64,
    pub(super) questions: u64,
    pub(super) deliveries: u64,
    pub(super) kills: u64,
    pub(super) cuts: u64,
    pub(super) takeovers: u64,
    pub(super) restarts: u64,
    pub(super) stops: u64,
    /// Clocks that an engine did not believe: while it ran, and when it started.
    pub(super) clock_stops: u64,
    pub(super) clock_refusals: u64,
    /// Full disks that an engine found room on again by itself.
    pub(super) refilled: u64,
    pub(super) verified: u64,
    pub(super) failures: Failures,
}

impl Totals {
    pub(super) fn add(&mut self, it: &Self) {
        self.seeds += it.seeds;
        self.steps += it.steps;
        self.records += it.records;
        self.acknowledged += it.acknowledged;
        self.duplicates += it.duplicates;
        self.unknown += it.unknown;
        self.busy += it.busy;
        self.no_space += it.no_space;
        self.questions += it.questions;
        self.deliveries += it.deliveries;
        self.kills += it.kills;
        self.cuts += it.cuts;
        self.takeovers += it.takeovers;
        self.restarts += it.restarts;
        self.stops += it.stops;
        self.clock_stops += it.clock_stops;
        self.clock_refusals += it.clock_refusals;
        self.refilled += it.refilled;
        self.verified += it.verified;
        self.failures.add(&it.failures);
    }
}
