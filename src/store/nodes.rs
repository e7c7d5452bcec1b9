//! The entries in the messages of sled's file, read without sled.
//!
//! A node (kind 8) is: next page and merging child (varints), whether it is merging (u8), how many
//! bytes of the lower bound all keys begin with (u8), lower and upper bound, 0 for a leaf (u8), how
//! many entries (varint), the rest of each key, then the values. A link (kind 10) that sets a value is:
//! 0 (u8), the rest of the key, value; what the key begins with is in the latest node of the page.
//! Bounds, keys and values have their length (varint) in front.
//!
//! A damaged message does not hide those behind it: they are looked for at every byte after it.
//!
//! **Architecture invariant:** any bytes give an answer, in bounded time.

use std::collections::BTreeMap;

use super::segments::{self, HEADER_BYTES, Header, MESSAGE_ROOM, Message, segment_bytes, varint};
use crate::base::{bytes::length_of, limits::SEGMENT_BYTES};

const NODE: u8 = 8;
const LINK: u8 = 10;
const LEAF: u8 = 0;
const SET: u8 = 0;
/// What begins no key that is wanted.
const UNWANTED: u8 = 0;
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

/// What the keys of each page begin with, from a place in sled's log on.
#[derive(Debug, Default)]
pub(crate) struct Prefixes(BTreeMap<(u64, u64), Vec<u8>>);

impl Prefixes {
    /// Takes in what the nodes of a segment say, as far as keys that begin with `wanted` need it.
    pub(crate) fn add(&mut self, bytes: &[u8], wanted: &[u8]) {
        each_message(bytes, &mut |message, lsn, mut body| {
            if message.kind == NODE
                && let Some(prefix) = body.prefix()
            {
                let is_wanted = prefix.starts_with(wanted) || wanted.starts_with(prefix);
                let prefix = if is_wanted { prefix.to_vec() } else { vec![UNWANTED] };
                self.0.insert((message.page, lsn), prefix);
            }
        });
    }

    fn at(&self, page: u64, lsn: u64) -> &[u8] {
        let latest = self.0.range((page, 0)..(page, lsn)).next_back();
        latest.map(|(_, prefix)| &**prefix).unwrap_or_default()
    }
}

/// Tells `take` of every entry in the whole messages of a segment, in their order.
pub(crate) fn each<'a>(bytes: &'a [u8], prefixes: &Prefixes, take: &mut dyn FnMut(Entry<'a>)) {
    each_message(bytes, &mut |message, lsn, mut body| {
        // What is neither is no entry: messages of the kind may say other things too.
        let _ = match message.kind {
            NODE => body.node(take).is_some(),
            LINK => body.link(prefixes.at(message.page, lsn), take).is_some(),
            _ => false,
        };
    });
}

/// Tells `take` of every whole message in a segment and of where it is in sled's log.
fn each_message<'a>(bytes: &'a [u8], take: &mut dyn FnMut(&Message, u64, Body<'a>)) {
    let begin = match segments::header(bytes) {
        Header::Used { lsn, .. } => Some(lsn),
        Header::Blank | Header::Broken => None,
    };
    let segment = begin.map(|it| it / segment_bytes());
    let (mut at, mut vain) = (HEADER_BYTES, 0);
    while at + MESSAGE_ROOM <= bytes.len() && vain < VAIN_BYTES_MAX {
        let stated = Message::stated(bytes, at, segment);
        let Some(message) = stated.as_ref().filter(|it| it.is_whole(bytes)) else {
            vain += stated.map_or(0, |it| it.body.len());
            at += 1;
            continue;
        };
        let lsn = begin.unwrap_or(0) + length_of(bytes.get(..at).unwrap_or_default());
        at = message.body.end;
        let rest = bytes.get(message.body.clone()).unwrap_or_default();
        take(message, lsn, Body { rest, end: at });
    }
}

/// What is left to read of a message that ends at a place in the segment.
struct Body<'a> {
    rest: &'a [u8],
    end: usize,
}

impl<'a> Body<'a> {
    /// The beginning of a node, and what all its keys begin with.
    fn prefix(&mut self) -> Option<&'a [u8]> {
        let (_next, _merging_child) = (self.number()?, self.number()?);
        let [_is_merging, prefix] = self.bytes()?;
        let (lower, _upper) = (self.sized()?, self.sized()?);
        lower.get(..usize::from(prefix))
    }

    fn node(&mut self, take: &mut dyn FnMut(Entry<'a>)) -> Option<()> {
        let prefix = self.prefix()?;
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

    fn link(&mut self, prefix: &[u8], take: &mut dyn FnMut(Entry<'a>)) -> Option<()> {
        let [SET] = self.bytes()? else { return None };
        let key = [prefix, self.sized()?].concat();
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
