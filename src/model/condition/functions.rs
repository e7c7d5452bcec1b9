//! The functions that a condition may call, and the operators that we define otherwise than CEL:
//! arithmetic mixes integers and doubles, and what is missing reads as null.

use std::sync::{Arc, LazyLock};

use cel::{
    Env, ExecutionError,
    common::{
        types::{
            CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelTimestamp,
            DYN_TYPE,
        },
        value::{CowVal, Val},
    },
};

use crate::{
    base::{
        Timestamp,
        limits::{CONDITION_ITEMS_MAX, CONDITION_VALUE_MAX},
    },
    model::activity::Activity,
};

/// The functions of CEL's library that are called `name(..)`.
pub(super) const GLOBALS: [&str; 8] =
    ["size", "string", "int", "double", "bool", "timestamp", "duration", "matches"];

/// The functions of CEL's library that are called `value.name(..)`.
pub(super) const METHODS: [&str; 15] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
];

/// Our own functions, as a finding lists them.
pub(super) const OURS: &str = "count(name), first(name), last(name), count_within(name, '30d'), \
     count_since(name, time), in_segment(id), bucket(salt)";

pub(super) const ADD: &str = "@add";
pub(super) const SUBTRACT: &str = "@subtract";
pub(super) const MULTIPLY: &str = "@multiply";
pub(super) const DIVIDE: &str = "@divide";
pub(super) const REMAINDER: &str = "@remainder";
pub(super) const GET: &str = "@get";
pub(super) const HAS: &str = "@has";
pub(super) const ITEMS: &str = "@items";
pub(super) const COUNT_SINCE: &str = "@count_since";

type Answer<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

/// CEL's library with our operators.
pub(super) fn environment() -> Arc<Env> {
    static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
        let mut env = Env::stdlib();
        let mut add = |name: &str, arity: usize, function| {
            env.add_overload(
                name,
                name,
                std::iter::repeat_with(|| DYN_TYPE).take(arity).collect(),
                function,
            )
            .expect("no two of our operators share a name");
        };
        add(ADD, 2, plus);
        add(SUBTRACT, 2, minus);
        add(MULTIPLY, 2, times);
        add(DIVIDE, 2, over);
        add(REMAINDER, 2, remainder);
        add(GET, 2, get);
        add(HAS, 2, has);
        add(ITEMS, 1, items);
        add(COUNT_SINCE, 2, count_since);
        Arc::new(env)
    });
    Arc::clone(&ENVIRONMENT)
}

macro_rules! arithmetic {
    ($($name:ident $symbol:literal $access:ident $method:ident;)*) => {$(
        fn $name<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
            let [left, right] = same_numbers(two(args)?);
            let mismatch = || mismatch($symbol, &[&*left, &*right]);
            bounded($symbol, &left, &right)?;
            let operand = left.$access().ok_or_else(mismatch)?;
            operand.$method(&*right).map(|value| CowVal::Owned(value.into_owned())).map_err(|error| {
                let plain = matches!(error, ExecutionError::UnsupportedBinaryOperator(..));
                if plain { mismatch() } else { error }
            })
        }
    )*};
}

arithmetic! {
    plus "_+_" as_adder add;
    minus "_-_" as_subtractor sub;
    times "_*_" as_multiplier mul;
    over "_/_" as_divider div;
    remainder_of_integers "_%_" as_modder modulo;
}

fn remainder<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let [left, right] = same_numbers(two(args)?);
    match (left.downcast_ref::<CelDouble>(), right.downcast_ref::<CelDouble>()) {
        (Some(left), Some(right)) => {
            Ok(CowVal::owned(CelDouble::from(left.inner() % right.inner())))
        }
        _ => remainder_of_integers(vec![left, right]),
    }
}

fn two<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<[CowVal<'b, 'v>; 2], ExecutionError> {
    let count = args.len();
    args.try_into().map_err(|_| ExecutionError::invalid_argument_count(2, count))
}

fn mismatch(function: &str, values: &[&dyn Val]) -> ExecutionError {
    let types = values.iter().map(|value| value.get_type().name().to_owned()).collect();
    ExecutionError::no_such_overload(function, types)
}

/// An integer beside a double becomes one.
fn same_numbers<'b, 'v>([left, right]: [CowVal<'b, 'v>; 2]) -> [CowVal<'b, 'v>; 2] {
    let is_double = |value: &CowVal<'_, '_>| value.downcast_ref::<CelDouble>().is_some();
    let (left_double, right_double) = (is_double(&left), is_double(&right));
    let widen = |value: CowVal<'b, 'v>, beside_double: bool| {
        let number = value.downcast_ref::<CelInt>().filter(|_| beside_double);
        match number.and_then(|number| serde_json::Number::from(*number.inner()).as_f64()) {
            Some(double) => CowVal::owned(CelDouble::from(double)),
            None => value,
        }
    };
    [widen(left, right_double), widen(right, left_double)]
}

