//! The main job: input files through flows, on a clock that the events set.

mod drive;
mod feed;
mod finished;
mod lines;
mod read;
mod summary;

pub use drive::{Drive, Pace};
pub use feed::{Files, Plan, RejectedLine};
pub use finished::{Finished, Progress};
pub use summary::{StepSummary, Summary};

use std::{io, path::PathBuf};

use crate::{
    base::{Timestamp, limits::INPUTS_MAX},
    model::Findings,
    model::LineError,
    store::{self, Shortage},
};

/// Why a job does not start or does not end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk, its contents, or the way the directory is used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// There is too little room on the disk.
    #[error(
        "{0}; free some space there and give the same command again: the run goes on where it \
         stopped"
    )]
    NoSpace(Shortage),
    /// An input file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Input {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A channel does not work; nothing of it is recorded.
    #[error("cannot send: {error}; mend that and start again: the run goes on where it stopped")]
    Channel {
        /// What is wrong with it.
        error: String,
    },
    /// The clock of a run that waits cannot be right.
    #[error(
        "the clock leapt from {seen} to {clock}; correct it and start again: the run goes on where \
         it stopped"
    )]
    Clock {
        /// What the clock says.
        clock: Timestamp,
        /// What it said before.
        seen: Timestamp,
    },
    /// The definitions are not valid.
    #[error("the definitions are not valid")]
    Findings(Findings),
    /// A file was read half-way and is not among those given now.
    #[error(
        "the {kind} file {name} was read up to byte {offset} of {length}; give it again unchanged \
         before another one"
    )]
    HalfRead {
        /// What it holds.
        kind: &'static str,
        /// Its name.
        name: String,
        /// How far.
        offset: u64,
        /// Of how much.
        length: u64,
    },
    /// One directory reads a bounded number of files.
    #[error(
        "the directory has read {known} files and remembers {INPUTS_MAX} at most; join several \
         files into one, or begin a new directory"
    )]
    TooManyInputs {
        /// How many it has read.
        known: usize,
    },
    /// A file changed while it was being read.
    #[error("{} changed while it was read; give it again as it was", .path.display())]
    Changed {
        /// Which one.
        path: PathBuf,
    },
    /// `--strict`, and a line is wrong.
    #[error("{}:{line}:{}: {}: {}", .path.display(), .error.column, .error.code, .error.message)]
    Line {
        /// In which file.
        path: PathBuf,
        /// The line's number, from 1.
        line: u64,
        /// What is wrong.
        error: LineError,
    },
}
