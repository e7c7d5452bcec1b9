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

use super::{IVec, Tree};

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

/// The first entry of `tree` after `key` that is no place set aside, as `step` goes from one to the
/// next.
///
/// Chunks come in order, and perhaps while this walks: a place that it passed may be taken before
/// it comes to one behind that is taken, too. So whoever passed any walks once more. What lies
/// before the one that was found has been taken by then.
pub(super) fn past<E>(
    tree: Tree,
    key: &[u8],
    mut step: impl FnMut(&[u8]) -> Result<Option<(IVec, IVec)>, E>,
) -> Result<Option<(IVec, IVec)>, E> {
    let mut walk = || {
        let mut passed = None;
        loop {
            match step(passed.as_deref().unwrap_or(key))? {
                Some((place, value)) if is_aside(tree, &value) => passed = Some(place),
                found => return Ok((found, passed.is_some())),
            }
        }
    };
    match walk()? {
        (Some(_), true) => Ok(walk()?.0),
        (found, _) => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, ops::Bound};

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

    #[test]
    fn chunks_that_come_during_a_walk_are_not_skipped() {
        let mut log: BTreeMap<_, _> = (1..=5).map(|number| (key(number), ASIDE)).collect();
        log.insert(key(1), b"chunk");
        let mut steps = 0;
        let found = past(Tree::Log, &key(1), |at| {
            steps += 1;
            // The walk has passed the second place and is before the third.
            if steps == 2 {
                log.insert(key(2), b"chunk");
                log.insert(key(3), b"chunk");
            }
            let next = log.range((Bound::Excluded(at.to_vec()), Bound::Unbounded)).next();
            Ok::<_, ()>(next.map(|(key, value)| (IVec::from(&**key), IVec::from(*value))))
        });
        assert_eq!(found.unwrap().map(|(at, _)| at), Some(key(2).into()));
        assert_eq!(steps, 3, "once there is nothing to pass, one step does");
    }
}
