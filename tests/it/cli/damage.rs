//! `doctor` and `repair`, as an operator uses them.

use std::fs;

use super::{Desk, end, onward, run_retail, run_simple, simple};

/// Flips a bit of every copy of the last chunk that holds records.
pub(super) fn damage(desk: &Desk) {
    let path = desk.data().join("db");
    let mut bytes = fs::read(&path).unwrap();
    let places = bytes.windows(4).enumerate().filter(|(_, it)| *it == b"ONWD");
    let last = places.map(|(at, _)| at).filter(|at| bytes[at + 5] == 2).max().unwrap();
    let n = bytes[last + 41..last + 49].to_vec();
    for at in 0..bytes.len() - 91 {
        if bytes[at..].starts_with(b"ONWD") && bytes[at + 41..at + 49] == n {
            bytes[at + 90] ^= 1;
        }
    }
    fs::write(path, bytes).unwrap();
}

fn repair(desk: &Desk, to: &str) -> super::Ended {
    end(onward(&["repair", "--json", "--data"]).arg(desk.data()).arg("--to").arg(desk.path(to)))
}

#[test]
fn a_whole_directory_is_well_and_saved_whole() {
    let desk = simple();
    run_simple(&desk).code(0);
    let log = desk.log();
    let found = desk.on_data(&["doctor", "--json"]).code(0).object();
    assert_eq!(found["findings"], serde_json::json!([]));
    assert_eq!(found["records"], log.lines().count());
    let repaired = repair(&desk, "new").code(0).object();
    assert_eq!(repaired["lost"], serde_json::Value::Null);
    let saved = end(onward(&["log", "--json", "--data"]).arg(desk.path("new"))).code(0).out;
    assert_eq!(saved, log);
    end(onward(&["verify", "--data"]).arg(desk.path("new"))).code(0);
    repair(&desk, "new").code(3).says(&["is there already"]);
}

#[test]
fn a_damaged_directory_is_told_and_saved_up_to_the_damage() {
    let desk = simple();
    run_simple(&desk).code(0);
    let log = desk.log();
    damage(&desk);
    let before = fs::read(desk.data().join("db")).unwrap();
    let text = desk.on_data(&["doctor"]).code(1).out;
    assert!(text.contains("was acknowledged") && text.contains("to do:"), "{text}");
    let repaired = repair(&desk, "new").code(1).object();
    let saved = usize::try_from(repaired["saved"].as_u64().unwrap()).unwrap();
    assert!(0 < saved && saved < log.lines().count(), "{repaired}");
    assert_eq!(repaired["lost"]["last"], log.lines().count(), "{repaired}");
    assert!(fs::read(desk.data().join("db")).unwrap() == before, "the original stays as it is");
    desk.on_data(&["verify"]).code(4).says(&["acknowledged", "--accept-loss"]);
    end(onward(&["verify", "--data"]).arg(desk.path("new"))).code(0);
    let new = end(onward(&["log", "--json", "--data"]).arg(desk.path("new"))).code(0).out;
    assert!(new.lines().take(saved).eq(log.lines().take(saved)));
    let added: Vec<&str> = new.lines().skip(saved).collect();
    let [loss, name] = added.as_slice() else { panic!("{new}") };
    assert!(loss.contains("LossAccepted") && name.contains("Restored"), "{new}");
}

#[test]
fn what_is_no_data_directory_is_3() {
    let desk = simple();
    for command in [&["doctor"][..], &["repair", "--to", "x"]] {
        desk.on_data(command).code(3).says(&["holds no data"]);
    }
}

#[test]
fn a_trimmed_directory_is_well_and_is_not_taken_for_a_damaged_one() {
    let desk = Desk::new();
    end(&mut run_retail(&desk)).code(0);
    desk.on_data(&["trim", "--keep", "60d"]).code(0);
    let found = desk.on_data(&["doctor", "--json"]).code(0).object();
    assert_eq!(found["findings"], serde_json::json!([]));
    repair(&desk, "new").code(3).says(&["was trimmed"]);
    assert!(!desk.path("new").exists());
}
