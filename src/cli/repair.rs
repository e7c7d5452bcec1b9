//! `onward repair`: what is whole, saved in a new directory.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{Data, exit, exit::Failure, limits, progress, say};
use crate::{
    base::Lsn,
    engine::repair::{Lost, Repaired, repair},
};

/// Saves all that is whole of a damaged directory in a new one, and lists what is not. The damaged
/// one stays as it is.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    data: Data,
    /// The new directory, which must not exist.
    #[arg(long, value_name = "NEW")]
    to: PathBuf,
    /// Prints one JSON object: `instance`, `base`, `saved`, `saved_until`, `has_head`, and `lost` with
    /// `first`, `last`, `until` and `behind`.
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
    let bar = progress::bar(100);
    let told = &mut |what: &'static str, done: u64| {
        bar.set_message(what);
        bar.set_position(done);
    };
    let repaired = repair(&args.data.data, &args.to, &limits()?, told)?;
    bar.finish_and_clear();
    if args.json {
        say(serde_json::to_string(&repaired).map_err(Failure::refused)?)?;
    } else {
        tell(&repaired)?;
    }
    let is_well = repaired.lost.is_none() && repaired.has_head;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(exit::NOT_WELL) })
}

fn tell(repaired: &Repaired) -> Result<(), Failure> {
    let Repaired { base, saved, saved_until, .. } = repaired;
    let first = base.map_or(Lsn(1), Lsn::next);
    if first <= *saved {
        say(format!("saved: records {first} to {saved}, up to {saved_until}; all else from them"))?;
    }
    if let Some(base) = base {
        say(format!("saved: what follows from records 1 to {base}, which are gone themselves"))?;
    }
    if !repaired.has_head {
        say("unknown: how far the log was acknowledged, because the head is not whole")?;
    }
    let Some(Lost { first, last, until, behind }) = &repaired.lost else {
        return say("lost: nothing that is known");
    };
    let count = last.0 + 1 - first.0;
    let until = until.map_or_else(String::new, |it| format!(", up to {it}"));
    say(format!("lost: records {first} to {last}, {count} of them{until}"))?;
    for (first, last) in behind {
        say(format!("  of these {first} to {last} are whole, but behind others that are gone"))?;
    }
    Ok(())
}
