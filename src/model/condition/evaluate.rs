//! From facts to an answer: fill the slots, run what was compiled, keep count of what it reads.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use cel::{
    Context, ExecutionError, Value,
    common::{
        types::{
            CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString,
            CelTimestamp,
        },
        value::{CowVal, Val},
    },
    context::VariableResolver,
};

use super::{
    Facts, Unknown,
    compile::Compiled,
    functions,
    slot::{Path, Root, Slot},
};
use crate::base::{
    FlowId, Timestamp,
    bytes::length_of,
    limits::{CONDITION_READS_MAX, ERROR_BYTES_MAX, EVENT_READS_MAX},
};
use crate::model::Fields;

/// What a read costs besides the bytes it reads.
pub(super) const READ_COST: u64 = 16;

/// The value of a compiled expression.
pub(super) fn value(compiled: &Compiled, facts: &Facts<'_>) -> Result<Value, Unknown> {
    let filler = Filler { facts };
    let slots = compiled.slots.iter().map(|slot| filler.fill(slot)).collect();
    let before = facts.reads.get();
    let max = CONDITION_READS_MAX.min(EVENT_READS_MAX.saturating_sub(before));
    let filled = Filled { slots, reads: AtomicU64::new(0), max };
    let mut context = Context::with_env(functions::environment());
    context.set_variable_resolver(&filled);
    let value = Value::resolve(&compiled.expression, &context);
    facts.reads.set(before.saturating_add(filled.reads.load(Ordering::Relaxed)));
    value.map_err(|error| filled.explain(&error))
}

struct Filled {
    slots: Vec<Result<Content, Unknown>>,
    reads: AtomicU64,
    max: u64,
}

struct Content {
    value: Box<dyn Val>,
    cost: u64,
}

impl VariableResolver for Filled {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let content = self.slot(variable)?.as_ref().ok()?;
        let before = self.reads.fetch_add(content.cost + READ_COST, Ordering::Relaxed);
        (before <= self.max).then(|| CowVal::Borrowed(content.value.as_ref()))
    }
}

impl Filled {
    fn slot(&self, variable: &str) -> Option<&Result<Content, Unknown>> {
        self.slots.get(variable.strip_prefix('@')?.parse::<usize>().ok()?)
    }

    /// The error without values: those may be personal, long, and maps in any order.
    fn explain(&self, error: &ExecutionError) -> Unknown {
        if let ExecutionError::UndeclaredReference(name) = error {
            return match self.slot(name) {
                Some(Err(unknown)) => unknown.clone(),
                _ => Unknown(
                    "reads more than a condition, or all those of one event, may".to_owned(),
                ),
            };
        }
        let plain = matches!(
            error,
            ExecutionError::NoSuchOverload(_)
                | ExecutionError::FunctionError { .. }
                | ExecutionError::UnexpectedType { .. }
                | ExecutionError::InvalidArgumentCount { .. }
        );
        let text = if plain {
            error.to_string()
        } else if matches!(error, ExecutionError::Overflow(..)) {
            "a result that is out of range".to_owned()
        } else if matches!(
            error,
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_)
        ) {
            "a division by zero".to_owned()
        } else {
            "values that do not go together".to_owned()
        };
        let end = text.floor_char_boundary(ERROR_BYTES_MAX);
        Unknown(text.get(..end).unwrap_or_default().to_owned())
    }
}

struct Filler<'f, 'a> {
    facts: &'f Facts<'a>,
}

impl Filler<'_, '_> {
    fn fill(&self, slot: &Slot) -> Result<Content, Unknown> {
        let activity = |name: &str| (self.facts.activity)(name);
        let value: Box<dyn Val> = match slot {
            Slot::Value(path) => return Ok(self.variable(path)),
            Slot::Present(path) => {
                let found = self.variable(path);
                boolean(found.value.downcast_ref::<CelNull>().is_none())
            }
            Slot::Count(name) => {
                let count = activity(name).map_or(0, |activity| activity.count);
                integer(i64::try_from(count).unwrap_or(i64::MAX))
            }
            Slot::First(name) => time_or_null(activity(name).map(|activity| activity.first)),
            Slot::Last(name) => time_or_null(activity(name).map(|activity| activity.last)),
            Slot::CountWithin(name, span) => {
                let start = self.facts.now.minus(*span);
                let count = activity(name).map_or(Ok(0), |seen| functions::count_from(seen, start));
                integer(count.map_err(|error| {
                    Unknown(format!("count_within('{name}', '{span}') {error}"))
                })?)
            }
            Slot::Seen(name) => functions::seen(activity(name)),
            Slot::InSegment(id) => boolean((self.facts.segment)(id)?),
            Slot::Bucket(salt) => {
                let text = format!("{salt}/{}", self.facts.id);
                let bucket = xxhash_rust::xxh3::xxh3_64(text.as_bytes()) % 10_000;
                integer(i64::try_from(bucket).unwrap_or_default())
            }
            Slot::Pattern(pattern, cost) => {
                let value = Box::new(CelString::from(pattern.clone()));
                return Ok(Content { value, cost: *cost });
            }
        };
        Ok(Content { value, cost: 0 })
    }

