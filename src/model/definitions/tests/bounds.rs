//! Definitions that would fill a machine are refused before they do.

use serde_json::{Value, json};

use super::*;
use crate::base::{
    CampaignId,
    limits::{
        CAMPAIGN_FLOWS_MAX, CAMPAIGNS_MAX, CATALOG_BYTES_MAX, COMPILED_BYTES_MAX,
        DEFINITIONS_BYTES_MAX, DEFINITIONS_VALUES_MAX, EVENT_FLOWS_MAX, FLOW_BYTES_MAX, FLOWS_MAX,
        MEMBERS_MAX, SEGMENTS_MAX, TEMPLATE_WEIGHT,
    },
};

fn refused(files: &[&str], known: &Known) -> Vec<(&'static str, String, String)> {
    let files: Vec<_> = files.iter().map(|text| ("a", text.as_bytes())).collect();
    let findings = Definitions::parse(&files, known).expect_err("must be refused");
    findings.list.into_iter().map(|it| (it.code, it.path, it.message)).collect()
}

fn segments(range: std::ops::Range<usize>) -> Vec<Value> {
    range.map(|n| json!({ "id": format!("s{n}"), "name": "S", "members": [] })).collect()
}

fn flow(n: usize, subject: &str) -> Value {
    json!({ "id": format!("f{n}"), "name": "F", "segment": format!("s{n}"),
            "trigger": { "event": "signup" },
            "steps": [{ "id": "m", "step_order": 1, "step_type": "SEND_EMAIL",
                        "config": { "subject": subject, "text": "-" } }] })
}

#[test]
fn a_directory_holds_so_many_of_each_kind() {
    let too_many = [("segments", SEGMENTS_MAX), ("flows", FLOWS_MAX), ("campaigns", CAMPAIGNS_MAX)];
    for (kind, max) in too_many {
        let list = json!({ kind: vec![json!({}); max + 1] }).to_string();
        let [(code, path, message)] = refused(&[&list], &Known::default()).try_into().unwrap();
        assert_eq!((code, path), ("too_large", format!("$.{kind}")));
        assert_eq!(message, format!("{} elements", max + 1));
    }
    // One by one over many publications, or in several files.
    let id = |n: usize| format!("x{n}");
    let known = Known {
        segments: (0..SEGMENTS_MAX).map(|n| (SegmentId::new(id(n)).unwrap(), None)).collect(),
        campaigns: (0..CAMPAIGNS_MAX).map(|n| CampaignId::new(id(n)).unwrap()).collect(),
        flows: (0..FLOWS_MAX).map(|n| (FlowId::new(id(n)).unwrap(), id(n))).collect(),
        ..Known::default()
    };
    let more = json!({ "segments": segments(0..1), "flows": [flow(0, "-")],
                       "campaigns": [{ "id": "c", "name": "C", "flows": ["f0"] }] });
    let found = refused(&[&more.to_string()], &known);
    let paths: Vec<_> = found.iter().map(|(code, path, _)| (*code, path.as_str())).collect();
    let expected = ["$.campaigns[0].id", "$.flows[0].id", "$.segments[0].id"];
    assert_eq!(paths, expected.map(|path| ("too_large", path)));
    let again = json!({ "segments": [{ "id": "x7", "name": "Again", "members": [] }] });
    assert!(Definitions::parse(&[("a", again.to_string().as_bytes())], &known).is_ok());
}

#[test]
fn lists_in_definitions_are_bounded() {
    let members = vec!["c"; MEMBERS_MAX + 1];
    let flows = vec!["f"; CAMPAIGN_FLOWS_MAX + 1];
    let all = json!({ "segments": [{ "id": "s", "name": "S", "members": members }],
                      "campaigns": [{ "id": "c", "name": "C", "flows": flows }] });
    let found = refused(&[&all.to_string()], &Known::default());
    for (path, max) in
        [("$.segments[0].members", MEMBERS_MAX), ("$.campaigns[0].flows", CAMPAIGN_FLOWS_MAX)]
    {
        let expected = ("too_large", path.to_owned(), format!("{} elements", max + 1));
        assert!(found.contains(&expected), "{path}: {found:?}");
    }
}

#[test]
fn a_flow_is_as_long_as_it_may_be() {
    let text = "x".repeat(60_000);
    let long = |bytes: usize| {
        let step = |order: usize| {
            let mut it = flow(0, "-")["steps"][0].clone();
            it["id"] = format!("m{order}").into();
            it["step_order"] = order.into();
            it["config"]["text"] = text.as_str().into();
            it
        };
        let mut it = flow(0, "-");
        it["steps"] = (1..=17).map(step).collect();
        let room = bytes - it.to_string().len();
        it["steps"][0]["config"]["subject"] = "y".repeat(room + "-".len()).into();
        json!({ "segments": segments(0..1), "flows": [it] }).to_string()
    };
    let fits = Definitions::parse(&[("a", long(FLOW_BYTES_MAX).as_bytes())], &Known::default());
    assert!(fits.is_ok(), "{fits:?}");
    let found = refused(&[&long(FLOW_BYTES_MAX + 1)], &Known::default());
    let message = format!("{} bytes of flow", FLOW_BYTES_MAX + 1);
    assert_eq!(found, [("too_large", "$.flows[0]".to_owned(), message)]);
}

