//! A table of rows: pages in the store behind a bounded cache.
//!
//! A page in memory is bytes, and only the rows that somebody asks for are made of them. Rows change
//! in resident pages only. A checkpoint takes the changed pages as pointers; whoever
//! changes one of them after that gets a copy of it. A page found in the store may be ahead of the
//! last recorded checkpoint (the crash came before the recording), so every page skips the records
//! that it already has.
//!
//! A row belongs to the page with the greatest lower bound at or below its key. A split writes the
//! right page before the left one; a crash in between leaves rows in the left page that the right
//! one has too, and they are dropped when the left page is loaded.

use std::{cell::Cell, ops::ControlFlow, sync::Arc};

use super::{
    Error, Key, Page, Row, Store, Tree,
    page::{damaged, decode_page, page_key, page_lower},
    shelf::{Shelf, Stretch},
};
use crate::base::{Lsn, planted::is_planted};

/// What the cache knows of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a, R> {
    /// This row. It may be expired: the reader asks.
    Row(&'a R),
    /// There is no such row.
    Absent,
    /// It is not at hand, or nobody knows: fetch it.
    Missing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// As in the store.
    Clean,
    /// Changed since.
    Dirty,
    /// On its way to the store, unchanged since the checkpoint took it.
    Writing,
}

#[derive(Debug)]
struct Slot<R> {
    page: Arc<Page<R>>,
    /// The lower bound of the next page, in the cache or in the store.
    upper: Option<Key>,
    /// The LSN of the page as loaded: what it has and replay must skip.
    base: Lsn,
    state: State,
    /// Used since the hand of the clock last passed.
    used: Cell<bool>,
}

impl<R: Row> Stretch for Slot<R> {
    fn lower(&self) -> &Key {
        self.page.lower()
    }

    fn covers(&self, key: &[u8]) -> bool {
        self.upper.as_ref().is_none_or(|upper| *key < **upper)
    }
}

impl<R: Row> Slot<R> {
    /// Lets go of the rows of a clean page, which counts among so many bytes.
    fn cool(&mut self, resident_bytes: &mut usize) {
        let before = self.page.memory();
        Arc::make_mut(&mut self.page).cool();
        *resident_bytes = *resident_bytes - before + self.page.memory();
    }
}

/// The rows of one partition.
#[derive(Debug)]
pub struct Table<R> {
    slots: Shelf<Slot<R>>,
    resident_bytes: usize,
    /// Bytes of pages that the running checkpoint holds and the cache has changed since.
    copied_bytes: usize,
    dirty_bytes: usize,
    clean_pages: usize,
    /// The place at which eviction goes on.
    hand: usize,
    /// Places that may hold a page whose rows are still in use since it was written.
    uncooled: usize,
}

impl<R: Row> Default for Table<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Row> Table<R> {
    /// A table with nothing resident.
    pub fn new() -> Self {
        Self {
            slots: Shelf::new(),
            resident_bytes: 0,
            copied_bytes: 0,
            dirty_bytes: 0,
            clean_pages: 0,
            hand: 0,
            uncooled: 0,
        }
    }

