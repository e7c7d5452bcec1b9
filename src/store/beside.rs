//! A directory that is made beside its destination and gets its name when it is whole.
//!
//! Until then its name ends in a reserved word, and opening such a directory is refused. A file in
//! it says that it is being made, and goes last, so that what a swap has replaced is told from what
//! is not ready yet.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use tracing::trace_span;

use super::{Error, Head, Lock, Shortage, StoreKind, free_bytes, pulse, there};
use crate::base::InstanceId;

/// What the name ends in while the directory is not to be used.
const RESERVED: [&str; 3] = [".compacting", ".restoring", ".repairing"];
/// The file that says that a directory is being made.
const MARK: &str = "unfinished";
/// The file that is locked.
const LOCK: &str = "lock";
/// Directories that [`Beside::check_swap`] tries to swap.
const TRIED: [&str; 2] = ["one", "other"];
/// What is in a data directory: these, and names that begin so.
const NAMES: [&str; 8] = ["db", "conf", "blobs", LOCK, "head", "head.new", "doubtful", MARK];
const PREFIXES: [&str; 3] = ["snap.", "set-aside.", StoreKind::Redb.file()];

/// What the system counts in, whatever the file system does.
const BLOCK_BYTES: u64 = 512;

/// For what a directory is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To replace another one.
    Compact,
    /// To be new, from a backup.
    Restore,
    /// To be new, from a damaged one.
    Repair,
}

/// Whether a directory of this name is not to be used.
pub(super) fn is_reserved(dir: &Path) -> bool {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    RESERVED.iter().any(|it| name.ends_with(it))
}

/// Something that a copy has left because it was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leftover {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What it is.
    pub(crate) what: &'static str,
    /// What to do with it.
    pub(crate) advice: &'static str,
}

/// What copies to the place of `dir` have left.
pub(crate) fn leftovers(dir: &Path) -> Result<Vec<Leftover>, Error> {
    let dir = fs::canonicalize(dir).map_err(Error::io("find", dir))?;
    let mut found = Vec::new();
    let mut note = |path, what, advice| found.push(Leftover { path, what, advice });
    let mark = dir.join(MARK);
    let unfinished = "a copy that is not finished, or one that a finished one has replaced";
    if is_reserved(&dir) {
        note(dir.clone(), unfinished, "examine the directory that it was made for");
    } else if mark.exists() {
        let what = "a compaction was cut off after the new directory had taken its place";
        note(mark, what, "run `onward compact` again, which removes it");
    }
    for (end, command) in RESERVED.into_iter().zip([COMPACT, RESTORE, AGAIN]) {
        let mut name = dir.file_name().unwrap_or_default().to_owned();
        name.push(end);
        let made = dir.with_file_name(name);
        if made.exists() {
            let is_begun = made.join(MARK).exists();
            let replaced = "a directory that a compaction has replaced, or one just finished";
            note(made, if is_begun { "a copy that was cut off" } else { replaced }, command);
        }
    }
    Ok(found)
}

const COMPACT: &str = "run `onward compact` again, which removes it";
const RESTORE: &str = "remove it, or run `onward restore` again if it was meant to end here";

const AGAIN: &str = "remove it, or run `onward repair` again if it was meant to end here";

/// A directory and the one that is made beside it.
#[derive(Debug)]
pub struct Beside {
    /// What is copied.
    from: PathBuf,
    dir: PathBuf,
    parent: PathBuf,
    made: PathBuf,
}

