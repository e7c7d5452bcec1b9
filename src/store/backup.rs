//! A backup: the chunks of a log in files, and a manifest that says which of them count.
//!
//! Chunks never change, so a backup only grows. Its files are appended to and synced, read again,
//! and only then does a new manifest replace the old one, in one step; what lies behind the part
//! that the manifest names is of a backup that was interrupted, and is written over by the next.
//! Positions and headers are kept byte for byte.
//!
//! | File | What |
//! |---|---|
//! | `manifest` | see [`manifest`] |
//! | `chunks-` and the position of the first one | see [`chunks`] |
//! | `lock` | held by who writes |

pub mod chunks;
pub mod manifest;

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::Write,
    path::{Path, PathBuf},
};

use serde::Serialize;
use tracing::trace_span;

use self::{
    chunks::{Chunks, Sink},
    manifest::{ChunkFile, Manifest},
};
use super::{Error, Fold, Log, beside, chunk};
use crate::base::{
    Lsn, Timestamp, bytes::length_of, limits::BACKUP_FILE_BYTES, planted::is_planted,
};

const MANIFEST: &str = "manifest";
const MANIFEST_NEW: &str = "manifest.new";
const LOCK: &str = "lock";

/// Who gets each chunk of a backup with its position.
pub type Visit<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), Error>;

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
    /// Bytes of chunks that there are.
    pub bytes: u64,
}

