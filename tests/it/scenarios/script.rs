//! Reading the part of a scenario above the line of dashes.

use std::collections::BTreeMap;

use onward::{base::Timestamp, machine::delivery::Outcome};

/// How the attempts to reach a recipient end; no attempt: all that have no line of their own.
pub(super) type Outcomes = BTreeMap<(String, Option<u32>), Outcome>;

/// A file, read.
#[derive(Debug, Default)]
pub(super) struct Scenario {
    /// One after the other over the same directory.
    pub(super) runs: Vec<Run>,
    /// How many lines of the log are shown, from its end; the rest are counted.
    pub(super) last: Option<usize>,
}

/// The inputs of one run.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) definitions: Option<String>,
    pub(super) customers: Option<String>,
    pub(super) events: Option<String>,
    pub(super) outcomes: Outcomes,
    pub(super) until: Option<Timestamp>,
}

/// Reads everything above the dashes.
pub(super) fn parse(text: &str) -> Scenario {
    let mut runs = vec![Run::default()];
    let mut last = None;
    let mut section = String::new();
    for line in text.lines() {
        let run = runs.last_mut().unwrap();
        match line.split_once(' ').unwrap_or((line, "")) {
            (word, _) if word.starts_with('#') => {}
            ("again", "") => runs.push(Run::default()),
            ("last", count) => last = Some(count.parse().unwrap()),
            ("until", time) => run.until = Some(time.parse().unwrap()),
            (word @ ("definitions" | "customers" | "events" | "outcomes"), "") => {
                section = word.to_owned();
                // A section that is there and empty is an empty file.
                lines_of(run, &section).map(Option::get_or_insert_default);
            }
            _ => add(run, &section, line),
        }
    }
    Scenario { runs, last }
}

fn lines_of<'a>(run: &'a mut Run, section: &str) -> Option<&'a mut Option<String>> {
    match section {
        "definitions" => Some(&mut run.definitions),
        "customers" => Some(&mut run.customers),
        "events" => Some(&mut run.events),
        _ => None,
    }
}

fn add(run: &mut Run, section: &str, line: &str) {
    let Some(lines) = lines_of(run, section) else {
        assert_eq!(section, "outcomes", "{line}: a line belongs to a section");
        let (key, outcome) = outcome(line);
        run.outcomes.insert(key, outcome);
        return;
    };
    let (count, line) = match line.strip_prefix('*').and_then(|rest| rest.split_once(' ')) {
        Some((count, line)) => (count.parse().unwrap(), line),
        None => (1, line),
    };
    for number in 1..=count {
        let line = line.replace("$nn", &format!("{number:02}")).replace("$n", &number.to_string());
        let lines = lines.get_or_insert_default();
        lines.push_str(&repeated(&line));
        lines.push('\n');
    }
}

/// `$(3 x)` becomes `xxx`.
fn repeated(line: &str) -> String {
    let Some((before, rest)) = line.split_once("$(") else { return line.to_owned() };
    let (inside, after) = rest.split_once(')').unwrap();
    let (count, text) = inside.split_once(' ').unwrap();
    format!("{before}{}{}", text.repeat(count.parse().unwrap()), repeated(after))
}

fn outcome(line: &str) -> ((String, Option<u32>), Outcome) {
    let mut words = line.splitn(4, ' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    let (recipient, attempt, kind, error) = (word(), word(), word(), word());
    let attempt = (attempt != "*").then(|| attempt.parse().unwrap());
    let outcome = match kind.as_str() {
        "deferred" => Outcome::Deferred { error },
        "rejected" => Outcome::Rejected { error },
        "broken" => Outcome::TemplateError { error },
        other => panic!("{other}: an outcome is deferred, rejected or broken"),
    };
    ((recipient, attempt), outcome)
}
