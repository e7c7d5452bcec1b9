//! What the disk has of so many enrollments through the welcome series: encoded, written, kept, and
//! what is left of it after trimming and compaction.

use std::{path::Path, sync::Arc};

use serde::Serialize;

use super::{
    Error, Place, Scratch,
    clock::Shifted,
    float, floor, load,
    machine::{self, Ground},
    throughput, timers,
};
use crate::{
    Onward, Options,
    base::{Limits, Lsn, Span, bytes::length_of},
    delivery::Channels,
    engine::{ClockCheck, copies, trim::trim},
    store::{Directory, Tree},
};

/// How old everything is when it is trimmed, and how long records are kept.
const AGE: Span = Span::days(100);
const KEEP: Span = Span::days(30);

/// The figures of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Disk {
    /// `disk`.
    pub scenario: &'static str,
    /// What it ran on.
    #[serde(flatten)]
    pub ground: Ground,
    /// Enrollments that went through, five steps each; their customers are in the figures, too.
    pub enrollments: u64,
    /// Records of all this.
    pub records: u64,
    /// Bytes of the log before its chunks were compressed, headers included, per record.
    pub plain_bytes_per_record: f64,
    /// Bytes of the log, chunk headers included, per record.
    pub log_bytes_per_record: f64,
    /// The same per step transition.
    pub log_bytes_per_transition: f64,
    /// Bytes of the pages of rows per step transition.
    pub row_bytes_per_transition: f64,
    /// The same of events without a payload that each enrol into a wait: event, enrollment, wait.
    pub bare_log_bytes_per_record: f64,
    /// Bytes of the pieces of timers while all of them wait, per step transition of the series.
    pub timer_bytes_per_transition: f64,
    /// Bytes of keys and values given to the store, each time they were, per step transition: of the
    /// log.
    pub given_log_bytes_per_transition: f64,
    /// The same of the pages of rows.
    pub given_row_bytes_per_transition: f64,
    /// The same of the pieces of timers.
    pub given_timer_bytes_per_transition: f64,
    /// Bytes given to the store, as a multiple of log, rows and timers.
    pub given_ratio: f64,
    /// Bytes that were written to the file system, as a multiple of log, rows and timers.
    pub written_ratio: Option<f64>,
    /// Bytes of the directory with its full history, as a multiple of the same.
    pub kept_ratio: f64,
    /// Bytes of the directory.
    pub kept_bytes: u64,
    /// After all records were trimmed.
    pub trimmed_bytes: u64,
    /// After that was compacted.
    pub compacted_bytes: u64,
    /// That as a multiple of the rows.
    pub compacted_ratio: f64,
    /// The most memory that the process had.
    pub rss_mib: Option<f64>,
}

/// Runs the scenario in a directory of its own at `place`, which is removed afterwards.
pub fn disk(place: Place<'_>, enrollments: u64) -> Result<Disk, Error> {
    let scratch = Scratch::new(place)?;
    let ground = Ground::of(&scratch);
    let data = scratch.join("data");
    let before = machine::written_bytes();
    let ran = throughput::run(&scratch, enrollments, 1)?;
    let written = machine::written_bytes().zip(before).map(|(after, before)| after - before);
    let bare = floor::Bare::count_in(&data, Lsn::ZERO)?;
    let kept_bytes = machine::bytes_of(&data);
    let rows = bytes_in(&data, Tree::Rows)?;
    let waits = waits(&scratch, enrollments)?;
    // Each enrollment waited once.
    let encoded = float(bare.chunk_bytes + rows + waits.timer_bytes);
    let given = |tree| ran.tally.given_bytes(tree);
    let given_bytes: u64 = Tree::ALL.into_iter().map(given).sum();
    let each = |bytes: u64| float(bytes) / float(enrollments * throughput::STEPS);
    age(&data)?;
    trim(&data, &Limits::default(), KEEP, None)?;
    let trimmed_bytes = machine::bytes_of(&data);
    copies::compact(&data, &Limits::default(), &mut |_| {}).map_err(Error::Store)?;
    let compacted_bytes = machine::bytes_of(&data);
    Ok(Disk {
        scenario: "disk",
        ground,
        enrollments,
        records: bare.count(),
        plain_bytes_per_record: float(bare.plain_bytes) / float(bare.count().max(1)),
        log_bytes_per_record: float(bare.chunk_bytes) / float(bare.count().max(1)),
        log_bytes_per_transition: each(bare.chunk_bytes),
        row_bytes_per_transition: each(rows),
        timer_bytes_per_transition: each(waits.timer_bytes),
        bare_log_bytes_per_record: waits.log_bytes_per_record,
        given_log_bytes_per_transition: each(given(Tree::Log)),
        given_row_bytes_per_transition: each(given(Tree::Rows)),
        given_timer_bytes_per_transition: each(given(Tree::Timers)),
        given_ratio: float(given_bytes) / encoded,
        written_ratio: written.map(|written| float(written) / encoded),
        kept_ratio: float(kept_bytes) / encoded,
        kept_bytes,
        trimmed_bytes,
        compacted_bytes,
        compacted_ratio: float(compacted_bytes) / float(rows.max(1)),
        rss_mib: machine::peak_rss_mib(),
    })
}

