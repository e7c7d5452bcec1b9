//! Layer 4, the single writer: partitions, the commit thread, recovery, and the loops that drive
//! them.
//!
//! | File | What |
//! |---|---|
//! | `partition` | decide, apply, encode: one thread's state |
//! | `commit` | append, sync, checkpoint: the other thread |
//! | `runner` | the two together, and what may leave when |
//! | `recover` | checkpoint + log = state |
//! | `watch` | the disk that gives no answer |
//! | `tally` | what the store is given, counted |
//! | `present` | what time it is, within bounds |
//! | `inbox` | the bytes of what waits to be decided |
//! | `live` | the loop for programs that embed the engine |
//! | `job` | the loop for input files on a clock of their own |
//! | `history`, `scan`, `verify`, `since` | reading back and checking |
//! | `doctor`, `repair` | what is wrong with a directory, and what of it can be saved |
//! | `trim`, `restore` | a log whose beginning goes, and starting from a base |
//! | `copies` | compaction, backups |
//!
//! **Architecture invariant:** nothing here names `delivery`, and nothing leaves (no answer, no
//! delivery) before [`runner`] knows its record to be durable.

mod backlog;
mod commit;
pub mod copies;
pub mod doctor;
mod error;
pub mod history;
mod inbox;
pub mod job;
pub mod live;
pub mod partition;
mod present;
pub mod recover;
pub mod repair;
mod restore;
pub mod runner;
mod scan;
mod since;
mod state;
mod tally;
mod ticket;
pub mod trim;
pub mod verify;
mod watch;

pub use commit::Frozen;
pub use error::Error;
pub use live::Engine;
pub use partition::Partition;
pub use present::ClockCheck;
pub use recover::{AcceptLoss, Opening};
pub use tally::Tally;
pub use ticket::Ticket;
pub use watch::watched;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