    /// The row at `key`, as far as the cache knows.
    pub fn get(&self, key: &[u8]) -> Found<'_, R> {
        let Some(slot) = self.slots.covering(key) else {
            return Found::Missing;
        };
        slot.used.set(true);
        slot.page.get(key)
    }

    /// Whether the row at `key` is at hand, or known to be absent.
    pub fn is_resident(&self, key: &[u8]) -> bool {
        self.slots.covering(key).is_some_and(|slot| slot.page.has_at_hand(key))
    }

    /// Makes the rows at all `keys` resident. In the order of the keys is fastest.
    pub fn fetch<K: AsRef<[u8]>>(
        &mut self,
        store: &dyn Store,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<(), Error> {
        keys.into_iter().try_for_each(|key| {
            self.load(store, key.as_ref())?;
            self.read(key.as_ref())
        })
    }

    /// Changes the row at `key`, which must be resident, as the record at `lsn` says; does nothing
    /// where the page had that record already when it was loaded.
    pub fn update(&mut self, lsn: Lsn, key: &[u8], change: impl FnOnce(&mut Option<R>)) {
        let slot = self.slots.covering_mut(key).expect(RESIDENT);
        slot.used.set(true);
        if lsn <= slot.base && !is_planted!("drop_page_lsn") {
            return;
        }
        let before = slot.page.memory();
        match slot.state {
            State::Clean => self.clean_pages -= 1,
            State::Writing => self.copied_bytes += before,
            State::Dirty => self.dirty_bytes -= before,
        }
        let page = Arc::make_mut(&mut slot.page);
        if slot.state != State::Dirty {
            slot.state = State::Dirty;
            page.begin_change();
        }
        page.change(lsn, key, change);
        let after = slot.page.memory();
        self.dirty_bytes += after;
        self.resident_bytes = self.resident_bytes - before + after;
        if crate::base::limits::PAGE_BYTES_MAX < slot.page.bytes() {
            let lower = slot.page.lower().clone();
            self.split(lower);
        }
    }

    /// The rows from `from` up to but not including `to`, at most `limit` of them, loading pages
    /// on the way.
    pub fn scan(
        &mut self,
        store: &dyn Store,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Key, R)>, Error> {
        let mut found = Vec::new();
        let mut from = Key::from_slice(from);
        loop {
            self.load(store, &from)?;
            let slot = self.slots.covering(&from).expect(RESIDENT);
            slot.used.set(true);
            let scanned = slot.page.scan(&from, |key, row| {
                if found.len() == limit || to.is_some_and(|to| to <= &**key) {
                    return ControlFlow::Break(());
                }
                found.push((key.clone(), row.clone()));
                ControlFlow::Continue(())
            });
            if scanned.map_err(|why| damaged(slot.page.lower(), why))?.is_break() {
                return Ok(found);
            }
            let Some(upper) = slot.upper.clone() else {
                return Ok(found);
            };
            if to.is_some_and(|to| to <= &*upper) {
                return Ok(found);
            }
            from = upper;
        }
    }

    /// Takes every changed page, right before left, in the order in which they must be written.
    pub fn checkpoint(&mut self) -> Vec<Arc<Page<R>>> {
        let mut taken = Vec::new();
        self.slots.each_from_last(|slot| match slot.state {
            State::Clean => {}
            State::Writing => panic!("a checkpoint ends before the next one begins"),
            State::Dirty => {
                slot.state = State::Writing;
                taken.push(Arc::clone(&slot.page));
            }
        });
        self.dirty_bytes = 0;
        if is_planted!("left_page_first") {
            taken.reverse();
        }
        taken
    }

    /// The checkpoint is recorded: its pages are in the store.
    pub fn written(&mut self) {
        let is_written = |state| {
            state == State::Writing
                || is_planted!("stale_cache_after_eviction") && state == State::Dirty
        };
        for slot in self.slots.iter_mut().filter(|slot| is_written(slot.state)) {
            slot.state = State::Clean;
            self.clean_pages += 1;
        }
        self.copied_bytes = 0;
        self.uncooled = self.slots.places();
    }

    /// Lets go of the rows of some pages that were written, a few at a time, because all at once would
    /// hold up whoever waits.
    pub fn cool(&mut self, mut looks: usize) {
        while self.uncooled > 0 && looks > 0 {
            looks -= 1;
            self.uncooled -= 1;
            let Some(Some(slot)) = self.slots.at_place_mut(self.uncooled) else { continue };
            if slot.state == State::Clean {
                slot.cool(&mut self.resident_bytes);
            }
        }
    }

    /// Forgets clean pages until the bounds hold or only changed ones are left, but looks at no more
    /// pages than so many; of those that were used since the last call that came past them only the
    /// rows in use go.
    pub fn evict(&mut self, cache_bytes: usize, cache_pages: usize, mut looks: usize) {
        while self.clean_pages > 0
            && looks > 0
            && (cache_bytes < self.resident_bytes() || cache_pages < self.slots.len())
        {
            looks -= 1;
            let Some(lower) = self.victim() else {
                continue;
            };
            let slot = self.slots.remove(&lower).expect("the hand is at a resident page");
            self.resident_bytes -= slot.page.memory();
            self.clean_pages -= 1;
        }
    }

    /// Memory of changed pages that no checkpoint has taken.
    pub fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }

    /// Pages in the cache.
    pub fn resident_pages(&self) -> usize {
        self.slots.len()
    }

    /// Memory of all pages in the cache, and of those that only the running checkpoint holds.
    pub fn resident_bytes(&self) -> usize {
        self.resident_bytes + self.copied_bytes
    }

    fn load(&mut self, store: &dyn Store, key: &[u8]) -> Result<(), Error> {
        if self.slots.covering(key).is_some() {
            return Ok(());
        }
        let stored = store.at_or_below(Tree::Rows, &page_key(key))?;
        let stored = stored.as_ref().and_then(|(key, value)| Some((page_lower(key)?, value)));
        let mut page = match stored {
            Some((lower, value)) => decode_page(lower, value).map_err(|why| damaged(lower, why))?,
            // Below every stored page is the first one, empty until it is written.
            None => Page::empty(Key::default()),
        };
        let above = store.above(Tree::Rows, &page_key(key))?;
        let above = above.as_ref().and_then(|(key, _)| page_lower(key));
        let resident = self.slots.next(key).map(|slot| &**slot.page.lower());
        let upper = above.into_iter().chain(resident).min().map(Key::from_slice);
        if let Some(upper) = &upper {
            page.cut(upper);
        }
        self.resident_bytes += page.memory();
        self.clean_pages += 1;
        self.slots.insert(Slot {
            base: page.lsn(),
            page: Arc::new(page),
            upper,
            state: State::Clean,
            used: Cell::new(true),
        });
        Ok(())
    }

    /// Makes the row at `key` of its bytes, in its page, which is resident.
    fn read(&mut self, key: &[u8]) -> Result<(), Error> {
        let slot = self.slots.covering_mut(key).expect(RESIDENT);
        if slot.page.has_at_hand(key) {
            return Ok(());
        }
        let before = slot.page.memory();
        let read = Arc::make_mut(&mut slot.page).read(key);
        read.map_err(|why| damaged(slot.page.lower(), why))?;
        let grown = slot.page.memory() - before;
        self.resident_bytes += grown;
        if slot.state == State::Dirty {
            self.dirty_bytes += grown;
        }
        Ok(())
    }

    /// Splits the changed page at `lower`, and its parts, until each fits or has one row.
    fn split(&mut self, lower: Key) {
        let mut work = vec![lower];
        while let Some(lower) = work.pop() {
            let slot = self.slots.at_mut(&lower).expect(RESIDENT);
            let before = slot.page.memory();
            let Some(right) = Arc::make_mut(&mut slot.page).split() else {
                continue;
            };
            let at = right.lower().clone();
            let after = slot.page.memory() + right.memory();
            let upper = slot.upper.replace(at.clone());
            let base = slot.base;
            self.resident_bytes = self.resident_bytes - before + after;
            self.dirty_bytes = self.dirty_bytes - before + after;
            let page = Arc::new(right);
            let slot = Slot { page, upper, base, state: State::Dirty, used: Cell::new(true) };
            self.slots.insert(slot);
            work.extend([lower, at]);
        }
    }

    /// Moves the hand one place on; gives the page that was there if it may go.
    fn victim(&mut self) -> Option<Key> {
        let Some(place) = self.slots.at_place_mut(self.hand) else {
            self.hand = 0;
            return None;
        };
        self.hand += 1;
        let slot = place?;
        if slot.state != State::Clean {
            return None;
        }
        if !slot.used.replace(false) {
            return Some(slot.page.lower().clone());
        }
        slot.cool(&mut self.resident_bytes);
        None
    }
}

const RESIDENT: &str = "the page of a key is fetched before the row changes";

#[cfg(test)]
mod tests;
