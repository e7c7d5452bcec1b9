//! Slots: the variables and the calls of our functions that a condition reads.

use super::{Needs, Place};
use crate::{
    base::{SegmentId, Span},
    model::finding::Fault,
};

/// Something that evaluation fills in.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Slot {
    /// What a variable holds; null where there is nothing.
    Value(Path),
    /// Whether a variable holds something other than null.
    Present(Path),
    /// `count(name)`.
    Count(String),
    /// `first(name)`.
    First(String),
    /// `last(name)`.
    Last(String),
    /// `count_within(name, span)`.
    CountWithin(String, Span),
    /// The activity that `count_since(name, time)` counts in.
    Seen(String),
    /// `in_segment(id)`.
    InSegment(SegmentId),
    /// `bucket(salt)`.
    Bucket(String),
    /// The pattern of `matches` and its price: a slot, so that each use is counted.
    Pattern(String, u64),
}

/// A variable and the keys below it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Path {
    pub(super) root: Root,
    pub(super) keys: Vec<String>,
}

/// The variables; only [`Root::Attributes`] and [`Root::Properties`] have keys below them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Root {
    CustomerId,
    Email,
    Timezone,
    Locale,
    Attributes,
    EventId,
    EventName,
    EventTime,
    Properties,
    FlowId,
    Now,
}

const CUSTOMER: &[(&str, Root)] = &[
    ("id", Root::CustomerId),
    ("email", Root::Email),
    ("timezone", Root::Timezone),
    ("locale", Root::Locale),
    ("attributes", Root::Attributes),
];

const EVENT: &[(&str, Root)] = &[
    ("id", Root::EventId),
    ("name", Root::EventName),
    ("time", Root::EventTime),
    ("properties", Root::Properties),
];

const FLOW: &[(&str, Root)] = &[("id", Root::FlowId)];

/// The objects that a place has, with their fields.
fn objects(place: Place) -> &'static [(&'static str, &'static [(&'static str, Root)])] {
    match place {
        Place::TriggerFilter | Place::EntryKey => {
            &[("customer", CUSTOMER), ("event", EVENT), ("flow", FLOW)]
        }
        Place::SegmentRule => &[("customer", CUSTOMER)],
    }
}

/// Whether `name` is taken in `place`.
pub(super) fn is_root(name: &str, place: Place) -> bool {
    name == "now" || objects(place).iter().any(|(object, _)| *object == name)
}

impl Path {
    /// The variable `root.keys` in `place`.
    pub(super) fn new(root: &str, keys: &[&str], place: Place) -> Result<Self, Fault> {
        let unknown = |help: String| {
            let name = std::iter::once(root).chain(keys.iter().copied()).collect::<Vec<_>>();
            let message = format!("there is no variable `{}` here", name.join("."));
            Fault::new("unknown_variable", message, help)
        };
        if (root, keys) == ("now", &[]) {
            return Ok(Self { root: Root::Now, keys: Vec::new() });
        }
        let objects = objects(place);
        let Some((object, fields)) = objects.iter().find(|(name, _)| *name == root) else {
            let names = objects.iter().map(|(name, _)| *name).collect::<Vec<_>>();
            return Err(unknown(format!("there are {} and now", names.join(", "))));
        };
        let Some((field, below)) = keys.split_first() else {
            return Err(unknown(format!("name a field: {}", list(object, fields))));
        };
        match fields.iter().find(|(name, _)| name == field) {
            Some((_, root @ (Root::Attributes | Root::Properties))) => {
                Ok(Self { root: *root, keys: below.iter().map(|key| (*key).to_owned()).collect() })
            }
            Some((_, root)) if below.is_empty() => Ok(Self { root: *root, keys: Vec::new() }),
            Some(_) => Err(unknown(format!("`{object}.{field}` has no fields of its own"))),
            None => Err(unknown(format!("there are {}", list(object, fields)))),
        }
    }
}

fn list(object: &str, fields: &[(&str, Root)]) -> String {
    fields.iter().map(|(field, _)| format!("{object}.{field}")).collect::<Vec<_>>().join(", ")
}

/// What the slots need of the facts.
pub(super) fn needs(slots: &[Slot]) -> Needs {
    let mut needs = Needs::default();
    for slot in slots {
        match slot {
            Slot::Value(path) | Slot::Present(path) => {
                needs.customer |= matches!(
                    path.root,
                    Root::Email | Root::Timezone | Root::Locale | Root::Attributes
                );
            }
            Slot::Count(name)
            | Slot::First(name)
            | Slot::Last(name)
            | Slot::CountWithin(name, _)
            | Slot::Seen(name) => {
                needs.activities.insert(name.clone());
            }
            Slot::InSegment(id) => {
                needs.segments.insert(id.clone());
            }
            Slot::Bucket(_) | Slot::Pattern(..) => {}
        }
    }
    needs
}
