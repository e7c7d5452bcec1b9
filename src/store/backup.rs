//! A backup: the chunks of a log in files, and a manifest that says which of them count.
//!
//! Chunks never change, so a backup only grows. Its files are appended to and synced, read again,
//! and only then does a new manifest replace the old one, in one step; what lies behind the part
//! that the manifest names is of a backup that was interrupted, and is written over by the next.
//! Positions and headers are kept byte for byte. Where the beginning of the log is trimmed, the
//! first backup also has the other trees as they are at a checkpoint.
//!
//! | File | What |
//! |---|---|
//! | `manifest` | see [`manifest`] |
//! | `chunks-` and the position of the first one | see [`entries`] |
//! | `image-` and the LSN of the checkpoint | the same |
//! | `lock` | held by who writes |

pub mod entries;
pub mod manifest;
mod write;

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use serde::Serialize;

pub use self::write::Original;
use self::{
    entries::Source,
    manifest::{ChunkFile, Image, Manifest},
};
use super::{Error, Fold, Tree, beside, chunk, there};
use crate::base::{Lsn, Timestamp, limits::MANIFEST_BYTES_MAX};

pub(super) const MANIFEST: &str = "manifest";
const MANIFEST_NEW: &str = "manifest.new";
const LOCK: &str = "lock";

/// The trees of an image, by number.
const IMAGE_TREES: [Tree; 3] = [Tree::Rows, Tree::Timers, Tree::Meta];

/// Who gets each chunk of a backup with its position.
pub type Visit<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), Error>;

/// Who gets each entry of an image.
pub type VisitImage<'a> = &'a mut dyn FnMut(Tree, &[u8], &[u8]) -> Result<(), Error>;

/// What a backup did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BackedUp {
    /// The last record that the backup holds: it is the directory as it was then.
    pub lsn: Lsn,
    /// When that happened, in engine time.
    pub time: Timestamp,
    /// Chunks that this backup added.
    pub chunks_added: u64,
    /// Bytes that it added.
    pub bytes_added: u64,
    /// Bytes that there are.
    pub bytes: u64,
}

/// A directory with a backup in it, or for one.
#[derive(Debug)]
pub struct Backup {
    dir: PathBuf,
    manifest: Option<Manifest>,
    /// Written and not in force yet.
    image: Option<Image>,
    /// Held by who writes.
    _lock: Option<File>,
}

