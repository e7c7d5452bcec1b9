//! The disk gives no answer: every command says so and gives up, and nothing is changed by that.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crossbeam_channel::unbounded;

use onward::store::StoreKind;

use crate::{
    UNDER,
    fault::{Fault, Faults, Kind},
    mount::Mount,
    place::{Place, TIGHT, Which},
    shop::Shop,
    workload::{self, Random, Scale},
};

const SCALE: Scale = Scale { customers: 12, events: [24, 8], days: 3 };
/// Far more than the commands have to wait.
const PATIENCE: Duration = Duration::from_secs(60);
/// Operations of a kind that come before the one without an answer, fewer than every command has.
const BEFORE: u64 = 2;

/// The commands on data directory and backup, and where they write to.
fn commands(place: &Place, backup: &Path, new: &Path) -> Vec<Command> {
    let data = place.data();
    let [data, backup, new] = [data.as_path(), backup, new].map(|it| it.to_str().unwrap());
    let all: [&[&str]; 10] = [
        &["show", "customer", "c1", "--data", data],
        &["log", "--data", data],
        &["verify", "--data", data],
        &["doctor", "--data", data],
        &["trim", "--keep", "72h", "--data", data],
        &["compact", "--data", data],
        &["backup", "--to", backup, "--data", data],
        &["backup", "--check", backup],
        &["restore", "--store", UNDER.name(), "--from", backup, "--data", new],
        &["repair", "--to", new, "--data", data],
    ];
    let command = |args: &&[&str]| {
        let mut command = place.command();
        command.args(*args);
        command
    };
    // What a repair reads is sled's file.
    let all = all.iter().filter(|it| UNDER == StoreKind::Sled || it[0] != "repair");
    all.map(command).chain([place.run_command(Which::Second)]).collect()
}

/// Runs a command that meets a disk without an answer; it is healed once the command has said so.
fn hang(mount: &Mount, command: &mut Command, (kind, nth): (Kind, u64)) {
    let name = format!("{:?}, {kind:?} {nth}", command.get_args().collect::<Vec<_>>());
    mount.faults(|it| it.next = Some((kind, nth, Fault::Hang)));
    command.env("ONWARD_LIMITS", "stall=800ms").stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let told = BufReader::new(child.stderr.take().unwrap());
    let (sender, lines) = unbounded();
    let reader = std::thread::spawn(move || {
        told.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
    });
    // The process itself is gone only when the disk has answered.
    let mut all = Vec::new();
    while !all.last().is_some_and(|line: &String| line.contains("no answer from")) {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => all.push(line),
            Err(error) => {
                mount.faults(Faults::heal);
                child.wait().unwrap();
                panic!("{name} says nothing of the disk ({error}): {all:?}");
            }
        }
    }
    mount.faults(Faults::heal);
    assert_eq!(child.wait().unwrap().code(), Some(4), "{name}: {all:?}");
    reader.join().unwrap();
}

#[test]
fn no_command_waits_for_ever_for_a_disk() {
    let seed = workload::seed();
    println!("SEED={seed}");
    let Some(mount) = Mount::new() else { return };
    let inputs = tempfile::tempdir().unwrap();
    let shop = Shop::new(inputs.path(), seed, (SCALE, TIGHT));
    mount.disk().format();
    let place = shop.place(mount.path());
    place.finish(Which::First);
    let [backup, new] = ["backup", "new"].map(|it| mount.join(it));
    let mut command = place.command();
    command.args(["backup", "--to"]).arg(&backup).arg("--data").arg(place.data());
    assert!(command.stdout(Stdio::null()).status().unwrap().success());
    let mut random = Random(seed);
    for mut command in commands(&place, &backup, &new) {
        let kind = [Kind::Look, Kind::Open, Kind::Read][random.index(3)];
        hang(&mount, &mut command, (kind, random.below(BEFORE)));
    }
    place.verify();
    let [(_, first), (_, second)] = &shop.wholes;
    assert!(place.log() == first.log, "nothing was changed");
    let summary = place.finish(Which::Second);
    second.equals(&place, &summary);
}
