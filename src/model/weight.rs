//! What definitions take in memory once they are compiled, reckoned from their texts: what a
//! directory holds is compiled whenever it is opened, so that this is what bounds it.

use super::{
    campaign::Campaign,
    condition::Expression,
    flow::Flow,
    segment::{Membership, Segment},
};
use crate::base::limits::{
    COMPILED_BYTE_WEIGHT, CONDITION_WEIGHT, DEFINITION_WEIGHT, MEMBER_WEIGHT, TEMPLATE_WEIGHT,
};

/// Of a condition or an expression.
pub(super) const fn condition(source: &str) -> usize {
    CONDITION_WEIGHT + COMPILED_BYTE_WEIGHT * source.len()
}

/// Of a template.
pub(super) const fn template(source: &str) -> usize {
    TEMPLATE_WEIGHT + COMPILED_BYTE_WEIGHT * source.len()
}

impl Segment {
    /// Bytes of memory that it takes, as reckoned.
    pub fn weight(&self) -> usize {
        let membership = match &self.membership {
            Membership::Rule(rule) => condition(rule.source()),
            Membership::Members(all) => {
                all.iter().map(|id| MEMBER_WEIGHT + id.as_str().len()).sum()
            }
        };
        DEFINITION_WEIGHT + membership
    }
}

impl Flow {
    /// Bytes of memory that it takes, as reckoned.
    pub fn weight(&self) -> usize {
        let filter = self.trigger.filter.as_ref().map(|filter| condition(filter.source()));
        let key = self.entry_key.as_ref().map(Expression::source).map(condition);
        let steps = self.steps.iter().map(|step| {
            let templates = step.action.templates().into_iter();
            DEFINITION_WEIGHT + templates.map(|it| template(it.source())).sum::<usize>()
        });
        DEFINITION_WEIGHT + filter.into_iter().chain(key).chain(steps).sum::<usize>()
    }
}

impl Campaign {
    /// Bytes of memory that it takes, as reckoned.
    pub fn weight(&self) -> usize {
        let flows = self.flows.iter().map(|id| MEMBER_WEIGHT + id.as_str().len());
        DEFINITION_WEIGHT + flows.sum::<usize>()
    }
}
