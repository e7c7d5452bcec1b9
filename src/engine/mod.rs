//! Layer 4, the single writer: partitions, the commit thread, recovery and the loops that drive
//! them.
mod commit;
pub mod job;
pub mod partition;
pub mod recover;
pub mod runner;
mod state;
