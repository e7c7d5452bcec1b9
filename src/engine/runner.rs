//! What every loop over a partition shares: batches to the commit thread, checkpoints, and the
//! release of what may leave once its record is durable.

mod cache;
mod deliveries;

use std::{collections::VecDeque, sync::Arc};

use crossbeam_channel::{Receiver, Sender, unbounded};

pub(super) use deliveries::Deliveries;

use super::{
    commit::{Checkpoint, Committed, Committer, Disk, Frozen, Gauge, Job},
    partition::Partition,
    recover::{Owned, random_instance},
    ticket::Reply,
    watch::Watch,
};
use crate::{
    base::{
        DeliveryId, Lsn, Span, Timestamp,
        limits::{CHECKPOINT_SLICE_BYTES, SYNC_BYTES_MAX},
        planted::is_planted,
    },
    machine::{
        delivery::{Delivery, Outcome},
        input::{Answer, Input, Rejection},
    },
    store::{self, CheckpointState, Shortage, checkpoint},
};

/// Bytes of log between two syncs.
const BATCH_BYTES: usize = SYNC_BYTES_MAX - 2 * CHECKPOINT_SLICE_BYTES;
/// How often the head is told that the engine is running, at least; far less than the clock may
/// leap ahead while it is not.
const ALIVE_PERIOD: Span = Span::minutes(10);

/// Takes deliveries to the workers; gives one back that there is no room for now.
pub type Outbound = Box<dyn FnMut(Delivery) -> Result<(), Box<Delivery>> + Send>;

/// A worker's report on one attempt.
#[derive(Debug, Clone)]
pub struct Report {
    /// Which delivery.
    pub id: DeliveryId,
    /// Which attempt.
    pub attempt: u32,
    /// How it ended.
    pub outcome: Outcome,
}

/// Something that waits for its record to be durable.
type Release = Box<dyn FnOnce() + Send>;

/// A partition with its commit thread and its workers.
pub(super) struct Runner {
    pub(super) partition: Partition,
    committer: Committer,
    gauge: Arc<Gauge>,
    watch: Arc<Watch>,
    deliveries: Deliveries,
    durable: Lsn,
    /// The last record handed to the commit thread.
    submitted: Lsn,
    waiting: VecDeque<(Lsn, Release)>,
    checkpointing: bool,
    /// Who wants the rows to stay as they are at a checkpoint from now.
    freezes: Vec<Reply<Frozen>>,
    /// Whether somebody may hold them.
    frozen: bool,
    /// Whether something changed since the last checkpoint.
    dirty: bool,
    /// When the engine was last seen running, and what of that the head was told.
    alive: Timestamp,
    alive_told: Timestamp,
}

/// Where reports come in, for whoever starts the workers.
pub fn reports() -> (Sender<Report>, Receiver<Report>) {
    unbounded()
}

impl Runner {
    /// Starts over what has been taken over.
    pub(super) fn start(owned: Owned, outbound: Outbound) -> store::Result<Self> {
        Self::with(owned, Deliveries::new(outbound), Committer::start)
    }

    /// Starts over what has been taken over again, with what the workers have from before.
    pub(super) fn restart(owned: Owned, deliveries: Deliveries) -> store::Result<Self> {
        let deliveries = deliveries.carried_to(&owned.partition);
        Self::with(owned, deliveries, Committer::start)
    }

    /// Drops everything but what the workers have.
    pub(super) fn into_deliveries(self) -> Deliveries {
        self.deliveries
    }

    /// Starts with a commit thread that `committer` makes.
    fn with(
        owned: Owned,
        deliveries: Deliveries,
        committer: impl FnOnce(Disk) -> store::Result<Committer>,
    ) -> store::Result<Self> {
        let Owned { partition, head, loss, alive, watch } = owned;
        let (store, log) = (Arc::clone(&partition.store), Arc::clone(&partition.log));
        let gauge = Arc::new(Gauge::new(&*store, partition.limits.free_bytes_min)?);
        let disk = Disk { store, log, head, gauge: Arc::clone(&gauge), watch: Arc::clone(&watch) };
        let latest = partition.latest();
        // One that ran before a full disk has gone with whoever ran it.
        watch.tally().checkpoint(false);
        let dirty = partition.since_checkpoint > 0;
        let mut runner = Self {
            partition,
            committer: committer(disk)?,
            gauge,
            watch,
            deliveries,
            durable: latest,
            submitted: latest,
            waiting: VecDeque::new(),
            checkpointing: false,
            freezes: Vec::new(),
            frozen: false,
            dirty,
            alive,
            alive_told: alive,
        };
        if let Some((ends, acknowledged)) = loss {
            let input = Input::AcceptLoss { ends, acknowledged, instance: random_instance() };
            let _ = runner.decide(runner.partition.renaming_time(), &input)?;
        }
        Ok(runner)
    }

