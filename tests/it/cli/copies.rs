//! `onward compact`, `backup` and `restore`.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
};

use onward::store::{Directory, Tree};
use serde_json::Value;

use super::{
    Desk, Ended, customer, email, end, onward, run_retail, run_simple, signup, simple, wait,
    welcome,
};

fn compact(desk: &Desk) -> Ended {
    desk.on_data(&["compact", "--json"])
}

fn backup_command(desk: &Desk, to: &str) -> Command {
    let mut command = onward(&["backup", "--json"]);
    command.arg("--data").arg(desk.data()).arg("--to").arg(desk.path(to));
    command
}

fn backup(desk: &Desk, to: &str) -> Ended {
    end(&mut backup_command(desk, to))
}

fn check(desk: &Desk, backup: &str) -> Ended {
    end(onward(&["backup", "--json", "--check"]).arg(desk.path(backup)))
}

fn restore(desk: &Desk, from: &str, to: &str) -> Ended {
    let mut command = onward(&["restore", "--json"]);
    end(command.arg("--from").arg(desk.path(from)).arg("--data").arg(desk.path(to)))
}

fn on(desk: &Desk, args: &[&str], data: &str) -> Ended {
    end(onward(args).arg("--data").arg(desk.path(data)))
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
}

/// Fills the file with what nothing needs any more.
fn churn(desk: &Desk) {
    let store = Directory::open(&desk.data()).unwrap();
    for number in 0..400_u32 {
        let value = number.to_be_bytes().repeat(20_000);
        store.put(Tree::Meta, b"churn", &value).unwrap();
        store.sync().unwrap();
    }
    store.remove(Tree::Meta, b"churn").unwrap();
    store.sync().unwrap();
}

#[test]
fn a_compacted_directory_is_the_same_and_smaller() {
    let desk = Desk::new();
    end(&mut run_retail(&desk)).code(0);
    churn(&desk);
    let log = desk.log();
    let before = names(&desk.data());
    fs::set_permissions(desk.data(), Permissions::from_mode(0o750)).unwrap();
    let done = compact(&desk).code(0).object();
    assert!(done["bytes_after"].as_u64() < done["bytes_before"].as_u64(), "{done}");
    let after = fs::metadata(desk.data().join("db")).unwrap().blocks() * 512;
    assert_eq!(done["bytes_after"], after);
    // Both numbers mean the same: what is used, not how long the file is.
    let again = compact(&desk).code(0).object();
    assert!(again["bytes_before"].as_u64().unwrap() <= after, "{again}");
    assert_eq!(desk.log(), log);
    desk.on_data(&["verify"]).code(0);
    let mode = fs::metadata(desk.data()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o750);
    assert_eq!(names(desk.path("").as_path()), ["data", "outbox"].map(String::from).into());
    let known = |it: &&String| !it.starts_with("snap.");
    assert!(names(&desk.data()).iter().filter(known).eq(before.iter().filter(known)));
    let summary = end(&mut run_retail(&desk)).code(0).object();
    assert_eq!(summary["records_added"], 0);
    // Again: there is nothing to gain, and nothing is lost.
    compact(&desk).code(0);
    assert_eq!(desk.log(), log);
}

#[test]
fn what_cannot_be_compacted_is_left_alone() {
    let desk = simple();
    compact(&desk).code(3).says(&["holds no data"]);
    run_simple(&desk).code(0);
    let held = Directory::open(&desk.data()).unwrap();
    compact(&desk).code(3).says(&["is in use"]);
    drop(held);
    // A directory with other people's files would be removed with them.
    fs::write(desk.data().join("notes.txt"), "mine").unwrap();
    compact(&desk).code(3).says(&["notes.txt", "is in the way"]);
    assert!(!desk.path("data.compacting").exists());
    fs::remove_file(desk.data().join("notes.txt")).unwrap();
    fs::create_dir(desk.path("data.compacting")).unwrap();
    fs::write(desk.path("data.compacting/letter"), "mine").unwrap();
    compact(&desk).code(3).says(&["data.compacting", "is in the way"]);
    assert_eq!(fs::read(desk.path("data.compacting/letter")).unwrap(), b"mine");
    fs::remove_dir_all(desk.path("data.compacting")).unwrap();
    compact(&desk).code(0);
    desk.on_data(&["verify"]).code(0);
}