#[test]
fn so_many_flows_start_at_one_event() {
    let id = |n: usize| FlowId::new(format!("f{n}")).unwrap();
    let known = Known {
        segments: (0..=EVENT_FLOWS_MAX)
            .map(|n| (SegmentId::new(format!("s{n}")).unwrap(), None))
            .collect(),
        flows: (0..EVENT_FLOWS_MAX).map(|n| (id(n), "signup".to_owned())).collect(),
        ..Known::default()
    };
    let read = |n| json!({ "flows": [flow(n, "-")] }).to_string();
    let [(code, path, message)] = refused(&[&read(EVENT_FLOWS_MAX)], &known).try_into().unwrap();
    assert_eq!((code, path.as_str()), ("too_large", "$.flows[0].id"));
    assert_eq!(message, "more than 1000 flows start at `signup`");
    assert!(Definitions::parse(&[("a", read(7).as_bytes())], &known).is_ok(), "a new version");
}

#[test]
fn files_are_bounded_together() {
    let half = format!(r#"{{"segments":"{}"}}"#, "x".repeat(DEFINITIONS_BYTES_MAX / 2));
    let [first, (code, path, message)] =
        refused(&[&half, &half], &Known::default()).try_into().unwrap();
    assert_eq!((first.0, first.1.as_str()), ("wrong_type", "$.segments"));
    assert_eq!((code, path.as_str()), ("too_large", "$"));
    assert_eq!(message, "too many bytes of definitions");
    let values = format!(r#"{{"segments":[{}0]}}"#, "0,".repeat(DEFINITIONS_VALUES_MAX / 2));
    let found = refused(&[&values, &values], &Known::default());
    let (code, path, message) = found.last().unwrap();
    assert_eq!((*code, path.as_str()), ("too_large", "$"));
    assert_eq!(message, "too many values in the JSON of definitions");
}

#[test]
fn what_is_compiled_is_bounded_before_it_is_compiled() {
    let count = COMPILED_BYTES_MAX / TEMPLATE_WEIGHT;
    let step = |n: usize| {
        json!({ "id": format!("m{n}"), "step_order": n, "step_type": "SEND_EMAIL",
                "config": { "subject": "-", "text": "-", "html": "-", "from": "-" } })
    };
    let steps: Vec<_> = (1..=1_000).map(step).collect();
    let flows: Vec<_> = (0..=count / 4_000)
        .map(|n| {
            json!({ "id": format!("f{n}"), "name": "F", "segment": "s0",
                    "trigger": { "event": "go" }, "steps": steps })
        })
        .collect();
    let all = json!({ "segments": segments(0..1), "flows": flows }).to_string();
    let found = refused(&[&all], &Known::default());
    let told: Vec<_> = found.iter().filter(|(code, ..)| *code == "too_large").collect();
    let [(_, path, message)] = told.as_slice() else { panic!("told once: {told:?}") };
    assert_eq!(message, "too many bytes of memory for conditions and templates");
    assert!(path.starts_with("$.flows[5].steps["), "{path}");
}

#[test]
fn a_directory_holds_only_what_it_can_compile_when_it_is_opened() {
    let new = json!({ "segments": segments(0..1), "flows": [flow(0, "-")] }).to_string();
    let read = |known: &Known| Definitions::parse(&[("a", new.as_bytes())], known);
    let definitions = read(&Known::default()).unwrap();
    let weight = definitions.segments[0].value.weight() + definitions.flows[0].value.weight();
    assert!(weight > 2 * TEMPLATE_WEIGHT);
    let mut known = Known { weight: CATALOG_BYTES_MAX - weight, ..Known::default() };
    assert!(read(&known).is_ok(), "it just fits");
    known.weight += 1;
    let [(code, path, message)] = refused(&[&new], &known).try_into().unwrap();
    assert_eq!((code, path.as_str()), ("too_large", "$.flows[0].id"));
    assert_eq!(message, "with this the directory would hold too many definitions");
    // What is in force already takes nothing more.
    known.weight = 2 * CATALOG_BYTES_MAX;
    known.documents = [definitions.segments[0].hash, definitions.flows[0].hash].into();
    assert!(read(&known).is_ok());
}