/// A directory with a backup in it, or for one.
#[derive(Debug)]
pub struct Backup {
    dir: PathBuf,
    manifest: Option<Manifest>,
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
        Ok(Self { dir: dir.to_owned(), manifest, _lock: None })
    }

    /// Opens a backup to go on with it, or makes a new one.
    pub fn create(dir: &Path) -> Result<Self, Error> {
        if !dir.exists() {
            fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
            dir.parent().filter(|it| *it != Path::new("")).map_or(Ok(()), beside::sync)?;
        }
        let stranger = refuse_others(dir)?;
        if let Some(path) = stranger {
            return Err(Error::InTheWay { path });
        }
        let path = dir.join(LOCK);
        let lock = File::create(&path).map_err(Error::io("create", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { path: dir.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path)(source)),
        }
        let manifest = read_manifest(dir)?;
        Ok(Self { dir: dir.to_owned(), manifest, _lock: Some(lock) })
    }

    /// The state of the log at its end; none where nothing has been backed up.
    pub fn end(&self) -> Option<&Fold> {
        self.manifest.as_ref().map(|it| &it.end)
    }

    /// Bytes of chunks.
    pub fn bytes(&self) -> u64 {
        self.manifest.iter().flat_map(|it| &it.files).map(|it| it.bytes).sum()
    }

    /// Reads all of it, checks it, and gives each chunk to `visit` with its position.
    pub fn read(&self, visit: Visit<'_>) -> Result<Fold, Error> {
        let missing = || Error::NoBackup { path: self.dir.clone() };
        let manifest = self.manifest.as_ref().ok_or_else(missing)?;
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

    fn read_file(&self, file: &ChunkFile, visit: Visit<'_>) -> Result<Fold, Error> {
        let damaged = |what: String| self.damaged(&file.start, what);
        let mut fold = file.start.clone();
        let mut entries = Chunks::open(&self.path(&file.start), file)?;
        while let Some((position, bytes)) = entries.read()? {
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

    /// Adds what `log` has from where the backup ends, or from `start` where there is none, up to
    /// the position of `goal` or, without one, the last whole group.
    pub fn append(
        &mut self,
        log: &dyn Log,
        start: &Fold,
        goal: Option<u64>,
        step: &mut dyn FnMut(u64),
    ) -> Result<BackedUp, Error> {
        let mut manifest = match self.manifest.take() {
            Some(manifest) => {
                self.check_follows(&manifest, log, start)?;
                manifest
            }
            None => Manifest { end: start.clone(), files: Vec::new() },
        };
        let before: u64 = manifest.files.iter().map(|it| it.bytes).sum();
        let position = manifest.end.position();
        while self.append_file(&mut manifest, log, goal, step)? {}
        beside::sync(&self.dir)?;
        self.manifest = Some(manifest);
        let manifest = self.check_new(position)?;
        self.write_manifest(&manifest)?;
        let bytes = self.bytes();
        Ok(BackedUp {
            lsn: manifest.end.last_lsn(),
            time: manifest.end.last_time(),
            chunks_added: manifest.end.position() - position,
            bytes_added: bytes - before,
            bytes,
        })
    }

    /// Fills one file; whether there is more.
    fn append_file(
        &self,
        manifest: &mut Manifest,
        log: &dyn Log,
        goal: Option<u64>,
        step: &mut dyn FnMut(u64),
    ) -> Result<bool, Error> {
        let mut fold = manifest.end.clone();
        if goal.is_some_and(|goal| goal <= fold.position()) || log.read(fold.position())?.is_none()
        {
            return Ok(false);
        }
        let last = manifest.files.pop_if(|it| it.bytes < BACKUP_FILE_BYTES);
        let file = last.unwrap_or_else(|| ChunkFile::new(fold.clone()));
        let mut sink = Sink::open(&self.path(&file.start), &file)?;
        // A manifest ends between groups, so what was written after that does not count yet.
        let mut whole = file;
        let mut is_full = false;
        while goal.is_none_or(|goal| fold.position() < goal) && !is_full {
            let position = fold.position();
            let Some((found, bytes)) = log.read(position)? else { break };
            let read = chunk::decode(&bytes).map_err(super::fold::malformed(found))?;
            fold.offer(found, read)?;
            if is_planted!("backup_skips_last_chunk") && log.tail()? == found + 1 {
                break;
            }
            sink.put(found, &bytes)?;
            if fold.is_between_groups() {
                whole = sink.state();
                manifest.end = fold.clone();
                is_full = whole.bytes >= BACKUP_FILE_BYTES;
            }
            step(length_of(&bytes));
        }
        sink.finish()?;
        if whole.chunks > 0 {
            manifest.files.push(whole);
        }
        Ok(is_full)
    }

    /// Checks that the log goes on where the backup ends, with nothing else before it.
    fn check_follows(&self, manifest: &Manifest, log: &dyn Log, start: &Fold) -> Result<(), Error> {
        let other = |what: String| Error::OtherBackup { path: self.dir.clone(), what };
        let end = &manifest.end;
        if (end.instance(), end.partition()) != (start.instance(), start.partition()) {
            return Err(other(format!("it is of directory {}", end.instance())));
        }
        if let Some((found, _)) = log.read(end.position())?
            && found != end.position()
        {
            let at = end.position();
            return Err(other(format!("it ends at position {at}, the log begins at {found}")));
        }
        let Some(file) = manifest.files.last() else { return Ok(()) };
        let mut latest = None;
        self.read_file(file, &mut |position, bytes| {
            if end.follows(bytes) {
                latest = Some((position, bytes.to_vec()));
            }
            Ok(())
        })?;
        let tail = log.tail()?;
        if tail < end.position() {
            let what = format!("it has {} chunks and the directory {tail}", end.position());
            return Err(other(what));
        }
        let Some((position, bytes)) = latest else { return Ok(()) };
        match log.read(position)? {
            Some((found, here)) if found == position && here != bytes => {
                Err(other(format!("the two differ at position {position} of the log")))
            }
            // What is trimmed cannot be compared; the next chunk names it by its checksum.
            Some(_) | None => Ok(()),
        }
    }

    /// Reads again what was written from `position` on.
    fn check_new(&self, position: u64) -> Result<Manifest, Error> {
        let manifest = self.manifest.clone().expect("it was put there");
        let mut end = None;
        for file in &manifest.files {
            let is_old = manifest.start_after(file).is_some_and(|it| it.position() <= position);
            if !is_old {
                end = Some(self.read_file(file, &mut |_, _| Ok(()))?);
            }
        }
        match end {
            Some(end) if end != manifest.end => {
                Err(self.damaged(manifest.last_start(), "it is not what was just written"))
            }
            Some(_) | None => Ok(manifest),
        }
    }

    fn write_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        let _span = trace_span!("backup_manifest").entered();
        let [new, path] = [MANIFEST_NEW, MANIFEST].map(|name| self.dir.join(name));
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).open(&new);
        file.and_then(|mut file| {
            file.write_all(&manifest.encode())?;
            file.sync_all()
        })
        .map_err(Error::io("write", &new))?;
        fs::rename(&new, &path).map_err(Error::io("write", &path))?;
        beside::sync(&self.dir)
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
    if !path.exists() {
        return Ok(None);
    }
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    let damaged =
        |why: crate::base::Malformed| Error::BackupDamaged { path, what: why.to_string() };
    Manifest::decode(&bytes).map(Some).map_err(damaged)
}

/// Something in the directory that is of no backup.
fn refuse_others(dir: &Path) -> Result<Option<PathBuf>, Error> {
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let entry = entry.map_err(Error::io("read", dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours =
            [MANIFEST, MANIFEST_NEW, LOCK].contains(&&*name) || name.starts_with(manifest::CHUNKS);
        if !is_ours {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
