//! The end of a world: nothing fails any more, everybody does their part, time goes on; then all
//! that was owed must have happened.

use std::sync::{Arc, atomic::Ordering};

use super::{
    callers,
    swarm::Faults,
    world::{INSTANCE, World},
};
use crate::{
    base::{Clock, PartitionId, Timestamp},
    engine::{commit::Stepped, recover, verify::verify},
    store::Store,
};

/// More rounds than settling can need.
const SETTLE_ROUNDS: u64 = 100_000;

impl World {
    /// Nothing fails any more, everybody reports, and time goes on until nothing is left to do.
    pub(super) fn settle(&mut self) {
        self.say(|_| String::from("settles"));
        self.swarm.faults = Faults::default();
        // Not even a worker that reports while the disk is full, which it may yet turn out to be.
        self.swarm.silent = 0;
        self.workers.refusals.store(0, Ordering::Relaxed);
        self.deposed.clear();
        self.disk.set_free_bytes(u64::MAX);
        self.running.as_ref().expect("an engine runs between steps").handle.calm();
        if self.workers.is_silent || self.rng.one_in(4) {
            // What a worker keeps silent about goes out again with the next start.
            self.end("killed");
            self.open();
        }
        for round in 0.. {
            assert!(
                round < SETTLE_ROUNDS,
                "it never settles: {:?}",
                self.witness.walks.unfinished()
            );
            // Twice, because what a step notes last may be work for the next one.
            if self.is_at_rest() && self.is_at_rest() && !self.pass_time() {
                break;
            }
        }
        assert_eq!(self.witness.walks.unfinished(), None, "it rests, and not everything has ended");
        self.callers.check(&self.witness);
        let running = self.running.take().expect("an engine runs between steps");
        let memory = running.live.runner.partition.memory().clone();
        callers::check_counters(&memory.counters, memory.latest, &self.witness);
        assert!(memory.in_flight.is_empty(), "in flight: {:?}", memory.in_flight);
        running.live.close(Ok(())).expect("a disk without faults");
        self.look();
        assert_eq!(memory.latest, self.witness.latest(), "everything is durable at the end");
        let store: Arc<dyn Store> = Arc::new(self.disk.clone());
        let mut partition =
            recover::replay(&store, (INSTANCE, PartitionId::default()), &self.swarm.limits)
                .unwrap();
        let found = verify(&mut partition).unwrap();
        assert_eq!(found.differences, Vec::<String>::new(), "verify, at the end");
        self.totals.verified += 1;
    }

    /// Lets everybody do what there is to do; whether that was nothing.
    fn is_at_rest(&mut self) -> bool {
        let before = self.witness.latest();
        let running = self.running.as_ref().expect("an engine runs between steps");
        let stepped = running.worker.lock().unwrap().step(true);
        let mut is_at_rest = stepped == Stepped::Idle;
        while let Some(report) = self.workers.report_honestly(self.swarm.outcomes) {
            let running = self.running.as_ref().expect("an engine runs between steps");
            running.reports.send(report).unwrap();
            is_at_rest = false;
        }
        is_at_rest &= !self.round();
        self.totals.steps += 2;
        let running = self.running.as_ref().expect("an engine runs between steps");
        is_at_rest
            && running.live.runner.is_durable()
            && self.workers.under_way() == 0
            && before == self.witness.latest()
    }

    /// Goes to the next timer, if there is one.
    fn pass_time(&mut self) -> bool {
        let running = self.running.as_mut().expect("an engine runs between steps");
        let due = running.live.runner.partition.next_due().unwrap();
        let Some(due) = due.filter(|due| *due < Timestamp::MAX) else { return false };
        let was_due = due <= self.clock.now();
        let check = running.check;
        let to = due.min(self.believable(check));
        self.show(to.max(self.clock.now()));
        // A timer that is due and does nothing is stale, and gone once it was looked at.
        self.round();
        let running = self.running.as_mut().expect("an engine runs between steps");
        let next = running.live.runner.partition.next_due().unwrap();
        assert!(
            !was_due || next != Some(due) || !(self.is_at_rest() && self.is_at_rest()),
            "a timer of {due} never fires"
        );
        true
    }
}
