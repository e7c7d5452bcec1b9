//! `onward run`: the main job.

use std::{
    io,
    panic::resume_unwind,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use clap::ValueEnum;
use indicatif::ProgressBar;

use super::{Data, StoreArg, exit, exit::Failure, limits, print::tell, progress, say};
use crate::{
    app::{SystemClock, workers},
    base::{Clock, PartitionId, Span, Timestamp, thread},
    delivery::{Channels, Log, Outbox},
    engine::{
        self, AcceptLoss, Opening,
        job::{self, Drive, Files, Finished, Pace, Plan, Progress, Summary},
    },
    model::Known,
    store::{self, StoreKind, beside::check_outside, partitions},
};

/// Drives flows with the events of a file.
///
/// The events' own times are the clock: it jumps from one event or timer to the next. Killed at
/// any moment and started again with the same arguments, it goes on where it was, and log and
/// outbox end as if nothing had happened. The same command over a finished directory does nothing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    data: Data,
    /// What keeps the data directory; a new one is kept by sled where this does not say otherwise.
    #[arg(long, value_enum, value_name = "STORE")]
    store: Option<StoreArg>,
    /// Definitions documents: segments, flows, campaigns.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    definitions: Vec<PathBuf>,
    /// Customers, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    customers: Option<PathBuf>,
    /// Events, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Writes each message to a file here; without it messages are only logged.
    #[arg(long, value_name = "DIR")]
    outbox: Option<PathBuf>,
    /// Runs timers up to this instant after the last event. Events up to it are expected, also those
    /// more than five years after all before them, which are refused otherwise.
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Lets the clock jump, or waits until it is time.
    #[arg(long, value_enum, default_value_t = ClockArg::Virtual, value_name = "CLOCK")]
    clock: ClockArg,
    /// Stops at the first line that is no customer or event, before anything is stored.
    #[arg(long)]
    strict: bool,
    /// Continues where the disk has lost acknowledged records, and records that.
    #[arg(long)]
    accept_loss: bool,
    /// Shares the customers of a new directory among so many logs, each written on threads of its own
    /// [default: as the directory was created, 1 where it is new].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    partitions: Option<u16>,
    /// Prints the summary as one JSON object on the last line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClockArg {
    /// The clock jumps from one event or timer to the next.
    Virtual,
    /// It waits in between, beginning at the first event's time.
    Real,
}

pub(super) fn run(args: Args) -> Result<ExitCode, Failure> {
    let started = SystemClock.now();
    let plan = Plan::new(&Files {
        definitions: args.definitions.clone(),
        customers: args.customers.clone(),
        events: args.events.clone(),
    })?;
    let limits = limits()?;
    let dir = args.data.data.clone();
    let is_there =
        move || Ok(partitions::several(&dir)?.is_some() || StoreKind::find(&dir)?.is_some());
    if !ask::<_, store::Error>(&args.data.data, limits.stall, is_there)? {
        // A directory is not created for definitions that are not valid.
        plan.check(&Known::default())?;
    }
    if args.strict {
        plan.check_lines(args.until)?;
    }
    let opening = Opening {
        instance: plan.instance(),
        store: args.store.map(StoreKind::from),
        limits,
        accept_loss: if args.accept_loss { AcceptLoss::Yes } else { AcceptLoss::No },
        partition: None,
    };
    let stall = opening.limits.stall;
    let pace = match args.clock {
        ClockArg::Virtual => Pace::Virtual,
        ClockArg::Real => Pace::Real(Arc::new(SystemClock)),
    };
    if let Some(outbox) = &args.outbox {
        let (from, to) = (outbox.clone(), args.data.data.clone());
        ask(outbox, stall, move || check_outside(&from, &to))?;
    }
    let (dir, asked) = (args.data.data.clone(), args.partitions);
    let count = ask(&args.data.data, stall, move || partitions::open(&dir, asked))?;
    let drives = open_all(&args, &opening, &plan, count)?;
    let first = drives.first().expect("there is a partition");
    first.warnings().iter().for_each(|finding| tracing::warn!("{finding}"));
    let drives = drives.into_iter().map(|it| it.until(args.until).pace(pace.clone())).collect();
    let finished = run_all(drives)?;
    let seconds = SystemClock.now().since(started).to_std().as_secs_f64();
    report(finished, seconds, args.json)
}

/// Opens the data of every partition; the channels are opened once, by who holds the first.
fn open_all(
    args: &Args,
    opening: &Opening,
    plan: &Plan,
    count: u16,
) -> Result<Vec<Drive>, job::Error> {
    let mut channels = None;
    let drive = |number| {
        let partition = PartitionId(number);
        let limits = opening.limits.shared_by(count);
        let opening = Opening { limits, partition: Some(partition), ..opening.clone() };
        let place = partitions::place(&args.data.data, partition, count);
        Drive::open(&place, &opening, plan.share(partition, count), || {
            let channels = match &channels {
                Some(channels) => channels,
                None => {
                    channels.insert(open_channels(args.outbox.as_deref(), opening.limits.stall)?)
                }
            };
            workers(channels).map_err(|error| job::Error::Channel { error: error.to_string() })
        })
    };
    (0..count).map(drive).collect()
}

