//! `onward compact`, `backup` and `restore`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use indicatif::ProgressBar;
use serde::Serialize;

use super::{Data, StoreArg, exit::Failure, limits, progress::bar, say};
use crate::engine::copies::{self, Progress};

/// Replaces the directory by a copy of it that takes less space.
///
/// The copy is made beside it and verified; then the two are swapped in one step and the old one is
/// removed. Killed at any moment, the directory is whole; the same command goes on. There must be
/// room for the copy.
#[derive(Debug, clap::Args)]
pub(super) struct CompactArgs {
    #[command(flatten)]
    data: Data,
    /// Prints one JSON object: `entries`, `bytes_before`, `bytes_after`.
    #[arg(long)]
    json: bool,
}

/// Adds to a backup what it lacks of the directory, and reads that again.
///
/// A second backup to the same place copies only what is new. Killed at any moment, the backup is
/// as it was, and the same command goes on.
#[derive(Debug, clap::Args)]
pub(super) struct BackupArgs {
    /// The data directory.
    #[arg(long, value_name = "DIR", required_unless_present = "check", requires = "to")]
    data: Option<PathBuf>,
    /// Where the backup is, or is to be.
    #[arg(long, value_name = "BACKUP", requires = "data")]
    to: Option<PathBuf>,
    /// Reads this backup and checks all of it.
    #[arg(long, value_name = "BACKUP", conflicts_with_all = ["data", "to"])]
    check: Option<PathBuf>,
    /// Prints one JSON object: `lsn` and `time` of the last record, `bytes`, and `chunks_added` and
    /// `bytes_added`, or of a check `chunks` and `instance`.
    #[arg(long)]
    json: bool,
}

/// Makes a new directory from a backup, after checking all of it.
///
/// It is a copy: what leaves it from now on carries an identity of its own, so that it cannot be
/// taken for what the original sends. Outboxes are not part of a backup; give the copy another one.
#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    /// The backup.
    #[arg(long, value_name = "BACKUP")]
    from: PathBuf,
    /// The new data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// What keeps the new directory, whatever kept the one that the backup is of.
    #[arg(long, value_enum, default_value_t = StoreArg::Sled, value_name = "STORE")]
    store: StoreArg,
    /// Prints one JSON object: `lsn`, the last record of the backup; `original` and `instance`.
    #[arg(long)]
    json: bool,
}

impl CompactArgs {
    /// What it works on.
    pub(super) fn path(&self) -> &Path {
        &self.data.data
    }
}

impl BackupArgs {
    /// What it works on.
    pub(super) fn path(&self) -> &Path {
        self.data.as_deref().or(self.check.as_deref()).unwrap_or_else(|| Path::new(""))
    }
}

impl RestoreArgs {
    /// What it works on.
    pub(super) fn path(&self) -> &Path {
        &self.data
    }
}

pub(super) fn compact(args: &CompactArgs) -> Result<ExitCode, Failure> {
    let bar = bar(0);
    let done = copies::compact(&args.data.data, &limits()?, &mut |it| show(&bar, it))?;
    bar.finish_and_clear();
    let (before, after) = (done.bytes_before, done.bytes_after);
    report(args.json, &done, format!("{before} bytes before, {after} now"))
}

pub(super) fn backup(args: &BackupArgs) -> Result<ExitCode, Failure> {
    let bar = bar(0);
    let mut tell = |it| show(&bar, it);
    if let Some(from) = &args.check {
        let it = copies::check(from, &mut tell)?;
        bar.finish_and_clear();
        let (chunks, lsn, time) = (it.chunks, it.lsn, it.time);
        return report(args.json, &it, format!("{chunks} chunks, up to record {lsn} of {time}"));
    }
    let (Some(data), Some(to)) = (&args.data, &args.to) else {
        return Err(Failure::usage("give --data and --to, or --check"));
    };
    let it = copies::backup(data, to, &limits()?, &mut tell)?;
    bar.finish_and_clear();
    let (bytes, added) = (it.bytes, it.bytes_added);
    let text =
        format!("up to record {} of {}; {bytes} bytes, {added} of them new", it.lsn, it.time);
    report(args.json, &it, text)
}

pub(super) fn restore(args: &RestoreArgs) -> Result<ExitCode, Failure> {
    let bar = bar(0);
    let to = (&*args.data, args.store.into());
    let done = copies::restore(&args.from, to, &limits()?, &mut |it| show(&bar, it))?;
    bar.finish_and_clear();
    let (lsn, instance) = (done.lsn, done.instance);
    report(args.json, &done, format!("up to record {lsn}; the copy is called {instance}"))
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.total.max(1));
    bar.set_position(progress.done.min(progress.total));
    bar.set_message(progress.what);
}

fn report(json: bool, done: &impl Serialize, text: String) -> Result<ExitCode, Failure> {
    say(if json { serde_json::to_string(done).map_err(Failure::refused)? } else { text })?;
    Ok(ExitCode::SUCCESS)
}
