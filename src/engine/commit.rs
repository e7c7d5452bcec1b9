//! The commit thread: the only writer. Appends chunks, syncs, then says what is durable; writes a
//! checkpoint in slices between commits, never more between two syncs than sled can lose nothing of.
//! What it does is a [`Worker`] that is stepped, so that a test can do the same without a thread.
//!
//! Chunks are appended as they come. Everything else is work that is done in order, so whatever
//! reads the rows in between, such as a [`Frozen`] image, sees them at exactly one checkpoint.
//!
//! **Architecture invariant:** pages and runs are written only after a sync that covers the log up
//! to their LSN; a checkpoint is recorded only after a sync that covers its pages and runs. Both are
//! program order here.

mod frozen;
mod gauge;
mod saving;
mod upkeep;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, select, tick, unbounded};
use tracing::trace_span;

pub use frozen::Frozen;
use frozen::Held;
pub(super) use gauge::Gauge;
pub(super) use saving::Checkpoint;
use saving::Work;

use super::{
    partition::Sealed,
    ticket::Reply,
    watch::{Apart, Watch},
};
use crate::{
    base::{
        Lsn, Timestamp,
        limits::{CHECKPOINT_SLICE_BYTES, SYNC_BYTES_MAX},
        planted::is_planted,
    },
    store::{self, CheckpointState, Fold, Head, HeadState, Inserted, Log, Store, checkpoint},
};

/// How often `head` follows the log at least.
const HEAD_PERIOD: Duration = Duration::from_secs(1);
/// The longest wait for a report before the world is looked at again.
const MOMENT: Duration = Duration::from_millis(100);

/// Work for the commit thread.
#[derive(Debug)]
pub(super) enum Job {
    /// Chunks to append; with the last ones of a batch also what a reader sees after them.
    Append { chunks: Vec<Sealed>, fold: Option<Fold> },
    /// A checkpoint to write.
    Checkpoint(Box<Checkpoint>),
    /// Runs that no timer needs any more.
    Remove(Vec<Vec<u8>>),
    /// When the engine was running, for the head.
    Alive(Timestamp),
    /// Somebody wants to read the checkpoint recorded last.
    Freeze(Reply<Frozen>),
    /// Whoever reads a checkpoint must stop: the work behind it cannot wait.
    Thaw,
}

/// What the commit thread reports.
#[derive(Debug)]
pub(super) enum Committed {
    /// Every record up to this one is on the device.
    Durable(Lsn),
    /// The checkpoint is recorded.
    Checkpointed,
    /// A write failed: nothing after the last durable record may leave, now or ever.
    Failed(store::Error),
}

/// What the commit thread writes to.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) store: Arc<dyn Store>,
    pub(super) log: Arc<dyn Log>,
    /// None where the store is not a directory.
    pub(super) head: Option<Head>,
    pub(super) gauge: Arc<Gauge>,
    pub(super) watch: Arc<Watch>,
}

/// The handle of the commit thread.
#[derive(Debug)]
pub(super) struct Committer {
    jobs: Option<Sender<Job>>,
    reports: Receiver<Committed>,
    doer: Doer,
    watch: Arc<Watch>,
}

/// Who steps the worker.
#[derive(Debug)]
enum Doer {
    Thread(Option<Apart>),
    /// A test, and whoever has to wait.
    #[cfg(test)]
    Caller(Arc<std::sync::Mutex<Worker>>),
}

impl Committer {
    /// Starts the thread.
    pub(super) fn start(disk: Disk) -> store::Result<Self> {
        let watch = Arc::clone(&disk.watch);
        let (worker, jobs, reports) = Worker::new(disk);
        let thread = Apart::start("onward-commit", move || worker.run())?;
        Ok(Self { jobs: Some(jobs), reports, doer: Doer::Thread(Some(thread)), watch })
    }

    /// Leaves the stepping to the caller, who may go on with it when the engine is gone.
    #[cfg(test)]
    pub(super) fn stepped(disk: Disk) -> (Self, Arc<std::sync::Mutex<Worker>>) {
        let watch = Arc::clone(&disk.watch);
        let (worker, jobs, reports) = Worker::new(disk);
        let worker = Arc::new(std::sync::Mutex::new(worker));
        let doer = Doer::Caller(Arc::clone(&worker));
        (Self { jobs: Some(jobs), reports, doer, watch }, worker)
    }

