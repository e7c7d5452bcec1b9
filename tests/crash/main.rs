//! The kill test: the real program, killed at random moments over and over, leaves exactly what a
//! run leaves that nobody disturbs.
//!
//! The seed of a failure is its first line; `SEED=<number>` makes the same shop and asks for the
//! same moments, as far as the scheduler grants them.

#[cfg(test)]
mod copies;
#[cfg(test)]
mod kill;
#[cfg(test)]
#[path = "../shop/place.rs"]
mod place;
#[cfg(test)]
mod process;
#[cfg(test)]
mod trace;
#[cfg(test)]
#[path = "../shop/whole.rs"]
mod whole;
#[cfg(test)]
#[path = "../shop/workload.rs"]
mod workload;

/// The store that is tested.
#[cfg(test)]
const UNDER: onward::store::StoreKind = onward::store::StoreKind::Sled;
/// Of so many rounds one is made.
#[cfg(test)]
const SHARE: u64 = 1;

#[cfg(test)]
const SCALE: workload::Scale =
    workload::Scale { customers: 400, events: [2_500, 1_000], days: 300 };
