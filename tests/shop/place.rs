//! The real program in a place of its own: its commands, and what they leave.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

use crate::UNDER;

/// Limits that force the rare paths.
pub(crate) const TIGHT: &str =
    "cache_pages=64,checkpoint_records=200,chunk_bytes=2048,timer_span=1m";

/// The same for a run that keeps of its log what is younger than three days.
pub(crate) const TRIMMED: &str =
    "cache_pages=64,checkpoint_records=200,chunk_bytes=2048,timer_span=1m,keep_log=72h";

/// A data directory, its outbox, and the limits it runs with.
pub(crate) struct Place {
    pub(crate) inputs: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) limits: &'static str,
    /// Until when the timers run, for each command.
    pub(crate) until: [String; 2],
}

/// Which of the two commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    First,
    Second,
}

impl Place {
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onward"));
        command.env("ONWARD_LIMITS", self.limits).env_remove("ONWARD_LOG");
        command
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn outbox(&self) -> PathBuf {
        self.dir.join("outbox")
    }

    pub(crate) fn run_command(&self, which: Which) -> Command {
        let number = if which == Which::First { 1 } else { 2 };
        let input = |name: String| self.inputs.join(name);
        let mut command = self.command();
        command.arg("run").arg("--data").arg(self.data()).arg("--outbox").arg(self.outbox());
        command.args(["--store", UNDER.name()]);
        command.arg("--definitions").arg(input(format!("definitions-{number}.json")));
        command.arg("--customers").arg(input("customers.ndjson".to_owned()));
        command.arg("--events").arg(input(format!("events-{number}.ndjson")));
        let [first, second] = &self.until;
        let until = if which == Which::First { first } else { second };
        command.args(["--until", until, "--json"]);
        command
    }

    /// Runs to the end: the summary without what belongs to one run only. The exit code is 1,
    /// because some lines are malformed.
    pub(crate) fn finish(&self, which: Which) -> Value {
        let output = self.run_command(which).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        summary(&output)
    }

    /// The records as `onward log --json` prints them.
    pub(crate) fn log(&self) -> Vec<u8> {
        self.log_of(&self.data())
    }

    /// The records of another directory.
    pub(crate) fn log_of(&self, data: &Path) -> Vec<u8> {
        let output = self.command().args(["log", "--json", "--data"]).arg(data).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        output.stdout
    }

    pub(crate) fn verify(&self) {
        let output = self.command().args(["verify", "--data"]).arg(self.data()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }

    /// The messages by the name of their file, without what is half-written.
    pub(crate) fn messages(&self) -> BTreeMap<String, Vec<u8>> {
        let Ok(entries) = fs::read_dir(self.outbox()) else { return BTreeMap::new() };
        let files = entries.map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let bytes = fs::read(self.outbox().join(&name)).unwrap();
            (name, bytes)
        });
        files.filter(|(name, _)| !name.starts_with(".tmp-")).collect()
    }

    /// Every name in the outbox.
    pub(crate) fn outbox_names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.outbox()).unwrap();
        let mut names: Vec<_> =
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// The object on the last line.
pub(crate) fn object(output: &Output) -> Value {
    let out = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(out.lines().last().expect("a summary is printed")).unwrap()
}

fn summary(output: &Output) -> Value {
    let mut object = object(output);
    let fields = object.as_object_mut().unwrap();
    for own in
        ["records_added", "record_bytes_added", "disk_bytes", "seconds", "records_per_second"]
    {
        assert!(fields.remove(own).is_some(), "{own} is a field of the summary");
    }
    object
}

/// All that a program said.
pub(crate) fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}\n{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}
