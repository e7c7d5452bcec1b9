//! Data directories that cannot be used as they are, and what each exit code means.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use onward::{
    base::InstanceId,
    store::{Directory, DirectoryFormat, Tree},
};

use super::{Desk, customer, end, onward, run_retail, run_simple, signup, simple};

#[test]
fn help_lists_the_exit_codes() {
    let help = end(&mut onward(&["--help"])).code(0).out;
    for code in ["0  done", "1  ", "2  ", "3  ", "4  "] {
        assert!(help.contains(code), "{help}");
    }
}

#[test]
fn wrong_usage_is_2() {
    let desk = simple();
    end(&mut onward(&["run"])).code(2);
    end(&mut onward(&["dance"])).code(2);
    desk.on_data(&["log", "--from", "x"]).code(2);
    run_simple(&desk).code(0);
    desk.on_data(&["show", "enrollment", "seven"]).code(2).says(&["e0-1234"]);
    let mut command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    end(command.env("ONWARD_LIMITS", "pages=1")).code(2).says(&["ONWARD_LIMITS", "pages=1"]);
}

#[test]
fn a_file_or_directory_that_is_not_there_is_3_and_nothing_is_created() {
    let desk = simple();
    for command in [&["log"][..], &["verify"], &["show", "flow", "welcome"]] {
        desk.on_data(command).code(3).says(&["holds no data"]);
        assert!(!desk.data().exists(), "{command:?}");
    }
    desk.run("defs.json", "customers.ndjson", "none.ndjson").code(3).says(&["none.ndjson"]);
    assert!(!desk.data().exists());
    run_simple(&desk).code(0);
    for (kind, id) in [("enrollment", "e0-999"), ("customer", "nobody"), ("flow", "nothing")] {
        desk.on_data(&["show", kind, id]).code(3).says(&[kind, id]);
    }
}

#[test]
fn a_file_where_the_directory_should_be_is_3() {
    let desk = simple();
    desk.file("data", "not a directory");
    run_simple(&desk).code(3).says(&["is not a directory"]);
    assert_eq!(fs::read(desk.data()).unwrap(), b"not a directory");
}

#[test]
fn a_directory_in_use_is_3() {
    let desk = simple();
    run_simple(&desk).code(0);
    let held = Directory::open(&desk.data()).unwrap();
    run_simple(&desk).code(3).says(&["is in use by another process; stop it"]);
    desk.on_data(&["verify"]).code(3).says(&["is in use"]);
    desk.on_data(&["log"]).code(3).says(&["is in use"]);
    drop(held);
    run_simple(&desk).code(0);
}

/// Replaces the value of `format` by one of the next version, checksum included.
fn make_newer(desk: &Desk) {
    let store = Directory::open(&desk.data()).unwrap();
    let mut value = store.get(Tree::Meta, b"format").unwrap().unwrap();
    let at = value.windows(4).position(|it| it == b"ONWF").unwrap() + 5;
    assert_eq!(value[at..at + 2], 2_u16.to_be_bytes());
    value[at..at + 2].copy_from_slice(&3_u16.to_be_bytes());
    let body = value.len() - 4;
    let crc = crc32c::crc32c(&value[..body]);
    value[body..].copy_from_slice(&crc.to_be_bytes());
    store.put(Tree::Meta, b"format", &value).unwrap();
    store.sync().unwrap();
}

#[test]
fn a_newer_format_is_3() {
    let desk = simple();
    run_simple(&desk).code(0);
    make_newer(&desk);
    let says = ["has format 3", "knows up to 2", "use a newer program"];
    run_simple(&desk).code(3).says(&says);
    desk.on_data(&["verify"]).code(3).says(&says);
}

#[test]
fn the_head_of_another_instance_is_3() {
    let (desk, other) = (simple(), simple());
    other.file("events.ndjson", signup("other", "c1", "2026-01-01T00:00:00Z"));
    run_simple(&desk).code(0);
    run_simple(&other).code(0);
    let own = fs::read(desk.data().join("head")).unwrap();
    fs::copy(other.data().join("head"), desk.data().join("head")).unwrap();
    run_simple(&desk).code(3).says(&["belongs to directory", "restore the file"]);
    desk.on_data(&["log"]).code(3);
    fs::write(desk.data().join("head"), own).unwrap();
    run_simple(&desk).code(0);
}

