//! Onward: a durable customer-flow engine, as a library and as the program `onward`.
//!
//! A customer signs up, orders, or leaves a cart behind; a flow answers: an e-mail now, a wait of
//! two days, a push. Every step is a record in an append-only log before anything leaves the
//! machine, so no crash makes it lose a step or send one twice.
//!
//! Reading order, which is also who may import whom (each only those above it):
//!
//! | Layer | Module | What lives there |
//! |---|---|---|
//! | 0 | [`base`] | ids, time, limits, the codec |
//! | 1 | [`model`] | what an operator or caller writes down: flows, customers, events |
//! | 2 | [`machine`] | what happens about it: `decide` and `apply`, pure |
//! | 3 | [`store`] | the log on disk and its projections; the only code that knows sled |
//! | 3 | [`delivery`] | channels and the workers that drive them |
//! | 4 | [`engine`] | the single writer: threads, recovery, queries, the main job |
//! | 6 | [`app`] | the wiring: [`Onward`] for programs that embed it |
//! | 7 | `bench` | measuring it |
//! | 8 | `cli` | the program |
//!
//! Start with [`Onward`]; its module has a complete example.

pub mod app;
pub mod base;
pub mod delivery;
pub mod engine;
pub mod machine;
pub mod model;
pub mod store;

#[cfg(feature = "cli")]
pub mod bench;
#[cfg(any(test, fuzzing))]
pub mod check;
#[cfg(feature = "cli")]
pub mod cli;

pub use app::{Onward, Options};
pub use engine::{Error, Ticket};
pub use machine::input::Answer;
