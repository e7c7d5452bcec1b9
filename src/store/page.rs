//! Rows as the bytes of a page, and back.
//!
//! A page is stored under `p` and its lower bound, and holds the rows from there up to the lower
//! bound of the next page. Its value is a frame (magic `ONWP`, version, body, CRC-32C) of: LSN (u64),
//! number of rows (varint), and for each row the bytes that its key shares with the key before
//! (varint), the rest of the key (sized), the row (sized).

use std::{fmt::Debug, sync::Arc};

use super::frame;
use crate::base::{
    Lsn, Malformed, Timestamp,
    bytes::{length_of, put_sized, put_varint},
    limits::{PAGE_BYTES_MAX, ROW_BYTES_MAX},
};

const MAGIC: [u8; 4] = *b"ONWP";
const VERSION: u8 = 1;
const PREFIX: u8 = b'p';
/// Bytes of a page besides its rows, and of a row besides its key and itself, at most.
const PAGE_EXTRA_BYTES: usize = 32;
const ROW_EXTRA_BYTES: usize = 12;

pub use crate::base::bytes::Key;

/// A row, as the layers above define it.
pub trait Row: Clone + PartialEq + Debug + Send + Sync + 'static {
    /// Appends the row's bytes.
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads them back.
    fn decode(bytes: &[u8]) -> Result<Self, Malformed>;
    /// Whether the row is absent from `now` on, whoever asks. It is dropped when its page is next
    /// written, so who gets a row asks this first.
    fn is_expired(&self, now: Timestamp) -> bool;
    /// How many bytes `encode` appends, or a little more. It is asked after every change, so a row
    /// that knows it without encoding says so.
    fn weight(&self) -> usize {
        let mut out = Vec::new();
        self.encode(&mut out);
        out.len()
    }
}

/// A run of rows, with the LSN up to which all records are applied to them.
#[derive(Debug, Clone)]
pub struct Page<R> {
    lower: Key,
    lsn: Lsn,
    /// How the key of each row begins: most of a search needs no more, and finds it side by side.
    heads: Vec<u128>,
    /// Shared with a copy of the page, until one of them changes the row.
    rows: Vec<Arc<Slot<R>>>,
    bytes: usize,
}

#[derive(Debug, Clone)]
struct Slot<R> {
    key: Key,
    /// `Some`, except while `change` runs.
    row: Option<R>,
    bytes: usize,
}

impl<R> Slot<R> {
    fn entry(&self) -> (&Key, &R) {
        (&self.key, self.row.as_ref().expect("a slot is empty only while its row changes"))
    }
}

impl<R: Row> Page<R> {
    pub(super) fn empty(lower: Key) -> Self {
        let (heads, rows) = (Vec::new(), Vec::new());
        Self { lower, lsn: Lsn::ZERO, heads, rows, bytes: PAGE_EXTRA_BYTES }
    }

    /// The least key that may be in it; empty for the first page.
    pub fn lower(&self) -> &Key {
        &self.lower
    }

    /// Up to which record it is.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Its size when written, or a little more.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The rows from `from` on, in order.
    pub(super) fn rows_from(&self, from: &[u8]) -> impl Iterator<Item = (&Key, &R)> {
        let start = self.rows.partition_point(|slot| *slot.key < *from);
        self.rows.iter().skip(start).map(|slot| slot.entry())
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&R> {
        let at = self.find(key).ok()?;
        self.rows.get(at).map(|slot| slot.entry().1)
    }

    /// Changes the row at `key` as the record at `lsn` says.
    pub(super) fn change(&mut self, lsn: Lsn, key: &[u8], change: impl FnOnce(&mut Option<R>)) {
        assert!(self.lsn <= lsn, "records are applied in order");
        self.lsn = lsn;
        match self.find(key) {
            Ok(at) => {
                let slot = self.rows.get_mut(at).expect("the row was found there");
                let slot = Arc::make_mut(slot);
                change(&mut slot.row);
                self.bytes -= slot.bytes;
                if let Some(row) = &slot.row {
                    slot.bytes = row_bytes(key, row.weight());
                    self.bytes += slot.bytes;
                } else {
                    self.heads.remove(at);
                    self.rows.remove(at);
                }
            }
            Err(at) => {
                let mut row = None;
                change(&mut row);
                if let Some(it) = &row {
                    let bytes = row_bytes(key, it.weight());
                    self.bytes += bytes;
                    self.heads.insert(at, head_of(key));
                    self.rows.insert(at, Arc::new(Slot { key: Key::from_slice(key), row, bytes }));
                }
            }
        }
    }

    /// Takes the upper half off a page that is too big and has more than one row.
    pub(super) fn split(&mut self) -> Option<Self> {
        if self.bytes <= PAGE_BYTES_MAX || self.rows.len() < 2 {
            return None;
        }
        let half = self.bytes / 2;
        let mut below = 0;
        let at = self.rows.iter().position(|slot| {
            below += slot.bytes;
            half < below
        });
        let at = at.unwrap_or(1).clamp(1, self.rows.len() - 1);
        let (heads, rows) = (self.heads.split_off(at), self.rows.split_off(at));
        let lower = rows.first().expect("a row is left for the upper half").key.clone();
        let moved: usize = rows.iter().map(|slot| slot.bytes).sum();
        self.bytes -= moved;
        Some(Self { lower, lsn: self.lsn, heads, rows, bytes: PAGE_EXTRA_BYTES + moved })
    }

    /// Drops the rows at or above `upper`: a crash between the two writes of a split leaves them.
    pub(super) fn cut(&mut self, upper: &[u8]) {
        let keep = self.rows.partition_point(|slot| *slot.key < *upper);
        self.heads.truncate(keep);
        let dropped: usize = self.rows.drain(keep..).map(|slot| slot.bytes).sum();
        self.bytes -= dropped;
    }

    fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let head = head_of(key);
        let from = self.heads.partition_point(|it| *it < head);
        let alike = self.heads.iter().skip(from).take_while(|it| **it == head).count();
        let alike = self.rows.get(from..from + alike).expect("each row has its head");
        match alike.binary_search_by(|slot| (*slot.key).cmp(key)) {
            Ok(at) => Ok(from + at),
            Err(at) => Err(from + at),
        }
    }
}

