//! The rows, timers and memory image as a checkpoint left them, for whoever reads them while the
//! engine goes on.
//!
//! The commit thread is the only writer, so a freeze is that it puts off all work but appending.
//! The engine never waits for a reader: where the cache cannot wait for the next checkpoint, or the
//! engine stops, the reader is told that what it reads is no longer of one moment.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use super::{Work, Worker};
use crate::{
    engine::ticket::Reply,
    store::{self, CheckpointState, Store, checkpoint},
};

/// A store whose rows, timers and checkpoint stay as they are until this is dropped. The log only
/// grows.
#[derive(Debug)]
pub struct Frozen {
    store: Arc<dyn Store>,
    state: CheckpointState,
    memory: Vec<u8>,
    is_thawed: Arc<AtomicBool>,
    /// Dropped with this, which the commit thread sees.
    _hold: Sender<Infallible>,
}

impl Frozen {
    /// What to read from.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The checkpoint at which everything is.
    pub const fn checkpoint(&self) -> &CheckpointState {
        &self.state
    }

    /// Its memory image.
    pub fn memory(&self) -> &[u8] {
        &self.memory
    }

    /// Whether everything that was read before this call is of that checkpoint.
    ///
    /// # Errors
    /// [`store::Error::Thawed`]: the engine could not wait any longer.
    pub fn check(&self) -> store::Result<()> {
        if self.is_thawed.load(Ordering::SeqCst) { Err(store::Error::Thawed) } else { Ok(()) }
    }
}

/// The commit thread's end of a [`Frozen`].
#[derive(Debug)]
pub(super) struct Held {
    is_thawed: Arc<AtomicBool>,
    pub(super) let_go: Receiver<Infallible>,
}

impl Held {
    pub(super) fn is_let_go(&self) -> bool {
        self.let_go.try_recv() == Err(TryRecvError::Disconnected)
    }
}

impl Worker {
    /// Freezes what is there for the one who asked.
    pub(super) fn freeze(&mut self, reply: Reply<Frozen>) -> store::Result<()> {
        let recorded = checkpoint::load(&*self.store)?;
        let (state, memory) = recorded.expect("a checkpoint is recorded before the first freeze");
        let (hold, let_go) = bounded(0);
        let is_thawed = Arc::new(AtomicBool::new(false));
        self.held = Some(Held { is_thawed: Arc::clone(&is_thawed), let_go });
        let store = Arc::clone(&self.store);
        // Where nobody waits for it any more, it lets go at once.
        let _ = reply.send(Ok(Frozen { store, state, memory, is_thawed, _hold: hold })).is_ok();
        Ok(())
    }

    /// Goes on with the work that was put off, before anything of it is written.
    pub(super) fn thaw(&mut self) {
        if let Some(held) = self.held.take() {
            held.is_thawed.store(true, Ordering::SeqCst);
        }
        for work in std::mem::take(&mut self.work) {
            match work {
                Work::Freeze(reply) => {
                    let _ = reply.send(Err(store::Error::Thawed.into())).is_ok();
                }
                other @ (Work::Checkpoint(_) | Work::Remove(_) | Work::Upkeep(_)) => {
                    self.work.push_back(other);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
