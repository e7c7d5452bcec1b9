//! A loss: a world has settled, the log loses its end, the owner accepts that, and life goes on.
//! What channels have seen before stays known, so that no message may have the name of another.

use super::{
    callers,
    witness::Witness,
    world::{INSTANCE, World},
};
use crate::{
    base::{Lsn, PartitionId, Span},
    engine::restore,
    store::{Fold, MemoryStore, Start, Store, Tree, chunk},
};

impl World {
    /// Lives, loses some of the end of the log, and lives on; everything is checked as ever, but
    /// for what callers were told before the loss.
    pub(super) fn run_with_loss(mut self) {
        // What is trimmed could be neither lost nor read again.
        self.swarm.limits.keep_log = None;
        let (faults, refusals) = (self.swarm.faults, self.swarm.refusals);
        self.live();
        self.lose();
        self.swarm.faults = faults;
        self.workers.refuse(refusals);
        self.live();
        assert!(self.witness.latest() > Lsn::ZERO);
    }

    fn lose(&mut self) {
        let left = self.disk.crashed();
        let chunks = chunks(&left);
        let empty = Fold::new(INSTANCE, PartitionId::default());
        // Where the log may end, and with which record.
        let mut ends = vec![(0, Lsn::ZERO)];
        let mut fold = empty.clone();
        for ((_, bytes), position) in chunks.iter().zip(0_u64..) {
            fold.offer(position, chunk::decode(bytes).unwrap()).unwrap();
            if fold.is_between_groups() {
                ends.push((usize::try_from(position).unwrap() + 1, fold.last_lsn()));
            }
        }
        let acknowledged = fold.last_lsn();
        let (kept, last) = self.rng.pick(&ends);
        for (key, _) in &chunks[kept..] {
            left.remove(Tree::Log, key).unwrap();
        }
        left.sync().unwrap();
        restore::forget_projections(&left, &Start::Whole(empty), last).unwrap();
        self.say(|_| format!("loses what was after {last}, up to {acknowledged}"));
        self.disk = left;
        self.loss = Some((last, acknowledged));
        // The one time that no clock has shown: just after everything else.
        self.clock_max = self.clock_max.plus(Span::MICROSECOND);
        self.witness = Witness::new(INSTANCE, callers::documents());
        self.callers = self.callers.followed();
    }
}

fn chunks(store: &MemoryStore) -> Vec<(Vec<u8>, Vec<u8>)> {
    let next = |it: &(Vec<u8>, Vec<u8>)| store.above(Tree::Log, &it.0).unwrap();
    std::iter::successors(store.above(Tree::Log, &[]).unwrap(), next).collect()
}
