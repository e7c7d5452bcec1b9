//! `--partitions`: a directory whose customers are shared among several logs does what one with a
//! single log does, killed or not, and every command says what to do with it.

use std::{fs, io::BufRead, io::BufReader, process::Stdio};

use serde_json::Value;

use super::{Desk, end, onward, run_retail, run_simple, simple};

/// What must not depend on how customers are shared. Each partition but one may read the end of a
/// file as a line of its own.
fn told(summary: &Value) -> Vec<(&'static str, Value)> {
    let names = [
        "events_read",
        "duplicates",
        "rejected_lines",
        "customers",
        "enrolled",
        "refused",
        "sent",
        "skipped",
        "dead_letters",
        "waiting",
        "active",
        "exited",
        "campaigns",
    ];
    names.map(|name| (name, summary[name].clone())).to_vec()
}

/// To whom each message went and what it says at the top, in order.
fn messages(desk: &Desk) -> Vec<String> {
    let files = fs::read_dir(desk.path("outbox")).unwrap().map(|it| it.unwrap().path());
    let mut all: Vec<String> = files
        .filter(|path| path.extension().is_some_and(|it| it == "eml"))
        .map(|path| {
            let text = fs::read_to_string(path).unwrap();
            let wanted =
                |line: &&str| ["To: ", "Subject: ", "Date: "].iter().any(|it| line.starts_with(it));
            text.lines().filter(wanted).collect::<Vec<_>>().join(" ")
        })
        .collect();
    all.sort();
    all
}

#[test]
fn the_shop_comes_out_the_same_however_customers_are_shared() {
    let one = Desk::new();
    let expected = end(&mut run_retail(&one)).code(0).object();
    assert!(!messages(&one).is_empty());
    let three = Desk::new();
    let mut command = run_retail(&three);
    let summary = end(command.args(["--partitions", "3"])).code(0).object();
    assert_eq!(told(&summary), told(&expected));
    assert_eq!(messages(&three), messages(&one));
    // As it was created, without being asked; and nothing is left to do.
    let again = end(&mut run_retail(&three)).code(0).object();
    assert_eq!((&again["records_added"], told(&again)), (&Value::from(0), told(&expected)));
    let mut read = 0;
    for number in 0..3 {
        let place = three.data().join(format!("partition-{number}"));
        end(onward(&["verify", "--data"]).arg(&place)).code(0);
        let log = end(onward(&["log", "--json", "--data"]).arg(&place)).code(0).out;
        let events = log.lines().filter(|line| line.contains("\"EventReceived\"")).count();
        assert!(events > 0, "partition {number} has customers");
        read += events;
        let own = format!("\"e{number}-");
        assert!(log.contains(&own), "{own} is not in the log of partition {number}");
    }
    assert_eq!(summary["events_read"], read);
}

#[test]
fn killed_half_way_it_goes_on_in_every_partition() {
    let whole = Desk::new();
    let mut command = run_retail(&whole);
    let expected = end(command.args(["--partitions", "2"])).code(0).object();
    let desk = Desk::new();
    for path in ["append", "page", "fence", "sync"] {
        let mut command = run_retail(&desk);
        command.args(["--partitions", "2"]).stdout(Stdio::null()).stderr(Stdio::piped());
        command.env("ONWARD_LOG", "trace").env("ONWARD_LIMITS", "checkpoint_records=200");
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        // Some way into it: the tenth time that it does this, or at its end.
        let _ = lines.filter(|line| line.contains(path)).nth(9);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let summary = end(&mut run_retail(&desk)).code(0).object();
    assert_eq!(told(&summary), told(&expected));
    assert_eq!(messages(&desk), messages(&whole));
    for number in 0..2 {
        let place = format!("partition-{number}");
        let log = |desk: &Desk| {
            end(onward(&["log", "--json", "--data"]).arg(desk.data().join(&place))).code(0).out
        };
        assert_eq!(log(&desk), log(&whole), "{place} has another log than without kills");
    }
}

#[test]
fn the_count_is_fixed_and_each_command_says_what_to_name() {
    let desk = simple();
    let mut command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    end(command.args(["--partitions", "2"])).code(0);
    for (count, code, told) in
        [("3", 3, "has 2 partitions, not 3"), ("0", 2, "1..=64"), ("x", 2, "invalid")]
    {
        let mut command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
        end(command.args(["--partitions", count])).code(code).says(&[told]);
    }
    for command in
        [&["log"][..], &["verify"], &["show", "flow", "welcome"], &["doctor"], &["compact"]]
    {
        desk.on_data(command).code(3).says(&["has 2 partitions", "partition-0"]);
    }
    // Two directories that changed places are noticed before anything is written.
    let place = |name: &str| desk.data().join(name);
    fs::rename(place("partition-0"), place("aside")).unwrap();
    fs::rename(place("partition-1"), place("partition-0")).unwrap();
    fs::rename(place("aside"), place("partition-1")).unwrap();
    run_simple(&desk).code(3).says(&["is the data of partition 1, not of partition 0"]);
    fs::write(place("partitions"), "many").unwrap();
    run_simple(&desk).code(4).says(&["partitions", "how many"]);
}

#[test]
fn a_directory_of_one_partition_does_not_become_several() {
    let desk = simple();
    run_simple(&desk).code(0);
    let mut command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    end(command.args(["--partitions", "2"])).code(3).says(&["has 1 partitions, not 2"]);
    assert!(!desk.data().join("partitions").exists());
}

#[test]
fn partitions_that_were_lost_are_told_and_backups_make_a_directory_again() {
    let desk = simple();
    let run = |desk: &Desk| desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    let part = |name: &str, number: u16| desk.path(name).join(format!("partition-{number}"));
    let first = end(run(&desk).args(["--partitions", "2"])).code(0).object();
    let mut one = onward(&["run", "--data"]);
    one.arg(part("data", 1)).arg("--definitions").arg(desk.path("defs.json"));
    end(&mut one).code(3).says(&["is one partition of", "give that one"]);
    fs::create_dir(desk.path("new")).unwrap();
    for number in 0..2 {
        let to = desk.path(&format!("backup-{number}"));
        end(onward(&["backup", "--data"]).arg(part("data", number)).arg("--to").arg(&to)).code(0);
        end(onward(&["restore", "--from"]).arg(&to).arg("--data").arg(part("new", number))).code(0);
    }
    fs::remove_dir_all(desk.data()).unwrap();
    fs::rename(desk.path("new"), desk.data()).unwrap();
    fs::remove_dir_all(desk.path("outbox")).unwrap();
    run_simple(&desk).code(3).says(&["partition-0, partition-1", "--partitions"]);
    let summary = end(run(&desk).args(["--partitions", "2"])).code(0).object();
    assert_eq!(told(&summary), told(&first));
    fs::remove_dir_all(part("data", 1)).unwrap();
    run_simple(&desk).code(4).says(&["partition-1 is gone", "backup"]);
}
