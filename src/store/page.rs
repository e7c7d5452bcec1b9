//! Rows as the bytes of a page, and back.
//!
//! A page is stored under `p` and its lower bound, and holds the rows from there up to the lower
//! bound of the next page. Its value is a frame (magic `ONWP`, version, body, CRC-32C) of: LSN (u64),
//! number of rows (varint), and for each row the bytes that its key shares with the key before
//! (varint), the rest of the key (sized), the row (sized).
//!
//! In memory it stays as it is stored: only rows that somebody asked for are made of their bytes, and
//! only those that changed are written anew.

mod entries;

use std::{
    fmt::Debug,
    ops::ControlFlow::{self, Continue},
    sync::{Arc, OnceLock},
};

use super::{Error, Found, frame};
use crate::base::{
    Lsn, Malformed, Timestamp,
    limits::{PAGE_BYTES_MAX, ROW_BYTES_MAX},
};
use entries::{Builder, Entries};

const MAGIC: [u8; 4] = *b"ONWP";
const VERSION: u8 = 1;
const PREFIX: u8 = b'p';
/// Bytes of a page besides its rows, and of a row besides its key and itself, at most.
const PAGE_EXTRA_BYTES: usize = 32;
const ROW_EXTRA_BYTES: usize = 12;
/// About what a page takes in memory besides its rows, and a row in use besides what it holds; that
/// takes about twice what it does in the store.
const PAGE_MEMORY: usize = 320;
const ROW_MEMORY: usize = 224;

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
    /// The same of a row in bytes. It is asked whenever a page is written, so who knows without
    /// reading the whole row says so.
    fn are_expired(bytes: &[u8], now: Timestamp) -> bool {
        Self::decode(bytes).is_ok_and(|row| row.is_expired(now))
    }
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
    /// The rows as they were read or last written.
    stored: Entries,
    /// How the key of each row in use begins: most of a search needs no more, and finds it side by
    /// side.
    heads: Vec<u128>,
    /// The rows in use. Each hides the stored one with its key, and is shared with a copy of the
    /// page until one of them changes it.
    rows: Vec<Arc<Slot<R>>>,
    bytes: usize,
    memory: usize,
    /// Where whoever writes the page leaves what is stored then, since it began to change.
    written: Option<Arc<OnceLock<Entries>>>,
}

/// A row in use.
#[derive(Debug, Clone)]
struct Slot<R> {
    key: Key,
    /// None where the row is gone and there is a stored one to hide, and while `change` runs.
    row: Option<R>,
    /// What it adds to the size of the page.
    bytes: usize,
    /// Whether the stored one is another, or there is none.
    is_changed: bool,
}

