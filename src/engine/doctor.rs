//! `doctor`: says what is wrong with a directory, without changing anything in it.
//!
//! sled's file is read without sled. What only a store can tell is asked of a copy, because stores
//! write as they open.

mod copy;

use std::{fs, path::Path};

use copy::Copy;
use serde::Serialize;

use super::{recover, verify::verify};
use crate::{
    base::{Limits, Lsn, Timestamp},
    machine::row::Row,
    store::{
        self, Directory, DirectoryFormat, HeadState, Lock, StoreKind,
        beside::{Leftover, leftovers},
        check::{self, Part},
        checkpoint, head, prepare,
        salvage::Salvage,
        survey::survey,
        there,
    },
};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Where.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What can be done.
    pub advice: &'static str,
}

/// What a directory is like.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Examined {
    /// The last record of the log, as far as it is whole.
    pub records: Lsn,
    /// The last record that the head knows as acknowledged.
    pub acknowledged: Option<Lsn>,
    /// When that one happened.
    pub acknowledged_at: Option<Timestamp>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

const REPAIR: &str = "restore a backup, or save what is whole with `onward repair`";
const RESTORE: &str = "restore a backup";
const RESTART: &str = "nothing: the next start of the engine mends it";
const REPLAY: &str = "nothing: the next start of the engine makes all else again from the log";
const RESTORE_HEAD: &str = "restore the file, save the log with `onward repair`, or go on without \
     knowing how far it was acknowledged: start with --accept-loss";

impl Examined {
    fn note(&mut self, place: impl Into<String>, what: impl Into<String>, advice: &'static str) {
        self.findings.push(Finding { place: place.into(), what: what.into(), advice });
    }

    /// Advises nothing that can only be done to sled's file.
    fn forget_repair(&mut self) {
        for finding in self.findings.iter_mut().filter(|it| it.advice == REPAIR) {
            finding.advice = RESTORE;
        }
    }

    fn note_error(&mut self, error: &store::Error) {
        // The advice of the error itself is part of its text.
        self.note("opening", error.to_string(), REPAIR);
    }

    /// The same for the directory itself, of which a disk that cannot be read says nothing.
    fn note_damage(&mut self, error: store::Error) -> store::Result<()> {
        if matches!(error, store::Error::Io { .. }) {
            return Err(error);
        }
        self.note_error(&error);
        Ok(())
    }
}

