//! `onward bench`: how fast it is here.

mod fields;

use std::{
    fmt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::Subcommand;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::Value;

use super::{StoreArg, exit::Failure, say};
use crate::{
    base::Limits,
    bench::{self, Place, Sizes, TimersScale},
};

const MIB: usize = 1024 * 1024;

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
    #[command(after_help = fields::THROUGHPUT)]
    Throughput {
        /// How many; few are over within the second that each waits.
        #[arg(long, value_name = "N", default_value_t = 20_000,
              value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
        enrollments: u64,
        #[command(flatten)]
        partitions: Partitions,
        #[command(flatten)]
        common: Common,
    },
    /// Events that enrol nobody, that are stored with a payload, and that each enrol into a wait.
    #[command(after_help = fields::INGEST)]
    Ingest {
        /// How many of each kind.
        #[arg(long, value_name = "N", default_value_t = 100_000,
              value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
        events: u64,
        /// Bytes of the properties that are stored.
        #[arg(long, value_name = "BYTES", default_value_t = 200,
              value_parser = clap::value_parser!(u32).range(25..=10_000))]
        payload: u32,
        #[command(flatten)]
        partitions: Partitions,
        #[command(flatten)]
        common: Common,
    },
    /// From an event to its first message, while events come at a given rate.
    ///
    /// The clock of an event starts when it was to be sent in. Checkpoints are written meanwhile.
    #[command(after_help = fields::LATENCY)]
    Latency {
        /// Events per second.
        #[arg(long, value_name = "N", default_value_t = 1_000,
              value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        rate: u64,
        /// For how long.
        #[arg(long, value_name = "N", default_value_t = 10,
              value_parser = clap::value_parser!(u64).range(1..=3_600))]
        seconds: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Many waiting enrollments, a herd of others due at one instant, and a steady stream.
    #[command(after_help = fields::TIMERS)]
    Timers {
        /// Enrollments that wait, due over a year.
        #[arg(long, value_name = "N", default_value_t = 100_000,
              value_parser = clap::value_parser!(u64).range(1..=20_000_000))]
        waiting: u64,
        /// Enrollments that are due at one instant.
        #[arg(long, value_name = "N", default_value_t = 100_000,
              value_parser = clap::value_parser!(u64).range(1..=5_000_000))]
        herd: u64,
        /// Timers per second of the steady stream.
        #[arg(long, value_name = "N", default_value_t = 1_000,
              value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        rate: u64,
        /// For how long.
        #[arg(long, value_name = "N", default_value_t = 5,
              value_parser = clap::value_parser!(u64).range(1..=3_600))]
        seconds: u64,
        #[command(flatten)]
        common: Common,
    },
    /// What a killed engine with many waiting enrollments needs to come back.
    ///
    /// A process of its own is filled and killed; its directory is opened by this one.
    #[command(after_help = fields::RECOVERY)]
    Recovery {
        /// Enrollments that wait, due over a year; as many events come after them.
        #[arg(long, value_name = "N", default_value_t = 100_000,
              value_parser = clap::value_parser!(u64).range(1..=20_000_000))]
        waiting: u64,
        /// Fills this directory until killed.
        #[arg(long, value_name = "DIR", hide = true)]
        fill: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
    /// What a step of the welcome series costs while more and more enrollments wait.
    #[command(after_help = fields::GROWTH)]
    Growth {
        /// How many wait, one size after the other, ascending.
        #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1000,10000,100000",
              value_parser = clap::value_parser!(u64).range(1..=20_000_000))]
        waiting: Vec<u64>,
        /// How many go through the series at each size.
        #[arg(long, value_name = "N", default_value_t = 20_000,
              value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        enrollments: u64,
        #[command(flatten)]
        common: Common,
    },
    /// What many flows, members of a segment, and event ids that are remembered take.
    #[command(after_help = fields::SCALE)]
    Scale {
        /// Flows, each with a segment and an event of its own.
        #[arg(long, value_name = "N", default_value_t = 1_000,
              value_parser = clap::value_parser!(u64).range(1..=9_999))]
        flows: u64,
        /// Members of one segment.
        #[arg(long, value_name = "N", default_value_t = 100_000,
              value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        members: u64,
        /// Event ids that are remembered; sled's file grows by eight MiB, so few of them say little.
        #[arg(long, value_name = "N", default_value_t = 1_000_000,
              value_parser = clap::value_parser!(u64).range(1..=20_000_000))]
        ids: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Everything at once: whether memory and latency stay flat, and what the file grows by.
    #[command(after_help = fields::MIXED)]
    Mixed {
        /// For how long.
        #[arg(long, value_name = "N", default_value_t = 60,
              value_parser = clap::value_parser!(u64).range(1..=86_400))]
        seconds: u64,
        /// Calls per second [default: half of what a trial comes to].
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        rate: Option<u64>,
        #[command(flatten)]
        common: Common,
    },
    /// What of the log, rows and timers is encoded, written and kept, and left after trimming.
    #[command(after_help = fields::DISK)]
    Disk {
        /// Enrollments through the welcome series of `throughput`.
        #[arg(long, value_name = "N", default_value_t = 20_000,
              value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
        enrollments: u64,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, clap::Args)]