    /// Starts, or starts again, with a commit thread that is none: the caller steps what it would do.
    #[cfg(test)]
    pub(super) fn stepped(
        owned: Owned,
        deliveries: Deliveries,
    ) -> store::Result<(Self, Arc<std::sync::Mutex<super::commit::Worker>>)> {
        let deliveries = deliveries.carried_to(&owned.partition);
        let mut worker = None;
        let runner = Self::with(owned, deliveries, |disk| {
            let (committer, stepped) = Committer::stepped(disk);
            worker = Some(stepped);
            Ok(committer)
        })?;
        Ok((runner, worker.expect("a runner makes one committer")))
    }

    /// When the engine was last seen running.
    pub(super) const fn alive(&self) -> Timestamp {
        self.alive
    }

    /// The engine is running at `now`, and will know that when it starts again.
    pub(super) fn set_alive(&mut self, now: Timestamp) {
        self.alive = now;
        if now.since(self.alive_told) >= ALIVE_PERIOD {
            self.tell_alive();
        }
    }

    fn tell_alive(&mut self) {
        if self.alive != self.alive_told {
            self.alive_told = self.alive;
            self.committer.submit(Job::Alive(self.alive));
        }
    }

    /// What room is missing to take anything in; none where there is enough.
    pub(super) fn shortage(&self) -> Option<Shortage> {
        self.gauge.shortage()
    }

    /// The watch over what is asked of the disk.
    pub(super) const fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    /// The gauge of free space.
    pub(super) const fn gauge(&self) -> &Arc<Gauge> {
        &self.gauge
    }

    /// Decides one input and checkpoints when that is due.
    pub(super) fn decide(
        &mut self,
        now: Timestamp,
        input: &Input,
    ) -> store::Result<Result<Answer, Rejection>> {
        let answer = self.partition.decide(now, input)?;
        self.dirty |= self.partition.latest() > self.submitted;
        Ok(answer)
    }

    /// Queues `release` until everything decided so far is durable.
    pub(super) fn when_durable(&mut self, release: Release) {
        let latest = self.partition.latest();
        if latest <= self.durable || is_planted!("release_before_durable") {
            return release();
        }
        self.waiting.push_back((latest, release));
    }

    /// Whether the commit thread has nothing of ours to write.
    pub(super) fn is_idle(&self) -> bool {
        self.submitted == self.durable
    }

    /// Whether everything decided is durable.
    pub(super) fn is_durable(&self) -> bool {
        self.partition.latest() == self.durable
    }

    /// Whether so much waits for the commit thread that nothing more should be decided.
    pub(super) fn is_full(&self) -> bool {
        !self.is_idle() && self.partition.unsealed_bytes() >= BATCH_BYTES
            || self.waiting.len() >= self.partition.limits.inbox_inputs
            || self.is_cache_full()
    }

    /// Whether so many deliveries wait for their channels that no more should be requested: one
    /// `part` of what there may be. They are in memory, and in the image of every checkpoint.
    pub(super) fn is_flooded(&self, part: usize) -> bool {
        let limit = self.partition.limits.in_flight / part;
        self.partition.state.memory.in_flight.len() >= limit.max(1)
    }

    /// Hands what was decided to the commit thread, once it is done with the batch before.
    pub(super) fn submit(&mut self) {
        // Here as well as after commits: reads and duplicates load pages and commit nothing.
        self.evict();
        if self.is_cache_full() {
            self.thaw();
        }
        if !self.is_idle() || self.partition.latest() == self.submitted {
            return self.freeze_as_wanted();
        }
        let mut chunks = VecDeque::from(self.partition.take_sealed());
        while !chunks.is_empty() {
            let mut batch = Vec::new();
            let mut bytes = 0;
            while let Some(chunk) = chunks.pop_front_if(|it| bytes + it.bytes.len() <= BATCH_BYTES)
            {
                bytes += chunk.bytes.len();
                batch.push(chunk);
            }
            let fold = chunks.is_empty().then(|| self.partition.fold.clone());
            self.committer.submit(Job::Append { chunks: batch, fold });
        }
        self.submitted = self.partition.latest();
        self.freeze_as_wanted();
        self.checkpoint_if_due();
    }

    /// Gives `reply` the rows, timers and memory image as they are at a checkpoint of what has been
    /// decided, and keeps them like that in the store. Until they are let go no other checkpoint is
    /// written; the reader loses them where the cache has no room for what changes meanwhile.
    pub(super) fn freeze(&mut self, reply: Reply<Frozen>) {
        self.freezes.push(reply);
        self.submit();
    }

    fn freeze_as_wanted(&mut self) {
        if self.freezes.is_empty()
            || self.checkpointing
            || self.partition.latest() != self.submitted
        {
            return;
        }
        // A directory without a record may have no checkpoint yet.
        self.dirty |= self.submitted == Lsn::ZERO;
        self.checkpoint();
        for reply in self.freezes.drain(..) {
            self.committer.submit(Job::Freeze(reply));
        }
        self.frozen = true;
    }

    fn thaw(&mut self) {
        if std::mem::take(&mut self.frozen) {
            self.committer.submit(Job::Thaw);
        }
    }

