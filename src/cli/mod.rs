//! Layer 8, the commands: what was typed, and nothing about how it is done.

mod bench;
mod copies;
mod doctor;
mod exit;
mod log;
mod print;
mod progress;
mod repair;
mod run;
mod show;
mod trim;
mod validate;
mod verify;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::base::{Limits, Lsn, Span};
use exit::Failure;
use print::{Told, say};

/// Durable customer flows on one machine, without a database server.
#[derive(Debug, Parser)]
#[command(name = "onward", version, after_help = exit::HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Drives flows with the events of a file, on a clock that the events set.
    Run(run::Args),
    /// Checks definitions and prints every finding.
    Validate(validate::Args),
    /// Shows an enrollment, a customer or a flow.
    Show(show::Args),
    /// Prints the records of the log.
    Log(log::Args),
    /// Removes old records.
    Trim(trim::Args),
    /// Replays the log and compares it with everything the directory holds.
    Verify(verify::Args),
    /// Gives back the disk space that nothing uses any more.
    Compact(copies::CompactArgs),
    /// Copies what is new of a directory to a backup, or checks one.
    Backup(copies::BackupArgs),
    /// Makes a new directory from a backup.
    Restore(copies::RestoreArgs),
    /// Says what is wrong with a directory, without changing anything in it.
    Doctor(doctor::Args),
    /// Saves all that is whole of a damaged directory in a new one.
    Repair(repair::Args),
    /// Measures how fast it is here.
    Bench(bench::Args),
}

/// Which directory.
#[derive(Debug, clap::Args)]
struct Data {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start_tracing();
    let result = match cli.command {
        Command::Run(args) => run::run(args),
        Command::Validate(args) => validate::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Trim(args) => trim::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Compact(args) => copies::compact(&args),
        Command::Backup(args) => copies::backup(&args),
        Command::Restore(args) => copies::restore(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Repair(args) => repair::run(&args),
        Command::Bench(args) => bench::run(&args),
    };
    result.unwrap_or_else(Failure::report)
}

/// Messages of the engine go to standard error; `ONWARD_LOG` says which, warnings by default.
/// Where it asks for traces, spans are told at both ends.
fn start_tracing() {
    use tracing_subscriber::{EnvFilter, fmt::format::FmtSpan};
    let filter = EnvFilter::try_from_env("ONWARD_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NEW | FmtSpan::CLOSE)
        // Colours are what a terminal obeys, and nothing of that kind is let through.
        .with_ansi(false)
        .with_writer(|| Told)
        .finish();
    // The only subscriber of this process.
    let _ = tracing::subscriber::set_global_default(subscriber).is_ok();
}

/// The bounds to run with: the defaults, or what `ONWARD_LIMITS` overrides, such as
/// `cache_pages=64,checkpoint_records=200,chunk_bytes=2048,timer_span=1m`. For tests that force
/// rare paths.
fn limits() -> Result<Limits, Failure> {
    let mut limits = Limits::default();
    let Ok(text) = std::env::var("ONWARD_LIMITS") else { return Ok(limits) };
    for setting in text.split(',').filter(|setting| !setting.is_empty()) {
        set_limit(&mut limits, setting).ok_or_else(|| {
            Failure::usage(format!("ONWARD_LIMITS: `{setting}` is no limit; write name=value"))
        })?;
    }
    Ok(limits)
}

fn set_limit(limits: &mut Limits, setting: &str) -> Option<()> {
    let (name, value) = setting.split_once('=')?;
    match name {
        "cache_bytes" => limits.cache_bytes = value.parse().ok()?,
        "cache_pages" => limits.cache_pages = value.parse().ok()?,
        "checkpoint_records" => limits.checkpoint_records = value.parse().ok()?,
        "chunk_bytes" => limits.chunk_bytes = value.parse().ok()?,
        "keep_log" => limits.keep_log = Some(Span::parse(value).ok()?),
        "base_copy_bytes" => limits.base_copy_bytes = value.parse().ok()?,
        "timer_span" => limits.timer_span = Span::parse(value).ok()?,
        "free_bytes_min" => limits.free_bytes_min = value.parse().ok()?,
        "stall" => limits.stall = Span::parse(value).ok()?,
        "deliveries" => limits.deliveries = value.parse().ok()?,
        _ => return None,
    }
    Some(())
}

fn parse_lsn(text: &str) -> Result<Lsn, String> {
    text.parse().map(Lsn).map_err(|_| "a record's number is written like 1234".to_owned())
}