    /// Hands over work; a worker that has failed has said so and takes no more.
    pub(super) fn submit(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job).is_ok();
        }
    }

    /// Where the reports come in.
    pub(super) const fn reports(&self) -> &Receiver<Committed> {
        &self.reports
    }

    /// Waits for the next report.
    pub(super) fn wait(&self) -> Committed {
        #[cfg(test)]
        if let Doer::Caller(worker) = &self.doer {
            while self.reports.is_empty() && worker.lock().unwrap().step(false) != Stepped::Ended {}
        }
        select! {
            recv(self.reports) -> it => it.expect("the commit thread reports its failure before it ends"),
            recv(self.watch.raised()) -> _ => self.stalled(),
        }
    }

    /// Waits for the next report, but not for ever: there is none while work waits for room.
    pub(super) fn wait_a_moment(&self) -> Option<Committed> {
        #[cfg(test)]
        if let Doer::Caller(worker) = &self.doer {
            worker.lock().unwrap().step(true);
            return self.reports.try_recv().ok();
        }
        select! {
            recv(self.reports) -> it => it.ok(),
            recv(self.watch.raised()) -> _ => Some(self.stalled()),
            default(MOMENT) => None,
        }
    }

    /// What there is to report once the disk gives no answer.
    fn stalled(&self) -> Committed {
        Committed::Failed(self.watch.check().expect_err("it is raised by an alarm"))
    }

    /// Waits until all that was handed over is written, and gives back the reports left.
    pub(super) fn close(mut self) -> Receiver<Committed> {
        self.jobs = None;
        #[cfg(test)]
        if let Doer::Caller(worker) = &self.doer {
            while worker.lock().unwrap().step(false) != Stepped::Ended {}
        }
        self.reports.clone()
    }
}

impl Drop for Committer {
    /// Waits until the thread has written all that was handed over, or hangs.
    fn drop(&mut self) {
        self.jobs = None;
        match &mut self.doer {
            Doer::Thread(thread) => {
                if let Some(thread) = thread.take() {
                    thread.join_or_leave(&self.watch);
                }
            }
            #[cfg(test)]
            Doer::Caller(_) => {}
        }
    }
}

/// What the commit thread does.
#[derive(Debug)]
pub(super) struct Worker {
    inbox: Receiver<Job>,
    store: Arc<dyn Store>,
    log: Arc<dyn Log>,
    head: Option<Head>,
    gauge: Arc<Gauge>,
    watch: Arc<Watch>,
    report: Sender<Committed>,
    work: VecDeque<Work>,
    /// Who reads the rows; no work is done until they let go.
    held: Option<Held>,
    head_behind: Option<Fold>,
    /// Bytes of a checkpoint between two syncs, at most.
    slice_bytes: usize,
    /// Whether there was nothing to append in the step before.
    was_free: bool,
    alive: Timestamp,
    has_failed: bool,
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stepped {
    /// Something was written.
    Worked,
    /// There was nothing to do.
    Idle,
    /// There never will be: nobody hands over work any more, or a write has failed.
    Ended,
}

impl Worker {
    fn new(disk: Disk) -> (Self, Sender<Job>, Receiver<Committed>) {
        let Disk { store, log, head, gauge, watch } = disk;
        let (jobs, inbox) = unbounded();
        let (report, reports) = unbounded();
        let worker = Self {
            inbox,
            store,
            log,
            head,
            gauge,
            watch,
            report,
            work: VecDeque::new(),
            held: None,
            head_behind: None,
            slice_bytes: SYNC_BYTES_MAX,
            was_free: true,
            alive: Timestamp::EPOCH,
            has_failed: false,
        };
        (worker, jobs, reports)
    }

    fn run(mut self) {
        let head_due = tick(HEAD_PERIOD);
        loop {
            if self.is_waiting() {
                let mut work = Select::new();
                work.recv(&self.inbox);
                work.recv(&head_due);
                if let Some(held) = &self.held {
                    work.recv(&held.let_go);
                }
                work.ready();
            }
            if self.step(head_due.try_recv().is_ok()) == Stepped::Ended {
                return;
            }
        }
    }

    /// Makes slices of a checkpoint so small that much happens between them.
    #[cfg(test)]
    pub(super) fn slice(&mut self, bytes: usize) {
        self.slice_bytes = bytes;
    }

    /// Does one job, or a slice of the running checkpoint; then the head, if it is due.
    pub(super) fn step(&mut self, is_head_due: bool) -> Stepped {
        if self.has_failed {
            return Stepped::Ended;
        }
        let result = self.work().and_then(|stepped| {
            if is_head_due || stepped == Stepped::Ended {
                self.write_head()?;
            }
            if is_head_due || stepped == Stepped::Worked {
                self.gauge.read(&*self.store)?;
            }
            Ok(stepped)
        });
        result.unwrap_or_else(|error| {
            self.has_failed = true;
            // The engine may be gone already; then nobody waits for the report.
            let _ = self.report.send(Committed::Failed(error)).is_ok();
            Stepped::Ended
        })
    }

