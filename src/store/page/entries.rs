//! The rows of a page as they are stored: keys without what they share with the key before, and
//! bytes that nobody has made a row of yet. See [`page`](super) for the format.

use std::{
    ops::ControlFlow::{self, Break, Continue},
    sync::Arc,
};

use super::{Key, row_bytes};
use crate::base::{
    Malformed, Reader,
    bytes::{length_of, put_sized, put_varint},
};

/// Keys in order, each with the bytes of its row; shared by whoever has the page.
#[derive(Debug, Clone, Default)]
pub(super) struct Entries {
    bytes: Arc<[u8]>,
    count: usize,
    /// What they add to the size of a page.
    row_bytes: usize,
}

impl Entries {
    /// Reads as many as come first, none of them below `lower`.
    pub(super) fn read(reader: &mut Reader<'_>, lower: &[u8]) -> Result<Self, Malformed> {
        let count = reader.varint()?;
        let before = *reader;
        let mut row_bytes = 0;
        let mut key = Key::new();
        for n in 0..count {
            let shared = reader.length()?;
            let rest = reader.sized()?;
            check_order(n == 0, &key, (shared, rest), lower)?;
            key.truncate(shared);
            key.extend_from_slice(rest);
            row_bytes += super::row_bytes(&key, reader.sized()?.len());
        }
        let length = before.remaining() - reader.remaining();
        let (bytes, _) = before.rest().split_at_checked(length).ok_or(Malformed("cut short"))?;
        let count = usize::try_from(count).map_err(|_| Malformed("more rows than bytes"))?;
        Ok(Self { bytes: bytes.into(), count, row_bytes })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::try_from(self.count).expect("a page has few rows"));
        out.extend_from_slice(&self.bytes);
    }

    /// How many bytes of memory they take.
    pub(super) fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// What they add to the size of a page, or a little more.
    pub(super) const fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// The bytes of the row at `key`. No key is put together for that: as long as an entry shares
    /// more with the one before it than that one does with `key`, it is below `key` as well.
    pub(super) fn find(&self, key: &[u8]) -> Option<&[u8]> {
        let mut reader = Reader::new(&self.bytes);
        let mut alike = 0;
        while let Some((shared, rest, row)) = next(&mut reader) {
            if shared < alike {
                return None;
            }
            if alike < shared {
                continue;
            }
            let (_, wanted) = key.split_at_checked(alike)?;
            let more = shared_bytes(rest, wanted);
            match (rest.get(more), wanted.get(more)) {
                (None, None) => return Some(row),
                (Some(_), None) => return None,
                (Some(found), Some(wanted)) if wanted < found => return None,
                (None | Some(_), Some(_)) => alike += more,
            }
        }
        None
    }

    /// Calls `visit` with each, in order.
    pub(super) fn each<B>(
        &self,
        mut visit: impl FnMut(&Key, &[u8]) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut cursor = self.cursor();
        while let Some((key, row)) = cursor.entry() {
            visit(key, row)?;
            cursor.advance();
        }
        Continue(())
    }

    /// A cursor at the first one.
    pub(super) fn cursor(&self) -> Cursor<'_> {
        let mut cursor = Cursor { rest: Reader::new(&self.bytes), key: Key::new(), row: None };
        cursor.advance();
        cursor
    }

    /// Those below `at`, and the others.
    pub(super) fn split_at(&self, at: &[u8]) -> (Self, Self) {
        let (mut below, mut above) = (Builder::default(), Builder::default());
        let _: ControlFlow<()> = self.each(|key, row| {
            let side = if **key < *at { &mut below } else { &mut above };
            side.push(key, row);
            Continue(())
        });
        (below.finish(), above.finish())
    }

    /// Whether all are below `upper`.
    pub(super) fn are_below(&self, upper: &[u8]) -> bool {
        let is_above = self.each(|key, _| if **key < *upper { Continue(()) } else { Break(()) });
        is_above == Continue(())
    }
}

/// Where one is among [`Entries`].
pub(super) struct Cursor<'a> {
    rest: Reader<'a>,
    key: Key,
    row: Option<&'a [u8]>,
}

impl<'a> Cursor<'a> {
    /// What is there; none at the end.
    pub(super) fn entry(&self) -> Option<(&Key, &'a [u8])> {
        self.row.map(|row| (&self.key, row))
    }

    pub(super) fn advance(&mut self) {
        self.row = next(&mut self.rest).map(|(shared, rest, row)| {
            self.key.truncate(shared);
            self.key.extend_from_slice(rest);
            row
        });
    }
}

/// Puts entries together, in order.
#[derive(Debug, Default)]
pub(super) struct Builder {
    bytes: Vec<u8>,
    previous: Key,
    count: usize,
    row_bytes: usize,
}

impl Builder {
    /// One that so many bytes fit into without moving.
    pub(super) fn with_room(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ..Self::default() }
    }

    pub(super) fn push(&mut self, key: &[u8], row: &[u8]) {
        let shared = shared_bytes(&self.previous, key);
        let (prefix, rest) = key.split_at_checked(shared).expect("a prefix is no longer");
        put_varint(&mut self.bytes, length_of(prefix));
        put_sized(&mut self.bytes, rest);
        put_sized(&mut self.bytes, row);
        self.previous.truncate(shared);
        self.previous.extend_from_slice(rest);
        self.count += 1;
        self.row_bytes += row_bytes(key, row.len());
    }

    pub(super) fn finish(self) -> Entries {
        Entries { bytes: self.bytes.into(), count: self.count, row_bytes: self.row_bytes }
    }
}

/// What an entry shares with the one before, the rest of its key, its row.
fn next<'a>(reader: &mut Reader<'a>) -> Option<(usize, &'a [u8], &'a [u8])> {
    if reader.remaining() == 0 {
        return None;
    }
    let mut entry = || Ok::<_, Malformed>((reader.length()?, reader.sized()?, reader.sized()?));
    Some(entry().expect("entries are read once before they are kept"))
}

/// Keys ascend, and each says all that it shares with the one before.
fn check_order(
    is_first: bool,
    previous: &[u8],
    (shared, rest): (usize, &[u8]),
    lower: &[u8],
) -> Result<(), Malformed> {
    let (_, replaced) = previous
        .split_at_checked(shared)
        .ok_or(Malformed("a key that shares more than there is"))?;
    let is_in_order = if is_first {
        lower <= rest
    } else {
        match (replaced.first(), rest.first()) {
            (Some(before), Some(after)) => before < after,
            (None, Some(_)) => true,
            (_, None) => false,
        }
    };
    is_in_order.then_some(()).ok_or(Malformed("rows out of order"))
}

fn shared_bytes(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
