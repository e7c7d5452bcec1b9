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
//!   again from the log. A cut while a segment is written over may leave such a gap too.
//! - **A snapshot that is not whole.** It only saves reading the file, and is set aside.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{
    Error, HeadState,
    segments::{self, End, Header, Segments, at64, segment_bytes},
    there,
};
use crate::base::{Lsn, bytes::Malformed};

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
    let mut from = 0;
    for path in snapshots(dir)? {
        match stable_lsn(&path) {
            // The one that sorts last is the one that is read.
            Ok(stable) => from = stable / segment_bytes() * segment_bytes(),
            Err(Error::Damaged { .. }) => found.broken_snapshots.push(path),
            Err(error) => return Err(error),
        }
    }
    let mut reading =
        Reading { file: Segments::open(dir)?, ordered: BTreeMap::new(), stable: from };
    reading.read_headers(from, &mut found)?;
    reading.judge(head, &mut found)?;
    Ok(found)
}

struct Reading {
    file: Segments,
    /// The segments that sled will read, in the order in which it does.
    ordered: BTreeMap<u64, Segment>,
    /// How far sled's log was stable at least.
    stable: u64,
}

impl Reading {
    fn read_headers(&mut self, from: u64, found: &mut Survey) -> Result<(), Error> {
        let mut blank = Vec::new();
        for offset in self.file.offsets() {
            match self.file.header(offset)? {
                Header::Used { lsn, stable } => {
                    found.gaps.append(&mut blank);
                    if from <= lsn {
                        self.stable = self.stable.max(stable);
                        let end = segments::end(&self.file.read(offset)?, lsn);
                        if self.ordered.insert(lsn, Segment { offset, lsn, end }).is_some() {
                            found.gaps.push(Spot { offset, what: "a segment that is there twice" });
                        }
                    }
                }
                Header::Broken if self.file.read(offset)?.iter().all(|byte| *byte == 0) => {
                    blank.push(Spot { offset, what: "a segment that is empty" });
                }
                Header::Broken => {
                    found.gaps.push(Spot { offset, what: "a segment without a whole header" });
                }
            }
        }
        Ok(())
    }

    /// Finds where sled stops, what it skips before that, and what it would clear.
    fn judge(&self, head: Option<&HeadState>, found: &mut Survey) -> Result<(), Error> {
        let stop = self.stop();
        for segment in self.ordered.range(..stop / segment_bytes() * segment_bytes()) {
            if let End::Torn(at) = segment.1.end {
                let offset = segment.1.offset + at64(at);
                found.gaps.push(Spot { offset, what: "bytes that are no message" });
            }
        }
        let last = self.ordered.range(..=stop).next_back();
        found.end = last.map(|(_, it)| it.offset + (stop - it.lsn).min(segment_bytes()));
        let Some(head) = head else { return Ok(()) };
        let dropped = self.newest_chunk(head, stop, found)?;
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
    fn newest_chunk(&self, head: &HeadState, stop: u64, found: &Survey) -> Result<Lsn, Error> {
        let mut newest = Lsn::ZERO;
        for segment in self.ordered.values() {
            let kept = self.kept(segment, stop);
            if kept < segment_bytes() {
                let bytes = self.file.read(segment.offset)?;
                let rest = bytes.get(usize_of(kept)..).unwrap_or_default();
                newest = newest.max(newest_in(rest, head));
            }
        }
        for spot in found.gaps.iter().filter(|it| it.offset.is_multiple_of(segment_bytes())) {
            newest = newest.max(newest_in(&self.file.read(spot.offset)?, head));
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
            let is_used = self.file.header(offset)? != Header::Broken;
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

/// Up to where in sled's log a snapshot covers it.
fn stable_lsn(path: &Path) -> Result<u64, Error> {
    let broken = || Error::malformed(|| path.display().to_string());
    if !there::is_file(path)? {
        return Err(broken()(Malformed("it is no file")));
    }
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let cut = || broken()(Malformed("cut short"));
    let (rest, crc) = bytes.split_last_chunk::<4>().ok_or_else(cut)?;
    let (body, _length) = rest.split_last_chunk::<8>().ok_or_else(cut)?;
    let stable = body.first_chunk::<8>().ok_or_else(cut)?;
    let crc = crc.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    if crc32fast::hash(body) != crc {
        return Err(broken()(Malformed("the checksum does not match")));
    }
    // One more than the place; zero is none.
    let stable = stable.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    Ok(stable.saturating_sub(1))
}

fn usize_of(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
