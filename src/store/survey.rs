//! A look at a directory before sled opens it, because sled writes as it opens: it goes on after the
//! first message that it cannot read, and clears what it did not reach.
//!
//! What a power cut leaves is the end of sled's log missing, and that is harmless: everything after
//! the cut was on its way. Three other things look like damage:
//!
//! - **Acknowledged records behind the place where sled would stop.** The directory is refused, and
//!   nothing in it is changed, so that a repair finds them.
//! - **A gap in the middle of sled's log.** sled goes on after it, so that some values may be older
//!   than others. The log checks itself; the projections do not, so they are *doubtful* and made
//!   again from the log. A cut while a segment is written over may leave such a gap too. A segment
//!   that is free is none, although sled clears it: see [`Reading::find_missing`].
//! - **A snapshot that is not whole.** It only saves reading the file, and is set aside.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{
    Error, HeadState,
    segments::{self, End, Header, Segments, at64, segment_bytes},
    snapshot::Snapshot,
};
use crate::base::{Lsn, limits::SEGMENT_BYTES, planted::is_planted};

/// What is wrong at a place of sled's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spot {
    /// Where, from the beginning of the file.
    pub(crate) offset: u64,
    /// What.
    pub(crate) what: &'static str,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Snapshots that are not whole.
    pub(crate) broken_snapshots: Vec<PathBuf>,
    /// Gaps before the end of what sled will read.
    pub(crate) gaps: Vec<Spot>,
    /// The end of what it will read, as a place in the file, where more follows.
    pub(crate) end: Option<u64>,
    /// The last acknowledged record that it would clear, where it has no other copy of it.
    pub(crate) cleared: Option<Lsn>,
}

/// One segment, as the file has it.
struct Segment {
    offset: u64,
    lsn: u64,
    end: End,
}

/// Looks at the file `db` in `dir`, of which `head` says how far it was acknowledged.
pub(crate) fn survey(dir: &Path, head: Option<&HeadState>) -> Result<Survey, Error> {
    let mut found = Survey::default();
    let mut snapshot = Snapshot::default();
    for path in snapshots(dir)? {
        match Snapshot::read(&path) {
            // The one that sorts last is the one that is read.
            Ok(whole) => snapshot = whole,
            Err(Error::Damaged { .. }) => found.broken_snapshots.push(path),
            Err(error) => return Err(error),
        }
    }
    let mut reading = Reading {
        file: Segments::open(dir)?,
        stable: snapshot.from(),
        snapshot,
        ordered: BTreeMap::new(),
        without: Vec::new(),
        written: BTreeMap::new(),
    };
    reading.read_headers(&mut found)?;
    reading.judge(head, &mut found)?;
    Ok(found)
}

struct Reading {
    file: Segments,
    /// What sled begins with; nothing where there is no snapshot.
    snapshot: Snapshot,
    /// The segments that sled will read, in the order in which it does.
    ordered: BTreeMap<u64, Segment>,
    /// Where segments without a header are, and what is there instead.
    without: Vec<(u64, Header)>,
    /// The first place in what sled will read that says all of a page, by page.
    written: BTreeMap<u64, u64>,
    /// How far sled's log was stable at least.
    stable: u64,
}

impl Reading {
    fn read_headers(&mut self, found: &mut Survey) -> Result<(), Error> {
        let mut room = vec![0; SEGMENT_BYTES];
        for offset in self.file.offsets() {
            match self.file.header(offset)? {
                Header::Used { lsn, .. } if lsn < self.snapshot.from() => {}
                Header::Used { lsn, stable } => {
                    self.stable = self.stable.max(stable);
                    let (from, written) = (self.snapshot.stable, &mut self.written);
                    self.file.expect(offset + segment_bytes());
                    let bytes = self.file.fill(offset, &mut room)?;
                    let end = segments::end(bytes, lsn, &mut |at, page| {
                        if from <= at {
                            let first = written.entry(page).or_insert(at);
                            *first = at.min(*first);
                        }
                    });
                    if self.ordered.insert(lsn, Segment { offset, lsn, end }).is_some() {
                        found.gaps.push(Spot { offset, what: "a segment that is there twice" });
                    }
                }
                instead @ Header::Blank => self.without.push((offset, instead)),
                instead @ Header::Broken => {
                    self.without.push((offset, instead));
                    found.gaps.push(Spot { offset, what: "a segment without a whole header" });
                }
            }
        }
        Ok(())
    }