#[test]
fn a_damaged_directory_is_not_replaced() {
    let desk = simple();
    run_simple(&desk).code(0);
    {
        let store = Directory::open(&desk.data()).unwrap();
        let (key, mut value) = store.above(Tree::Rows, b"").unwrap().unwrap();
        value[20] ^= 1;
        store.put(Tree::Rows, &key, &value).unwrap();
        store.sync().unwrap();
    }
    compact(&desk).code(4).says(&["is damaged"]);
    desk.on_data(&["verify"]).code(4);
}

#[test]
fn a_directory_that_is_not_finished_is_no_data() {
    let desk = simple();
    run_simple(&desk).code(0);
    for name in ["data.compacting", "data.restoring"] {
        fs::rename(desk.data(), desk.path(name)).unwrap();
        on(&desk, &["log"], name).code(3).says(&[name, "is not finished"]);
        on(&desk, &["compact"], name).code(3).says(&[name, "is not finished"]);
        fs::rename(desk.path(name), desk.data()).unwrap();
    }
    desk.on_data(&["verify"]).code(0);
}

/// A shop whose second file of events comes later.
fn two_parts() -> Desk {
    let desk = simple();
    let steps = [email(1, "Hello"), wait(2, "2d"), email(3, "Bye {{ customer.id }}")];
    desk.file("defs.json", welcome(&steps).to_string());
    let events = |day: u32| {
        let line = |n| {
            signup(
                &format!("e{day}-{n}"),
                &format!("k{day}-{n}"),
                &format!("2026-01-0{day}T00:00:00Z"),
            )
        };
        (0..40).map(line).collect::<String>()
    };
    let ids = [1, 5].into_iter().flat_map(|day| (0..40).map(move |n| format!("k{day}-{n}")));
    desk.file("customers.ndjson", ids.map(|id| customer(&id)).collect::<String>());
    desk.file("first.ndjson", events(1));
    desk.file("second.ndjson", events(5));
    desk
}

#[test]
fn a_second_backup_copies_what_is_new() {
    let desk = two_parts();
    desk.run("defs.json", "customers.ndjson", "first.ndjson").code(0);
    let first = backup(&desk, "backup").code(0).object();
    let early = desk.log();
    assert_eq!(first["bytes_added"], first["bytes"]);
    desk.run("defs.json", "customers.ndjson", "second.ndjson").code(0);
    let second = backup(&desk, "backup").code(0).object();
    let (one, two) = (first["bytes"].as_u64().unwrap(), second["bytes"].as_u64().unwrap());
    assert_eq!(second["bytes_added"], two - one);
    assert!(one < two);
    assert_eq!(check(&desk, "backup").code(0).object()["lsn"], second["lsn"]);
    // Looking changes nothing, so nothing is new.
    let third = backup(&desk, "backup").code(0).object();
    assert_eq!((&third["chunks_added"], &third["bytes_added"]), (&0.into(), &0.into()));
    assert_eq!(third["lsn"], second["lsn"]);

    let restored = restore(&desk, "backup", "copy").code(0).object();
    let log = on(&desk, &["log", "--json"], "copy").code(0).out;
    let (records, added) = log.split_at(desk.log().len());
    assert_eq!(records, desk.log(), "the copy has the records of the original");
    assert!(records.starts_with(&early));
    let added: Value = serde_json::from_str(added).expect("one record more");
    assert_eq!((&added["record"], &added["instance"]), (&"Restored".into(), &restored["instance"]));
    on(&desk, &["verify"], "copy").code(0);
    assert!(!desk.path("copy.restoring").exists());
    assert!(names(&desk.path("copy")).contains("head"));
}

