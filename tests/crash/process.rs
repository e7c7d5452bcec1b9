//! The real program: run to its end, or killed on the way.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::trace::{self, End, Spans};

/// Limits that force the rare paths.
pub(crate) const TIGHT: &str =
    "cache_pages=64,checkpoint_records=200,chunk_bytes=2048,timer_span=1m";

/// The same for a run that keeps of its log what is younger than three days.
pub(crate) const TRIMMED: &str =
    "cache_pages=64,checkpoint_records=200,chunk_bytes=2048,timer_span=1m,keep_log=72h";

/// When to kill.
#[derive(Debug, Clone)]
pub(crate) enum Moment {
    /// As soon as so many lines of trace are there.
    Lines(u64),
    /// As soon as this path is entered for the so-manieth time, or after many lines without that.
    Enters(&'static str, u64),
    /// The same, however long that takes.
    Reaches(&'static str, u64),
    /// After so many lines nobody reads the trace any more, so that every thread stops at the end of
    /// a span once the pipe is full.
    Stall(u64, Duration),
}

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

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn outbox(&self) -> PathBuf {
        self.dir.join("outbox")
    }

    fn run_command(&self, which: Which) -> Command {
        let number = if which == Which::First { 1 } else { 2 };
        let input = |name: String| self.inputs.join(name);
        let mut command = self.command();
        command.arg("run").arg("--data").arg(self.data()).arg("--outbox").arg(self.outbox());
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

    /// Runs a finished command again: nothing is new, and the exit code is the same.
    pub(crate) fn repeat(&self, which: Which) {
        let output = self.run_command(which).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        let object = object(&output);
        assert_eq!(object["records_added"], 0, "{object}");
    }

    /// Runs until the moment comes; what was under way then, or none if the run ended before.
    pub(crate) fn kill(&self, which: Which, moment: &Moment) -> Option<Spans> {
        kill(self.run_command(which), 1, moment)
    }

    /// A command on the data directory.
    pub(crate) fn on_data(&self, name: &str) -> Command {
        let mut command = self.command();
        command.arg(name).arg("--data").arg(self.data());
        command
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

    /// Whether there is a directory to look at.
    pub(crate) fn exists(&self) -> bool {
        self.data().join("db").exists()
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

/// Runs until the moment comes; what was under way then, or none if the command ended before, with
/// this code.
pub(crate) fn kill(mut command: Command, code: i32, moment: &Moment) -> Option<Spans> {
    command.env("ONWARD_LOG", "onward=trace").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut reader = BufReader::new(child.stderr.take().unwrap());
    let mut spans = Spans::default();
    let mut countdown = Countdown { moment: moment.clone(), lines: 0 };
    while !countdown.is_over() {
        let Some(line) = next_line(&mut reader) else { break };
        let end = trace::end(&line);
        countdown.note(end.as_ref());
        end.into_iter().for_each(|end| spans.note(end));
    }
    if let Moment::Stall(_, wait) = moment {
        let _ = crossbeam_channel::never::<()>().recv_timeout(*wait);
    }
    child.kill().unwrap();
    while let Some(line) = next_line(&mut reader) {
        trace::end(&line).into_iter().for_each(|end| spans.note(end));
    }
    let status = child.wait().unwrap();
    match (status.signal(), status.code()) {
        (Some(9), _) => Some(spans),
        (None, Some(ended)) if ended == code => None,
        other => panic!("the killed run ended by itself: {other:?}, {moment:?}"),
    }
}

/// Lets the command end well; the object on its last line.
pub(crate) fn end(mut command: Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    object(&output)
}

/// Lines of trace after which a path that is not entered is not waited for any longer.
const LINES_MAX: u64 = 300;

struct Countdown {
    moment: Moment,
    lines: u64,
}

impl Countdown {
    fn note(&mut self, end: Option<&End>) {
        self.lines += 1;
        match &mut self.moment {
            Moment::Lines(left) | Moment::Stall(left, _) => *left = left.saturating_sub(1),
            Moment::Enters(path, left) | Moment::Reaches(path, left) => {
                if matches!(end, Some(End::New(name)) if name == path) {
                    *left = left.saturating_sub(1);
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        match self.moment {
            Moment::Lines(left) | Moment::Stall(left, _) | Moment::Reaches(_, left) => left == 0,
            Moment::Enters(_, left) => left == 0 || self.lines == LINES_MAX,
        }
    }
}

fn next_line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).unwrap();
    // The last line of a killed process may be cut.
    line.ends_with(b"\n").then(|| String::from_utf8_lossy(&line).into_owned())
}

/// The object on the last line.
fn object(output: &Output) -> Value {
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

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}\n{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}
