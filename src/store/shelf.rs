//! The pages in memory, by their lower bound. What was looked for last is found at once: an input
//! asks for rows of one page time and again.

use std::{
    cell::Cell,
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

use super::{Key, page::head_of};

/// A lower bound; its head is compared first, because it is where the tree is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Bound {
    head: u128,
    key: Box<[u8]>,
}

impl Bound {
    fn of(key: &[u8]) -> Self {
        Self { head: head_of(key), key: key.into() }
    }
}

/// Something that begins at a key and may end before another.
pub(super) trait Stretch {
    /// The first key that belongs to it.
    fn lower(&self) -> &Key;
    /// Whether a key from there on belongs to it.
    fn covers(&self, key: &[u8]) -> bool;
}

/// Things in the order of their lower bounds, at most one for each.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    /// Where each is among the places.
    order: BTreeMap<Bound, usize>,
    places: Vec<Option<T>>,
    free: Vec<usize>,
    /// Where the last one was found.
    hint: Cell<usize>,
}

impl<T: Stretch> Shelf<T> {
    pub(super) const fn new() -> Self {
        Self { order: BTreeMap::new(), places: Vec::new(), free: Vec::new(), hint: Cell::new(0) }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// What covers this key.
    pub(super) fn covering(&self, key: &[u8]) -> Option<&T> {
        self.place(key).and_then(|at| self.places.get(at)?.as_ref())
    }

    /// What covers this key, to be changed; neither of its bounds may.
    pub(super) fn covering_mut(&mut self, key: &[u8]) -> Option<&mut T> {
        self.place(key).and_then(|at| self.places.get_mut(at)?.as_mut())
    }

    /// What begins at this key.
    pub(super) fn at_mut(&mut self, lower: &[u8]) -> Option<&mut T> {
        let at = *self.order.get(&Bound::of(lower))?;
        self.places.get_mut(at)?.as_mut()
    }

    /// What begins above this key and next to it.
    pub(super) fn next(&self, key: &[u8]) -> Option<&T> {
        let (_, at) = self.order.range((Excluded(Bound::of(key)), Unbounded)).next()?;
        self.places.get(*at)?.as_ref()
    }

    /// How many places there are, taken or not.
    pub(super) const fn places(&self) -> usize {
        self.places.len()
    }

    /// What is at this place, if anything is; `None` behind the last place.
    pub(super) fn at_place_mut(&mut self, place: usize) -> Option<Option<&mut T>> {
        self.places.get_mut(place).map(Option::as_mut)
    }

    /// Adds what begins where nothing else does.
    pub(super) fn insert(&mut self, it: T) {
        let bound = Bound::of(it.lower());
        let at = self.free.pop().unwrap_or(self.places.len());
        match self.places.get_mut(at) {
            Some(place) => *place = Some(it),
            None => self.places.push(Some(it)),
        }
        let before = self.order.insert(bound, at);
        assert!(before.is_none(), "a page that is resident covers its keys");
    }

    /// Takes away what begins at this key.
    pub(super) fn remove(&mut self, lower: &[u8]) -> Option<T> {
        let at = self.order.remove(&Bound::of(lower))?;
        self.free.push(at);
        self.places.get_mut(at)?.take()
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().flatten()
    }

    /// All, in no order.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().flatten()
    }

    /// Calls `visit` with each, the last one first.
    pub(super) fn each_from_last(&mut self, mut visit: impl FnMut(&mut T)) {
        for at in self.order.values().rev() {
            self.places.get_mut(*at).and_then(Option::as_mut).into_iter().for_each(&mut visit);
        }
    }

    fn place(&self, key: &[u8]) -> Option<usize> {
        let holds = |at: usize| {
            let it = self.places.get(at)?.as_ref()?;
            (**it.lower() <= *key && it.covers(key)).then_some(at)
        };
        if let Some(at) = holds(self.hint.get()) {
            return Some(at);
        }
        let (_, at) = self.order.range(..=Bound::of(key)).next_back()?;
        self.hint.set(*at);
        holds(*at)
    }
}
