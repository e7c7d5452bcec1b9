//! `doctor` and `repair`, as an operator uses them.

use std::fs;

use onward::store::{Directory, StoreKind};

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
    repair(&desk, "new").code(3).says(&["new is in the way"]);
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

/// A directory whose log was trimmed, and its log as it is now.
fn trimmed() -> (Desk, String) {
    let desk = Desk::new();
    end(&mut run_retail(&desk)).code(0);
    desk.on_data(&["trim", "--keep", "60d"]).code(0);
    // What is trimmed leaves the file too.
    desk.on_data(&["compact"]).code(0);
    let log = desk.log();
    (desk, log)
}

#[test]
fn a_log_that_is_trimmed_as_far_as_it_can_be_is_saved() {
    let desk = Desk::new();
    end(&mut run_retail(&desk)).code(0);
    desk.on_data(&["trim", "--keep", "72h"]).code(0);
    desk.on_data(&["compact"]).code(0);
    let log = desk.log();
    assert_eq!(repair(&desk, "new").code(0).object()["lost"], serde_json::Value::Null);
    let saved = end(onward(&["log", "--json", "--data"]).arg(desk.path("new"))).code(0).out;
    assert!(saved == log, "the same records");
}

fn first_record(log: &str) -> u64 {
    let first: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    first["lsn"].as_u64().unwrap()
}

#[test]
fn a_trimmed_directory_is_well_and_saved_from_its_base_on() {
    let (desk, log) = trimmed();
    let found = desk.on_data(&["doctor", "--json"]).code(0).object();
    assert_eq!(found["findings"], serde_json::json!([]));
    let repaired = repair(&desk, "new").code(0).object();
    assert_eq!(repaired["base"], first_record(&log) - 1, "{repaired}");
    assert_eq!(repaired["lost"], serde_json::Value::Null);
    let saved = end(onward(&["log", "--json", "--data"]).arg(desk.path("new"))).code(0).out;
    assert!(saved == log, "the same records");
    let verified = end(onward(&["verify", "--json", "--data"]).arg(desk.path("new"))).code(0);
    let (ours, theirs) = (desk.on_data(&["verify", "--json"]).code(0).object(), verified.object());
    assert_eq!(ours["rows"], theirs["rows"], "as many rows are compared in full");
}

#[test]
fn a_damaged_trimmed_directory_is_saved_up_to_the_damage() {
    let (desk, log) = trimmed();
    damage(&desk);
    let text = desk.on_data(&["doctor"]).code(1).out;
    assert!(text.contains("was acknowledged") && text.contains("to do:"), "{text}");
    let repaired = repair(&desk, "new").code(1).object();
    let count = repaired["saved"].as_u64().unwrap() - repaired["base"].as_u64().unwrap();
    let count = usize::try_from(count).unwrap();
    assert!(0 < count && count < log.lines().count(), "{repaired}");
    let new = end(onward(&["log", "--json", "--data"]).arg(desk.path("new"))).code(0).out;
    assert!(new.lines().take(count).eq(log.lines().take(count)));
    assert!(new.lines().last().unwrap().contains("Restored"), "{new}");
    end(onward(&["verify", "--data"]).arg(desk.path("new"))).code(0);
    // The program goes on with it.
    let text = end(onward(&["show", "customer", "16393", "--data"]).arg(desk.path("new")));
    text.code(0);
}

#[test]
fn without_the_base_of_a_trimmed_log_nothing_is_made_up() {
    let (desk, log) = trimmed();
    let path = desk.data().join("db");
    let mut bytes = fs::read(&path).unwrap();
    let places: Vec<_> = memchr::memmem::find_iter(&bytes, b"ONWB").collect();
    assert!(!places.is_empty());
    places.iter().for_each(|at| bytes[at + 20] ^= 1);
    fs::write(path, bytes).unwrap();
    let first = first_record(&log);
    let says = [format!("records {first} to"), "restore a backup".to_owned()];
    let says = says.each_ref().map(String::as_str);
    repair(&desk, "new").code(4).says(&says);
    assert!(!desk.path("new").exists());
    desk.on_data(&["doctor"]).code(1);
}

#[test]
fn without_a_head_a_loss_must_be_accepted() {
    let desk = simple();
    run_simple(&desk).code(0);
    let count = desk.log().lines().count();
    fs::remove_file(desk.data().join("head")).unwrap();
    let told = desk.on_data(&["doctor"]).code(1).out;
    assert!(told.contains("head: it is not there") && told.contains("--accept-loss"), "{told}");
    run_simple(&desk).code(4).says(&["head is not in", &format!("{count}"), "--accept-loss"]);
    desk.on_data(&["verify"]).code(4).says(&["head is not in"]);
    assert!(!desk.data().join("head").exists());
    let repaired = repair(&desk, "new").code(1).object();
    assert_eq!((&repaired["saved"], &repaired["has_head"]), (&count.into(), &false.into()));
    // What was behind may have left: nothing that is repaired so has the old name any more.
    let new = end(onward(&["log", "--json", "--data"]).arg(desk.path("new"))).code(0).out;
    let added: Vec<&str> = new.lines().skip(count).collect();
    assert!(added.len() == 2 && added[1].contains("\"Restored\""), "{new}");
    end(onward(&["verify", "--data"]).arg(desk.path("new"))).code(0);
    let mut command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    end(command.arg("--accept-loss")).code(0).says(&["there is no head"]);
    assert_eq!(desk.records("LossAccepted").len(), 1);
    desk.on_data(&["verify"]).code(0);
    run_simple(&desk).code(0);
    assert_eq!(desk.on_data(&["doctor", "--json"]).code(0).object()["acknowledged"], count + 2);
}

