//! What conditions mean, and that no text and no data can make them misbehave.

mod plain;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    base::{
        EventId, Span,
        limits::{
            ACTIVITY_TIMES_MAX, CONDITION_BYTES_MAX, CONDITION_DEPTH_MAX, CONDITION_LIST_MAX,
            CONDITION_NODES_MAX, CONDITION_READS_MAX, EVENT_READS_MAX,
        },
    },
    model::json::JsonText,
};

struct World {
    customer: Customer,
    event: Event,
    flow: FlowId,
    activity: BTreeMap<String, Activity>,
}

fn now() -> Timestamp {
    Timestamp::parse("2026-03-01T12:00:00Z").unwrap()
}

impl World {
    fn new(attributes: &str, properties: &str) -> Self {
        let id = CustomerId::new("17850").unwrap();
        let mut customer = Customer::new(id.clone());
        customer.email = Some("ann@example.com".into());
        customer.attributes = serde_json::from_str(attributes).unwrap();
        let mut bought = Activity::new(now().minus(Span::days(40)));
        bought.add(now().minus(Span::days(3)));
        let mut many = Activity::new(now().minus(Span::days(100)));
        (0..ACTIVITY_TIMES_MAX).for_each(|_| many.add(now().minus(Span::days(1))));
        Self {
            customer,
            event: Event {
                id: Some(EventId::new("e1").unwrap()),
                name: "signup".into(),
                customer: id,
                time: None,
                properties: JsonText::parse(properties).unwrap(),
            },
            flow: FlowId::new("welcome").unwrap(),
            activity: [("bought".to_owned(), bought), ("opened".to_owned(), many)].into(),
        }
    }

    fn with<T>(&self, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
        ask(&Facts {
            reads: &Cell::new(0),
            now: now(),
            id: &self.customer.id,
            customer: Some(&self.customer),
            event: Some(&self.event),
            flow: Some(&self.flow),
            activity: &|name| self.activity.get(name),
            segment: &|id| match id.as_str() {
                "uk" => Ok(true),
                "fr" => Ok(false),
                _ => Err(Unknown("no such segment".to_owned())),
            },
        })
    }

    fn holds(&self, source: &str) -> Result<bool, Unknown> {
        let condition = Condition::compile(source, Place::TriggerFilter);
        self.with(|facts| condition.unwrap_or_else(|f| panic!("{source}: {f:?}")).holds(facts))
    }
}

fn world() -> World {
    World::new(
        r#"{"country":"United Kingdom","age":41,"score":2.5,"big":18446744073709551615,
            "tags":["new","vip"],"address":{"city":"Leeds","zip":null},"none":null}"#,
        r#"{"cart id":7,"items":[{"sku":"A1","price":12.5},{"sku":"B2"}],"country":"UK"}"#,
    )
}

fn codes(source: &str, place: Place) -> Vec<&'static str> {
    match Condition::compile(source, place) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.into_iter().map(|fault| fault.code).collect(),
    }
}

#[test]
fn what_holds() {
    let world = world();
    for source in [
        "customer.attributes.country == 'United Kingdom'",
        "customer.id == '17850' && customer.email.endsWith('@example.com')",
        "customer.timezone == null && !has(customer.timezone) && has(customer.email)",
        "event.properties.country != 'Unspecified'",
        "event.properties['cart id'] == 7 && event.properties[\"items\"][0].sku == 'A1'",
        "event.properties.items[0].price > 12 && event.properties.items[9].price == null",
        "event.properties.items.exists(i, i.price > 10)",
        "event.properties.items.all(i, has(i.sku)) && !event.properties.items.all(i, has(i.price))",
        "event.properties.items.filter(i, i.price == null).map(i, i.sku) == ['B2']",
        "size(event.properties.items) == 2 && event.name == 'signup' && event.id == 'e1'",
        "event.time == now && now == timestamp('2026-03-01T12:00:00Z') && flow.id == 'welcome'",
        "now - duration('48h') < now && now.getFullYear() == 2026",
        "customer.attributes.age + 0.5 == 41.5 && 1 + 1 == 2 && 7 / 2 == 3 && 7 / 2.0 == 3.5",
        "7 % 4 == 3 && 7.5 % 2 == 1.5 && 2 * 1.5 == 3.0 && 3 - 0.5 > 2 && -customer.attributes.age < 0",
        "customer.attributes.age > 40.5 && customer.attributes.score < 3 && 3.0 == 3",
        "customer.attributes.big > 1.8e19",
        "'vip' in customer.attributes.tags && !('old' in customer.attributes.tags)",
        "customer.attributes.missing == null && customer.attributes.missing.deeper == null",
        "customer.attributes.country.deeper == null && customer.attributes.none == null",
        "has(customer.attributes.address.city) && !has(customer.attributes.address.zip)",
        "!has(customer.attributes.none) && !has(customer.attributes.missing.deeper)",
        "customer.attributes.address == {'city': 'Leeds', 'zip': null}",
        "customer.attributes.address.map(k, k) == ['city', 'zip']",
        "customer.attributes[event.name] == null && customer.attributes['ag' + 'e'] == 41",
        "count('bought') == 2 && count('never') == 0 && first('never') == null",
        "last('bought') == now - duration('72h') && first('bought') < last('bought')",
        "count_within('bought', '30d') == 1 && count_within('never', 'P1D') == 0",
        "count_since('bought', first('bought')) == 2 && count_since('bought', now) == 0",
        "in_segment('uk') && !in_segment('fr')",
        "bucket('a') >= 0 && bucket('a') < 10000 && bucket('a') != bucket('b')",
        "customer.attributes.country.matches('^United') && matches('abc', 'b')",
        "false && in_segment('other') || true || in_segment('other')",
        "customer.attributes.age > 40 ? true : false",
        "[1, 2, 3].map(n, n * 2) == [2, 4, 6] && [1, 2].exists_one(n, n == 2)",
    ] {
        assert_eq!(world.holds(source), Ok(true), "{source}");
    }
}

