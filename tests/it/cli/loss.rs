//! After an accepted loss LSNs are used again, and with them the ids of messages that left before.

use std::{collections::BTreeMap, fs};

use serde_json::Value;

use super::{Desk, customer, email, end, onward, signup, trim::copy, wait, welcome};

/// A shop with three files of events; the signups of the last two are of different customers.
fn shop() -> Desk {
    let desk = Desk::new();
    let steps = [email(1, "Hello {{ customer.id }}"), wait(2, "1d"), email(3, "Bye")];
    desk.file("defs.json", welcome(&steps).to_string());
    let mut customers = String::new();
    for (file, day) in [("first", 1), ("lost", 5), ("next", 7)] {
        let ids: Vec<String> = (0..5).map(|number| format!("{file}{number}")).collect();
        customers.extend(ids.iter().map(|id| customer(id)));
        let time = format!("2026-01-0{day}T00:00:00Z");
        let events: String = ids.iter().map(|id| signup("e", id, &time)).collect();
        desk.file(&format!("{file}.ndjson"), events);
    }
    desk.file("customers.ndjson", customers);
    desk
}

/// The files of the outbox with what they hold.
fn messages(desk: &Desk) -> BTreeMap<String, String> {
    let entries = fs::read_dir(desk.path("outbox")).unwrap().map(Result::unwrap);
    let name = |entry: &fs::DirEntry| entry.file_name().into_string().unwrap();
    entries.map(|it| (name(&it), fs::read_to_string(it.path()).unwrap())).collect()
}

/// Whether what was sent before still lies there, and nothing else has one of its ids.
#[track_caller]
fn check_ids(desk: &Desk, before: &BTreeMap<String, String>, added: usize) {
    let after = messages(desk);
    assert!(before.iter().all(|(name, text)| after.get(name) == Some(text)));
    let id =
        |text: &String| text.lines().find(|it| it.starts_with("Message-ID")).unwrap().to_owned();
    let ids: std::collections::BTreeSet<String> = after.values().map(id).collect();
    assert_eq!(ids.len(), after.len(), "each message has an id of its own");
    assert_eq!(after.len(), before.len() + added);
    let letters = desk.on_data(&["show", "dead-letters", "--json"]).code(0).object();
    assert_eq!(letters, Value::Array(Vec::new()));
    desk.on_data(&["verify"]).code(0);
}

#[test]
fn after_an_accepted_loss_no_id_is_used_again() {
    let desk = shop();
    desk.run("defs.json", "customers.ndjson", "first.ndjson").code(0);
    copy(&desk.data(), &desk.path("earlier"));
    desk.run("defs.json", "customers.ndjson", "lost.ndjson").code(0);
    let before = messages(&desk);
    // An older copy of the directory under the head of now.
    fs::copy(desk.data().join("head"), desk.path("earlier/head")).unwrap();
    fs::remove_dir_all(desk.data()).unwrap();
    fs::rename(desk.path("earlier"), desk.data()).unwrap();

    let accept = |events: &str| {
        let mut command = desk.run_command("defs.json", "customers.ndjson", events);
        end(command.arg("--accept-loss")).code(0);
    };
    accept("next.ndjson");
    // The second mail of the first five, whose sending is forgotten, and the first of five others.
    check_ids(&desk, &before, 2 * 5);
    let names = desk.records("Restored");
    assert_eq!((desk.records("LossAccepted").len(), names.len()), (1, 1));
    // What leaves later has the same name, and a directory without a loss gets no other.
    accept("lost.ndjson");
    assert_eq!(desk.records("Restored"), names);
    let name = names[0]["instance"].as_str().unwrap();
    let added: Vec<_> = messages(&desk).into_keys().filter(|it| !before.contains_key(it)).collect();
    assert_eq!(added.len(), 2 * 5 + 5, "{added:?}");
    assert!(added.iter().all(|it| it.ends_with(&format!("@{name}.eml"))), "{added:?}");
}

#[test]
fn a_repaired_directory_uses_no_id_again() {
    let desk = shop();
    desk.run("defs.json", "customers.ndjson", "first.ndjson").code(0);
    let kept = desk.log().lines().count();
    desk.run("defs.json", "customers.ndjson", "lost.ndjson").code(0);
    let before = messages(&desk);
    super::damage::damage(&desk);
    let mut command = onward(&["repair", "--json", "--data"]);
    let repaired = end(command.arg(desk.data()).arg("--to").arg(desk.path("new"))).code(1).object();
    assert!(repaired["lost"]["first"].as_u64() >= u64::try_from(kept).ok(), "{repaired}");
    fs::remove_dir_all(desk.data()).unwrap();
    fs::rename(desk.path("new"), desk.data()).unwrap();
    desk.run("defs.json", "customers.ndjson", "next.ndjson").code(0);
    let added = messages(&desk).len() - before.len();
    assert!(added >= 5, "{added}");
    check_ids(&desk, &before, added);
}

#[test]
fn two_directories_with_one_outbox_are_told_and_nothing_is_overwritten_or_given_up() {
    let desk = shop();
    desk.run("defs.json", "customers.ndjson", "first.ndjson").code(0);
    let before = messages(&desk);
    fs::rename(desk.data(), desk.path("other")).unwrap();
    let run = || desk.run("defs.json", "customers.ndjson", "lost.ndjson");
    run().code(4).says(&["exists with another content and is kept", "an outbox of its own"]);
    assert_eq!(messages(&desk), before);
    // With an outbox of its own it goes on where it stopped.
    fs::rename(desk.path("outbox"), desk.path("others")).unwrap();
    run().code(0);
    check_ids(&desk, &BTreeMap::new(), 5);
}

#[test]
fn an_outbox_in_use_is_refused() {
    let desk = shop();
    let outbox = onward::delivery::Outbox::open(&desk.path("outbox")).unwrap();
    let run = || desk.run("defs.json", "customers.ndjson", "first.ndjson");
    run().code(3).says(&["outbox is in use"]);
    assert_eq!(messages(&desk), BTreeMap::new());
    drop(outbox);
    run().code(0);
}
