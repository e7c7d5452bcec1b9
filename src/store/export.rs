//! A file with the chunks that were trimmed, in the order of their positions.
//!
//! It is entries, each with its length (u32) before it. An entry is a frame (magic `ONWX`, version,
//! body, CRC-32C); the body of the first is 0 and the fold that reading begins with, of the others
//! 1, position (u64), chunk. A crash may leave the last entry cut short; whoever goes on with the
//! file removes it, as long as the log still has that chunk.

use std::{
    fs::{File, OpenOptions},
    io::{BufReader, Read, Write},
    path::{Path, PathBuf},
};

use super::{Effect, Error, Fold, Record, cached, chunk, frame, pulse, there};
use crate::base::{
    Malformed, codec,
    limits::{CHUNK_BYTES_MAX, VALUE_BYTES_MAX},
};

const MAGIC: [u8; 4] = *b"ONWX";
const VERSION: u8 = 1;
const FOLD: u8 = 0;
const CHUNK: u8 = 1;
const LENGTH_BYTES: u64 = 4;
/// More than a frame adds to a chunk.
const ENTRY_EXTRA_BYTES: usize = 64;

const _: () = assert!(CHUNK_BYTES_MAX <= VALUE_BYTES_MAX);

/// What one entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Where reading begins.
    Fold(Fold),
    /// A chunk and its position.
    Chunk(u64, Vec<u8>),
}

