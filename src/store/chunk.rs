//! Records as the bytes of a chunk, and back.
//!
//! | Bytes | Header field |
//! |---|---|
//! | 4 | magic `ONWD` |
//! | 1 | format version, 1 |
//! | 1 | kind: 1 fence, 2 data |
//! | 1 | flags: bit 0 `continues`, bit 1 `compressed`; the others are 0 |
//! | 16, 2 | instance, partition |
//! | 8, 8 | epoch and nonce of the owner |
//! | 8 | `n`, dense over the effective chunks |
//! | 8 | LSN of the first record; of a fence, the LSN that follows it |
//! | 8 | position of the fence that rules this chunk; of a fence, of the one before it |
//! | 4 | number of records |
//! | 8 | base time |
//! | 4 | bytes of the records, as stored |
//! | 4 | CRC-32C of the effective chunk before this one |
//! | 4 | CRC-32C of everything else in this chunk |
//!
//! A record is kind (u16), version (u8), microseconds since the base time (varint), length
//! (varint), body. Of a compressed chunk the records are stored as one block (`packed`), where that
//! is smaller; every checksum is of what is stored.

mod packed;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::base::{
    InstanceId, Lsn, Malformed, PartitionId, Reader, Timestamp,
    bytes::{put_sized, put_varint},
    limits::{CHUNK_BYTES_MAX, RECORD_BYTES_MAX},
    planted::is_planted,
};

pub(super) const MAGIC: [u8; 4] = *b"ONWD";
const VERSION: u8 = 1;
const FENCE: u8 = 1;
const DATA: u8 = 2;
const CONTINUES: u8 = 1;
const COMPRESSED: u8 = 2;
const CRC_BYTES: usize = 4;
/// Bytes of the header up to its own checksum.
const CHECKED_BYTES: usize = 85;
const HEADER_BYTES: usize = CHECKED_BYTES + CRC_BYTES;
/// Where the header has the bytes of the records.
const LENGTH_AT: usize = CHECKED_BYTES - 8;
/// Bytes of a record besides its body: kind, version and two varints, at least and at most.
const RECORD_EXTRA_MIN: usize = 5;
const RECORD_EXTRA_MAX: usize = 23;

const _: () = assert!(HEADER_BYTES + RECORD_EXTRA_MAX + RECORD_BYTES_MAX <= CHUNK_BYTES_MAX);

/// A fact of the log, as read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its place.
    pub lsn: Lsn,
    /// When it happened, in engine time.
    pub time: Timestamp,
    /// What happened.
    pub kind: u16,
    /// Which form the body has.
    pub version: u8,
    /// The rest, as the layers above wrote it.
    pub body: Vec<u8>,
}

/// What a chunk is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkKind {
    /// The start of a new owner.
    Fence,
    /// Records.
    Data,
}

/// What a chunk says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What it is for.
    pub kind: ChunkKind,
    /// The group at its end goes on in the next chunk.
    pub continues: bool,
    /// The records are stored as a block.
    pub compressed: bool,
    /// The directory it was written for.
    pub instance: InstanceId,
    /// The partition whose log this is.
    pub partition: PartitionId,
    /// Which owner wrote it; each fence raises it.
    pub epoch: u64,
    /// Which of two owners that claimed one epoch.
    pub nonce: u64,
    /// Its number among the effective chunks.
    pub n: u64,
    /// The LSN of its first record; of a fence, the one that follows it.
    pub first_lsn: Lsn,
    /// The position of the fence that rules it; of a fence, of the fence before.
    pub fence: u64,
    /// How many records it holds.
    pub count: u32,
    /// The time that its records count from.
    pub base_time: Timestamp,
    /// Bytes of the records, as stored.
    pub length: u32,
    /// The checksum of the effective chunk before it.
    pub previous_crc: u32,
    /// Its own checksum.
    pub crc: u32,
}

impl Header {
    /// Whether the record at `lsn` is in this chunk.
    pub fn covers(&self, lsn: Lsn) -> bool {
        self.first_lsn <= lsn && lsn < self.first_lsn.plus(u64::from(self.count))
    }
}

/// A chunk, as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// What it says of itself.
    pub header: Header,
    /// Its records, in order.
    pub records: Vec<Record>,
}

/// Where a chunk stands in the log: what its owner adds to the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The directory.
    pub instance: InstanceId,
    /// The partition.
    pub partition: PartitionId,
    /// The owner's epoch.
    pub epoch: u64,
    /// The owner's nonce.
    pub nonce: u64,
    /// The number among the effective chunks.
    pub n: u64,
    /// The LSN of the first record; of a fence, the one that follows it.
    pub first_lsn: Lsn,
    /// The position of the fence that rules it; of a fence, of the fence before.
    pub fence: u64,
    /// The checksum of the effective chunk before it.
    pub previous_crc: u32,
    /// The group at the end goes on in the next chunk.
    pub continues: bool,
}