#[test]
fn what_is_unknown() {
    let world = world();
    for (source, text) in [
        ("customer.attributes.missing > 3", "(null_type, int)"),
        ("customer.attributes.country > 3", "(string, int)"),
        ("customer.timezone.startsWith('E')", "startsWith"),
        ("customer.attributes.missing + 1 == 1", "(null_type, int)"),
        ("1 / 0 == 1 || 1 % 0 == 1", "division by zero"),
        ("9223372036854775807 + 1 > 0", "out of range"),
        ("customer.attributes.age", "neither true nor false"),
        ("true && in_segment('other')", "no such segment"),
        ("count_within('opened', '30d') > 3", "past the times that are remembered"),
        ("count_since('opened', now - duration('720h')) > 3", "past the times"),
        ("count_since('bought', 'yesterday') > 3", "is a time"),
        ("customer.attributes.age.map(k, k) == []", "map"),
        ("timestamp(customer.attributes.country) < now", "timestamp"),
    ] {
        let unknown = world.holds(source).expect_err(source);
        assert!(unknown.0.contains(text), "{source}: {unknown}");
    }
    // What is remembered still answers exactly.
    assert_eq!(world.holds("count_within('opened', '200d') == 65"), Ok(true));
}

#[test]
fn what_is_refused() {
    use Place::{EntryKey, SegmentRule, TriggerFilter};
    for (source, place, expected) in [
        ("event.name == 'a'", SegmentRule, vec!["unknown_variable"]),
        ("flow.id == 'a'", SegmentRule, vec!["unknown_variable"]),
        ("event.property.a == 1 && custmer.id == '1'", EntryKey, vec!["unknown_variable"; 2]),
        ("customer == null || now.x", TriggerFilter, vec!["unknown_variable"; 2]),
        ("customer.id.x == 1 || customer[event.name] == 1", EntryKey, vec!["unknown_variable"; 2]),
        ("_0 == 1 || int == 1", TriggerFilter, vec!["unknown_variable"; 2]),
        ("foo(1) || 'a'.lower() == 'a' || type(1) == 1", EntryKey, vec!["unknown_function"; 3]),
        ("optional.of(1) == 1", EntryKey, vec!["unknown_function"]),
        ("customer.?id == 1", EntryKey, vec!["condition"]),
        ("count(event.name) > 1 || count() > 1", EntryKey, vec!["condition"; 2]),
        ("count_within('a', '1 month') > 1", EntryKey, vec!["bad_duration"]),
        ("in_segment('')", EntryKey, vec!["bad_id"]),
        ("[1].exists(a, [2].exists(b, a == b))", EntryKey, vec!["condition_limit"]),
        ("[1].exists(customer, true)", EntryKey, vec!["condition"]),
        ("'a'.matches(event.name) || 'a'.matches('(')", EntryKey, vec!["condition"; 2]),
        ("a{b: 1} == 1", EntryKey, vec!["condition"]),
        ("customer.id ==", SegmentRule, vec!["condition"]),
        ("", SegmentRule, vec!["condition"]),
    ] {
        assert_eq!(codes(source, place), expected, "{source}");
    }
    let faults = Condition::compile("custmer.id == '1'", SegmentRule).unwrap_err();
    assert_eq!(
        faults[0].to_string(),
        "unknown_variable: there is no variable `custmer.id` here; there are customer and now"
    );
}

