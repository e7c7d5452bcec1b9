//! What is printed: to a reader that has gone away, and of data that a terminal would obey.

use std::process::Command;

use serde_json::Value;

use super::{Desk, customer, end, onward, run_simple, simple};

/// Ends the program of a terminal's escape sequences, rings, and turns the direction of text.
const ACTIVE: &str = "\u{1b}[31m\u{7}\u{9b}2J\u{202e}\u{2066}\n";

#[track_caller]
fn check_harmless(text: &str) {
    let is_active =
        |it: char| it.is_control() && it != '\n' || ('\u{2028}'..'\u{2070}').contains(&it);
    assert!(!text.contains(is_active), "{text:?}");
}

/// The exit code of a command whose output nobody reads.
fn code_unread(command: &mut Command) -> Option<i32> {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer).status().unwrap().code()
}

#[test]
fn a_reader_that_goes_away_does_not_change_how_it_ends() {
    let desk = simple();
    let wrong = desk.file("wrong.json", "{");
    for json in [&["validate"][..], &["validate", "--json"]] {
        assert_eq!(code_unread(onward(json).arg(&wrong)), Some(1));
        assert_eq!(code_unread(onward(json).arg(desk.path("defs.json"))), Some(0));
    }
    desk.file("customers.ndjson", customer("c1") + "nonsense\n");
    let mut command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    assert_eq!(code_unread(&mut command), Some(1));
    let on_data = |args: &[&str]| code_unread(onward(args).arg("--data").arg(desk.data()));
    for args in [&["log"][..], &["verify"], &["doctor"], &["show", "customer", "c1"]] {
        assert_eq!(on_data(args), Some(0), "{args:?}");
    }
    super::damage::damage(&desk);
    for (args, code) in [(&["doctor"][..], 1), (&["doctor", "--json"], 1), (&["log"], 4)] {
        assert_eq!(on_data(args), Some(code), "{args:?}");
    }
    let to = desk.path("new");
    assert_eq!(
        code_unread(onward(&["repair", "--data"]).arg(desk.data()).arg("--to").arg(&to)),
        Some(1)
    );
}

#[test]
fn what_files_and_names_say_does_nothing_to_a_terminal() {
    let desk = Desk::new();
    let quoted = Value::from(ACTIVE).to_string();
    let wrong = desk.file("a\u{1b}[0m\u{202e}\nb.json", format!("{{{quoted}:1}}"));
    let told = end(onward(&["validate"]).arg(&wrong)).code(1).out;
    check_harmless(&told);
    assert_eq!(told.lines().count(), 1, "{told:?}");
    assert!(told.contains("a\\u001b[0m\\u202e\\u000ab.json:1:2: unknown_field"), "{told}");
    let json = end(onward(&["validate", "--json"]).arg(&wrong)).code(1);
    check_harmless(&json.out);
    let path = wrong.to_str().unwrap();
    assert_eq!(json.object()["findings"][0]["file"], path);
    let none = end(onward(&["validate"]).arg(desk.path("\u{9b}none"))).code(3).err;
    check_harmless(&none);
}

#[test]
fn what_customers_are_called_does_nothing_to_a_terminal() {
    let desk = simple();
    let id = ACTIVE.trim_end();
    let (known, wrong) = (customer(id), format!("{{{}:1}}\n", Value::from(ACTIVE)));
    desk.file("customers.ndjson", known + &wrong);
    desk.file("events.ndjson", super::signup("e\u{2066}", id, "2026-01-01T00:00:00Z"));
    let ended = run_simple(&desk).code(1).says(&["unknown_field"]);
    check_harmless(&ended.err);
    for args in [&["log"][..], &["log", "--json"], &["show", "enrollment", "e0-9"]] {
        check_harmless(&desk.on_data(args).out);
    }
    let shown = desk.on_data(&["show", "customer", id]).code(0).out;
    check_harmless(&shown);
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap()["customer"]["id"], id);
    let log = desk.log();
    let read = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    assert!(log.lines().any(|line| read(line)["customer"] == id), "{log}");
    check_harmless(&desk.on_data(&["show", "customer", "\u{9b}x"]).code(3).err);
}
