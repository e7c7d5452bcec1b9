//! Adding to a backup.

use std::{fs, io::Write};

use tracing::trace_span;

use super::{
    BackedUp, Backup, IMAGE_TREES, MANIFEST, MANIFEST_NEW,
    entries::Sink,
    manifest::{ChunkFile, Image, Manifest, Part},
};
use crate::{
    base::{Lsn, Timestamp, bytes::length_of, limits::BACKUP_FILE_BYTES, planted::is_planted},
    store::{Error, Fold, Log, Store, beside, chunk, fold::malformed, mirror::Step, there},
};

/// What is backed up.
#[derive(Debug)]
pub struct Original<'a> {
    /// Its log.
    pub log: &'a dyn Log,
    /// The state at which reading that begins: at its first record, or at a base where what was
    /// before is trimmed.
    pub start: Fold,
    /// Up to which position; without it, up to the last whole group.
    pub goal: Option<u64>,
    /// When it got the identity that it has, if not at its creation: later than everything before.
    pub renamed: Option<Timestamp>,
}

impl Backup {
    /// Whether the rest must be there too, because the log that is to be backed up begins at
    /// `start`, and nothing is here yet.
    pub fn needs_image(&self, start: &Fold) -> bool {
        self.manifest.is_none() && start.position() > 0
    }

    /// Writes the trees besides the log, which are as the checkpoint at `at` left them. It counts
    /// with the first chunks; whoever finds that the trees did change appends none.
    pub fn write_image(&mut self, store: &dyn Store, at: Lsn) -> Result<(), Error> {
        let mut image = Image { at, part: Part::default() };
        let mut sink = Sink::open(&self.dir.join(image.name()), &image.part)?;
        for (tree, number) in IMAGE_TREES.into_iter().zip(0_u8..) {
            let mut key = Vec::new();
            while let Some((next, value)) = store.above(tree, &key)? {
                sink.put(&[&[number], &*next].concat(), &value)?;
                key = next;
            }
        }
        image.part = sink.finish()?;
        self.read_image_file(&image, &mut |_, _, _| Ok(()))?;
        self.image = Some(image);
        Ok(())
    }

    /// Adds what the original has from where the backup ends, or from its start where there is none.
    pub fn append(&mut self, original: &Original<'_>, step: Step<'_>) -> Result<BackedUp, Error> {
        let mut manifest = match self.manifest.take() {
            Some(manifest) => {
                self.check_follows(&manifest, original)?;
                manifest
            }
            None => {
                let image = self.image.take();
                let end = original.start.clone();
                assert!(image.is_some() == (end.position() > 0), "a trimmed log needs the rest");
                Manifest { end, files: Vec::new(), image }
            }
        };
        let before = if manifest.files.is_empty() { 0 } else { manifest.bytes() };
        let position = manifest.end.position();
        while self.append_file(&mut manifest, original, step)? {}
        beside::sync(&self.dir)?;
        self.check_new(&manifest, position)?;
        self.write_manifest(&manifest)?;
        let bytes = manifest.bytes();
        let done = BackedUp {
            lsn: manifest.end.last_lsn(),
            time: manifest.end.last_time(),
            chunks_added: manifest.end.position() - position,
            bytes_added: bytes - before,
            bytes,
        };
        self.manifest = Some(manifest);
        Ok(done)
    }

    /// Fills one file; whether there may be more.
    fn append_file(
        &self,
        manifest: &mut Manifest,
        original: &Original<'_>,
        step: Step<'_>,
    ) -> Result<bool, Error> {
        let (log, goal) = (original.log, original.goal);
        let mut fold = manifest.end.clone();
        let is_at_goal = |fold: &Fold| goal.is_some_and(|goal| goal <= fold.position());
        if is_at_goal(&fold) || log.read(fold.position())?.is_none() {
            return Ok(false);
        }
        let last = manifest.files.pop_if(|it| it.part.bytes < BACKUP_FILE_BYTES);
        let last = last.unwrap_or_else(|| ChunkFile { start: fold.clone(), part: Part::default() });
        let mut sink = Sink::open(&self.path(&last.start), &last.part)?;
        // A manifest ends between groups, so what was written after that does not count yet.
        let mut whole = last;
        while !is_at_goal(&fold) && whole.part.bytes < BACKUP_FILE_BYTES {
            let Some((position, bytes)) = log.read(fold.position())? else { break };
            if is_planted!("backup_skips_last_chunk") && log.tail()? == position + 1 {
                break;
            }
            fold.offer(position, chunk::decode(&bytes).map_err(malformed(position))?)?;
            sink.put(&position.to_be_bytes(), &bytes)?;
            if fold.is_between_groups() {
                whole.part = sink.part();
                manifest.end = fold.clone();
            }
            step(length_of(&bytes));
        }
        sink.finish()?;
        let is_full = whole.part.bytes >= BACKUP_FILE_BYTES;
        if whole.part.entries > 0 {
            manifest.files.push(whole);
        }
        Ok(is_full)
    }

    /// Checks that the log goes on where the backup ends, with nothing else before it.
    fn check_follows(&self, manifest: &Manifest, original: &Original<'_>) -> Result<(), Error> {
        let other = |what: String| Error::OtherBackup { path: self.dir.clone(), what };
        let (end, start, log) = (&manifest.end, &original.start, original.log);
        if (end.instance(), end.partition()) != (start.instance(), start.partition()) {
            return Err(other(format!("it is of directory {}", end.instance())));
        }
        // Who had the old identity may go on under it, and with this backup.
        if original.renamed.is_some_and(|at| end.last_time() < at) {
            let what = "it is the backup of the original, and this directory is a copy of that, or \
                        has lost what it had acknowledged, and has an identity of its own";
            return Err(other(what.to_owned()));
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
    fn check_new(&self, manifest: &Manifest, position: u64) -> Result<(), Error> {
        let mut end = None;
        for file in &manifest.files {
            let is_old = manifest.start_after(file).is_some_and(|it| it.position() <= position);
            if !is_old {
                end = Some(self.read_file(file, &mut |_, _| Ok(()))?);
            }
        }
        if end.is_some_and(|end| end != manifest.end) {
            return Err(self.damaged(manifest.last_start(), "it is not what was just written"));
        }
        Ok(())
    }

    fn write_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        let _span = trace_span!("backup_manifest").entered();
        let [new, path] = [MANIFEST_NEW, MANIFEST].map(|name| self.dir.join(name));
        let mut file = there::create_anew(&new)?;
        file.write_all(&manifest.encode())
            .and_then(|()| file.sync_all())
            .map_err(Error::io("write", &new))?;
        fs::rename(&new, &path).map_err(Error::io("write", &path))?;
        beside::sync(&self.dir)
    }
}
