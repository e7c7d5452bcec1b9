//! Definitions: the segments, flows and campaigns of some files, read, checked and ready to use.

use std::collections::{BTreeMap, BTreeSet};

use super::{campaign::Campaign, finding::Finding, flow::Flow, segment::Segment};
use crate::base::{ContentHash, FlowId, SegmentId};

/// What some files define.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Definitions {
    /// The segments, in the order of the files.
    pub segments: Vec<Document<Segment>>,
    /// The flows, in the order of the files.
    pub flows: Vec<Document<Flow>>,
    /// The campaigns, in the order of the files.
    pub campaigns: Vec<Document<Campaign>>,
    /// What someone should look at, by file, line and column.
    pub warnings: Vec<Finding>,
}

/// A definition with the text that is stored of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document<T> {
    /// What it says.
    pub value: T,
    /// The JSON as the operator wrote it: compact, keys sorted, no defaults filled in.
    pub json: String,
    /// The hash of `json`: two documents with one hash say the same.
    pub hash: ContentHash,
}

/// What a directory holds already, which files may refer to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// The stored segments, and the flow that is linked to each.
    pub segments: BTreeMap<SegmentId, Option<FlowId>>,
    /// The stored flows.
    pub flows: BTreeSet<FlowId>,
    /// The segments that the rule of a stored segment asks for, where it asks for any.
    pub segment_rules: BTreeMap<SegmentId, BTreeSet<SegmentId>>,
}
