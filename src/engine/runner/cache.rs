//! How much of the cache's room is taken, and what goes for it.

use super::Runner;

/// Pages that are looked at for room in the cache after a commit: more than come with one, and so few
/// that they hold nobody up.
const EVICTION_LOOKS: usize = 4_096;
/// Pages that let go of their rows after a commit, at most.
const COOLING_LOOKS: usize = 256;

impl Runner {
    /// Whether only a checkpoint makes room for more rows.
    pub(super) fn is_cache_full(&self) -> bool {
        self.has_cached(4)
    }

    /// Whether so much room is taken while a checkpoint runs that timers leave the rest to events. Not
    /// where somebody keeps the rows as they are, who may do so for long.
    pub(in crate::engine) fn is_crowded(&self) -> bool {
        !self.frozen && self.has_cached(3)
    }

    /// Whether a checkpoint runs and so many halves of the cache's bytes are taken.
    fn has_cached(&self, halves: usize) -> bool {
        let limit = self.partition.limits.cache_bytes.saturating_mul(halves) / 2;
        self.checkpointing && self.partition.state.table.resident_bytes() > limit
    }

    /// Lets go of rows and pages that there is no room for, a few at a time.
    pub(super) fn evict(&mut self) {
        let limits = &self.partition.limits;
        let table = &mut self.partition.state.table;
        table.cool(COOLING_LOOKS);
        table.evict(limits.cache_bytes, limits.cache_pages, EVICTION_LOOKS);
    }
}
