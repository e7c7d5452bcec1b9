//! Exit codes, and how a failure is told.

use std::{fmt::Display, process::ExitCode};

use super::print::tell;
use crate::{
    base::thread::NoThread,
    bench,
    engine::{self, job, repair},
    model::Findings,
    store,
};

pub(super) const HELP: &str = "\
Exit codes:
  0  done
  1  done, but not all is well: findings, rejected lines, differences
  2  wrong usage
  3  refused: an input cannot be read or must not be taken, the directory is in use, of a newer
     format, of another instance, kept by another store or not there, or a bench's rate is too
     high here
  4  a fault: the disk or a channel failed, the disk is full, or what it holds is damaged";

/// Done, but not all is well.
pub(super) const NOT_WELL: u8 = 1;
const USAGE: u8 = 2;
const REFUSED: u8 = 3;
const FAULT: u8 = 4;

/// Why a command ends early.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    message: String,
    /// What belongs to it, line by line, to be told first.
    details: Vec<String>,
}

impl Failure {
    fn new(code: u8, message: impl Display) -> Self {
        Self { code, message: message.to_string(), details: Vec::new() }
    }

    pub(super) fn usage(message: impl Display) -> Self {
        Self::new(USAGE, message)
    }

    pub(super) fn refused(message: impl Display) -> Self {
        Self::new(REFUSED, message)
    }

    pub(super) fn fault(message: impl Display) -> Self {
        Self::new(FAULT, message)
    }

    pub(super) fn findings(findings: &Findings) -> Self {
        let mut details: Vec<String> = findings.list.iter().map(ToString::to_string).collect();
        if findings.omitted > 0 {
            details.push(format!("and {} more", findings.omitted));
        }
        Self { details, ..Self::new(NOT_WELL, "nothing was stored") }
    }

    /// Standard output is full, or its reader gone: then there is no more to do, and nothing to tell.
    /// Only who has nothing to judge ends like this; see [`say`](super::print::say).
    pub(super) fn output(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::new(0, "");
        }
        Self::new(FAULT, format!("cannot write to standard output: {error}"))
    }

    /// Tells it on standard error.
    pub(super) fn report(self) -> ExitCode {
        self.details.iter().for_each(tell);
        if !self.message.is_empty() {
            tell(self.message);
        }
        ExitCode::from(self.code)
    }
}

impl From<NoThread> for Failure {
    fn from(error: NoThread) -> Self {
        Self::fault(error)
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        let code = match &error {
            store::Error::InUse { .. }
            | store::Error::Missing { .. }
            | store::Error::IsBackup { .. }
            | store::Error::OtherStore { .. }
            | store::Error::NoSuchStore { .. }
            | store::Error::NoSalvage { .. }
            | store::Error::NotOutside { .. }
            | store::Error::NoExport { .. }
            | store::Error::NotADirectory { .. }
            | store::Error::NewerFormat { .. }
            | store::Error::OtherInstance { .. }
            | store::Error::PartitionCount { .. }
            | store::Error::PartitionsAsked { .. }
            | store::Error::Partitioned { .. }
            | store::Error::OnePartition { .. }
            | store::Error::Uncounted { .. }
            | store::Error::SeveralLogs { .. }
            | store::Error::OtherPartition { .. }
            | store::Error::OtherHash { .. }
            | store::Error::Unfinished { .. }
            | store::Error::InTheWay { .. }
            | store::Error::NoSwap { .. }
            | store::Error::NoRoom(_)
            | store::Error::NoBackup { .. }
            | store::Error::OtherBackup { .. }
            | store::Error::ExportGap { .. } => REFUSED,
            store::Error::Io { .. }
            | store::Error::Damaged { .. }
            | store::Error::BackupDamaged { .. }
            | store::Error::Conflict { .. }
            | store::Error::Shortened { .. }
            | store::Error::Headless { .. }
            | store::Error::NoWayBack { .. }
            | store::Error::PartitionGone { .. }
            | store::Error::NoThread(_)
            | store::Error::Thawed
            | store::Error::Stalled { .. }
            | store::Error::Poisoned { .. } => FAULT,
        };
        Self::new(code, error)
    }
}

impl From<repair::Error> for Failure {
    fn from(error: repair::Error) -> Self {
        match error {
            repair::Error::Store(error) => error.into(),
            repair::Error::Nothing { .. } | repair::Error::NoBeginning { .. } => {
                Self::new(FAULT, error)
            }
        }
    }
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Self {
        match error {
            engine::Error::Store(error) => error.into(),
            engine::Error::NoSpace(_) => Self::new(FAULT, error),
            other @ (engine::Error::Busy
            | engine::Error::Rejected(_)
            | engine::Error::Invalid(_)
            | engine::Error::Unknown
            | engine::Error::Stopped { .. }
            | engine::Error::Clock { .. }
            | engine::Error::Trimmed { .. }
            | engine::Error::Workers(_)) => Self::refused(other),
        }
    }
}

impl From<bench::Error> for Failure {
    fn from(error: bench::Error) -> Self {
        match error {
            bench::Error::Store(error) => error.into(),
            bench::Error::TooMany { .. } => Self::new(USAGE, error),
            bench::Error::Directory { .. } | bench::Error::Behind { .. } => Self::refused(error),
            bench::Error::Engine(_) | bench::Error::Incomplete { .. } => Self::new(FAULT, error),
        }
    }
}

impl From<job::Error> for Failure {
    fn from(error: job::Error) -> Self {
        match error {
            job::Error::Store(error) => error.into(),
            job::Error::Findings(findings) => Self::findings(&findings),
            job::Error::Channel { .. } | job::Error::Clock { .. } | job::Error::NoSpace(_) => {
                Self::new(FAULT, error)
            }
            job::Error::Line { .. } => Self::new(NOT_WELL, error),
            job::Error::Input { .. }
            | job::Error::HalfRead { .. }
            | job::Error::TooManyInputs { .. }
            | job::Error::Changed { .. } => Self::new(REFUSED, error),
        }
    }
}
