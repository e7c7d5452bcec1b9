//! The gauge of free space: the commit thread reads it after what grows the file and every second,
//! and everybody sees whether there is too little.
//!
//! Below the watermark nothing new is taken in and no checkpoint goes on; what was decided before is
//! still written, outcomes of sends under way included. There is room for those by construction: the
//! default watermark is above what they can take (see `base::limits`), and losing them would mean to
//! send again.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use tracing::warn;

use crate::store::{self, Shortage, Store};

/// The free space as last seen.
#[derive(Debug)]
pub(in crate::engine) struct Gauge {
    path: PathBuf,
    /// Below this there is too little.
    min: u64,
    free: AtomicU64,
    is_low: AtomicBool,
}

impl Gauge {
    /// Reads the free space of `store` for the first time.
    pub(in crate::engine) fn new(store: &dyn Store, min: u64) -> store::Result<Self> {
        let path = store.path().to_owned();
        let (free, is_low) = (AtomicU64::new(u64::MAX), AtomicBool::new(false));
        let gauge = Self { path, min, free, is_low };
        gauge.read(store)?;
        Ok(gauge)
    }

    /// Reads it again.
    pub(in crate::engine) fn read(&self, store: &dyn Store) -> store::Result<()> {
        self.note(store.free_bytes()?);
        Ok(())
    }

    /// This much is free.
    pub(in crate::engine) fn note(&self, free: u64) {
        self.free.store(free, Ordering::SeqCst);
        let was_low = self.is_low();
        let is_low = free < if was_low { self.needed() } else { self.min };
        self.is_low.store(is_low, Ordering::SeqCst);
        if is_low && !was_low {
            let shortage = self.reading();
            warn!(%shortage, "too little free space: nothing new is taken in until there is more");
        } else if was_low && !is_low {
            warn!(path = %self.path.display(), free, "there is free space again: going on");
        }
    }

    /// A write found no room, whatever the last reading was.
    pub(in crate::engine) fn run_out(&self, free: u64) {
        self.is_low.store(true, Ordering::SeqCst);
        self.free.store(free, Ordering::SeqCst);
    }

    pub(in crate::engine) fn is_low(&self) -> bool {
        self.is_low.load(Ordering::SeqCst)
    }

    /// What is missing; none where there is enough.
    pub(in crate::engine) fn shortage(&self) -> Option<Shortage> {
        self.is_low().then(|| self.reading())
    }

    /// What is free and what must be to go on.
    pub(in crate::engine) fn reading(&self) -> Shortage {
        let free = self.free.load(Ordering::SeqCst);
        Shortage { path: self.path.clone(), free, needed: self.needed() }
    }

    /// An eighth more than the watermark, so that it does not go on and off.
    const fn needed(&self) -> u64 {
        self.min.saturating_add(self.min / 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn it_is_low_below_the_watermark_until_there_is_an_eighth_more() {
        let store = MemoryStore::new();
        let gauge = Gauge::new(&store, 800).unwrap();
        assert_eq!(gauge.shortage(), None, "memory has no limit");
        for (free, is_low) in [(800, false), (799, true), (899, true), (900, false), (800, false)] {
            store.set_free_bytes(free);
            gauge.read(&store).unwrap();
            let expected = Shortage { path: "memory".into(), free, needed: 900 };
            assert_eq!(gauge.shortage(), is_low.then_some(expected));
        }
        gauge.run_out(850);
        assert!(gauge.is_low());
        gauge.note(850);
        assert!(gauge.is_low(), "what was not enough for a write is not enough");
    }
}
