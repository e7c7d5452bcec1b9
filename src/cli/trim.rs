//! `onward trim`: old records go.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{Data, exit::Failure, limits, say};
use crate::{
    base::{Span, limits::DEDUP_WINDOW},
    engine::trim::{Trimmed, trim},
    store::beside::check_outside,
};

/// Removes the records that are older than some time, in the time of the log.
///
/// What is known of customers, enrollments and flows stays: only the records are gone, and with them
/// the beginnings of histories. The space is used again for new records. Interrupted at any moment,
/// the same command goes on.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    data: Data,
    /// How long records are kept, before the time of the last one: 72h at least, such as 30d.
    #[arg(long, value_name = "DURATION", value_parser = parse_keep)]
    keep: Span,
    /// Adds what is removed to this file first; `onward log --export` prints it.
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Prints one JSON object: `up_to`, `time`, `chunks`, `bytes`, `exported`.
    #[arg(long)]
    json: bool,
}

fn parse_keep(text: &str) -> Result<Span, String> {
    let keep = Span::parse(text).map_err(|error| error.to_string())?;
    if keep < DEDUP_WINDOW {
        return Err("the records of the last 72h are always kept; write 72h or more".to_owned());
    }
    Ok(keep)
}

impl Args {
    /// What it works on.
    pub(super) fn path(&self) -> &Path {
        &self.data.data
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    if let Some(export) = &args.export {
        check_outside(export, &args.data.data)?;
    }
    let done = trim(&args.data.data, &limits()?, args.keep, args.export.as_deref())?;
    if args.json {
        say(serde_json::to_string(&done).map_err(Failure::refused)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    match &done {
        Trimmed { up_to: Some(lsn), time: Some(time), chunks, bytes, exported } => say(format!(
            "records up to {lsn}, of {time}, are trimmed: {chunks} chunks with {bytes} bytes \
             removed, {exported} exported"
        ))?,
        _ => say("nothing is old enough to be trimmed")?,
    }
    Ok(ExitCode::SUCCESS)
}
