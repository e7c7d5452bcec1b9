//! Makes reading begin at the device.
//!
//! After a sync that failed, Linux keeps the pages and calls them clean, although the device may not
//! have them, and no later sync writes them. The engine stops then. But whoever opens the files next,
//! before the machine starts again, would read records from memory that a power cut takes away, and
//! append behind them. So before anything is read, what is dirty is synced and all that is clean is
//! dropped.
//!
//! This is done at every opening, not only after an end that was not clean: a mark of a clean end
//! would be one more thing to keep right, and what opening reads it has to read once either way.

use std::{fs::File, path::Path};

use super::{Error, StoreKind, pulse, survey::snapshots, there};
use crate::base::planted::is_planted;

/// The files of a store that are read, besides its snapshots.
const FILES: [&str; 4] = [StoreKind::Sled.file(), StoreKind::Redb.file(), "head", "conf"];

/// Forgets what the kernel holds of the files of the store in `dir`.
pub(super) fn forget_all(dir: &Path) -> Result<(), Error> {
    FILES.iter().try_for_each(|name| forget(&dir.join(name)))?;
    snapshots(dir)?.iter().try_for_each(|path| forget(path))
}

/// Forgets what the kernel holds of a file, which need not be there.
///
/// # Errors
/// It cannot be synced, so that nobody knows what the device has.
pub(super) fn forget(path: &Path) -> Result<(), Error> {
    if !there::is_file(path)? {
        // Whoever needs a file here says so.
        return Ok(());
    }
    let file = File::open(path).map_err(Error::io("open", path))?;
    // Only clean pages are dropped.
    file.sync_data().map_err(Error::io("sync", path))?;
    pulse::beat();
    if !is_planted!("trust_page_cache") {
        drop_clean(&file, path);
    }
    Ok(())
}

/// Lets the device read so many bytes while whoever reads them is busy with those before. A kernel
/// that takes no advice only makes reading take longer.
#[cfg(target_os = "linux")]
pub(super) fn read_ahead(file: &File, offset: u64, bytes: u64) {
    let advice = rustix::fs::Advice::WillNeed;
    let _ = rustix::fs::fadvise(file, offset, std::num::NonZero::new(bytes), advice).is_ok();
}

/// Elsewhere there is no such advice.
#[cfg(not(target_os = "linux"))]
pub(super) fn read_ahead(_: &File, _: u64, _: u64) {}

/// A kernel that takes no advice leaves all as it was, which is right unless a sync has failed since
/// the machine was started: no reason to refuse, but one to say so.
#[cfg(target_os = "linux")]
fn drop_clean(file: &File, path: &Path) {
    if let Err(error) = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed) {
        tracing::warn!(
            path = %path.display(),
            %error,
            "the kernel keeps what it holds in memory of this file: after a disk failed, restart the \
             machine before the engine"
        );
    }
}

/// Elsewhere there is no such advice, or no such need.
#[cfg(not(target_os = "linux"))]
fn drop_clean(_: &File, _: &Path) {}
