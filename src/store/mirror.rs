//! A store made equal to another one, and the digest that says that it is.

use std::cmp::Ordering;

use tracing::trace_span;
use xxhash_rust::xxh3::Xxh3;

use super::{Entry, Error, Store, Tree};
use crate::base::{
    bytes::length_of,
    limits::{SYNC_BYTES_MAX, VALUE_BYTES_MAX},
    planted::is_planted,
};

/// Takes a look at how far it is, in bytes of entries.
pub type Step<'a> = &'a mut dyn FnMut(u64);

/// Everything that a store holds, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Survey {
    /// How many entries.
    pub entries: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// A hash of all of it in order: XXH3-128.
    pub digest: u128,
}

/// Reads everything.
pub fn survey(store: &dyn Store, step: Step<'_>) -> Result<Survey, Error> {
    let mut hash = Xxh3::new();
    let mut survey = Survey::default();
    for (tree, number) in Tree::ALL.into_iter().zip(0_u8..) {
        let mut key = Vec::new();
        while let Some((next, value)) = store.above(tree, &key)? {
            hash.update(&[number]);
            for part in [&next, &value] {
                hash.update(&length_of(part).to_be_bytes());
                hash.update(part);
            }
            survey.entries += 1;
            survey.bytes += size(&next, &value);
            step(survey.bytes);
            key = next;
        }
    }
    survey.digest = hash.digest128();
    Ok(survey)
}

/// Makes `to` equal to `from`, whatever it holds: what is there already is not written again, so
/// that a copy that was interrupted goes on.
pub fn mirror(from: &dyn Store, to: &dyn Store, step: Step<'_>) -> Result<(), Error> {
    let mut copy = Paced::new(to);
    let mut done = 0;
    for tree in Tree::ALL {
        let mut source = from.above(tree, &[])?;
        let mut target = to.above(tree, &[])?;
        loop {
            match order(source.as_ref(), target.as_ref()) {
                None => break,
                // What the source has not.
                Some(Ordering::Greater) => {
                    let (key, _) = target.expect("the target's key is less");
                    copy.remove(tree, &key)?;
                    target = to.above(tree, &key)?;
                }
                Some(compared) => {
                    let (key, value) = source.expect("the source's key is not greater");
                    let is_there =
                        target.as_ref().is_some_and(|(its, has)| (its, has) == (&key, &value));
                    if !is_there {
                        copy.put(tree, &key, &value)?;
                    }
                    if compared == Ordering::Equal {
                        target = to.above(tree, &key)?;
                    }
                    done += size(&key, &value);
                    step(done);
                    source = from.above(tree, &key)?;
                }
            }
        }
    }
    to.sync()
}

/// Which of two entries comes first; none where there is none. A key is less than none.
fn order(source: Option<&Entry>, target: Option<&Entry>) -> Option<Ordering> {
    match (source, target) {
        (None, None) => None,
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
        (Some((source, _)), Some((target, _))) => Some(source.cmp(target)),
    }
}

fn size(key: &[u8], value: &[u8]) -> u64 {
    length_of(key) + length_of(value)
}

/// Writes that never leave more than a bounded part unsynced.
#[derive(Debug)]
pub struct Paced<'a> {
    to: &'a dyn Store,
    unsynced: usize,
}

impl<'a> Paced<'a> {
    /// Writes to this store; whoever is done with it syncs that.
    pub fn new(to: &'a dyn Store) -> Self {
        Self { to, unsynced: 0 }
    }

    /// Stores `value`.
    pub fn put(&mut self, tree: Tree, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.make_room(key.len() + value.len())?;
        let _span = trace_span!("copy_entry").entered();
        self.to.put(tree, key, value)
    }

    /// Removes `key`.
    pub fn remove(&mut self, tree: Tree, key: &[u8]) -> Result<(), Error> {
        // A removal frees a value; among chunks it may have the rest of their leaf written anew.
        let bytes = if tree == Tree::Log { VALUE_BYTES_MAX } else { SYNC_BYTES_MAX / 64 };
        self.make_room(bytes)?;
        self.to.remove(tree, key)
    }

    /// Syncs unless so many bytes more may be written without.
    pub fn make_room(&mut self, bytes: usize) -> Result<(), Error> {
        let is_full = self.unsynced + bytes > SYNC_BYTES_MAX;
        if is_full && !is_planted!("sync_bytes_unbounded") {
            let _span = trace_span!("copy_sync").entered();
            self.to.sync()?;
            self.unsynced = 0;
        }
        self.unsynced += bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_map, prelude::*, sample::select};

    use super::*;
    use crate::store::MemoryStore;

    type Entries = std::collections::BTreeMap<(Tree, Vec<u8>), Vec<u8>>;

    fn entries() -> impl Strategy<Value = Entries> {
        let bytes = |most| prop::collection::vec(0..4_u8, 1..most);
        btree_map((select(&Tree::ALL[..]), bytes(4)), bytes(6), 0..30)
    }

    fn store(entries: &Entries) -> MemoryStore {
        let store = MemoryStore::new();
        entries.iter().for_each(|((tree, key), value)| store.put(*tree, key, value).unwrap());
        store
    }

    #[test]
    fn what_removals_of_chunks_may_have_written_anew_is_bounded_between_syncs() {
        let chunks = (0..64).map(|n| ((Tree::Log, vec![1, n]), vec![n])).collect();
        let store = store(&chunks);
        store.sync().unwrap();
        let mut paced = Paced::new(&store);
        for (tree, key) in chunks.keys() {
            paced.remove(*tree, key).unwrap();
        }
        let unsynced = survey(&store.crashed(), &mut |_| {}).unwrap().entries;
        assert!((1..=10).contains(&unsynced), "{unsynced}");
    }

    proptest! {
        #[test]
        fn whatever_was_there_before_the_copy_is_equal(from in entries(), to in entries()) {
            let (source, target) = (store(&from), store(&to));
            mirror(&source, &target, &mut |_| {}).unwrap();
            let expected = survey(&source, &mut |_| {}).unwrap();
            // What a power cut leaves is what the copy says it has written.
            prop_assert_eq!(survey(&target.crashed(), &mut |_| {}).unwrap(), expected);
            prop_assert_eq!(usize::try_from(expected.entries).unwrap(), from.len());
        }

        #[test]
        fn only_equal_stores_have_one_digest(one in entries(), other in entries()) {
            let [first, second] = [&one, &other].map(|it| survey(&store(it), &mut |_| {}).unwrap());
            prop_assert_eq!(first == second, one == other);
        }
    }
}
