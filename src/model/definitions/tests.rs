//! Documents that are taken as they are written, and mistakes that are found where they are.

mod bounds;

use proptest::prelude::*;

use super::*;
use crate::{
    base::{Span, limits::SEGMENT_DEPTH_MAX},
    model::{
        finding::Severity,
        segment::Membership,
        step::{Action, After, Urgency},
        trigger::EntryRule,
    },
};

const EXAMPLE: &str = r#"{
  "segments":  [ { "id": "uk", "name": "UK customers",
                   "rule": "customer.attributes.country == 'United Kingdom'" } ],
  "flows": [ { "id": "welcome", "name": "Welcome series", "segment": "uk",
    "trigger": { "event": "signup", "filter": "event.properties.country != 'Unspecified'" },
    "entry": "once",
    "steps": [
      { "id": "hello", "step_order": 1, "step_type": "SEND_EMAIL",
        "config": { "subject": "Welcome, {{ customer.id }}", "text": "Thank you for {{ event.name }}." } },
      { "id": "pause", "step_order": 2, "step_type": "WAIT", "config": { "duration_days": 2 } },
      { "id": "tip", "step_order": 3, "step_type": "SEND_PUSH",
        "config": { "title": "A tip", "body": "..." }, "next_step_id": "end" },
      { "id": "end", "step_order": 4, "step_type": "EXIT", "config": {} } ] } ],
  "campaigns": [ { "id": "spring", "name": "Spring", "flows": ["welcome"] } ] }
"#;

fn parse(text: &str) -> Result<Definitions, Findings> {
    Definitions::parse(&[("a.json", text.as_bytes())], &Known::default())
}

/// The codes and paths of what is wrong with a text.
fn found(text: &str) -> Vec<(&'static str, String)> {
    let findings = parse(text).expect_err(text);
    findings.list.into_iter().map(|finding| (finding.code, finding.path)).collect()
}

/// A flow with these steps.
fn with_steps(steps: &str) -> String {
    format!(
        r#"{{"segments":[{{"id":"s","name":"S","members":[]}}],"flows":[{{"id":"f","name":"F",
        "segment":"s","trigger":{{"event":"e"}},"steps":[{steps}]}}]}}"#
    )
}

