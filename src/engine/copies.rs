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
    store::{self, Lock, SledStore},
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
fn verify_made(dir: &Path, limits: &Limits) -> store::Result<Lock> {
    let store = Arc::new(SledStore::open_unfinished(dir)?);
    let watch = Watch::start(dir, limits.stall)?;
    let sled = Arc::<SledStore>::clone(&store);
    let mut partition = recover::read_open(sled, dir, limits, &watch)?;
    let found = verify(&mut partition)?;
    drop(partition);
    if let Some(difference) = found.differences.first() {
        let what = format!("{} differences, such as {difference}", found.difference_count);
        return Err(store::Error::Damaged { what, place: dir.display().to_string() });
    }
    close(store)
}

/// Closes a store that nothing else has any more.
fn close(store: Arc<SledStore>) -> store::Result<Lock> {
    Arc::into_inner(store).expect("whoever used the store is gone").close()
}

/// Bytes that so many bytes of entries may take on disk: about twice as many, and what is begun.
fn room_for(bytes: u64) -> u64 {
    let segment = u64::try_from(SEGMENT_BYTES).expect("a segment is small");
    bytes.saturating_mul(5) / 2 + SEGMENTS_EXTRA * segment
}
