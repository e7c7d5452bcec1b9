//! From files of definitions to what they define, with every mistake at its place.
//!
//! The JSON becomes a tree with places; each kind of definition is then read from its part of the
//! tree and goes on after each mistake. What one definition says of another is checked by
//! [`validate`](super::validate) once all are read.

mod campaign;
mod flow;
mod object;
mod report;
mod segment;
mod source;
mod steps;

pub(super) use self::{
    campaign::campaign,
    flow::flow,
    object::{At, Object},
    report::{Report, Spot},
    segment::segment,
    source::{Source, tree},
};
use super::definitions::Document;
use crate::base::{FlowId, SegmentId};

/// A definition that may still lack something, with what it says of others.
pub(super) struct Draft<I, T> {
    pub(super) id: I,
    pub(super) spot: Spot,
    /// The definition, unless something in it was wrong.
    pub(super) document: Option<Document<T>>,
    /// The segments that it asks for.
    pub(super) segments: Vec<(SegmentId, Spot)>,
    /// The segment that a flow is for.
    pub(super) link: Option<(SegmentId, Spot)>,
    /// The flows that it uses.
    pub(super) flows: Vec<(FlowId, Spot)>,
}

impl<I, T> Draft<I, T> {
    fn new(id: I, spot: Spot) -> Self {
        Self { id, spot, document: None, segments: Vec::new(), link: None, flows: Vec::new() }
    }
}

/// A field that is not there is fine; one that is there and wrong is not.
pub(super) fn whole<T>(field: Option<Option<T>>) -> Option<Option<T>> {
    field.map_or(Some(None), |read| read.map(Some))
}
