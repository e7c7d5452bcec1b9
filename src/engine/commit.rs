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
mod upkeep;

use std::{
    collections::VecDeque,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, tick, unbounded};
use tracing::trace_span;

pub use frozen::Frozen;
use frozen::Held;
use upkeep::Upkeep;

use super::{partition::Sealed, ticket::Reply};
use crate::{
    base::{
        Lsn, Span,
        limits::{CHECKPOINT_SLICE_BYTES, SYNC_BYTES_MAX},
        planted::is_planted,
    },
    machine::row::Row,
    store::{
        self, CheckpointState, Fold, Head, HeadState, Inserted, Log, Page, Store, Tree, checkpoint,
        page::encode_page,
    },
};

/// Keys removed between two syncs.
const REMOVALS_MAX: usize = 1_000;

/// How often `head` follows the log at least.
const HEAD_PERIOD: Duration = Duration::from_secs(1);

/// Work for the commit thread.
#[derive(Debug)]
pub(super) enum Job {
    /// Chunks to append; with the last ones of a batch also what a reader sees after them.
    Append { chunks: Vec<Sealed>, fold: Option<Fold> },
    /// A checkpoint to write.
    Checkpoint(Box<Checkpoint>),
    /// Runs that no timer needs any more.
    Remove(Vec<Vec<u8>>),
    /// Somebody wants to read the checkpoint recorded last.
    Freeze(Reply<Frozen>),
    /// Whoever reads a checkpoint must stop: the work behind it cannot wait.
    Thaw,
}

/// What is done between commits, in order.
#[derive(Debug)]
enum Work {
    Checkpoint(Box<Checkpoint>),
    Remove(Vec<Vec<u8>>),
    Freeze(Reply<Frozen>),
    Upkeep(Upkeep),
}

/// Everything that a checkpoint saves.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) pages: VecDeque<Arc<Page<Row>>>,
    pub(super) runs: VecDeque<store::Entry>,
    pub(super) memory: VecDeque<store::Entry>,
    pub(super) state: CheckpointState,
    /// How long records are kept, and how much of the rows a base copies.
    pub(super) keep_log: Option<(Span, usize)>,
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

/// The handle of the commit thread.
#[derive(Debug)]
pub(super) struct Committer {
    jobs: Option<Sender<Job>>,
    reports: Receiver<Committed>,
    doer: Doer,
}

/// Who steps the worker.
#[derive(Debug)]
enum Doer {
    Thread(Option<JoinHandle<()>>),
    /// A test, and whoever has to wait.
    #[cfg(test)]
    Caller(Arc<std::sync::Mutex<Worker>>),
}

impl Committer {
    /// Starts the thread.
    pub(super) fn start(store: Arc<dyn Store>, log: Arc<dyn Log>, head: Option<Head>) -> Self {
        let (worker, jobs, reports) = Worker::new(store, log, head);
        let thread = thread::Builder::new()
            .name("onward-commit".to_owned())
            .spawn(move || worker.run())
            .expect("the system starts threads");
        Self { jobs: Some(jobs), reports, doer: Doer::Thread(Some(thread)) }
    }