pub(crate) fn encode(entry: &Entry) -> Vec<u8> {
    frame::seal(MAGIC, VERSION, |out| match entry {
        Entry::Fold(fold) => {
            out.push(FOLD);
            codec::encode_into(out, fold);
        }
        Entry::Chunk(position, chunk) => {
            out.push(CHUNK);
            out.extend_from_slice(&position.to_be_bytes());
            out.extend_from_slice(chunk);
        }
    })
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Entry, Malformed> {
    let mut reader = frame::open(MAGIC, VERSION, bytes)?;
    match reader.u8()? {
        FOLD => {
            let fold: Fold = codec::decode(reader.rest())?;
            let is_sound = fold.is_sound();
            is_sound.then_some(Entry::Fold(fold)).ok_or(Malformed("a fold that no log has"))
        }
        CHUNK => Ok(Entry::Chunk(reader.u64()?, reader.rest().to_vec())),
        _ => Err(Malformed("a kind of entry that this program does not know")),
    }
}

/// An export that is being appended to.
#[derive(Debug)]
pub struct Export {
    path: PathBuf,
    file: File,
    fold: Fold,
}

impl Export {
    /// Goes on with the export at `path`, or begins one. The log reads on from `start`, and its
    /// first chunk is at `first`.
    ///
    /// # Errors
    /// It is of another directory, or it ends before that chunk.
    pub fn open(path: &Path, start: &Fold, first: u64) -> Result<Self, Error> {
        if !there::is_any(path)? {
            return Self::create(path, start);
        }
        cached::forget(path)?;
        let mut entries = Entries::open(path)?;
        let mut damage = None;
        loop {
            match entries.next() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error @ Error::Damaged { .. }) => {
                    damage = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let Some(fold) = entries.fold else { return Err(no_export(path)) };
        if fold.instance() != start.instance() {
            let (found, expected) = (fold.instance(), start.instance());
            return Err(Error::OtherInstance {
                place: path.display().to_string(),
                found,
                expected,
            });
        }
        if fold.position() < first {
            let gap = Error::ExportGap { path: path.to_owned(), ends: fold.position(), first };
            return Err(damage.unwrap_or(gap));
        }
        let mut options = OpenOptions::new();
        let file = options.append(true).open(path).map_err(Error::io("open", path))?;
        // The log still has what a crash cut short.
        file.set_len(entries.whole).map_err(Error::io("write to", path))?;
        Ok(Self { path: path.to_owned(), file, fold })
    }

    fn create(path: &Path, start: &Fold) -> Result<Self, Error> {
        let path = std::path::absolute(path).map_err(Error::io("find", path))?;
        // It has its name once it has its beginning.
        let unnamed = path.with_added_extension("new");
        let file = File::create(&unnamed).map_err(Error::io("create", &unnamed))?;
        let mut export = Self { path, file, fold: start.clone() };
        export.write(&Entry::Fold(start.clone()))?;
        export.sync()?;
        std::fs::rename(&unnamed, &export.path).map_err(Error::io("create", &export.path))?;
        let dir = export.path.parent().unwrap_or(&export.path);
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", dir))?;
        Ok(export)
    }

    /// The position of the chunk that comes next.
    pub fn end(&self) -> u64 {
        self.fold.position()
    }

    /// Appends the chunk at [`Export::end`].
    pub fn append(&mut self, bytes: Vec<u8>) -> Result<(), Error> {
        let position = self.end();
        take(&mut self.fold, position, &bytes)?;
        self.write(&Entry::Chunk(position, bytes))
    }

    /// Returns once everything appended is on the device.
    pub fn sync(&self) -> Result<(), Error> {
        self.file.sync_all().map_err(Error::io("sync", &self.path))
    }

    fn write(&mut self, entry: &Entry) -> Result<(), Error> {
        let entry = encode(entry);
        let length = u32::try_from(entry.len()).expect("an entry is far below 4 GiB");
        let bytes = [&length.to_be_bytes()[..], &entry].concat();
        self.file.write_all(&bytes).map_err(Error::io("write to", &self.path))
    }
}

/// Calls `visit` for every record in the export at `path`, in order.
pub fn each_record<E: From<Error>>(
    path: &Path,
    visit: &mut dyn FnMut(&Fold, Record) -> Result<(), E>,
) -> Result<(), E> {
    let mut entries = Entries::open(path)?;
    while let Some(records) = entries.next()? {
        if let Some(fold) = &entries.fold {
            records.into_iter().try_for_each(|record| visit(fold, record))?;
        }
    }
    Ok(())
}

/// The entries of a file, checked one by one.
struct Entries<'a> {
    path: &'a Path,
    file: BufReader<File>,
    /// What has been read; none before the first entry.
    fold: Option<Fold>,
    /// Where the whole entries read so far end.
    whole: u64,
}

impl<'a> Entries<'a> {
    fn open(path: &'a Path) -> Result<Self, Error> {
        // Opening a pipe would wait for its other end.
        if there::is_any(path)? && !there::is_file(path)? {
            return Err(no_export(path));
        }
        let file = File::open(path).map_err(Error::io("open", path))?;
        Ok(Self { path, file: BufReader::new(file), fold: None, whole: 0 })
    }

    /// The whole groups that end with the next entry.
    fn next(&mut self) -> Result<Option<Vec<Record>>, Error> {
        let read = self.read_next();
        // It has its name once its beginning is whole, so without one it is something else.
        if self.fold.is_none() && matches!(read, Err(Error::Damaged { .. })) {
            return Err(no_export(self.path));
        }
        read
    }

    fn read_next(&mut self) -> Result<Option<Vec<Record>>, Error> {
        let Some(bytes) = self.read()? else { return Ok(None) };
        let length = LENGTH_BYTES + crate::base::bytes::length_of(&bytes);
        let damaged = |why| malformed(self.path, self.whole, why);
        let records = match (decode(&bytes).map_err(damaged)?, &mut self.fold) {
            (Entry::Fold(fold), none @ None) => {
                *none = Some(fold);
                Vec::new()
            }
            (Entry::Chunk(position, chunk), Some(fold)) => take(fold, position, &chunk)?,
            (Entry::Fold(_), Some(_)) => return Err(damaged(Malformed("a second beginning"))),
            (Entry::Chunk(..), None) => return Err(damaged(Malformed("no beginning"))),
        };
        self.whole += length;
        Ok(Some(records))
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut length = Vec::new();
        self.fill(LENGTH_BYTES, &mut length)?;
        if length.is_empty() {
            return Ok(None);
        }
        let damaged = |why| malformed(self.path, self.whole, why);
        let length = length.try_into().map_err(|_| damaged(Malformed("cut short")))?;
        let length = u32::from_be_bytes(length);
        let is_possible =
            usize::try_from(length).is_ok_and(|it| it <= CHUNK_BYTES_MAX + ENTRY_EXTRA_BYTES);
        if !is_possible {
            return Err(damaged(Malformed("an entry that is too long")));
        }
        let mut bytes = Vec::new();
        self.fill(length.into(), &mut bytes)?;
        Ok(Some(bytes))
    }

    /// As many of so many bytes as there are.
    fn fill(&mut self, count: u64, bytes: &mut Vec<u8>) -> Result<(), Error> {
        let mut some = (&mut self.file).take(count);
        some.read_to_end(bytes).map_err(Error::io("read", self.path))?;
        pulse::beat();
        Ok(())
    }
}

/// Counts in the chunk at `position`.
fn take(fold: &mut Fold, position: u64, bytes: &[u8]) -> Result<Vec<Record>, Error> {
    let place = || format!("the chunk at position {position}");
    let chunk = chunk::decode(bytes).map_err(Error::malformed(place))?;
    match fold.offer(position, chunk)? {
        Effect::Records(records) => Ok(records),
        Effect::Adopted | Effect::Void => Ok(Vec::new()),
    }
}

fn no_export(path: &Path) -> Error {
    Error::NoExport { path: path.to_owned() }
}

fn malformed(path: &Path, at: u64, why: Malformed) -> Error {
    Error::malformed(|| format!("{} at byte {at}", path.display()))(why)
}

#[cfg(test)]
mod tests;
