//! `onward show`, `log` and `verify`.

use onward::{
    base::limits::{ENROLLMENTS_SHOWN, ENTRY_KEYS_MAX},
    store::{Directory, Tree},
};
use serde_json::{Value, json};

use super::{Desk, email, end, run_retail, run_simple, signup, simple, wait, welcome};

fn waiting() -> Desk {
    let desk = simple();
    desk.file(
        "defs.json",
        welcome(&[email(1, "Hello"), wait(2, "2d"), email(3, "Bye")]).to_string(),
    );
    let summary = run_simple(&desk).code(0).object();
    assert_eq!((&summary["waiting"], &summary["active"]), (&1.into(), &1.into()));
    desk
}

#[test]
fn an_enrollment_is_shown_with_its_history() {
    let desk = waiting();
    let id = desk.records("Enrolled")[0]["enrollment"].as_str().unwrap().to_owned();
    let shown = desk.on_data(&["show", "enrollment", &id, "--json"]).code(0).object();
    assert_eq!((&shown["customer"], &shown["flow"]), (&"c1".into(), &"welcome".into()));
    assert_eq!((&shown["phase"], &shown["step"]), (&"waiting".into(), &"wait-2".into()));
    assert_eq!(shown["detail"]["due"], "2026-01-03T00:00:00Z");
    let history = shown["history"].as_array().unwrap();
    let names: Vec<&str> = history.iter().map(|it| it["record"].as_str().unwrap()).collect();
    let expected =
        ["EventReceived", "Enrolled", "DeliveryRequested", "DeliverySent", "WaitStarted"];
    assert_eq!(names, expected);
    let human = desk.on_data(&["show", "enrollment", &id]).code(0).out;
    assert_eq!(serde_json::from_str::<Value>(&human).unwrap(), shown);
}

#[test]
fn a_customer_is_shown_with_enrollments() {
    let desk = waiting();
    let shown = desk.on_data(&["show", "customer", "c1", "--json"]).code(0).object();
    assert_eq!(shown["customer"]["email"], "someone@example.com");
    assert_eq!(shown["enrollments"].as_array().unwrap().len(), 1);
    assert_eq!(shown["enrollments"][0]["phase"], "waiting");
}

#[test]
fn a_flow_is_shown_with_its_counts() {
    let desk = waiting();
    let shown = desk.on_data(&["show", "flow", "welcome", "--json"]).code(0).object();
    assert_eq!((&shown["enrolled"], &shown["active"]), (&1.into(), &1.into()));
    let steps = shown["steps"].as_array().unwrap();
    let counts: Vec<_> = steps
        .iter()
        .map(|it| (it["entered"].clone(), it["sent"].clone(), it["waiting"].clone()))
        .collect();
    assert_eq!(
        counts,
        [(1, 1, 0), (1, 0, 1), (0, 0, 0)].map(|(a, b, c)| (a.into(), b.into(), c.into()))
    );
}

#[test]
fn the_log_begins_where_it_is_told() {
    let desk = waiting();
    let all = desk.log();
    let lsns: Vec<u64> = all
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["lsn"].as_u64().unwrap())
        .collect();
    assert!(lsns.iter().copied().eq(1..=u64::try_from(lsns.len()).unwrap()), "{lsns:?}");
    let tail: String = all.split_inclusive('\n').skip(4).collect();
    assert_eq!(desk.on_data(&["log", "--json", "--from", "5"]).code(0).out, tail);
    assert_eq!(desk.on_data(&["log", "--json", "--from", "99999"]).code(0).out, "");
}

#[test]
fn no_record_has_a_field_twice() {
    let desk = Desk::new();
    end(&mut run_retail(&desk)).code(0);
    for line in desk.log().lines() {
        // Of a field that is there twice, reading keeps one.
        let read: Value = serde_json::from_str(line).unwrap();
        assert_eq!(read.to_string().len(), line.len(), "{line}");
    }
    let received = &desk.records("EventReceived")[0];
    assert!(received["event_time"].is_string() && received["time"].is_string(), "{received}");
}

#[test]
fn the_log_for_people_holds_the_same_fields() {
    let desk = waiting();
    let human = desk.on_data(&["log"]).code(0).out;
    let log = desk.log();
    assert_eq!(human.lines().count(), log.lines().count());
    for (line, json) in human.lines().zip(log.lines()) {
        let record: Value = serde_json::from_str(json).unwrap();
        let (lsn, rest) = line.trim_start().split_once(' ').unwrap();
        let (time, rest) = rest.split_once(' ').unwrap();
        let (name, fields) = rest.split_once(' ').unwrap();
        let fields: Value = serde_json::from_str(&format!("{{{}}}", fields.trim())).expect(line);
        assert_eq!(record["lsn"].to_string(), lsn);
        assert_eq!((&record["time"], &record["record"]), (&time.into(), &name.into()));
        for (field, value) in fields.as_object().unwrap() {
            assert_eq!(record[field], *value, "{line}");
        }
        assert_eq!(record.as_object().unwrap().len(), fields.as_object().unwrap().len() + 3);
    }
}