fn step(id: &str, order: u32, kind: &str, config: &str, next: &str) -> String {
    let next = if next.is_empty() { String::new() } else { format!(r#","next_step_id":"{next}""#) };
    format!(
        r#"{{"id":"{id}","step_order":{order},"step_type":"{kind}","config":{{{config}}}{next}}}"#
    )
}

#[test]
fn the_example_says_what_it_says() {
    let definitions = parse(EXAMPLE).unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(definitions.warnings, []);
    let flow = &definitions.flows[0].value;
    assert_eq!((flow.id.as_str(), flow.segment.as_str()), ("welcome", "uk"));
    assert_eq!((flow.entry, flow.trigger.event.as_str()), (EntryRule::Once, "signup"));
    assert!(flow.trigger_paths.iter().map(|it| &**it).eq(["trigger.name"]));
    let kinds: Vec<_> = flow.steps.iter().map(|step| step.action.step_type()).collect();
    assert_eq!(kinds, ["SEND_EMAIL", "WAIT", "SEND_PUSH", "EXIT"]);
    let nexts: Vec<_> = flow.steps.iter().map(|step| step.next).collect();
    assert_eq!(nexts, [Some(1), Some(2), Some(3), None]);
    let Action::Wait(wait) = &flow.steps[1].action else { panic!("{:?}", flow.steps[1]) };
    assert_eq!(wait.span, Span::days(2));
    assert!(matches!(definitions.segments[0].value.membership, Membership::Rule(_)));
    assert_eq!(definitions.campaigns[0].value.flows[0].as_str(), "welcome");
    assert_eq!(
        definitions.campaigns[0].json,
        r#"{"flows":["welcome"],"id":"spring","name":"Spring"}"#
    );
}

#[test]
fn a_stored_document_reads_back() {
    let definitions = parse(EXAMPLE).unwrap();
    let (segment, flow) = (&definitions.segments[0], &definitions.flows[0]);
    assert_eq!(Segment::from_json(&segment.json).as_ref(), Ok(&segment.value));
    assert_eq!(Flow::from_json(&flow.json).as_ref(), Ok(&flow.value));
    let campaign = &definitions.campaigns[0];
    assert_eq!(Campaign::from_json(&campaign.json).as_ref(), Ok(&campaign.value));
    assert_eq!(flow.hash, ContentHash::of(flow.json.as_bytes()));
    assert!(Flow::from_json("{}").is_err() && Flow::from_json("nope").is_err());
}

#[test]
fn every_field_is_read() {
    let text = r#"{"segments":[{"id":"s","name":"S","members":["1","2"]}],
      "flows":[{"id":"f","name":"F","segment":"s","trigger":{"event":"e"},
        "entry":{"after":"P30D"},"entry_key":"event.properties.cart","steps":[
        {"id":"b","step_order":2,"step_type":"WAIT","config":{"duration":"2d3h"}},
        {"id":"a","step_order":1,"step_type":"SEND_EMAIL","config":{"subject":"s","html":"<b>",
          "from":"a@b.c","reply_to":"d@e.f","on_skip":"exit","on_failure":"continue"}},
        {"id":"c","step_order":3,"step_type":"SEND_PUSH","config":{"title":"t","body":"b",
          "url":"u","icon":"i","ttl":60,"urgency":"very-low","on_failure":"exit"}},
        {"id":"d","step_order":4,"step_type":"EXIT","config":{"reason":"bought"}}]}],
      "campaigns":[{"id":"c","name":"C","flows":["f"],"starts":"2026-01-01T00:00:00Z",
        "ends":"2026-02-01T00:00:00+01:00"}]}"#;
    let definitions = parse(text).unwrap_or_else(|findings| panic!("{findings}"));
    let flow = &definitions.flows[0].value;
    assert_eq!(flow.entry, EntryRule::After(Span::days(30)));
    let ids: Vec<_> = flow.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
    let [Action::SendEmail(email), Action::Wait(wait), Action::SendPush(push), Action::Exit(exit)] =
        [0, 1, 2, 3].map(|place: usize| &flow.steps[place].action)
    else {
        panic!("{flow:?}");
    };
    assert_eq!((email.on_skip, email.on_failure), (After::Exit, After::Continue));
    assert!(email.text.is_none() && email.from.is_some() && email.reply_to.is_some());
    assert_eq!(wait.span, Span::hours(51));
    assert_eq!((push.ttl, push.urgency), (Some(60), Some(Urgency::VeryLow)));
    assert_eq!((push.on_skip, push.on_failure), (After::Continue, After::Exit));
    assert_eq!(&*exit.reason, "bought");
    let campaign = &definitions.campaigns[0].value;
    assert!(campaign.starts < campaign.ends && campaign.ends.is_some());
}

#[test]
fn order_of_keys_and_white_space_do_not_change_the_hash() {
    let a = r#"{"campaigns":[{"id":"c","name":"é\u0041","flows":[]}]}"#;
    let b = r#"{ "campaigns": [ { "flows": [ ], "name": "éA", "id": "c" } ] }"#;
    let hash = |text: &str| parse(text).unwrap().campaigns[0].hash;
    assert_eq!(hash(a), hash(b));
    assert_ne!(hash(a), hash(&a.replace("041", "042")));
}

#[test]
fn files_are_read_together_and_findings_have_places() {
    let a: &[u8] = "{\"segments\": [\n  {\"id\": \"s\", \"näme\": 1, \"naem\": \"\"}]}".as_bytes();
    let b: &[u8] = br#"{"segments": [{"id": "s", "name": "S", "rule": "in_segment('x')"}]}"#;
    let findings = Definitions::parse(&[("b", b), ("a", a)], &Known::default()).unwrap_err();
    let lines: Vec<String> = findings
        .list
        .iter()
        .map(|f| format!("{}:{}:{} {} {}", f.file, f.line, f.column, f.code, f.path))
        .collect();
    assert_eq!(
        lines,
        [
            "a:2:3 missing_field $.segments[0]",
            "a:2:3 missing_field $.segments[0]",
            "a:2:10 duplicate_id $.segments[0].id",
            "a:2:15 unknown_field $.segments[0][\"näme\"]",
            "a:2:26 unknown_field $.segments[0].naem",
            "b:1:48 unknown_segment $.segments[0].rule",
        ]
    );
    assert_eq!(
        findings.list[5].to_string(),
        "b:1:48: unknown_segment: there is no segment `x` ($.segments[0].rule); define it, or name another"
    );
}

#[test]
fn what_is_not_json_is_found() {
    for (text, code) in [
        ("", "syntax"),
        ("{", "syntax"),
        ("{} {}", "syntax"),
        ("{\"flows\": [],}", "syntax"),
        ("// no\n{}", "syntax"),
        ("{'flows': []}", "syntax"),
        ("{flows: []}", "syntax"),
        ("{\"flows\": 01}", "syntax"),
        ("{\"flows\": \"\\ud800\"}", "syntax"),
        ("\u{feff}\u{feff}{}", "syntax"),
        ("[]", "wrong_type"),
        ("{\"flows\": 7}", "wrong_type"),
        ("{\"flows\": [], \"flows\": []}", "duplicate_field"),
        ("{\"flow\": []}", "unknown_field"),
        (&"[".repeat(100_000), "too_deep"),
    ] {
        let codes: Vec<_> = found(text).into_iter().map(|(code, _)| code).collect();
        assert_eq!(codes, [code], "{text:.40}");
    }
    let findings =
        Definitions::parse(&[("a", b"{\"a\":\n \"\xff\"}")], &Known::default()).unwrap_err();
    let [finding] = findings.list.as_slice() else { panic!("{findings}") };
    assert_eq!((finding.code, finding.line, finding.column), ("not_utf8", 2, 3));
}

fn assert_steps<const N: usize>(cases: [(String, Vec<(&'static str, &str)>); N]) {
    for (steps, expected) in cases {
        let expected =
            expected.into_iter().map(|(code, path)| (code, format!("$.flows[0].steps{path}")));
        assert_eq!(found(&with_steps(&steps)), expected.collect::<Vec<_>>(), "{steps}");
    }
}

#[test]
fn mistakes_in_configs_are_found() {
    assert_steps([
        (step("a", 1, "SEND_SMS", "", ""), vec![("unknown_step_type", "[0].step_type")]),
        (step("a", 1, "WAIT", "", ""), vec![("missing_field", "[0].config")]),
        (
            step("a", 1, "WAIT", r#""duration":"1d","duration_days":1"#, ""),
            vec![("conflicting_fields", "[0].config.duration_days")],
        ),
        (
            step("a", 1, "WAIT", r#""duration_days":-1,"x":1"#, ""),
            vec![("bad_duration", "[0].config.duration_days"), ("unknown_field", "[0].config.x")],
        ),
        (
            step("a", 1, "WAIT", r#""duration":"1 month""#, ""),
            vec![("bad_duration", "[0].config.duration")],
        ),
        (
            step("a", 1, "SEND_EMAIL", r#""subject":"{{ x }}","from":"{{""#, ""),
            vec![
                ("missing_field", "[0].config"),
                ("unknown_variable", "[0].config.subject"),
                ("template", "[0].config.from"),
            ],
        ),
        (
            step(
                "a",
                1,
                "SEND_PUSH",
                r#""title":1,"ttl":1.5,"urgency":"now","on_skip":"stop""#,
                "",
            ),
            vec![
                ("missing_field", "[0].config"),
                ("wrong_type", "[0].config.title"),
                ("bad_value", "[0].config.ttl"),
                ("bad_value", "[0].config.urgency"),
                ("bad_value", "[0].config.on_skip"),
            ],
        ),
        (step("a", 1, "EXIT", r#""reason":"""#, ""), vec![("bad_name", "[0].config.reason")]),
    ]);
}

#[test]
fn mistakes_in_steps_are_found() {
    let wait = |id: &str, order, next: &str| step(id, order, "WAIT", r#""duration":"30s""#, next);
    let push = |id: &str, order, next: &str| {
        step(id, order, "SEND_PUSH", r#""title":"t","body":"b""#, next)
    };
    let cases = [
        (String::new(), vec![("missing_field", "")]),
        (step("a", 0, "EXIT", "", ""), vec![("step_order", "[0].step_order")]),
        (step("a", 2, "EXIT", "", ""), vec![("step_order", "[0].step_order")]),
        (
            [wait("a", 1, ""), wait("b", 1, ""), wait("c", 3, "")].join(","),
            vec![("step_order", "[1].step_order"), ("step_order", "[2].step_order")],
        ),
        ([wait("a", 1, ""), wait("a", 2, "")].join(","), vec![("duplicate_id", "[1].id")]),
        (wait("a", 1, "x"), vec![("unknown_step", "[0].next_step_id")]),
        (step("a", 1, "EXIT", "", "a"), vec![("conflicting_fields", "[0].next_step_id")]),
        (
            [wait("a", 1, "c"), wait("b", 2, ""), wait("c", 3, "")].join(","),
            vec![("unreachable_step", "[1]")],
        ),
        (push("a", 1, "a"), vec![("cycle_without_wait", "[0].next_step_id")]),
        (
            [wait("a", 1, ""), push("b", 2, "a")].join(","),
            vec![("cycle_without_wait", "[1].next_step_id")],
        ),
    ];
    assert_steps(cases);
    let long = (1..=1001).map(|order| wait(&format!("s{order}"), order, ""));
    let codes = found(&with_steps(&long.collect::<Vec<_>>().join(",")));
    assert_eq!(codes[0], ("too_large", "$.flows[0].steps".to_owned()));
    let minute = [wait("a", 1, ""), wait("b", 2, "a")].join(",");
    assert!(parse(&with_steps(&minute)).is_ok());
}

#[test]
fn mistakes_between_definitions_are_found() {
    for (text, expected) in [
        (
            r#"{"flows":[{"id":"f","name":"","segment":"x","trigger":{"event":"e","filter":"a ="},
                "entry":"twice","entry_key":"now.x","steps":[{}]}]}"#,
            vec![
                ("bad_name", "$.flows[0].name"),
                ("unknown_segment", "$.flows[0].segment"),
                ("condition", "$.flows[0].trigger.filter"),
                ("bad_value", "$.flows[0].entry"),
                ("unknown_variable", "$.flows[0].entry_key"),
                ("missing_field", "$.flows[0].steps[0]"),
                ("missing_field", "$.flows[0].steps[0]"),
                ("missing_field", "$.flows[0].steps[0]"),
            ],
        ),
        (
            r#"{"campaigns":[{"id":"c","name":"C","flows":["x"],"starts":"today"},
                {"id":"c","name":"C","flows":[],"starts":"2026-02-01T00:00:00Z",
                 "ends":"2026-02-01T00:00:00Z"}]}"#,
            vec![
                ("unknown_flow", "$.campaigns[0].flows[0]"),
                ("bad_time", "$.campaigns[0].starts"),
                ("duplicate_id", "$.campaigns[1].id"),
                ("bad_value", "$.campaigns[1].ends"),
            ],
        ),
        (
            r#"{"segments":[{"id":"a","name":"A"},{"id":"b","name":"B","rule":"true","members":[]},
                {"id":"c","name":"C","members":["",7]}]}"#,
            vec![
                ("missing_field", "$.segments[0]"),
                ("conflicting_fields", "$.segments[1].rule"),
                ("bad_id", "$.segments[2].members[0]"),
                ("wrong_type", "$.segments[2].members[1]"),
            ],
        ),
        (
            r#"{"segments":[{"id":"a","name":"A","rule":"in_segment('b')"},
                {"id":"b","name":"B","rule":"in_segment('a')"},
                {"id":"c","name":"C","rule":"in_segment('a')"},
                {"id":"d","name":"D","rule":"in_segment('d')"}]}"#,
            vec![
                ("segment_cycle", "$.segments[0].rule"),
                ("segment_cycle", "$.segments[1].rule"),
                ("segment_cycle", "$.segments[3].rule"),
            ],
        ),
    ] {
        let expected: Vec<_> =
            expected.into_iter().map(|(code, path)| (code, path.to_owned())).collect();
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn rules_may_ask_only_so_deep() {
    let segment = |place: usize| {
        let rule =
            if place == 0 { "true".to_owned() } else { format!("in_segment('s{}')", place - 1) };
        format!(r#"{{"id":"s{place}","name":"S","rule":"{rule}"}}"#)
    };
    let chain = |length: usize| {
        let segments: Vec<_> = (0..length).map(segment).collect();
        format!(r#"{{"segments":[{}]}}"#, segments.join(","))
    };
    assert!(parse(&chain(SEGMENT_DEPTH_MAX + 1)).is_ok());
    let codes: Vec<_> = found(&chain(SEGMENT_DEPTH_MAX + 2)).into_iter().map(|(c, _)| c).collect();
    assert_eq!(codes, ["segment_depth"]);
}

#[test]
fn one_flow_has_a_segment() {
    let flow = |id: &str, segment: &str| {
        let exit = step("x", 1, "EXIT", "", "");
        format!(
            r#"{{"id":"{id}","name":"F","segment":"{segment}","trigger":{{"event":"e"}},"steps":[{exit}]}}"#
        )
    };
    let flows = |list: &[String]| format!(r#"{{"flows":[{}]}}"#, list.join(","));
    let mut known = Known::default();
    let id = |text| SegmentId::new(text).unwrap();
    known.segments.insert(id("free"), None);
    known.segments.insert(id("held"), FlowId::new("holder").ok());
    known.flows.insert(FlowId::new("holder").unwrap(), "signup".to_owned());
    let codes = |list: &[String]| {
        let parsed = Definitions::parse(&[("a", flows(list).as_bytes())], &known);
        let findings = parsed.err().unwrap_or_default();
        findings.list.into_iter().map(|f| (f.code, f.path)).collect::<Vec<_>>()
    };
    assert_eq!(codes(&[flow("f", "free")]), []);
    assert_eq!(codes(&[flow("holder", "held")]), []);
    assert_eq!(codes(&[flow("holder", "free"), flow("f", "held")]), []);
    let taken = |place| vec![("segment_taken", format!("$.flows[{place}].segment"))];
    assert_eq!(codes(&[flow("f", "held")]), taken(0));
    assert_eq!(codes(&[flow("f", "free"), flow("g", "free")]), taken(1));
}

#[test]
fn a_stored_rule_can_close_a_circle() {
    let id = |text| SegmentId::new(text).unwrap();
    let known = Known {
        segments: [(id("old"), None)].into(),
        segment_rules: [(id("old"), [id("new")].into())].into(),
        ..Known::default()
    };
    let text = br#"{"segments":[{"id":"new","name":"N","rule":"in_segment('old')"}]}"#;
    let findings = Definitions::parse(&[("a", text)], &known).unwrap_err();
    assert_eq!(findings.list[0].code, "segment_cycle");
}

#[test]
fn warnings_do_not_refuse() {
    let text = EXAMPLE
        .replace("\"once\"", "\"every_time\"")
        .replace("[\"welcome\"]", "[\"welcome\", \"welcome\"]");
    let definitions = parse(&text).unwrap_or_else(|findings| panic!("{findings}"));
    let codes: Vec<_> = definitions.warnings.iter().map(|f| (f.severity, f.code)).collect();
    let expected = ["entry_key_missing", "duplicate_member"].map(|code| (Severity::Warning, code));
    assert_eq!(codes, expected);
    assert_eq!(definitions.campaigns[0].value.flows.len(), 1);
}

#[test]
fn too_many_findings_are_counted() {
    let text = format!(r#"{{"segments":[{}7]}}"#, "7,".repeat(1499));
    let findings = parse(&text).unwrap_err();
    assert_eq!((findings.list.len(), findings.omitted), (1000, 500));
    assert!(findings.to_string().ends_with("\nand 500 more"));
    let last = &findings.list[999];
    assert_eq!((last.path.as_str(), last.line, last.column), ("$.segments[999]", 1, 14 + 2 * 999));
}

proptest! {
    #[test]
    fn a_damaged_document_is_read_or_refused(
        cut in 0..EXAMPLE.len(),
        length in 0..40_usize,
        patch in prop::sample::select(vec!["", "{", "}", "[", "]", "\"", ",", ":", "7", "null", "é", "\\"]),
    ) {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        let end = (cut + length).min(bytes.len());
        bytes.splice(cut..end, patch.bytes());
        match Definitions::parse(&[("a", &bytes)], &Known::default()) {
            Ok(definitions) => for flow in definitions.flows {
                prop_assert_eq!(Flow::from_json(&flow.json), Ok(flow.value));
            },
            Err(findings) => prop_assert!(!findings.list.is_empty()),
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, text: String) {
        let _ = Definitions::parse(&[("a", &bytes), ("b", text.as_bytes())], &Known::default());
        let _ = (Segment::from_json(&text), Campaign::from_json(&text));
    }
}