/// What is kept of enrollments that wait.
struct Waits {
    timer_bytes: u64,
    log_bytes_per_record: f64,
}

/// Lets so many customers wait in a directory of their own.
fn waits(scratch: &Scratch, enrollments: u64) -> Result<Waits, Error> {
    let data = scratch.data("waits")?;
    let onward = Onward::open_with(&data, &Channels::all(load::Nothing), &scratch.options())?;
    onward.publish(&[("bench", timers::DEFINITIONS)])?.wait()?;
    let before = load::latest_of(onward.engine())?;
    let event = |n: u64| load::event("wait", n, load::anywhere(n), 0);
    load::closed_loop((0..enrollments).map(|n| onward.track(event(n))))?;
    load::expect(onward.engine(), enrollments, |flow| flow.active)?;
    onward.close()?;
    let bare = floor::Bare::count_in(&data, before)?;
    let timer_bytes = bytes_in(&data, Tree::Timers)?;
    let log_bytes_per_record = float(bare.chunk_bytes) / float(bare.count().max(1));
    Ok(Waits { timer_bytes, log_bytes_per_record })
}

/// Lets time pass, and something happen after it.
fn age(data: &Path) -> Result<(), Error> {
    let clock = Arc::new(Shifted::default());
    clock.forward(AGE.micros());
    let options = Options { clock, clock_check: ClockCheck::Trust, ..Options::default() };
    let onward = Onward::open_with(data, &Channels::all(load::Nothing), &options)?;
    onward.track(load::event("visit", 0, 0, 0))?.wait()?;
    Ok(onward.close()?)
}

/// Bytes of all keys and values in a tree of a directory that nobody has open.
pub(super) fn bytes_in(data: &Path, tree: Tree) -> Result<u64, Error> {
    let store = Directory::open_existing(data)?;
    let (mut bytes, mut key) = (0, Vec::new());
    while let Some((next, value)) = store.above(tree, &key)? {
        bytes += length_of(&next) + length_of(&value);
        key = next;
    }
    store.close()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_somewhere_and_nothing_is_left_behind() {
        let parent = tempfile::tempdir().unwrap();
        let figures = disk(Place::tested(parent.path()), 20).unwrap();
        // The customers, the definitions, and eleven records for each enrollment.
        assert!(figures.records > 20 * 12);
        assert!(figures.log_bytes_per_transition > 0.0 && figures.row_bytes_per_transition > 0.0);
        // At least when it is due, whose it is and where the row lies.
        assert!(figures.timer_bytes_per_transition > 2.0, "{figures:?}");
        // Nothing is in a tree that was not given to it.
        assert!(figures.given_log_bytes_per_transition >= figures.log_bytes_per_transition);
        assert!(figures.given_row_bytes_per_transition >= figures.row_bytes_per_transition);
        assert!(figures.bare_log_bytes_per_record < figures.log_bytes_per_record);
        assert!(figures.kept_bytes > 0 && figures.compacted_bytes > 0);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
