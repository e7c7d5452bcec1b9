//! The program from outside: commands, exit codes and what is printed.

mod bench;
mod copies;
mod damage;
mod directory;
mod foreign;
mod hostile;
mod input;
mod large;
mod loss;
mod partitions;
mod print;
mod read;
mod run;
mod scarce;
mod stores;
mod trim;
mod upgrade;
mod validate;

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::{Value, json};

/// What a command printed and how it ended.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    /// The object on the last line.
    fn object(&self) -> Value {
        serde_json::from_str(self.out.lines().last().expect("something was printed")).unwrap()
    }

    /// Checks the exit code.
    #[track_caller]
    fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Checks that standard error says all of this.
    #[track_caller]
    fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is not in {:?}", self.err);
        }
        self
    }
}

/// A directory with a data directory, an outbox and input files in it.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// A command on the data directory.
    fn on_data(&self, args: &[&str]) -> Ended {
        end(onward(args).arg("--data").arg(self.data()))
    }

    /// `run` with the files of these names, as far as they are there.
    fn run_command(&self, definitions: &str, customers: &str, events: &str) -> Command {
        let mut command = onward(&["run", "--json"]);
        command.arg("--data").arg(self.data()).arg("--outbox").arg(self.path("outbox"));
        command.arg("--definitions").arg(self.path(definitions));
        for (option, name) in [("--customers", customers), ("--events", events)] {
            if !name.is_empty() {
                command.arg(option).arg(self.path(name));
            }
        }
        command
    }

    fn run(&self, definitions: &str, customers: &str, events: &str) -> Ended {
        end(&mut self.run_command(definitions, customers, events))
    }

    fn log(&self) -> String {
        self.on_data(&["log", "--json"]).code(0).out
    }

    fn records(&self, name: &str) -> Vec<Value> {
        let log = self.log();
        let records = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        records.filter(|record| record["record"] == name).collect()
    }

    fn messages(&self, end: &str) -> usize {
        let names = fs::read_dir(self.path("outbox")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(end)).count()
    }
}

fn onward(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onward"));
    command.args(args).env_remove("ONWARD_LOG").env_remove("ONWARD_LIMITS");
    command
}

fn end(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().expect("no signal ended it");
    Ended { code, out: text(output.stdout), err: text(output.stderr) }
}

/// Runs a command to its end and says how much memory it had at its peak, in MiB.
fn end_with_peak(command: &mut Command) -> (Ended, u64) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    // Both are read while it runs: a full pipe would stop it.
    let (out, err) = (read(child.stdout.take().unwrap()), read(child.stderr.take().unwrap()));
    let mut peak = 0;
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code().expect("no signal ended it");
        }
        let text = fs::read_to_string(&status).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0));
        // The peak only grows, so a look now and then is enough.
        let _ = crossbeam_channel::never::<()>().recv_timeout(Duration::from_millis(2));
    };
    let text = |thread: JoinHandle<Vec<u8>>| String::from_utf8(thread.join().unwrap()).unwrap();
    (Ended { code, out: text(out), err: text(err) }, peak.div_ceil(1024))
}

fn read(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// The example shop.
fn retail(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/retail").join(name)
}

/// `run` over the example shop, until after its last wait.
fn run_retail(desk: &Desk) -> Command {
    let mut command = onward(&["run", "--json", "--until", "2011-08-15T00:00:00Z"]);
    command.arg("--data").arg(desk.data()).arg("--outbox").arg(desk.path("outbox"));
    for (option, name) in [
        ("--definitions", "definitions.json"),
        ("--customers", "customers.ndjson"),
        ("--events", "events.ndjson"),
    ] {
        command.arg(option).arg(retail(name));
    }
    command
}

/// Everybody, and one flow that a signup starts.
fn welcome(steps: &[Value]) -> Value {
    json!({
        "segments": [{ "id": "all", "name": "All", "rule": "true" }],
        "flows": [{ "id": "welcome", "name": "Welcome", "segment": "all",
                    "trigger": { "event": "signup" }, "steps": steps }]
    })
}

fn email(order: usize, subject: &str) -> Value {
    json!({ "id": format!("mail-{order}"), "step_order": order, "step_type": "SEND_EMAIL",
            "config": { "subject": subject, "text": "Hello." } })
}

fn wait(order: usize, duration: &str) -> Value {
    json!({ "id": format!("wait-{order}"), "step_order": order, "step_type": "WAIT",
            "config": { "duration": duration } })
}

fn customer(id: &str) -> String {
    format!("{}\n", json!({ "id": id, "email": "someone@example.com" }))
}

fn signup(id: &str, customer: &str, time: &str) -> String {
    format!("{}\n", json!({ "id": id, "name": "signup", "customer": customer, "time": time }))
}

/// A desk with valid definitions, one customer and one signup.
fn simple() -> Desk {
    let desk = Desk::new();
    desk.file("defs.json", welcome(&[email(1, "Hello {{ customer.id }}")]).to_string());
    desk.file("customers.ndjson", customer("c1"));
    desk.file("events.ndjson", signup("e1", "c1", "2026-01-01T00:00:00Z"));
    desk
}

fn run_simple(desk: &Desk) -> Ended {
    desk.run("defs.json", "customers.ndjson", "events.ndjson")
}
