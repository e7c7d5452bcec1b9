//! What counts of a backup: a frame (magic `ONWM`, version, body, CRC-32C) with the state of the log
//! at its end and, of each file, how much of it counts.

use serde::{Deserialize, Serialize};

use crate::{
    base::{Lsn, Malformed, codec},
    store::{Fold, frame},
};

const MAGIC: [u8; 4] = *b"ONWM";
const VERSION: u8 = 1;

/// What the names of files begin with.
pub(super) const CHUNKS: &str = "chunks-";
pub(super) const IMAGE: &str = "image-";

/// Which files there are, and how much of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The state of the log after all chunks.
    pub end: Fold,
    /// The files of chunks, in the order of the log. A key is a position (u64).
    pub files: Vec<ChunkFile>,
    /// Everything but the log at one checkpoint, where the log's beginning is trimmed.
    pub image: Option<Image>,
}

/// How much of a file counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Part {
    /// Bytes; 0 where not even the beginning of the file is written.
    pub bytes: u64,
    /// Entries in them.
    pub entries: u64,
    /// CRC-32C of those bytes.
    pub crc: u32,
}

/// A file of chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkFile {
    /// The state of the log before its first chunk.
    pub start: Fold,
    /// How much of it counts.
    pub part: Part,
}

/// A file with the entries of every tree but the log. A key is the number of the tree (u8) and the
/// key there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The checkpoint.
    pub at: Lsn,
    /// How much of it counts.
    pub part: Part,
}

impl ChunkFile {
    /// What the file is called whose first chunk is at this position.
    pub fn name(position: u64) -> String {
        format!("{CHUNKS}{position:020}")
    }
}

impl Image {
    /// What the file is called.
    pub fn name(&self) -> String {
        format!("{IMAGE}{:020}", self.at.0)
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

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        let parts = self.files.iter().map(|it| it.part).chain(self.image.map(|it| it.part));
        parts.map(|it| it.bytes).sum()
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
        if !folds.iter().all(|it| it.is_sound()) {
            return Err(Malformed("a state that no log has"));
        }
        if !folds.is_sorted_by(|one, next| one.position() < next.position()) {
            return Err(Malformed("files that are not in the order of their chunks"));
        }
        if (manifest.start().position() > 0) != manifest.image.is_some() {
            return Err(Malformed("a log without its beginning and without an image of the rest"));
        }
        Ok(manifest)
    }
}
