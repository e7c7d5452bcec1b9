//! The disk as a file system that the kernel mounts: any program can work in it. It answers one
//! request after the other, and no write waits in the kernel: what a program has written is in the
//! log, in the order in which the program wrote. Reads reach it too, unless the kernel is to keep
//! what was read and written, as it does with every other disk.

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::{Duration, UNIX_EPOCH},
};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenAccMode, OpenFlags, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use tempfile::TempDir;

use crate::{
    disk::{Disk, Mark, Name, Node, Op, Size},
    fault::{Faults, Kind},
};

/// The kernel asks again each time.
const TTL: Duration = Duration::ZERO;
const BLOCK: u32 = 4096;
/// How long an unmounting waits for a program that is just going away.
const PAUSE: Duration = Duration::from_millis(20);

/// A mounted disk; dropped, it is unmounted.
#[derive(Debug)]
pub(crate) struct Mount {
    session: Option<BackgroundSession>,
    shared: Shared,
    dir: TempDir,
}

#[derive(Debug, Clone)]
struct Shared {
    state: Arc<(Mutex<Disk>, Condvar)>,
    /// What the kernel is to do with files that are opened.
    opened: FopenFlags,
}

impl Mount {
    /// An empty disk; none where the kernel lets us mount nothing, after saying so.
    pub(crate) fn new() -> Option<Self> {
        Self::with(FopenFlags::FOPEN_DIRECT_IO)
    }

    /// The same, and the kernel keeps what is read and written.
    pub(crate) fn cached() -> Option<Self> {
        Self::with(FopenFlags::FOPEN_KEEP_CACHE)
    }

    fn with(opened: FopenFlags) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let state = Arc::new((Mutex::new(Disk::new()), Condvar::new()));
        let shared = Shared { state, opened };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("onward-test".to_owned())];
        match fuser::spawn_mount(shared.clone(), dir.path(), &config) {
            Ok(session) => Some(Self { session: Some(session), shared, dir }),
            Err(error) => {
                let required = std::env::var("ONWARD_FUSE").is_ok_and(|it| it == "required");
                assert!(!required, "ONWARD_FUSE=required, and nothing can be mounted: {error}");
                // Past the capture of the test harness: a test that shows nothing must say so.
                let mut stderr = std::io::stderr();
                writeln!(stderr, "\nSKIPPED, WITHOUT A RESULT: cannot mount FUSE: {error}\n")
                    .unwrap();
                None
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A directory of this disk.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.shared.state.0.lock().unwrap()
    }

    /// Something to put marks into the log with.
    pub(crate) fn marker(&self) -> impl Fn(Mark) + Clone + Send + Sync + 'static {
        let shared = self.shared.clone();
        move |mark| shared.state.0.lock().unwrap().log.push(Op::Mark(mark))
    }

    /// Changes what goes wrong. Whoever waits for an answer asks again.
    pub(crate) fn faults<T>(&self, change: impl FnOnce(&mut Faults) -> T) -> T {
        let result = change(&mut self.disk().faults);
        self.shared.state.1.notify_all();
        result
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.faults(Faults::heal);
        // A process that was just killed may still be closing its files.
        for _ in 0..200 {
            let unmounted = std::process::Command::new("umount").arg(self.dir.path()).output();
            if unmounted.is_ok_and(|it| it.status.success()) {
                break;
            }
            let _ = crossbeam_channel::never::<()>().recv_timeout(PAUSE);
        }
        drop(self.session.take());
    }
}

impl Shared {
    /// Works on the disk, after waiting for as long as it hangs.
    fn act<T>(&self, work: impl Fn(&mut Disk) -> Result<T, Errno>) -> Result<T, Errno> {
        let (disk, healed) = &*self.state;
        let mut disk = disk.lock().unwrap();
        loop {
            let result = work(&mut disk);
            if !disk.faults.hangs {
                return result;
            }
            disk = healed.wait_while(disk, |disk| disk.faults.hangs).unwrap();
        }
    }

    /// Syncs, after the time that this takes on a disk.
    fn sync(&self, node: INodeNo, reply: ReplyEmpty) {
        let takes = self.state.0.lock().unwrap().faults.sync_takes;
        let _ = crossbeam_channel::never::<()>().recv_timeout(takes);
        done(self.act(|disk| disk.sync(node.0)), reply);
    }

    fn attr(&self, node: Node) -> Result<FileAttr, Errno> {
        self.act(|disk| Ok(attr(node, disk.size(node)?)))
    }
}

