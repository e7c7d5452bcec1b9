//! A file of chunks, written at its end and read from its beginning.
//!
//! It begins with magic `ONWK` and version (u8). Each chunk is position (u64), length (u32), CRC-32C
//! of these two and the chunk (u32), the chunk. Integers are big-endian.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use tracing::trace_span;

use super::manifest::ChunkFile;
use crate::{
    base::{bytes::length_of, limits::CHUNK_BYTES_MAX},
    store::Error,
};

const START: [u8; 5] = *b"ONWK\x01";
/// Bytes before a chunk.
const ENTRY_BYTES: usize = 16;

/// Adds to a file of chunks.
#[derive(Debug)]
pub struct Sink {
    path: PathBuf,
    file: BufWriter<File>,
    state: ChunkFile,
}

impl Sink {
    /// Opens the file where what counts of it ends; what lies behind is cut off.
    pub fn open(path: &Path, known: &ChunkFile) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(path);
        let mut file = file.map_err(Error::io("open", path))?;
        file.set_len(known.bytes)
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .map_err(Error::io("write", path))?;
        let (file, state) = (BufWriter::with_capacity(256 * 1024, file), known.clone());
        let mut sink = Self { path: path.to_owned(), file, state };
        if known.bytes == 0 {
            sink.write(&START)?;
        }
        Ok(sink)
    }

    /// Adds a chunk.
    pub fn put(&mut self, position: u64, chunk: &[u8]) -> Result<(), Error> {
        let _span = trace_span!("backup_chunk").entered();
        self.write(&entry(position, chunk))?;
        self.state.chunks += 1;
        Ok(())
    }

    /// What is written so far.
    pub fn state(&self) -> ChunkFile {
        self.state.clone()
    }

    /// Returns once all of it is on the device.
    pub fn finish(self) -> Result<(), Error> {
        let Self { path, file, .. } = self;
        let file = file.into_inner().map_err(|why| Error::io("write", &path)(why.into_error()))?;
        file.sync_all().map_err(Error::io("sync", &path))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))?;
        self.state.bytes += length_of(bytes);
        self.state.crc = crc32c::crc32c_append(self.state.crc, bytes);
        Ok(())
    }
}

/// A chunk as it is written.
pub(crate) fn entry(position: u64, chunk: &[u8]) -> Vec<u8> {
    let length = u32::try_from(chunk.len()).expect("a chunk is far below 4 GiB");
    let mut out = Vec::with_capacity(ENTRY_BYTES + chunk.len());
    out.extend_from_slice(&position.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out), chunk);
    out.extend_from_slice(&crc.to_be_bytes());
    out.extend_from_slice(chunk);
    out
}

/// What is wrong with a file of chunks.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The operating system refused.
    Io(io::Error),
    /// It is not what was written.
    Damaged(String),
}

/// Reads the chunks that count, one after the other, and checks each.
#[derive(Debug)]
pub struct Chunks {
    path: PathBuf,
    reader: Entries<BufReader<File>>,
    left: u64,
    known: ChunkFile,
}

impl Chunks {
    /// Opens a file of which the manifest says this.
    pub fn open(path: &Path, known: &ChunkFile) -> Result<Self, Error> {
        let damaged = |what| Error::BackupDamaged { path: path.to_owned(), what };
        let file = match File::open(path) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                return Err(damaged("the file is gone".to_owned()));
            }
            other => other.map_err(Error::io("open", path))?,
        };
        let length = file.metadata().map_err(Error::io("look at", path))?.len();
        if length < known.bytes {
            let what = format!("it has {length} bytes of {}", known.bytes);
            return Err(damaged(what));
        }
        let reader = Entries::new(BufReader::with_capacity(256 * 1024, file));
        let mut chunks =
            Self { path: path.to_owned(), reader, left: known.chunks, known: known.clone() };
        let begun = chunks.reader.begin();
        chunks.told(begun)?;
        Ok(chunks)
    }

    /// The next chunk with its position.
    pub fn read(&mut self) -> Result<Option<(u64, Vec<u8>)>, Error> {
        let Some(left) = self.left.checked_sub(1) else {
            let (found, known) = (&self.reader, &self.known);
            if (found.at, found.crc) == (known.bytes, known.crc) {
                return Ok(None);
            }
            return Err(self
                .told::<()>(Err(Fault::Damaged(format!(
                    "its {} chunks end at byte {} of {}, or the checksum of all is another",
                    known.chunks, found.at, known.bytes
                ))))
                .expect_err("a fault is an error"));
        };
        self.left = left;
        let next = self.reader.read();
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
        if start == START { Ok(()) } else { Err(self.fault("no file of chunks of version 1")) }
    }

    /// Reads the next entry.
    pub(crate) fn read(&mut self) -> Result<(u64, Vec<u8>), Fault> {
        let at = self.at;
        let position: [u8; 8] = self.take()?;
        let length: [u8; 4] = self.take()?;
        let crc = u32::from_be_bytes(self.take()?);
        let bytes = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if bytes > CHUNK_BYTES_MAX {
            return Err(Fault::Damaged(format!("byte {at}: a chunk longer than chunks are")));
        }
        let mut chunk = vec![0; bytes];
        self.fill(&mut chunk)?;
        let head = crc32c::crc32c_append(crc32c::crc32c(&position), &length);
        if crc32c::crc32c_append(head, &chunk) != crc {
            return Err(Fault::Damaged(format!("byte {at}: the checksum does not match")));
        }
        Ok((u64::from_be_bytes(position), chunk))
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
