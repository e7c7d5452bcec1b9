//! `backup`: what is new of the log, added to a backup. The rest of a directory follows from it.

use std::{path::Path, sync::Arc};

use serde::Serialize;

use super::{Progress, Tell};
use crate::{
    base::{InstanceId, Limits, Lsn, Timestamp},
    engine::{commit::Frozen, recover},
    machine::memory::Memory,
    store::{
        self, Fold, LocalLog, Start,
        backup::{BackedUp, Backup, Original},
    },
};

/// What a check of a backup found: nothing wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Of which directory it is.
    pub instance: InstanceId,
    /// The last record.
    pub lsn: Lsn,
    /// When that happened, in engine time.
    pub time: Timestamp,
    /// How many chunks were read.
    pub chunks: u64,
    /// Bytes of the files of chunks.
    pub bytes: u64,
}

/// Backs up a directory that nobody uses.
pub fn backup(dir: &Path, to: &Path, limits: &Limits, tell: Tell<'_>) -> store::Result<BackedUp> {
    let partition = recover::read(dir, limits)?;
    let start = partition.start()?.fold().clone();
    let mut backup = Backup::create(to, dir)?;
    if backup.needs_image(&start) {
        backup.write_image(&*partition.store, partition.latest())?;
    }
    let renamed = partition.memory().renamed_at();
    append(&mut backup, &Original { log: &*partition.log, start, goal: None, renamed }, tell)
}

/// Backs up what a running engine holds at a checkpoint, while it goes on.
pub fn backup_frozen(frozen: Frozen, to: &Path, tell: Tell<'_>) -> store::Result<BackedUp> {
    let checkpoint = frozen.checkpoint().clone();
    let damaged = |why| recover::damaged("the checkpoint's memory image", why);
    let renamed = Memory::decode(frozen.memory()).map_err(damaged)?.renamed_at();
    let store = Arc::clone(frozen.store());
    let log = LocalLog::new(Arc::clone(&store), checkpoint.fold.partition());
    let empty = Fold::new(checkpoint.fold.instance(), checkpoint.fold.partition());
    let start = Start::find(&*store, &log, empty)?.fold().clone();
    let mut backup = Backup::create(to, store.path())?;
    if backup.needs_image(&start) {
        backup.write_image(&*store, checkpoint.at)?;
        frozen.check()?;
    }
    // Chunks never change: the engine need not wait any longer.
    drop(frozen);
    let goal = Some(checkpoint.fold.position());
    append(&mut backup, &Original { log: &log, start, goal, renamed }, tell)
}

fn append(backup: &mut Backup, original: &Original<'_>, tell: Tell<'_>) -> store::Result<BackedUp> {
    let mut done = 0;
    backup.append(original, &mut |bytes| {
        done += bytes;
        tell(Progress { what: "copying", done, total: 0 });
    })
}

/// Reads a backup and checks all of it.
pub fn check(from: &Path, tell: Tell<'_>) -> store::Result<Checked> {
    let backup = Backup::open(from)?;
    let (mut chunks, mut done) = (0, 0);
    backup.read_image(&mut |_, _, _| Ok(()))?;
    let end = backup.read(&mut |_, bytes| {
        chunks += 1;
        done += crate::base::bytes::length_of(bytes);
        tell(Progress { what: "checking", done, total: backup.bytes() });
        Ok(())
    })?;
    Ok(Checked {
        instance: end.instance(),
        lsn: end.last_lsn(),
        time: end.last_time(),
        chunks,
        bytes: backup.bytes(),
    })
}
