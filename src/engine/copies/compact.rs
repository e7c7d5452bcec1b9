//! `compact`: the same entries in a fresh directory, which then takes the old one's place.
//!
//! sled never gives disk space back, so what is left of years is copied. The directory is at all
//! times the old one, whole, or the new one, whole: they are swapped in one step. The old one is
//! locked throughout. A copy that was interrupted is gone over again: what is there already is not
//! written a second time.

use std::{path::Path, sync::Arc};

use serde::Serialize;

use super::{Progress, Tell, room_for, verify_made};
use crate::{
    base::Limits,
    store::{
        self, Directory, DirectoryFormat, Head, Lock, StoreKind,
        beside::{Beside, Purpose, used_bytes},
        mirror::{Survey, mirror, survey},
    },
};

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
    let path = Directory::check_has_store(dir)?.path(dir);
    let beside = Beside::new(dir, dir, Purpose::Compact)?;
    let dir = beside.dir();
    // It goes with the old directory.
    let old = Lock::take(dir)?;
    let source = Directory::open_held(dir, None, &old)?;
    let missing = || store::Error::Missing { path: dir.to_owned() };
    let format = DirectoryFormat::load(&*source)?.ok_or_else(missing)?;
    beside.check_strangers()?;
    let lock = beside.begin(format.instance)?;
    beside.check_swap()?;

    let bytes_before = used_bytes(&path)?;
    let whole = survey(&*source, &mut |done| {
        tell(Progress { what: "reading", done, total: 0 });
    })?;
    beside.check_room(room_for(whole.bytes))?;
    copy(&beside, &lock, &source, whole, tell)?;
    tell(Progress { what: "verifying", done: 0, total: 0 });
    verify_made(beside.made(), &lock, limits)?;
    source.close()?;
    beside.swap()?;
    beside.remove_replaced(format.instance)?;
    Ok(Compacted { entries: whole.entries, bytes_before, bytes_after: used_bytes(&path)? })
}

/// Writes the copy, opens it again and compares it with what it was made from.
fn copy(
    beside: &Beside,
    lock: &Arc<Lock>,
    source: &Directory,
    whole: Survey,
    tell: Tell<'_>,
) -> store::Result<()> {
    let made = beside.made();
    let target = open_or_begin_again(beside, source.kind(), lock)?;
    mirror(&**source, &*target, &mut |done| {
        tell(Progress { what: "copying", done, total: whole.bytes });
    })?;
    Head::copy(beside.dir(), made)?;
    target.close()?;
    let target = Directory::open_held(made, None, lock)?;
    let found = survey(&*target, &mut |done| {
        tell(Progress { what: "comparing", done, total: whole.bytes });
    })?;
    target.close()?;
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
fn open_or_begin_again(
    beside: &Beside,
    kind: StoreKind,
    lock: &Arc<Lock>,
) -> store::Result<Directory> {
    let open = || Directory::open_held(beside.made(), Some(kind), lock);
    match open() {
        Err(damage @ store::Error::Damaged { .. }) => {
            tracing::warn!(%damage, "the copy that was begun is of no use; beginning again");
            beside.restart()?;
            open()
        }
        other => other,
    }
}
