//! The kill test over the other store: fewer kills of the same kinds.

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
const UNDER: onward::store::StoreKind = onward::store::StoreKind::Redb;
/// Of so many rounds one is made.
#[cfg(test)]
const SHARE: u64 = 4;

#[cfg(test)]
const SCALE: workload::Scale = workload::Scale { customers: 200, events: [900, 400], days: 300 };
