//! The only way in: what may happen, what is answered, and why a decision stops.

use super::{
    apply::TimerSet,
    catalog::Catalog,
    delivery::Outcome,
    key::Key,
    memory::Memory,
    reason::InputKind,
    record::{Record, Source},
    row::Row,
};
use crate::{
    base::{ContentHash, DeliveryId, InstanceId, Lsn},
    model::{CustomerUpdate, Definitions, Event, LineCode, LineError},
};

/// Something that may happen.
#[derive(Debug, Clone)]
pub enum Input {
    /// A customer did something.
    Event {
        /// Where it came from.
        source: Source,
        /// What.
        event: Event,
    },
    /// A customer is new or has new values.
    Customer {
        /// Where it came from.
        source: Source,
        /// What to change.
        update: CustomerUpdate,
    },
    /// A line of white space.
    BlankLine {
        /// Which line.
        source: Source,
    },
    /// A line that is no customer or event.
    BadLine {
        /// Which line.
        source: Source,
        /// What is wrong with it.
        error: LineError,
    },
    /// An input file is about to be read.
    Opening(InputFile),
    /// Definitions are to be in force from now on.
    Publish {
        /// Where they came from.
        source: Source,
        /// The input files they are in.
        files: Vec<InputFile>,
        /// What they say, checked.
        definitions: Definitions,
    },
    /// A timer's time has come.
    TimerDue(TimerSet),
    /// A worker reports how an attempt ended.
    Settled {
        /// Which delivery.
        delivery: DeliveryId,
        /// The customer's hash.
        place: u64,
        /// Which attempt.
        attempt: u32,
        /// How it ended.
        outcome: Outcome,
    },
    /// The operator accepts that acknowledged records are gone. It must come at a later instant than
    /// everything before it, as [`Input::Restored`].
    AcceptLoss {
        /// The last record that is there.
        ends: Lsn,
        /// The last record that had been acknowledged.
        acknowledged: Lsn,
        /// What the directory is called from now on: the LSNs of what is gone are used again, and
        /// with them the ids of messages that may have left.
        instance: InstanceId,
    },
    /// The directory is a restored copy. It must come at a later instant than everything before
    /// it, because a delivery's identity follows from when it was requested.
    Restored {
        /// What it is called in everything that leaves from now on.
        instance: InstanceId,
    },
}

/// The identity of an input file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// What it holds.
    pub kind: InputKind,
    /// Its name, without folders.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// What it says.
    pub hash: ContentHash,
}

/// What the one who sent an input is told, once its records are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It happened.
    Accepted,
    /// The event's id is remembered: nothing happened again.
    Duplicate,
    /// A line was refused, and that is recorded; a caller would have got the rejection instead.
    Refused {
        /// What the record says.
        code: LineCode,
        /// Why.
        rejection: Rejection,
    },
    /// It changes nothing: a customer as known, a stale timer or report.
    Unchanged,
    /// Definitions are in force; how many of each are new or changed.
    Published {
        /// Segments.
        segments: usize,
        /// Flows.
        flows: usize,
        /// Campaigns.
        campaigns: usize,
    },
}

/// Records that follow from an input, and the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What happened; atomic: all of it or nothing.
    pub records: Vec<Record>,
    /// What to tell the sender.
    pub answer: Answer,
}

/// The caller is wrong: nothing is recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The event is too far in the future.
    #[error(
        "the event's time is more than 24 h ahead of the engine's clock; correct the sender's clock"
    )]
    TooFarAhead,
    /// The event holds more than an event may.
    #[error("an event's name has at most 256 bytes and its properties 48 KiB as JSON")]
    EventTooLarge,
    /// The customer would hold more than a customer may.
    #[error(
        "a customer's attributes have at most 32 KiB together, remove some with null; e-mail, \
         time zone, locale and push subscriptions are as long as in a line of customers"
    )]
    CustomerTooLarge,
}

/// Why there is no decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Rows are needed that are not in memory: load them and ask again.
    Missing(Vec<Key>),
    /// The caller is wrong.
    Rejected(Rejection),
}

/// What is known of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// It is there.
    Row(&'a Row),
    /// It does not exist.
    Absent,
    /// It may exist on disk.
    Missing,
}

/// The state that a decision reads.
pub trait View {
    /// The row under `key`.
    fn row(&self, key: &Key) -> Found<'_>;
    /// The projection in memory.
    fn memory(&self) -> &Memory;
    /// The definitions in force.
    fn catalog(&self) -> &Catalog;
}
