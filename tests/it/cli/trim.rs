//! `onward trim`, what is still there after it, and `onward log --export`.

use std::{fs, path::Path};

use serde_json::Value;

use super::{Desk, email, end, onward, run_retail, signup, simple, wait, welcome};

/// The number of a record in a line of the log.
fn lsn(line: &str) -> u64 {
    serde_json::from_str::<Value>(line).unwrap()["lsn"].as_u64().unwrap()
}

fn exported(desk: &Desk, name: &str) -> String {
    end(onward(&["log", "--json", "--export"]).arg(desk.path(name))).code(0).out
}

fn trim(desk: &Desk, keep: &str, export: Option<&str>) -> super::Ended {
    let mut command = onward(&["trim", "--json", "--keep", keep]);
    command.arg("--data").arg(desk.data());
    if let Some(name) = export {
        command.arg("--export").arg(desk.path(name));
    }
    end(&mut command)
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn what_is_trimmed_is_in_the_export_and_the_rest_in_the_log() {
    let desk = Desk::new();
    end(&mut run_retail(&desk)).code(0);
    let whole = desk.log();
    let customer = desk.on_data(&["show", "customer", "16393", "--json"]).code(0).out;
    let done = trim(&desk, "60d", Some("old")).code(0).object();
    assert!(done["chunks"].as_u64() > Some(3), "{done}");
    assert_eq!(done["chunks"], done["exported"]);
    let log = desk.on_data(&["log", "--json"]).code(0);
    let begins = lsn(log.out.lines().next().unwrap());
    assert_eq!(done["up_to"], begins - 1);
    assert!(log.err.contains(&format!("the records before {begins} are trimmed")), "{}", log.err);
    assert_eq!(exported(&desk, "old") + &log.out, whole);
    // The same again changes nothing; keeping less goes on where it stopped.
    assert_eq!(trim(&desk, "60d", Some("old")).code(0).object()["chunks"], 0);
    let more = trim(&desk, "20d", Some("old")).code(0).object();
    assert!(more["chunks"].as_u64() > Some(3), "{more}");
    assert_eq!(exported(&desk, "old") + &desk.log(), whole);

    let verified = desk.on_data(&["verify", "--json"]).code(0).object();
    assert_eq!((&verified["base"], &verified["older_rows"]), (&more["up_to"], &0.into()));
    assert!(verified["rows"].as_u64() > Some(500), "{verified}");
    assert_eq!(desk.on_data(&["show", "customer", "16393", "--json"]).code(0).out, customer);
    // The same run over it has nothing to do.
    end(&mut run_retail(&desk)).code(0).says(&["nothing new"]);
    desk.on_data(&["verify"]).code(0);
}

#[test]
fn an_enrollment_whose_beginning_is_trimmed_is_shown_and_says_so() {
    let desk = long_wait();
    let enrolled = desk.records("Enrolled");
    let id = enrolled[0]["enrollment"].as_str().unwrap().to_owned();
    let before = desk.on_data(&["show", "enrollment", &id, "--json"]).code(0).object();
    assert_eq!(before.get("trimmed_before"), None);
    trim(&desk, "72h", None).code(0);
    let mut shown = desk.on_data(&["show", "enrollment", &id, "--json"]).code(0).object();
    let first = lsn(desk.log().lines().next().unwrap());
    assert_eq!(shown["trimmed_before"], first);
    assert_eq!(shown["history"], Value::Array(Vec::new()));
    let object = shown.as_object_mut().unwrap();
    object.remove("trimmed_before");
    object.insert("history".to_owned(), before["history"].clone());
    assert_eq!(shown, before);
    desk.on_data(&["show", "enrollment", "e0-1"]).code(3).says(&["there is no enrollment"]);
    // Its timer still fires.
    let mut command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    let summary = end(command.args(["--until", "2026-03-01T00:00:00Z"])).code(0).object();
    assert_eq!(summary["waiting"], 0, "{summary}");
    desk.on_data(&["verify"]).code(0);
}

/// Enrollments that wait for a month, and signups ten days later.
fn long_wait() -> Desk {
    let desk = simple();
    let steps = [email(1, "Hello"), wait(2, "30d"), email(3, "Bye")];
    desk.file("defs.json", welcome(&steps).to_string());
    let first = signup("e1", "c1", "2026-01-01T00:00:00Z");
    let second = signup("e2", "c2", "2026-01-01T00:00:01Z");
    let later = signup("e3", "c3", "2026-01-11T00:00:00Z");
    desk.file("events.ndjson", [first, second, later].concat());
    desk.run("defs.json", "customers.ndjson", "events.ndjson").code(0);
    desk
}

#[test]
fn without_copies_of_rows_what_began_later_is_compared() {
    let desk = Desk::new();
    let limits = "base_copy_bytes=1";
    end(&mut run_retail(&desk)).code(0);
    let mut command = onward(&["trim", "--json", "--keep", "60d"]);
    end(command.arg("--data").arg(desk.data()).env("ONWARD_LIMITS", limits)).code(0);
    let verified = desk.on_data(&["verify", "--json"]).code(0).object();
    let (rows, older) = (verified["rows"].as_u64().unwrap(), verified["older_rows"].as_u64());
    assert!(rows > 20 && older > Some(100), "{verified}");
    let human = desk.on_data(&["verify"]).code(0).out;
    let says = format!("{} rows are older than that base", older.unwrap());
    assert!(human.contains(&says), "{human}");
    // The rows of a later moment cannot be had; those of now were kept for the next time.
    let again = trim(&desk, "72h", None).code(0).object();
    assert_eq!((&again["up_to"], &again["chunks"]), (&verified["base"], &0.into()));
    desk.file("defs.json", fs::read(super::retail("definitions.json")).unwrap());
    desk.file("next.ndjson", signup("x1", "13047", "2011-09-20T00:00:00Z"));
    desk.run("defs.json", "", "next.ndjson").code(0);
    let then = trim(&desk, "72h", None).code(0).object();
    assert!(then["up_to"].as_u64() > verified["base"].as_u64(), "{then}");
    desk.on_data(&["verify"]).code(0);
}

#[test]
fn a_loss_is_accepted_where_the_base_has_the_rows_and_refused_where_not() {
    for (copies, code) in [("base_copy_bytes=1000000", 0), ("base_copy_bytes=1", 4)] {
        let desk = long_wait();
        let mut command = onward(&["trim", "--json", "--keep", "72h"]);
        end(command.arg("--data").arg(desk.data()).env("ONWARD_LIMITS", copies)).code(0);
        copy(&desk.data(), &desk.path("earlier"));
        desk.file("more.ndjson", signup("e4", "c4", "2026-01-12T00:00:00Z"));
        desk.run("defs.json", "customers.ndjson", "more.ndjson").code(0);
        fs::copy(desk.data().join("head"), desk.path("earlier/head")).unwrap();
        fs::remove_dir_all(desk.data()).unwrap();
        fs::rename(desk.path("earlier"), desk.data()).unwrap();
        desk.run("defs.json", "customers.ndjson", "more.ndjson").code(4).says(&["--accept-loss"]);
        let mut command = desk.run_command("defs.json", "customers.ndjson", "more.ndjson");
        let ended = end(command.arg("--accept-loss")).code(code);
        if code == 0 {
            assert_eq!(desk.records("LossAccepted").len(), 1);
            assert_eq!(ended.object()["waiting"], 4);
            let verified = desk.on_data(&["verify", "--json"]).code(0).object();
            assert!(verified["base"].is_u64(), "{verified}");
        } else {
            ended.says(&["the log is trimmed up to record", "restore a backup"]);
        }
    }
}

#[test]
fn an_export_is_never_mixed_up() {
    let desk = long_wait();
    let whole = desk.log();
    copy(&desk.data(), &desk.path("copy"));
    trim(&desk, "72h", Some("old")).code(0);
    let removed = exported(&desk, "old");
    // A crash while it was written: the log still had everything.
    let bytes = fs::read(desk.path("old")).unwrap();
    for cut in [0, bytes.len() / 2, bytes.len() - 1] {
        fs::remove_dir_all(desk.data()).unwrap();
        copy(&desk.path("copy"), &desk.data());
        fs::write(desk.path("old"), &bytes[..cut]).unwrap();
        if cut == 0 {
            trim(&desk, "72h", Some("old")).code(3).says(&["old is no export"]);
            fs::remove_file(desk.path("old")).unwrap();
        }
        trim(&desk, "72h", Some("old")).code(0);
        assert_eq!(fs::read(desk.path("old")).unwrap(), bytes);
    }
    // What was damaged later is not to be had any more.
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    fs::write(desk.path("old"), &damaged).unwrap();
    end(onward(&["log", "--export"]).arg(desk.path("old"))).code(4).says(&["old at byte"]);
    trim(&desk, "72h", Some("old")).code(4).says(&["old at byte"]);
    assert_eq!(fs::read(desk.path("old")).unwrap(), damaged);

    // Another directory's, and one that ends too early.
    let other = long_wait();
    other.file("events.ndjson", signup("z", "c1", "2026-01-01T00:00:00Z"));
    fs::remove_dir_all(other.data()).unwrap();
    fs::remove_dir_all(other.path("outbox")).unwrap();
    other.run("defs.json", "customers.ndjson", "events.ndjson").code(0);
    fs::write(desk.path("old"), &bytes).unwrap();
    let mut command = onward(&["trim", "--keep", "72h"]);
    command.arg("--data").arg(desk.data()).arg("--export").arg(desk.path("events.ndjson"));
    end(&mut command).code(3).says(&["events.ndjson is no export"]);
    desk.file("more.ndjson", signup("e4", "c4", "2026-02-12T00:00:00Z"));
    desk.run("defs.json", "customers.ndjson", "more.ndjson").code(0);
    trim(&desk, "72h", None).code(0);
    desk.file("more.ndjson", signup("e5", "c4", "2026-03-12T00:00:00Z"));
    desk.run("defs.json", "customers.ndjson", "more.ndjson").code(0);
    trim(&desk, "72h", Some("old")).code(3).says(&["the log begins at", "another file"]);
    trim(&desk, "72h", Some("new")).code(0);
    let last = exported(&desk, "new");
    assert!(lsn(last.lines().next().unwrap()) > lsn(removed.lines().last().unwrap()) + 1);
    assert!(whole.starts_with(&removed));
    desk.on_data(&["verify"]).code(0);
}

#[test]
fn a_run_that_keeps_little_ends_with_the_same_messages_and_rows() {
    let (all, few) = (Desk::new(), Desk::new());
    let summary = end(&mut run_retail(&all)).code(0).object();
    let limits = "keep_log=10d,checkpoint_records=100,chunk_bytes=2000";
    let trimmed = end(run_retail(&few).env("ONWARD_LIMITS", limits)).code(0).object();
    for name in ["records", "sent", "exited", "customers", "waiting"] {
        assert_eq!(summary[name], trimmed[name], "{name}");
    }
    assert_eq!(all.messages(".eml"), few.messages(".eml"));
    let (whole, rest) = (all.log(), few.log());
    assert!(rest.len() < whole.len() / 2 && whole.ends_with(&rest));
    let verified = few.on_data(&["verify", "--json"]).code(0).object();
    assert!(verified["base"].is_u64() && verified["bases"].as_u64() >= Some(1), "{verified}");
    assert_eq!(verified["older_rows"], 0);
}

#[test]
fn what_cannot_be_trimmed_is_told() {
    let desk = long_wait();
    trim(&desk, "71h", None).code(2).says(&["72h"]);
    trim(&desk, "soon", None).code(2).says(&["--keep"]);
    let done = trim(&desk, "30d", None).code(0).object();
    assert_eq!((&done["up_to"], &done["chunks"]), (&Value::Null, &0.into()));
    let none = Desk::new();
    trim(&none, "72h", None).code(3).says(&["holds no data"]);
    assert!(!none.data().exists());
}
