//! `onward validate`.

use super::{Desk, end, onward, retail};

/// Four mistakes of four kinds, and where they are.
const WRONG: &str = r#"{"segments":[{"id":"a","name":"A","rule":"true","x":1}],
 "flows":[{"id":"f","name":"F","segment":"zz","trigger":{"event":"e"},
  "steps":[{"id":"s","step_order":2,"step_type":"SEND_EMAIL",
   "config":{"subject":"{{ nope }}","text":"x"}}]}]}"#;
const FINDINGS: [(&str, &str, u64, u64); 4] = [
    ("unknown_field", "$.segments[0].x", 1, 49),
    ("unknown_segment", "$.flows[0].segment", 2, 42),
    ("step_order", "$.flows[0].steps[0].step_order", 3, 35),
    ("unknown_variable", "$.flows[0].steps[0].config.subject", 4, 24),
];

#[test]
fn good_definitions_are_counted() {
    let path = retail("definitions.json");
    let ended = end(onward(&["validate"]).arg(&path)).code(0);
    assert_eq!(ended.out, "valid: 4 segments, 4 flows, 1 campaigns\n");
    let object = end(onward(&["validate", "--json"]).arg(&path)).code(0).object();
    assert_eq!((&object["valid"], &object["flows"]), (&true.into(), &4.into()));
    assert_eq!(object["findings"], serde_json::json!([]));
}

#[test]
fn every_finding_is_printed_with_its_place() {
    let desk = Desk::new();
    let path = desk.file("wrong.json", WRONG);
    let ended = end(onward(&["validate"]).arg(&path)).code(1);
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(lines.len(), FINDINGS.len(), "{}", ended.out);
    for (line, (code, json_path, row, column)) in lines.iter().zip(FINDINGS) {
        let start = format!("{}:{row}:{column}: {code}: ", path.display());
        assert!(line.starts_with(&start) && line.contains(&format!("({json_path})")), "{line}");
    }
}

#[test]
fn findings_are_objects_with_json() {
    let desk = Desk::new();
    let path = desk.file("wrong.json", WRONG);
    let object = end(onward(&["validate", "--json"]).arg(&path)).code(1).object();
    assert_eq!(object["valid"], false);
    let findings = object["findings"].as_array().unwrap();
    assert_eq!(findings.len(), FINDINGS.len());
    for (finding, (code, json_path, line, column)) in findings.iter().zip(FINDINGS) {
        let place = (&finding["code"], &finding["path"], &finding["line"], &finding["column"]);
        assert_eq!(place, (&code.into(), &json_path.into(), &line.into(), &column.into()));
        assert_eq!(
            (&finding["severity"], &finding["file"]),
            (&"error".into(), &path.to_str().into())
        );
        assert!(finding["message"].is_string() && finding["help"].is_string(), "{finding}");
    }
}

#[test]
fn documents_refer_to_each_other() {
    let desk = Desk::new();
    let segments = desk.file("s.json", r#"{"segments":[{"id":"all","name":"All","rule":"true"}]}"#);
    let flows = desk.file(
        "f.json",
        r#"{"flows":[{"id":"f","name":"F","segment":"all","trigger":{"event":"e"},"steps":[
            {"id":"x","step_order":1,"step_type":"EXIT","config":{}}]}]}"#,
    );
    end(onward(&["validate"]).arg(&segments).arg(&flows)).code(0);
    let alone = end(onward(&["validate"]).arg(&flows)).code(1);
    assert!(alone.out.contains("unknown_segment"), "{}", alone.out);
}

#[test]
fn a_file_that_is_not_there_is_refused_and_an_empty_one_is_a_finding() {
    let desk = Desk::new();
    end(onward(&["validate"]).arg(desk.path("none.json")))
        .code(3)
        .says(&["cannot read", "none.json"]);
    let empty = end(onward(&["validate"]).arg(desk.file("empty.json", ""))).code(1);
    assert!(empty.out.contains("empty.json:1:1: syntax: "), "{}", empty.out);
    let bytes =
        end(onward(&["validate"]).arg(desk.file("bytes.json", b"{\"flows\":[]\xff}"))).code(1);
    assert!(bytes.out.contains("not_utf8"), "{}", bytes.out);
}
