//! Onward: a durable customer-flow engine.
pub mod base;
pub mod store;
