//! Places of the log that are set aside ahead of its end, so that sled writes each chunk once.
//!
//! sled writes a leaf anew at every tenth change and halves it once it has more than sixteen entries.
//! A log that only grows at its end pays for both: each of its chunks was written between five and
//! six times. A place that is set aside is an entry of the log without a value. Leaves are halved
//! while they hold nothing else, into leaves of nine places; nine chunks are nine changes of such a
//! leaf, and it is never written again.
//!
//! Nobody above knows of them: a chunk has a value, so an entry without one is not there. Whatever
//! the disk makes of them is of no consequence, since they say nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Tree;

/// What a place that is set aside has as its value.
pub(super) const ASIDE: &[u8] = &[];
/// How many are, beyond the latest chunk: with seventeen more in its leaf it would still be halved.
const AHEAD: u64 = 24;
const NUMBER_BYTES: usize = 8;

/// How far they go.
#[derive(Debug, Default)]
pub(super) struct Places {
    until: AtomicU64,
}

impl Places {
    /// The places to set aside before something comes to `key`, which ends with a number. After an
    /// opening those may be that are already.
    pub(super) fn before(&self, key: &[u8]) -> impl Iterator<Item = Vec<u8>> + use<> {
        let numbered = key.split_last_chunk::<NUMBER_BYTES>();
        let places = numbered.map(|(prefix, number)| {
            let number = u64::from_be_bytes(*number);
            let end = number.saturating_add(AHEAD);
            let until = self.until.fetch_max(end, Ordering::Relaxed);
            let prefix = prefix.to_vec();
            let from = until.clamp(number, end).saturating_add(1);
            (from..=end).map(move |number| [&*prefix, &number.to_be_bytes()].concat())
        });
        places.into_iter().flatten()
    }
}

/// Whether an entry of `tree` with this value is nothing but a place that is set aside.
pub(super) fn is_aside(tree: Tree, value: &[u8]) -> bool {
    tree == Tree::Log && value == ASIDE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Vec<u8> {
        [&[0, 7][..], &number.to_be_bytes()].concat()
    }

    #[test]
    fn each_place_is_set_aside_once_and_well_before_it_is_taken() {
        let places = Places::default();
        let before = |number| places.before(&key(number)).collect::<Vec<_>>();
        assert_eq!(before(1), (2..=25).map(key).collect::<Vec<_>>());
        assert_eq!((before(1), before(2)), (vec![], vec![key(26)]));
        // Some have been left out.
        assert_eq!(before(100), (101..=124).map(key).collect::<Vec<_>>());
        // The log has lost its end; the places are there.
        assert_eq!(before(50).len(), 0);
        assert_eq!(before(u64::MAX - 1), [key(u64::MAX)]);
        assert_eq!(places.before(b"short").count(), 0);
    }
}
