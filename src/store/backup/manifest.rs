//! What counts of a backup: a frame (magic `ONWM`, version, body, CRC-32C) with the state of the log
//! at its end and, of each file of chunks, the state before it, bytes, chunks and checksum.

use serde::{Deserialize, Serialize};

use crate::{
    base::{Malformed, codec},
    store::{Fold, frame},
};

const MAGIC: [u8; 4] = *b"ONWM";
const VERSION: u8 = 1;

/// What the name of a file of chunks begins with.
pub(super) const CHUNKS: &str = "chunks-";

/// Which files there are, and how much of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The state of the log after all chunks.
    pub end: Fold,
    /// The files, in the order of their chunks.
    pub files: Vec<ChunkFile>,
}

/// A file of chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkFile {
    /// The state of the log before its first chunk.
    pub start: Fold,
    /// How many bytes of it count.
    pub bytes: u64,
    /// How many chunks they hold.
    pub chunks: u64,
    /// CRC-32C of those bytes.
    pub crc: u32,
}

impl ChunkFile {
    /// A file with nothing in it, not even its beginning.
    pub fn new(start: Fold) -> Self {
        Self { start, bytes: 0, chunks: 0, crc: 0 }
    }

    /// What the file is called whose first chunk is at this position.
    pub fn name(position: u64) -> String {
        format!("{CHUNKS}{position:020}")
    }
}

impl Manifest {
    /// The state of the log before all chunks.
    pub fn start(&self) -> &Fold {
        self.files.first().map_or(&self.end, |it| &it.start)
    }

    /// The state of the log before the last file.
    pub fn last_start(&self) -> &Fold {
        self.files.last().map_or(&self.end, |it| &it.start)
    }

    /// The state of the log after `file`; none after the last one.
    pub fn start_after(&self, file: &ChunkFile) -> Option<&Fold> {
        let after = self.files.iter().find(|it| file.start.position() < it.start.position());
        after.map(|it| &it.start)
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        frame::seal(MAGIC, VERSION, |out| codec::encode_into(out, self))
    }

    /// Reads them back.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let manifest: Self = codec::decode(frame::open(MAGIC, VERSION, bytes)?.rest())?;
        let folds: Vec<&Fold> =
            manifest.files.iter().map(|it| &it.start).chain([&manifest.end]).collect();
        if !folds.iter().all(|it| it.is_between_groups()) {
            return Err(Malformed("a state within a group of records"));
        }
        if !folds.is_sorted_by(|one, next| one.position() < next.position()) {
            return Err(Malformed("files that are not in the order of their chunks"));
        }
        Ok(manifest)
    }
}