/// At its bound a condition is taken, and refused with one more.
#[test]
fn conditions_are_as_large_as_they_may_be() {
    let list = |elements: usize| format!("1 in [{}]", vec!["1"; elements].join(","));
    let text = |bytes: usize| format!("'{}' == ''", "x".repeat(bytes - "'' == ''".len()));
    let nested = |lists: usize| format!("{}1{} == 1", "[".repeat(lists), "]".repeat(lists));
    // Of two full lists and one that makes the difference: three a list and two to join them.
    let nodes = |all: usize| {
        let rest = all - 2 * (CONDITION_LIST_MAX + 3) - 3 - 2;
        [list(CONDITION_LIST_MAX), list(CONDITION_LIST_MAX), list(rest)].join(" || ")
    };
    for (fits, over) in [
        (text(CONDITION_BYTES_MAX), text(CONDITION_BYTES_MAX + 1)),
        (list(CONDITION_LIST_MAX), list(CONDITION_LIST_MAX + 1)),
        // The comparison and the value are two levels.
        (nested(CONDITION_DEPTH_MAX - 2), nested(CONDITION_DEPTH_MAX - 1)),
        (nodes(CONDITION_NODES_MAX), nodes(CONDITION_NODES_MAX + 1)),
    ] {
        assert_eq!(codes(&fits, Place::TriggerFilter), Vec::<&str>::new(), "{fits}");
        assert_eq!(codes(&over, Place::TriggerFilter), ["condition_limit"], "{over}");
    }
}

#[test]
fn what_it_needs() {
    let source = "count('a') + count_within('b', '1d') > 0 && in_segment('uk')";
    let condition = Condition::compile(source, Place::SegmentRule).unwrap();
    let expected = Needs {
        activities: ["a".to_owned(), "b".to_owned()].into(),
        segments: [SegmentId::new("uk").unwrap()].into(),
        customer: false,
    };
    assert_eq!(condition.needs(), &expected);
    let condition = Condition::compile("has(customer.email)", Place::SegmentRule).unwrap();
    assert!(condition.needs().customer);
}