#[test]
fn what_a_copy_sends_is_not_taken_for_what_the_original_sends() {
    let desk = two_parts();
    desk.run("defs.json", "customers.ndjson", "first.ndjson").code(0);
    let backed_up = backup(&desk, "backup").code(0).object();
    let restored = restore(&desk, "backup", "copy").code(0).object();
    assert_ne!(restored["original"], restored["instance"]);
    let mut command = onward(&["run", "--json", "--until", "2026-02-01T00:00:00Z"]);
    command.arg("--data").arg(desk.path("copy")).arg("--outbox").arg(desk.path("out"));
    command.arg("--definitions").arg(desk.path("defs.json"));
    end(command.arg("--events").arg(desk.path("second.ndjson"))).code(0);
    on(&desk, &["verify"], "copy").code(0);
    // The first mails left the original; every one that leaves the copy has the copy's name.
    assert_eq!(backed_up["lsn"], restored["lsn"]);
    let name = restored["instance"].as_str().unwrap();
    let mails = names(&desk.path("out"));
    for mail in &mails {
        let text = fs::read_to_string(desk.path("out").join(mail)).unwrap();
        assert!(text.contains(&format!("@{name}.onward>")), "{text}");
    }
    assert_eq!(mails.len(), 40 + 2 * 40, "the second mail of some, both of the others");
}

#[test]
fn a_backup_of_something_else_is_refused() {
    let (desk, other) = (two_parts(), simple());
    desk.run("defs.json", "customers.ndjson", "first.ndjson").code(0);
    run_simple(&other).code(0);
    backup(&other, "backup").code(0);
    fs::rename(other.path("backup"), desk.path("backup")).unwrap();
    let says = ["does not go on from here", "it is of directory"];
    backup(&desk, "backup").code(3).says(&says);
    check(&desk, "backup").code(0);
    check(&desk, "nothing").code(3).says(&["holds no backup"]);
    restore(&desk, "nothing", "copy").code(3).says(&["holds no backup"]);
    backup(&desk, "data").code(3).says(&["is not outside"]);
    restore(&desk, "backup", "data").code(3).says(&["is in the way"]);
    assert_eq!(names(desk.path("").as_path()).iter().filter(|it| it.contains("copy")).count(), 0);
}

#[test]
fn a_copy_that_goes_its_own_way_does_not_mix_with_the_backup_of_the_original() {
    let desk = two_parts();
    desk.run("defs.json", "customers.ndjson", "first.ndjson").code(0);
    backup(&desk, "backup").code(0);
    restore(&desk, "backup", "copy").code(0);
    desk.run("defs.json", "customers.ndjson", "second.ndjson").code(0);
    backup(&desk, "backup").code(0);
    let to = desk.path("backup");
    let on_copy = || {
        let mut command = onward(&["backup"]);
        end(command.arg("--data").arg(desk.path("copy")).arg("--to").arg(&to))
    };
    on_copy().code(3).says(&["does not go on from here"]);
    fs::remove_dir_all(&to).unwrap();
    on_copy().code(0);
}

#[test]
fn a_copy_does_not_take_over_the_backup_that_it_was_made_from() {
    let desk = two_parts();
    desk.run("defs.json", "customers.ndjson", "first.ndjson").code(0);
    backup(&desk, "backup").code(0);
    restore(&desk, "backup", "copy").code(0);
    let on_copy = |to: &str| {
        let mut command = onward(&["backup", "--json"]);
        end(command.arg("--data").arg(desk.path("copy")).arg("--to").arg(desk.path(to)))
    };
    // Nothing has happened since: the log of either goes on from where the backup ends.
    on_copy("backup").code(3).says(&["the backup of the original", "back up to a new place"]);
    desk.run("defs.json", "customers.ndjson", "second.ndjson").code(0);
    backup(&desk, "backup").code(0);
    check(&desk, "backup").code(0);
    // A backup of the copy's own goes on, and so does one of a copy of the copy.
    on_copy("own").code(0);
    let again = on_copy("own").code(0).object();
    assert_eq!(again["chunks_added"], 0);
    restore(&desk, "own", "grandchild").code(0);
    let mut command = onward(&["backup"]);
    command.arg("--data").arg(desk.path("grandchild")).arg("--to").arg(desk.path("own"));
    end(&mut command).code(3).says(&["the backup of the original"]);
}

