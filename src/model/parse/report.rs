//! Collects findings by their offsets and turns them into lines and columns at the end.

use super::source::Source;
use crate::{
    base::limits::{
        COMPILED_BYTES_MAX, DEFINITIONS_BYTES_MAX, DEFINITIONS_VALUES_MAX, FINDINGS_KEPT,
        FINDINGS_MAX,
    },
    model::finding::{Fault, Finding, Findings, Severity},
};

/// A place in the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::model) struct Spot {
    pub(super) file: usize,
    pub(super) offset: usize,
    pub(super) path: String,
}

impl Spot {
    /// The beginning of a file.
    pub(super) fn start(file: usize) -> Self {
        Self { file, offset: 0, path: "$".to_owned() }
    }

    /// The same path at another offset.
    pub(super) fn at(&self, offset: usize) -> Self {
        Self { offset, ..self.clone() }
    }
}

struct Raw {
    severity: Severity,
    spot: Spot,
    fault: Fault,
}

/// How much more of something may be read.
#[derive(Clone, Copy)]
pub(in crate::model) struct Room {
    left: usize,
    max: usize,
    told: bool,
}

impl Room {
    const fn new(max: usize) -> Self {
        Self { left: max, max, told: false }
    }
}

/// What was found so far, and how much more may be read.
pub(in crate::model) struct Report {
    raw: Vec<Raw>,
    omitted: usize,
    pub(super) bytes: Room,
    pub(super) values: Room,
    pub(super) compiled: Room,
    /// Whether this reads what was stored before.
    pub(super) stored: bool,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            raw: Vec::new(),
            omitted: 0,
            bytes: Room::new(DEFINITIONS_BYTES_MAX),
            values: Room::new(DEFINITIONS_VALUES_MAX),
            compiled: Room::new(COMPILED_BYTES_MAX),
            stored: false,
        }
    }
}

impl Report {
    /// Room for anything.
    pub(in crate::model) fn of_stored() -> Self {
        let room = Room::new(usize::MAX);
        Self { bytes: room, values: room, compiled: room, stored: true, ..Self::default() }
    }

    /// Takes room for something at `spot`; false, with one finding, where there is none left.
    pub(super) fn take(
        &mut self,
        spot: &Spot,
        room: impl Fn(&mut Self) -> &mut Room,
        count: usize,
        what: &str,
    ) -> bool {
        let it = room(self);
        if let Some(left) = it.left.checked_sub(count) {
            it.left = left;
            return true;
        }
        let Room { max, told, .. } = *it;
        it.left = 0;
        it.told = true;
        if !told {
            let help = format!("at most {max} together; publish them in several steps");
            self.error(spot, "too_large", format!("too many {what}"), help);
        }
        false
    }

    /// Something that refuses the definitions.
    pub(in crate::model) fn error(
        &mut self,
        spot: &Spot,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.fault(spot, Fault::new(code, message, help));
    }

    /// A mistake inside the text at `spot`.
    pub(in crate::model) fn fault(&mut self, spot: &Spot, fault: Fault) {
        self.add(Severity::Error, spot, fault);
    }

    /// Something that someone should look at.
    pub(in crate::model) fn warning(&mut self, spot: &Spot, fault: Fault) {
        self.add(Severity::Warning, spot, fault);
    }

    fn add(&mut self, severity: Severity, spot: &Spot, fault: Fault) {
        if self.raw.len() < FINDINGS_KEPT {
            self.raw.push(Raw { severity, spot: spot.clone(), fault });
        } else if severity == Severity::Error {
            self.omitted += 1;
        }
    }

    /// The errors and the warnings by file, line and column.
    pub(in crate::model) fn finish(mut self, sources: &[Source<'_>]) -> (Findings, Vec<Finding>) {
        let name = |raw: &Raw| sources.get(raw.spot.file).map_or("", |source| source.name);
        self.raw.sort_by(|a, b| {
            let of = |raw| (name(raw), raw.spot.file, raw.spot.offset);
            of(a).cmp(&of(b))
        });
        let (errors, warnings): (Vec<Raw>, Vec<Raw>) =
            self.raw.into_iter().partition(|raw| raw.severity == Severity::Error);
        let omitted = self.omitted + errors.len().saturating_sub(FINDINGS_MAX);
        (Findings { list: placed(errors, sources), omitted }, placed(warnings, sources))
    }
}

/// Walks each file once, as the findings are sorted.
fn placed(sorted: Vec<Raw>, sources: &[Source<'_>]) -> Vec<Finding> {
    let mut cursor = (usize::MAX, 0, 1, 1);
    let mut findings = Vec::new();
    for Raw { severity, spot, fault } in sorted.into_iter().take(FINDINGS_MAX) {
        let (name, text) =
            sources.get(spot.file).map_or(("", ""), |found| (found.name, found.text));
        if cursor.0 != spot.file {
            cursor = (spot.file, 0, 1, 1);
        }
        let (_, from, mut line, mut column) = cursor;
        for c in text.get(from..spot.offset).unwrap_or_default().chars() {
            (line, column) = if c == '\n' { (line + 1, 1) } else { (line, column + 1) };
        }
        cursor = (spot.file, spot.offset, line, column);
        findings.push(Finding {
            severity,
            code: fault.code,
            file: name.to_owned(),
            path: spot.path,
            line,
            column,
            message: fault.message,
            help: fault.help,
        });
    }
    findings
}