#[test]
fn verify_counts_what_it_compared() {
    let desk = Desk::new();
    end(&mut run_retail(&desk)).code(0);
    let records = u64::try_from(desk.log().lines().count()).unwrap();
    let found = desk.on_data(&["verify", "--json"]).code(0).object();
    assert_eq!((&found["records"], &found["difference_count"]), (&records.into(), &0.into()));
    assert!(found["rows"].as_u64().unwrap() > 60, "{found}");
    let text = desk.on_data(&["verify"]).code(0).out;
    assert!(text.starts_with(&format!("{records} records replayed; ")), "{text}");
}

/// Replaces one text in the pages of rows by another of the same length, checksums included.
fn tamper(desk: &Desk, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let store = Directory::open(&desk.data()).unwrap();
    let mut key = Vec::new();
    let mut changed = 0;
    while let Some((next, mut value)) = store.above(Tree::Rows, &key).unwrap() {
        if let Some(at) = value.windows(from.len()).position(|it| it == from.as_bytes()) {
            value[at..at + to.len()].copy_from_slice(to.as_bytes());
            let body = value.len() - 4;
            let crc = crc32c::crc32c(&value[..body]);
            value[body..].copy_from_slice(&crc.to_be_bytes());
            store.put(Tree::Rows, &next, &value).unwrap();
            changed += 1;
        }
        key = next;
    }
    assert_eq!(changed, 1, "{from} is in one page");
    store.sync().unwrap();
}

#[test]
fn verify_names_a_row_that_was_tampered_with() {
    let desk = waiting();
    tamper(&desk, "someone@example.com", "anybody@example.com");
    let ended = desk.on_data(&["verify"]).code(1);
    assert!(ended.out.contains("anybody@example.com"), "{}", ended.out);
    assert!(ended.out.ends_with("; 1 differences\n"), "{}", ended.out);
    let found = desk.on_data(&["verify", "--json"]).code(1).object();
    assert_eq!(found["difference_count"], 1);
    assert_eq!(found["differences"].as_array().unwrap().len(), 1);
    tamper(&desk, "anybody@example.com", "someone@example.com");
    desk.on_data(&["verify"]).code(0);
}

#[test]
fn verify_names_a_timer_that_is_gone() {
    let desk = waiting();
    let store = Directory::open(&desk.data()).unwrap();
    let (key, _) = store.above(Tree::Timers, b"").unwrap().expect("the wait has a timer run");
    store.remove(Tree::Timers, &key).unwrap();
    store.sync().unwrap();
    drop(store);
    let ended = desk.on_data(&["verify"]).code(1);
    assert!(ended.out.contains("timer"), "{}", ended.out);
}

#[test]
fn keys_that_are_too_many_are_counted_and_told() {
    let desk = simple();
    let exit = json!({ "id": "end", "step_order": 1, "step_type": "EXIT", "config": {} });
    let mut definitions = welcome(&[exit]);
    definitions["flows"][0]["entry_key"] = "event.id".into();
    desk.file("defs.json", definitions.to_string());
    let time = "2026-01-01T00:00:00Z";
    let signups: String =
        (0..=ENTRY_KEYS_MAX).map(|n| signup(&format!("e{n}"), "c1", time)).collect();
    desk.file("events.ndjson", signups);
    let summary = run_simple(&desk).code(0).object();
    let enrolled = ENTRY_KEYS_MAX + 1;
    assert_eq!((&summary["forgotten_keys"], &summary["enrolled"]), (&1.into(), &enrolled.into()));
    let shown = desk.on_data(&["show", "flow", "welcome", "--json"]).code(0).object();
    assert_eq!(shown["forgotten_keys"], 1);
    let records = desk.records("Enrolled");
    let forgets: Vec<&Value> = records.iter().map(|it| &it["forgets"]).collect();
    let (last, before) = forgets.split_last().unwrap();
    let first = records[0]["enrollment"].as_str().unwrap().trim_start_matches("e0-");
    let first: u64 = first.parse().unwrap();
    assert_eq!(**last, json!({ "flow": 0, "key": "e0", "enrollment": first }));
    assert!(before.iter().all(|it| it.is_null()));
    let customer = desk.on_data(&["show", "customer", "c1", "--json"]).code(0).object();
    let enrollments = customer["enrollments"].as_array().unwrap();
    assert_eq!(enrollments.len(), ENROLLMENTS_SHOWN, "one question reads no more");
    assert!(ENROLLMENTS_SHOWN < enrolled);
    desk.on_data(&["verify"]).code(0);
}
