//! A disk in memory: files and directories, the log of everything that happened to them, and what
//! goes wrong on purpose. How the kernel reaches it is told in `mount`.

use std::collections::BTreeMap;

use fuser::Errno;

use crate::{
    fault::{Fault, Faults, Kind},
    image::Replay,
};

/// The number of a file or directory.
pub(crate) type Node = u64;
/// Bytes that a kernel reads and keeps together.
const PAGE: usize = 4096;
/// The directory that everything is in.
pub(crate) const ROOT: Node = 1;
/// A name in a directory.
pub(crate) type Name = (Node, String);

/// Something that happened, in the order in which it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    /// A new file.
    Create {
        name: Name,
        node: Node,
    },
    /// A new directory.
    Mkdir {
        name: Name,
        node: Node,
    },
    Rename {
        from: Name,
        to: Name,
        node: Node,
    },
    /// Two names changed places: each with what it names now.
    Exchange {
        one: (Name, Node),
        other: (Name, Node),
    },
    /// A file or directory lost its name.
    Unlink {
        name: Name,
    },
    Write {
        node: Node,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        node: Node,
        size: usize,
    },
    /// `fsync` or `fdatasync` of a file or directory.
    Sync {
        node: Node,
    },
    /// One that failed: what was written since the one before is not on the device.
    Lost {
        node: Node,
    },
    /// What the test knows and no disk can.
    Mark(Mark),
}

impl Op {
    /// The mark that it is, if it is one.
    pub(crate) const fn mark(&self) -> Option<&Mark> {
        if let Self::Mark(mark) = self { Some(mark) } else { None }
    }
}

/// What the test puts between the operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The caller was told that this event is stored.
    Acknowledged(String),
    /// This delivery was handed to its channel.
    Left(String),
    /// The so-manieth command of the program ended well.
    Finished(usize),
    /// The so-manieth sync of the store returned.
    Synced(usize),
}

#[derive(Debug, Clone)]
enum Content {
    Directory(BTreeMap<String, Node>),
    File(Vec<u8>),
}

/// Everything on a disk, to begin with again.
#[derive(Debug)]
pub(crate) struct Contents(BTreeMap<Node, Content>, usize);

/// The disk.
#[derive(Debug)]
pub(crate) struct Disk {
    nodes: BTreeMap<Node, Content>,
    /// Never used again, so that neither the log nor the kernel takes one file for another.
    last: Node,
    /// Bytes of all files that have a name.
    used: usize,
    pub(crate) log: Vec<Op>,
    pub(crate) faults: Faults,
}

/// A file's size, or none for a directory.
pub(crate) type Size = Option<usize>;

impl Disk {
    pub(crate) fn new() -> Self {
        let nodes = BTreeMap::from([(ROOT, Content::Directory(BTreeMap::new()))]);
        Self { nodes, last: ROOT, used: 0, log: Vec::new(), faults: Faults::default() }
    }

    /// Makes it a new disk.
    pub(crate) fn format(&mut self) {
        *self = Self { last: self.last, ..Self::new() };
    }

    pub(crate) fn contents(&self) -> Contents {
        Contents(self.nodes.clone(), self.used)
    }

    /// Makes it a disk with this on it.
    pub(crate) fn load(&mut self, contents: &Contents) {
        self.format();
        let Contents(nodes, used) = contents;
        (self.nodes, self.used) = (nodes.clone(), *used);
    }

    /// Free bytes and all bytes.
    pub(crate) fn space(&self) -> (usize, usize) {
        let capacity = self.faults.capacity;
        (capacity.saturating_sub(self.used), capacity)
    }

    pub(crate) fn size(&self, node: Node) -> Result<Size, Errno> {
        self.faults.reach()?;
        match self.nodes.get(&node) {
            Some(Content::Directory(_)) => Ok(None),
            Some(Content::File(bytes)) => Ok(Some(bytes.len())),
            None => Err(Errno::ENOENT),
        }
    }

    pub(crate) fn entries(&self, dir: Node) -> Result<&BTreeMap<String, Node>, Errno> {
        self.faults.reach()?;
        match self.nodes.get(&dir) {
            Some(Content::Directory(entries)) => Ok(entries),
            Some(Content::File(_)) => Err(Errno::ENOTDIR),
            None => Err(Errno::ENOENT),
        }
    }