    fn variable(&self, path: &Path) -> Content {
        let customer = self.facts.customer;
        match path.root {
            Root::CustomerId => text(Some(self.facts.id.as_str())),
            Root::Email => text(customer.and_then(|customer| customer.email.as_deref())),
            Root::Timezone => text(customer.and_then(|customer| customer.timezone.as_deref())),
            Root::Locale => text(customer.and_then(|customer| customer.locale.as_deref())),
            Root::Attributes => self.attribute(&path.keys),
            Root::EventId => {
                text(self.facts.event.and_then(|event| Some(event.id.as_ref()?.as_str())))
            }
            Root::EventName => text(self.facts.event.map(|event| &*event.name)),
            Root::EventTime => {
                let time = self.facts.event.map(|event| event.time.unwrap_or(self.facts.now));
                Content { value: time_or_null(time), cost: 0 }
            }
            Root::Properties => self.property(&path.keys),
            Root::FlowId => text(self.facts.flow.map(FlowId::as_str)),
            Root::Now => Content { value: time_or_null(Some(self.facts.now)), cost: 0 },
        }
    }

    fn attribute(&self, keys: &[String]) -> Content {
        let attributes = self.facts.customer.map(|customer| &customer.attributes);
        let Some((key, below)) = keys.split_first() else {
            let all = attributes.into_iter().flat_map(Fields::iter);
            let all = all.map(|(key, value)| (key.to_string(), value.value())).collect();
            return json(&serde_json::Value::Object(all));
        };
        let found = attributes.and_then(|attributes| attributes.get(key));
        found.map_or_else(null, |value| json(below_keys(&value.value(), below)))
    }

    fn property(&self, keys: &[String]) -> Content {
        let properties = self.facts.event.map(|event| &event.properties);
        let Some((key, below)) = keys.split_first() else {
            return properties.map_or_else(null, |all| json(&all.value()));
        };
        let found = properties.and_then(|all| all.field(key));
        found.map_or_else(null, |value| json(below_keys(&value.value(), below)))
    }
}

fn below_keys<'a>(value: &'a serde_json::Value, keys: &[String]) -> &'a serde_json::Value {
    let found = keys.iter().try_fold(value, |value, key| value.get(key));
    found.unwrap_or(&serde_json::Value::Null)
}

fn null() -> Content {
    Content { value: Box::new(CelNull), cost: 0 }
}

fn text(text: Option<&str>) -> Content {
    let Some(text) = text else { return null() };
    let value = Box::new(CelString::from(text.to_owned()));
    Content { value, cost: length_of(text.as_bytes()) }
}

fn boolean(truth: bool) -> Box<dyn Val> {
    Box::new(CelBool::from(truth))
}

fn integer(number: i64) -> Box<dyn Val> {
    Box::new(CelInt::from(number))
}

fn time_or_null(time: Option<Timestamp>) -> Box<dyn Val> {
    match time {
        Some(time) => Box::new(CelTimestamp::from(time.to_chrono().fixed_offset())),
        None => Box::new(CelNull),
    }
}

/// JSON for CEL; the cost grows with every value and byte in it.
fn json(value: &serde_json::Value) -> Content {
    match value {
        serde_json::Value::Null => null(),
        serde_json::Value::Bool(truth) => Content { value: boolean(*truth), cost: 0 },
        serde_json::Value::Number(number) => Content { value: json_number(number), cost: 0 },
        serde_json::Value::String(string) => text(Some(string)),
        serde_json::Value::Array(items) => {
            let mut cost = 0;
            let items = items.iter().map(|item| take_cost(json(item), &mut cost));
            let value = Box::new(CelList::from(items.collect::<Vec<Box<dyn Val>>>()));
            Content { value, cost }
        }
        serde_json::Value::Object(fields) => {
            let mut cost = 0;
            let fields = fields.iter().map(|(key, field)| {
                cost += length_of(key.as_bytes());
                (CelMapKey::from(key.clone()), take_cost(json(field), &mut cost))
            });
            let value = Box::new(CelMap::from(fields.collect::<HashMap<_, Box<dyn Val>>>()));
            Content { value, cost }
        }
    }
}

fn take_cost(content: Content, total: &mut u64) -> Box<dyn Val> {
    *total += content.cost + READ_COST;
    content.value
}

fn json_number(number: &serde_json::Number) -> Box<dyn Val> {
    match (number.as_i64(), number.as_f64()) {
        (Some(integer_value), _) => integer(integer_value),
        (None, Some(double)) => Box::new(CelDouble::from(double)),
        (None, None) => Box::new(CelNull),
    }
}
