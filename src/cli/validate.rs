//! `onward validate`: every finding at once.

use std::{path::PathBuf, process::ExitCode};

use super::{exit, exit::Failure, say};
use crate::{
    engine::job::{Error, Files, Plan},
    model::Known,
};

/// Checks definitions documents together.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The documents; references resolve across them.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Prints one JSON object: `valid`, `segments`, `flows`, `campaigns`, `omitted`, and
    /// `findings`, each with `severity`, `code`, `file`, `path`, `line`, `column`, `message`, `help`.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let files = Files { definitions: args.files.clone(), ..Files::default() };
    let (definitions, findings, omitted) = match Plan::new(&files)?.check(&Known::default()) {
        Ok(mut definitions) => {
            let warnings = std::mem::take(&mut definitions.warnings);
            (Some(definitions), warnings, 0)
        }
        Err(Error::Findings(findings)) => (None, findings.list, findings.omitted),
        Err(error) => return Err(error.into()),
    };
    let counts = definitions
        .as_ref()
        .map_or((0, 0, 0), |it| (it.segments.len(), it.flows.len(), it.campaigns.len()));
    let is_valid = definitions.is_some();
    if args.json {
        let object = serde_json::json!({
            "valid": is_valid, "segments": counts.0, "flows": counts.1, "campaigns": counts.2,
            "omitted": omitted, "findings": findings,
        });
        say(object)?;
    } else {
        findings.iter().try_for_each(say)?;
        if is_valid {
            let (segments, flows, campaigns) = counts;
            say(format!("valid: {segments} segments, {flows} flows, {campaigns} campaigns"))?;
        } else if omitted > 0 {
            say(format!("and {omitted} more"))?;
        }
    }
    Ok(if is_valid { ExitCode::SUCCESS } else { ExitCode::from(exit::NOT_WELL) })
}
