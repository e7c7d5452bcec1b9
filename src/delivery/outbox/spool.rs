//! The directory: files appear whole or not at all, and one sync of the directory serves many.

use std::fs::{self, File as Handle, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::after;
use tokio::sync::{mpsc, oneshot};
use tracing::trace_span;

use crate::base::{ContentHash, limits::OUTBOX_BATCH, planted::is_planted};
use crate::machine::delivery::Outcome;

/// Files that are not whole yet; readers of the directory skip them.
const TEMPORARY: &str = ".tmp-";
/// How often and how long apart the lock is tried.
const LOCK_TRIES: u32 = 20;
const LOCK_PERIOD: Duration = Duration::from_millis(100);

/// A file to be written.
#[derive(Debug)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// A file and who waits for it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) file: File,
    pub(super) answer: oneshot::Sender<Outcome>,
}

/// A directory that nobody else writes to.
#[derive(Debug)]
pub(super) struct Spool {
    dir: PathBuf,
    /// Of the directory itself: a file to lock would lie among the messages.
    _lock: Handle,
}

impl Spool {
    /// Makes the directory ready, and takes away what is not whole.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        create_durably(dir)?;
        let lock = lock(dir)?;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }

    /// Writes batch by batch until nobody can send requests any more.
    pub(super) fn run(self, mut requests: mpsc::Receiver<Request>) {
        let mut batch = Vec::with_capacity(OUTBOX_BATCH);
        while requests.blocking_recv_many(&mut batch, OUTBOX_BATCH) > 0 {
            let (files, answers): (Vec<_>, Vec<_>) =
                batch.drain(..).map(|request| (request.file, request.answer)).unzip();
            for (answer, outcome) in answers.into_iter().zip(write(&self.dir, &files)) {
                // An attempt that timed out waits no more.
                drop(answer.send(outcome));
            }
        }
    }
}

/// Locks the directory. An outbox of this process that was just dropped may still be writing, so
/// it is waited for, a while.
fn lock(dir: &Path) -> io::Result<Handle> {
    let handle = Handle::open(dir)?;
    for _ in 0..LOCK_TRIES {
        match handle.try_lock() {
            Ok(()) => return Ok(handle),
            Err(TryLockError::WouldBlock) => drop(after(LOCK_PERIOD).recv()),
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, "the outbox cannot be locked; let nothing else use it");
                return Ok(handle);
            }
        }
    }
    Err(ErrorKind::ResourceBusy.into())
}

/// Creates what is missing of the path, each entry synced in its parent. So is the one of the outbox
/// where it is there: whoever made it may have been killed before the sync.
fn create_durably(dir: &Path) -> io::Result<()> {
    let parent = match dir.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) => Path::new("."),
        // The root.
        None => return Ok(()),
    };
    if dir.is_dir() {
        return match sync(parent) {
            // Then it was made for us.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        };
    }
    create_durably(parent)?;
    fs::create_dir(dir)?;
    sync(parent)
}

/// Puts each file in place, then syncs the directory once for all of them.
pub(super) fn write(dir: &Path, files: &[File]) -> Vec<Outcome> {
    let placed: Vec<_> = files.iter().map(|file| place(dir, file)).collect();
    let synced = trace_span!("outbox_dir_sync")
        .in_scope(|| if is_planted!("skip_outbox_dir_sync") { Ok(()) } else { sync(dir) });
    let synced = synced.map_err(|error| deferred(dir, &error));
    let outcome = |(file, placed): (&File, Result<(), Outcome>)| {
        placed.and_then(|()| synced.clone()).map_or_else(
            |failure| failure,
            |()| Outcome::Sent { hash: ContentHash::of(&file.bytes) },
        )
    };
    files.iter().zip(placed).map(outcome).collect()
}

fn place(dir: &Path, file: &File) -> Result<(), Outcome> {
    let path = dir.join(&file.name);
    let done = match holds(&path, &file.bytes) {
        Ok(true) => trace_span!("outbox_again").in_scope(|| sync(&path)),
        Ok(false) => {
            let error = format!(
                "{} exists with another content and is kept: it is of another data directory, there \
                 or gone; give this one an outbox of its own",
                path.display()
            );
            return Err(Outcome::Broken { error });
        }
        Err(error) if error.kind() == ErrorKind::NotFound => create(dir, file, &path),
        Err(error) => Err(error),
    };
    done.map_err(|error| deferred(&path, &error))
}

/// Whether a file with these bytes is at `path`. What somebody else has put there may be a pipe, or
/// of any length.
fn holds(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let found = fs::metadata(path)?;
    let is_as_long = u64::try_from(bytes.len()).is_ok_and(|length| length == found.len());
    if !found.is_file() || !is_as_long {
        return Ok(false);
    }
    let mut present = Vec::with_capacity(bytes.len());
    Handle::open(path)?.take(found.len()).read_to_end(&mut present)?;
    Ok(present == bytes)
}

fn create(dir: &Path, file: &File, path: &Path) -> io::Result<()> {
    let temporary: PathBuf = dir.join(format!("{TEMPORARY}{}", file.name));
    let handle = trace_span!("outbox_write").in_scope(|| {
        let mut handle = create_anew(&temporary)?;
        handle.write_all(&file.bytes).map(|()| handle)
    })?;
    if !is_planted!("skip_outbox_file_sync") {
        trace_span!("outbox_sync").in_scope(|| handle.sync_all())?;
    }
    trace_span!("outbox_rename").in_scope(|| fs::rename(&temporary, path))
}

/// Makes the file instead of what a failed attempt has left. A link there is not followed.
fn create_anew(path: &Path) -> io::Result<Handle> {
    match Handle::create_new(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            Handle::create_new(path)
        }
        other => other,
    }
}

fn sync(path: &Path) -> io::Result<()> {
    Handle::open(path)?.sync_all()
}

fn deferred(path: &Path, error: &io::Error) -> Outcome {
    Outcome::Broken { error: format!("{}: {error}", path.display()) }
}
