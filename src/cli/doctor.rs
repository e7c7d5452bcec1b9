//! `onward doctor`: what is wrong with a directory, in words.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{Data, exit, exit::Failure, limits, progress, say};
use crate::engine::doctor::{Finding, examine};

/// Says what is wrong with a directory and what can be done, without changing anything in it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    data: Data,
    /// Where there is room for a copy of the directory, because opening one changes it. The copy is
    /// removed again.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    scratch: PathBuf,
    /// Prints one JSON object: `records`, `acknowledged`, `acknowledged_at`, and `findings` with
    /// `place`, `what` and `advice`.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// What it works on.
    pub(super) fn path(&self) -> &Path {
        &self.data.data
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let bar = progress::bar(0);
    let told = &mut |what: &'static str| bar.set_message(what);
    let found = examine(&args.data.data, &limits()?, &args.scratch, told)?;
    bar.finish_and_clear();
    if args.json {
        say(serde_json::to_string(&found).map_err(Failure::refused)?)?;
    } else {
        for Finding { place, what, advice } in &found.findings {
            say(format!("{place}: {what}; to do: {advice}"))?;
        }
        let acknowledged =
            found.acknowledged.map_or_else(|| "unknown".to_owned(), |it| it.to_string());
        say(format!(
            "{} records whole from the beginning; last one acknowledged: {acknowledged}; {} findings",
            found.records,
            found.findings.len()
        ))?;
    }
    let is_well = found.findings.is_empty();
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(exit::NOT_WELL) })
}
