//! The disk that loses power, fails and fills under the other store: fewer cuts and faults of the
//! same kinds.

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
const UNDER: onward::store::StoreKind = onward::store::StoreKind::Redb;
/// Of so many cuts and faults one is made.
#[cfg(test)]
const SHARE: u64 = 8;
