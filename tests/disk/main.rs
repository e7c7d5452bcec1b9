//! A disk that loses power, fails and fills, under the library and under the real program.
//!
//! The disk is a file system of ours that the kernel mounts (`mount`). It remembers everything that
//! was done to it (`disk`), so that after one run thousands of power cuts can be made of it
//! (`image`), and it fails where a test says so (`fault`).
//!
//! The seed of a failure is its first line; `SEED=n` makes the same shop and the same cuts, as far
//! as the scheduler grants it, and `CUTS=n` makes more of them. Where nothing can be mounted the
//! tests say so and show nothing; `ONWARD_FUSE=required` makes that a failure.

#[cfg(test)]
mod disk;
#[cfg(test)]
mod fault;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod image;
#[cfg(test)]
mod library;
#[cfg(test)]
mod mount;
#[cfg(test)]
#[path = "../shop/place.rs"]
mod place;
#[cfg(test)]
mod power;
#[cfg(test)]
mod shop;
#[cfg(test)]
#[path = "../shop/whole.rs"]
mod whole;
#[cfg(test)]
#[path = "../shop/workload.rs"]
mod workload;

/// The store that is tested.
#[cfg(test)]
const UNDER: onward::store::StoreKind = onward::store::StoreKind::Sled;
/// Of so many cuts and faults one is made.
#[cfg(test)]
const SHARE: u64 = 1;
