//! `onward bench`: how fast it is here.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;

use super::{exit::Failure, say};
use crate::bench::{self, Throughput};

/// Measures this machine with this engine.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Enrollments through a welcome series, as fast as they go.
    ///
    /// Event with 200 bytes of properties, e-mail, wait of a real second, e-mail, push, exit. Events
    /// come as JSON from this process; messages are rendered and dropped.
    #[command(after_help = FIELDS)]
    Throughput(ThroughputArgs),
}

#[derive(Debug, clap::Args)]
struct ThroughputArgs {
    /// How many; few are over within the second that each waits.
    #[arg(long, value_name = "N", default_value_t = 20_000,
          value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    enrollments: u64,
    /// Measures below this directory; what it makes there is removed afterwards [default: the
    /// system's directory for temporary files].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Prints one JSON object on the last line.
    #[arg(long)]
    json: bool,
}

const FIELDS: &str = "\
Fields of the JSON object:
  scenario                what was measured
  machine                 cpu, cores, filesystem
  durability, store       when a record counted as done, and where
  enrollments             how many went through
  seconds                 from the first event in to the last exit durable, waits included
  step_transitions_per_s  steps that enrollments left, five each, per second
  enrollments_per_s       enrollments that ended, per second
  records_per_s, records  of the log
  bytes_per_record        in the log, chunk headers included
  floor_records_per_s     the same records as bare chunks in the same kind of store, this run
  ratio_to_floor          records_per_s as a part of that
  raw_records_per_s       the same chunks in a plain file with fdatasync, this run
  ratio_to_raw            records_per_s as a part of that
  generator_cpu_s         processor seconds of the caller: making, reading, handing over events;
                          null where the system does not say
  rss_mib                 the most memory that the process had; null where the system does not say";

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let Scenario::Throughput(args) = &args.scenario;
    let dir = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let figures = bench::throughput(&dir, args.enrollments)?;
    print(&figures)?;
    if args.json {
        say(serde_json::to_string(&figures).map_err(Failure::refused)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(it: &Throughput) -> Result<(), Failure> {
    let machine = &it.machine;
    say(format!("{}, {} cores, {}", machine.cpu, machine.cores, machine.filesystem))?;
    say(format!("{}, {}", it.store, it.durability))?;
    let known = |value: Option<f64>| value.map_or_else(|| "?".to_owned(), |it| format!("{it:.2}"));
    let rows = [
        ("enrollments", it.enrollments.to_string()),
        ("seconds", format!("{:.2}", it.seconds)),
        ("step transitions/s", format!("{:.0}", it.step_transitions_per_s)),
        ("enrollments/s", format!("{:.0}", it.enrollments_per_s)),
        ("records/s", format!("{:.0}", it.records_per_s)),
        ("records", it.records.to_string()),
        ("bytes per record", format!("{:.1}", it.bytes_per_record)),
        ("floor records/s", format!("{:.0}", it.floor_records_per_s)),
        ("ratio to floor", format!("{:.4}", it.ratio_to_floor)),
        ("raw file records/s", format!("{:.0}", it.raw_records_per_s)),
        ("ratio to raw file", format!("{:.4}", it.ratio_to_raw)),
        ("generator CPU s", known(it.generator_cpu_s)),
        ("peak RSS MiB", known(it.rss_mib)),
    ];
    rows.iter().try_for_each(|(name, value)| say(format!("{name:<20} {value:>14}")))
}
