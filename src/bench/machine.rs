//! What a figure was measured on and what the process used, as Linux tells it.

use std::{fs, path::Path, thread};

use serde::Serialize;

use super::Scratch;
use crate::base::limits::SYNC_BYTES_MAX;

/// In which Linux tells a process's time, whatever it counts in itself.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a figure was measured on.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// How many threads run at once.
    pub cores: usize,
    /// The file system of the data directory; on one in memory a sync costs nothing.
    pub filesystem: String,
}

impl Machine {
    /// This machine, as seen from the directory.
    pub fn of(dir: &Path) -> Self {
        Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: thread::available_parallelism().map_or(1, usize::from),
            filesystem: filesystem(dir).unwrap_or_else(|| "unknown".to_owned()),
        }
    }
}

/// What every figure stands on.
#[derive(Debug, Clone, Serialize)]
pub struct Ground {
    /// What it ran on.
    pub machine: Machine,
    /// What had happened when a record counted as done.
    pub durability: &'static str,
    /// The store below.
    pub store: &'static str,
    /// Memory of cached rows in bytes, about.
    pub cache_bytes: usize,
    /// Bytes at which a chunk is closed.
    pub chunk_bytes: usize,
    /// Bytes between two syncs, at most.
    pub sync_bytes_max: usize,
}

impl Ground {
    /// As it is for a data directory in `scratch` that is opened as usual.
    pub(super) fn of(scratch: &Scratch) -> Self {
        Self {
            machine: Machine::of(&scratch.dir),
            durability: "fdatasync after every commit",
            store: scratch.store.name(),
            cache_bytes: scratch.limits.cache_bytes,
            chunk_bytes: scratch.limits.chunk_bytes,
            sync_bytes_max: SYNC_BYTES_MAX,
        }
    }
}

/// The processor time of the calling thread, in seconds; none where the system does not say.
pub(super) fn thread_cpu_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(super::float(nanos) / 1e9)
}

/// The processor time of the whole process, threads that have ended included, in seconds; none where
/// the system does not say.
pub(super) fn process_cpu_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The name, which may hold anything, ends with the last parenthesis; then come one letter, ten
    // other numbers, and the time in the program and in the kernel.
    let (_, fields) = text.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks: u64 = ticks.sum::<Result<_, _>>().ok()?;
    Some(super::float(ticks) / TICKS_PER_SECOND)
}

/// The most memory that the process ever had, in MiB; none where the system does not say.
pub(super) fn peak_rss_mib() -> Option<f64> {
    let kib: u64 = field("/proc/self/status", "VmHWM")?.split_whitespace().next()?.parse().ok()?;
    Some(super::float(kib) / 1024.0)
}

/// What the process has in memory now, in MiB; none where the system does not say.
pub(super) fn rss_mib() -> Option<f64> {
    let kib: u64 = field("/proc/self/status", "VmRSS")?.split_whitespace().next()?.parse().ok()?;
    Some(super::float(kib) / 1024.0)
}

/// Bytes that the process has had written to its file systems; none where the system does not say.
pub(super) fn written_bytes() -> Option<u64> {
    field("/proc/self/io", "write_bytes")?.parse().ok()
}

/// Bytes of the files in a directory.
pub(super) fn bytes_of(dir: &Path) -> u64 {
    let sizes = fs::read_dir(dir).into_iter().flatten().flatten();
    sizes.filter_map(|entry| entry.metadata().ok()).map(|it| it.len()).sum()
}

/// The text after the colon of the first line that begins with `name`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// The type of the file system that is mounted deepest above `dir`.
fn filesystem(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = Path::new(before.split(' ').nth(4)?);
        let depth = dir.starts_with(point).then(|| point.components().count())?;
        Some((depth, after.split(' ').next()?.to_owned()))
    });
    // Of two at one point the later one covers the other.
    mounts.max_by_key(|(depth, _)| *depth).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_thread_that_has_ended_counts() {
        let before = process_cpu_seconds().unwrap();
        let busy = thread::spawn(|| {
            let begun = thread_cpu_seconds().unwrap();
            while thread_cpu_seconds().unwrap() - begun < 0.05 {}
        });
        busy.join().unwrap();
        assert!(process_cpu_seconds().unwrap() - before >= 0.03);
    }
}