fn bounded(
    symbol: &str,
    left: &CowVal<'_, '_>,
    right: &CowVal<'_, '_>,
) -> Result<(), ExecutionError> {
    let size = |value: &CowVal<'_, '_>| {
        let text = value.downcast_ref::<CelString<'_>>().map(|text| text.inner().len());
        text.or_else(|| value.downcast_ref::<CelList<'_>>().map(|list| list.inner().len()))
    };
    let sum = size(left).unwrap_or(0) + size(right).unwrap_or(0);
    if sum > CONDITION_VALUE_MAX {
        let text = format!("the result has over {CONDITION_VALUE_MAX} bytes or elements");
        return Err(ExecutionError::function_error(symbol, text));
    }
    Ok(())
}

fn is_null(value: &CowVal<'_, '_>) -> bool {
    value.downcast_ref::<CelNull>().is_some()
}

/// `value[key]` and `value.key`; null where there is nothing.
fn get<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let [value, key] = two(args)?;
    if is_null(&value) {
        return Ok(CowVal::owned(CelNull));
    }
    let indexer = value.as_indexer().ok_or_else(|| mismatch("_[_]", &[&*value, &*key]))?;
    match indexer.get(&*key) {
        Ok(found) => Ok(CowVal::Owned(found.into_owned())),
        Err(ExecutionError::NoSuchKey(_) | ExecutionError::IndexOutOfBounds(_)) => {
            Ok(CowVal::owned(CelNull))
        }
        Err(_) => Err(mismatch("_[_]", &[&*value, &*key])),
    }
}

/// `has(value.key)`.
fn has<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let found = get(args)?;
    Ok(CowVal::owned(cel::common::types::CelBool::from(!is_null(&found))))
}

/// What `all`, `exists`, `map` and `filter` go through: a list, or the keys of a map in order.
fn items<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let count = args.len();
    let [value] =
        <[_; 1]>::try_from(args).map_err(|_| ExecutionError::invalid_argument_count(1, count))?;
    let length = if let Some(list) = value.downcast_ref::<CelList<'_>>() {
        list.inner().len()
    } else if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
        map.inner().len()
    } else {
        return Err(mismatch("all, exists, map or filter", &[&*value]));
    };
    if length > CONDITION_ITEMS_MAX {
        let text = format!("over {CONDITION_ITEMS_MAX} elements to go through");
        return Err(ExecutionError::function_error("all, exists, map or filter", text));
    }
    let Some(map) = value.downcast_ref::<CelMap<'_>>() else {
        return Ok(value);
    };
    let mut keys = map.inner().keys().cloned().collect::<Vec<_>>();
    keys.sort_by_key(|key| format!("{:?}", cel::objects::Key::from(key.clone())));
    let keys = keys.into_iter().map(owned_key).collect::<Vec<Box<dyn Val + 'v>>>();
    Ok(CowVal::owned(CelList::from(keys)))
}

fn owned_key<'v>(key: CelMapKey<'_>) -> Box<dyn Val + 'v> {
    key.into_static().inner().clone_as_boxed()
}

/// The value of a [`Slot::Seen`](super::slot::Slot::Seen): the count, then the times.
pub(super) fn seen(activity: Option<&Activity>) -> Box<dyn Val> {
    let Some(activity) = activity else {
        return Box::new(CelList::from(Vec::new()));
    };
    let count = i64::try_from(activity.count).unwrap_or(i64::MAX);
    let numbers = [count, activity.first.micros(), activity.last.micros()].into_iter();
    let numbers = numbers.chain(activity.times.iter().map(|time| time.micros()));
    let numbers = numbers.map(|number| -> Box<dyn Val> { Box::new(CelInt::from(number)) });
    Box::new(CelList::from(numbers.collect::<Vec<_>>()))
}

fn count_since<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let [seen, start] = two(args)?;
    let (Some(seen), Some(start)) =
        (seen.downcast_ref::<CelList<'_>>(), start.downcast_ref::<CelTimestamp>())
    else {
        let message = "the second argument is a time, such as timestamp('2026-01-31T08:00:00Z')";
        return Err(ExecutionError::function_error("count_since", message));
    };
    let micros = start.inner().timestamp_micros().clamp(0, Timestamp::MAX.micros());
    let start = Timestamp::from_micros(micros).unwrap_or_default();
    let Some(activity) = activity_of(seen) else {
        return Ok(CowVal::owned(CelInt::from(0)));
    };
    let count = count_from(&activity, start)
        .map_err(|message| ExecutionError::function_error("count_since", message))?;
    Ok(CowVal::owned(CelInt::from(count)))
}

/// How many events are at `start` or later, as CEL counts.
pub(super) fn count_from(activity: &Activity, start: Timestamp) -> Result<i64, &'static str> {
    let count = activity.count_since(start).ok_or("reaches past the times that are remembered")?;
    Ok(i64::try_from(count).unwrap_or(i64::MAX))
}

fn activity_of(seen: &CelList<'_>) -> Option<Activity> {
    let mut numbers =
        seen.inner().iter().filter_map(|value| value.downcast_ref::<CelInt>()).map(|n| *n.inner());
    let count = u64::try_from(numbers.next()?).ok()?;
    let mut times = numbers.filter_map(|micros| Timestamp::from_micros(micros).ok());
    let (first, last) = (times.next()?, times.next()?);
    Some(Activity { count, first, last, times: times.collect() })
}
