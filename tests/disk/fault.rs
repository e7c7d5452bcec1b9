//! What goes wrong on a disk on purpose.

use std::{collections::BTreeMap, time::Duration};

use fuser::Errno;

use crate::disk::Node;

/// A kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Open,
    /// A new file or directory.
    Create,
    Read,
    Write,
    Truncate,
    Rename,
    Unlink,
    Sync,
    /// A sync of a file with everything that is known of it, counted as a sync as well.
    WholeSync,
    /// A name, what it stands for, the names in a directory.
    Look,
}

/// What happens instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Error(Errno),
    /// A write takes half of what it was given.
    Short,
    /// No answer until the disk is healed.
    Hang,
    /// From here on there is no room for another byte.
    Full,
    /// From here on nothing may change.
    ReadOnly,
    /// From here on the disk is not there.
    Gone,
    /// From here on the page that was asked for first cannot be read.
    Bad,
    /// A sync fails, and the device has nothing of what was written since the last one that did not.
    /// The kernel goes on showing what it holds.
    Lost,
}

/// What goes wrong, and how often each kind of operation was asked for.
#[derive(Debug)]
pub(crate) struct Faults {
    /// The operation of this kind after so many others fails so.
    pub(crate) next: Option<(Kind, u64, Fault)>,
    /// Bytes that there is room for.
    pub(crate) capacity: usize,
    /// Whether nothing may change.
    pub(crate) read_only: bool,
    /// The page of a file that cannot be read.
    pub(crate) bad: Option<(Node, usize)>,
    /// What every operation fails with, since the disk is not there any more.
    pub(crate) gone: Option<Errno>,
    /// How long a sync takes, so that what comes before it shows.
    pub(crate) sync_takes: Duration,
    /// Whether everybody waits.
    pub(crate) hangs: bool,
    /// Whether what was to go wrong did.
    pub(crate) happened: bool,
    pub(crate) counts: BTreeMap<Kind, u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            next: None,
            capacity: 1 << 32,
            read_only: false,
            bad: None,
            gone: None,
            sync_takes: Duration::ZERO,
            hangs: false,
            happened: false,
            counts: BTreeMap::new(),
        }
    }
}

impl Faults {
    /// Whether the disk is there at all.
    pub(crate) fn reach(&self) -> Result<(), Errno> {
        self.gone.map_or(Ok(()), Err)
    }

    /// What meets an operation of this kind. Nothing happens on a disk that hangs, so who finds
    /// [`Faults::hangs`] afterwards waits and asks again.
    pub(crate) fn meet(&mut self, kind: Kind) -> Result<Option<Fault>, Errno> {
        self.reach()?;
        *self.counts.entry(kind).or_default() += 1;
        if self.read_only
            && !matches!(kind, Kind::Open | Kind::Read | Kind::Sync | Kind::WholeSync | Kind::Look)
        {
            return Err(Errno::EROFS);
        }
        match &mut self.next {
            Some((it, 0, fault)) if *it == kind => {
                let fault = *fault;
                self.next = None;
                self.happened = true;
                self.begin(fault)
            }
            Some((it, left, _)) if *it == kind => {
                *left -= 1;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn begin(&mut self, fault: Fault) -> Result<Option<Fault>, Errno> {
        match fault {
            Fault::Error(errno) => Err(errno),
            Fault::Short | Fault::Bad | Fault::Lost => Ok(Some(fault)),
            Fault::Hang => {
                self.hangs = true;
                Err(Errno::EAGAIN)
            }
            Fault::Full => {
                self.capacity = 0;
                Err(Errno::ENOSPC)
            }
            Fault::ReadOnly => {
                self.read_only = true;
                Err(Errno::EROFS)
            }
            Fault::Gone => {
                self.gone = Some(Errno::EIO);
                Err(Errno::EIO)
            }
        }
    }

    /// Everything works again.
    pub(crate) fn heal(&mut self) {
        let counts = std::mem::take(&mut self.counts);
        *self = Self { counts, happened: self.happened, ..Self::default() };
    }
}