impl Beside {
    /// Names the directory that is made for `dir` from what is in `from`.
    pub fn new(from: &Path, dir: &Path, purpose: Purpose) -> Result<Self, Error> {
        let [compact, restore, repair] = RESERVED;
        let (find, end): (fn(&Path) -> io::Result<PathBuf>, _) = match purpose {
            // Where it is a link, what it leads to is replaced.
            Purpose::Compact => (|dir| fs::canonicalize(dir), compact),
            Purpose::Restore => (|dir| std::path::absolute(dir), restore),
            Purpose::Repair => (|dir| std::path::absolute(dir), repair),
        };
        let dir = find(dir).map_err(Error::io("find", dir))?;
        if purpose != Purpose::Compact {
            check_outside(&dir, from)?;
            check_outside(from, &dir)?;
        }
        if is_reserved(&dir) {
            return Err(Error::Unfinished { path: dir });
        }
        let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
            return Err(Error::NoSwap { path: dir, why: "it has no name" });
        };
        let mut made = name.to_owned();
        made.push(end);
        let made = parent.join(made);
        Ok(Self { from: from.to_owned(), parent: parent.to_owned(), made, dir })
    }

    /// The directory that is made.
    pub fn made(&self) -> &Path {
        &self.made
    }

    /// What it is made for.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Checks that the directory is not there yet, or empty.
    pub fn check_absent(&self) -> Result<(), Error> {
        let path = || self.dir.clone();
        // Wherever it leads, a directory cannot take its name.
        if fs::symlink_metadata(&self.dir).is_ok_and(|it| it.is_symlink()) {
            return Err(Error::InTheWay { path: path() });
        }
        match there::look(&self.dir)? {
            None => return Ok(()),
            Some(it) if it.is_dir() => {}
            Some(_) => return Err(Error::NotADirectory { path: path() }),
        }
        let mut entries = fs::read_dir(&self.dir).map_err(Error::io("read", &self.dir))?;
        if entries.next().is_some() { Err(Error::InTheWay { path: path() }) } else { Ok(()) }
    }

    /// Checks that the directory holds nothing that would be removed with it by mistake.
    pub fn check_strangers(&self) -> Result<(), Error> {
        refuse_strangers(&self.dir)
    }

    /// Begins, or goes on with what a process that was killed has left; nobody else does, as long as
    /// the lock is held. What a swap has replaced is removed; anything else in the way is not touched.
    pub fn begin(&self, instance: InstanceId) -> Result<Arc<Lock>, Error> {
        self.remove_mark(&self.dir)?;
        if there::is_any(&self.made)? && !there::is_any(&self.made.join(MARK))? {
            if !there::is_dir(&self.made)? {
                return Err(Error::InTheWay { path: self.made.clone() });
            }
            // It may be whole and about to get its name.
            let _hold = Lock::hold(&self.made)?;
            self.remove_replaced(instance)?;
        }
        self.mark()?;
        Lock::take(&self.made)
    }

    /// Makes the directory and says in it that it is being made.
    fn mark(&self) -> Result<(), Error> {
        if !there::is_any(&self.made)? {
            create_like(&self.from, &self.made)?;
            sync(&self.parent)?;
        }
        there::create_anew(&self.made.join(MARK))?;
        sync(&self.made)
    }

    /// Removes what has been made so far, to begin again. What says that it is being made, and by
    /// whom, stays.
    pub fn restart(&self) -> Result<(), Error> {
        refuse_strangers(&self.made)?;
        clear(&self.made, &[MARK, LOCK])?;
        sync(&self.made)
    }

    /// Removes the directory that a swap has replaced: whole or, if that was interrupted, the rest.
    pub fn remove_replaced(&self, instance: InstanceId) -> Result<(), Error> {
        let is_empty = || Ok(fs::read_dir(&self.made)?.next().is_none());
        if !is_empty().map_err(Error::io("read", &self.made))? {
            let (_, state) = Head::open(&self.made)?;
            if state.is_none_or(|it| it.instance != instance) {
                return Err(Error::InTheWay { path: self.made.clone() });
            }
            refuse_strangers(&self.made)?;
        }
        let _span = trace_span!("copy_remove").entered();
        remove_all(&self.made, "head")?;
        sync(&self.parent)
    }

    /// Puts the new directory in the old one's place, in one step; the old one is where the new one
    /// was made.
    pub fn swap(&self) -> Result<(), Error> {
        let _span = trace_span!("copy_swap").entered();
        sync(&self.made)?;
        exchange(&self.made, &self.dir).map_err(|errno| self.no_swap(errno))?;
        sync(&self.parent)?;
        self.remove_mark(&self.dir)
    }

    /// Gives the new directory its name, which nothing has.
    pub fn name(&self) -> Result<(), Error> {
        let _span = trace_span!("copy_name").entered();
        self.remove_mark(&self.made)?;
        renameat_with(CWD, &self.made, CWD, &self.dir, RenameFlags::empty())
            .map_err(|errno| Error::io("create", &self.dir)(errno.into()))?;
        sync(&self.parent)
    }

    /// Checks before the work that a swap is possible: the same file system, one that can do it.
    pub fn check_swap(&self) -> Result<(), Error> {
        let device = |path: &Path| fs::metadata(path).map(|it| it.dev());
        let [dir, parent] =
            [&self.dir, &self.parent].map(|path| device(path).map_err(Error::io("look at", path)));
        if dir? != parent? {
            return Err(self.no_swap(Errno::XDEV));
        }
        let [one, other] = TRIED.map(|name| self.made.join(name));
        [&one, &other]
            .into_iter()
            .try_for_each(|path| fs::create_dir_all(path).map_err(Error::io("create", path)))?;
        let result = exchange(&one, &other).map_err(|errno| self.no_swap(errno));
        [&one, &other]
            .into_iter()
            .try_for_each(|path| fs::remove_dir(path).map_err(Error::io("remove", path)))?;
        result
    }

    fn no_swap(&self, errno: Errno) -> Error {
        let why = match errno {
            Errno::XDEV | Errno::BUSY => "it is a mount point: use a directory below it",
            Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => {
                "its file system cannot; restore a backup into a new directory instead"
            }
            other => return Error::io("swap", &self.dir)(other.into()),
        };
        Error::NoSwap { path: self.dir.clone(), why }
    }

    /// Checks that there is room for so many bytes, what has been made already included.
    pub fn check_room(&self, needed: u64) -> Result<(), Error> {
        let bytes = |kind: StoreKind| fs::metadata(kind.path(&self.made)).map_or(0, |it| it.len());
        let made = StoreKind::ALL.map(bytes).iter().sum();
        check_room(&self.parent, needed.saturating_sub(made))
    }

    fn remove_mark(&self, dir: &Path) -> Result<(), Error> {
        let mark = dir.join(MARK);
        if there::is_any(&mark)? {
            fs::remove_file(&mark).map_err(Error::io("remove", &mark))?;
            sync(dir)?;
        }
        Ok(())
    }
}

