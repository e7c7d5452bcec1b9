//! Conditions and expressions: CEL behind our own types.
//!
//! Compiling parses the text on a stack of its own, checks it against the limits, and replaces
//! each variable and each of our functions by a slot. Evaluating fills the slots from [`Facts`] and
//! runs what is left, which reads a bounded number of bytes and so takes a bounded time.

mod call;
mod compile;
mod evaluate;
mod functions;
mod plain;
mod slot;

use std::{cell::Cell, collections::BTreeSet, fmt, sync::Arc};

use super::{activity::Activity, customer::Customer, event::Event, finding::Fault};
use crate::base::{CustomerId, FlowId, SegmentId, Timestamp, limits::ENTRY_KEY_BYTES_MAX, thread};

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
    /// Bytes that conditions of the same event have read so far; evaluation adds its own.
    pub reads: &'a Cell<u64>,
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
    /// Reads and checks a condition for its place; every fault at once.
    pub fn compile(source: &str, place: Place) -> Result<Self, Vec<Fault>> {
        Expression::compile(source, place).map(Self)
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        self.0.source()
    }

    /// What [`Facts`] must be able to answer.
    pub fn needs(&self) -> &Needs {
        self.0.needs()
    }

    /// Whether it holds.
    pub fn holds(&self, facts: &Facts<'_>) -> Result<bool, Unknown> {
        let plain = self.0.compiled.plain.as_ref().and_then(|plain| plain.holds(facts));
        plain.map_or_else(|| self.holds_by_library(facts), Ok)
    }

    fn holds_by_library(&self, facts: &Facts<'_>) -> Result<bool, Unknown> {
        let cel::Value::Bool(answer) = evaluate::value(&self.0.compiled, facts)? else {
            return Err(Unknown("the condition gives neither true nor false".to_owned()));
        };
        Ok(answer)
    }
}

impl From<Expression> for Condition {
    fn from(expression: Expression) -> Self {
        Self(expression)
    }
}

/// An expression for a value.
#[derive(Clone)]
pub struct Expression {
    source: Arc<str>,
    place: Place,
    compiled: Arc<compile::Compiled>,
}

impl Expression {
    /// Reads and checks an expression for its place; every fault at once.
    pub fn compile(source: &str, place: Place) -> Result<Self, Vec<Fault>> {
        // The parser recurses and so does dropping what it made; both happen in there.
        let compiled = thread::with_room(|| compile::compile(source, place));
        let compiled = compiled.unwrap_or_else(|error| Err(vec![Fault::no_room(&error)]))?;
        Ok(Self { source: source.into(), place, compiled: Arc::new(compiled) })
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What [`Facts`] must be able to answer.
    pub fn needs(&self) -> &Needs {
        &self.compiled.needs
    }

    /// Its value as a key: text, integer and boolean, so that `7` and `"7"` are one key; none for
    /// null, nothing, too much and every other type.
    pub fn key(&self, facts: &Facts<'_>) -> Result<Option<String>, Unknown> {
        let value = evaluate::value(&self.compiled, facts)?;
        let text = if let cel::Value::String(text) = value {
            Arc::unwrap_or_clone(text)
        } else if let cel::Value::Int(number) = value {
            number.to_string()
        } else if let cel::Value::UInt(number) = value {
            number.to_string()
        } else if let cel::Value::Bool(truth) = value {
            truth.to_string()
        } else {
            return Ok(None);
        };
        Ok(Some(text).filter(|text| !text.is_empty() && text.len() <= ENTRY_KEY_BYTES_MAX))
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?}, {:?})", self.place, self.source)
    }
}

impl Eq for Expression {}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        (self.place, &self.source) == (other.place, &other.source)
    }
}

#[cfg(test)]
mod tests;
