//! Copies of a directory: a smaller one in its place, backups, and what is restored from them.

mod backup;
mod compact;
mod restore;

pub use backup::{Checked, backup, backup_frozen, check};
pub use compact::{Compacted, compact};
pub use restore::{Restored, restore};

use std::{path::Path, sync::Arc};

use super::{recover, verify::verify, watch::Watch};
use crate::{
    base::{Limits, limits::SEGMENT_BYTES},
    store::{self, Directory, Lock, StoreKind, Tree, beside::Beside},
};

/// Segments that sled has in use besides those that are full.
const SEGMENTS_EXTRA: u64 = 4;

/// How far a copy is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// What is being done.
    pub what: &'static str,
    /// How much of it is done, in bytes.
    pub done: u64,
    /// Of how much; 0 where that is not known.
    pub total: u64,
}

/// Who is told how far a copy is.
pub type Tell<'a> = &'a mut dyn FnMut(Progress);

/// Opens what has been made, checks that it holds what its log says, and closes it.
pub(super) fn verify_made(dir: &Path, lock: &Arc<Lock>, limits: &Limits) -> store::Result<()> {
    let made = Directory::open_held(dir, None, lock)?;
    let watch = Watch::start(dir, limits.stall)?;
    let mut partition = recover::read_open(&made, dir, limits, &watch)?;
    let found = verify(&mut partition)?;
    drop(partition);
    if let Some(difference) = found.differences.first() {
        let what = format!("{} differences, such as {difference}", found.difference_count);
        return Err(store::Error::Damaged { what, place: dir.display().to_string() });
    }
    made.close()
}

/// The store of a directory that is made anew; what an interrupted command has left is removed.
pub(super) fn open_empty(
    beside: &Beside,
    kind: StoreKind,
    lock: &Arc<Lock>,
) -> store::Result<Directory> {
    let open = || Directory::open_held(beside.made(), Some(kind), lock);
    match open() {
        Ok(store) => {
            for tree in Tree::ALL {
                if store.above(tree, &[])?.is_some() {
                    store.close()?;
                    beside.restart()?;
                    return open();
                }
            }
            Ok(store)
        }
        // What was begun with another store is no use either.
        Err(store::Error::Damaged { .. } | store::Error::OtherStore { .. }) => {
            beside.restart()?;
            open()
        }
        Err(other) => Err(other),
    }
}

/// Bytes that so many bytes of entries may take on disk: about twice as many, and what is begun.
pub(super) fn room_for(bytes: u64) -> u64 {
    let segment = u64::try_from(SEGMENT_BYTES).expect("a segment is small");
    bytes.saturating_mul(5) / 2 + SEGMENTS_EXTRA * segment
}
