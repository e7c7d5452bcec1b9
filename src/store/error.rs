//! What can go wrong below the engine. Every variant is a reason to stop.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::Shortage;
use crate::base::{
    InstanceId, Lsn, Malformed, Span, Timestamp, limits::PARTITIONS_MAX, thread::NoThread,
};

/// A fault of the disk, of its contents, or of the way the directory is used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {what} {}: {source}; {}", .path.display(), advice(.source))]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process, or another engine in this one, holds the directory.
    #[error("{} is in use by another process; stop it or choose another directory", .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// There is no data directory here.
    #[error("{} holds no data; check the path, or create it by starting the engine there", .path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// There is something else here.
    #[error(
        "{} is a backup; give a data directory, or make one from it with `onward restore`",
        .path.display()
    )]
    IsBackup {
        /// The directory.
        path: PathBuf,
    },
    /// The store of a directory is chosen when it is made.
    #[error(
        "{} is kept by {found}, not {asked}, and stays so; leave the choice out, or make a new \
         directory from a backup of it", .path.display()
    )]
    OtherStore {
        /// The directory.
        path: PathBuf,
        /// The store that is there.
        found: &'static str,
        /// The one that was asked for.
        asked: &'static str,
    },
    /// This program has not the store that is there or asked for.
    #[error(
        "{} needs the store {kind}, which this program was built without; use one that was built \
         with the feature store-{kind}", .path.display()
    )]
    NoSuchStore {
        /// The directory.
        path: PathBuf,
        /// The store.
        kind: &'static str,
    },
    /// What reads the file of a store itself knows that of sled only.
    #[error(
        "{} is kept by {kind}, whose file cannot be read without it, so there is nothing to save; \
         restore a backup", .path.display()
    )]
    NoSalvage {
        /// The directory.
        path: PathBuf,
        /// The store.
        kind: &'static str,
    },
    /// What is to be made would be in what it is made from.
    #[error("{} is not outside {}; choose a place that is", .path.display(), .dir.display())]
    NotOutside {
        /// What was to be made, or what it is made from.
        path: PathBuf,
        /// The other.
        dir: PathBuf,
    },
    /// The path names something else.
    #[error("{} is not a directory; choose another path", .path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// A newer program wrote this directory.
    #[error(
        "the directory has format {found} and this program knows up to {known}; use a newer program"
    )]
    NewerFormat {
        /// What the directory says.
        found: u16,
        /// What this program can read.
        known: u16,
    },
    /// Something of another data directory.
    #[error(
        "{place} belongs to directory {found}, not {expected}; restore the file that belongs here"
    )]
    OtherInstance {
        /// Where it was found.
        place: String,
        /// Whose it is.
        found: InstanceId,
        /// Whose it should be.
        expected: InstanceId,
    },
    /// The number of partitions is fixed when a directory is created.
    #[error("the directory has {found} partitions, not {expected}; the count is fixed at creation")]
    PartitionCount {
        /// What the directory says.
        found: u16,
        /// What was asked for.
        expected: u16,
    },
    /// No directory has so many partitions.
    #[error("a directory has 1 to {PARTITIONS_MAX} partitions, not {asked}")]
    PartitionsAsked {
        /// How many were asked for.
        asked: u16,
    },
    /// Each partition has a directory of its own.
    #[error(
        "{} has {count} partitions, each in a directory of its own; name one of them, such as {}",
        path.display(),
        path.join("partition-0").display()
    )]
    Partitioned {
        /// Which directory.
        path: PathBuf,
        /// How many it has.
        count: u16,
    },
    /// The customers of one partition are not all of them.
    #[error(
        "{} is one partition of {}, which has the others as well; give that one",
        path.display(),
        whole.display()
    )]
    OnePartition {
        /// What was given.
        path: PathBuf,
        /// What it belongs to.
        whole: PathBuf,
    },
    /// A directory of several has lost one.
    #[error(
        "{} is gone, and others of the same directory are there; bring it back, or restore its \
         backup to there; an empty directory of that name makes the partition anew, without its customers",
        path.display()
    )]
    PartitionGone {
        /// Where it was.
        path: PathBuf,
    },
    /// There are partitions, and nothing says how many there should be.
    #[error(
        "{} holds {}, but the file `partitions` is gone; if those are all of them, say how many \
         they are with --partitions; otherwise bring the others back first",
        path.display(),
        found.iter().map(|it| format!("partition-{it}")).collect::<Vec<_>>().join(", ")
    )]
    Uncounted {
        /// Which directory.
        path: PathBuf,
        /// The numbers of those that hold data.
        found: Vec<u16>,
    },
    /// A backup is of one log.
    #[error(
        "there are {count} partitions, and each has a backup of its own; back up one at a time"
    )]
    SeveralLogs {
        /// How many.
        count: u16,
    },
    /// The directory is another partition's.
    #[error(
        "{} is the data of partition {found}, not of partition {expected}; put the directories of \
         the partitions back where they were",
        path.display()
    )]
    OtherPartition {
        /// Which directory.
        path: PathBuf,
        /// Whose it is.
        found: u16,
        /// Whose it should be.
        expected: u16,
    },
    /// The hash that places customers is fixed when a directory is created.
    #[error(
        "the directory places customers by {found}, not {expected}; use the program that made it"
    )]
    OtherHash {
        /// What the directory says.
        found: String,
        /// What this program uses.
        expected: &'static str,
    },
    /// Stored bytes are not what was written.
    #[error(
        "{place} is damaged: {what}; restore a backup, or save what is whole with `onward repair`, \
         which knows the file of sled only"
    )]
    Damaged {
        /// What is wrong.
        what: String,
        /// Where.
        place: String,
    },
    /// Somebody else appended at this position.
    #[error("position {position} of the log is taken; another owner writes it, so start again")]
    Conflict {
        /// Where.
        position: u64,
    },
    /// The log ends before what was acknowledged.
    #[error(
        "the log ends at record {ends}, but record {acknowledged} was acknowledged at {at}; restore \
         the missing data, or continue without it with --accept-loss"
    )]
    Shortened {
        /// The last record that is there.
        ends: Lsn,
        /// The last record that somebody was told of.
        acknowledged: Lsn,
        /// When.
        at: Timestamp,
    },
    /// Nothing says how far the log was acknowledged.
    #[error(
        "the file head is not in {}, so whether records after {last}, the last one there, were \
         acknowledged cannot be told; restore the file, or continue without it with --accept-loss",
        .path.display()
    )]
    Headless {
        /// The directory.
        path: PathBuf,
        /// The last record that is there.
        last: Lsn,
    },
    /// The file is no export of a log.
    #[error("{} is no export of a log; choose another file", .path.display())]
    NoExport {
        /// The file.
        path: PathBuf,
    },
    /// Chunks between an export and the log are gone.
    #[error(
        "{} ends before position {ends}, but the log begins at {first}; export to another file",
        .path.display()
    )]
    ExportGap {
        /// The export.
        path: PathBuf,
        /// The position that would come next in it.
        ends: u64,
        /// The first chunk that is left.
        first: u64,
    },
    /// What is left of the log does not give the rows again.
    #[error(
        "the log is trimmed up to record {trimmed}, and what is left of it cannot give the rows \
         again without the acknowledged records that are gone; restore a backup"
    )]
    NoWayBack {
        /// The last record that is trimmed.
        trimmed: Lsn,
    },
    /// Somebody reads rows as they were at a checkpoint, and the engine had to go on to the next.
    #[error(
        "the rows did not stay as they were while they were read: the cache had no room for what \
         changed meanwhile, or the engine stopped; try again, or give it more cache_bytes"
    )]
    Thawed,
    /// The device gives no answer.
    #[error(
        "no answer from {} for {waited} after the call to {what} it; the disk hangs: mend it and \
         start again", .path.display()
    )]
    Stalled {
        /// What was tried, as a verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// For how long at least.
        waited: Span,
    },
    /// The system has no thread to give.
    #[error(transparent)]
    NoThread(#[from] NoThread),
    /// A directory that is being made, or that a finished one has replaced.
    #[error(
        "{} is not finished, or was replaced; give the directory that it was made for",
        .path.display()
    )]
    Unfinished {
        /// The directory.
        path: PathBuf,
    },
    /// Something is where a directory is to be made or removed.
    #[error("{} is in the way; move it elsewhere", .path.display())]
    InTheWay {
        /// What it is.
        path: PathBuf,
    },
    /// A directory cannot be replaced in one step.
    #[error("{} cannot be replaced in one step: {why}", .path.display())]
    NoSwap {
        /// The directory.
        path: PathBuf,
        /// Why not, and what to do.
        why: &'static str,
    },
    /// A copy has no room.
    #[error("{0}; make room")]
    NoRoom(Shortage),
    /// There is no backup here.
    #[error("{} holds no backup; check the path", .path.display())]
    NoBackup {
        /// The directory.
        path: PathBuf,
    },
    /// A backup of something else.
    #[error("{} does not go on from here: {what}; back up to a new place", .path.display())]
    OtherBackup {
        /// The backup.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// A file of a backup is not what was written.
    #[error(
        "the backup is damaged: {}: {what}; make another one to a new place while the original is \
         there",
        .path.display()
    )]
    BackupDamaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where in it.
        what: String,
    },
    /// An earlier operation failed, and what is in memory may not be what is on disk.
    #[error("an earlier operation on {} failed; close the directory and open it again", .path.display())]
    Poisoned {
        /// The directory.
        path: PathBuf,
    },
}

