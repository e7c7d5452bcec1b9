//! The power test: one run is recorded, and then the power fails at thousands of points of it.
//!
//! Each cut makes an image of what a disk may hold then, and the engine recovers from it. Checked
//! is what people outside know: what was acknowledged, what left, and what is in the outbox.

mod copies;
mod cut;
mod embedded;
mod program;
mod store;

use cut::Tally;

use crate::SHARE;

/// Cuts of a recording, of the larger ones half as many, unless `CUTS` says otherwise.
const CUTS: u64 = 400;

fn cuts() -> usize {
    let cuts = std::env::var("CUTS").map_or(CUTS, |text| text.parse().expect("CUTS is a number"));
    usize::try_from(cuts / SHARE).unwrap()
}
