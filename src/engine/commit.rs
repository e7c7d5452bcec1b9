//! The commit thread: the only writer. Appends chunks, syncs, then says what is durable; writes a
//! checkpoint in slices between commits, never more between two syncs than sled can lose nothing of.
//!
//! **Architecture invariant:** pages and runs are written only after a sync that covers the log up
//! to their LSN; a checkpoint is recorded only after a sync that covers its pages and runs. Both are
//! program order here.

use std::{
    collections::VecDeque,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, TryRecvError, tick, unbounded};
use tracing::trace_span;

use super::partition::Sealed;
use crate::{
    base::{
        Lsn,
        limits::{CHECKPOINT_SLICE_BYTES, SYNC_BYTES_MAX},
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
}

/// Everything that a checkpoint saves.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) pages: VecDeque<Arc<Page<Row>>>,
    pub(super) runs: VecDeque<store::Entry>,
    pub(super) memory: VecDeque<store::Entry>,
    pub(super) state: CheckpointState,
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
    pub(super) reports: Receiver<Committed>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts the thread.
    pub(super) fn start(store: Arc<dyn Store>, log: Arc<dyn Log>, head: Option<Head>) -> Self {
        let (jobs, inbox) = unbounded();
        let (report, reports) = unbounded();
        let worker = Worker { store, log, head, report, running: None, head_behind: None };
        let thread = thread::Builder::new()
            .name("onward-commit".to_owned())
            .spawn(move || worker.run(&inbox))
            .expect("the system starts threads");
        Self { jobs: Some(jobs), reports, thread: Some(thread) }
    }

    /// Hands over work; a thread that has failed has said so and takes no more.
    pub(super) fn submit(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job).is_ok();
        }
    }
}

impl Drop for Committer {
    /// Waits until all that was handed over is written.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join().is_ok();
        }
    }
}

struct Worker {
    store: Arc<dyn Store>,
    log: Arc<dyn Log>,
    head: Option<Head>,
    report: Sender<Committed>,
    running: Option<Box<Checkpoint>>,
    head_behind: Option<Fold>,
}

impl Worker {
    fn run(mut self, inbox: &Receiver<Job>) {
        if let Err(error) = self.serve(inbox) {
            // The engine may be gone already; then nobody waits for the report.
            let _ = self.report.send(Committed::Failed(error)).is_ok();
        }
    }

    fn serve(&mut self, inbox: &Receiver<Job>) -> store::Result<()> {
        let head_due = tick(HEAD_PERIOD);
        let mut open = true;
        while open || self.running.is_some() {
            let mut appended = None;
            let mut budget = SYNC_BYTES_MAX - CHECKPOINT_SLICE_BYTES;
            match self.next(inbox, &head_due) {
                Next::Job(Job::Append { chunks, fold }) => {
                    budget = CHECKPOINT_SLICE_BYTES;
                    self.append(&chunks)?;
                    appended = fold;
                }
                Next::Job(Job::Checkpoint(checkpoint)) => {
                    assert!(self.running.is_none(), "one checkpoint at a time");
                    self.running = Some(checkpoint);
                }
                Next::Job(Job::Remove(keys)) => {
                    let _span = trace_span!("retire").entered();
                    for keys in keys.chunks(REMOVALS_MAX) {
                        keys.iter().try_for_each(|key| self.store.remove(Tree::Timers, key))?;
                        self.sync()?;
                    }
                }
                Next::Nothing => {}
                Next::Head => self.write_head()?,
                Next::Closed => open = false,
            }
            self.write_slice(budget)?;
            self.sync()?;
            if let Some(fold) = appended {
                let durable = Committed::Durable(fold.last_lsn());
                self.head_behind = Some(fold);
                let _ = self.report.send(durable).is_ok();
                if head_due.try_recv().is_ok() {
                    self.write_head()?;
                }
            }
            self.finish_checkpoint()?;
        }
        self.write_head()
    }

    fn next(&self, inbox: &Receiver<Job>, head_due: &Receiver<std::time::Instant>) -> Next {
        if self.running.is_some() {
            return match inbox.try_recv() {
                Ok(job) => Next::Job(job),
                Err(TryRecvError::Empty) => Next::Nothing,
                Err(TryRecvError::Disconnected) => Next::Closed,
            };
        }
        crossbeam_channel::select! {
            recv(inbox) -> job => job.map_or(Next::Closed, Next::Job),
            recv(head_due) -> _ => Next::Head,
        }
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

    /// Writes as much of the running checkpoint as the budget between two syncs allows.
    fn write_slice(&mut self, budget: usize) -> store::Result<()> {
        let Some(checkpoint) = &mut self.running else { return Ok(()) };
        let mut written = 0;
        while written < budget {
            if let Some(page) = checkpoint.pages.pop_front() {
                let _span = trace_span!("page").entered();
                let (key, value) = encode_page(&page, checkpoint.state.time);
                written += value.len();
                self.store.put(Tree::Rows, &key, &value)?;
            } else if let Some((key, value)) = checkpoint.runs.pop_front() {
                let _span = trace_span!("timer_run").entered();
                written += value.len();
                self.store.put(Tree::Timers, &key, &value)?;
            } else if let Some((key, value)) = checkpoint.memory.pop_front() {
                let _span = trace_span!("memory").entered();
                written += value.len();
                self.store.put(Tree::Meta, &key, &value)?;
            } else {
                break;
            }
        }
        Ok(())
    }

    /// Records the running checkpoint once all of it is on the device.
    fn finish_checkpoint(&mut self) -> store::Result<()> {
        let Some(checkpoint) = self.running.take_if(|it| it.is_written()) else { return Ok(()) };
        let _span = trace_span!("checkpoint").entered();
        checkpoint::record(&*self.store, &checkpoint.state)?;
        self.store.sync()?;
        checkpoint::forget_below(&*self.store, checkpoint.state.at)?;
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

impl Checkpoint {
    fn is_written(&self) -> bool {
        self.pages.is_empty() && self.runs.is_empty() && self.memory.is_empty()
    }
}

enum Next {
    Job(Job),
    Nothing,
    Head,
    Closed,
}
