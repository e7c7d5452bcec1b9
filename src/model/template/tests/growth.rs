//! Which templates are refused for what their values can grow to, and that the others stay small.

use super::*;
use crate::base::limits::VALUES_BYTES_MAX;

/// A statement over and over, then an expression.
fn again(first: &str, statement: &str, times: usize, last: &str) -> String {
    format!("{first}{}{{{{ {last} }}}}", statement.repeat(times))
}

#[test]
fn what_people_write_is_allowed() {
    for source in [
        "{{ customer.attributes.price * customer.attributes.quantity }}",
        "{{ event.properties.a * event.properties.b + event.properties.c * event.properties.d }}",
        "{{ customer.attributes.age + 1 }} {{ customer.attributes.age * 100 }}",
        "{{ customer.attributes.first ~ ' ' ~ customer.attributes.last }}",
        "{{ [customer.attributes.a, customer.attributes.b] | join(', ') }}",
        "{% set total = event.properties.price * event.properties.quantity %}{{ total | round(2) }}",
        "{{ '%.2f EUR' | format(event.properties.price * event.properties.quantity) }}",
        "{{ (event.properties.price * event.properties.quantity) | round(2) ~ ' EUR' }}",
        "{{ ((event.properties.price | float) * event.properties.quantity) ~ ' EUR' }}",
        "{{ event.properties.price * 1.19 ~ ' EUR' }}",
        "{% if event.properties.price * event.properties.quantity > 100 %}free{% endif %}",
        "{% for i in event.properties.items %}{{ loop.index * 1000 ~ ') ' ~ i.name }}{{ i.price * i.quantity }}{% endfor %}",
        "{% for row in event.properties.items | batch(3, '&nbsp;') %}{{ row | join(', ') }}{% endfor %}",
        "{% for group in event.properties.items | groupby('kind') %}{{ group.list | sum(attribute='price') }}{% endfor %}",
        "{{ event.properties.items | map(attribute='price', default=0) | sum }}",
        "{{ event.properties.items | selectattr('price', 'gt', 10) | map(attribute='name') | map('upper') | unique | join(', ') }}",
        "{{ event.properties.items | sort(attribute='price') | map(attribute='name') | list | tojson }}",
        "{{ event.properties.items[:5] | length }} {{ event.properties.name[0] }}",
        "{% macro money(x, sign='EUR') %}{{ x | round(2) }} {{ sign }}{% endmacro %}{{ money(event.properties.price) }}",
        "{% macro row(a) %}<td>{{ a }}</td>{% endmacro %}{{ row(customer.id) ~ row([customer.id, now]) }}",
        "{% macro box() %}[{{ caller() }}]{% endmacro %}{% call box() %}in{% endcall %}",
        "{% set x %}Dear {{ customer.id }}{% endset %}{{ [x, x, x] | join }} {{ x == 'a' }}",
        "{% for tree in event.properties.trees recursive %}{{ tree.name }}{{ loop(tree.children) }}{% endfor %}",
        "{% for k, v in event.properties.map | items %}{{ k }}={{ v }}{% endfor %}",
        "{% for n in range(12) %}{{ n * 100 ~ '%' }}{% endfor %}",
        "{% set names = {'uk': 'Britain', 'de': 'Germany'} %}{{ names[customer.attributes.country] | default('') }}",
        "{% set all = event.properties.a + event.properties.b %}{% for i in all %}{{ i }}{% endfor %}",
        "{% if customer.attributes.plan in ['gold', 'silver'] and 'x' not in customer.id %}y{% endif %}",
        "{{ 'a' if customer.attributes.a == customer.attributes.b else 'b' }} {{ '-' * 40 }}",
        "{% set two = [customer.id, now] * 2 %}{{ two | join(', ') ~ '.' }}",
        "{% filter upper %}{{ customer.id }}{% endfilter %}{% with a = 1, b = a %}{{ a + b }}{% endwith %}",
    ] {
        let compiled = Template::compile(source, Form::Html);
        assert!(compiled.is_ok(), "{source}: {:?}", compiled.unwrap_err());
    }
}