/// Examines `dir`; the copy of it goes to a new directory in `scratch` and is removed again. Tells
/// `progress` what is looked at.
///
/// # Errors
/// There is no such directory, it is in use, or the copy cannot be made. What is wrong with it is
/// no error.
pub fn examine(
    dir: &Path,
    limits: &Limits,
    scratch: &Path,
    progress: &mut dyn FnMut(&'static str),
) -> store::Result<Examined> {
    prepare::check_holds_data(dir)?;
    let _hold = Lock::hold(dir)?;
    let mut found = Examined::default();
    progress("files");
    look_at_files(dir, &mut found)?;
    let head = look_at_head(dir, &mut found)?;
    // The other store checks its file itself, as it opens the copy.
    let has_sled = there::is_file(&StoreKind::Sled.path(dir))?;
    if has_sled {
        progress("store");
        look_at_store(dir, head.as_ref(), &mut found)?;
    }
    progress("copy");
    let copy = Copy::of(dir, scratch)?;
    progress("opening the copy");
    match open_copy(copy.path(), limits, &mut found) {
        Opened::Whole => {}
        Opened::Empty if head.is_none() && (!has_sled || has_no_chunk(dir)?) => {
            found.findings.clear();
            found.note(
                dir.display().to_string(),
                "it is being made and holds no data yet",
                RESTART,
            );
        }
        Opened::Empty | Opened::Broken if has_sled => {
            progress("log");
            look_at_log(dir, head.as_ref(), &mut found)?;
        }
        Opened::Empty | Opened::Broken => {}
    }
    if StoreKind::find(dir)? == Some(StoreKind::Redb) {
        found.forget_repair();
    }
    Ok(found)
}

fn look_at_files(dir: &Path, found: &mut Examined) -> store::Result<()> {
    let files: &[_] = match StoreKind::find(dir)? {
        Some(StoreKind::Redb) => &[(head::NAME, RESTORE_HEAD)],
        _ => &[("db", REPAIR), (prepare::SETTINGS, RESTART), (head::NAME, RESTORE_HEAD)],
    };
    for (name, advice) in files {
        let path = dir.join(name);
        match there::look(&path)? {
            None => found.note(path.display().to_string(), "it is not there", advice),
            Some(it) if it.is_file() => {}
            Some(_) => found.note(path.display().to_string(), "it is no file", REPAIR),
        }
    }
    let settings = dir.join(prepare::SETTINGS);
    if there::is_file(&settings)? && !prepare::are_settings_whole(&settings)? {
        found.note(settings.display().to_string(), "the checksum does not match", RESTART);
    }
    for Leftover { path, what, advice } in leftovers(dir)? {
        found.note(path.display().to_string(), what, advice);
    }
    for entry in fs::read_dir(dir).map_err(store::Error::io("read", dir))? {
        let path = entry.map_err(store::Error::io("read", dir))?.path();
        if path.extension().is_some_and(|it| it == "generating") {
            let what = "a snapshot that was never finished";
            found.note(path.display().to_string(), what, RESTART);
        }
    }
    Ok(())
}

/// Both slots; the newer whole one is what the head says.
fn look_at_head(dir: &Path, found: &mut Examined) -> store::Result<Option<HeadState>> {
    let path = dir.join(head::NAME);
    if !there::is_file(&path)? {
        return Ok(None);
    }
    let bytes = match there::read(&path, head::BYTES_MAX) {
        Ok(None) => return Ok(None),
        Err(error) => return found.note_damage(error).map(|()| None),
        Ok(Some(bytes)) => bytes,
    };
    let slots = head::slots(&bytes);
    for (number, slot) in (1..).zip(&slots) {
        if let Err(why) = slot {
            let place = format!("{}, slot {number}", path.display());
            // One is torn where a power cut met its writing.
            let is_other_whole = slots.iter().any(Result::is_ok);
            found.note(place, why.to_string(), if is_other_whole { RESTART } else { RESTORE_HEAD });
        }
    }
    let newest = slots.into_iter().flatten().max_by_key(|(sequence, _)| *sequence);
    let state = newest.map(|(_, state)| state);
    found.acknowledged = state.as_ref().map(|it| it.lsn);
    found.acknowledged_at = state.as_ref().map(|it| it.time);
    Ok(state)
}

fn look_at_store(dir: &Path, head: Option<&HeadState>, found: &mut Examined) -> store::Result<()> {
    let place = StoreKind::Sled.path(dir).display().to_string();
    let seen = match survey(dir, head) {
        Ok(seen) => seen,
        Err(error) => return found.note_damage(error),
    };
    for path in &seen.broken_snapshots {
        found.note(path.display().to_string(), "the snapshot is not whole", RESTART);
    }
    for gap in &seen.gaps {
        found.note(format!("{place}, byte {}", gap.offset), gap.what, REPLAY);
    }
    if let Some(lsn) = seen.cleared {
        let what = format!("acknowledged records up to {lsn} lie behind bytes that are no message");
        found.note(format!("{place}, byte {}", seen.end.unwrap_or(0)), what, REPAIR);
    }
    Ok(())
}

fn look_at_log(dir: &Path, head: Option<&HeadState>, found: &mut Examined) -> store::Result<()> {
    let place = StoreKind::Sled.path(dir).display().to_string();
    let instance = head.map(|it| it.instance);
    let log = match Salvage::search::<Row>(dir, instance, &mut |_| {}) {
        Err(error) => return found.note_damage(error),
        Ok(log) => log,
    };
    for broken in &log.broken_bases {
        found.note(place.clone(), broken.to_string(), REPAIR);
    }
    match &log.log {
        None => found.note(place.clone(), "no beginning of a log is whole", RESTORE),
        Some(saved) => {
            found.records = saved.fold().last_lsn();
            let last = found.records;
            if let Some(acknowledged) = head.map(|it| it.lsn).filter(|it| last < *it) {
                let what = format!(
                    "the log is whole up to record {last}; {acknowledged} was acknowledged"
                );
                found.note(place.clone(), what, REPAIR);
            }
        }
    }
    for (first, end) in log.unreachable {
        let what = format!("records {first} to {end} are whole, behind others that are gone");
        found.note(place.clone(), what, REPAIR);
    }
    Ok(())
}

/// Whether nothing in sled's file, freed or not, is a chunk of a log.
fn has_no_chunk(dir: &Path) -> store::Result<bool> {
    let log = Salvage::search::<Row>(dir, None, &mut |_| {})?;
    Ok(log.log.is_none() && log.unreachable.is_empty())
}

/// What became of opening the copy.
enum Opened {
    Whole,
    /// It has not been made a data directory.
    Empty,
    Broken,
}

/// What a start of the engine would meet.
fn open_copy(copy: &Path, limits: &Limits, found: &mut Examined) -> Opened {
    let verified = recover::read(copy, limits).and_then(|mut partition| {
        let verified = verify(&mut partition)?;
        Ok((partition.memory().latest, verified))
    });
    match verified {
        Ok((latest, verified)) => {
            found.records = latest;
            if verified.doubtful {
                found.note("the projections", "some may be older than others", REPLAY);
            }
            for what in verified.differences {
                found.note("the projections", what, REPAIR);
            }
            Opened::Whole
        }
        Err(error) => {
            found.note_error(&error);
            look_at_values(copy, found);
            if matches!(error, store::Error::Missing { .. }) {
                Opened::Empty
            } else {
                Opened::Broken
            }
        }
    }
}

/// Every value that the store still gives.
fn look_at_values(copy: &Path, found: &mut Examined) {
    let Ok(store) = Directory::open_existing(copy) else { return };
    match DirectoryFormat::load(&*store) {
        Ok(Some(_)) => {}
        Ok(None) => found.note("the format of the directory", "it is not there", REPAIR),
        Err(error) => found.note("the format of the directory", error.to_string(), REPAIR),
    }
    if let Err(error) = checkpoint::load(&*store) {
        found.note("the checkpoint", error.to_string(), REPLAY);
    }
    for part in Part::ALL {
        check::each::<Row>(&*store, part, &mut |place, why| found.note(place, why, REPAIR));
    }
}
