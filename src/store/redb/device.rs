//! redb's file, as redb asks for it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use redb::StorageBackend;

use crate::{base::planted::is_planted, store::pulse};

/// The file. The lock of the directory is enough, so there is none on it.
#[derive(Debug)]
pub(super) struct Device(File);

impl Device {
    /// Opens the file at `path`, which is there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        told(file).map(Self)
    }
}

impl StorageBackend for Device {
    fn len(&self) -> io::Result<u64> {
        told(self.0.metadata().map(|it| it.len()))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        told(self.0.read_exact_at(out, offset))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        told(self.0.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        if is_planted!("redb_sync_skipped") {
            return Ok(());
        }
        told(self.0.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        told(self.0.write_all_at(data, offset))
    }
}

/// Tells who watches that there was an answer.
fn told<T>(answer: io::Result<T>) -> io::Result<T> {
    pulse::beat();
    answer
}
