//! What several records are made of.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    base::{EnrollmentId, EventId, Lsn, PartitionId, Timestamp},
    model::Fields,
};

/// A distance back in the log: how many records before the one that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Back(u64);

impl Back {
    /// The distance from the record at `from` back to the one at `to`.
    pub fn between(from: Lsn, to: Lsn) -> Self {
        Self(from.0.checked_sub(to.0).expect("a link points backwards"))
    }

    /// Where the link of the record at `from` points; the beginning where it would point past it.
    pub const fn from(self, from: Lsn) -> Lsn {
        Lsn(from.0.saturating_sub(self.0))
    }
}

/// Where an input came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A caller of the library.
    Api,
    /// A line of an input file.
    Line {
        /// Which of the directory's inputs, from 0.
        input: u32,
        /// The byte after the line's end.
        offset: u64,
    },
}

/// What an entry does to the keys that a customer is remembered by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChange {
    /// Distance to the enrollment that the same key began before.
    pub before: Option<Back>,
    /// The key that goes for the new one.
    pub forgets: Option<Forgotten>,
}

/// An entry key that is no longer remembered, because the customer has too many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// Distance to the latest enrollment that it began.
    pub enrollment: Back,
    /// The number of that flow.
    pub flow: u32,
    /// The key.
    pub key: String,
}

/// Which enrollment a record belongs to, and where in its flow it stands. Everything that a
/// counter or an index needs is here, so that each applies the record without looking further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    /// Distance to the enrollment's first record, whose LSN is its id.
    pub enrollment: Back,
    /// Distance to the enrollment's record before this one.
    pub previous: Back,
    /// The customer's hash: where the enrollment's row is kept.
    pub place: u64,
    /// The flow's number in this directory.
    pub flow: u32,
    /// The version it walks.
    pub version: u32,
    /// The step's position in that version, from 0.
    pub step: u32,
    /// How many steps it has entered, this one included.
    pub visit: u32,
    /// The campaign it counts for.
    pub campaign: Option<u32>,
}

impl At {
    /// The enrollment's id, given the LSN of the record that holds this.
    pub fn enrollment(&self, lsn: Lsn, partition: PartitionId) -> EnrollmentId {
        EnrollmentId { partition, lsn: self.enrollment.from(lsn) }
    }
}

/// What enrolled the customer, as far as the flow's steps use it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TriggerData {
    /// The event's id.
    pub id: Option<EventId>,
    /// The event's name.
    pub name: Arc<str>,
    /// The event's time.
    pub time: Option<Timestamp>,
    /// The values of exactly those `trigger.properties` variables that the version's steps use.
    pub values: Fields,
}

impl Source {
    /// Whether it is a line of an input file.
    pub const fn is_line(self) -> bool {
        matches!(self, Self::Line { .. })
    }
}