    /// Leaves the stepping to the caller, who may go on with it when the engine is gone.
    #[cfg(test)]
    pub(super) fn stepped(
        store: Arc<dyn Store>,
        log: Arc<dyn Log>,
        head: Option<Head>,
    ) -> (Self, Arc<std::sync::Mutex<Worker>>) {
        let (worker, jobs, reports) = Worker::new(store, log, head);
        let worker = Arc::new(std::sync::Mutex::new(worker));
        let doer = Doer::Caller(Arc::clone(&worker));
        (Self { jobs: Some(jobs), reports, doer }, worker)
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
        self.reports.recv().expect("the commit thread reports its failure before it ends")
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
    /// Waits until the thread has written all that was handed over.
    fn drop(&mut self) {
        self.jobs = None;
        match &mut self.doer {
            Doer::Thread(thread) => {
                let _ = thread.take().is_some_and(|it| it.join().is_ok());
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
    report: Sender<Committed>,
    work: VecDeque<Work>,
    /// Who reads the rows; no work is done until they let go.
    held: Option<Held>,
    head_behind: Option<Fold>,
    /// Bytes of a checkpoint between two syncs, at most.
    slice_bytes: usize,
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
    fn new(
        store: Arc<dyn Store>,
        log: Arc<dyn Log>,
        head: Option<Head>,
    ) -> (Self, Sender<Job>, Receiver<Committed>) {
        let (jobs, inbox) = unbounded();
        let (report, reports) = unbounded();
        let worker = Self {
            inbox,
            store,
            log,
            head,
            report,
            work: VecDeque::new(),
            held: None,
            head_behind: None,
            slice_bytes: SYNC_BYTES_MAX,
            has_failed: false,
        };
        (worker, jobs, reports)
    }

    fn run(mut self) {
        let head_due = tick(HEAD_PERIOD);
        loop {
            if self.work.is_empty() || self.held.is_some() {
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
        let mut appended = None;
        let mut budget = SYNC_BYTES_MAX - CHECKPOINT_SLICE_BYTES;
        self.held.take_if(|it| it.is_let_go());
        match self.inbox.try_recv() {
            Ok(Job::Append { chunks, fold }) => {
                budget = CHECKPOINT_SLICE_BYTES;
                self.append(&chunks)?;
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
            Err(TryRecvError::Empty) if self.is_waiting() => return Ok(Stepped::Idle),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                self.thaw();
                if self.work.is_empty() {
                    return Ok(Stepped::Ended);
                }
            }
        }
        self.write_slice(budget.min(self.slice_bytes))?;
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
        self.work.is_empty() || self.held.is_some()
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
        self.store.sync()
    }

    /// Does as much of the work in front as the budget between two syncs allows.
    fn write_slice(&mut self, budget: usize) -> store::Result<()> {
        if self.held.is_some() {
            return Ok(());
        }
        match self.work.front_mut() {
            Some(Work::Checkpoint(checkpoint)) => checkpoint.write_slice(&*self.store, budget),
            Some(Work::Remove(keys)) => {
                let _span = trace_span!("retire").entered();
                let some = keys.split_off(keys.len().saturating_sub(REMOVALS_MAX));
                some.iter().try_for_each(|key| self.store.remove(Tree::Timers, key))
            }
            Some(Work::Upkeep(upkeep)) => upkeep.write_slice(&*self.store, &*self.log, budget),
            Some(Work::Freeze(_)) | None => Ok(()),
        }
    }

    /// Ends the work in front once all of it is on the device.
    fn finish_work(&mut self) -> store::Result<()> {
        if self.held.is_some() {
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
        head.write(&HeadState::of(&fold))
    }
}

impl Work {
    fn is_written(&self) -> bool {
        match self {
            Self::Checkpoint(it) => {
                it.pages.is_empty() && it.runs.is_empty() && it.memory.is_empty()
            }
            Self::Remove(keys) => keys.is_empty(),
            Self::Upkeep(it) => it.is_written(),
            Self::Freeze(_) => true,
        }
    }
}

impl Checkpoint {
    fn write_slice(&mut self, store: &dyn Store, budget: usize) -> store::Result<()> {
        let mut written = 0;
        while written < budget {
            if let Some(page) = self.pages.pop_front() {
                let _span = trace_span!("page").entered();
                let (key, value) = encode_page(&page, self.state.time);
                written += value.len();
                store.put(Tree::Rows, &key, &value)?;
            } else if let Some((key, value)) = self.runs.pop_front() {
                let _span = trace_span!("timer_run").entered();
                written += value.len();
                store.put(Tree::Timers, &key, &value)?;
            } else if let Some((key, value)) = self.memory.pop_front() {
                let _span = trace_span!("memory").entered();
                written += value.len();
                store.put(Tree::Meta, &key, &value)?;
            } else {
                break;
            }
        }
        Ok(())
    }
}