/// Collects the records of one chunk.
#[derive(Debug)]
pub struct ChunkBuilder {
    base_time: Timestamp,
    last_time: Timestamp,
    count: u32,
    /// Room for the header, then the records.
    bytes: Vec<u8>,
}

impl ChunkBuilder {
    /// An empty chunk whose records happen at `base_time` or later.
    pub fn new(base_time: Timestamp) -> Self {
        Self { base_time, last_time: base_time, count: 0, bytes: room_for_one() }
    }

    /// Adds a record. Times never go back, and the caller asked [`ChunkBuilder::has_room`].
    pub fn push(&mut self, time: Timestamp, kind: u16, version: u8, body: &[u8]) {
        assert!(self.last_time <= time, "times never go back within a chunk");
        assert!(body.len() <= RECORD_BYTES_MAX, "a record stays within its limit");
        assert!(self.has_room(body.len()), "a chunk stays within its limit");
        self.last_time = time;
        self.count += 1;
        self.bytes.extend_from_slice(&kind.to_be_bytes());
        self.bytes.push(version);
        put_varint(&mut self.bytes, time.since(self.base_time).micros().unsigned_abs());
        put_sized(&mut self.bytes, body);
    }

    /// Whether a record with a body of so many bytes fits.
    pub fn has_room(&self, body_bytes: usize) -> bool {
        self.bytes.len() + RECORD_EXTRA_MAX + body_bytes <= CHUNK_BYTES_MAX
    }

    /// Bytes of the chunk so far, header included, before compression.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Records so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The time of the last record, or the base time.
    pub fn last_time(&self) -> Timestamp {
        self.last_time
    }

    /// The bytes of the chunk.
    pub fn finish(self, stamp: &Stamp) -> Vec<u8> {
        assert!(self.count > 0, "a data chunk holds a record");
        let flags = if stamp.continues { CONTINUES } else { 0 };
        let head = Head { kind: DATA, flags, base_time: self.base_time, count: self.count };
        let (_, records) = self.bytes.split_at(HEADER_BYTES);
        let mut packed = vec![0; HEADER_BYTES];
        if packed::pack(records, &mut packed) {
            return sealed(&Head { flags: flags | COMPRESSED, ..head }, stamp, packed);
        }
        sealed(&head, stamp, self.bytes)
    }
}

/// A header to be filled in, with room for what most chunks hold.
fn room_for_one() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(CHUNK_BYTES_MAX);
    bytes.resize(HEADER_BYTES, 0);
    bytes
}

/// The bytes of a fence.
pub fn fence(stamp: &Stamp, time: Timestamp) -> Vec<u8> {
    assert!(!stamp.continues, "a fence is no part of a group");
    let head = Head { kind: FENCE, flags: 0, base_time: time, count: 0 };
    sealed(&head, stamp, vec![0; HEADER_BYTES])
}

/// What a header has besides its stamp.
struct Head {
    kind: u8,
    flags: u8,
    base_time: Timestamp,
    count: u32,
}

/// Fills in the header that `bytes` has room for.
fn sealed(head: &Head, stamp: &Stamp, mut bytes: Vec<u8>) -> Vec<u8> {
    let (room, records) = bytes
        .split_first_chunk_mut::<HEADER_BYTES>()
        .expect("the room for the header is there from the start");
    let length = u32::try_from(records.len()).expect("a chunk is far below 4 GiB");
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&[VERSION, head.kind, head.flags]);
    header.extend_from_slice(&stamp.instance.0);
    header.extend_from_slice(&stamp.partition.0.to_be_bytes());
    for number in [stamp.epoch, stamp.nonce, stamp.n, stamp.first_lsn.0, stamp.fence] {
        header.extend_from_slice(&number.to_be_bytes());
    }
    header.extend_from_slice(&head.count.to_be_bytes());
    header.extend_from_slice(&head.base_time.micros().to_be_bytes());
    header.extend_from_slice(&length.to_be_bytes());
    header.extend_from_slice(&stamp.previous_crc.to_be_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header), records);
    header.extend_from_slice(&crc.to_be_bytes());
    room.copy_from_slice(&header);
    bytes
}

/// Reads a chunk, checksum first.
pub fn decode(bytes: &[u8]) -> Result<Chunk, Malformed> {
    let (header, stored) = open(bytes)?;
    let plain: Cow<'_, [u8]> =
        if header.compressed { packed::unpack(stored)?.into() } else { stored.into() };
    let mut reader = Reader::new(&plain);
    let mut records = Vec::with_capacity(checked_count(&header, reader)?);
    let mut lsn = header.first_lsn;
    let mut time = header.base_time;
    for _ in 0..header.count {
        let record = read_record(&mut reader, lsn, header.base_time)?;
        if record.time < time {
            return Err(Malformed("times that go back within a chunk"));
        }
        time = record.time;
        lsn = lsn.next();
        records.push(record);
    }
    reader.end()?;
    Ok(Chunk { header, records })
}

