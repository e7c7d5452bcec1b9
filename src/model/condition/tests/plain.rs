//! The plain form of conditions against the library.

use super::*;

/// Comparisons that the plain form takes, and some that it must not.
fn comparisons() -> impl Strategy<Value = String> {
    let names = [
        "customer.id",
        "customer.email",
        "customer.locale",
        "event.name",
        "event.id",
        "flow.id",
        "event.properties.a",
        "event.properties.b",
        "customer.attributes.a",
        "event.properties",
        "event.properties.a.b",
        "customer.attributes['b']",
        "event.properties['x y']",
    ];
    let texts =
        ["''", "'x'", "\"x\"", "'a\\nb'", "'17850'", "'signup'", "'é'", "7", "null", "true"];
    let parts = (
        prop::sample::select(names.to_vec()),
        prop::sample::select(vec!["==", "!=", "<", "in"]),
        prop::sample::select(texts.to_vec()),
        any::<bool>(),
    );
    parts.prop_map(|(name, operator, text, turned)| {
        let (left, right) = if turned { (text, name) } else { (name, text) };
        format!("{left} {operator} {right}")
    })
}

fn objects() -> impl Strategy<Value = String> {
    let values = [
        "\"x\"",
        "\"\"",
        "\"a\\nb\"",
        "\"é\"",
        "\"\\u00e9\"",
        "7",
        "null",
        "true",
        "[]",
        "{\"b\":\"x\"}",
    ];
    let value = || prop::sample::select(values.to_vec());
    (value(), value(), value())
        .prop_map(|(a, b, c)| format!(r#"{{"a":{a},"c":"more","b":{b},"x y":{c}}}"#))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]
    #[test]
    fn the_plain_form_answers_as_the_library_does(
        source in comparisons(),
        attributes in objects(),
        properties in objects(),
    ) {
        if let Ok(condition) = Condition::compile(&source, Place::TriggerFilter) {
            let world = World::new(&attributes, &properties);
            world.with(|facts| {
                let plain = condition.0.compiled.plain.as_ref().and_then(|it| it.holds(facts));
                let reads = facts.reads.replace(0);
                if let Some(answer) = plain {
                    assert_eq!(condition.holds_by_library(facts), Ok(answer), "{source}");
                    assert_eq!(facts.reads.get(), reads, "{source}");
                }
            });
        }
    }
}

#[test]
fn the_usual_conditions_are_plain() {
    let is_plain = |source: &str, place| {
        let condition = Condition::compile(source, place).unwrap();
        let world = World::new(r#"{"country":"GB"}"#, r#"{"plan":"free"}"#);
        world.with(|facts| {
            condition.0.compiled.plain.as_ref().is_some_and(|it| it.holds(facts).is_some())
        })
    };
    assert!(is_plain("event.properties.plan == 'free'", Place::TriggerFilter));
    assert!(is_plain("'GB' != customer.attributes.country", Place::SegmentRule));
    assert!(!is_plain("event.properties.plan == 'free' && true", Place::TriggerFilter));
    assert!(!is_plain("customer.attributes.other == 'x'", Place::SegmentRule));
}
