//! Machines that have not enough: disks that give no answer, and too little address space. Every
//! command ends, and says what was missing.

use std::{fs, process::Command};

use super::{Desk, end, onward, run_retail, run_simple, simple};

/// Makes `name` something that nobody who opens it gets an answer from.
fn hang(desk: &Desk, name: &str) {
    let path = desk.path(name);
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
}

/// The same command with little time for the disk. It fails where it does not end at all.
fn impatient(command: &Command) -> Command {
    let mut limited = Command::new("timeout");
    limited.arg("60").arg(command.get_program()).args(command.get_args());
    limited.env("ONWARD_LIMITS", "stall=800ms").env_remove("ONWARD_LOG");
    limited
}

#[test]
fn no_command_waits_for_ever_for_a_disk() {
    let desk = simple();
    run_simple(&desk).code(0);
    let [data, backup, new] =
        ["data", "backup", "new"].map(|it| desk.path(it).display().to_string());
    desk.on_data(&["backup", "--to", &backup]).code(0);
    hang(&desk, "data/db");
    hang(&desk, "backup/manifest");
    let commands: &[&[&str]] = &[
        &["show", "customer", "c1", "--data", &data],
        &["log", "--data", &data],
        &["verify", "--data", &data],
        &["trim", "--keep", "72h", "--data", &data],
        &["compact", "--data", &data],
        &["backup", "--to", &new, "--data", &data],
        &["backup", "--check", &backup],
        &["restore", "--from", &backup, "--data", &new],
        &["repair", "--to", &new, "--data", &data],
    ];
    for command in commands {
        let ended = end(&mut impatient(&onward(command)));
        ended.code(4).says(&["no answer from", "for 800ms", "mend it and start again"]);
    }
    let run = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    let ended = end(&mut impatient(&run));
    ended.code(4).says(&["no answer from", "call to open"]);
    // It looks at everything else first.
    hang(&desk, "data/conf");
    let doctor = end(&mut impatient(&onward(&["doctor", "--data", &data])));
    doctor.code(4).says(&["no answer from", "call to examine"]);
}

#[test]
fn a_reader_that_takes_its_time_is_no_disk_that_hangs() {
    let desk = Desk::new();
    end(&mut run_retail(&desk)).code(0);
    let data = desk.data().display().to_string();
    // More than a pipe holds, and nobody reads for as long as a disk would have several times.
    let slow = r#""$@" | { sleep 2; wc -l; }"#;
    let log = onward(&["log", "--data", &data]);
    let mut piped = Command::new("sh");
    piped.args(["-c", slow, "sh"]).arg(log.get_program()).args(log.get_args());
    let ended = end(piped.env("ONWARD_LIMITS", "stall=400ms").env_remove("ONWARD_LOG"));
    let all = desk.on_data(&["log"]).code(0).out.lines().count();
    assert!(all > 1_000);
    assert_eq!(ended.out.trim(), all.to_string(), "{ended:?}");
}

#[test]
fn with_too_little_address_space_it_says_so_and_ends() {
    let desk = simple();
    for kib in [250_000, 500_000, 800_000, 1_000_000, 1_500_000, 2_500_000, 3_300_000, 5_000_000] {
        let command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
        let mut limited = Command::new("sh");
        limited.arg("-c").arg(format!("ulimit -v {kib}; exec \"$@\"")).arg("sh");
        limited.arg(command.get_program()).args(command.get_args());
        let ended = end(limited.env_remove("ONWARD_LIMITS").env_remove("ONWARD_LOG"));
        if kib < 3 * 1024 * 1024 {
            ended.code(4).says(&["address space", "raise the limit"]);
        } else {
            ended.code(0);
        }
    }
}
