//! All stored rows in the order of their keys, and what tells two such images apart: how many rows
//! and a digest of them.

use std::ops::ControlFlow;

use xxhash_rust::xxh3::Xxh3Default;

use super::{
    Entry, Error, Page, Row, Store, Tree,
    page::{self, decode_page, page_lower},
};
use crate::base::{
    ContentHash, Timestamp,
    bytes::{length_of, put_varint},
};

/// Goes through the stored pages in order. Nobody may write pages meanwhile.
#[derive(Debug, Default)]
pub struct StoredPages {
    /// The page that comes next; none before the first.
    ahead: Option<Option<Entry>>,
}

/// A page as it is stored, and what it says.
#[derive(Debug)]
pub struct StoredPage<R> {
    /// Where and what, to the byte.
    pub entry: Entry,
    /// Its rows, without those that belong to the next page already.
    pub page: Page<R>,
}

impl StoredPages {
    /// The next page.
    pub fn next<R: Row>(&mut self, store: &dyn Store) -> Result<Option<StoredPage<R>>, Error> {
        let next = match self.ahead.take() {
            Some(ahead) => ahead,
            None => store.above(Tree::Rows, &[])?,
        };
        let Some((key, value)) = next else { return Ok(None) };
        let ahead = store.above(Tree::Rows, &key)?;
        let lower = page_lower(&key).unwrap_or_default();
        let mut page = decode_page(lower, &value).map_err(|why| page::damaged(lower, why))?;
        if let Some(upper) = ahead.as_ref().and_then(|(key, _)| page_lower(key)) {
            page.cut(upper);
        }
        self.ahead = Some(ahead);
        Ok(Some(StoredPage { entry: (key, value), page }))
    }
}

/// The digest of rows that come in the order of their keys: XXH3-128, seed 0, over the length
/// (varint) and the bytes of each key and of each row. Rows that are expired at `time` do not count:
/// whether they are still there is chance.
pub struct Digest {
    time: Timestamp,
    rows: u64,
    hash: Xxh3Default,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digest").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Digest {
    /// Of no rows yet, at `time`.
    pub const fn new(time: Timestamp) -> Self {
        Self { time, rows: 0, hash: Xxh3Default::new(), bytes: Vec::new() }
    }

    /// Adds the next row.
    pub fn add(&mut self, key: &[u8], row: &impl Row) {
        if row.is_expired(self.time) {
            return;
        }
        self.rows += 1;
        self.bytes.clear();
        row.encode(&mut self.bytes);
        for part in [key, &self.bytes] {
            let mut length = Vec::new();
            put_varint(&mut length, length_of(part));
            self.hash.update(&length);
            self.hash.update(part);
        }
    }

    /// Adds the rows of a page.
    pub fn add_page<R: Row>(&mut self, page: &Page<R>) -> Result<(), Error> {
        let added = page.scan(&[], |key, row| {
            self.add(key, row);
            ControlFlow::Continue(())
        });
        added.map(drop).map_err(|why| page::damaged(page.lower(), why))
    }

    /// How many rows, and their digest.
    pub fn finish(&self) -> (u64, ContentHash) {
        (self.rows, ContentHash(self.hash.digest128().to_be_bytes()))
    }
}
