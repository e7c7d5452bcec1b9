//! Inputs that are made to break or fill the program. Each ends with a clear error or a recorded
//! refusal, in little memory, and a flow that does nothing wrong does what it does without them.

use serde_json::{Value, json};

use super::{Desk, Ended, customer, email, end, end_with_peak, onward, run_simple, signup, simple};

const NEW_YEAR: &str = "2026-01-01T00:00:00Z";
const MIB: usize = 1024 * 1024;

/// Runs a desk's files and checks the peak of its memory.
#[track_caller]
fn run_within(desk: &Desk, mib: u64) -> Ended {
    let mut command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    let (ended, peak) = end_with_peak(&mut command);
    println!("{peak} MiB at most, {mib} allowed");
    assert!((1..mib).contains(&peak), "{peak} MiB: {ended:?}");
    ended
}

/// The flow of [`simple`] and others that start at the same event, each with a segment of its own.
fn beside(others: impl IntoIterator<Item = Value>) -> Value {
    let mut all = super::welcome(&[email(1, "Hello {{ customer.id }}")]);
    for (n, mut flow) in others.into_iter().enumerate() {
        let segment = json!({ "id": format!("s{n}"), "name": "S", "rule": "true" });
        all["segments"].as_array_mut().unwrap().push(segment);
        flow["segment"] = format!("s{n}").into();
        flow["id"] = format!("attack-{n:03}").into();
        flow["name"] = "Attack".into();
        all["flows"].as_array_mut().unwrap().push(flow);
    }
    all
}

fn sending(text: &str) -> Value {
    let step = json!({ "id": "m", "step_order": 1, "step_type": "SEND_EMAIL",
                       "config": { "subject": "-", "text": text } });
    json!({ "trigger": { "event": "signup" }, "steps": [step] })
}

fn filtered(filter: &str) -> Value {
    let step = json!({ "id": "x", "step_order": 1, "step_type": "EXIT" });
    json!({ "trigger": { "event": "signup", "filter": filter }, "steps": [step] })
}

/// The good flow has sent its one message, as without the others.
#[track_caller]
fn unharmed(summary: &Value) {
    assert_eq!(summary["sent"]["welcome/mail-1"], 1, "{summary}");
}

