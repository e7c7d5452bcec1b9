//! `compact`: the same entries in a fresh directory, which then takes the old one's place.
//!
//! sled never gives disk space back, so what is left of years is copied. The directory is at all
//! times the old one, whole, or the new one, whole: they are swapped in one step. The old one is
//! locked throughout. A copy that was interrupted is gone over again: what is there already is not
//! written a second time.

use std::{fs, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use serde::Serialize;

use super::{Progress, Tell, close, room_for, verify_made};
use crate::{
    base::Limits,
    store::{
        self, DirectoryFormat, Head, Lock, SledStore,
        beside::{Beside, Purpose},
        mirror::{Survey, mirror, survey},
        partitions, there,
    },
};

/// What the system counts in, whatever the file system does.
const BLOCK_BYTES: u64 = 512;

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Entries of the store that were copied.
    pub entries: u64,
    /// Bytes that the store's file took on disk before.
    pub bytes_before: u64,
    /// Bytes that it takes now.
    pub bytes_after: u64,
}

/// Replaces `dir` by a copy without the space that nothing uses any more.
pub fn compact(dir: &Path, limits: &Limits, tell: Tell<'_>) -> store::Result<Compacted> {
    if !there::is_any(&dir.join("db"))? {
        partitions::check_one(dir)?;
        return Err(store::Error::Missing { path: dir.to_owned() });
    }
    let beside = Beside::new(dir, dir, Purpose::Compact)?;
    let dir = beside.dir();
    // It goes with the old directory.
    let old = SledStore::lock(dir)?;
    let source = SledStore::open_held(dir, &old)?;
    let missing = || store::Error::Missing { path: dir.to_owned() };
    let format = DirectoryFormat::load(&source)?.ok_or_else(missing)?;
    beside.check_strangers()?;
    let lock = beside.begin(format.instance)?;
    beside.check_swap()?;

    let bytes_before = used_bytes(dir)?;
    let whole = survey(&source, &mut |done| {
        tell(Progress { what: "reading", done, total: 0 });
    })?;
    beside.check_room(room_for(whole.bytes))?;
    copy(&beside, &lock, &source, whole, tell)?;
    tell(Progress { what: "verifying", done: 0, total: 0 });
    verify_made(beside.made(), &lock, limits)?;
    source.close()?;
    beside.swap()?;
    beside.remove_replaced(format.instance)?;
    Ok(Compacted { entries: whole.entries, bytes_before, bytes_after: used_bytes(dir)? })
}

/// What the store's file takes. It is as long as whole segments, and has none of those bytes that
/// were never written.
fn used_bytes(dir: &Path) -> store::Result<u64> {
    let path = dir.join("db");
    let found = fs::metadata(&path).map_err(store::Error::io("look at", &path))?;
    Ok(found.blocks() * BLOCK_BYTES)
}

/// Writes the copy, opens it again and compares it with what it was made from.
fn copy(
    beside: &Beside,
    lock: &Arc<Lock>,
    source: &SledStore,
    whole: Survey,
    tell: Tell<'_>,
) -> store::Result<()> {
    let made = beside.made();
    let target = open_or_begin_again(beside, lock)?;
    mirror(source, &target, &mut |done| {
        tell(Progress { what: "copying", done, total: whole.bytes });
    })?;
    Head::copy(beside.dir(), made)?;
    target.close()?;
    let target = Arc::new(SledStore::open_held(made, lock)?);
    let found = survey(&*target, &mut |done| {
        tell(Progress { what: "comparing", done, total: whole.bytes });
    })?;
    close(target)?;
    if found == whole {
        return Ok(());
    }
    let what = format!(
        "{} entries with {} bytes were copied, and {} with {} are there",
        whole.entries, whole.bytes, found.entries, found.bytes
    );
    Err(store::Error::Damaged { what, place: made.display().to_string() })
}

/// What a power cut has left of a copy may be of no use.
fn open_or_begin_again(beside: &Beside, lock: &Arc<Lock>) -> store::Result<SledStore> {
    match SledStore::open_held(beside.made(), lock) {
        Err(damage @ store::Error::Damaged { .. }) => {
            tracing::warn!(%damage, "the copy that was begun is of no use; beginning again");
            beside.restart()?;
            SledStore::open_held(beside.made(), lock)
        }
        other => other,
    }
}
