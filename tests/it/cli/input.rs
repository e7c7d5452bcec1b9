//! `onward run` over bad and odd inputs.

use std::{
    fs::File,
    io::{BufWriter, Write},
};

use serde_json::json;

use super::{customer, email, end, end_with_peak, run_simple, signup, simple, wait, welcome};

const NEW_YEAR: &str = "2026-01-01T00:00:00Z";

#[test]
fn malformed_lines_are_told_counted_and_skipped() {
    let desk = simple();
    let mut events = signup("e1", "c1", NEW_YEAR).into_bytes();
    events.extend(b"{\"name\":\"signup\",\"customer\":\n\n{\"name\":\"\xff\"}\n");
    events.extend(signup("e2", "c2", NEW_YEAR).as_bytes());
    desk.file("events.ndjson", events);
    let ended = run_simple(&desk).code(1).says(&[
        "events.ndjson:2:28: not_json: ",
        "events.ndjson:4:10: not_utf8: ",
        "the line was skipped",
    ]);
    assert!(!ended.err.contains('\u{1b}'), "no colours where nobody sees them: {:?}", ended.err);
    let summary = ended.object();
    assert_eq!((&summary["rejected_lines"], &summary["events_read"]), (&2.into(), &2.into()));
    assert_eq!((&summary["enrolled"], &summary["lines_read"]), (&2.into(), &6.into()));
    let codes: Vec<_> = desk.records("LineRejected").iter().map(|it| it["code"].clone()).collect();
    assert_eq!(codes, ["not_json", "not_utf8"]);
    let log = desk.log();
    assert_eq!(run_simple(&desk).code(1).object()["records_added"], 0);
    assert_eq!(desk.log(), log);
}

#[test]
fn a_malformed_customer_has_its_line_and_column() {
    let desk = simple();
    desk.file("customers.ndjson", [&customer("c1"), "{\"id\":7}\n"].concat());
    run_simple(&desk).code(1).says(&["customers.ndjson:2:", ": wrong_type: "]);
}

#[test]
fn strict_stops_before_anything_is_stored() {
    let desk = simple();
    desk.file("events.ndjson", [&signup("e1", "c1", NEW_YEAR), "nope\n"].concat());
    let mut command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    end(command.arg("--strict")).code(1).says(&["events.ndjson:2:2: not_json: "]);
    assert!(!desk.data().exists() && !desk.path("outbox").exists());
    desk.file("events.ndjson", signup("e1", "c1", NEW_YEAR));
    end(command.arg("--strict")).code(2);
    let mut command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    end(command.arg("--strict")).code(0);
}

#[test]
fn a_byte_order_mark_says_nothing() {
    let (plain, marked) = (simple(), simple());
    for name in ["defs.json", "customers.ndjson", "events.ndjson"] {
        let text = std::fs::read(plain.path(name)).unwrap();
        marked.file(name, [b"\xef\xbb\xbf", &text[..]].concat());
    }
    let summaries = [&plain, &marked].map(|desk| run_simple(desk).code(0).object());
    for name in ["lines_read", "rejected_lines", "customers", "enrolled", "sent", "records"] {
        assert_eq!(summaries[0][name], summaries[1][name], "{name}");
    }
    // Places are counted behind it, and a file of nothing else has been read.
    marked.file("defs.json", b"\xef\xbb\xbf{]");
    run_simple(&marked).code(1).says(&["defs.json:1:2: syntax"]);
    let only = simple();
    only.file("events.ndjson", b"\xef\xbb\xbf");
    run_simple(&only).code(0);
    only.file("events.ndjson", signup("e1", "c1", NEW_YEAR));
    assert_eq!(run_simple(&only).code(0).object()["enrolled"], 1);
}

#[test]
fn empty_files_are_files_without_lines() {
    let desk = simple();
    desk.file("customers.ndjson", "");
    desk.file("events.ndjson", "");
    let summary = run_simple(&desk).code(0).object();
    assert_eq!((&summary["lines_read"], &summary["customers"]), (&0.into(), &0.into()));
    assert_eq!(run_simple(&desk).code(0).object()["records_added"], 0);
    desk.on_data(&["verify"]).code(0);
    desk.file("defs.json", "");
    run_simple(&desk).code(1).says(&["defs.json:1:1: syntax", "nothing was stored"]);
}

