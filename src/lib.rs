//! Onward: a durable customer-flow engine.
pub mod base;
pub mod delivery;
pub mod engine;
pub mod machine;
pub mod model;
pub mod store;
