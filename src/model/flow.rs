//! Flows: a segment, a trigger and the steps that follow.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    condition::Expression,
    step::Step,
    trigger::{EntryRule, Trigger},
};
use crate::base::{FlowId, SegmentId};

/// One version of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Its identifier, the same for every version.
    pub id: FlowId,
    /// What people call it.
    pub name: String,
    /// The one segment it is for; no other flow has it.
    pub segment: SegmentId,
    /// What starts it.
    pub trigger: Trigger,
    /// Whether one may enter again.
    pub entry: EntryRule,
    /// What tells the enrollments of one customer apart; none: the customer has one.
    pub entry_key: Option<Expression>,
    /// The steps by `step_order`; never empty.
    pub steps: Vec<Step>,
    /// The variables of the trigger that templates of the steps use, such as
    /// `trigger.properties.cart`: what an enrollment must remember of its event.
    pub trigger_paths: BTreeSet<Arc<str>>,
}
