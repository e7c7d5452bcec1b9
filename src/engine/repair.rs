//! `repair`: saves what is whole of a damaged directory in a new one, and says what is not.
//!
//! The log is looked for in the store's file itself, without sled, and written again from its
//! beginning to the first gap. Everything else follows from it, and is made again from it. What the
//! head knows to be acknowledged and the log does not have is lost: the new directory records that,
//! as every accepted loss is recorded.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;

use super::{
    recover::{self, AcceptLoss, Opening},
    runner::Runner,
    verify::verify,
};
use crate::{
    base::{InstanceId, Limits, Lsn, Timestamp, limits::SYNC_BYTES_MAX},
    store::{
        self, DirectoryFormat, Head, HeadState, LocalLog, Log, SledStore, Store, salvage::Salvage,
        there,
    },
};

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repaired {
    /// The identity of both directories.
    pub instance: InstanceId,
    /// The last record that is saved; all before it are, too.
    pub saved: Lsn,
    /// When it happened.
    pub saved_until: Timestamp,
    /// What is lost; none where nothing is known to be.
    pub lost: Option<Lost>,
    /// Whether a head said how far the log was acknowledged. Without one a lost end goes unnoticed.
    pub has_head: bool,
}

/// Records that were acknowledged and are in the new directory no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// The first of them.
    pub first: Lsn,
    /// The last of them.
    pub last: Lsn,
    /// When the last one happened, where that is known.
    pub until: Option<Timestamp>,
    /// Runs of them that are whole in the old directory, but behind others that are gone.
    pub behind: Vec<(Lsn, Lsn)>,
}

/// Why nothing was saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The place for the new directory is taken.
    #[error("{} is there already; name a directory that is not", .path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// Nothing of the log is left.
    #[error("no chunk of a log is whole in {}; restore a backup", .path.display())]
    Nothing {
        /// The damaged directory.
        path: PathBuf,
    },
    /// The log does not begin at its first record.
    #[error(
        "the log in {} was trimmed, and what is left of it cannot be saved alone; restore a backup",
        .path.display()
    )]
    Trimmed {
        /// The damaged directory.
        path: PathBuf,
    },
    /// What was saved does not hold what its log says.
    #[error("the new directory has {count} differences; keep the old one and report this")]
    Differs {
        /// How many.
        count: u64,
    },
    /// The disk.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Saves what is whole of `dir` in `to`, which must not exist. `dir` stays as it is. Tells
/// `progress` what is done and how much of it, in percent.
pub fn repair(
    dir: &Path,
    to: &Path,
    limits: &Limits,
    progress: &mut dyn FnMut(&'static str, u64),
) -> Result<Repaired, Error> {
    if there::is_any(to)? {
        return Err(Error::Exists { path: to.to_owned() });
    }
    let _hold = SledStore::hold(dir)?;
    // A head that is not whole says nothing.
    let head = match Head::open(dir) {
        Ok((_, state)) => state,
        Err(store::Error::Damaged { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let instance = head.as_ref().map(|it| it.instance);
    let salvage = Salvage::search(dir, instance, &mut |done| progress("reading", done))?;
    let nothing = || Error::Nothing { path: dir.to_owned() };
    let salvage = salvage.filter(|it| it.fold().position() > 0).ok_or_else(nothing)?;
    if salvage.is_trimmed() {
        return Err(Error::Trimmed { path: dir.to_owned() });
    }
    let repaired = judge(&salvage, head.as_ref());

    let unfinished = unfinished(to);
    if there::is_any(&unfinished)? {
        fs::remove_dir_all(&unfinished).map_err(store::Error::io("remove", &unfinished))?;
    }
    write(&unfinished, &salvage, &repaired, progress)?;
    if repaired.lost.is_some() {
        progress("recording the loss", 0);
        record_loss(&unfinished, limits)?;
    }
    progress("verifying", 0);
    let mut partition = recover::read(&unfinished, limits)?;
    let found = verify(&mut partition)?;
    drop(partition);
    if found.difference_count > 0 {
        return Err(Error::Differs { count: found.difference_count });
    }
    fs::rename(&unfinished, to).map_err(store::Error::io("rename", &unfinished))?;
    Ok(repaired)
}

/// The new directory, until it is whole.
fn unfinished(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    to.with_file_name(name)
}

fn judge(salvage: &Salvage, head: Option<&HeadState>) -> Repaired {
    let fold = salvage.fold();
    let saved = fold.last_lsn();
    let behind = salvage.unreachable().to_vec();
    let acknowledged = head.map(|it| (it.lsn, it.time)).filter(|(lsn, _)| saved < *lsn);
    let seen = behind.last().map(|(_, last)| *last);
    let last = acknowledged.map(|(lsn, _)| lsn).max(seen);
    let until = acknowledged.filter(|(lsn, _)| Some(*lsn) == last).map(|(_, time)| time);
    let lost = last.map(|last| Lost { first: saved.next(), last, until, behind });
    Repaired {
        instance: fold.instance(),
        saved,
        saved_until: fold.last_time(),
        lost,
        has_head: head.is_some(),
    }
}

/// Writes the log, and a head that says what there should be.
fn write(
    dir: &Path,
    salvage: &Salvage,
    repaired: &Repaired,
    progress: &mut dyn FnMut(&'static str, u64),
) -> Result<(), Error> {
    let fold = salvage.fold();
    let store: Arc<dyn Store> = Arc::new(SledStore::open(dir)?);
    let format = DirectoryFormat { instance: fold.instance(), partitions: 1 };
    format.create_or_check(&*store)?;
    let log = LocalLog::new(Arc::clone(&store), fold.partition());
    let mut unsynced = 0;
    for (position, bytes) in (0..).zip(salvage.chunks()) {
        let bytes = bytes?;
        if unsynced + bytes.len() > SYNC_BYTES_MAX {
            progress("writing", position * 100 / fold.position());
            log.sync()?;
            unsynced = 0;
        }
        unsynced += bytes.len();
        if log.submit(position, &bytes)? == store::Inserted::Occupied {
            return Err(store::Error::Conflict { position }.into());
        }
    }
    log.sync()?;
    let state = HeadState::of(fold, fold.last_time());
    let state = match &repaired.lost {
        Some(lost) => {
            let time = lost.until.unwrap_or(state.time);
            // Whoever recorded something then was alive.
            HeadState { lsn: lost.last, time, alive: state.alive.max(time), ..state }
        }
        None => state,
    };
    let (mut head, _) = Head::open(dir)?;
    Ok(head.write(&state)?)
}

/// Goes on without what is lost, as an owner does who accepts it.
fn record_loss(dir: &Path, limits: &Limits) -> Result<(), Error> {
    let opening = Opening {
        // The directory has its own.
        instance: InstanceId([0; 16]),
        limits: limits.clone(),
        accept_loss: AcceptLoss::Yes,
    };
    // Nothing is handed out.
    let owned = recover::own(dir, &opening)?;
    let runner = Runner::start(owned, Box::new(|delivery| Err(Box::new(delivery))))?;
    runner.finish()?;
    Ok(())
}
