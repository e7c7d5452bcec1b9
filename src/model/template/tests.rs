//! What templates render to and what they are refused for.

mod growth;

use super::*;
use crate::model::JsonText;
use proptest::prelude::*;

fn values(pairs: &[(&str, &str)]) -> Fields {
    let pairs = pairs.iter().map(|(name, json)| (*name, JsonText::parse(json).unwrap()));
    pairs.collect()
}

fn known() -> Fields {
    values(&[
        ("customer.id", r#""17850""#),
        ("customer.email", "null"),
        ("customer.attributes.name", r#""<Ann> & Bob""#),
        ("customer.attributes.age", "41"),
        ("customer.attributes.address", r#"{"city":"Leeds","zip":null}"#),
        ("trigger.properties", r#"{"cart id":7,"items":[{"sku":"A"},{"sku":"B"}]}"#),
        ("now", r#""2026-03-01T12:00:00Z""#),
    ])
}

fn render(source: &str, form: Form) -> Result<String, RenderError> {
    let template = Template::compile(source, form);
    template.unwrap_or_else(|faults| panic!("{source}: {faults:?}")).render(&known())
}

#[test]
fn what_is_rendered() {
    for (source, expected) in [
        ("Welcome, {{ customer.id }}", "Welcome, 17850"),
        ("{{ customer.attributes.name }} {{ customer.attributes.age + 1 }}", "<Ann> & Bob 42"),
        ("{{ customer.email | default('you') }}{{ customer.locale | default('') }}", "you"),
        ("{{ customer.attributes.address.zip | default('-') }}", "-"),
        (
            "{{ customer.attributes.address.city | upper }} at {{ now }}",
            "LEEDS at 2026-03-01T12:00:00Z",
        ),
        ("{% for i in event.properties.items %}{{ i.sku }},{% endfor %}", "A,B,"),
        ("{{ trigger.properties['cart id'] }}{% if customer.email is defined %}x{% endif %}", "7"),
        ("{{ customer.attributes.age > 40 }}", "true"),
        ("{% for n in range(3) %}{{ n }}{% endfor %}{% set a = 1 %}{{ a }}", "0121"),
        ("{{ [1, 'a'] | tojson }} {{ [1] | tojson(indent=2) }}", "[1, \"a\"] [\n  1\n]"),
        ("{{ [1, 'a', true] }} {{ {'a': none} }}", "[1, 'a', True] {'a': None}"),
    ] {
        assert_eq!(render(source, Form::Text).as_deref(), Ok(expected), "{source}");
    }
    let html = render("<b>{{ customer.attributes.name }}</b>", Form::Html);
    assert_eq!(html.as_deref(), Ok("<b>&lt;Ann&gt; &amp; Bob</b>"));
}

#[test]
fn what_cannot_be_rendered() {
    let deep = |last: &str| {
        let nest = "{% set a = [a] %}".repeat(90);
        format!("{{% set a = range(9999) | list %}}{nest}{{{{ {last} }}}}")
    };
    for (source, text) in [
        ("{{ customer.email }}", "undefined"),
        ("{{ customer.attributes.missing }}", "undefined"),
        ("a\n{{ customer.id | nonsense }}", "at line 2"),
        ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", "fuel"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion"),
        ("{{ 'x' * 1000000000 }}", ""),
        (&format!("{{% for a in range(9999) %}}{}{{% endfor %}}", "x".repeat(999)), "over 1048576"),
        ("{{ {'a': 1} | tojson(indent=99999999999999) }}", "at most 16"),
        ("{{ {'a': 1} | tojson(17) }}", "at most 16"),
        ("{% set x %}{{ [0] * 99999999 }}{% endset %}{{ x | length }}", "over 1048576"),
        (&deep("a | pprint"), "over 1048576"),
        (&deep("a | tojson(9)"), "over 1048576"),
        ("{% set n = namespace() %}{% set n.x = n %}{{ n | string }}", "no namespace"),
    ] {
        let error = render(source, Form::Text).expect_err(source);
        assert!(error.0.contains(text), "{source}: {error}");
    }
}

#[test]
fn what_is_refused() {
    for (source, codes) in [
        ("{{ custmer.id }} {{ customer.name }}", vec!["unknown_variable"; 2]),
        ("{{ customer }} {{ event }} {{ customer['id'] }}", vec!["unknown_variable"; 2]),
        ("{{ customer.email.upper() }} {{ debug() }}", vec!["unknown_variable"; 2]),
        ("{{ customer.id", vec!["template"]),
        ("{% include 'x' %}", vec!["template"]),
        ("{% extends 'x' %}", vec!["template"]),
        (&"x".repeat(TEMPLATE_BYTES_MAX + 1), vec!["too_large"]),
    ] {
        let faults = Template::compile(source, Form::Text).expect_err("must be refused");
        assert_eq!(faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), codes);
    }
    let faults = Template::compile("{{ customer.nam }}", Form::Text).unwrap_err();
    let text = faults[0].to_string();
    assert!(text.contains("`customer.nam`; there are customer.id, customer.email"), "{text}");
}

#[test]
fn it_names_its_variables() {
    let source = "{{ event.properties.cart.total }} {{ customer.attributes['x'] }} {{ now }} \
        {{ trigger.name }} {% for i in trigger.properties.items %}{{ i.sku }}{% endfor %}";
    let template = Template::compile(source, Form::Html).unwrap();
    let expected = [
        "customer.attributes",
        "now",
        "trigger.name",
        "trigger.properties.cart",
        "trigger.properties.items",
    ];
    assert!(template.variables().iter().map(|it| &**it).eq(expected), "{:?}", template.variables());
}

#[test]
fn hostile_templates_end_on_a_small_stack() {
    let small = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    let checked = small.spawn(|| {
        for source in [
            format!("{{{{ {}1 }}}}", "-".repeat(20_000)),
            format!("{{{{ customer.attributes{} }}}}", ".a".repeat(20_000)),
            format!("{{{{ 1{} }}}}", "+1".repeat(20_000)),
            format!("{{{{ {}1{} }}}}", "(".repeat(20_000), ")".repeat(20_000)),
            format!("{{% if 1 %}}{}{{% endif %}}", "{% elif 1 %}".repeat(5_000)),
            format!("{{% set a = 1 %}}{}{{{{ a }}}}", "{% set a = [a] %}".repeat(3_000)),
        ] {
            if let Ok(template) = Template::compile(&source, Form::Text) {
                let first = template.render(&known());
                assert_eq!(template.render(&known()), first);
            }
        }
    });
    checked.unwrap().join().unwrap();
}

proptest! {
    #[test]
    fn any_text_renders_or_is_refused(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "{{", "}}", "{%", "%}", " for x in ", " if ", " endif ", " endfor ", "customer.id",
            "event.properties", "|upper", "|default('')", "x", "'", "(", ")", "+", "1", "~", "[",
            "]", ".a", "range(9)", " set x = ", "{#", "#}", "|tojson", "|sort", " é",
        ]), 0..20)
    ) {
        let source = tokens.concat();
        if let Ok(template) = Template::compile(&source, Form::Html) {
            let _ = template.render(&known());
        }
    }
}

