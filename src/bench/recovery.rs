//! What an engine needs to come back: a process of its own lets customers wait, goes on taking events
//! in, and is killed. Opening makes reading begin at the device, so there is no warm cache to gain from.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use serde::Serialize;

use super::{
    Error, Place, Scratch,
    clock::Shifted,
    load::{self, closed_loop, register},
    machine::{self, Ground},
    rate, seconds_since,
    timers::DEFINITIONS,
};
use crate::{
    Onward, Options,
    app::SystemClock,
    base::{Clock, Limits},
    delivery::Channels,
    engine::ClockCheck,
    store::{Directory, checkpoint},
};

/// What the process says once everything is in that is to be.
const FULL: &str = "full";

/// The figures of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Recovery {
    /// `recovery`.
    pub scenario: &'static str,
    /// What it ran on.
    #[serde(flatten)]
    pub ground: Ground,
    /// Enrollments that wait.
    pub waiting: u64,
    /// Bytes of the data directory when its process was killed.
    pub disk_bytes: u64,
    /// Until a copy of the store is open: looked at, and opened by sled or redb.
    pub open_ms: f64,
    /// Until the engine is open and an event is answered.
    pub ready_ms: f64,
    /// Records after the checkpoint in force.
    pub replayed_records: u64,
    /// Of them per second, over all that `ready_ms` has besides `open_ms`.
    pub replay_records_per_s: f64,
    /// The most memory that the process that came back had.
    pub rss_mib: Option<f64>,
}

/// Runs the scenario in directories of its own below `parent`, which are removed afterwards.
/// `program` is given the directory to fill; it calls [`fill`].
pub fn recovery(
    place: Place<'_>,
    waiting: u64,
    program: &mut dyn FnMut(&Path) -> Command,
) -> Result<Recovery, Error> {
    let scratch = Scratch::new(place)?;
    let ground = Ground::of(&scratch);
    let data = scratch.data("data")?;
    kill_when_full(program(&data)).map_err(|source| {
        let path = data.clone();
        Error::Directory { path, source }
    })?;
    let disk_bytes = machine::bytes_of(&data);
    let copy = copy_of(&data)?;
    let started = SystemClock.now();
    let store = Directory::open_existing(&copy)?;
    let open_ms = seconds_since(started) * 1_000.0;
    let at = checkpoint::load(&*store)?.map_or(crate::base::Lsn::ZERO, |(state, _)| state.at);
    store.close()?;

    let started = SystemClock.now();
    let onward = open(&data, Arc::new(SystemClock), scratch.limits.clone())?;
    onward.track(load::event("visit", u64::MAX >> 1, 0, 0))?.wait()?;
    let ready_ms = seconds_since(started) * 1_000.0;
    let latest = load::latest_of(onward.engine())?;
    load::expect(&onward, waiting, |flow| flow.active)?;
    let rss_mib = machine::peak_rss_mib();
    onward.close()?;
    // The last record is the event that was answered.
    let replayed = latest.0.saturating_sub(at.0).saturating_sub(1);
    Ok(Recovery {
        scenario: "recovery",
        ground,
        waiting,
        disk_bytes,
        open_ms,
        ready_ms,
        replayed_records: replayed,
        replay_records_per_s: rate(replayed, (ready_ms - open_ms) / 1_000.0),
        rss_mib,
    })
}

/// In the data directory at `place`, lets so many customers wait, takes as many events in, says so,
/// and goes on until it is killed.
pub fn fill(place: Place<'_>, waiting: u64, say: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let clock = Arc::new(Shifted::default());
    let onward = open(place.dir, Arc::<Shifted>::clone(&clock), place.limits())?;
    onward.publish(&[("bench", DEFINITIONS)])?.wait()?;
    register(&onward, &clock, 0..waiting, waiting)?;
    let visit = |n: u64| load::event("visit", n, load::anywhere(n % waiting), load::PAYLOAD_BYTES);
    closed_loop((0..waiting).map(|n| onward.track(visit(n))))?;
    say(FULL);
    closed_loop((waiting..).map(|n| onward.track(visit(n))))?;
    Ok(())
}

fn open(data: &Path, clock: Arc<dyn Clock>, limits: Limits) -> Result<Onward, crate::Error> {
    // The waiting ones were made at the pace of a clock that ran ahead.
    let options = Options { clock, clock_check: ClockCheck::Trust, limits, ..Options::default() };
    Onward::open_with(data, &Channels::all(load::Nothing), &options)
}

fn kill_when_full(mut command: Command) -> io::Result<()> {
    let mut child = Running(command.stdout(Stdio::piped()).spawn()?);
    let out = child.0.stdout.take().ok_or_else(|| io::Error::other("it has no output"))?;
    for line in BufReader::new(out).lines() {
        if line? == FULL {
            return Ok(());
        }
    }
    Err(io::Error::other("the process that fills it ended before it was full"))
}

/// A process that is killed when nobody waits for it any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill().is_ok();
        let _ = self.0.wait().is_ok();
    }
}

/// The files of a directory once more, beside it.
fn copy_of(data: &Path) -> Result<PathBuf, Error> {
    let copy = data.with_extension("copy");
    let failed = |source| Error::Directory { path: copy.clone(), source };
    fs::create_dir(&copy).map_err(failed)?;
    for entry in fs::read_dir(data).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            let to = copy.join(name);
            fs::copy(&path, &to).map_err(failed)?;
            // Or opening would have to write it first.
            fs::File::open(&to).and_then(|it| it.sync_all()).map_err(failed)?;
        }
    }
    Ok(copy)
}
