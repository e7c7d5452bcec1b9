//! Layer 2: what happens about it.
pub mod delivery;