#[test]
fn a_damaged_backup_is_refused_and_leaves_no_directory() {
    let desk = two_parts();
    desk.run("defs.json", "customers.ndjson", "first.ndjson").code(0);
    backup(&desk, "backup").code(0);
    let files: Vec<_> = names(&desk.path("backup")).into_iter().filter(|it| it != "lock").collect();
    assert_eq!(files, ["chunks-00000000000000000000", "manifest"]);
    for name in files {
        let path = desk.path("backup").join(&name);
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 4;
        for bytes in [&flipped[..], &whole[..whole.len() - 1], b""] {
            fs::write(&path, bytes).unwrap();
            check(&desk, "backup").code(4).says(&["the backup is damaged", &name]);
            restore(&desk, "backup", "copy").code(4).says(&["the backup is damaged", &name]);
            backup(&desk, "backup").code(4).says(&["the backup is damaged", &name]);
        }
        fs::write(&path, whole).unwrap();
    }
    assert!(!desk.path("copy").exists() && !desk.path("copy.restoring").exists());
    restore(&desk, "backup", "copy").code(0);
}

#[test]
fn a_trimmed_directory_is_backed_up_from_its_base_on() {
    let desk = two_parts();
    desk.run("defs.json", "customers.ndjson", "first.ndjson").code(0);
    backup(&desk, "whole").code(0);
    desk.run("defs.json", "customers.ndjson", "second.ndjson").code(0);
    let whole_log = desk.log();
    fs::create_dir(desk.path("early")).unwrap();
    for name in names(&desk.path("whole")) {
        fs::copy(desk.path("whole").join(&name), desk.path("early").join(&name)).unwrap();
    }
    backup(&desk, "whole").code(0);
    desk.on_data(&["trim", "--keep", "72h"]).code(0);
    let log = desk.on_data(&["log", "--json"]).code(0).out;
    assert!(whole_log.len() > log.len(), "something was trimmed");
    let is_image = |name: &String| name.starts_with("image-");
    backup(&desk, "early").code(3).says(&["it ends at position", "the log begins at"]);
    // A backup from before goes on; a new one has an image of what no chunk says any more.
    for (to, images) in [("whole", 0), ("late", 1)] {
        backup(&desk, to).code(0);
        assert_eq!(names(&desk.path(to)).iter().filter(|it| is_image(it)).count(), images);
    }
    compact(&desk).code(0);
    desk.file("third.ndjson", signup("late", "k1-1", "2026-01-09T00:00:00Z"));
    desk.run("defs.json", "customers.ndjson", "third.ndjson").code(0);
    let log = desk.on_data(&["log", "--json"]).code(0).out;
    for (to, copy) in [("whole", "copy-1"), ("late", "copy-2")] {
        let done = backup(&desk, to).code(0).object();
        assert!(done["bytes_added"].as_u64() < done["bytes"].as_u64(), "{done}");
        check(&desk, to).code(0);
        restore(&desk, to, copy).code(0);
        on(&desk, &["verify"], copy).code(0);
        let copied = on(&desk, &["log", "--json"], copy).code(0).out;
        let (records, last) = copied.trim_end().rsplit_once('\n').unwrap();
        assert!(last.contains("\"Restored\""), "{last}");
        assert!(records.ends_with(log.trim_end()), "{copy} has the records that are left");
    }
    let image = names(&desk.path("late")).into_iter().find(is_image).unwrap();
    let path = desk.path("late").join(&image);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    check(&desk, "late").code(4).says(&["the backup is damaged", &image]);
    restore(&desk, "late", "copy-3").code(4).says(&["the backup is damaged", &image]);
}