/// Whether a data directory has files of this name.
pub(crate) fn is_ours(name: &str) -> bool {
    NAMES.contains(&name) || PREFIXES.iter().any(|it| name.starts_with(it))
}

/// Checks that `path`, which need not be there, is not `dir` and not in it.
pub(crate) fn check_outside(path: &Path, dir: &Path) -> Result<(), Error> {
    if resolve(path)?.starts_with(resolve(dir)?) {
        return Err(Error::NotOutside { path: path.to_owned(), dir: dir.to_owned() });
    }
    Ok(())
}

/// The path without links, as far as it is there.
fn resolve(path: &Path) -> Result<PathBuf, Error> {
    let path = std::path::absolute(path).map_err(Error::io("find", path))?;
    for it in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (fs::canonicalize(it), path.strip_prefix(it)) {
            return Ok(if rest == Path::new("") { real } else { real.join(rest) });
        }
    }
    Ok(path)
}

/// Checks that there is room for so many bytes where `dir` is.
pub(crate) fn check_room(dir: &Path, needed: u64) -> Result<(), Error> {
    let free = free_bytes(dir)?;
    if free < needed {
        return Err(Error::NoRoom(Shortage { path: dir.to_owned(), free, needed }));
    }
    Ok(())
}

/// A data directory with other people's files in it is not removed.
fn refuse_strangers(dir: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let entry = entry.map_err(Error::io("read", dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !is_ours(&name) && !TRIED.contains(&&*name) {
            return Err(Error::InTheWay { path: entry.path() });
        }
    }
    Ok(())
}

/// Removes a directory, the file that tells what it is last.
fn remove_all(dir: &Path, last: &str) -> Result<(), Error> {
    clear(dir, &[last])?;
    // A power cut must not leave anything that this file no longer tells of.
    sync(dir)?;
    fs::remove_dir_all(dir).map_err(Error::io("remove", dir))
}

/// Removes what is in a directory, but for the files of these names.
fn clear(dir: &Path, kept: &[&str]) -> Result<(), Error> {
    let what = "remove";
    for entry in fs::read_dir(dir).map_err(Error::io(what, dir))? {
        let path = entry.map_err(Error::io(what, dir))?.path();
        if there::is_dir(&path)? {
            fs::remove_dir_all(&path).map_err(Error::io(what, &path))?;
        } else if path.file_name().is_none_or(|name| kept.iter().all(|it| name != *it)) {
            fs::remove_file(&path).map_err(Error::io(what, &path))?;
        }
    }
    Ok(())
}

/// Makes the directory `to`, for a copy of what is in `from`: who may not look into the one may not
/// look into the other, at no moment.
pub(super) fn create_like(from: &Path, to: &Path) -> Result<(), Error> {
    let permissions = fs::metadata(from).map_err(Error::io("look at", from))?.permissions();
    DirBuilder::new().mode(0o700).create(to).map_err(Error::io("create", to))?;
    fs::set_permissions(to, permissions).map_err(Error::io("protect", to))
}

fn exchange(one: &Path, other: &Path) -> Result<(), Errno> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)
}

/// Makes a directory where there is none, durably.
pub(super) fn create(dir: &Path) -> Result<(), Error> {
    match there::look(dir)? {
        Some(it) if it.is_dir() => return Ok(()),
        Some(_) => return Err(Error::NotADirectory { path: dir.to_owned() }),
        None => {}
    }
    // A relative path has parents in the directory that we are in.
    let dir = std::path::absolute(dir).map_err(Error::io("find", dir))?;
    let mut missing = Vec::new();
    for it in dir.ancestors() {
        if there::is_any(it)? {
            break;
        }
        missing.push(it);
    }
    fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
    // A new directory is durable once the one that holds it is.
    missing.iter().filter_map(|it| it.parent()).try_for_each(sync)
}

/// Bytes that a file takes on the disk. It may be longer, where some of it was never written.
pub(crate) fn used_bytes(path: &Path) -> Result<u64, Error> {
    let found = fs::metadata(path).map_err(Error::io("look at", path))?;
    Ok(found.blocks() * BLOCK_BYTES)
}

/// Makes the names in `dir` durable.
pub(super) fn sync(dir: &Path) -> Result<(), Error> {
    let synced = File::open(dir).and_then(|file| file.sync_all());
    pulse::beat();
    synced.map_err(Error::io("sync", dir))
}