#[test]
fn a_directory_with_another_number_of_partitions_is_3() {
    let desk = simple();
    let store = Directory::open(&desk.data()).unwrap();
    let format = DirectoryFormat { instance: InstanceId([7; 16]), partitions: 4 };
    format.create_or_check(&*store).unwrap();
    drop(store);
    run_simple(&desk).code(3).says(&["4 partitions"]);
}

#[test]
fn a_log_that_lost_acknowledged_records_is_4_until_the_loss_is_accepted() {
    let desk = simple();
    run_simple(&desk).code(0);
    // An older copy of the directory under the head of now.
    let head = fs::read(desk.data().join("head")).unwrap();
    fs::remove_dir_all(desk.data()).unwrap();
    desk.file("shorter.ndjson", "");
    fs::remove_dir_all(desk.path("outbox")).unwrap();
    let store = Directory::open(&desk.data()).unwrap();
    let plan = instance_of_head(&head);
    DirectoryFormat { instance: plan, partitions: 1 }.create_or_check(&*store).unwrap();
    drop(store);
    fs::write(desk.data().join("head"), head).unwrap();
    run_simple(&desk).code(4).says(&["ends at record 0", "--accept-loss"]);
    desk.on_data(&["verify"]).code(4);
    let mut command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    end(command.arg("--accept-loss")).code(0);
    assert_eq!(desk.records("LossAccepted").len(), 1);
    assert_eq!(desk.messages(".eml"), 1);
    desk.on_data(&["verify"]).code(0);
}

/// The instance id in the newest slot of a head file: after the magic, the version and the sequence.
fn instance_of_head(head: &[u8]) -> InstanceId {
    InstanceId(head[13..29].try_into().unwrap())
}

#[test]
fn stored_bytes_that_are_not_what_was_written_are_4() {
    let desk = simple();
    run_simple(&desk).code(0);
    let store = Directory::open(&desk.data()).unwrap();
    let (key, mut value) = store.above(Tree::Rows, b"").unwrap().unwrap();
    let last = value.len() - 1;
    value[last] ^= 1;
    store.put(Tree::Rows, &key, &value).unwrap();
    store.sync().unwrap();
    drop(store);
    desk.on_data(&["verify"]).code(4).says(&["is damaged", "checksum"]);
}

/// The retail run under way, telling on standard error which spans begin and end.
fn traced_retail(desk: &Desk) -> Child {
    let mut command = run_retail(desk);
    command.env("ONWARD_LOG", "onward=trace").stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn a_file_that_was_read_half_way_must_be_given_again() {
    let desk = Desk::new();
    let mut child = traced_retail(&desk);
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let synced = lines.filter(|line| line.contains(" sync: ") && line.contains(": close "));
    assert_eq!(synced.take(40).count(), 40, "the run is long enough");
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None, "it was killed");

    desk.file("defs.json", fs::read(super::retail("definitions.json")).unwrap());
    desk.file("customers.ndjson", fs::read(super::retail("customers.ndjson")).unwrap());
    desk.file("other.ndjson", signup("e1", "13047", "2011-08-01T00:00:00Z"));
    let log = desk.log();
    let says = ["was read up to byte", "give it again unchanged", "events.ndjson"];
    desk.run("defs.json", "customers.ndjson", "other.ndjson").code(3).says(&says);
    desk.run("defs.json", "customers.ndjson", "").code(3).says(&says);
    assert_eq!(desk.log(), log, "a refused command writes nothing");
    // The same bytes under another name are the same file.
    desk.file("renamed.ndjson", fs::read(super::retail("events.ndjson")).unwrap());
    desk.run("defs.json", "customers.ndjson", "renamed.ndjson").code(0);
    desk.run("defs.json", "customers.ndjson", "other.ndjson").code(0);
    let received = desk.records("EventReceived");
    assert_eq!(received.len(), 337 + 1);
    desk.on_data(&["verify"]).code(0);
}

#[test]
fn a_second_run_at_the_same_time_is_refused() {
    let desk = Desk::new();
    let mut child = traced_retail(&desk);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("fence: ") && line.contains(": close ")));
    // Nobody reads on, so the first run cannot end before the second has tried.
    desk.file("defs.json", fs::read(super::retail("definitions.json")).unwrap());
    desk.file("customers.ndjson", customer("c1"));
    desk.run("defs.json", "customers.ndjson", "").code(3).says(&["is in use"]);
    drop(lines);
    child.kill().unwrap();
    child.wait().unwrap();
}
