//! Layer 7, measuring: scenarios that drive the engine as a program that embeds it does.
//!
//! | File | What |
//! |---|---|
//! | `throughput` | enrollments through a welcome series, as fast as they go |
//! | `ingest` | events that do nothing, that are stored in full, that enrol |
//! | `latency` | from an event to its first message, while events come at a given rate |
//! | `timers` | many waiting enrollments, a herd of them due at once, a steady stream |
//! | `recovery` | what a killed engine with many waiting needs to come back |
//! | `growth` | what a step costs while more and more wait |
//! | `scale` | many flows, members of a segment, event ids: what they take |
//! | `mixed` | everything at once for long, at half of what goes |
//! | `disk` | what of the log, rows and timers is encoded, written and kept |
//! | `load`, `pace`, `clock` | what is sent in, by whom and when |
//! | `answers`, `spread` | how long it took, and how that is spread |
//! | `floor` | the same records without an engine: what the store and the disk allow |
//! | `machine` | what it ran on, and what it used |

mod answers;
mod clock;
mod disk;
mod floor;
mod growth;
mod ingest;
mod latency;
mod load;
mod machine;
mod mixed;
mod pace;
mod recovery;
mod scale;
mod spread;
mod throughput;
mod timers;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

pub use disk::{Disk, disk};
pub use floor::Floors;
pub use growth::{Cost, Growth, growth};
pub use ingest::{Ingest, ingest};
pub use latency::{Latency, latency};
pub use machine::{Ground, Machine};
pub use mixed::{Mixed, Part, mixed};
pub use recovery::{Recovery, fill, recovery};
pub use scale::{Published, Scale, Sizes, scale};
pub use spread::Spread;
pub use throughput::{Throughput, throughput};
pub use timers::{Scale as TimersScale, Timers, timers};

use crate::{
    Options,
    app::SystemClock,
    base::{Clock, Limits, Timestamp},
    store::{self, Directory, StoreKind},
};

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory to measure in.
    #[error("cannot use {}: {source}; name another with --dir", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The engine refused or stopped.
    #[error(transparent)]
    Engine(#[from] crate::engine::Error),
    /// The disk, or what it holds.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The inbox was full while calls came at a given rate.
    #[error(
        "the engine did not keep up with {rate} a second: {calls} calls took {seconds} s; name a lower --rate"
    )]
    Behind {
        /// Calls a second.
        rate: u64,
        /// How many had been made.
        calls: u64,
        /// How long that took.
        seconds: u64,
    },
    /// More than the scenario can tell apart or hold.
    #[error("{what}: at most {most}, and this is {asked}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How much it may be.
        most: u64,
        /// How much was asked for.
        asked: u64,
    },
    /// The work did not come out as it must, so its time says nothing.
    #[error(
        "{done} of {expected} enrollments ended as they must; unless the disk is full, this is a fault of the engine"
    )]
    Incomplete {
        /// How many did.
        done: u64,
        /// How many there were.
        expected: u64,
    },
}

/// Where it is measured.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Below which directory.
    pub dir: &'a Path,
    /// Over which store.
    pub store: StoreKind,
    /// Memory of cached rows in bytes, about.
    pub cache_bytes: usize,
}

impl Place<'_> {
    fn limits(&self) -> Limits {
        Limits { cache_bytes: self.cache_bytes, ..Limits::default() }
    }
}

#[cfg(test)]
impl<'a> Place<'a> {
    fn tested(dir: &'a Path) -> Self {
        Self { dir, store: StoreKind::Sled, cache_bytes: Limits::default().cache_bytes }
    }
}

/// What the name of such a directory begins with; a process id follows.
const SCRATCH: &str = "onward-bench-";

/// A directory of our own, removed when dropped; the next one there removes it where its process was
/// killed.
#[derive(Debug)]
struct Scratch {
    dir: PathBuf,
    /// On the directory, for as long as we are there.
    _lock: File,
    store: StoreKind,
    limits: Limits,
}

impl Scratch {
    fn new(place: Place<'_>) -> Result<Self, Error> {
        remove_abandoned(place.dir);
        let dir = place.dir.join(format!("{SCRATCH}{}", std::process::id()));
        let failed = |source| Error::Directory { path: dir.clone(), source };
        // Fails where it exists: nothing that is not ours is ever removed.
        fs::create_dir(&dir).map_err(failed)?;
        let lock = File::open(&dir).map_err(failed)?;
        lock.try_lock().map_err(|error| failed(error.into()))?;
        Ok(Self { dir, _lock: lock, store: place.store, limits: place.limits() })
    }

    /// Opens a new directory with the store and the cache that are measured.
    fn options(&self) -> Options {
        let limits = self.limits.clone();
        Options { store: Some(self.store), limits, ..Options::default() }
    }

    /// A path below it.
    fn join(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A data directory below it, empty and of the store that is measured.
    fn data(&self, name: &str) -> Result<PathBuf, Error> {
        let dir = self.join(name);
        Directory::open_as(&dir, Some(self.store))?.close()?;
        Ok(dir)
    }
}

/// Removes the directories of benches that were killed: those that nobody has locked.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for path in entries.flatten().map(|it| it.path()) {
        let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
        let is_ours = name.strip_prefix(SCRATCH).is_some_and(|it| it.parse::<u32>().is_ok());
        let is_abandoned =
            || !path.is_symlink() && File::open(&path).is_ok_and(|dir| dir.try_lock().is_ok());
        if is_ours && is_abandoned() {
            tracing::info!(path = %path.display(), "removing what a bench left that was killed");
            // One that is not ours to remove stays.
            let _ = fs::remove_dir_all(&path).is_ok();
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!(path = %self.dir.display(), %error, "cannot remove what was measured in");
        }
    }
}

/// Refuses what is too much.
fn at_most(what: &'static str, most: u64, asked: u64) -> Result<(), Error> {
    if asked > most { Err(Error::TooMany { what, most, asked }) } else { Ok(()) }
}

/// A whole number as a float, for rates; exact below 2^53.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "the standard library has no other conversion, and rates are rounded anyway"
)]
const fn float(count: u64) -> f64 {
    count as f64
}

/// Seconds of the machine's clock.
fn seconds_since(began: Timestamp) -> f64 {
    SystemClock.now().since(began).to_std().as_secs_f64()
}

/// How many a second.
fn rate(count: u64, seconds: f64) -> f64 {
    float(count) / seconds.max(1e-6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_bench_left_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let place = |name: &str| parent.path().join(name);
        for name in ["onward-bench-1", "onward-bench-2", "onward-bench-mine", "elsewhere"] {
            fs::create_dir(place(name)).unwrap();
            fs::write(place(name).join("kept"), "").unwrap();
        }
        std::os::unix::fs::symlink(place("elsewhere"), place("onward-bench-3")).unwrap();
        let running = File::open(place("onward-bench-2")).unwrap();
        running.try_lock().unwrap();
        drop(Scratch::new(Place::tested(parent.path())).unwrap());
        let mut left: Vec<_> = fs::read_dir(parent.path())
            .unwrap()
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["elsewhere", "onward-bench-2", "onward-bench-3", "onward-bench-mine"]);
        assert!(place("elsewhere/kept").exists() && place("onward-bench-2/kept").exists());
    }
}
