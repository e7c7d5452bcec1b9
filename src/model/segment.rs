//! Segments: which customers a flow is for.

use std::collections::BTreeSet;

use super::condition::Condition;
use crate::base::{CustomerId, SegmentId};

/// A named set of customers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its identifier.
    pub id: SegmentId,
    /// What people call it.
    pub name: String,
    /// Who is in it.
    pub membership: Membership,
}

/// Who is in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Membership {
    /// Those for whom the condition holds.
    Rule(Condition),
    /// Those listed.
    Members(BTreeSet<CustomerId>),
}