#[test]
fn what_may_grow_beyond_bounds_is_refused() {
    let doubled = |statement: &str, last: &str| again("{% set a = 'x' %}", statement, 60, last);
    for source in [
        doubled("{% set a = [a, a] %}", "a"),
        doubled("{% set a = {'x': a, 'y': a} %}", "a == a"),
        doubled("{% set a, b = [a, a], 1 %}", "a ~ ''"),
        doubled("{% with a = [a, a] %}{% endwith %}", "a"),
        doubled("{% set a = dict(x=a, y=a) %}", "a | string"),
        doubled("{% if now %}{% set a = (a, a) %}{% endif %}", "a | length"),
        again("{% set a = [] %}", "{% set a = a + a %}", 60, "a | length"),
        again("{% set a = [1] %}", "{% set a = a | zip(a) %}", 40, "a | string"),
        again("{% set a = [1] %}", "{% set a = a | chain(a) %}", 40, "a | string"),
        again("{% set a = [1] %}", "{% set a = a | batch(9, a) %}", 40, "a | string"),
        again("{% set a = [1] %}", "{% set a = a | slice(900) | list %}", 9, "a | string"),
        again("{% set a = [1] %}", "{% set a = [0, 0] | map('default', a, true) | list %}", 60, "a"),
        again("{% set a = [1] %}", "{% set a = [[0] * 9, a | default([a, a])] %}", 60, "a | sort"),
        again("{% set a = [1] %}", "{% set a = [a if now else 1, a or 1] %}", 60, "a | tojson"),
        "{{ [[0] * 99999] * 99999 ~ '' }}".to_owned(),
        "{{ ([0] * 99999999) | string }}".to_owned(),
        "{{ ([0] * 99999999)[99999998:] | first }}".to_owned(),
        "{{ [0] * 99999999 ~ '' }}".to_owned(),
        "{{ [0] * 64 * 64 * 64 ~ '' }}".to_owned(),
        format!("{{{{ now{} }}}}", " ~ 1".repeat(500)),
        "{{ [0] * 99999999 == [0] * 99999998 }}".to_owned(),
        "{{ (event.properties.price * event.properties.quantity) ~ ' EUR' }}".to_owned(),
        "{{ '%s' | format(event.properties.price * event.properties.quantity) }}".to_owned(),
        "{{ [event.properties.price * event.properties.quantity] | tojson }}".to_owned(),
        "{{ 'a' | replace(range(9) | batch(1, range(9)) | list, 'b') }}".to_owned(),
        "{% macro m(a) %}{{ m([a, a]) }}{% endmacro %}{{ m(1) }}".to_owned(),
        "{% macro m() %}{{ [a, a] * 16 == [a] }}{{ a | sort }}{% endmacro %}{% set a = [now, now, now, now] %}{{ m() }}".to_owned(),
        "{% for a in [1] recursive %}{{ loop([[a, a], 1]) }}{% endfor %}".to_owned(),
        "{% set r = range %}{% set a = [r(9), r(9)] %}{{ a in [a] }}".to_owned(),
        "{% call(a) m([now, now, now, now]) %}{% endcall %}".to_owned(),
        again("", "{% set a = namespace.x[{'x': [now, now, now, now]}] %}", 1, "1"),
    ] {
        let faults = Template::compile(&source, Form::Text).expect_err(&source);
        assert!(faults.iter().any(|fault| fault.code == "template_limit"), "{source}: {faults:?}");
    }
}

#[test]
fn a_refusal_says_what_where_and_what_instead() {
    let text = |source: &str| Template::compile(source, Form::Text).unwrap_err()[0].to_string();
    assert_eq!(
        text("Hello\n  {{ (event.properties.price * event.properties.quantity) ~ ' EUR' }}"),
        "template_limit: a product that may be a list many times over, at line 2, column 7 of the \
         template; say that it is a number, as in (price * quantity) | float, or print it alone"
    );
    let doubled = text(&again("{% set a = 1 %}", "{% set a = [a, a] %}", 60, "a"));
    assert!(doubled.contains("too many times over, at line 1"), "{doubled}");
    // One cause is told once, however much is made of it, and causes without number are not.
    let many = "{{ (now * now) ~ 'x' ~ 'y' }}".repeat(1_000);
    assert_eq!(Template::compile(&many, Form::Text).unwrap_err().len(), 8);
}