    /// Finds the segments that should be there and are not.
    ///
    /// A blank one is nothing by itself: as it opens, sled clears every segment that no page of its
    /// snapshot is in. So one is missing that such a page is in, unless that page was written
    /// anew, and its segment freed and used again, after the snapshot. And because sled takes the
    /// first place that is free, one is missing that is blank before another that was taken after
    /// the snapshot.
    fn find_missing(&self, stop: u64, found: &mut Survey) -> Result<(), Error> {
        if is_planted!("missing_segments_ignored") {
            return Ok(());
        }
        let is_anew = |page: &u64| self.written.get(page).is_some_and(|at| *at < stop);
        for (named, pages) in &self.snapshot.pages {
            let is_there = matches!(self.file.header(named.offset)?,
                Header::Used { lsn, .. } if lsn == named.lsn);
            if !is_there && !pages.iter().all(is_anew) {
                let what = "a segment that is not the one that was there";
                found.gaps.push(Spot { offset: named.offset, what });
            }
        }
        let taken = self.ordered.range(self.snapshot.first_after()..);
        let last = taken.map(|(_, segment)| segment.offset).max().unwrap_or(0);
        let last = if is_planted!("cleared_segments_missed") { u64::MAX } else { last };
        let blank = self.without.iter().filter(|(_, instead)| *instead == Header::Blank);
        for (offset, _) in blank.filter(|(offset, _)| *offset < last) {
            found.gaps.push(Spot { offset: *offset, what: "a segment that is empty" });
        }
        Ok(())
    }

    /// Finds where sled stops, what it skips before that, and what it would clear.
    fn judge(&self, head: Option<&HeadState>, found: &mut Survey) -> Result<(), Error> {
        let stop = self.stop();
        self.find_missing(stop, found)?;
        for segment in self.ordered.range(..stop / segment_bytes() * segment_bytes()) {
            if let End::Torn(at) = segment.1.end {
                let offset = segment.1.offset + at64(at);
                found.gaps.push(Spot { offset, what: "bytes that are no message" });
            }
        }
        let last = self.ordered.range(..=stop).next_back();
        found.end = last.map(|(_, it)| it.offset + (stop - it.lsn).min(segment_bytes()));
        let Some(head) = head else { return Ok(()) };
        let dropped = self.newest_chunk(head, stop)?;
        if dropped > Lsn::ZERO && !self.has_kept(dropped, head, stop)? {
            found.cleared = Some(dropped);
        }
        Ok(())
    }

    /// The place in sled's log where reading will end: the first tear after what was stable.
    fn stop(&self) -> u64 {
        let mut expected = self.stable / segment_bytes() * segment_bytes();
        let mut stop = 0;
        for (lsn, segment) in self.ordered.range(expected..) {
            if *lsn != expected {
                break;
            }
            expected += segment_bytes();
            stop = expected;
            if let End::Torn(at) = segment.end {
                return lsn + at64(at);
            }
        }
        stop
    }

    /// Where in a segment sled stops reading it.
    fn kept(&self, segment: &Segment, stop: u64) -> u64 {
        let whole = match segment.end {
            End::Whole => segment_bytes(),
            End::Torn(at) => at64(at),
        };
        whole.min(stop.saturating_sub(segment.lsn))
    }

    /// The last acknowledged record in what sled does not read.
    fn newest_chunk(&self, head: &HeadState, stop: u64) -> Result<Lsn, Error> {
        let mut newest = Lsn::ZERO;
        for segment in self.ordered.values() {
            let kept = self.kept(segment, stop);
            if kept < segment_bytes() {
                let bytes = self.file.read(segment.offset)?;
                let rest = bytes.get(usize_of(kept)..).unwrap_or_default();
                newest = newest.max(newest_in(rest, head));
            }
        }
        for (offset, _) in self.without.iter().filter(|(offset, _)| !self.file.is_hole(*offset)) {
            newest = newest.max(newest_in(&self.file.read(*offset)?, head));
        }
        Ok(newest)
    }

    /// Whether what sled keeps has a chunk that reaches `lsn`. The newest segments come first: they
    /// nearly always have it.
    fn has_kept(&self, lsn: Lsn, head: &HeadState, stop: u64) -> Result<bool, Error> {
        for segment in self.ordered.values().rev() {
            let bytes = self.file.read(segment.offset)?;
            let kept = usize_of(self.kept(segment, stop));
            if lsn <= newest_in(bytes.get(..kept).unwrap_or(&bytes), head) {
                return Ok(true);
            }
        }
        let read: Vec<u64> = self.ordered.values().map(|it| it.offset).collect();
        for offset in self.file.offsets().filter(|it| !read.contains(it)) {
            let is_used = matches!(self.file.header(offset)?, Header::Used { .. });
            if is_used && lsn <= newest_in(&self.file.read(offset)?, head) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The last record of a whole chunk in `bytes` that `head` knows as acknowledged.
fn newest_in(bytes: &[u8], head: &HeadState) -> Lsn {
    let known = segments::chunks(bytes).map(|(_, _, header)| header).filter(|it| {
        it.instance == head.instance && it.partition == head.partition && it.count > 0
    });
    let last = known.map(|it| Lsn(it.first_lsn.0 + u64::from(it.count) - 1));
    last.filter(|last| *last <= head.lsn).max().unwrap_or(Lsn::ZERO)
}

/// sled's snapshots, in the order of their names.
pub(super) fn snapshots(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let entry = entry.map_err(Error::io("read", dir))?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn usize_of(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
