//! The workers: bounded per channel, so that a slow channel never holds up another.
//!
//! The pool brings its own runtime and never waits inside one, so callers may be synchronous or
//! asynchronous. A pool that is dropped abandons what it has not reported; whoever offered it
//! offers it again after the restart.

use std::{convert::Infallible, fmt, io, sync::Arc, time::Duration};

use crossbeam_channel::RecvTimeoutError;
use tokio::{
    runtime::{Builder, Runtime},
    sync::{Mutex, mpsc},
    task::JoinError,
};

use super::{Channel, Channels, Message};
use crate::base::limits::{CHANNEL_QUEUE, SEND_TIMEOUT, STOP_TIMEOUT, WORKER_STACK_BYTES};
use crate::base::{DeliveryId, thread};
use crate::machine::delivery::{ChannelKind, Delivery, Outcome};

/// Threads that drive all sends; channels wait for others rather than compute.
const THREADS: usize = 2;

/// Workers that send deliveries and report how each attempt ended.
pub struct Pool {
    email: mpsc::Sender<Delivery>,
    push: mpsc::Sender<Delivery>,
    /// Closed once the last worker has ended.
    ended: crossbeam_channel::Receiver<Infallible>,
    /// Taken only when dropped.
    runtime: Option<Runtime>,
}

impl Pool {
    /// Starts `workers_per_channel` workers for each kind of channel. `report` gets exactly one
    /// outcome for each delivery taken, runs on a worker's thread and must not block it.
    pub fn start(
        channels: &Channels,
        workers_per_channel: usize,
        report: impl Fn(DeliveryId, u32, Outcome) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        // The runtime panics where a thread does not start.
        thread::check_room_for(THREADS).map_err(io::Error::other)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_stack_size(WORKER_STACK_BYTES)
            .thread_name("delivery")
            .enable_time()
            .build()?;
        let (working, ended) = crossbeam_channel::bounded(0);
        let report = Arc::new(report);
        let staff = |kind: ChannelKind| {
            let (queue, deliveries) = mpsc::channel(CHANNEL_QUEUE);
            let deliveries = Arc::new(Mutex::new(deliveries));
            for _ in 0..workers_per_channel {
                let worker = Worker {
                    channel: channels.get(kind),
                    deliveries: Arc::clone(&deliveries),
                    report: Arc::clone(&report),
                    _working: working.clone(),
                };
                runtime.spawn(worker.run());
            }
            queue
        };
        let (email, push) = (staff(ChannelKind::Email), staff(ChannelKind::Push));
        Ok(Self { email, push, ended, runtime: Some(runtime) })
    }

    /// Hands a delivery to the workers of its channel, or gives it back where their queue is full;
    /// offer it again after the next report.
    #[expect(clippy::result_large_err, reason = "what is refused goes back as it came")]
    pub fn offer(&self, delivery: Delivery) -> Result<(), Delivery> {
        let queue = match delivery.recipient.channel() {
            ChannelKind::Email => &self.email,
            ChannelKind::Push => &self.push,
        };
        queue.try_send(delivery).map_err(mpsc::error::TrySendError::into_inner)
    }

    /// Takes no more, and waits at most [`STOP_TIMEOUT`] for the deliveries already taken.
    pub fn stop(mut self) {
        let (closed, _) = mpsc::channel(1);
        self.email = closed.clone();
        self.push = closed;
        if self.ended.recv_timeout(STOP_TIMEOUT.to_std()) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("deliveries are still under way and are abandoned");
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // The plain drop of a runtime waits, which panics inside another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

struct Worker<R> {
    channel: Arc<dyn Channel>,
    deliveries: Arc<Mutex<mpsc::Receiver<Delivery>>>,
    report: Arc<R>,
    _working: crossbeam_channel::Sender<Infallible>,
}

impl<R: Fn(DeliveryId, u32, Outcome)> Worker<R> {
    async fn run(self) {
        loop {
            let next = self.deliveries.lock().await.recv().await;
            let Some(delivery) = next else { return };
            let (id, number) = (delivery.id, delivery.attempt);
            let outcome = attempt(Arc::clone(&self.channel), delivery, SEND_TIMEOUT.to_std()).await;
            (self.report)(id, number, outcome.cut());
        }
    }
}

/// One attempt on a task of its own, so that a panic ends that task and not the worker.
async fn attempt(channel: Arc<dyn Channel>, delivery: Delivery, limit: Duration) -> Outcome {
    let name = channel.name();
    let mut task = tokio::spawn(async move {
        match Message::render(&delivery) {
            Ok(message) => channel.send(Arc::new(message)).await,
            Err(outcome) => outcome,
        }
    });
    match tokio::time::timeout(limit, &mut task).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::Broken { error: format!("channel {name} {}", failure(error)) },
        Err(_) => {
            task.abort();
            let error = format!("channel {name} gave no answer within {} s", limit.as_secs());
            Outcome::Broken { error }
        }
    }
}

/// What a task that gave no outcome says about it, without its number, which differs every time.
fn failure(error: JoinError) -> String {
    let Ok(payload) = error.try_into_panic() else { return "was shut down".to_owned() };
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("without a text");
    format!("panicked: {text}")
}

#[cfg(test)]
mod tests;
