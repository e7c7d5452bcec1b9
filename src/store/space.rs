//! How much room there is on the device.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::Error;

const MIB: u64 = 1024 * 1024;

/// Too little room to go on writing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} has {} free, and {} are needed", .path.display(), Bytes(*.free), Bytes(*.needed))]
pub struct Shortage {
    /// Where.
    pub path: PathBuf,
    /// Bytes that are free.
    pub free: u64,
    /// Bytes that must be free for writing to go on.
    pub needed: u64,
}

/// Bytes that this process may still write where `dir` is.
pub fn free_bytes(dir: &Path) -> Result<u64, Error> {
    let stat = rustix::fs::statvfs(dir);
    let stat = stat.map_err(|error| Error::io("measure the free space of", dir)(error.into()))?;
    // Some file systems do not tell how large they are.
    let is_told = stat.f_blocks > 0;
    Ok(if is_told { stat.f_bavail.saturating_mul(stat.f_frsize) } else { u64::MAX })
}

struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < MIB { write!(f, "{} bytes", self.0) } else { write!(f, "{} MiB", self.0 / MIB) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_says_where_how_much_and_how_much_is_needed() {
        let shortage = Shortage { path: "/data".into(), free: 4_096, needed: 288 * MIB };
        assert_eq!(shortage.to_string(), "/data has 4096 bytes free, and 288 MiB are needed");
    }

    #[test]
    fn a_directory_has_free_bytes_and_one_that_is_gone_has_not() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free_bytes(dir.path()).unwrap() > 0);
        let error = free_bytes(&dir.path().join("gone")).unwrap_err().to_string();
        assert!(error.contains("measure the free space of") && error.contains("gone"), "{error}");
    }
}