#[test]
fn definitions_that_would_fill_memory_are_refused() {
    let desk = simple();
    run_simple(&desk).code(0);
    let log = desk.log();
    let flows = |count: usize| format!(r#"{{"flows":[{}{{}}]}}"#, "{},".repeat(count));
    let steps: Vec<_> = (1..=1_000).map(|order| email(order, "-")).collect();
    let many_templates =
        beside((0..12).map(|_| json!({ "trigger": { "event": "go" }, "steps": steps })));
    // What opening the directory again takes, with definitions that are as they were.
    let mut again = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    let (_, idle) = end_with_peak(&mut again);
    let attacks: [(&str, String, &str, u64); 9] = [
        ("wide", format!("[{}0]", "0,".repeat(8 * MIB)), "too many values", 100),
        ("flows", flows(500_000), "$.flows", 300),
        (
            "distinct",
            {
                let flow = |n| format!(r#"{{"id":"f{n}"}}"#);
                format!(
                    r#"{{"flows":[{}]}}"#,
                    (0..1_000_000).map(flow).collect::<Vec<_>>().join(",")
                )
            },
            "too many values",
            150,
        ),
        ("deep", "[".repeat(MIB), "too_deep", idle + 20),
        ("objects", r#"{"a":"#.repeat(MIB / 5), "too_deep", idle + 20),
        ("number", format!("[{}]", "9".repeat(MIB)), "out of range", idle + 20),
        ("text", format!(r#"{{"segments":[{{"id":"{}"}}]}}"#, "x".repeat(16 * MIB)), "bad_id", 150),
        ("long", format!(r#"{{"segments":"{}"}}"#, "x".repeat(64 * MIB)), "too many bytes", 150),
        ("templates", many_templates.to_string(), "bytes of memory for conditions", 450),
    ];
    for (name, text, says, mib) in attacks {
        desk.file("defs.json", text);
        let ended =
            run_within(&desk, mib).code(1).says(&["defs.json:1:", says, "nothing was stored"]);
        assert!(ended.err.len() < 300_000, "{name}: {} bytes of findings", ended.err.len());
    }
    assert_eq!(desk.log(), log, "nothing of them is stored");
    end(&mut onward(&["validate", "/dev/zero"])).code(3).says(&["/dev/zero", "no regular file"]);
}

#[test]
fn ids_of_a_megabyte_are_refused_wherever_there_is_one() {
    let desk = simple();
    let (long, line_long) = ("x".repeat(MIB), "x".repeat(30_000));
    let segment = json!({ "id": long, "name": long, "members": [long] });
    let step = json!({ "id": long, "step_order": 1, "step_type": long, "next_step_id": long });
    let flow = json!({ "id": long, "name": long, "segment": long, "entry": long, "entry_key": long,
                       "trigger": { "event": long, "filter": long }, "steps": [step] });
    let campaign = json!({ "id": long, "name": long, "flows": [long], "starts": long });
    let all = json!({ "segments": [segment], "flows": [flow], "campaigns": [campaign], &long: 1 });
    desk.file("defs.json", all.to_string());
    let ended = run_within(&desk, 200).code(1);
    assert!(ended.err.len() < 20_000, "{}", ended.err.len());
    for path in [
        "$.segments[0].id",
        "$.segments[0].name",
        "$.segments[0].members[0]",
        "$.flows[0].id",
        "$.flows[0].segment",
        "$.flows[0].trigger.event",
        "$.flows[0].trigger.filter",
        "$.flows[0].entry",
        "$.flows[0].entry_key",
        "$.flows[0].steps[0].id",
        "$.flows[0].steps[0].step_type",
        "$.flows[0].steps[0].next_step_id",
        "$.campaigns[0].id",
        "$.campaigns[0].flows[0]",
        "$.campaigns[0].starts",
    ] {
        assert!(ended.err.contains(&format!("({path})")), "{path}: {}", ended.err);
    }

    let desk = simple();
    let lines = [customer("c1"), customer(&long), customer(&line_long)];
    desk.file("customers.ndjson", lines.concat());
    let line = |field: &str, id: &str| {
        let mut event = json!({ "id": "e", "name": "signup", "customer": "c1", "time": NEW_YEAR });
        event[field] = id.into();
        format!("{event}\n")
    };
    let fields = ["id", "name", "customer", "time"].map(|field| line(field, &line_long));
    let good = signup("e1", "c1", NEW_YEAR);
    desk.file(
        "events.ndjson",
        [&fields.concat(), &line("id", &long), &good].map(String::as_str).concat(),
    );
    let ended =
        run_within(&desk, 100).code(1).says(&["too_long", "bad_id", "bad_name", "bad_time"]);
    assert!(ended.err.len() < 10_000, "{}", ended.err.len());
    assert_eq!(ended.object()["rejected_lines"], 7);
    unharmed(&ended.object());
    // The system itself takes no argument of over 128 KiB.
    for what in ["customer", "flow", "enrollment"] {
        desk.on_data(&["show", what, &"x".repeat(100_000)]).code(2);
    }
    desk.on_data(&["verify"]).code(0);
}

#[test]
fn lines_that_are_bombs_are_refused_one_by_one() {
    let desk = simple();
    let attribute = |json: &str| format!("{{\"id\":\"c2\",\"attributes\":{{\"a\":{json}}}}}\n");
    let bad = [
        attribute(&"[".repeat(40_000)),
        attribute(&format!("{}1{}", "{\"a\":".repeat(5_000), "}".repeat(5_000))),
        attribute("1e999"),
        attribute(&"9".repeat(10_000)),
        attribute(r#""\ud800""#),
        attribute("1,\"a\":2"),
        attribute("NaN"),
        "\u{feff}{\"id\":\"c2\"}\n".to_owned(),
        "{\"id\":\"c2\"}{\"id\":\"c3\"}\n".to_owned(),
        "\0\n".to_owned(),
    ];
    let fine = [
        attribute(r#""\u0000""#),
        attribute(&format!("0.{}1", "0".repeat(10_000))),
        attribute(&format!("[{}0]", "0,".repeat(10_000))),
    ];
    desk.file("customers.ndjson", [customer("c1"), bad.concat(), fine.concat()].concat());
    let events: String = (0..20_000).map(|_| "x\n").collect();
    desk.file("events.ndjson", events + &signup("e1", "c1", NEW_YEAR));
    let ended = run_within(&desk, 100).code(1);
    assert!(ended.err.lines().count() < 200, "the first are told, all are counted");
    let summary = ended.object();
    assert_eq!(summary["rejected_lines"], bad.len() + 20_000);
    unharmed(&summary);
    desk.on_data(&["verify"]).code(0);
}

#[test]
fn conditions_that_are_bombs_are_refused_or_have_no_answer() {
    let desk = simple();
    let refused = [
        "[1].all(a, [1].exists(b, [1].map(c, true)))".to_owned(),
        "(".repeat(2_000),
        "true ? ".repeat(290) + "1",
        format!("[{}1]", "1,".repeat(900)),
        format!("1{}", "+1".repeat(1_000)),
        format!("customer.attributes{}", ".a".repeat(900)),
        "'x'.matches('((((a{100}){100}){100}){100})')".to_owned(),
        "x".repeat(MIB),
    ];
    desk.file("defs.json", beside(refused.iter().map(|it| filtered(it))).to_string());
    let ended = run_within(&desk, 150).code(1);
    for n in 0..refused.len() {
        let path = format!("($.flows[{}].trigger.filter)", n + 1);
        assert!(ended.err.contains(&path), "{path}: {}", ended.err);
    }

    let unknown = [
        "9223372036854775807 + 1 > 0",
        "-9223372036854775808 / -1 > 0",
        "-9223372036854775808 % -1 == 0 && 1 / 0 == 1",
        "timestamp('9999-12-31T23:59:59Z') + duration('99999h') > now",
        "duration('999999999999999999h') > duration('1s')",
        "event.properties.items.all(i, i in event.properties.items)",
        "event.properties.items.all(i, !'a'.matches('\\\\w{2}x'))",
        "size([1].map(i, event.properties.text + event.properties.text + event.properties.text)) == 1",
    ];
    desk.file("defs.json", beside(unknown.iter().map(|it| filtered(it))).to_string());
    let properties = json!({ "items": vec![0; 1_000], "text": "x".repeat(40_000) });
    let event = json!({ "id": "e1", "name": "signup", "customer": "c1", "time": NEW_YEAR,
                        "properties": properties });
    desk.file("events.ndjson", format!("{event}\n"));
    let summary = run_within(&desk, 100).code(0).object();
    assert_eq!(summary["refused"]["filter_unknown"], unknown.len(), "{summary}");
    unharmed(&summary);
}

#[test]
fn templates_that_are_bombs_send_nothing() {
    let desk = simple();
    let bombs = [
        "{{ 'x' * 99999999 }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro d(s, n) %}{% if n %}{{ d(s ~ s, n - 1) }}{% else %}{{ s }}{% endif %}{% endmacro %}{{ d('xxxx', 40) }}",
        "{{ ('x' * 1000) | replace('', 'y' * 1000) | replace('', 'y' * 1000) }}",
        "{{ range(99999) | list | string }}",
        "{{ range(999999999999) }}",
        "{{ '%999999999d' | format(1) }}",
        "{{ 'x' | indent(999999999) }}",
        "{{ {'a': 1} | tojson(indent=99999999999999) }}",
        "{{ 2 ** 4000000000 }}",
        "{{ [0] * 99999999 }}",
        "{% set x %}{{ [0] * 99999999 }}{% endset %}{{ x | length }}",
        "{% for a in range(9999) %}{% set l = [range(999), range(999)] %}{% if l ~ '' == 'x' %}{% endif %}{% endfor %}",
        "{% set a = range(9999)|list %}{% for i in range(9999) %}{{ a == range(9999)|list }}{% endfor %}",
        "{% set n = namespace() %}{% set n.x = n %}{{ n | string }}",
        "{{ trigger.properties.none }}",
    ];
    desk.file("defs.json", beside(bombs.map(sending)).to_string());
    let summary = run_within(&desk, 150).code(0).object();
    assert_eq!(summary["skipped"]["template_error"], bombs.len(), "{summary}");
    unharmed(&summary);
    assert_eq!(desk.messages(".eml"), 1);
    desk.on_data(&["verify"]).code(0);

    let sixty =
        |each: &str, last: &str| format!("{{% set a = [] %}}{}{{{{ {last} }}}}", each.repeat(60));
    let refused = [
        sixty("{% set a = [a, a] %}", "a == a"),
        sixty("{% set a = [a, a] %}", "a ~ ''"),
        sixty("{% set a = {'x': a, 'y': a} %}", "a | string"),
        sixty("{% set a = a + a %}", "a | length"),
        sixty("{% set a = a | zip(a) | list %}", "a | sort"),
        "{{ [[0] * 99999] * 99999 }}".to_owned(),
        "{{ range(9) | slice(999999999) | list | length }}".to_owned(),
        "{{ [0] * 99999999 ~ '' }}".to_owned(),
        "{{ [0] * 99999999 == [0] * 99999998 }}".to_owned(),
        "{{ (trigger.properties.a * trigger.properties.b) ~ ' EUR' }}".to_owned(),
        "{% macro m(a) %}{{ m([a, a]) }}{% endmacro %}{{ m(1) }}".to_owned(),
        format!("{{{{ {} }}}}", "(".repeat(60_000)),
        "x".repeat(MIB),
        "{% include 'x' %}".to_owned(),
        "{{ debug() }}".to_owned(),
        "{{ customer.attributes.a".to_owned(),
    ];
    let desk = simple();
    desk.file("defs.json", beside(refused.iter().map(|it| sending(it))).to_string());
    let ended = run_within(&desk, 150).code(1);
    for n in 0..refused.len() {
        let path = format!("($.flows[{}].steps[0].config.text)", n + 1);
        assert!(ended.err.contains(&path), "{path}: {}", ended.err);
    }
}

#[test]
fn times_and_durations_at_their_ends_do_no_harm() {
    let desk = simple();
    let wait = |config: Value| {
        let steps = json!([
            { "id": "w", "step_order": 1, "step_type": "WAIT", "config": config },
            email(2, "-"),
        ]);
        json!({ "trigger": { "event": "signup" }, "steps": steps })
    };
    let longest = wait(json!({ "duration": "36500d" }));
    let shortest = wait(json!({ "duration_days": 0.000_000_000_000_1 }));
    desk.file("defs.json", beside([longest, shortest]).to_string());
    let times = [
        "9999-12-31T23:59:59.999999Z",
        NEW_YEAR,
        "1970-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
        "1969-12-31T23:59:59+23:59",
        "2026-12-31T23:59:60Z",
    ];
    for (name, order) in [("up", [6, 5, 4, 3, 2, 1, 0]), ("down", [0, 1, 2, 3, 4, 5, 6])] {
        let events = order.map(|n| signup(&format!("e{n}"), &format!("c{n}"), times[n]));
        desk.file("events.ndjson", events.concat());
        let mut command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
        let ended = end(command.args(["--until", times[0]])).code(1);
        assert_eq!(ended.object()["rejected_lines"], 3, "{name}: {ended:?}");
        desk.on_data(&["verify"]).code(0);
        std::fs::remove_dir_all(desk.data()).unwrap();
        std::fs::remove_dir_all(desk.path("outbox")).unwrap();
    }
    for (wrong, says) in [
        (json!({ "duration_days": 1e308 }), "at most 36500 days"),
        (json!({ "duration_days": -1 }), "a duration is written"),
        (json!({ "duration": "9223372036854775807w" }), "at most 36500 days"),
        (json!({ "duration": "1".repeat(MIB) }), "a duration is written"),
        (json!({ "duration": "P9223372036854775807D" }), "at most 36500 days"),
    ] {
        desk.file("defs.json", beside([wait(wrong)]).to_string());
        run_simple(&desk).code(1).says(&["bad_duration", "$.flows[1].steps[0].config", says]);
    }
}

/// Rows of one customer are neighbours: many of them are many pages, never one large page.
#[test]
fn a_customer_may_do_anything_often() {
    let desk = simple();
    let mut keyed = filtered("true");
    keyed["entry"] = "every_time".into();
    keyed["entry_key"] = "event.id".into();
    desk.file("defs.json", beside([keyed]).to_string());
    let count = 10_000;
    let events = (0..count).map(|n| {
        // Every event with a name of its own for a while: those beyond 64 are not remembered.
        if n < 500 {
            let name = format!("name-{n}");
            return format!(
                "{}\n",
                json!({ "id": format!("n{n}"), "name": name, "customer": "c1",
                                           "time": NEW_YEAR })
            );
        }
        signup(&format!("e{n}"), "c1", NEW_YEAR)
    });
    desk.file("events.ndjson", events.collect::<String>());
    // Attributes that grow by merging, until they are as many as a customer may have.
    let grown = (0..60).map(|n| {
        let attributes = json!({ format!("a{n}"): "x".repeat(1_000) });
        format!("{}\n", json!({ "id": "c1", "email": "c1@example.com", "attributes": attributes }))
    });
    desk.file("customers.ndjson", grown.collect::<String>());
    let mut command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    command.env("ONWARD_LIMITS", "cache_bytes=1000000,checkpoint_records=2000");
    let (ended, peak) = end_with_peak(&mut command);
    assert!((1..150).contains(&peak), "{peak} MiB");
    let summary =
        ended.code(1).says(&["customers.ndjson:33:1: too_large: a customer's attributes"]).object();
    assert_eq!(summary["rejected_lines"], 60 - 32);
    assert_eq!(summary["enrolled"], count - 500 + 1, "once, and for each key");
    unharmed(&summary);
    desk.on_data(&["verify"]).code(0);
}

#[test]
fn a_thousand_steps_that_take_no_time_end() {
    let desk = simple();
    let steps: Vec<_> = (1..=1_000)
        .map(|order| match order % 2 {
            0 => super::wait(order, "0s"),
            _ => json!({ "id": format!("p{order}"), "step_order": order, "step_type": "SEND_PUSH",
                         "config": { "title": "-", "body": "-" } }),
        })
        .collect();
    let straight = json!({ "trigger": { "event": "signup" }, "steps": steps });
    let circle = json!({ "trigger": { "event": "signup" }, "steps": [
        { "id": "w", "step_order": 1, "step_type": "WAIT", "config": { "duration": "1m" } },
        { "id": "p", "step_order": 2, "step_type": "SEND_PUSH",
          "config": { "title": "-", "body": "-" }, "next_step_id": "w" },
    ] });
    desk.file("defs.json", beside([straight, circle]).to_string());
    let mut command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    let (ended, peak) = end_with_peak(command.args(["--until", "2026-02-01T00:00:00Z"]));
    assert!((1..200).contains(&peak), "{peak} MiB");
    let summary = ended.code(0).object();
    assert_eq!(summary["exited"], json!({ "completed": 2, "step_budget": 1 }), "{summary}");
    assert_eq!(summary["active"], 0);
    unharmed(&summary);
    desk.on_data(&["verify"]).code(0);
}