/// What helps where the operating system refused.
fn advice(source: &io::Error) -> &'static str {
    use io::ErrorKind::{
        AlreadyExists, IsADirectory, NotADirectory, NotFound, PermissionDenied, QuotaExceeded,
        ReadOnlyFilesystem, StorageFull,
    };
    let known = [
        (NotFound, "check the path"),
        (NotADirectory, "check the path: a part of it is no directory"),
        (IsADirectory, "check the path: a file belongs there"),
        (AlreadyExists, "move what is there elsewhere, or choose another path"),
        (PermissionDenied, "check its permissions"),
        (
            ReadOnlyFilesystem,
            "choose a place that can be written to; `onward doctor` and `onward repair` need none",
        ),
        (StorageFull, "make room"),
        (QuotaExceeded, "make room"),
    ];
    if source.raw_os_error() == Some(Errno::MFILE.raw_os_error()) {
        return "raise the limit of open files (`ulimit -n`)";
    }
    let fitting = known.iter().find(|(kind, _)| *kind == source.kind());
    fitting.map_or("check its permissions, the free space and the disk", |(_, advice)| advice)
}

impl Error {
    /// Whether it is that a write found no room, which may pass.
    pub fn is_no_space(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// For `map_err`: the operating system refused to do `what` on `path`.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }

    /// For `map_err`: the bytes at `place` are not in their format.
    pub(super) fn malformed(place: impl FnOnce() -> String) -> impl FnOnce(Malformed) -> Self {
        move |why| Self::Damaged { what: why.to_string(), place: place() }
    }
}
