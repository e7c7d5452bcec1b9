//! What is done to a directory before sled opens it: it is looked at, and what a crash has left, or
//! damage that only costs time, is put out of the way.

use std::{
    fs::{self, File},
    path::Path,
};

use super::{
    Error, Head, HeadState, StoreKind, backup, beside, head, partitions, segments,
    survey::{Spot, snapshots, survey},
    there,
};
use crate::base::planted::is_planted;

/// The file that says that the projections are doubtful.
const DOUBTFUL: &str = "doubtful";
/// The file in which sled says with which settings it was opened first.
pub(crate) const SETTINGS: &str = "conf";
/// More than it has.
const SETTINGS_BYTES_MAX: u64 = 64 * 1024;

/// Checks that `dir` holds what a directory of data holds, whole or not.
pub(crate) fn check_holds_data(dir: &Path) -> Result<(), Error> {
    if there::is_any(dir)? && !there::is_dir(dir)? {
        return Err(Error::NotADirectory { path: dir.to_owned() });
    }
    for name in [StoreKind::Sled.file(), StoreKind::Redb.file(), head::NAME] {
        if there::is_any(&dir.join(name))? {
            return Ok(());
        }
    }
    partitions::check_one(dir)?;
    Err(if there::is_file(&dir.join(backup::MANIFEST))? {
        Error::IsBackup { path: dir.to_owned() }
    } else {
        Error::Missing { path: dir.to_owned() }
    })
}

/// Makes `dir` ready for sled, or says why it must not open it.
pub(super) fn before_opening(dir: &Path) -> Result<(), Error> {
    remove_unfinished_snapshots(dir)?;
    look(dir)?;
    mend_settings(dir)
}

/// Whether the projections are doubtful.
pub(super) fn is_doubtful(dir: &Path) -> Result<bool, Error> {
    there::is_any(&dir.join(DOUBTFUL))
}

/// Says that they are not any more.
pub(super) fn settle(dir: &Path) -> Result<(), Error> {
    let path = dir.join(DOUBTFUL);
    fs::remove_file(&path).map_err(Error::io("remove", &path))?;
    beside::sync(dir)
}

/// Whether there is nothing in the file of a store yet, as only a new directory has it.
pub(super) fn is_new(path: &Path, head: Option<&HeadState>) -> Result<bool, Error> {
    let is_empty = there::look(path)?.is_none_or(|it| it.is_file() && it.len() == 0);
    if is_empty && head.is_some() {
        let what = "there is a head and no store".to_owned();
        return Err(Error::Damaged { what, place: path.display().to_string() });
    }
    Ok(is_empty)
}

/// Looks at what is there before anything is written to it.
fn look(dir: &Path) -> Result<(), Error> {
    let (_, head) = Head::open(dir)?;
    let db = StoreKind::Sled.path(dir);
    if is_new(&db, head.as_ref())? {
        return Ok(());
    }
    let found = survey(dir, head.as_ref())?;
    if let (Some(lsn), false) = (found.cleared, is_planted!("survey_ignored")) {
        let end = found.end.unwrap_or(0);
        let what =
            format!("it ends at byte {end}, and acknowledged records up to {lsn} lie behind");
        return Err(Error::Damaged { what, place: db.display().to_string() });
    }
    for path in &found.broken_snapshots {
        tracing::warn!(path = %path.display(), "the snapshot is not whole and set aside");
        set_aside(dir, path)?;
    }
    if let Some(Spot { offset, what }) = found.gaps.first()
        && !is_planted!("gaps_ignored")
    {
        let gaps = found.gaps.len();
        tracing::warn!(dir = %dir.display(), offset, what, gaps, "the store has gaps");
        doubt(dir)?;
    }
    Ok(())
}

/// Makes the directory doubtful, before anything could hide why.
pub(super) fn doubt(dir: &Path) -> Result<(), Error> {
    let path = dir.join(DOUBTFUL);
    File::create(&path).map_err(Error::io("create", &path))?;
    beside::sync(&path)?;
    beside::sync(dir)
}

fn remove_unfinished_snapshots(dir: &Path) -> Result<(), Error> {
    for path in snapshots(dir)? {
        if path.extension().is_some_and(|it| it == "generating") {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Sets what sled wrote down of its settings aside unless it is whole. sled then writes it again:
/// the settings are in this program, so nothing is lost with the file.
fn mend_settings(dir: &Path) -> Result<(), Error> {
    let path = dir.join(SETTINGS);
    if !there::is_any(&path)? || are_settings_whole(&path)? {
        return Ok(());
    }
    tracing::warn!(path = %path.display(), "the settings are not whole, set aside and made again");
    set_aside(dir, &path)
}

/// Whether the checksum at their end is right. sled itself goes on with others.
pub(crate) fn are_settings_whole(path: &Path) -> Result<bool, Error> {
    let bytes = match there::read(path, SETTINGS_BYTES_MAX) {
        Err(Error::Damaged { .. }) => return Ok(false),
        read => read?.unwrap_or_default(),
    };
    let Some((settings, crc)) = bytes.split_last_chunk::<4>() else { return Ok(false) };
    Ok(!settings.is_empty() && crc32fast::hash(settings) == segments::u32_of(*crc))
}

/// Renames every snapshot.
pub(super) fn set_snapshots_aside(dir: &Path) -> Result<(), Error> {
    snapshots(dir)?.iter().try_for_each(|path| set_aside(dir, path))
}

fn set_aside(dir: &Path, path: &Path) -> Result<(), Error> {
    let name = path.file_name().expect("an entry of a directory has a name");
    let aside = dir.join(format!("set-aside.{}", name.display()));
    fs::rename(path, aside).map_err(Error::io("set aside", path))
}
