//! What starts a flow and how often it may start.

use super::condition::Condition;
use crate::base::Span;

/// The event that starts a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// The event's name.
    pub event: String,
    /// Which of these events; none: all.
    pub filter: Option<Condition>,
}

/// Whether a customer (or an entry key of theirs) may enter again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EntryRule {
    /// Only once.
    #[default]
    Once,
    /// Whenever no enrollment of the same key is active.
    EveryTime,
    /// When the previous enrollment started this long ago or longer.
    After(Span),
}