/// Pieces of templates that the plain form takes, and some that it must not.
fn pieces() -> impl Strategy<Value = String> {
    let names = [
        "customer.id",
        "customer.email",
        "customer.attributes.name",
        "customer.attributes.items",
        "customer.attributes.true",
        "event.properties.plan",
        "trigger.properties.not",
        "event.id",
        "now",
        "flow.version",
        "customer.attributes",
        "customer.attributes.a.b",
        "loop.index",
        "not",
        "customer.attributes.name | upper",
        "-7",
        "'x'",
    ];
    let space = || prop::sample::select(vec!["", " ", "  ", "\t", "-", "\n"]);
    let hole = (space(), prop::sample::select(names.to_vec()), space());
    prop_oneof![
        4 => hole.prop_map(|(before, name, after)| format!("{{{{{before}{name}{after}}}}}")),
        2 => "[a-z<&{}% \\\\\"é]{0,6}",
        1 => prop::sample::select(vec!["\n", "{", "}}", "{{", "{#", "#}", "{% raw %}", "\r\n", "##"])
            .prop_map(str::to_owned),
    ]
}

fn leaves() -> impl Strategy<Value = JsonText> {
    let text =
        "[a-z<>&'\"/\\\\\\n\u{0}-\u{1f}é😀]{0,6}".prop_map(|text| JsonText::new(&text.into()));
    let written = prop::sample::select(vec![
        "0",
        "-0",
        "7",
        "-12",
        "999999999999999999",
        "9223372036854775807",
        "18446744073709551615",
        "1.0",
        "1e3",
        "2.5",
        "true",
        "null",
        "[]",
        "[1]",
        "{}",
        "{\"b\":1}",
        "\"\"",
    ]);
    prop_oneof![text, written.prop_map(|json| JsonText::parse(json).unwrap())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn the_plain_form_says_what_the_library_says(
        pieces in prop::collection::vec(pieces(), 0..6),
        values in prop::collection::vec(leaves(), 12),
        is_html in any::<bool>(),
    ) {
        let form = if is_html { Form::Html } else { Form::Text };
        if let Ok(template) = Template::compile(&pieces.concat(), form) {
            let values: Fields = template.variables().iter().cloned().zip(values).collect();
            let plain = template.plain.as_ref().and_then(|plain| plain.render(&values, form));
            if let Some(text) = plain {
                prop_assert_eq!(template.render_by_library(&values), Ok(text));
            }
        }
    }
}

#[test]
fn the_usual_templates_are_plain() {
    for source in ["", "Hello {{ customer.id }}!", "{{now}}", "a } {{ event.properties.plan }}"] {
        assert!(Template::compile(source, Form::Text).unwrap().plain.is_some(), "{source}");
    }
    for source in ["{{ customer.id | upper }}", "x\n", "{% if now %}{% endif %}", "{{- now }}"] {
        assert!(Template::compile(source, Form::Text).unwrap().plain.is_none(), "{source}");
    }
}
