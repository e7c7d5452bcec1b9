//! Layer 3, the log on disk and the projections of it: chunks, the fold, pages, timers, the head
//! and checkpoints, over one seam to the key-value store.
//!
//! | Tree | Key | Value |
//! |---|---|---|
//! | log | partition (u16), position (u64) | a chunk, see [`chunk`] |
//! | rows | `p`, lower bound of the page | a page, see [`page`] |
//! | timers | `t`, first due (i64), checkpoint (u64), number (u32) | a piece, see [`timers`] |
//! | meta | `checkpoint`, `format`, `memory` + checkpoint (u64) + part (u32) | see [`checkpoint`] |
//! | meta | `base` + LSN (u64), and its parts | see [`base`] |
//!
//! All integers are big-endian, so that keys sort as numbers.
//!
//! **Architecture invariant:** nothing here knows flows: records are kinds and bytes, rows a trait.
//! Only `sled.rs` names sled and only `redb.rs` redb; which of them is in a directory is known to
//! `directory.rs` alone, and nothing above this layer reads the trees.

pub(crate) mod apart;
pub mod backup;
pub mod base;
pub mod beside;
mod cached;
pub(crate) mod check;
pub mod checkpoint;
pub mod chunk;
mod directory;
mod error;
pub mod export;
pub mod fold;
mod frame;
pub mod head;
pub mod image;
mod kind;
mod lock;
pub mod log;
mod memory;
pub mod mirror;
pub(crate) mod nodes;
pub mod page;
pub mod partitions;
mod poison;
pub(crate) mod prepare;
pub(crate) mod pulse;
#[cfg(feature = "store-redb")]
mod redb;
pub(crate) mod salvage;
pub(crate) mod segments;
mod shelf;
mod sled;
pub(crate) mod snapshot;
mod space;
pub(crate) mod survey;
pub mod table;
pub(crate) mod there;
pub mod timers;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod golden;

pub use self::{
    base::{BaseState, BaseWriter, Start},
    checkpoint::{CheckpointState, DirectoryFormat, MemoryImage},
    chunk::{Chunk, ChunkBuilder, Record, Stamp},
    directory::Directory,
    error::Error,
    export::Export,
    fold::{Effect, Fold, Group},
    head::{Head, HeadState},
    kind::StoreKind,
    lock::Lock,
    log::{LocalLog, Log, RecordReader},
    memory::MemoryStore,
    page::{Key, Page, Row},
    space::{Shortage, free_bytes},
    table::{Found, Table},
    timers::{Timer, Timers},
};

use self::sled::SledStore;
use std::{path::Path, sync::Arc};

/// What every fallible function here returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One of the four ordered maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tree {
    /// The chunks, none of them empty.
    Log,
    /// The pages of rows.
    Rows,
    /// The pieces of timer runs.
    Timers,
    /// The checkpoint and the format of the directory.
    Meta,
}

impl Tree {
    /// Every tree, in one order.
    pub const ALL: [Self; 4] = [Self::Log, Self::Rows, Self::Timers, Self::Meta];
}

/// What became of an insertion that must not overwrite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Inserted {
    /// The value is there now.
    Stored,
    /// Another value was there, and still is.
    Occupied,
}

/// A key with its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Seam 1: ordered maps of bytes with one durability point.
///
/// Keys are not empty, nor are chunks; values hold at most [`VALUE_BYTES_MAX`](crate::base::limits::VALUE_BYTES_MAX)
/// bytes. After an error every further call fails: what is in memory may not be on disk.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Stores `value` unless `key` has one, in one atomic step.
    fn insert_new(&self, tree: Tree, key: &[u8], value: &[u8]) -> Result<Inserted, Error>;
    /// Stores `value`, replacing any other.
    fn put(&self, tree: Tree, key: &[u8], value: &[u8]) -> Result<(), Error>;
    /// The value of `key`.
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;
    /// The entry with the greatest key at or below `key`.
    fn at_or_below(&self, tree: Tree, key: &[u8]) -> Result<Option<Entry>, Error>;
    /// The entry with the smallest key above `key`; the empty key is below all.
    fn above(&self, tree: Tree, key: &[u8]) -> Result<Option<Entry>, Error>;
    /// Removes `key`, present or not.
    fn remove(&self, tree: Tree, key: &[u8]) -> Result<(), Error>;
    /// Returns once every write that returned before is on the device.
    fn sync(&self) -> Result<(), Error>;
    /// Bytes that the store occupies.
    fn size_on_disk(&self) -> Result<u64, Error>;
    /// Bytes that the device still has room for; asked after an error as well.
    fn free_bytes(&self) -> Result<u64, Error> {
        Ok(u64::MAX)
    }
    /// Where it is, for messages.
    fn path(&self) -> &Path {
        Path::new("memory")
    }
    /// Closes it, if nobody else has it any more, and says how that ended. Merely dropping it says
    /// nothing.
    fn close(self: Arc<Self>) -> Result<(), Error> {
        Ok(())
    }
}

/// Checks what every back end relies on.
fn assert_storable(tree: Tree, key: &[u8], value: &[u8]) {
    assert!(!key.is_empty(), "a key is not empty");
    assert!(tree != Tree::Log || !value.is_empty(), "a chunk is not empty");
    assert!(
        value.len() <= crate::base::limits::VALUE_BYTES_MAX,
        "a value stays within the size that sled keeps in its synced file"
    );
}
