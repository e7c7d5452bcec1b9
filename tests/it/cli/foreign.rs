//! What others may have put where the program reads or writes: pipes, links, files without an end,
//! directories that are something else. None is waited for, followed, filled or removed.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use super::{Desk, Ended, end, onward, run_simple, simple};

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn to(desk: &Desk, args: &[&str], option: &str, name: &str) -> Ended {
    end(onward(args).arg("--data").arg(desk.data()).arg(option).arg(desk.path(name)))
}

fn restore(desk: &Desk, from: &str, name: &str) -> Ended {
    end(onward(&["restore", "--from"]).arg(desk.path(from)).arg("--data").arg(desk.path(name)))
}

fn whole() -> Desk {
    let desk = simple();
    run_simple(&desk).code(0);
    desk
}

#[test]
fn a_pipe_instead_of_a_file_is_refused_and_not_waited_for() {
    for name in ["db", "conf", "head", "lock", "snap.0000000000000000"] {
        let desk = whole();
        let path = desk.data().join(name);
        let _ = fs::remove_file(&path).is_ok();
        pipe(&path);
        let told = desk.on_data(&["doctor"]);
        assert!([1, 4].contains(&told.code), "{name}: {told:?}");
        assert!(format!("{told:?}").contains(name), "{name}: {told:?}");
        let repaired = to(&desk, &["repair"], "--to", "new");
        assert!([0, 1, 4].contains(&repaired.code), "{name}: {repaired:?}");
        let verified = desk.on_data(&["verify"]);
        assert!([0, 4].contains(&verified.code), "{name}: {verified:?}");
    }
}

#[test]
fn a_pipe_in_a_backup_is_damage() {
    let desk = whole();
    to(&desk, &["backup"], "--to", "backup").code(0);
    for entry in fs::read_dir(desk.path("backup")).unwrap() {
        let path = entry.unwrap().path();
        let is_lock = path.ends_with("lock");
        let kept = desk.path("kept");
        fs::rename(&path, &kept).unwrap();
        pipe(&path);
        let checked = end(onward(&["backup", "--check"]).arg(desk.path("backup")));
        checked.code(if is_lock { 0 } else { 4 });
        to(&desk, &["backup"], "--to", "backup").code(4).says(&["it is no file"]);
        fs::rename(&kept, &path).unwrap();
    }
    to(&desk, &["backup"], "--to", "backup").code(0);
}

#[test]
fn files_without_an_end_do_not_fill_memory() {
    for name in ["head", "conf", "snap.0000000000000000"] {
        let desk = whole();
        let path = desk.data().join(name);
        fs::File::create(&path).unwrap().set_len(1 << 36).unwrap();
        if name.starts_with("snap") {
            // It is read to its end, a piece at a time.
            fs::File::create(&path).unwrap().set_len(1 << 26).unwrap();
        }
        let mut command = Command::new("sh");
        let limited = "ulimit -v 4500000; exec \"$0\" \"$@\"";
        command.args(["-c", limited, env!("CARGO_BIN_EXE_onward"), "repair", "--data"]);
        let ended = end(command.arg(desk.data()).arg("--to").arg(desk.path("new")));
        ended.code(i32::from(name == "head"));
    }
}

#[test]
fn no_link_is_followed_when_a_file_is_replaced() {
    let desk = whole();
    let kept = desk.file("kept", "kept");
    fs::create_dir(desk.path("backup")).unwrap();
    symlink(&kept, desk.path("backup/manifest.new")).unwrap();
    to(&desk, &["backup"], "--to", "backup").code(0);
    assert_eq!(fs::read(&kept).unwrap(), b"kept");
}

#[test]
fn doctor_leaves_nothing_behind_and_copies_only_what_is_ours() {
    let desk = whole();
    let scratch = desk.path("scratch");
    fs::create_dir(&scratch).unwrap();
    // As large as no disk, and none of ours.
    fs::File::create(desk.data().join("core")).unwrap().set_len(1 << 42).unwrap();
    let scratch_of = |name: &str| to(&desk, &["doctor"], "--scratch", name);
    scratch_of("scratch").code(0);
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
    for name in ["data", "data/below"] {
        scratch_of(name).code(3).says(&["is not outside"]);
    }
    fs::File::options().write(true).open(desk.data().join("db")).unwrap().set_len(1 << 42).unwrap();
    scratch_of("scratch").code(3).says(&["make room"]);
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
}