/// A row, in use or as it is stored.
enum Piece<'a, R> {
    Stored(&'a [u8]),
    Used(&'a Slot<R>),
}

impl<R> Slot<R> {
    const fn memory(&self) -> usize {
        ROW_MEMORY + 2 * self.bytes
    }
}

impl<R: Row> Page<R> {
    pub(super) fn empty(lower: Key) -> Self {
        Self::of(lower, Lsn::ZERO, Entries::default())
    }

    fn of(lower: Key, lsn: Lsn, stored: Entries) -> Self {
        let (heads, rows) = (Vec::new(), Vec::new());
        let bytes = PAGE_EXTRA_BYTES + stored.row_bytes();
        let memory = PAGE_MEMORY + stored.len_bytes();
        Self { lower, lsn, stored, heads, rows, bytes, memory, written: None }
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

    /// About what it takes in memory.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// Calls `visit` with the rows from `from` on, in order.
    pub(super) fn scan(
        &self,
        from: &[u8],
        mut visit: impl FnMut(&Key, &R) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Malformed> {
        let ended = self.each(|key, piece| {
            let visited = match piece {
                _ if **key < *from => Continue(()),
                Piece::Stored(bytes) => match R::decode(bytes) {
                    Ok(row) => visit(key, &row),
                    Err(why) => return ControlFlow::Break(Err(why)),
                },
                Piece::Used(slot) => slot.row.as_ref().map_or(Continue(()), |row| visit(key, row)),
            };
            visited.map_break(Ok)
        });
        match ended {
            Continue(()) => Ok(Continue(())),
            ControlFlow::Break(ended) => ended.map(ControlFlow::Break),
        }
    }

    /// Whether every row of it can be read.
    pub fn check(&self) -> Result<(), Malformed> {
        self.scan(&[], |_, _| Continue(())).map(drop)
    }

    /// The row at `key`; missing where nobody has asked for it with [`Page::read`] yet.
    pub(super) fn get(&self, key: &[u8]) -> Found<'_, R> {
        if let Ok(at) = self.find(key) {
            let row = self.rows.get(at).and_then(|slot| slot.row.as_ref());
            return row.map_or(Found::Absent, Found::Row);
        }
        if self.stored.find(key).is_some() { Found::Missing } else { Found::Absent }
    }

    /// Whether the row at `key` is not missing.
    pub(super) fn has_at_hand(&self, key: &[u8]) -> bool {
        !matches!(self.get(key), Found::Missing)
    }

    /// Makes the row at `key`, which is missing, of its bytes.
    pub(super) fn read(&mut self, key: &[u8]) -> Result<(), Malformed> {
        let (Err(at), Some(stored)) = (self.find(key), self.stored.find(key)) else {
            return Ok(());
        };
        let row = Some(R::decode(stored)?);
        let bytes = row_bytes(key, stored.len());
        self.put(at, Slot { key: Key::from_slice(key), row, bytes, is_changed: false });
        Ok(())
    }

    /// Changes the row at `key`, which is not missing, as the record at `lsn` says.
    pub(super) fn change(&mut self, lsn: Lsn, key: &[u8], change: impl FnOnce(&mut Option<R>)) {
        assert!(self.lsn <= lsn, "records are applied in order");
        self.lsn = lsn;
        let at = match self.find(key) {
            Ok(at) => at,
            Err(at) => {
                assert!(self.stored.find(key).is_none(), "a row is read before it changes");
                let slot =
                    Slot { key: Key::from_slice(key), row: None, bytes: 0, is_changed: true };
                self.put(at, slot);
                at
            }
        };
        let slot = self.rows.get_mut(at).expect("the row was found there");
        let slot = Arc::make_mut(slot);
        let (bytes, memory) = (slot.bytes, slot.memory());
        change(&mut slot.row);
        slot.bytes = slot.row.as_ref().map_or(0, |row| row_bytes(key, row.weight()));
        slot.is_changed = true;
        self.bytes = self.bytes - bytes + slot.bytes;
        self.memory = self.memory - memory + slot.memory();
        let is_gone = slot.row.is_none();
        if is_gone && self.stored.find(key).is_none() {
            self.heads.remove(at);
            let slot = self.rows.remove(at);
            self.memory -= slot.memory();
        }
    }

    /// Takes the upper half off a page that is too big and has more than one row.
    pub(super) fn split(&mut self) -> Option<Self> {
        if self.bytes <= PAGE_BYTES_MAX {
            return None;
        }
        let lower = self.middle()?;
        let (below, above) = self.stored.split_at(&lower);
        let at = self.rows.partition_point(|slot| *slot.key < *lower);
        let (heads, rows) = (self.heads.split_off(at), self.rows.split_off(at));
        let mut right = Self::of(lower, self.lsn, above);
        right.begin_change();
        (right.heads, right.rows) = (heads, rows);
        right.count();
        self.stored = below;
        self.count();
        Some(right)
    }

    /// The first key of the upper half; none where there is one row only.
    fn middle(&self) -> Option<Key> {
        let half = self.bytes / 2;
        let (mut below, mut is_first) = (0, true);
        let ended = self.each(|key, piece| {
            below += match piece {
                Piece::Stored(bytes) => row_bytes(key, bytes.len()),
                Piece::Used(slot) => slot.bytes,
            };
            let is_upper = half < below && !is_first;
            is_first = false;
            if is_upper { ControlFlow::Break(key.clone()) } else { Continue(()) }
        });
        ended.break_value()
    }

    /// Counts anew after the rows became others.
    fn count(&mut self) {
        let stored = self.stored.row_bytes();
        let rows = || self.rows.iter();
        let hidden = rows().filter_map(|slot| {
            self.stored.find(&slot.key).map(|row| row_bytes(&slot.key, row.len()))
        });
        let hidden: usize = hidden.sum();
        let used: usize = rows().map(|slot| slot.bytes).sum();
        self.bytes = PAGE_EXTRA_BYTES + stored - hidden + used;
        let used: usize = rows().map(|slot| slot.memory()).sum();
        self.memory = PAGE_MEMORY + self.stored.len_bytes() + used;
    }

    /// Drops the rows at or above `upper`: a crash between the two writes of a split leaves them.
    pub(super) fn cut(&mut self, upper: &[u8]) {
        assert!(self.rows.is_empty(), "a page is cut before anybody uses its rows");
        if !self.stored.are_below(upper) {
            self.stored = self.stored.split_at(upper).0;
            self.count();
        }
    }

    /// Lets go of rows that are no other than the stored ones. Whoever calls this knows that the page
    /// has not changed since it was written, if it was.
    pub(super) fn cool(&mut self) {
        let written = self.written.take();
        if let Some(stored) = written.as_ref().and_then(|it| it.get()) {
            *self = Self::of(std::mem::take(&mut self.lower), self.lsn, stored.clone());
            return;
        }
        self.rows.retain(|slot| slot.is_changed);
        self.heads.clear();
        self.heads.extend(self.rows.iter().map(|slot| head_of(&slot.key)));
        self.count();
    }

    /// The page is about to change: what is written of it now will not be what it says.
    pub(super) fn begin_change(&mut self) {
        self.written = Some(Arc::default());
    }

    fn put(&mut self, at: usize, slot: Slot<R>) {
        self.memory += slot.memory();
        self.heads.insert(at, head_of(&slot.key));
        self.rows.insert(at, Arc::new(slot));
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

    /// Calls `visit` with each row in order.
    fn each<B>(
        &self,
        mut visit: impl FnMut(&Key, Piece<'_, R>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut stored = self.stored.cursor();
        for slot in &self.rows {
            while let Some((key, row)) = stored.entry()
                && *key < slot.key
            {
                visit(key, Piece::Stored(row))?;
                stored.advance();
            }
            let hidden = stored.entry().filter(|(key, _)| **key == slot.key).map(|(_, row)| row);
            match hidden {
                Some(row) if !slot.is_changed => visit(&slot.key, Piece::Stored(row))?,
                _ if slot.row.is_some() => visit(&slot.key, Piece::Used(slot))?,
                _ => {}
            }
            if hidden.is_some() {
                stored.advance();
            }
        }
        while let Some((key, row)) = stored.entry() {
            visit(key, Piece::Stored(row))?;
            stored.advance();
        }
        Continue(())
    }

    /// All rows as they are to be stored, without those that are expired at `now`.
    fn entries(&self, now: Timestamp) -> Entries {
        let mut entries = Builder::with_room(self.bytes);
        let mut bytes = Vec::new();
        let _: ControlFlow<()> = self.each(|key, piece| {
            match piece {
                Piece::Stored(row) if R::are_expired(row, now) => {}
                Piece::Stored(row) => entries.push(key, row),
                Piece::Used(Slot { row: Some(row), .. }) if !row.is_expired(now) => {
                    bytes.clear();
                    row.encode(&mut bytes);
                    assert!(
                        key.len() + bytes.len() <= ROW_BYTES_MAX,
                        "a row stays within its limit"
                    );
                    entries.push(key, &bytes);
                }
                Piece::Used(_) => {}
            }
            Continue(())
        });
        entries.finish()
    }

    fn value(&self, entries: &Entries) -> Vec<u8> {
        frame::seal(MAGIC, VERSION, |out| {
            out.reserve_exact(entries.len_bytes() + PAGE_EXTRA_BYTES);
            out.extend_from_slice(&self.lsn.0.to_be_bytes());
            entries.write(out);
        })
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
    let entries = page.entries(now);
    let value = page.value(&entries);
    if let Some(written) = &page.written {
        // A page is taken by one checkpoint, which writes it once.
        let _ = written.set(entries).is_ok();
    }
    (page_key(&page.lower), value)
}

/// Reads the page stored under the lower bound `lower`. Whether each row can be read turns out when
/// it is asked for, or at [`Page::check`].
pub fn decode_page<R: Row>(lower: &[u8], value: &[u8]) -> Result<Page<R>, Malformed> {
    let mut reader = frame::open(MAGIC, VERSION, value)?;
    let lsn = Lsn(reader.u64()?);
    let stored = Entries::read(&mut reader, lower)?;
    reader.end()?;
    Ok(Page::of(Key::from_slice(lower), lsn, stored))
}

/// Says that the page with this lower bound is damaged.
pub(super) fn damaged(lower: &[u8], why: Malformed) -> Error {
    Error::malformed(|| format!("the page of rows from {}", lower.escape_ascii()))(why)
}

#[cfg(test)]
pub(super) mod tests;