struct Partitions {
    /// Into how many partitions the customers are shared.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    partitions: u16,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// Measures below this directory; what it makes there is removed afterwards, or by the next bench
    /// there if it is killed [default: the system's directory for temporary files].
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir(), hide_default_value = true)]
    dir: PathBuf,
    /// Over which store; the floors are measured over the same one.
    #[arg(long, value_enum, default_value_t = StoreArg::Sled, value_name = "STORE")]
    store: StoreArg,
    /// Memory for cached rows, about; all that the engine takes is more.
    #[arg(long, value_name = "MIB", default_value_t = cache_mib(),
          value_parser = clap::value_parser!(u16).range(1..))]
    cache_mib: u16,
    /// Prints one JSON object on the last line.
    #[arg(long)]
    json: bool,
}

/// The engine's default.
fn cache_mib() -> u16 {
    u16::try_from(Limits::default().cache_bytes / MIB).unwrap_or(u16::MAX)
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    match &args.scenario {
        Scenario::Throughput { enrollments, partitions, common } => {
            let count = partitions.partitions;
            common.tell(&bench::throughput(common.place(), *enrollments, count)?)
        }
        Scenario::Ingest { events, payload, partitions, common } => {
            let payload = usize::try_from(*payload).map_err(Failure::refused)?;
            common.tell(&bench::ingest(common.place(), *events, payload, partitions.partitions)?)
        }
        Scenario::Latency { rate, seconds, common } => {
            common.tell(&bench::latency(common.place(), *rate, *seconds)?)
        }
        Scenario::Timers { waiting, herd, rate, seconds, common } => {
            let (waiting, herd, rate, seconds) = (*waiting, *herd, *rate, *seconds);
            let scale = TimersScale { waiting, herd, rate, seconds };
            common.tell(&bench::timers(common.place(), scale)?)
        }
        Scenario::Recovery { waiting, fill: Some(dir), common } => {
            end_with_parent()?;
            let mut told = Ok(());
            let place = Place { dir, ..common.place() };
            bench::fill(place, *waiting, &mut |line| told = say(line))?;
            told.map(|()| ExitCode::SUCCESS)
        }
        Scenario::Recovery { waiting, fill: None, common } => {
            let program = std::env::current_exe().map_err(Failure::refused)?;
            let mut fill = |data: &Path| {
                let mut command = Command::new(&program);
                let (count, mib) = (waiting.to_string(), common.cache_mib.to_string());
                command.args(["bench", "recovery", "--waiting", &count, "--cache-mib", &mib]);
                command.arg("--fill").arg(data);
                command
            };
            common.tell(&bench::recovery(common.place(), *waiting, &mut fill)?)
        }
        Scenario::Growth { waiting, enrollments, common } => {
            if !waiting.is_sorted_by(|a, b| a < b) {
                let why = "--waiting: the sizes must ascend, as in 1000,10000,100000";
                return Err(Failure::usage(why));
            }
            common.tell(&bench::growth(common.place(), waiting, *enrollments)?)
        }
        Scenario::Scale { flows, members, ids, common } => {
            let (flows, members, ids) = (*flows, *members, *ids);
            common.tell(&bench::scale(common.place(), Sizes { flows, members, ids })?)
        }
        Scenario::Mixed { seconds, rate, common } => {
            common.tell(&bench::mixed(common.place(), *seconds, *rate)?)
        }
        Scenario::Disk { enrollments, common } => {
            common.tell(&bench::disk(common.place(), *enrollments)?)
        }
    }
}

/// Has the system end this process with the thread that started it, which is there until the other
/// process ends.
fn end_with_parent() -> Result<(), Failure> {
    let signal = Some(rustix::process::Signal::KILL);
    rustix::process::set_parent_process_death_signal(signal).map_err(Failure::fault)
}

impl Common {
    fn place(&self) -> Place<'_> {
        let cache_bytes = usize::from(self.cache_mib) * MIB;
        Place { dir: &self.dir, store: self.store.into(), cache_bytes }
    }

    /// Prints the figures as a table, and as one object where that is asked for.
    fn tell(&self, figures: &impl Serialize) -> Result<ExitCode, Failure> {
        let json = serde_json::to_string(figures).map_err(Failure::refused)?;
        let figures: Figures = serde_json::from_str(&json).map_err(Failure::refused)?;
        table("", &figures)?;
        if self.json {
            say(json)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A line for each figure, those within others below the name of those.
fn table(above: &str, Figures(figures): &Figures) -> Result<(), Failure> {
    for (name, figure) in figures {
        let name = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
        match figure {
            Figure::Several(figures) => table(&name, figures)?,
            Figure::One(Value::String(text)) => say(format!("{name:<24} {text}"))?,
            Figure::One(value) => say(format!("{name:<24} {:>16}", number(value)))?,
        }
    }
    Ok(())
}

/// As many digits as say something.
fn number(value: &Value) -> String {
    match value.as_f64() {
        _ if value.is_null() => "?".to_owned(),
        Some(number) if value.is_f64() && number < 1.0 => format!("{number:.4}"),
        Some(number) if value.is_f64() && number < 1_000.0 => format!("{number:.2}"),
        Some(number) if value.is_f64() => format!("{number:.0}"),
        _ => value.to_string(),
    }
}

/// What an object says, in the order in which it does.
#[derive(Debug)]
struct Figures(Vec<(String, Figure)>);

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Figure {
    Several(Figures),
    One(Value),
}

impl<'de> Deserialize<'de> for Figures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Figures;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Figures, A::Error> {
                let mut figures = Vec::new();
                while let Some(figure) = map.next_entry()? {
                    figures.push(figure);
                }
                Ok(Figures(figures))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}