/// The first sixteen bytes, or the key and zeros: keys compare as their heads do, unless those are
/// equal.
pub(super) fn head_of(key: &[u8]) -> u128 {
    if let Some(head) = key.first_chunk() {
        return u128::from_be_bytes(*head);
    }
    let mut head = [0; 16];
    head.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    u128::from_be_bytes(head)
}

fn row_bytes(key: &[u8], row: usize) -> usize {
    ROW_EXTRA_BYTES + key.len() + row
}

/// The key under which the page with this lower bound is stored.
pub(super) fn page_key(lower: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + lower.len());
    key.push(PREFIX);
    key.extend_from_slice(lower);
    key
}

/// The lower bound in the key of a stored page.
pub(crate) fn page_lower(key: &[u8]) -> Option<&[u8]> {
    key.split_first().and_then(|(prefix, lower)| (*prefix == PREFIX).then_some(lower))
}

/// A page as it is stored, key and value, without the rows that are expired at `now`.
///
/// `now` is the time of the checkpoint, not of the writing: a replay from there still asks for rows
/// that expired in between.
pub fn encode_page<R: Row>(page: &Page<R>, now: Timestamp) -> (Vec<u8>, Vec<u8>) {
    let live = || page.rows.iter().map(|slot| slot.entry()).filter(|(_, row)| !row.is_expired(now));
    let value = frame::seal(MAGIC, VERSION, |out| {
        out.extend_from_slice(&page.lsn.0.to_be_bytes());
        put_varint(out, u64::try_from(live().count()).expect("a page has few rows"));
        let mut previous: &[u8] = &[];
        let mut bytes = Vec::new();
        for (key, row) in live() {
            let shared = previous.iter().zip(key).take_while(|(a, b)| a == b).count();
            let (prefix, rest) = key.split_at_checked(shared).expect("a prefix is no longer");
            put_varint(out, length_of(prefix));
            put_sized(out, rest);
            bytes.clear();
            row.encode(&mut bytes);
            assert!(key.len() + bytes.len() <= ROW_BYTES_MAX, "a row stays within its limit");
            put_sized(out, &bytes);
            previous = key;
        }
    });
    (page_key(&page.lower), value)
}

/// Reads the page stored under the lower bound `lower`.
pub fn decode_page<R: Row>(lower: &[u8], value: &[u8]) -> Result<Page<R>, Malformed> {
    let mut reader = frame::open(MAGIC, VERSION, value)?;
    let mut page = Page::empty(Key::from_slice(lower));
    page.lsn = Lsn(reader.u64()?);
    let count = reader.varint()?;
    for _ in 0..count {
        let previous = page.rows.last().map(|slot| &*slot.key);
        let (prefix, _) = previous
            .unwrap_or_default()
            .split_at_checked(reader.length()?)
            .ok_or(Malformed("a key that shares more than there is"))?;
        let mut key = Key::from_slice(prefix);
        key.extend_from_slice(reader.sized()?);
        if !previous.map_or(*page.lower <= *key, |previous| *previous < *key) {
            return Err(Malformed("rows out of order"));
        }
        let row = reader.sized()?;
        let bytes = row_bytes(&key, row.len());
        page.bytes += bytes;
        page.heads.push(head_of(&key));
        page.rows.push(Arc::new(Slot { key, row: Some(R::decode(row)?), bytes }));
    }
    reader.end()?;
    Ok(page)
}

#[cfg(test)]
pub(super) mod tests;
