//! sled's file, read without sled: where its messages end, and the chunks in it.
//!
//! The file is segments of [`SEGMENT_BYTES`]. A segment is: CRC-32 (u32), its place in sled's log
//! (i64) and how far that log was stable (i64), both inverted, then messages. A message is: CRC-32
//! (u32), kind (u8), length, number of the segment and page (varints of sled's own), bytes. All
//! integers are little-endian. sled checks the same sums in the same order; what stops it, stops
//! this.
//!
//! **Architecture invariant:** any bytes give an answer; no memory is asked for that a segment does
//! not hold.

use std::{
    fs::File,
    ops::{Range, RangeInclusive},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use memchr::memmem;
use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

use super::{
    Error, cached,
    chunk::{self, MAGIC},
    pulse, there,
};
use crate::base::limits::{CHUNK_BYTES_MAX, SEGMENT_BYTES};

pub(super) const HEADER_BYTES: usize = 20;
/// sled puts no message into the last bytes of a segment.
pub(super) const MESSAGE_ROOM: usize = 32;
const INVERTED: u64 = 0x7FFF_FFFF_FFFF_FFFF;
const CAP: u8 = 2;
/// Kinds of messages that say all of a page: that it is free, or what is in it.
const WHOLE_PAGE: RangeInclusive<u8> = 4..=9;
const KIND_MAX: u8 = 11;
/// Segments that are read ahead.
const EXPECTED: u64 = 4;

/// What the first bytes of a segment say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// A segment in use, or one that was.
    Used {
        /// Its place in sled's log.
        lsn: u64,
        /// Up to where that log was stable when it was begun.
        stable: u64,
    },
    /// Nothing but zeros: a segment that was never used, or that sled cleared, which it does with
    /// all that it finds free as it opens.
    Blank,
    /// Bytes that are no header.
    Broken,
}

/// How the messages of a segment end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The segment is full, or closed.
    Whole,
    /// What follows here is no message.
    Torn(usize),
}

/// The header of the segment that begins with `bytes`.
pub(crate) fn header(bytes: &[u8]) -> Header {
    if bytes.iter().take(HEADER_BYTES).all(|byte| *byte == 0) {
        return Header::Blank;
    }
    let Some((crc, rest)) = bytes.split_first_chunk::<4>() else { return Header::Broken };
    let Some(checked) = rest.first_chunk::<16>() else { return Header::Broken };
    if crc32fast::hash(checked) != !u32_of(*crc) {
        return Header::Broken;
    }
    let (lsn, stable) = checked.split_at(8);
    let place = |bytes: &[u8]| number(bytes) ^ INVERTED;
    let (lsn, stable) = (place(lsn), place(stable));
    let is_place = lsn <= INVERTED && lsn.is_multiple_of(segment_bytes());
    // Before anything is stable, it says -1.
    let stable = if stable <= INVERTED { stable } else { 0 };
    if is_place { Header::Used { lsn, stable } } else { Header::Broken }
}

/// Reads the messages of the segment at `lsn` as far as sled would. Tells `written` of each that
/// replaces all that was said of a page, with its place in sled's log and the number of the page.
pub(crate) fn end(bytes: &[u8], lsn: u64, written: &mut dyn FnMut(u64, u64)) -> End {
    let segment = lsn / segment_bytes();
    let mut at = HEADER_BYTES;
    while at + MESSAGE_ROOM <= SEGMENT_BYTES {
        match Message::stated(bytes, at, Some(segment)).filter(|it| it.is_whole(bytes)) {
            Some(Message { kind: CAP, .. }) => return End::Whole,
            Some(message) => {
                if WHOLE_PAGE.contains(&message.kind) {
                    written(lsn + at64(at), message.page);
                }
                at = message.body.end;
            }
            None => return End::Torn(at),
        }
    }
    End::Whole
}

/// What the first bytes of a message say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    /// The number of the page that it says something of.
    pub(super) page: u64,
    crc: [u8; 4],
    /// Where the rest of its head is, which its checksum covers last.
    head: Range<usize>,
    /// Where its bytes are. The next message begins at their end.
    pub(super) body: Range<usize>,
}

impl Message {
    /// What is said at `at`, if it can be one of this segment, or of any where that is not known.
    pub(super) fn stated(bytes: &[u8], at: usize, segment: Option<u64>) -> Option<Self> {
        let (crc, checked) = bytes.get(at..)?.split_first_chunk::<4>()?;
        let (kind, mut rest) = checked.split_first()?;
        let length = usize::try_from(varint(&mut rest)?).ok()?;
        let number = varint(&mut rest)?;
        let page = varint(&mut rest)?;
        let is_ours = segment.is_none_or(|it| it == number);
        let is_message = (1..=KIND_MAX).contains(kind) && is_ours && length <= rest.len();
        let start = bytes.len() - rest.len();
        is_message.then(|| Self {
            kind: *kind,
            page,
            crc: *crc,
            head: at + 4..start,
            body: start..start + length,
        })
    }

