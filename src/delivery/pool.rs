//! The workers: bounded per channel, so that a slow channel never holds up another.
//!
//! The pool brings its own runtime and never waits inside one, so callers may be synchronous or
//! asynchronous. A pool that is dropped abandons what it has not reported; whoever offered it
//! offers it again after the restart.

use std::{
    any::Any,
    convert::Infallible,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};
use tokio::{
    runtime::{Builder, Runtime},
    sync::Notify,
};

use super::{Channel, Channels, Message};
use crate::base::limits::{CHANNEL_QUEUE, SEND_TIMEOUT, STOP_TIMEOUT, WORKER_STACK_BYTES};
use crate::base::{DeliveryId, thread};
use crate::machine::delivery::{ChannelKind, Delivery, Outcome};

/// Threads that drive all sends; channels wait for others rather than compute.
const THREADS: usize = 2;

/// Workers that send deliveries and report how each attempt ended.
pub struct Pool {
    email: Desk,
    push: Desk,
    /// Closed once the last worker has ended.
    ended: Receiver<Infallible>,
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
        let (working, ended) = bounded(0);
        let report = Arc::new(report);
        let staff = |kind: ChannelKind| {
            let (queue, deliveries) = bounded(CHANNEL_QUEUE);
            let bell = Arc::new(Bell::default());
            for _ in 0..workers_per_channel {
                let worker = Worker {
                    channel: channels.get(kind),
                    deliveries: deliveries.clone(),
                    bell: Arc::clone(&bell),
                    report: Arc::clone(&report),
                    _working: working.clone(),
                };
                runtime.spawn(worker.run());
            }
            Desk { queue: Some(queue), bell }
        };
        let (email, push) = (staff(ChannelKind::Email), staff(ChannelKind::Push));
        Ok(Self { email, push, ended, runtime: Some(runtime) })
    }

    /// Hands a delivery to the workers of its channel, or gives it back where their queue is full;
    /// offer it again after the next report.
    pub fn offer(&self, delivery: Delivery) -> Result<(), Delivery> {
        match delivery.recipient.channel() {
            ChannelKind::Email => self.email.offer(delivery),
            ChannelKind::Push => self.push.offer(delivery),
        }
    }

    /// Takes no more, and waits at most [`STOP_TIMEOUT`] for the deliveries already taken.
    pub fn stop(mut self) {
        self.email.close();
        self.push.close();
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

/// Where deliveries for one kind of channel are handed in.
struct Desk {
    /// None once it is closed.
    queue: Option<Sender<Delivery>>,
    bell: Arc<Bell>,
}

impl Desk {
    fn offer(&self, delivery: Delivery) -> Result<(), Delivery> {
        let Some(queue) = &self.queue else { return Err(delivery) };
        queue.try_send(delivery).map_err(TrySendError::into_inner)?;
        self.bell.ring();
        Ok(())
    }

    fn close(&mut self) {
        self.queue = None;
        self.bell.calls.notify_waiters();
    }
}

/// Calls a worker to the queue, unless one is there already. Waking one costs more than a send that
/// answers at once, so one worker goes on for as long as its sends do; only where one has to wait is
/// the next worker called.
#[derive(Default)]
struct Bell {
    is_attended: AtomicBool,
    calls: Notify,
}

impl Bell {
    fn ring(&self) {
        if !self.is_attended.swap(true, Ordering::SeqCst) {
            self.calls.notify_one();
        }
    }

    /// The worker at the queue has to wait: somebody else takes its place.
    fn pass_on(&self) {
        self.calls.notify_one();
    }

    /// The worker at the queue has found it empty, and looks once more after this.
    fn leave(&self) {
        self.is_attended.store(false, Ordering::SeqCst);
    }
}

struct Worker<R> {
    channel: Arc<dyn Channel>,
    deliveries: Receiver<Delivery>,
    bell: Arc<Bell>,
    report: Arc<R>,
    _working: Sender<Infallible>,
}

impl<R: Fn(DeliveryId, u32, Outcome)> Worker<R> {
    async fn run(self) {
        loop {
            // Before looking, so that no call in between is missed.
            let called = self.bell.calls.notified();
            if self.work_off().await == Err(TryRecvError::Disconnected) {
                return;
            }
            self.bell.leave();
            if self.deliveries.is_empty() {
                called.await;
            }
        }
    }

    /// Sends what is in the queue, until nothing is.
    async fn work_off(&self) -> Result<Infallible, TryRecvError> {
        loop {
            let delivery = self.deliveries.try_recv()?;
            // Rendering takes time of its own: a long queue is for more than one.
            if self.deliveries.len() > CHANNEL_QUEUE / 2 {
                self.bell.pass_on();
            }
            let (id, number) = (delivery.id, delivery.attempt);
            let (channel, limit) = (Arc::clone(&self.channel), SEND_TIMEOUT.to_std());
            let mut send = Attempt::new(channel, delivery);
            let outcome = match send.answer_at_once().await {
                Some(outcome) => outcome,
                None => {
                    self.bell.pass_on();
                    send.answer_within(limit).await
                }
            };
            send.end();
            (self.report)(id, number, outcome.cut());
            // Others on this thread have their turn, however long the queue is.
            tokio::task::consume_budget().await;
        }
    }
}

/// One attempt; its panic is an outcome.
struct Attempt {
    name: &'static str,
    send: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

impl Attempt {
    fn new(channel: Arc<dyn Channel>, delivery: Delivery) -> Self {
        let name = channel.name();
        let send = Box::pin(async move {
            match Message::render(&delivery) {
                Ok(message) => channel.send(Arc::new(message)).await,
                Err(outcome) => outcome,
            }
        });
        Self { name, send }
    }

    fn poll(&mut self, context: &mut std::task::Context<'_>) -> Poll<Outcome> {
        let poll = AssertUnwindSafe(|| self.send.as_mut().poll(context));
        catch_unwind(poll).unwrap_or_else(|panic| {
            let error = format!("channel {} {}", self.name, failure(&*panic));
            Poll::Ready(Outcome::Broken { error })
        })
    }

    async fn answer_at_once(&mut self) -> Option<Outcome> {
        std::future::poll_fn(|context| match self.poll(context) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    async fn answer_within(&mut self, limit: Duration) -> Outcome {
        let name = self.name;
        let answer = std::future::poll_fn(|context| self.poll(context));
        tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
            let error = format!("channel {name} gave no answer within {} s", limit.as_secs());
            Outcome::Broken { error }
        })
    }

    /// Gives up what is left of it, which may panic as well and has had its outcome.
    fn end(self) {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(self.send))).is_ok();
    }
}

/// What a panic says about itself.
fn failure(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a text");
    format!("panicked: {text}")
}

#[cfg(test)]
mod tests;
