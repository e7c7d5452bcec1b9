//! `restore`: a new directory from a backup. The chunks go where they were; the rest is replayed.
//!
//! The copy must not be taken for the original, which may go on: a record says so, and what is
//! requested after it leaves under an identity of the copy's own.

use std::path::Path;

use serde::Serialize;
use tracing::trace_span;

use super::{Progress, Tell, check, open_empty, room_for, verify_made};
use crate::{
    base::{InstanceId, Limits, Lsn, bytes::length_of},
    engine::{
        recover::{self, Opening},
        runner::{Outbound, Runner},
        watch::Watch,
    },
    machine::input::Input,
    store::{
        self, Directory, DirectoryFormat, Head, HeadState, Inserted, LocalLog, Log, StoreKind,
        backup::Backup,
        beside::{Beside, Purpose},
        mirror::Paced,
    },
};

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The last record of the backup. The one after it says that this is a copy.
    pub lsn: Lsn,
    /// The directory that the backup is of.
    pub original: InstanceId,
    /// What the copy is called in everything that leaves it from now on.
    pub instance: InstanceId,
}

/// Makes the new directory `to`, with this store, from the backup in `from`.
pub fn restore(
    from: &Path,
    (to, kind): (&Path, StoreKind),
    limits: &Limits,
    tell: Tell<'_>,
) -> store::Result<Restored> {
    let beside = Beside::new(from, to, Purpose::Restore)?;
    beside.check_absent()?;
    let backup = Backup::open(from)?;
    let checked = check(from, tell)?;
    beside.check_room(room_for(backup.bytes()))?;
    let lock = beside.begin(checked.instance)?;
    let made = open_empty(&beside, kind, &lock)?;
    let copy = recover::random_instance();
    fill(&made, &backup, checked.instance, tell)?;
    let opening = Opening::new(checked.instance, limits.clone());
    mark_as_copy(made.clone(), beside.made(), &opening, copy)?;
    made.close()?;
    tell(Progress { what: "verifying", done: 0, total: 0 });
    verify_made(beside.made(), &lock, limits)?;
    beside.name()?;
    Ok(Restored { lsn: checked.lsn, original: checked.instance, instance: copy })
}

fn fill(
    made: &Directory,
    backup: &Backup,
    instance: InstanceId,
    tell: Tell<'_>,
) -> store::Result<()> {
    DirectoryFormat { instance, partitions: 1 }.create_or_check(&**made)?;
    let log = LocalLog::new(made.store(), backup.start()?.partition());
    let mut paced = Paced::new(&**made);
    let mut done = 0;
    backup.read_image(&mut |tree, key, value| paced.put(tree, key, value))?;
    let end = backup.read(&mut |position, bytes| {
        paced.make_room(bytes.len())?;
        let _span = trace_span!("restore_chunk").entered();
        if log.submit(position, bytes)? == Inserted::Occupied {
            return Err(store::Error::Conflict { position });
        }
        done += length_of(bytes);
        tell(Progress { what: "restoring", done, total: backup.bytes() });
        Ok(())
    })?;
    made.sync()?;
    let (mut head, _) = Head::open(made.path())?;
    head.write(&HeadState::of(&end, end.last_time()))
}

/// Replays the log, records that this is a copy, and saves a checkpoint.
fn mark_as_copy(
    made: Directory,
    dir: &Path,
    opening: &Opening,
    instance: InstanceId,
) -> store::Result<()> {
    let watch = Watch::start(dir, opening.limits.stall)?;
    let owned = recover::own_open(made, dir, opening, watch)?;
    let outbound: Outbound = Box::new(|delivery| Err(Box::new(delivery)));
    let mut runner = Runner::start(owned, outbound)?;
    runner.hold_deliveries();
    let answer = runner.decide(runner.partition.renaming_time(), &Input::Restored { instance })?;
    answer.expect("a restoration is never rejected");
    runner.finish()?.close()
}