/// Reads the header only, after checking the checksum of the whole.
pub fn peek(bytes: &[u8]) -> Result<Header, Malformed> {
    open(bytes).map(|(header, _)| header)
}

/// A chunk's own checksum, without checking it.
pub(super) fn stored_crc(bytes: &[u8]) -> u32 {
    let (header, _) =
        bytes.split_first_chunk::<HEADER_BYTES>().expect("a chunk of ours has a whole header");
    let crc = header.last_chunk::<CRC_BYTES>().expect("the header ends in its checksum");
    u32::from_be_bytes(*crc)
}

/// How long the chunk is that `bytes` begin with, as it says itself, without checking anything.
pub(super) fn stated_length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(LENGTH_AT..)?.first_chunk()?;
    usize::try_from(u32::from_be_bytes(*length)).ok()?.checked_add(HEADER_BYTES)
}

/// The header and the records as stored, after checking the checksum of the whole.
fn open(bytes: &[u8]) -> Result<(Header, &[u8]), Malformed> {
    let (checked, rest) = bytes.split_at_checked(CHECKED_BYTES).ok_or(Malformed("cut short"))?;
    let mut reader = Reader::new(checked);
    if reader.array()? != MAGIC {
        return Err(Malformed("no chunk: the first bytes are others"));
    }
    let (crc, records) = rest.split_first_chunk::<CRC_BYTES>().ok_or(Malformed("cut short"))?;
    let crc = u32::from_be_bytes(*crc);
    let is_whole = crc32c::crc32c_append(crc32c::crc32c(checked), records) == crc;
    if !is_whole && !is_planted!("chunk_crc_unchecked") {
        return Err(Malformed("the checksum does not match"));
    }
    let header = read_header(&mut reader, crc)?;
    if usize::try_from(header.length) != Ok(records.len()) {
        return Err(Malformed("a length that is not that of the records"));
    }
    Ok((header, records))
}

fn read_header(reader: &mut Reader<'_>, crc: u32) -> Result<Header, Malformed> {
    if reader.u8()? != VERSION {
        return Err(Malformed("a chunk version that this program does not know"));
    }
    let kind = match reader.u8()? {
        FENCE => ChunkKind::Fence,
        DATA => ChunkKind::Data,
        _ => return Err(Malformed("a kind of chunk that this program does not know")),
    };
    let flags = reader.u8()?;
    if flags & !(CONTINUES | COMPRESSED) != 0 {
        return Err(Malformed("a flag that this program does not know"));
    }
    let header = Header {
        kind,
        continues: flags & CONTINUES != 0,
        compressed: flags & COMPRESSED != 0,
        instance: InstanceId(reader.array()?),
        partition: PartitionId(reader.u16()?),
        epoch: reader.u64()?,
        nonce: reader.u64()?,
        n: reader.u64()?,
        first_lsn: Lsn(reader.u64()?),
        fence: reader.u64()?,
        count: reader.u32()?,
        base_time: timestamp(reader.i64()?)?,
        length: reader.u32()?,
        previous_crc: reader.u32()?,
        crc,
    };
    if header.first_lsn.0.checked_add(u64::from(header.count)).is_none() {
        return Err(Malformed("records beyond the last LSN"));
    }
    Ok(header)
}

/// The number of records as memory to ask for: no more than the bytes could hold.
fn checked_count(header: &Header, records: Reader<'_>) -> Result<usize, Malformed> {
    let count = usize::try_from(header.count).map_err(|_| Malformed("too many records"))?;
    if count > records.remaining() / RECORD_EXTRA_MIN {
        return Err(Malformed("more records than the bytes can hold"));
    }
    let whole = match header.kind {
        ChunkKind::Fence => count == 0 && !header.continues && !header.compressed,
        ChunkKind::Data => count > 0,
    };
    if whole { Ok(count) } else { Err(Malformed("a fence with records, or data without")) }
}

fn read_record(reader: &mut Reader<'_>, lsn: Lsn, base: Timestamp) -> Result<Record, Malformed> {
    let kind = reader.u16()?;
    let version = reader.u8()?;
    let delta = i64::try_from(reader.varint()?).map_err(|_| Malformed("a time after 9999"))?;
    let micros = base.micros().checked_add(delta).ok_or(Malformed("a time after 9999"))?;
    let body = reader.sized()?.to_vec();
    Ok(Record { lsn, time: timestamp(micros)?, kind, version, body })
}

fn timestamp(micros: i64) -> Result<Timestamp, Malformed> {
    Timestamp::from_micros(micros).map_err(|_| Malformed("a time outside 1970 to 9999"))
}

#[cfg(test)]
mod tests;
