//! `onward run`: the main job.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::ValueEnum;
use crossbeam_channel::Receiver;
use indicatif::ProgressBar;

use super::{Data, StoreArg, exit, exit::Failure, limits, print::tell, progress, say};
use crate::{
    app::{SystemClock, workers},
    base::{Clock, Span, Timestamp},
    delivery::{Channels, Log, Outbox},
    engine::{
        self, AcceptLoss, Opening,
        job::{self, Drive, Files, Finished, Pace, Plan, Progress, Summary},
        runner::{Outbound, Report},
    },
    model::Known,
    store::{self, StoreKind, beside::check_outside},
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
    if ask(&args.data.data, limits.stall, move || StoreKind::find(&dir))?.is_none() {
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
    let workers = || start_workers(args.outbox.as_deref(), stall);
    let drive = Drive::open(&args.data.data, &opening, plan, workers)?;
    drive.warnings().iter().for_each(|finding| tracing::warn!("{finding}"));
    let bar = progress::bar(0);
    let shown = bar.clone();
    let drive = drive.until(args.until).pace(pace);
    let finished = drive.run_apart(move |it| show(&shown, &it))?;
    bar.finish_and_clear();
    let seconds = SystemClock.now().since(started).to_std().as_secs_f64();
    report(finished, seconds, args.json)
}

/// Asks a disk outside of the engine, and waits no longer for its answer than the engine would.
fn ask<T: Send + 'static, E: From<store::Error> + Send + 'static>(
    path: &Path,
    stall: Span,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    engine::watched(("prepare", path), stall, work)
}

fn start_workers(
    outbox: Option<&Path>,
    stall: Span,
) -> Result<(Outbound, Receiver<Report>), job::Error> {
    let channels = match outbox {
        None => Channels::all(Log),
        Some(dir) => {
            let place = dir.to_owned();
            let open = move || Outbox::open(&place).map_err(|error| no_outbox(&place, &error));
            Channels::all(ask(dir, stall, open)?)
        }
    };
    workers(&channels).map_err(|error| job::Error::Channel { error: error.to_string() })
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
