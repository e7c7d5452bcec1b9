//! Layer 2, what happens about it: the pure core that decides once and applies always.
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
pub mod row;
mod settle;
pub mod step;
mod walk;

#[cfg(test)]
mod tests;