#[test]
fn copies_can_be_read_by_nobody_who_cannot_read_the_original() {
    let desk = whole();
    fs::set_permissions(desk.data(), Permissions::from_mode(0o700)).unwrap();
    to(&desk, &["repair"], "--to", "repaired").code(0);
    to(&desk, &["backup"], "--to", "deep/backup").code(0);
    restore(&desk, "deep/backup", "restored").code(0);
    for name in ["repaired", "deep/backup", "restored"] {
        let mode = fs::metadata(desk.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{name}");
    }
}

#[test]
fn what_holds_no_data_is_told_for_what_it_is() {
    let desk = whole();
    to(&desk, &["backup"], "--to", "backup").code(0);
    fs::create_dir(desk.path("empty")).unwrap();
    desk.file("file", "");
    let says = [
        ("empty", "holds no data"),
        ("outbox", "holds no data"),
        ("backup", "is a backup"),
        ("file", "is not a directory"),
        ("absent", "holds no data"),
    ];
    for (name, why) in says {
        for args in [&["doctor"][..], &["verify"], &["repair", "--to", "new"]] {
            let mut command = onward(args);
            end(command.arg("--data").arg(desk.path(name))).code(3).says(&[name, why]);
        }
    }
    assert!(!desk.path("new").exists() && !desk.path("absent").exists());
}

#[test]
fn no_copy_is_made_inside_of_what_it_is_a_copy_of() {
    let desk = whole();
    symlink(desk.data(), desk.path("link")).unwrap();
    let why = &["is not outside"];
    for name in ["data/new", "link/new", ""] {
        to(&desk, &["repair"], "--to", name).code(3).says(why);
        to(&desk, &["backup"], "--to", name).code(3).says(why);
    }
    to(&desk, &["backup"], "--to", "backup").code(0);
    restore(&desk, "backup", "backup/new").code(3).says(why);
    assert!(!desk.data().join("new").exists() && !desk.path("backup/new").exists());
    desk.on_data(&["verify"]).code(0);
}

#[test]
fn what_is_no_export_is_left_alone() {
    let desk = whole();
    desk.file("text", "some text, longer than the head of an entry");
    pipe(&desk.path("pipe"));
    for name in ["text", "pipe", "outbox"] {
        let why = &[name, "is no export"];
        end(onward(&["log", "--export"]).arg(desk.path(name))).code(3).says(why);
    }
    to(&desk, &["trim", "--keep", "72h"], "--export", "data/export")
        .code(3)
        .says(&["is not outside"]);
    let mut inside = onward(&["run", "--data"]);
    inside.arg(desk.data()).arg("--definitions").arg(desk.path("defs.json"));
    end(inside.arg("--outbox").arg(desk.data().join("outbox"))).code(3).says(&["is not outside"]);
    assert!(!desk.data().join("export").exists() && !desk.data().join("outbox").exists());
}

#[test]
fn a_link_has_its_name_already() {
    let desk = whole();
    to(&desk, &["backup"], "--to", "backup").code(0);
    symlink(desk.path("nowhere"), desk.path("link")).unwrap();
    restore(&desk, "backup", "link").code(3).says(&["link is in the way"]);
    to(&desk, &["repair"], "--to", "link").code(3).says(&["link is in the way"]);
    assert!(!desk.path("link.restoring").exists() && !desk.path("link.repairing").exists());
}

#[test]
fn what_stands_in_the_outbox_under_a_messages_name_is_kept() {
    let desk = simple();
    run_simple(&desk).code(0);
    let sent: Vec<_> = fs::read_dir(desk.path("outbox")).unwrap().map(|it| it.unwrap()).collect();
    let one = sent.first().expect("something was sent").path();
    fs::remove_dir_all(desk.data()).unwrap();
    fs::remove_file(&one).unwrap();
    pipe(&one);
    // Not waited for.
    run_simple(&desk).code(4).says(&["exists with another content and is kept"]);
    assert!(!fs::metadata(&one).unwrap().is_file());
}
