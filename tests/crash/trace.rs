//! What a trace says about the moment at which its process was killed.

use std::collections::BTreeMap;

/// The paths that the program traces, each with the thread that walks it.
pub(crate) const PATHS: [(&str, &str); 19] = [
    ("open", "main"),
    ("replay", "main"),
    ("fence", "main"),
    ("append", "commit"),
    ("sync", "commit"),
    ("page", "commit"),
    ("timer_run", "commit"),
    ("memory", "commit"),
    ("checkpoint", "commit"),
    ("retire", "commit"),
    ("base", "commit"),
    ("trim", "commit"),
    ("sweep", "commit"),
    ("head", "commit"),
    ("outbox_write", "outbox"),
    ("outbox_sync", "outbox"),
    ("outbox_rename", "outbox"),
    ("outbox_dir_sync", "outbox"),
    ("outbox_again", "outbox"),
];

/// Those of them that only a run enters that keeps its log for a time.
pub(crate) const TRIMMING: [&str; 3] = ["base", "trim", "sweep"];

/// One end of a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    New(String),
    Close(String),
}

/// The end of a span that a line tells of, if it does.
pub(crate) fn end(line: &str) -> Option<End> {
    let (before, after) = line.split_once(": onward::")?;
    let name = before.rsplit([' ', ':']).next()?;
    let name = name.split('{').next()?.to_owned();
    let (_, what) = after.rsplit_once(": ")?;
    match what.trim_end() {
        "new" => Some(End::New(name)),
        close if close.starts_with("close") => Some(End::Close(name)),
        _ => None,
    }
}

/// The spans that are open, outermost first.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    open: Vec<String>,
    started: bool,
}

impl Spans {
    pub(crate) fn note(&mut self, end: End) {
        match end {
            End::New(name) => {
                self.started = true;
                self.open.push(name);
            }
            End::Close(name) => {
                let at = self.open.iter().rposition(|it| *it == name);
                self.open.remove(at.expect("a span that closes was open"));
            }
        }
    }

    /// The innermost span of all.
    pub(crate) fn innermost(&self) -> Option<&str> {
        self.open.last().map(String::as_str)
    }

    /// What each thread was doing: its innermost span.
    pub(crate) fn interrupted(&self) -> Vec<&str> {
        let innermost = |thread| {
            let of_thread = |it: &&String| PATHS.contains(&(it.as_str(), thread));
            self.open.iter().rev().find(of_thread).map(String::as_str)
        };
        let main = innermost("main");
        let other = if self.started { "(deciding)" } else { "(before open)" };
        let mut found = vec![main.unwrap_or(other)];
        if self.started && main.is_none() {
            found.push(innermost("commit").unwrap_or("(no commit)"));
            found.push(innermost("outbox").unwrap_or("(no message)"));
        }
        found
    }
}

/// How often each path was interrupted.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<String, u64>);

impl Tally {
    pub(crate) fn note(&mut self, spans: &Spans) {
        for path in spans.interrupted() {
            *self.0.entry(path.to_owned()).or_default() += 1;
        }
    }

    pub(crate) fn of(&self, path: &str) -> u64 {
        self.0.get(path).copied().unwrap_or(0)
    }

    /// The table, one path a line.
    pub(crate) fn table(&self) -> String {
        let idle = [
            ("(before open)", "main"),
            ("(deciding)", "main"),
            ("(no commit)", "commit"),
            ("(no message)", "outbox"),
        ];
        let lines = PATHS
            .iter()
            .chain(&idle)
            .map(|(path, thread)| format!("{thread:<8} {path:<16} {:>6}\n", self.of(path)));
        format!("{:<8} {:<16} {:>6}\n{}", "thread", "path", "killed", lines.collect::<String>())
    }
}

#[test]
fn a_trace_tells_which_spans_are_open() {
    let mut spans = Spans::default();
    assert_eq!(spans.interrupted(), ["(before open)"]);
    for line in [
        "2026-11-22T21:16:55.576863Z DEBUG open: onward::engine::recover: new",
        "2026-11-22T21:16:55.584791Z TRACE open:replay: onward::engine::recover: new",
        "2026-11-22T21:16:55.584843Z DEBUG open:replay: onward::engine::recover: replayed records=0",
    ] {
        end(line).into_iter().for_each(|end| spans.note(end));
    }
    assert_eq!(spans.interrupted(), ["replay"]);
    for line in [
        "x TRACE open:replay: onward::engine::recover: close time.busy=39.0µs time.idle=37.6µs",
        "x DEBUG open: onward::engine::recover: close time.busy=19.5ms time.idle=71.2µs",
        "x TRACE outbox_sync: onward::delivery::outbox::spool: new",
        "x TRACE append{chunks=3}: onward::engine::commit: new",
    ] {
        end(line).into_iter().for_each(|end| spans.note(end));
    }
    assert_eq!(spans.interrupted(), ["(deciding)", "append", "outbox_sync"]);
}