/// Runs all of them, each on a thread of its own, and adds up what they leave behind.
fn run_all(drives: Vec<Drive>) -> Result<Finished, Failure> {
    let bar = progress::bar(0);
    let seen = Arc::new(Mutex::new(vec![None; drives.len()]));
    let runs = drives.into_iter().enumerate().map(|(number, drive)| {
        let (bar, seen) = (bar.clone(), Arc::clone(&seen));
        let tell = move |it| {
            let mut seen = seen.lock().expect("no holder of this lock panics");
            seen.iter_mut().skip(number).take(1).for_each(|last| *last = Some(it));
            if let Some(sum) = seen.iter().flatten().copied().reduce(Progress::and) {
                show(&bar, &sum);
            }
        };
        thread::start("onward-job", move || drive.run_apart(tell))
    });
    let runs: Vec<_> = runs.collect::<Result<_, _>>()?;
    let join = |run: JoinHandle<_>| run.join().unwrap_or_else(|panic| resume_unwind(panic));
    let ended: Vec<Result<Finished, job::Error>> = runs.into_iter().map(join).collect();
    let all = ended.into_iter().collect::<Result<Vec<_>, _>>()?;
    bar.finish_and_clear();
    Ok(all.into_iter().reduce(Finished::and).expect("there is a partition"))
}

/// Asks a disk outside of the engine, and waits no longer for its answer than the engine would.
fn ask<T: Send + 'static, E: From<store::Error> + Send + 'static>(
    path: &Path,
    stall: Span,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    engine::watched(("prepare", path), stall, work)
}

fn open_channels(outbox: Option<&Path>, stall: Span) -> Result<Channels, job::Error> {
    Ok(match outbox {
        None => Channels::all(Log),
        Some(dir) => {
            let place = dir.to_owned();
            let open = move || Outbox::open(&place).map_err(|error| no_outbox(&place, &error));
            Channels::all(ask(dir, stall, open)?)
        }
    })
}

fn no_outbox(dir: &Path, error: &io::Error) -> job::Error {
    if error.kind() == io::ErrorKind::ResourceBusy {
        return store::Error::InUse { path: dir.to_owned() }.into();
    }
    job::Error::Channel { error: format!("the outbox {}: {error}", dir.display()) }
}

fn show(bar: &ProgressBar, progress: &Progress) {
    bar.set_length(progress.bytes_total.max(1));
    bar.set_position(progress.bytes_read);
    bar.set_message(format!("{} {} records", progress.now, progress.records));
}

fn report(finished: Finished, seconds: f64, json: bool) -> Result<ExitCode, Failure> {
    for line in &finished.rejected {
        let (path, error) = (line.path.display(), &line.error);
        tracing::error!(
            "{path}:{}:{}: {}: {}; the line was skipped",
            line.line,
            error.column,
            error.code,
            error.message
        );
    }
    let summary = finished.summary.timed(seconds);
    if summary.records_added == 0 {
        let text = "nothing new: every input was read before and no timer was due";
        if json { tell(text) } else { say(text)? }
    }
    if json {
        say(serde_json::to_string(&summary).map_err(Failure::refused)?)?;
    } else {
        print(&summary)?;
    }
    let is_well = finished.rejected_in_inputs == 0;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(exit::NOT_WELL) })
}

fn print(summary: &Summary) -> Result<(), Failure> {
    let counts = [
        ("events", summary.events_read),
        ("duplicates", summary.duplicates),
        ("rejected lines", summary.rejected_lines),
        ("customers", summary.customers),
        ("enrolled", summary.enrolled),
        ("waiting", summary.waiting),
        ("dead letters", summary.dead_letters),
        ("forgotten entry keys", summary.forgotten_keys),
        ("records", summary.records),
        ("  added by this run", summary.records_added),
        ("bytes on disk", summary.disk_bytes),
    ];
    for (name, count) in counts {
        say(format!("{name:<24} {count:>12}"))?;
    }
    let groups = [
        ("sent", &summary.sent),
        ("skipped", &summary.skipped),
        ("exited", &summary.exited),
        ("not enrolled", &summary.refused),
    ];
    for (group, counts) in groups {
        for (name, count) in counts {
            say(format!("{:<24} {count:>12}", format!("{group}: {name}")))?;
        }
    }
    for (name, counts) in &summary.campaigns {
        let line = format!("campaign {name}: {} enrolled, {} sent", counts.enrolled, counts.sent);
        say(line)?;
    }
    let (seconds, rate) = (summary.seconds, summary.records_per_second);
    say(format!("clock at {}; {seconds:.2} s, {rate} records/s", summary.now))
}
