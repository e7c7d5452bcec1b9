//! A file of entries, written at its end and read from its beginning.
//!
//! It begins with magic `ONWK` and version (u8). An entry is the length of its key (u16) and of its
//! value (u32), CRC-32C of these, key and value (u32), key, value. Integers are big-endian.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use tracing::trace_span;

use super::manifest::Part;
use crate::{
    base::{bytes::length_of, limits::VALUE_BYTES_MAX},
    store::{Entry, Error, pulse, there},
};

const START: [u8; 5] = *b"ONWK\x01";
/// Bytes before the key.
const HEAD_BYTES: usize = 10;

/// Adds to a file of entries.
#[derive(Debug)]
pub struct Sink {
    path: PathBuf,
    file: BufWriter<File>,
    part: Part,
}

impl Sink {
    /// Opens the file where what counts of it ends; what lies behind is cut off.
    pub fn open(path: &Path, known: &Part) -> Result<Self, Error> {
        // Opening a pipe would wait for its other end.
        there::is_file_or_absent(path)?;
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(path);
        let mut file = file.map_err(Error::io("open", path))?;
        file.set_len(known.bytes)
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .map_err(Error::io("write", path))?;
        let file = BufWriter::with_capacity(256 * 1024, file);
        let mut sink = Self { path: path.to_owned(), file, part: *known };
        if known.bytes == 0 {
            sink.write(&START)?;
        }
        Ok(sink)
    }

    /// Adds an entry.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let _span = trace_span!("backup_entry").entered();
        self.write(&entry(key, value))?;
        pulse::beat();
        self.part.entries += 1;
        Ok(())
    }

    /// What is written so far.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Returns once all of it is on the device.
    pub fn finish(self) -> Result<Part, Error> {
        let Self { path, file, part } = self;
        let file = file.into_inner().map_err(|why| Error::io("write", &path)(why.into_error()))?;
        file.sync_all().map_err(Error::io("sync", &path))?;
        Ok(part)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))?;
        self.part.bytes += length_of(bytes);
        self.part.crc = crc32c::crc32c_append(self.part.crc, bytes);
        Ok(())
    }
}

/// An entry as it is written.
pub(crate) fn entry(key: &[u8], value: &[u8]) -> Vec<u8> {
    let key_length = u16::try_from(key.len()).expect("a key is far below 64 KiB");
    let length = u32::try_from(value.len()).expect("a value is far below 4 GiB");
    let mut out = Vec::with_capacity(HEAD_BYTES + key.len() + value.len());
    out.extend_from_slice(&key_length.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out), key);
    out.extend_from_slice(&crc32c::crc32c_append(crc, value).to_be_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value);
    out
}

/// What is wrong with a file of entries.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The operating system refused.
    Io(io::Error),
    /// It is not what was written.
    Damaged(String),
}

/// Reads the entries that count, one after the other, and checks each.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    reader: Entries<BufReader<File>>,
    left: u64,
    known: Part,
}

impl Source {
    /// Opens a file of which the manifest says this.
    pub fn open(path: &Path, known: &Part) -> Result<Self, Error> {
        let damaged = |what| Error::BackupDamaged { path: path.to_owned(), what };
        let file = match there::open(path) {
            Err(Error::Damaged { what, .. }) => return Err(damaged(what)),
            opened => opened?.ok_or_else(|| damaged("the file is gone".to_owned()))?,
        };
        let length = file.metadata().map_err(Error::io("look at", path))?.len();
        if length < known.bytes {
            let what = format!("it has {length} bytes of {}", known.bytes);
            return Err(damaged(what));
        }
        let reader = Entries::new(BufReader::with_capacity(256 * 1024, file));
        let mut source = Self { path: path.to_owned(), reader, left: known.entries, known: *known };
        let begun = source.reader.begin();
        source.told(begun)?;
        Ok(source)
    }

    /// The next entry.
    pub fn read(&mut self) -> Result<Option<Entry>, Error> {
        let Some(left) = self.left.checked_sub(1) else {
            let (found, known) = (&self.reader, &self.known);
            if (found.at, found.crc) == (known.bytes, known.crc) {
                return Ok(None);
            }
            return Err(self
                .told::<()>(Err(Fault::Damaged(format!(
                    "its {} entries end at byte {} of {}, or the checksum of all is another",
                    known.entries, found.at, known.bytes
                ))))
                .expect_err("a fault is an error"));
        };
        self.left = left;
        let next = self.reader.read();
        pulse::beat();
        self.told(next).map(Some)
    }

    fn told<T>(&self, result: Result<T, Fault>) -> Result<T, Error> {
        result.map_err(|fault| match fault {
            Fault::Io(source) => Error::io("read", &self.path)(source),
            Fault::Damaged(what) => Error::BackupDamaged { path: self.path.clone(), what },
        })
    }
}

/// The entries of anything that can be read.
#[derive(Debug)]
pub(crate) struct Entries<R> {
    reader: R,
    at: u64,
    crc: u32,
}

impl<R: Read> Entries<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, at: 0, crc: 0 }
    }

    /// Reads the beginning of the file.
    pub(crate) fn begin(&mut self) -> Result<(), Fault> {
        let start: [u8; START.len()] = self.take()?;
        if start == START { Ok(()) } else { Err(self.fault("no file of entries of version 1")) }
    }

    /// Reads the next entry.
    pub(crate) fn read(&mut self) -> Result<Entry, Fault> {
        let at = self.at;
        let key_length: [u8; 2] = self.take()?;
        let length: [u8; 4] = self.take()?;
        let crc = u32::from_be_bytes(self.take()?);
        let bytes = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if bytes > VALUE_BYTES_MAX {
            return Err(Fault::Damaged(format!("byte {at}: a value longer than values are")));
        }
        let mut key = vec![0; usize::from(u16::from_be_bytes(key_length))];
        self.fill(&mut key)?;
        let mut value = vec![0; bytes];
        self.fill(&mut value)?;
        let head = crc32c::crc32c_append(crc32c::crc32c(&key_length), &length);
        if crc32c::crc32c_append(crc32c::crc32c_append(head, &key), &value) != crc {
            return Err(Fault::Damaged(format!("byte {at}: the checksum does not match")));
        }
        Ok((key, value))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        self.reader.read_exact(bytes).map_err(|why| {
            let is_end = why.kind() == io::ErrorKind::UnexpectedEof;
            if is_end { self.fault("cut short") } else { Fault::Io(why) }
        })?;
        self.at += length_of(bytes);
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        Ok(())
    }

    fn fault(&self, what: &str) -> Fault {
        Fault::Damaged(format!("byte {}: {what}", self.at))
    }
}