    fn checkpoint_if_due(&mut self) {
        let table = &self.partition.state.table;
        let limits = &self.partition.limits;
        let due = self.partition.since_checkpoint >= limits.checkpoint_records
            || table.dirty_bytes() >= limits.cache_bytes / 2
            || table.resident_pages() > limits.cache_pages.saturating_mul(2);
        if due && !self.gauge.is_low() {
            self.checkpoint();
        }
    }

    /// Starts a checkpoint of everything handed to the commit thread, unless one is running.
    pub(super) fn checkpoint(&mut self) {
        if self.checkpointing || !self.dirty || self.partition.latest() != self.submitted {
            return;
        }
        self.watch.tally().checkpoint(true);
        let partition = &mut self.partition;
        let (at, time) = (partition.latest(), partition.recorded_time());
        let (memory, image) = {
            let (image, entries) = checkpoint::memory_entries(at, &partition.state.memory.encode());
            (entries, image)
        };
        let job = Checkpoint {
            pages: partition.state.table.checkpoint().into(),
            runs: partition.state.timers.checkpoint(at, time).into(),
            memory: memory.into(),
            state: CheckpointState { at, fold: partition.fold.clone(), time, memory: image },
            keep_log: partition.limits.keep_log.map(|it| (it, partition.limits.base_copy_bytes)),
        };
        partition.since_checkpoint = 0;
        self.dirty = false;
        self.checkpointing = true;
        self.committer.submit(Job::Checkpoint(Box::new(job)));
    }

    /// What the commit thread reports.
    pub(super) fn commits(&self) -> &Receiver<Committed> {
        self.committer.reports()
    }

    /// Takes a report of the commit thread and lets go what may leave now.
    pub(super) fn absorb(&mut self, committed: Committed) -> store::Result<()> {
        match committed {
            Committed::Durable(lsn) => {
                self.durable = lsn;
                self.partition.forget_recent(lsn);
                while let Some((_, release)) = self.waiting.pop_front_if(|(at, _)| *at <= lsn) {
                    release();
                }
            }
            Committed::Checkpointed => {
                self.checkpointing = false;
                self.watch.tally().checkpoint(false);
                self.partition.state.table.written();
                let retired = self.partition.state.timers.written();
                if !retired.is_empty() {
                    self.committer.submit(Job::Remove(retired));
                }
            }
            Committed::Failed(error) => return Err(error),
        }
        self.evict();
        self.submit();
        self.dispatch()
    }

    /// Hands out deliveries whose records are durable, as far as there is room.
    pub(super) fn dispatch(&mut self) -> store::Result<()> {
        if self.gauge.is_low() {
            return Ok(());
        }
        self.deliveries.dispatch(&mut self.partition, self.durable)
    }

    /// The input that a worker's report is; none where that attempt was not handed out or has been
    /// reported on, and then whoever has the delivery still owes its report.
    pub(super) fn reported(&mut self, report: Report) -> Option<Input> {
        self.deliveries.reported(report)
    }

    /// Ends cleanly: everything durable, a checkpoint recorded, the head up to date. Without a
    /// checkpoint where there is too little room.
    pub(super) fn finish(mut self) -> store::Result<Partition> {
        self.drain()?;
        self.thaw();
        self.await_checkpoint()?;
        if !self.gauge.is_low() {
            self.checkpoint();
        }
        self.await_checkpoint()?;
        self.tell_alive();
        let Self { partition, committer, watch, .. } = self;
        match committer.close().try_iter().find_map(failure) {
            Some(error) => Err(error),
            None => watch.check().map(|()| partition),
        }
    }

    fn await_checkpoint(&mut self) -> store::Result<()> {
        while self.checkpointing && !self.gauge.is_low() {
            self.wait_a_moment()?;
        }
        Ok(())
    }

    /// Hands out nothing more: what is not with a worker yet waits for the next start.
    pub(super) fn hold_deliveries(&mut self) {
        self.deliveries.hold();
    }

    /// Whether workers have deliveries that they have not reported on.
    pub(super) fn awaits_reports(&self) -> bool {
        self.deliveries.are_out()
    }

    /// Waits until everything decided is durable.
    pub(super) fn drain(&mut self) -> store::Result<()> {
        self.submit();
        while !self.is_durable() {
            self.wait_commit()?;
        }
        Ok(())
    }

    /// Waits for the disk, but not for ever.
    pub(super) fn wait_a_moment(&mut self) -> store::Result<()> {
        self.committer.wait_a_moment().map_or(Ok(()), |committed| self.absorb(committed))
    }

    fn wait_commit(&mut self) -> store::Result<()> {
        self.absorb(self.committer.wait())
    }
}

fn failure(committed: Committed) -> Option<store::Error> {
    match committed {
        Committed::Failed(error) => Some(error),
        Committed::Durable(_) | Committed::Checkpointed => None,
    }
}

#[cfg(test)]
mod tests;
