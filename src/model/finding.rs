//! Findings: what validation says about definitions, all at once.
//!
//! | code | what is wrong |
//! |---|---|
//! | `not_utf8` | the file is not UTF-8 |
//! | `syntax` | the file is not JSON |
//! | `too_deep` | nested deeper than a definition can be |
//! | `too_large` | a file, flow, list or text over its limit |
//! | `wrong_type` | a value of another JSON type |
//! | `missing_field` | a field that must be there is not |
//! | `unknown_field` | a field that does not exist |
//! | `duplicate_field` | a field twice in one object |
//! | `bad_id` | an id that is empty or too long |
//! | `bad_name` | a name that is empty or too long |
//! | `bad_value` | a value that is none of those allowed |
//! | `bad_time` | a text that is no instant |
//! | `bad_duration` | a text or number that is no duration |
//! | `conflicting_fields` | two fields of which one must go |
//! | `duplicate_id` | two segments, flows, campaigns, or steps of a flow, with one id |
//! | `duplicate_member` | (warning) a customer or flow twice in one list |
//! | `segment_taken` | a second flow on a segment |
//! | `unknown_segment` | a segment that does not exist |
//! | `segment_cycle` | segments whose rules ask for each other in a circle |
//! | `segment_depth` | segments whose rules ask for each other too deeply |
//! | `unknown_flow` | a flow that does not exist |
//! | `unknown_step` | a step that the flow does not have |
//! | `unknown_step_type` | a kind of step that does not exist |
//! | `step_order` | the orders of the steps are not 1, 2, 3, ... |
//! | `unreachable_step` | a step that no way leads to |
//! | `cycle_without_wait` | steps in a circle that wait less than a minute in sum |
//! | `condition` | a condition or expression that does not parse |
//! | `condition_limit` | a condition or expression over a limit |
//! | `template` | a template that does not parse |
//! | `template_limit` | a template whose values may grow beyond bounds |
//! | `unknown_variable` | a variable that does not exist in this place |
//! | `unknown_function` | a function that does not exist |
//! | `no_room` | (of the machine) no thread for a parser |
//! | `entry_key_missing` | (warning) entering again without a key on an event trigger |

use std::fmt;

use serde::{Serialize, ser::SerializeStruct};

use crate::base::thread::NoThread;

/// A mistake inside a text, before it is known where the text stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}; {help}")]
pub struct Fault {
    /// The stable name of the mistake.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
}

impl Fault {
    pub(in crate::model) fn new(
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { code, message: message.into(), help: help.into() }
    }

    /// There is no room for a parser.
    pub(in crate::model) fn no_room(error: &NoThread) -> Self {
        Self::new("no_room", error.to_string(), "this needs room to be read")
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The definitions are refused.
    Error,
    /// They are taken; someone should look.
    Warning,
}

/// One thing that is wrong, where, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether it refuses the definitions.
    pub severity: Severity,
    /// The stable name of the mistake.
    pub code: &'static str,
    /// The file as the caller named it.
    pub file: String,
    /// The JSON path, such as `$.flows[0].steps[1].config.duration`.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, file, path, line, column, message, help, .. } = self;
        write!(f, "{file}:{line}:{column}: {code}: {message} ({path}); {help}")
    }
}

/// Everything that refuses the definitions, by file, line and column.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// The first of them, [`FINDINGS_MAX`](crate::base::limits::FINDINGS_MAX) at most.
    pub list: Vec<Finding>,
    /// How many more there are.
    pub omitted: usize,
}

impl std::error::Error for Findings {}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, finding) in self.list.iter().enumerate() {
            let line_break = if place == 0 { "" } else { "\n" };
            write!(f, "{line_break}{finding}")?;
        }
        if self.omitted > 0 {
            write!(f, "\nand {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl Serialize for Findings {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Findings", 2)?;
        fields.serialize_field("findings", &self.list)?;
        fields.serialize_field("omitted", &self.omitted)?;
        fields.end()
    }
}
