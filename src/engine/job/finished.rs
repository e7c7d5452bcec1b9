//! What is told of a job, on its way and at its end, and how that of several partitions adds up.

use super::{RejectedLine, Summary};
use crate::base::{Timestamp, limits::REJECTED_SHOWN};

/// How far a job is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Bytes of input read by this run.
    pub bytes_read: u64,
    /// Bytes of input that were left when it began.
    pub bytes_total: u64,
    /// The instant being worked off.
    pub now: Timestamp,
    /// Records so far, in this run.
    pub records: u64,
}

impl Progress {
    /// The two partitions of a job together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            bytes_read: self.bytes_read + other.bytes_read,
            bytes_total: self.bytes_total + other.bytes_total,
            now: self.now.max(other.now),
            records: self.records + other.records,
        }
    }
}

/// What a job leaves behind.
#[derive(Debug)]
pub struct Finished {
    /// What happened, counted.
    pub summary: Summary,
    /// The first lines that were refused in this run.
    pub rejected: Vec<RejectedLine>,
    /// How many lines of the inputs given were refused, in this run or an earlier one.
    pub rejected_in_inputs: u64,
}

impl Finished {
    /// Adds what another partition of the same directory leaves behind.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.summary = self.summary.and(other.summary);
        self.rejected.extend(other.rejected);
        self.rejected.sort_by_key(|it| it.line);
        self.rejected.truncate(REJECTED_SHOWN);
        self.rejected_in_inputs += other.rejected_in_inputs;
        self
    }
}