#[test]
fn keys_are_text_integers_and_booleans() {
    let long = "x".repeat(ENTRY_KEY_BYTES_MAX + 1);
    let world = World::new(
        "{}",
        &format!(r#"{{"n":7,"s":"7","b":true,"d":7.5,"e":"","l":[],"z":null,"long":"{long}"}}"#),
    );
    for (name, expected) in [
        ("n", Some("7")),
        ("s", Some("7")),
        ("b", Some("true")),
        ("d", None),
        ("e", None),
        ("l", None),
        ("z", None),
        ("missing", None),
        ("long", None),
    ] {
        let source = format!("event.properties.{name}");
        let key = Expression::compile(&source, Place::EntryKey).unwrap();
        assert_eq!(world.with(|facts| key.key(facts)), Ok(expected.map(str::to_owned)), "{name}");
    }
}

#[test]
fn hostile_texts_are_refused_on_a_small_stack() {
    let chain = |link: &str, count: usize| vec![link; count].join("");
    let hostile = [
        format!("{}1{}", "(".repeat(1000), ")".repeat(1000)),
        format!("{}{}", "[".repeat(1000), "]".repeat(1000)),
        format!("1{}", chain("+1", 1000)),
        format!("customer.attributes{}", chain(".a", 1000)),
        format!("f(){}", chain(".a", 1000)),
        format!("true{}", chain("&&true", 300)),
        format!("1{}", chain("?1:1", 400)),
        format!("[{}1]", chain("1,", 500)),
        format!("{{{}}}", chain("1:1,", 400)),
        format!("{}[1]{}", chain("[1].map(x,", 150), ")".repeat(150)),
        "x".repeat(3000),
        "\"".repeat(2000),
        "\u{0}\u{feff}`".repeat(300),
    ];
    let small = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    let checked = small.spawn(move || {
        // The parser takes pairs of these away.
        for sign in ["!", "-"] {
            let _ = Condition::compile(&format!("{}true", sign.repeat(2000)), Place::EntryKey);
        }
        for source in hostile {
            assert!(!codes(&source, Place::EntryKey).is_empty(), "{source}");
        }
    });
    checked.unwrap().join().unwrap();
}

#[test]
fn data_cannot_make_it_run_long() {
    let numbers = format!("[{}0]", "0,".repeat(999));
    let long = format!("[{}0]", "0,".repeat(1000));
    let text = "x".repeat(20_000);
    let world = World::new(
        &format!(r#"{{"text":"{text}"}}"#),
        &format!(r#"{{"items":{numbers},"long":{long}}}"#),
    );
    assert_eq!(world.holds("event.properties.items.all(i, i == 0)"), Ok(true));
    for (source, text) in [
        ("event.properties.long.all(i, i == 0)", "elements to go through"),
        ("event.properties.items.all(i, i in event.properties.items)", "reads more"),
        ("event.properties.items.all(i, customer.attributes.text != 'y')", "reads more"),
        ("event.properties.items.all(i, !'a'.matches('(b{100}){100}'))", "reads more"),
        (
            "[1, 2, 3].all(i, !customer.attributes.text.matches('[a-z]{1,200}@[a-z]{1,200}[.]\\\\w{99}'))",
            "reads more",
        ),
        (
            "size([1].map(i, customer.attributes.text + customer.attributes.text \
             + customer.attributes.text + customer.attributes.text)) == 1",
            "the result has over",
        ),
    ] {
        let unknown = world.holds(source).expect_err(source);
        assert!(unknown.0.contains(text), "{source}: {unknown}");
    }
}

#[test]
fn conditions_of_one_event_share_what_they_may_read() {
    let list = format!(r#"{{"items":[{}0]}}"#, "0,".repeat(600));
    let source = "event.properties.items.all(i, event.properties.items != [])";
    let condition = Condition::compile(source, Place::TriggerFilter).unwrap();
    World::new("{}", &list).with(|facts| {
        let asked = std::iter::repeat_with(|| condition.holds(facts));
        let answered = asked.take(1_000).take_while(Result::is_ok).count();
        assert!((5..50).contains(&answered), "{answered} answers");
        assert!(facts.reads.get() <= EVENT_READS_MAX + CONDITION_READS_MAX);
        let error = condition.holds(facts).unwrap_err();
        assert!(error.0.contains("all those of one event"), "{error}");
    });
}

#[test]
fn a_bucket_never_changes() {
    assert_eq!(world().holds("bucket('welcome') == 6490"), Ok(true));
}

/// A small arithmetic or logical text with its meaning.
fn logic() -> impl Strategy<Value = (String, bool)> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(|truth| (truth.to_string(), truth)),
        (-50..50_i64, -50..50_i64).prop_map(|(a, b)| (format!("({a}) < ({b})"), a < b)),
        (-50..50_i64, -50..50_i64, 1..9_i64)
            .prop_map(|(a, b, c)| (format!("({a}) + {c} * ({b}) >= ({b})"), a + c * b >= b)),
        (-50..50_i64, 0..99_i32).prop_map(|(a, b)| (
            format!("({a}) > ({b}.5)"),
            half(2 * a) > half(2 * i64::from(b) + 1)
        )),
    ];
    leaf.prop_recursive(3, 16, 2, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            pair.clone().prop_map(|((a, x), (b, y))| (format!("({a}) && ({b})"), x && y)),
            pair.clone().prop_map(|((a, x), (b, y))| (format!("({a}) || ({b})"), x || y)),
            pair.prop_map(|((a, x), (b, y))| (format!("({a}) == ({b})"), x == y)),
            inner.prop_map(|(a, x)| (format!("!({a})"), !x)),
        ]
    })
}

fn half(number: i64) -> f64 {
    f64::from(i32::try_from(number).unwrap()) / 2.0
}

/// Text that often is a condition.
fn near_conditions() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "customer",
        ".",
        "attributes",
        "event.properties",
        "country",
        "items",
        "==",
        "+",
        "-",
        "*",
        "/",
        "%",
        "<",
        "!",
        "&&",
        "||",
        "?",
        ":",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        "'a'",
        "1",
        "0",
        "2.5",
        "-1",
        "9223372036854775807",
        "null",
        "true",
        "x",
        ".map(x,",
        ".exists(x,",
        "count('bought')",
        "last('bought')",
        "now",
        "duration('1h')",
        "has(",
        "size(",
        "string(",
        "timestamp(",
        "int(",
        "double(",
        ".matches('a+')",
        "in",
        "bucket('s')",
        "count_since('bought',",
        ".getDayOfYear()",
        ".getHours('Europe/Berlin')",
        "duration('-9223372036s')",
        " ",
    ]);
    prop::collection::vec(token, 0..14).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn small_conditions_mean_what_they_say((source, expected) in logic()) {
        prop_assert_eq!(world().holds(&source), Ok(expected), "{}", source);
    }

    #[test]
    fn any_text_is_answered_or_refused(source in prop_oneof![near_conditions(), any::<String>()]) {
        if let Ok(condition) = Expression::compile(&source, Place::TriggerFilter) {
            let world = world();
            let first = world.with(|facts| condition.key(facts));
            prop_assert_eq!(world.with(|facts| condition.key(facts)), first);
        }
    }
}