#[test]
fn settings_that_are_damaged_or_gone_are_made_again() {
    let desk = simple();
    run_simple(&desk).code(0);
    let log = desk.log();
    let path = desk.data().join("conf");
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[15] ^= 1;
    for damaged in [&flipped[..], b"", b"garbage", &[0; 40], &whole[..20]] {
        fs::write(&path, damaged).unwrap();
        let told = desk.on_data(&["doctor"]).code(1).out;
        assert!(told.contains("conf: the checksum") && told.contains("nothing:"), "{told}");
        desk.on_data(&["verify"]).code(0).says(&["settings are not whole"]);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    fs::remove_file(&path).unwrap();
    desk.on_data(&["doctor"]).code(1);
    desk.on_data(&["verify"]).code(0);
    assert_eq!((fs::read(&path).unwrap(), desk.log()), (whole, log));
    desk.on_data(&["doctor"]).code(0);
}

#[test]
fn what_copies_have_left_is_told() {
    let desk = simple();
    run_simple(&desk).code(0);
    for (left, says) in [
        ("data/unfinished", "had taken its place"),
        ("data.compacting/db", "has replaced"),
        ("data.compacting/unfinished", "was cut off"),
        ("data.restoring/unfinished", "run `onward restore` again"),
    ] {
        let path = desk.path(left);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        let told = desk.on_data(&["doctor"]).code(1).out;
        assert!(told.contains(says) && told.contains("1 findings"), "{told}");
        fs::remove_file(&path).unwrap();
        if path.parent() != Some(&desk.data()) {
            fs::remove_dir(path.parent().unwrap()).unwrap();
        }
    }
    let made = desk.path("data.compacting");
    fs::rename(desk.data(), &made).unwrap();
    let told = end(onward(&["doctor", "--data"]).arg(made)).code(1).out;
    assert!(told.contains("not finished, or one that"), "{told}");
}

#[test]
fn a_directory_that_was_killed_while_it_was_made_wants_nothing_but_a_start() {
    let desk = simple();
    for kind in [StoreKind::Sled, StoreKind::Redb] {
        Directory::open_as(&desk.data(), Some(kind)).unwrap().close().unwrap();
        let found = desk.on_data(&["doctor", "--json"]).code(1).object();
        let findings = found["findings"].as_array().unwrap();
        let [only] = &findings[..] else { panic!("{found}") };
        assert_eq!(only["what"], "it is being made and holds no data yet");
        assert_eq!(only["advice"], "nothing: the next start of the engine mends it");
        run_simple(&desk).code(0);
        desk.on_data(&["doctor"]).code(0);
        fs::remove_dir_all(desk.data()).unwrap();
    }
}

#[test]
fn a_repair_touches_nothing_of_others() {
    let desk = simple();
    run_simple(&desk).code(0);
    // The names of a directory that is being made, with something else in them.
    for kept in ["new.unfinished/mine", "new.repairing/mine"] {
        let path = desk.path(kept);
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, "mine").unwrap();
    }
    repair(&desk, "new").code(3).says(&["new.repairing is in the way"]);
    // One that was begun, with something else in it.
    for name in ["unfinished", "db"] {
        fs::write(desk.path("new.repairing").join(name), "").unwrap();
    }
    fs::remove_file(desk.path("new.repairing/mine")).unwrap();
    repair(&desk, "new").code(0);
    assert_eq!(fs::read(desk.path("new.unfinished/mine")).unwrap(), b"mine");
    assert!(!desk.path("new.repairing").exists());
    fs::write(desk.path("other.repairing"), "mine").unwrap();
    repair(&desk, "other").code(3).says(&["other.repairing is in the way"]);
    assert!(!desk.path("other").exists());
}

#[test]
fn of_two_repairs_to_one_place_one_is_refused() {
    let desk = simple();
    run_simple(&desk).code(0);
    let made = desk.path("new.repairing");
    fs::create_dir(&made).unwrap();
    let held = onward::store::Lock::take(&made).unwrap();
    // Before it is marked, and after.
    for _ in 0..2 {
        repair(&desk, "new").code(3).says(&["new.repairing is in use"]);
        fs::write(made.join("unfinished"), "").unwrap();
    }
    drop(held);
    repair(&desk, "new").code(0);
}