#[test]
fn the_last_line_may_lack_its_end_and_lines_may_end_like_windows() {
    let desk = simple();
    let events = [signup("e1", "c1", NEW_YEAR), signup("e2", "c2", NEW_YEAR)];
    desk.file("events.ndjson", events.concat().trim_end().replace('\n', "\r\n"));
    let summary = run_simple(&desk).code(0).object();
    assert_eq!((&summary["events_read"], &summary["rejected_lines"]), (&2.into(), &0.into()));
    assert_eq!(run_simple(&desk).code(0).object()["records_added"], 0);
}

#[test]
fn ids_are_any_unicode() {
    let desk = simple();
    let long = "é".repeat(128);
    let ids =
        ["../../etc", "a/b\\c", "zero\0byte", "line\nbreak\r", "客\u{1F600}\u{202E}", " ", &long];
    let customers: String = ids.iter().map(|id| customer(id)).collect();
    let events: String = ids.iter().map(|id| signup(id, id, NEW_YEAR)).collect();
    desk.file("customers.ndjson", customers);
    desk.file("events.ndjson", events + &signup(ids[0], ids[0], NEW_YEAR));
    let summary = run_simple(&desk).code(0).object();
    assert_eq!((&summary["enrolled"], &summary["duplicates"]), (&7.into(), &1.into()));
    assert_eq!(desk.messages(".eml"), 7);
    // The system takes no zero byte in an argument.
    for id in ids.iter().filter(|id| !id.contains('\0')) {
        let shown = desk.on_data(&["show", "customer", id, "--json"]).code(0).object();
        assert_eq!(shown["customer"]["id"], **id);
    }
    desk.on_data(&["verify"]).code(0);
}

#[test]
fn an_id_over_its_limit_is_refused() {
    let desk = simple();
    desk.file("customers.ndjson", customer(&"x".repeat(257)));
    run_simple(&desk).code(1).says(&["customers.ndjson:1:", ": bad_id: "]);
}

#[test]
fn a_line_of_100_mb_is_refused_in_bounded_memory() {
    let desk = simple();
    let mut file = BufWriter::new(File::create(desk.path("events.ndjson")).unwrap());
    file.write_all(signup("e1", "c1", NEW_YEAR).as_bytes()).unwrap();
    file.write_all(b"{\"name\":\"signup\",\"customer\":\"").unwrap();
    for _ in 0..100 {
        file.write_all(&[b'x'; 1 << 20]).unwrap();
    }
    file.write_all(b"\"}\n").unwrap();
    file.write_all(signup("e2", "c2", NEW_YEAR).as_bytes()).unwrap();
    drop(file);

    let mut command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    let (ended, peak) = end_with_peak(&mut command);
    let summary = ended.code(1).says(&["events.ndjson:2:49153: too_long: "]).object();
    assert!((1..200).contains(&peak), "{peak} MiB at most");
    assert_eq!((&summary["events_read"], &summary["enrolled"]), (&2.into(), &2.into()));
}

#[test]
fn events_out_of_order_happen_now() {
    let desk = simple();
    let events = [
        signup("e1", "c1", "2026-01-02T00:00:00Z"),
        signup("e2", "c2", "2026-01-01T12:00:00Z"),
        signup("e3", "c3", "2026-01-05T00:00:00Z"),
        signup("e4", "c4", "2026-01-01T00:00:00Z"),
    ];
    desk.file("events.ndjson", events.concat());
    let summary = run_simple(&desk).code(0).object();
    assert_eq!(summary["events_read"], 4);
    let times: Vec<_> = desk.records("Enrolled").iter().map(|it| it["time"].clone()).collect();
    // The last one is more than 72 hours old when it comes: activity only.
    assert_eq!(times, ["2026-01-02T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-05T00:00:00Z"]);
    let received = desk.records("EventReceived");
    let too_old: Vec<_> = received.iter().map(|it| it["too_old"].clone()).collect();
    assert_eq!(too_old, [false, false, false, true]);
}

