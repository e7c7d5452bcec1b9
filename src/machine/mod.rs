//! Layer 2, what happens about it: the pure core that decides once and applies always.
//!
//! An enrollment's phases, and the records that lead from one to the next:
//!
//! | Phase | Record | Next phase |
//! |---|---|---|
//! | (none) | `Enrolled` | entering |
//! | entering | `WaitStarted` | waiting |
//! | entering | `DeliveryRequested`, one or more | sending |
//! | entering | `DeliverySkipped` (nothing was requested) | entering the next step |
//! | waiting | `WaitEnded` | entering the next step |
//! | sending | `DeliverySent`, `DeliveryFailed`, `DeliverySkipped` | sending; after the last delivery: entering the next step |
//! | sending | `DeliveryDeferred`, then `DeliveryAttempted` | sending |
//! | any but ended | `Exited` | ended |
//!
//! *Entering* never outlasts a group: the records of one input lead from one of the other phases to
//! another.
//!
//! | Module | What |
//! |---|---|
//! | [`input`] | the only way in, and what is answered |
//! | [`decide`] | input to records: the only place where choices are made |
//! | [`record`], [`reason`] | the log's vocabulary |
//! | [`apply`] | records into rows, timers and memory |
//! | [`row`], [`key`], [`memory`], [`counters`] | what is kept of the log |
//! | [`catalog`] | the definitions in force, compiled |
//! | [`step`] | what each kind of step does |
//! | [`delivery`] | what leaves the engine, and what comes back |
//!
//! **Architecture invariant:** no I/O, no clock, no randomness, no threads. Two runs agree to the
//! byte.

pub mod apply;
pub mod catalog;
pub mod counters;
pub mod decide;
pub mod delivery;
mod draft;
pub mod input;
pub mod key;
mod matching;
pub mod memory;
mod publish;
pub mod reason;
pub mod record;
mod remembered;
pub mod row;
mod settle;
pub mod step;
mod walk;

#[cfg(test)]
mod tests;
