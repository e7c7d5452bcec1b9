//! What a caller of the running engine may be told instead of an answer.

use crate::{
    base::{Lsn, Timestamp},
    machine::input::Rejection,
    model::Findings,
    store::{self, Shortage},
};

/// No answer, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The inbox is full, in number or in bytes, or too many messages wait for their channel:
    /// nothing was taken in.
    #[error("the engine is busy; try again in a moment")]
    Busy,
    /// The caller is wrong: nothing was recorded.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The definitions are not valid: none is in force.
    #[error("the definitions are not valid:\n{0}")]
    Invalid(Findings),
    /// The engine stopped before it knew.
    #[error("it may or may not be stored; send it again with the same event id")]
    Unknown,
    /// There is too little room on the disk: nothing was taken in.
    #[error("{0}; free some space there: the engine goes on by itself, so try again then")]
    NoSpace(Shortage),
    /// The engine is not running any more.
    #[error("the engine has stopped: {cause}")]
    Stopped {
        /// Why.
        cause: String,
    },
    /// The clock cannot be right, or the engine was away or asleep for long.
    #[error(
        "the clock says {clock}, but the engine's time is {engine}; correct the clock, or open \
         with ClockCheck::Trust if it is right"
    )]
    Clock {
        /// What the clock says.
        clock: Timestamp,
        /// When the engine last looked, or the time of its last record.
        engine: Timestamp,
    },
    /// The records that would lead there are gone.
    #[error("record {lsn} is trimmed: the log begins at record {begins}; ask for the customer")]
    Trimmed {
        /// The record.
        lsn: Lsn,
        /// The first one that is left.
        begins: Lsn,
    },
    /// The disk, its contents, or the way the directory is used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The workers could not be started.
    #[error("cannot start the workers: {0}")]
    Workers(std::io::Error),
}