#[test]
fn duplicates_are_counted_and_do_nothing() {
    let desk = simple();
    let line = signup("e1", "c1", NEW_YEAR);
    desk.file("events.ndjson", line.repeat(3));
    let summary = run_simple(&desk).code(0).object();
    let counts = (&summary["events_read"], &summary["duplicates"], &summary["enrolled"]);
    assert_eq!(counts, (&1.into(), &2.into(), &1.into()));
    assert_eq!(desk.messages(".eml"), 1);
    let idle: Vec<_> = desk.records("LineRead").iter().map(|it| it["reason"].clone()).collect();
    assert_eq!(idle.len(), 2, "{idle:?}");
}

#[test]
fn invalid_definitions_store_nothing_in_an_old_or_a_new_directory() {
    let desk = simple();
    let wrong = json!({ "flows": [{ "id": "f" }], "segments": [{ "id": "new", "name": "N", "rule": "true" }] });
    desk.file("wrong.json", wrong.to_string());
    desk.run("wrong.json", "customers.ndjson", "events.ndjson").code(1).says(&[
        "wrong.json:1:",
        "missing_field",
        "nothing was stored",
    ]);
    assert!(!desk.data().exists(), "no directory is created for them");
    run_simple(&desk).code(0);
    let log = desk.log();
    desk.file("more.ndjson", signup("e2", "c2", "2026-02-01T00:00:00Z"));
    desk.run("wrong.json", "customers.ndjson", "more.ndjson").code(1).says(&["missing_field"]);
    assert_eq!(desk.log(), log);
}

#[test]
fn a_line_of_a_far_future_is_refused_and_changes_nothing_else() {
    let desk = simple();
    let steps = [email(1, "Hello"), wait(2, "40d"), email(3, "Again")];
    desk.file("defs.json", welcome(&steps).to_string());
    let first = signup("e1", "c1", NEW_YEAR);
    let far = signup("e2", "c2", "9999-12-30T00:00:00Z");
    let second = signup("e3", "c3", "2026-01-02T00:00:00Z");
    // Some years without an event are no leap.
    let third = signup("e4", "c4", "2031-01-05T00:00:00Z");
    desk.file("events.ndjson", [&*first, &*second, &*third].concat());
    run_simple(&desk).code(0);
    let expected = desk.log();
    let others = |log: &str| -> Vec<serde_json::Value> {
        let records = log.lines().map(|it| serde_json::from_str(it).unwrap());
        // Links are distances in the log, so what happened is compared without them.
        let told = records.map(|it: serde_json::Value| {
            json!([it["record"], it["time"], it["customer"], it["name"], it["step"], it["reason"]])
        });
        told.filter(|it| it[0] != "LineRejected" && it[0] != "InputOpened").collect()
    };

    let again = simple();
    again.file("defs.json", welcome(&steps).to_string());
    again.file("events.ndjson", [&*first, &*far, &*second, &*third].concat());
    let ended = run_simple(&again).code(1).says(&["events.ndjson:2:1: too_far_ahead: 9999-12-30"]);
    assert_eq!(ended.object()["rejected_lines"], 1);
    assert_eq!(others(&again.log()), others(&expected));
    assert_eq!(again.records("LineRejected")[0]["code"], "too_far_ahead");
    // Nothing is judged anew.
    assert_eq!(run_simple(&again).code(1).object()["records_added"], 0);

    // Strict says so before anything is stored; a time that is expected may come.
    let strict = simple();
    strict.file("events.ndjson", [&*first, &*far].concat());
    let mut command = strict.run_command("defs.json", "customers.ndjson", "events.ndjson");
    end(command.arg("--strict")).code(1).says(&["events.ndjson:2:1: too_far_ahead: "]);
    let mut command = strict.run_command("defs.json", "customers.ndjson", "events.ndjson");
    let ended = end(command.args(["--until", "9999-12-31T00:00:00Z"])).code(0);
    assert_eq!(ended.object()["rejected_lines"], 0);
}