    fn work(&mut self) -> store::Result<Stepped> {
        let (mut appended, mut has_appended) = (None, false);
        let budget = CHECKPOINT_SLICE_BYTES;
        self.held.take_if(|it| it.is_let_go());
        match self.inbox.try_recv() {
            Ok(Job::Append { chunks, fold }) => {
                self.append(&chunks)?;
                has_appended = true;
                appended = fold;
            }
            Ok(Job::Checkpoint(checkpoint)) => {
                if is_planted!("record_checkpoint_first") {
                    checkpoint::record(&*self.store, &checkpoint.state)?;
                }
                self.work.push_back(Work::Checkpoint(checkpoint));
            }
            Ok(Job::Remove(keys)) => self.work.push_back(Work::Remove(keys)),
            Ok(Job::Freeze(reply)) => self.work.push_back(Work::Freeze(reply)),
            Ok(Job::Thaw) => self.thaw(),
            Ok(Job::Alive(now)) => {
                self.alive = now;
                self.write_alive()?;
            }
            Err(TryRecvError::Empty) if self.is_waiting() => return Ok(Stepped::Idle),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                self.thaw();
                // What there is no room for is not needed: the log says it all.
                if self.is_waiting() {
                    return Ok(Stepped::Ended);
                }
            }
        }
        // Whoever comes after a pause has waited for a slice already, and work gets on in pauses.
        let is_alone = has_appended && self.was_free;
        self.was_free = !has_appended;
        if !is_alone {
            self.write_slice(budget.min(self.slice_bytes))?;
        }
        self.sync()?;
        if let Some(fold) = appended {
            let durable = Committed::Durable(fold.last_lsn());
            self.head_behind = Some(fold);
            let _ = self.report.send(durable).is_ok();
        }
        self.finish_work()?;
        Ok(Stepped::Worked)
    }

    /// Whether nothing can be done but what comes in.
    fn is_waiting(&self) -> bool {
        self.work.is_empty() || self.is_put_off()
    }

    /// Whether the work waits for whoever reads the rows, or for room.
    fn is_put_off(&self) -> bool {
        self.held.is_some() || self.gauge.is_low()
    }

    fn append(&self, chunks: &[Sealed]) -> store::Result<()> {
        let _span = trace_span!("append", chunks = chunks.len()).entered();
        for chunk in chunks {
            if self.log.submit(chunk.position, &chunk.bytes)? == Inserted::Occupied {
                return Err(store::Error::Conflict { position: chunk.position });
            }
        }
        Ok(())
    }

    fn sync(&self) -> store::Result<()> {
        let _span = trace_span!("sync").entered();
        let synced = self.store.sync();
        if is_planted!("sync_error_ignored") { Ok(()) } else { synced }
    }

    /// Does as much of the work in front as the budget between two syncs allows.
    fn write_slice(&mut self, budget: usize) -> store::Result<()> {
        if self.is_put_off() {
            return Ok(());
        }
        let Self { work, store, log, .. } = self;
        work.front_mut().map_or(Ok(()), |work| work.write_slice(&**store, &**log, budget))
    }

    /// Ends the work in front once all of it is on the device.
    fn finish_work(&mut self) -> store::Result<()> {
        if self.is_put_off() {
            return Ok(());
        }
        match self.work.pop_front_if(|it| it.is_written()) {
            Some(Work::Checkpoint(checkpoint)) => {
                self.finish_checkpoint(&checkpoint.state)?;
                checkpoint.keep_log.map_or(Ok(()), |keep| self.keep_up(&checkpoint.state, keep))
            }
            Some(Work::Upkeep(upkeep)) => upkeep.finish(&*self.store),
            Some(Work::Freeze(reply)) => self.freeze(reply),
            Some(Work::Remove(_)) | None => Ok(()),
        }
    }

    /// Puts a checkpoint in force.
    fn finish_checkpoint(&mut self, state: &CheckpointState) -> store::Result<()> {
        let _span = trace_span!("checkpoint").entered();
        checkpoint::record(&*self.store, state)?;
        self.store.sync()?;
        checkpoint::forget_below(&*self.store, state.at)?;
        // Where nothing is behind, the head is at the checkpoint or past it already.
        self.write_head()?;
        let _ = self.report.send(Committed::Checkpointed).is_ok();
        Ok(())
    }

    fn write_head(&mut self) -> store::Result<()> {
        let (Some(head), Some(fold)) = (&mut self.head, self.head_behind.take()) else {
            return Ok(());
        };
        let _span = trace_span!("head").entered();
        let state = HeadState::of(&fold, self.alive);
        self.watch.during("write the head of", || head.write(&state))
    }

    /// The head says when the engine was running: now, or when it says how far the log is.
    fn write_alive(&mut self) -> store::Result<()> {
        match &mut self.head {
            Some(head) if self.head_behind.is_none() => {
                self.watch.during("write the head of", || head.write_alive(self.alive))
            }
            _ => Ok(()),
        }
    }
}
