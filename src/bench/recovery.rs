//! What an engine needs to come back: a process of its own lets customers wait, goes on taking events
//! in, and is killed. Opening makes reading begin at the device, so there is no warm cache to gain from.

use std::{
    io::{self, BufRead, BufReader},
    path::Path,
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
    app::{self, SystemClock},
    base::{Clock, InstanceId, Lsn},
    delivery::Channels,
    engine::{self, ClockCheck, Engine, Opening},
    machine::{input::Input, record::Source},
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
    /// Until the store is open: looked at, and opened by sled or redb.
    pub open_ms: f64,
    /// Until the engine is open as well and an event is answered.
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
    let started = SystemClock.now();
    let store = Directory::open_existing(&data)?;
    let open_ms = seconds_since(started) * 1_000.0;
    let at = checkpoint::load(&*store)?.map_or(Lsn::ZERO, |(state, _)| state.at);
    let looked = SystemClock.now();
    // The directory has its identity already.
    let opening = Opening::new(InstanceId([0; 16]), scratch.limits.clone());
    let workers = app::workers(&Channels::all(load::Nothing)).map_err(engine::Error::Workers)?;
    let clock = Arc::new(SystemClock);
    let engine = Engine::start_opened(store, &opening, workers, clock, ClockCheck::Trust)?;
    let event = load::event("visit", u64::MAX >> 1, 0, 0);
    engine.submit(Input::Event { source: Source::Api, event })?.wait()?;
    let replay_s = seconds_since(looked);
    let ready_ms = open_ms + replay_s * 1_000.0;
    let latest = load::latest_of(&engine)?;
    load::expect(&engine, waiting, |flow| flow.active)?;
    let rss_mib = machine::peak_rss_mib();
    engine.close()?;
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
        replay_records_per_s: rate(replayed, replay_s),
        rss_mib,
    })
}

/// In the data directory at `place`, lets so many customers wait, takes as many events in, says so,
/// and goes on until it is killed.
pub fn fill(place: Place<'_>, waiting: u64, say: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let clock = Arc::new(Shifted::default());
    let shifted: Arc<dyn Clock> = Arc::<Shifted>::clone(&clock);
    // The waiting ones are made at the pace of a clock that runs ahead.
    let check = ClockCheck::Trust;
    let limits = place.limits();
    let options = Options { clock: shifted, clock_check: check, limits, ..Options::default() };
    let onward = Onward::open_with(place.dir, &Channels::all(load::Nothing), &options)?;
    onward.publish(&[("bench", DEFINITIONS)])?.wait()?;
    register(&onward, &clock, 0..waiting, waiting)?;
    let visit = |n: u64| load::event("visit", n, load::anywhere(n % waiting), load::PAYLOAD_BYTES);
    closed_loop((0..waiting).map(|n| onward.track(visit(n))))?;
    say(FULL);
    closed_loop((waiting..).map(|n| onward.track(visit(n))))?;
    Ok(())
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