fn attr(node: Node, size: Size) -> FileAttr {
    let (kind, perm) = match size {
        None => (FileType::Directory, 0o755),
        Some(_) => (FileType::RegularFile, 0o644),
    };
    let size = u64::try_from(size.unwrap_or(0)).unwrap();
    FileAttr {
        ino: INodeNo(node),
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

fn name(dir: INodeNo, name: &OsStr) -> Name {
    (dir.0, name.to_str().expect("our names are text").to_owned())
}

fn number(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

fn entered(entry: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match entry {
        Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn done(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Shared {
    fn lookup(&self, _: &Request, dir: INodeNo, it: &OsStr, reply: ReplyEntry) {
        let found = self.act(|disk| {
            disk.faults.meet(Kind::Look)?;
            let node = disk.lookup(&name(dir, it))?;
            Ok(attr(node, disk.size(node)?))
        });
        entered(found, reply);
    }

    fn getattr(&self, _: &Request, node: INodeNo, open: Option<FileHandle>, reply: ReplyAttr) {
        // What a kernel knows of an open file it has in memory.
        let meets = |disk: &mut Disk| match open {
            None => disk.faults.meet(Kind::Look).map(drop),
            Some(_) => Ok(()),
        };
        let looked = self.act(meets);
        match looked.and_then(|()| self.attr(node.0)) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<std::time::SystemTime>,
        _chgtime: Option<std::time::SystemTime>,
        _bkuptime: Option<std::time::SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changed = size.map_or(Ok(()), |it| self.act(|disk| disk.truncate(node.0, number(it))));
        match changed.and_then(|()| self.attr(node.0)) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, dir: INodeNo, it: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let made = self.act(|disk| disk.mkdir(name(dir, it)));
        entered(made.map(|node| attr(node, None)), reply);
    }

    fn create(
        &self,
        _: &Request,
        dir: INodeNo,
        it: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        match self.act(|disk| disk.create(name(dir, it))) {
            Ok(node) => {
                let attr = attr(node, Some(0));
                reply.created(&TTL, &attr, Generation(0), FileHandle(0), self.opened);
            }
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, dir: INodeNo, it: &OsStr, reply: ReplyEmpty) {
        done(self.act(|disk| disk.unlink(name(dir, it))), reply);
    }

    fn rmdir(&self, _: &Request, dir: INodeNo, it: &OsStr, reply: ReplyEmpty) {
        done(self.act(|disk| disk.unlink(name(dir, it))), reply);
    }

    fn rename(
        &self,
        _: &Request,
        from: INodeNo,
        old: &OsStr,
        to: INodeNo,
        new: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let names = || (name(from, old), name(to, new));
        let rename: fn(&mut Disk, (Name, Name)) -> Result<(), Errno> = match flags {
            RenameFlags::RENAME_EXCHANGE => |disk, (one, other)| disk.exchange(one, other),
            none if none.is_empty() => |disk, (from, to)| disk.rename(from, to),
            _ => return reply.error(Errno::EINVAL),
        };
        done(self.act(|disk| rename(disk, names())), reply);
    }

    fn open(&self, _: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let is_to_write = flags.acc_mode() != OpenAccMode::O_RDONLY;
        let open = |disk: &mut Disk| {
            disk.open(node.0)?;
            if is_to_write && disk.faults.read_only { Err(Errno::EROFS) } else { Ok(()) }
        };
        match self.act(open) {
            Ok(()) => reply.opened(FileHandle(0), self.opened),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        at: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let (at, size) = (number(at), number(size.into()));
        match self.act(|disk| disk.read(node.0, at, size).map(<[u8]>::to_vec)) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        at: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.act(|disk| disk.write(node.0, number(at), bytes)) {
            Ok(written) => reply.written(u32::try_from(written).unwrap()),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, node: INodeNo, _: FileHandle, data: bool, reply: ReplyEmpty) {
        if !data && let Err(errno) = self.act(|disk| disk.faults.meet(Kind::WholeSync).map(drop)) {
            return reply.error(errno);
        }
        self.sync(node, reply);
    }

    fn fsyncdir(&self, _: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(node, reply);
    }

    fn readdir(
        &self,
        _: &Request,
        dir: INodeNo,
        _: FileHandle,
        from: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.act(|disk| {
            disk.faults.meet(Kind::Look)?;
            let entry = |(name, node): (&String, &Node)| {
                let size = disk.size(*node)?;
                Ok((name.clone(), *node, attr(*node, size).kind))
            };
            disk.entries(dir.0)?.iter().map(entry).collect::<Result<Vec<_>, Errno>>()
        });
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => return reply.error(error),
        };
        for ((name, node, kind), next) in listed.into_iter().zip(1..).skip(number(from)) {
            if reply.add(INodeNo(node), next, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (free, all) = self.state.0.lock().unwrap().space();
        let blocks = |bytes: usize| u64::try_from(bytes).unwrap() / u64::from(BLOCK);
        reply.statfs(blocks(all), blocks(free), blocks(free), 1 << 20, 1 << 20, BLOCK, 255, BLOCK);
    }
}
