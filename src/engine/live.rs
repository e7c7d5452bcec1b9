//! The engine as a program embeds it: a plain thread that owns the partition, an inbox in front of
//! it, and answers that come when they are durable.

use std::{
    path::Path,
    sync::{Arc, Mutex, OnceLock},
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{Receiver, Select, Sender, TrySendError, after, bounded};

use super::{
    Error,
    commit::Frozen,
    partition::Partition,
    recover::Opening,
    runner::{Outbound, Report, Runner},
    ticket::{Reply, Ticket},
};
use crate::{
    base::{Clock, Span, Timestamp, limits::STOP_TIMEOUT, planted::is_planted},
    machine::{
        input::{Answer, Input},
        record::Source,
    },
    model::{Definitions, Known},
    store,
};

/// Inputs of one kind that a round takes before it looks at the others.
const ROUND_INPUTS: usize = 512;
/// The longest a round waits when nothing comes.
const WAIT_MAX: Duration = Duration::from_millis(500);
/// How far the clock may be ahead of the last record when the engine starts.
const AHEAD_MAX: Span = Span::hours(24);
/// How far it may be behind.
const BEHIND_MAX: Span = Span::minutes(5);

/// What to do where the clock and the last record are too far apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClockCheck {
    /// Refuse to start.
    #[default]
    Strict,
    /// Take the clock's word: it was idle for long, or it moves with what a test says.
    Trust,
}

type Query = Box<dyn FnOnce(&mut Partition) -> store::Result<Box<dyn FnOnce() + Send>> + Send>;

enum Message {
    Input(Box<Input>, Reply<Answer>),
    Query(Query),
    Freeze(Reply<Frozen>),
    Stop(Reply<()>),
}

/// The handle of a running engine.
pub struct Engine {
    inbox: Sender<Message>,
    thread: Option<JoinHandle<()>>,
    /// Why it stopped by itself.
    fault: Arc<OnceLock<String>>,
    /// Two publications at once could each miss what the other links.
    publishing: Mutex<()>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("fault", &self.fault).finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the directory, recovers, and starts.
    pub fn start(
        dir: &Path,
        opening: &Opening,
        workers: (Outbound, Receiver<Report>),
        clock: Arc<dyn Clock>,
        check: ClockCheck,
    ) -> Result<Self, Error> {
        let (outbound, reports) = workers;
        let runner = Runner::open(dir, opening, outbound)?;
        check_clock(&runner.partition, clock.now(), check)?;
        let (mut engine, live) = Self::over(runner, reports, clock);
        let told = Arc::clone(&engine.fault);
        let thread = thread::Builder::new()
            .name("onward-partition".to_owned())
            .spawn(move || {
                if let Err(error) = live.run() {
                    tracing::error!(%error, "the engine has stopped");
                    let _ = told.set(error.to_string()).is_ok();
                }
            })
            .expect("the system starts threads");
        engine.thread = Some(thread);
        Ok(engine)
    }

    /// The handle, and what its thread does.
    pub(super) fn over(
        runner: Runner,
        reports: Receiver<Report>,
        clock: Arc<dyn Clock>,
    ) -> (Self, Live) {
        let (inbox, messages) = bounded(runner.partition.limits.inbox_inputs);
        let (thread, fault, publishing) = (None, Arc::new(OnceLock::new()), Mutex::new(()));
        let live = Live { runner, messages, reports, clock, stop: None };
        (Self { inbox, thread, fault, publishing }, live)
    }

    /// Sends an input in; the ticket resolves when its records are durable.
    pub fn submit(&self, input: Input) -> Result<Ticket<Answer>, Error> {
        let (reply, ticket) = Ticket::new();
        self.send(Message::Input(Box::new(input), reply))?;
        Ok(ticket)
    }

    /// Reads on the partition's thread; the ticket resolves when all that was seen is durable. A
    /// fault of the store stops the engine.
    pub fn query<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Partition) -> Result<T, Error> + Send + 'static,
    ) -> Result<Ticket<T>, Error> {
        let (reply, ticket) = Ticket::new();
        let query: Query = Box::new(move |partition| {
            let found = match ask(partition) {
                Err(Error::Store(error)) => return Err(error),
                found => found,
            };
            Ok(Box::new(move || {
                let _ = reply.send(found).is_ok();
            }))
        });
        self.send(Message::Query(query))?;
        Ok(ticket)
    }

    /// Keeps rows, timers and memory image in the store as they are at a checkpoint of everything
    /// taken in before, for another thread to read, until the answer is dropped. Events are taken
    /// in meanwhile; who holds it asks [`Frozen::check`] after reading.
    pub fn freeze(&self) -> Result<Ticket<Frozen>, Error> {
        let (reply, ticket) = Ticket::new();
        self.send(Message::Freeze(reply))?;
        Ok(ticket)
    }

    /// Checks definitions documents, named for messages, and brings into force what is new.
    /// Compiles them on the calling thread.
    pub fn publish(&self, documents: &[(&str, &[u8])]) -> Result<Ticket<Answer>, Error> {
        let guard = self.publishing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known: Known = self.query(|it| Ok(it.state.catalog.known(&it.state.memory)))?.wait()?;
        let definitions = Definitions::parse(documents, &known).map_err(Error::Invalid)?;
        let input = Input::Publish { source: Source::Api, files: Vec::new(), definitions };
        let ticket = self.submit(input);
        drop(guard);
        ticket
    }

    /// Stops cleanly: what was accepted is durable, a checkpoint is recorded.
    pub fn close(mut self) -> Result<(), Error> {
        let (reply, ticket) = Ticket::new();
        // A full inbox empties, because the thread is running.
        if self.inbox.send(Message::Stop(reply)).is_err() {
            return Err(self.stopped());
        }
        let result = ticket.wait();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join().is_ok();
        }
        match self.fault.get() {
            Some(cause) => Err(Error::Stopped { cause: cause.clone() }),
            None => result,
        }
    }

    fn send(&self, message: Message) -> Result<(), Error> {
        self.inbox.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => Error::Busy,
            TrySendError::Disconnected(_) => self.stopped(),
        })
    }

    fn stopped(&self) -> Error {
        let cause = self.fault.get().cloned().unwrap_or_else(|| "it was closed".to_owned());
        Error::Stopped { cause }
    }
}

