//! The entries in the messages of sled's file, read without sled.
//!
//! A node (kind 8) is: next page and merging child (varints), whether it is merging (u8), how many
//! bytes of the lower bound all keys begin with (u8), lower and upper bound, 0 for a leaf (u8), how
//! many entries (varint), the rest of each key, then the values. A link (kind 10) that sets a value is:
//! 0 (u8), key, value. Bounds, keys and values have their length (varint) in front.
//!
//! A damaged message does not hide those behind it: they are looked for at every byte after it.
//!
//! **Architecture invariant:** any bytes give an answer, in bounded time.

use super::segments::{self, HEADER_BYTES, Header, MESSAGE_ROOM, Message, segment_bytes, varint};
use crate::base::limits::SEGMENT_BYTES;

const NODE: u8 = 8;
const LINK: u8 = 10;
const LEAF: u8 = 0;
const SET: u8 = 0;
/// Bytes of what only looks like messages that are summed up in one segment.
const VAIN_BYTES_MAX: usize = 16 * SEGMENT_BYTES;

/// A value that sled stored under a key, now or earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// The key, in whatever tree.
    pub(crate) key: Vec<u8>,
    /// Its value.
    pub(crate) value: &'a [u8],
    /// Where in the segment the value begins.
    pub(crate) at: usize,
}

/// Tells `take` of every entry in the whole messages of a segment, in their order.
pub(crate) fn each<'a>(bytes: &'a [u8], take: &mut dyn FnMut(Entry<'a>)) {
    let segment = match segments::header(bytes) {
        Header::Used { lsn, .. } => Some(lsn / segment_bytes()),
        Header::Broken => None,
    };
    let (mut at, mut vain) = (HEADER_BYTES, 0);
    while at + MESSAGE_ROOM <= bytes.len() && vain < VAIN_BYTES_MAX {
        let stated = Message::stated(bytes, at, segment);
        let Some(message) = stated.as_ref().filter(|it| it.is_whole(bytes)) else {
            vain += stated.map_or(0, |it| it.body.len());
            at += 1;
            continue;
        };
        at = message.body.end;
        let mut body = Body { rest: bytes.get(message.body.clone()).unwrap_or_default(), end: at };
        // What is neither is no entry: messages of the kind may say other things too.
        let _ = match message.kind {
            NODE => body.node(take).is_some(),
            LINK => body.link(take).is_some(),
            _ => false,
        };
    }
}

/// What is left to read of a message that ends at a place in the segment.
struct Body<'a> {
    rest: &'a [u8],
    end: usize,
}

impl<'a> Body<'a> {
    fn node(&mut self, take: &mut dyn FnMut(Entry<'a>)) -> Option<()> {
        let (_next, _merging_child) = (self.number()?, self.number()?);
        let [_is_merging, prefix] = self.bytes()?;
        let (lower, _upper) = (self.sized()?, self.sized()?);
        let prefix = lower.get(..usize::from(prefix))?;
        let [LEAF] = self.bytes()? else { return None };
        let count = self.number()?;
        let mut keys = Vec::new();
        for _ in 0..count {
            keys.push(self.sized()?);
        }
        for rest in keys {
            take(self.value([prefix, rest].concat())?);
        }
        Some(())
    }

    fn link(&mut self, take: &mut dyn FnMut(Entry<'a>)) -> Option<()> {
        let [SET] = self.bytes()? else { return None };
        let key = self.sized()?.to_vec();
        take(self.value(key)?);
        Some(())
    }

    fn value(&mut self, key: Vec<u8>) -> Option<Entry<'a>> {
        let value = self.sized()?;
        Some(Entry { key, value, at: self.end - self.rest.len() - value.len() })
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        varint(&mut self.rest)
    }

    fn sized(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (first, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(first)
    }
}
