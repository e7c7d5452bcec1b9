//! Machines that have not enough: readers that take their time, and too little address space.

use std::process::Command;

use super::{Desk, end, onward, run_retail, simple};

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
    for kib in [
        250_000, 500_000, 800_000, 1_000_000, 1_500_000, 2_500_000, 3_300_000, 4_300_000, 6_000_000,
    ] {
        let command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
        let mut limited = Command::new("sh");
        limited.arg("-c").arg(format!("ulimit -v {kib}; exec \"$@\"")).arg("sh");
        limited.arg(command.get_program()).args(command.get_args());
        let ended = end(limited.env_remove("ONWARD_LIMITS").env_remove("ONWARD_LOG"));
        if kib < 4 * 1024 * 1024 {
            ended.code(4).says(&["address space", "raise the limit"]);
        } else {
            ended.code(0);
        }
    }
}