impl Drop for Engine {
    /// Stops as [`Engine::close`] does, without a word.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let (reply, ticket) = Ticket::new();
            if self.inbox.send(Message::Stop(reply)).is_ok() {
                let _ = ticket.wait().is_ok();
            }
            let _ = thread.join().is_ok();
        }
    }
}

fn check_clock(partition: &Partition, clock: Timestamp, check: ClockCheck) -> Result<(), Error> {
    let recorded = partition.recorded_time();
    let fresh = partition.latest() == crate::base::Lsn::ZERO;
    let apart = clock.since(recorded) > AHEAD_MAX || recorded.since(clock) > BEHIND_MAX;
    if check == ClockCheck::Trust || fresh || !apart {
        return Ok(());
    }
    Err(Error::Clock { clock, recorded })
}

/// What the thread of an engine does.
pub(super) struct Live {
    pub(super) runner: Runner,
    messages: Receiver<Message>,
    reports: Receiver<Report>,
    clock: Arc<dyn Clock>,
    stop: Option<Reply<()>>,
}

impl Live {
    fn run(mut self) -> store::Result<()> {
        while self.stop.is_none() {
            self.wait()?;
            self.round()?;
        }
        self.settle_under_way()?;
        self.close()
    }

    /// Ends cleanly and says so to whoever asked for it.
    pub(super) fn close(self) -> store::Result<()> {
        let Self { runner, stop, .. } = self;
        runner.finish()?;
        if let Some(stop) = stop {
            let _ = stop.send(Ok(())).is_ok();
        }
        Ok(())
    }

    /// Gives sends that are under way a while to end, so that they need not be repeated.
    fn settle_under_way(&mut self) -> store::Result<()> {
        self.runner.hold_deliveries();
        let patience = after(STOP_TIMEOUT.to_std());
        while self.runner.awaits_reports() {
            crossbeam_channel::select! {
                recv(self.reports) -> report => match report {
                    Ok(report) => self.settle(report)?,
                    Err(_) => return Ok(()),
                },
                recv(patience) -> _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Sleeps until there is something to do.
    fn wait(&mut self) -> store::Result<()> {
        let is_full = self.runner.is_full();
        let now = self.now();
        let timeout = match self.runner.partition.next_due()? {
            Some(due) if !is_full => due.since(now).to_std().min(WAIT_MAX),
            _ => WAIT_MAX,
        };
        let mut work = Select::new();
        work.recv(&self.reports);
        work.recv(self.runner.commits());
        if !is_full {
            work.recv(&self.messages);
        }
        let _ = work.ready_timeout(timeout).is_ok();
        Ok(())
    }

    /// Works off what is there, a bounded part of each kind, so that none starves another.
    pub(super) fn round(&mut self) -> store::Result<()> {
        for _ in 0..ROUND_INPUTS {
            let Ok(report) = self.reports.try_recv() else { break };
            self.settle(report)?;
        }
        for _ in 0..ROUND_INPUTS {
            let now = self.now();
            if self.runner.is_full() {
                break;
            }
            let Some(timer) = self.runner.partition.due_timer(now)? else { break };
            let _ = self.runner.decide(now, &Input::TimerDue(timer))?;
        }
        for _ in 0..ROUND_INPUTS {
            if self.stop.is_some() || self.runner.is_full() {
                break;
            }
            let Ok(message) = self.messages.try_recv() else { break };
            self.take(message)?;
        }
        while let Ok(committed) = self.runner.commits().try_recv() {
            self.runner.absorb(committed)?;
        }
        self.runner.submit();
        self.runner.dispatch()
    }

    fn take(&mut self, message: Message) -> store::Result<()> {
        match message {
            Message::Input(input, reply) => {
                let now = self.now();
                let answer = self.runner.decide(now, &input)?.map_err(Error::Rejected);
                if is_planted!("dedup_before_append") && matches!(answer, Ok(Answer::Duplicate)) {
                    let _ = reply.send(answer).is_ok();
                    return Ok(());
                }
                self.runner.when_durable(Box::new(move || {
                    let _ = reply.send(answer).is_ok();
                }));
            }
            Message::Query(query) => {
                let release = query(&mut self.runner.partition)?;
                self.runner.when_durable(release);
            }
            Message::Freeze(reply) => self.runner.freeze(reply),
            Message::Stop(reply) => self.stop = Some(reply),
        }
        Ok(())
    }

    fn settle(&mut self, report: Report) -> store::Result<()> {
        if let Some(input) = self.runner.reported(report) {
            let now = self.now();
            let _ = self.runner.decide(now, &input)?;
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.clock.now().max(self.runner.partition.recorded_time())
    }
}
