//! The real program, killed on the way.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    UNDER,
    place::{Place, Which, object, text},
    trace::{self, End, Spans},
};

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

impl Place {
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

    /// Runs a finished command again: nothing is new, and the exit code is the same.
    pub(crate) fn repeat(&self, which: Which) {
        let output = self.run_command(which).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        let object = object(&output);
        assert_eq!(object["records_added"], 0, "{object}");
    }

    /// Whether there is a directory to look at.
    pub(crate) fn exists(&self) -> bool {
        UNDER.path(&self.data()).exists()
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