impl Backup {
    /// Opens a backup to read it.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let manifest = read_manifest(dir)?;
        if manifest.is_none() {
            return Err(Error::NoBackup { path: dir.to_owned() });
        }
        Ok(Self { dir: dir.to_owned(), manifest, image: None, _lock: None })
    }

    /// Opens the backup of `from` in `dir` to go on with it, or makes a new one.
    pub fn create(dir: &Path, from: &Path) -> Result<Self, Error> {
        let dir = &std::path::absolute(dir).map_err(Error::io("find", dir))?;
        beside::check_outside(dir, from)?;
        beside::check_outside(from, dir)?;
        if !there::is_any(dir)? {
            let parent = dir.parent().unwrap_or(dir);
            beside::create(parent)?;
            beside::create_like(from, dir)?;
            beside::sync(parent)?;
        }
        refuse_others(dir)?;
        let path = dir.join(LOCK);
        // Opening a pipe would wait for its other end.
        there::is_file_or_absent(&path)?;
        let lock = File::create(&path).map_err(Error::io("create", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { path: dir.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path)(source)),
        }
        let manifest = read_manifest(dir)?;
        Ok(Self { dir: dir.to_owned(), manifest, image: None, _lock: Some(lock) })
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.manifest.as_ref().map_or(0, Manifest::bytes)
    }

    /// Where its chunks begin.
    pub fn start(&self) -> Result<&Fold, Error> {
        self.manifest().map(Manifest::start)
    }

    /// Reads all chunks, checks them, and gives each to `visit` with its position.
    pub fn read(&self, visit: Visit<'_>) -> Result<Fold, Error> {
        let manifest = self.manifest()?;
        let mut fold = manifest.start().clone();
        for file in &manifest.files {
            if file.start != fold {
                return Err(self.damaged(&file.start, "it does not follow the file before it"));
            }
            fold = self.read_file(file, visit)?;
        }
        if fold != manifest.end {
            let what = format!(
                "it ends at position {}, not at {} as the manifest says",
                fold.position(),
                manifest.end.position()
            );
            return Err(self.damaged(manifest.last_start(), what));
        }
        Ok(fold)
    }

    /// Reads the image, if there is one, checks it, and gives each entry to `visit`.
    pub fn read_image(&self, visit: VisitImage<'_>) -> Result<(), Error> {
        self.manifest()?.image.map_or(Ok(()), |image| self.read_image_file(&image, visit))
    }

    fn manifest(&self) -> Result<&Manifest, Error> {
        let missing = || Error::NoBackup { path: self.dir.clone() };
        self.manifest.as_ref().ok_or_else(missing)
    }

    fn read_file(&self, file: &ChunkFile, visit: Visit<'_>) -> Result<Fold, Error> {
        let damaged = |what: String| self.damaged(&file.start, what);
        let mut fold = file.start.clone();
        let mut entries = Source::open(&self.path(&file.start), &file.part)?;
        while let Some((key, bytes)) = entries.read()? {
            let position = <[u8; 8]>::try_from(key).map(u64::from_be_bytes);
            let position = position.map_err(|_| damaged("a key that is no position".to_owned()))?;
            let read = chunk::decode(&bytes);
            let read = read.map_err(|why| damaged(format!("position {position}: {why}")))?;
            fold.offer(position, read).map_err(|why| damaged(why.to_string()))?;
            visit(position, &bytes)?;
        }
        if !fold.is_between_groups() {
            return Err(damaged("it ends within a group of records".to_owned()));
        }
        Ok(fold)
    }

    fn read_image_file(&self, image: &Image, visit: VisitImage<'_>) -> Result<(), Error> {
        let path = self.dir.join(image.name());
        let mut entries = Source::open(&path, &image.part)?;
        while let Some((key, value)) = entries.read()? {
            let (tree, key) = key.split_first().unwrap_or((&u8::MAX, &[]));
            let tree = IMAGE_TREES.get(usize::from(*tree)).filter(|_| !key.is_empty());
            let what = || "a key of no tree".to_owned();
            let tree =
                tree.ok_or_else(|| Error::BackupDamaged { path: path.clone(), what: what() })?;
            visit(*tree, key, &value)?;
        }
        Ok(())
    }

    fn path(&self, start: &Fold) -> PathBuf {
        self.dir.join(ChunkFile::name(start.position()))
    }

    fn damaged(&self, start: &Fold, what: impl Into<String>) -> Error {
        Error::BackupDamaged { path: self.path(start), what: what.into() }
    }
}

fn read_manifest(dir: &Path) -> Result<Option<Manifest>, Error> {
    let path = dir.join(MANIFEST);
    let damaged = |what| Error::BackupDamaged { path: path.clone(), what };
    let bytes = match there::read(&path, MANIFEST_BYTES_MAX) {
        Err(Error::Damaged { what, .. }) => return Err(damaged(what)),
        read => read?,
    };
    let manifest = bytes.map(|bytes| Manifest::decode(&bytes)).transpose();
    manifest.map_err(|why| damaged(why.to_string()))
}

/// A directory with something else in it is no place for a backup.
fn refuse_others(dir: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let entry = entry.map_err(Error::io("read", dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours = [MANIFEST, MANIFEST_NEW, LOCK].contains(&&*name)
            || [manifest::CHUNKS, manifest::IMAGE].iter().any(|it| name.starts_with(it));
        if !is_ours {
            return Err(Error::InTheWay { path: entry.path() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