    /// Whether its bytes are what was written.
    pub(super) fn is_whole(&self, bytes: &[u8]) -> bool {
        let mut sum = crc32fast::Hasher::new();
        for part in [&self.body, &self.head] {
            sum.update(bytes.get(part.clone()).unwrap_or_default());
        }
        sum.finalize() == !u32_of(self.crc)
    }
}

/// An integer as sled writes lengths.
pub(super) fn varint(rest: &mut &[u8]) -> Option<u64> {
    let (first, tail) = rest.split_first()?;
    let mut take = |count: usize| -> Option<u64> {
        let (bytes, after) = tail.split_at_checked(count)?;
        *rest = after;
        Some(number(bytes))
    };
    match *first {
        0..=240 => take(0).map(|_| u64::from(*first)),
        241..=248 => Some(240 + 256 * (u64::from(*first) - 241) + take(1)?),
        249 => {
            let [low, high] = take(2)?.to_be_bytes().last_chunk::<2>().copied()?;
            Some(2_288 + 256 * u64::from(high) + u64::from(low))
        }
        250..=255 => take(usize::from(*first) - 247),
    }
}

/// Every whole chunk in `bytes`: where it begins, and its bytes with what they say of themselves.
pub(crate) fn chunks(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8], chunk::Header)> {
    memmem::find_iter(bytes, &MAGIC).filter_map(|at| {
        let rest = bytes.get(at..)?;
        let length = chunk::stated_length(rest).filter(|it| *it <= CHUNK_BYTES_MAX)?;
        let value = rest.get(..length)?;
        Some((at, value, chunk::peek(value).ok()?))
    })
}

/// sled's file, a segment at a time.
#[derive(Debug)]
pub(crate) struct Segments {
    file: File,
    path: PathBuf,
    count: u64,
}

impl Segments {
    /// Opens the file of the store in `dir` for reading.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("db");
        let missing = || Error::Missing { path: dir.to_owned() };
        let file = there::open(&path)?.ok_or_else(missing)?;
        let length = file.metadata().map_err(Error::io("read", &path))?.len();
        Ok(Self { file, path, count: length.div_ceil(segment_bytes()) })
    }

    /// Where the segments begin.
    pub(crate) fn offsets(&self) -> impl Iterator<Item = u64> + use<> {
        (0..self.count).map(|number| number * segment_bytes())
    }

    /// What the segment at `offset` says of itself.
    pub(crate) fn header(&self, offset: u64) -> Result<Header, Error> {
        if self.is_hole(offset) {
            return Ok(Header::Blank);
        }
        self.bytes(offset, HEADER_BYTES).map(|bytes| header(&bytes))
    }

    /// The segment at `offset`, as much of it as there is.
    pub(crate) fn read(&self, offset: u64) -> Result<Vec<u8>, Error> {
        self.bytes(offset, SEGMENT_BYTES)
    }

    /// Whether the segment at `offset` is a hole of the file, which needs no reading. Holes make a
    /// file as long as somebody likes; not every file system knows its own.
    pub(crate) fn is_hole(&self, offset: u64) -> bool {
        match seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => offset + segment_bytes() <= data,
            Err(errno) => errno == Errno::NXIO,
        }
    }

    /// Says that the segments from `offset` on are read next.
    pub(crate) fn expect(&self, offset: u64) {
        cached::read_ahead(&self.file, offset, segment_bytes() * EXPECTED);
    }

    /// Up to `length` bytes.
    pub(crate) fn bytes(&self, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; length];
        let filled = self.fill(offset, &mut bytes)?.len();
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// As many bytes as there are and as `bytes` have room for.
    pub(crate) fn fill<'a>(&self, offset: u64, bytes: &'a mut [u8]) -> Result<&'a [u8], Error> {
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let more = self.file.read_at(rest, offset + at64(filled));
            pulse::beat();
            match more.map_err(Error::io("read", &self.path))? {
                0 => break,
                more => filled += more,
            }
        }
        Ok(bytes.get(..filled).unwrap_or_default())
    }
}

/// A place in a segment as one in the file.
pub(crate) fn at64(at: usize) -> u64 {
    u64::try_from(at).expect("a segment is far below 2^64 bytes")
}

/// The segment size as a place in sled's log.
pub(crate) fn segment_bytes() -> u64 {
    u64::try_from(SEGMENT_BYTES).expect("a segment is far below 2^64 bytes")
}

/// An integer as sled writes it.
pub(super) fn u32_of(bytes: [u8; 4]) -> u32 {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// At most eight bytes, the least first.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
