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

use clap::{Parser, Subcommand, ValueEnum};

use crate::{
    base::{Limits, Lsn, Span, limits::ADDRESS_SPACE_MIN, planted::is_planted, thread},
    engine,
    store::StoreKind,
};
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

/// What keeps the maps of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StoreArg {
    /// The default.
    Sled,
    /// In programs built with the feature store-redb.
    Redb,
}

impl From<StoreArg> for StoreKind {
    fn from(arg: StoreArg) -> Self {
        match arg {
            StoreArg::Sled => Self::Sled,
            StoreArg::Redb => Self::Redb,
        }
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start_tracing().and_then(|()| run_apart(cli.command)).unwrap_or_else(Failure::report)
}

/// Does it on a thread with room for parsers, which a system may refuse; all but what watches its
/// disk by itself is left behind where a disk gives no answer.
fn run_apart(command: Command) -> Result<ExitCode, Failure> {
    check_address_space()?;
    let watched = command.watched();
    let Some((what, path)) = watched else {
        let thread = thread::start("onward", move || command.run())?;
        return thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    };
    engine::watched((what, &path), limits()?.stall, move || command.run())
}

/// Refuses to begin where memory would end in the middle, which no program survives.
fn check_address_space() -> Result<(), Failure> {
    let most = rustix::process::getrlimit(rustix::process::Resource::As).current;
    match most {
        Some(most) if most < ADDRESS_SPACE_MIN => Err(Failure::fault(format!(
            "this process may use {most} bytes of address space, and {ADDRESS_SPACE_MIN} are needed, \
             most of them for stacks and untouched; raise the limit (`ulimit -v`)"
        ))),
        _ => Ok(()),
    }
}

impl Command {
    /// What it is called and what it works on, where all it does is to ask disks.
    fn watched(&self) -> Option<(&'static str, PathBuf)> {
        if is_planted!("commands_unwatched") {
            return None;
        }
        let (what, path) = match self {
            Self::Run(_) | Self::Validate(_) | Self::Bench(_) => return None,
            Self::Show(args) => ("show", args.path()),
            Self::Log(args) => ("log", args.path()),
            Self::Trim(args) => ("trim", args.path()),
            Self::Verify(args) => ("verify", args.path()),
            Self::Compact(args) => ("compact", args.path()),
            Self::Backup(args) => ("back up", args.path()),
            Self::Restore(args) => ("restore", args.path()),
            Self::Doctor(args) => ("examine", args.path()),
            Self::Repair(args) => ("repair", args.path()),
        };
        Some((what, path.to_owned()))
    }

    fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Run(args) => run::run(args),
            Self::Validate(args) => validate::run(&args),
            Self::Show(args) => show::run(&args),
            Self::Log(args) => log::run(&args),
            Self::Trim(args) => trim::run(&args),
            Self::Verify(args) => verify::run(&args),
            Self::Compact(args) => copies::compact(&args),
            Self::Backup(args) => copies::backup(&args),
            Self::Restore(args) => copies::restore(&args),
            Self::Doctor(args) => doctor::run(&args),
            Self::Repair(args) => repair::run(&args),
            Self::Bench(args) => bench::run(&args),
        }
    }
}

/// Messages of the engine go to standard error; `ONWARD_LOG` says which, and warnings are among them
/// unless it names another level for all. Where it asks for traces, spans are told at both ends.
fn start_tracing() -> Result<(), Failure> {
    use tracing_subscriber::{EnvFilter, fmt::format::FmtSpan};
    let asked = std::env::var("ONWARD_LOG").unwrap_or_default();
    let filter = EnvFilter::try_new(format!("warn,{asked}")).map_err(|why| {
        Failure::usage(format!("ONWARD_LOG: {why}; write a level, or such as warn,onward=debug"))
    })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NEW | FmtSpan::CLOSE)
        // Colours are what a terminal obeys, and nothing of that kind is let through.
        .with_ansi(false)
        .with_writer(|| Told)
        .finish();
    // The only subscriber of this process.
    let _ = tracing::subscriber::set_global_default(subscriber).is_ok();
    Ok(())
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