/// What was stored before there were bounds opens, and is told when a message would be rendered.
#[test]
fn what_was_stored_before_is_refused_when_it_is_rendered() {
    let source = again("{% set a = 1 %}", "{% set a = [a, a] %}", 60, "a == a");
    let template = Template::stored(&source, Form::Text).unwrap();
    let error = template.render(&known()).unwrap_err();
    assert!(error.0.contains("too many times over"), "{error}");
    let fine = Template::stored("{{ customer.id }}", Form::Text).unwrap();
    assert_eq!(fine.render(&known()).as_deref(), Ok("17850"));
}

#[test]
fn reckoning_takes_as_long_as_the_template() {
    for source in [
        format!("{{{{ {}1{} }}}}", "{".repeat(500), ":1}".repeat(500)),
        format!("{{{{ 1{} }}}}", " | map('x', 1)".repeat(4_000)),
        format!("{{{{ {}1{} }}}}", "[1] | zip(".repeat(500), ")".repeat(500)),
        format!("{{{{ {}1{} }}}}", "range(".repeat(500), ")".repeat(500)),
        "{% macro a() %}{% macro b() %}{% endmacro %}{% endmacro %}".repeat(1_000),
    ] {
        // Twice the work at each level would not end.
        let _ = Template::compile(&source, Form::Text);
    }
}

/// How many values a walk through `value` visits, up to `most`.
fn walked(value: &Value, most: usize) -> usize {
    let mut count = 1;
    if matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
        let pairs = value.kind() == ValueKind::Map;
        for item in value.try_iter().unwrap() {
            if count > most {
                break;
            }
            let item = if pairs { value.get_item(&item).unwrap() } else { item };
            count += walked(&item, most - count);
        }
    }
    count
}

/// The most that data can be: items of two bytes each.
fn full() -> Fields {
    let items = format!("[{}0]", "0,".repeat(VALUES_BYTES_MAX / 2 - 64));
    values(&[("trigger.properties.items", &items), ("trigger.properties.n", "100000000")])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever is accepted holds no more than it was reckoned to, to within a small factor.
    #[test]
    fn what_is_accepted_stays_small(
        steps in prop::collection::vec(prop::sample::select(vec![
            "{% set a = [a, a] %}", "{% set b = [a, b] %}", "{% set a = a + b %}", "{% set b = b + b %}",
            "{% set a = b %}", "{% set b = {'x': a, 'y': b} %}", "{% set a = [1] * 9 %}",
            "{% set b = [b] * 5 %}", "{% set a = a | list %}", "{% set b = a | zip(b) | list %}",
            "{% set a = b | batch(3, a) | list %}", "{% set b = [0, b] | sort %}",
            "{% set a = event.properties.items %}", "{% set b = [event.properties.items, a] %}",
            "{% set a = a | slice(99) | list %}", "{% set b = b[:9] %}", "{% set a = b | chain(a) %}",
            "{% set b = a | map('default', b) | list %}", "{% set a = 'text' %}",
            "{% set b = b | first | default(a) %}", "{% set a = range(99) | list %}",
            "{% set a = a | groupby(0) %}", "{% set b = dict(a=a, b=b) | items | list %}",
        ]), 0..14)
    ) {
        let source = format!("{{% set a = [] %}}{{% set b = 1 %}}{}{{{{ [a, b] | seen }}}}", steps.concat());
        let Ok(template) = Template::compile(&source, Form::Text) else { return Ok(()) };
        let mut environment = template.environment.unwrap().as_ref().clone();
        let most = 4 * usize::try_from(crate::base::limits::CELLS_BUILT_MAX).unwrap();
        environment.add_filter("seen", move |value: &Value| walked(value, most));
        let context = context(&full());
        match environment.get_template(NAME).unwrap().render(context) {
            Ok(count) => prop_assert!(count.parse::<usize>().unwrap() < most, "{source}: {count}"),
            Err(error) => prop_assert!(error.kind() != ErrorKind::UnknownFilter, "{source}: {error}"),
        }
    }
}
