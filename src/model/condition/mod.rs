//! Conditions and expressions: CEL behind our own types.

use std::{collections::BTreeSet, fmt};

use super::{activity::Activity, customer::Customer, event::Event};
use crate::base::{CustomerId, FlowId, SegmentId, Timestamp};

/// Where a condition stands, which says what it may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The `filter` of a trigger: `customer`, `event`, `flow`, `now`.
    TriggerFilter,
    /// The `entry_key` of a flow: `customer`, `event`, `flow`, `now`.
    EntryKey,
    /// The `rule` of a segment: `customer`, `now`.
    SegmentRule,
}

/// What evaluation asks for besides the event and the flow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// The event names whose activity it reads.
    pub activities: BTreeSet<String>,
    /// The segments it asks for membership in.
    pub segments: BTreeSet<SegmentId>,
    /// Whether it reads the customer beyond the id.
    pub customer: bool,
}

/// Why a condition has no answer, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unknown(pub String);

/// What a condition is judged by.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The engine's now.
    pub now: Timestamp,
    /// Whom it is about.
    pub id: &'a CustomerId,
    /// What is known of them; none reads as null throughout.
    pub customer: Option<&'a Customer>,
    /// The event being judged.
    pub event: Option<&'a Event>,
    /// The flow being entered.
    pub flow: Option<&'a FlowId>,
    /// The activity of an event name.
    pub activity: &'a dyn Fn(&str) -> Option<&'a Activity>,
    /// Membership in another segment.
    pub segment: &'a dyn Fn(&SegmentId) -> Result<bool, Unknown>,
}

impl fmt::Debug for Facts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts")
            .field("now", &self.now)
            .field("id", &self.id)
            .field("event", &self.event)
            .finish_non_exhaustive()
    }
}

/// A question with the answers yes, no and unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition(Expression);

impl Condition {
    /// As it was written.
    pub fn source(&self) -> &str {
        self.0.source()
    }

    /// What [`Facts`] must be able to answer.
    pub fn needs(&self) -> &Needs {
        self.0.needs()
    }
}

/// An expression for a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    source: String,
    needs: Needs,
}

impl Expression {
    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What [`Facts`] must be able to answer.
    pub const fn needs(&self) -> &Needs {
        &self.needs
    }
}
