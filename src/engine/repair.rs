//! `repair`: saves what is whole of a damaged directory in a new one, and says what is not.
//!
//! The log is looked for in the store's file itself, without sled, and written again from its
//! beginning, or from the base that a trimmed one begins at, to the first gap. Everything else
//! follows from it, and is made again from it. What the head knows to be acknowledged and the log
//! does not have is lost: the new directory records that, as every accepted loss is recorded.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;
use tracing::trace_span;

use super::{
    copies::{open_empty, verify_made},
    recover::{self, AcceptLoss, Opening},
    runner::Runner,
    watch::Watch,
};
use crate::{
    base::{InstanceId, Limits, Lsn, Timestamp},
    machine::row::Row,
    store::{
        self, Directory, DirectoryFormat, Head, HeadState, LocalLog, Lock, Log, StoreKind,
        beside::{Beside, Purpose},
        mirror::{Paced, mirror},
        prepare,
        salvage::{Salvage, Saved},
    },
};

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repaired {
    /// The identity of both directories.
    pub instance: InstanceId,
    /// Where the saved log begins, if not at its first record: the rows are those of all records up
    /// to this one, which are gone themselves.
    pub base: Option<Lsn>,
    /// The last record that is saved; all before it are, too, from where the log begins.
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
    /// Nothing of the log is left.
    #[error("no chunk of a log is whole in {}; restore a backup", .path.display())]
    Nothing {
        /// The damaged directory.
        path: PathBuf,
    },
    /// The beginning of the log is gone, and no base that could be one is whole.
    #[error(
        "nothing of {} can be given back: of records {first} to {last} whole ones are left, but what \
         was before them is gone, and they say nothing without it{}; restore a backup",
        .path.display(), told(.broken_bases)
    )]
    NoBeginning {
        /// The damaged directory.
        path: PathBuf,
        /// The first record that is whole.
        first: Lsn,
        /// The last one.
        last: Lsn,
        /// What is wrong with the bases that are there.
        broken_bases: Vec<store::Error>,
    },
    /// The disk.
    #[error(transparent)]
    Store(#[from] store::Error),
}

fn told(broken: &[store::Error]) -> String {
    broken.iter().map(|error| format!("; {error}")).collect()
}

/// Saves what is whole of `dir` in `to`, which must not exist. `dir` stays as it is. Tells
/// `progress` what is done and how much of it, in percent.
pub fn repair(
    dir: &Path,
    to: &Path,
    limits: &Limits,
    progress: &mut dyn FnMut(&'static str, u64),
) -> Result<Repaired, Error> {
    prepare::check_holds_data(dir)?;
    if let Some(kind @ StoreKind::Redb) = StoreKind::find(dir)? {
        return Err(store::Error::NoSalvage { path: dir.to_owned(), kind: kind.name() }.into());
    }
    let beside = Beside::new(dir, to, Purpose::Repair)?;
    beside.check_absent()?;
    let _hold = Lock::hold(dir)?;
    // A head that is not whole says nothing.
    let head = match Head::open(dir) {
        Ok((_, state)) => state,
        Err(store::Error::Damaged { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let instance = head.as_ref().map(|it| it.instance);
    let mut found = Salvage::search::<Row>(dir, instance, &mut |done| progress("reading", done))?;
    let log = found.log.take().ok_or_else(|| nothing(dir, &mut found))?;
    let repaired = judge(&log, &found, head.as_ref());

    let lock = beside.begin(repaired.instance)?;
    let made = open_empty(&beside, StoreKind::Sled, &lock)?;
    write(&made, &log, &repaired, progress)?;
    if repaired.lost.is_some() || !repaired.has_head {
        progress("recording the loss", 0);
        record_loss(made.clone(), limits)?;
    }
    made.close()?;
    progress("verifying", 0);
    verify_made(beside.made(), &lock, limits)?;
    beside.name()?;
    Ok(repaired)
}

/// Why nothing is saved.
fn nothing(dir: &Path, found: &mut Salvage) -> Error {
    let path = dir.to_owned();
    match (found.unreachable.first(), found.unreachable.last()) {
        (Some((first, _)), Some((_, last))) => {
            let broken_bases = std::mem::take(&mut found.broken_bases);
            Error::NoBeginning { path, first: *first, last: *last, broken_bases }
        }
        _ => Error::Nothing { path },
    }
}

fn judge(log: &Saved, found: &Salvage, head: Option<&HeadState>) -> Repaired {
    let fold = log.fold();
    let saved = fold.last_lsn();
    let behind = found.unreachable.clone();
    let acknowledged = head.map(|it| (it.lsn, it.time)).filter(|(lsn, _)| saved < *lsn);
    let seen = behind.last().map(|(_, last)| *last);
    let last = acknowledged.map(|(lsn, _)| lsn).max(seen);
    let until = acknowledged.filter(|(lsn, _)| Some(*lsn) == last).map(|(_, time)| time);
    let lost = last.map(|last| Lost { first: saved.next(), last, until, behind });
    Repaired {
        instance: fold.instance(),
        base: Some(log.start().at()).filter(|at| Lsn::ZERO < *at),
        saved,
        saved_until: fold.last_time(),
        lost,
        has_head: head.is_some(),
    }
}

/// Writes the log, and a head that says what there should be.
fn write(
    made: &Directory,
    saved: &Saved,
    repaired: &Repaired,
    progress: &mut dyn FnMut(&'static str, u64),
) -> Result<(), Error> {
    let store = made.store();
    mirror(saved.base(), &*store, &mut |_| {})?;
    let mut fold = saved.fold().clone();
    let format = DirectoryFormat { instance: fold.instance(), partitions: 1 };
    format.create_or_check(&*store)?;
    let log = LocalLog::new(Arc::clone(&store), fold.partition());
    let mut paced = Paced::new(&*store);
    for chunk in saved.chunks() {
        let (position, bytes) = chunk?;
        let _span = trace_span!("repair_chunk").entered();
        progress("writing", position * 100 / fold.position().max(1));
        paced.make_room(bytes.len())?;
        if log.submit(position, &bytes)? == store::Inserted::Occupied {
            return Err(store::Error::Conflict { position }.into());
        }
    }
    if log.tail()? == 0 {
        // A log without a chunk would be a new one, whatever base there is.
        recover::append_fence(&mut fold, &log, repaired.saved_until)?;
    }
    log.sync()?;
    let fold = &fold;
    let state = HeadState::of(fold, fold.last_time());
    let state = match &repaired.lost {
        Some(lost) => {
            let time = lost.until.unwrap_or(state.time);
            // Whoever recorded something then was alive.
            HeadState { lsn: lost.last, time, alive: state.alive.max(time), ..state }
        }
        // Nobody knows what is lost; without a head that is what the owner accepts.
        None if !repaired.has_head => return Ok(()),
        None => state,
    };
    let (mut head, _) = Head::open(made.path())?;
    Ok(head.write(&state)?)
}

/// Goes on without what is lost, as an owner does who accepts it.
fn record_loss(made: Directory, limits: &Limits) -> Result<(), Error> {
    // The directory has its own identity.
    let opening = Opening {
        accept_loss: AcceptLoss::Yes,
        ..Opening::new(InstanceId([0; 16]), limits.clone())
    };
    let dir = made.path().to_owned();
    let watch = Watch::start(&dir, limits.stall)?;
    let owned = recover::own_open(made, &dir, &opening, watch)?;
    // Nothing is handed out.
    let runner = Runner::start(owned, Box::new(|delivery| Err(Box::new(delivery))))?;
    Ok(runner.finish()?.close()?)
}