    pub(crate) fn lookup(&self, (dir, name): &Name) -> Result<Node, Errno> {
        self.entries(*dir)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    pub(crate) fn open(&mut self, node: Node) -> Result<(), Errno> {
        self.faults.meet(Kind::Open)?;
        self.size(node).map(drop)
    }

    pub(crate) fn create(&mut self, name: Name) -> Result<Node, Errno> {
        self.faults.meet(Kind::Create)?;
        let node = self.add(&name, Content::File(Vec::new()))?;
        self.log.push(Op::Create { name, node });
        Ok(node)
    }

    pub(crate) fn mkdir(&mut self, name: Name) -> Result<Node, Errno> {
        self.faults.meet(Kind::Create)?;
        let node = self.add(&name, Content::Directory(BTreeMap::new()))?;
        self.log.push(Op::Mkdir { name, node });
        Ok(node)
    }

    pub(crate) fn read(&mut self, node: Node, at: usize, size: usize) -> Result<&[u8], Errno> {
        if self.faults.meet(Kind::Read)? == Some(Fault::Bad) {
            self.faults.bad = Some((node, at / PAGE));
        }
        let end = at.saturating_add(size);
        let pages = at / PAGE..end.div_ceil(PAGE);
        if self.faults.bad.is_some_and(|(it, page)| it == node && pages.contains(&page)) {
            return Err(Errno::EIO);
        }
        let bytes = self.file(node)?;
        let end = bytes.len().min(end);
        Ok(bytes.get(at..end).unwrap_or_default())
    }

    /// Writes and tells how much: less than asked for where a fault or the end of the space says so.
    pub(crate) fn write(&mut self, node: Node, at: usize, bytes: &[u8]) -> Result<usize, Errno> {
        let fault = self.faults.meet(Kind::Write)?;
        let half = if fault == Some(Fault::Short) { bytes.len() / 2 } else { bytes.len() };
        let (free, _) = self.space();
        let room = (self.file(node)?.len() + free).saturating_sub(at);
        let written = half.min(room);
        if written == 0 && !bytes.is_empty() {
            return Err(Errno::ENOSPC);
        }
        let bytes = bytes[..written].to_vec();
        let file = self.file(node)?;
        let before = file.len();
        file.resize(before.max(at + written), 0);
        file[at..at + written].copy_from_slice(&bytes);
        self.used += self.file(node)?.len() - before;
        self.log.push(Op::Write { node, at, bytes });
        Ok(written)
    }

    pub(crate) fn truncate(&mut self, node: Node, size: usize) -> Result<(), Errno> {
        self.faults.meet(Kind::Truncate)?;
        let (free, _) = self.space();
        let before = self.file(node)?.len();
        if size.saturating_sub(before) > free {
            return Err(Errno::ENOSPC);
        }
        self.file(node)?.resize(size, 0);
        self.used = (self.used + size).saturating_sub(before);
        self.log.push(Op::Truncate { node, size });
        Ok(())
    }

    pub(crate) fn rename(&mut self, from: Name, to: Name) -> Result<(), Errno> {
        self.faults.meet(Kind::Rename)?;
        let node = self.lookup(&from)?;
        if let Ok(replaced) = self.lookup(&to) {
            self.check_empty(replaced)?;
            self.forget(&to)?;
        }
        self.directory(from.0)?.remove(&from.1);
        self.directory(to.0)?.insert(to.1.clone(), node);
        self.log.push(Op::Rename { from, to, node });
        Ok(())
    }

    /// Gives two files or directories each other's name.
    pub(crate) fn exchange(&mut self, one: Name, other: Name) -> Result<(), Errno> {
        self.faults.meet(Kind::Rename)?;
        let [first, second] = [self.lookup(&one)?, self.lookup(&other)?];
        self.directory(one.0)?.insert(one.1.clone(), second);
        self.directory(other.0)?.insert(other.1.clone(), first);
        self.log.push(Op::Exchange { one: (one, second), other: (other, first) });
        Ok(())
    }

    /// Takes the name of a file or of an empty directory.
    pub(crate) fn unlink(&mut self, name: Name) -> Result<(), Errno> {
        self.faults.meet(Kind::Unlink)?;
        self.check_empty(self.lookup(&name)?)?;
        self.forget(&name)?;
        self.log.push(Op::Unlink { name });
        Ok(())
    }

    pub(crate) fn sync(&mut self, node: Node) -> Result<(), Errno> {
        if self.faults.meet(Kind::Sync)? == Some(Fault::Lost) {
            self.lose(node);
            return Err(Errno::EIO);
        }
        self.log.push(Op::Sync { node });
        Ok(())
    }

    /// Makes a file what was synced of it, as long as it is now: sizes are not lost with pages.
    fn lose(&mut self, node: Node) {
        self.log.push(Op::Lost { node });
        let mut replay = Replay::default();
        self.log.iter().for_each(|op| replay.apply(op));
        if let (Some(kept), Ok(file)) = (replay.seen(node), self.file(node)) {
            *file = kept.to_vec();
        }
    }

    fn add(&mut self, (dir, name): &Name, content: Content) -> Result<Node, Errno> {
        if self.space().0 == 0 {
            return Err(Errno::ENOSPC);
        }
        if self.directory(*dir)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.last += 1;
        let node = self.last;
        self.directory(*dir)?.insert(name.clone(), node);
        self.nodes.insert(node, content);
        Ok(node)
    }

    /// Whoever has the file open goes on using it, so only its space comes back.
    fn forget(&mut self, name: &Name) -> Result<(), Errno> {
        let node = self.lookup(name)?;
        self.used = self.used.saturating_sub(self.size(node)?.unwrap_or(0));
        self.directory(name.0)?.remove(&name.1);
        Ok(())
    }

    fn check_empty(&self, node: Node) -> Result<(), Errno> {
        match self.nodes.get(&node) {
            Some(Content::Directory(entries)) if !entries.is_empty() => Err(Errno::ENOTEMPTY),
            _ => Ok(()),
        }
    }

    fn file(&mut self, node: Node) -> Result<&mut Vec<u8>, Errno> {
        match self.nodes.get_mut(&node) {
            Some(Content::File(bytes)) => Ok(bytes),
            Some(Content::Directory(_)) => Err(Errno::EISDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn directory(&mut self, node: Node) -> Result<&mut BTreeMap<String, Node>, Errno> {
        match self.nodes.get_mut(&node) {
            Some(Content::Directory(entries)) => Ok(entries),
            Some(Content::File(_)) => Err(Errno::ENOTDIR),
            None => Err(Errno::ENOENT),
        }
    }
}
