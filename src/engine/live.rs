//! The engine as a program embeds it: a plain thread that owns the partition, an inbox in front of
//! it, and answers that come when they are durable.

mod room;
mod start;

use std::{
    path::Path,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use crossbeam_channel::{Receiver, Select, Sender, after, unbounded};

#[cfg(test)]
pub(super) use room::Full;
pub(super) use room::Home;

use super::{
    Error,
    commit::Frozen,
    copies,
    inbox::{Held, Room},
    partition::Partition,
    present::Present,
    runner::{Report, Runner},
    tally::Tally,
    ticket::{Reply, Ticket},
    watch::{Apart, Watch, watched},
};
use crate::{
    base::{Timestamp, limits::STOP_TIMEOUT, planted::is_planted},
    machine::{
        input::{Answer, Input},
        record::Source,
    },
    model::{Definitions, Known},
    store::{self, backup::BackedUp},
};

/// Inputs of one kind that a round takes before it looks at the others.
const ROUND_INPUTS: usize = 512;
/// The same of timers: each of a herd may load a page of rows, and events wait meanwhile.
const ROUND_TIMERS: usize = 128;
/// Which part of the deliveries under way timers may ask for: a herd of them is to be sent while its
/// rows are at hand, and to leave room for events.
const TIMERS_PART: usize = 16;
/// The longest a round waits when nothing comes.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// Asks the partition, or hears why that is not possible; gives what to do once it may be told.
type Query = Box<
    dyn FnOnce(Result<&mut Partition, Error>) -> store::Result<Box<dyn FnOnce() + Send>> + Send,
>;

enum Message {
    Input(Box<Input>, Reply<Answer>, Held),
    Query(Query),
    Freeze(Reply<Frozen>),
    Stop(Reply<()>),
}

impl Message {
    /// Nothing was done about it.
    fn refuse(self, error: Error) {
        match self {
            Self::Input(_, reply, _) => drop(reply.send(Err(error))),
            Self::Freeze(reply) => drop(reply.send(Err(error))),
            Self::Stop(reply) => drop(reply.send(Err(error))),
            Self::Query(query) => {
                if let Ok(tell) = query(Err(error)) {
                    tell();
                }
            }
        }
    }
}

/// The handle of a running engine.
pub struct Engine {
    /// Unbounded, because a bounded channel keeps what comes just before nobody receives any more,
    /// and whoever waits for its answer would wait for ever.
    inbox: Sender<Message>,
    inbox_inputs: usize,
    room: Arc<Room>,
    thread: Option<Apart>,
    watch: Arc<Watch>,
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
    /// The handle, and what its thread does.
    pub(super) fn over(
        runner: Runner,
        reports: Receiver<Report>,
        present: Present,
        home: Home,
    ) -> (Self, Live) {
        let limits = &runner.partition.limits;
        let (inbox, messages) = unbounded();
        let inbox_inputs = limits.inbox_inputs;
        let room = Room::new(limits.inbox_bytes);
        let watch = Arc::clone(runner.watch());
        let (thread, fault, publishing) = (None, Arc::new(OnceLock::new()), Mutex::new(()));
        let live = Live { runner, messages, reports, present, home, stop: None };
        (Self { inbox, inbox_inputs, room, thread, watch, fault, publishing }, live)
    }

    /// Sends an input in; the ticket resolves when its records are durable. For this crate, which
    /// sends none that a decision does not bound.
    pub(crate) fn submit(&self, input: Input) -> Result<Ticket<Answer>, Error> {
        let (reply, ticket) = Ticket::watched(&self.watch);
        let held = self.room.take(&input).ok_or(Error::Busy)?;
        self.send(Message::Input(Box::new(input), reply, held))?;
        Ok(ticket)
    }

    /// Reads on the partition's thread; the ticket resolves when all that was seen is durable. A
    /// fault of the store stops the engine.
    pub fn query<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Partition) -> Result<T, Error> + Send + 'static,
    ) -> Result<Ticket<T>, Error> {
        let (reply, ticket) = Ticket::watched(&self.watch);
        let query: Query = Box::new(move |partition| {
            let found = partition.and_then(ask);
            let found = match found {
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
        let (reply, ticket) = Ticket::watched(&self.watch);
        self.send(Message::Freeze(reply))?;
        Ok(ticket)
    }

    /// What it does with its store, counted.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(self.watch.tally())
    }

    /// Adds to the backup in `to` what it lacks of everything taken in before, while the engine
    /// goes on. The calling thread waits for it.
    pub fn backup(&self, to: &Path) -> Result<BackedUp, Error> {
        let frozen = self.freeze()?.wait()?;
        let (to, stall) = (to.to_owned(), self.watch.stall());
        watched(("back up to", &to.clone()), stall, move || {
            Ok(copies::backup_frozen(frozen, &to, &mut |_| {})?)
        })
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
        self.stop()
    }

    fn stop(&mut self) -> Result<(), Error> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let (reply, ticket) = Ticket::watched(&self.watch);
        let is_told = self.inbox.send(Message::Stop(reply)).is_ok();
        let result = if is_told { ticket.wait() } else { Err(self.stopped()) };
        thread.join_or_leave(&self.watch);
        self.fault().map_or(result, |cause| Err(Error::Stopped { cause }))
    }

    /// Why it has stopped by itself, if it has.
    fn fault(&self) -> Option<String> {
        let hangs = || self.watch.check().err().map(|error| error.to_string());
        self.fault.get().cloned().or_else(hangs)
    }

    fn send(&self, message: Message) -> Result<(), Error> {
        if self.watch.check().is_err() {
            return Err(self.stopped());
        }
        // Callers at the same time may each find the last place free, and all take it.
        if self.inbox.len() >= self.inbox_inputs {
            return Err(Error::Busy);
        }
        self.inbox.send(message).map_err(|_| self.stopped())
    }

    fn stopped(&self) -> Error {
        let cause = self.fault().unwrap_or_else(|| "it was closed".to_owned());
        Error::Stopped { cause }
    }
}

impl Drop for Engine {
    /// Stops as [`Engine::close`] does, without a word.
    fn drop(&mut self) {
        let _ = self.stop().is_ok();
    }
}

/// What the thread of an engine does.
pub(super) struct Live {
    pub(super) runner: Runner,
    messages: Receiver<Message>,
    reports: Receiver<Report>,
    present: Present,
    home: Home,
    stop: Option<Reply<()>>,
}

impl Live {
    fn run(mut self) -> Result<(), Error> {
        let worked = loop {
            match self.work() {
                Err(Error::Store(error)) if error.is_no_space() => {
                    let Some(live) = self.await_room(&error)? else { return Ok(()) };
                    self = live;
                }
                worked => break worked,
            }
        };
        if !matches!(worked, Ok(()) | Err(Error::Clock { .. })) {
            return worked;
        }
        // A clock that cannot be right does not keep what was decided before from the disk.
        self.stop_clock();
        self.settle_under_way()?;
        self.close(worked)
    }

    /// What the clock says does not count any more: it is the time of the last look.
    pub(super) fn stop_clock(&mut self) {
        self.present.stop();
    }

    /// Ends cleanly and says so to whoever asked for it.
    pub(super) fn close(self, worked: Result<(), Error>) -> Result<(), Error> {
        let Self { runner, stop, .. } = self;
        runner.finish()?.close()?;
        worked?;
        if let Some(stop) = stop {
            let _ = stop.send(Ok(())).is_ok();
        }
        Ok(())
    }

    fn work(&mut self) -> Result<(), Error> {
        while self.stop.is_none() {
            self.wait()?;
            self.round()?;
        }
        // So that the head says when it stopped.
        self.now().map(drop)
    }

    /// Gives sends that are under way a while to end, so that they need not be repeated.
    fn settle_under_way(&mut self) -> Result<(), Error> {
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
    fn wait(&mut self) -> Result<(), Error> {
        let now = self.now()?;
        let (is_open, is_full) = (self.is_open(), self.runner.is_full());
        let timeout = match self.runner.partition.next_due()? {
            Some(due) if !is_full && !self.is_held_up() => due.since(now).to_std().min(WAIT_MAX),
            _ => WAIT_MAX,
        };
        let mut work = Select::new();
        work.recv(self.runner.watch().raised());
        work.recv(&self.reports);
        work.recv(self.runner.commits());
        if is_open {
            work.recv(&self.messages);
        }
        let _ = work.ready_timeout(timeout).is_ok();
        Ok(())
    }

    /// Whether there is too little room to take anything in.
    fn is_short(&self) -> bool {
        self.runner.shortage().is_some()
    }

    /// Whether timers wait: for room on the disk or in the cache, or for deliveries to be settled.
    fn is_held_up(&self) -> bool {
        self.is_short() || self.runner.is_crowded() || self.runner.is_flooded(TIMERS_PART)
    }

    /// Whether messages are taken: there is room for what they may add, or they are only refused.
    fn is_open(&self) -> bool {
        self.stop.is_none() && (!self.runner.is_full() || self.is_short())
    }

    /// Works off what is there, a bounded part of each kind, so that none starves another.
    pub(super) fn round(&mut self) -> Result<(), Error> {
        self.runner.watch().check()?;
        for _ in 0..ROUND_INPUTS {
            let Ok(report) = self.reports.try_recv() else { break };
            self.settle(report)?;
        }
        for _ in 0..ROUND_TIMERS {
            let now = self.now()?;
            if self.runner.is_full() || self.is_held_up() {
                break;
            }
            let Some(timer) = self.runner.partition.overdue_timer(now)? else { break };
            let _ = self.runner.decide(now, &Input::TimerDue(timer))?;
        }
        for _ in 0..ROUND_INPUTS {
            if !self.is_open() {
                break;
            }
            let Ok(message) = self.messages.try_recv() else { break };
            self.take(message)?;
        }
        while let Ok(committed) = self.runner.commits().try_recv() {
            self.runner.absorb(committed)?;
        }
        self.runner.submit();
        Ok(self.runner.dispatch()?)
    }

    fn take(&mut self, message: Message) -> Result<(), Error> {
        match message {
            Message::Input(input, reply, _held) => {
                if let Some(shortage) = self.runner.shortage() {
                    let _ = reply.send(Err(Error::NoSpace(shortage))).is_ok();
                    return Ok(());
                }
                if matches!(*input, Input::Event { .. }) && self.runner.is_flooded(1) {
                    let _ = reply.send(Err(Error::Busy)).is_ok();
                    return Ok(());
                }
                let now = self.now()?;
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
                let release = query(Ok(&mut self.runner.partition))?;
                self.runner.when_durable(release);
            }
            Message::Freeze(reply) => match self.runner.shortage() {
                Some(shortage) => drop(reply.send(Err(Error::NoSpace(shortage)))),
                None => self.runner.freeze(reply),
            },
            Message::Stop(reply) => self.stop = Some(reply),
        }
        Ok(())
    }

    fn settle(&mut self, report: Report) -> Result<(), Error> {
        if let Some(input) = self.runner.reported(report) {
            let now = self.now()?;
            let _ = self.runner.decide(now, &input)?;
        }
        Ok(())
    }

    fn now(&mut self) -> Result<Timestamp, Error> {
        let now = self.present.look(self.runner.partition.recorded_time())?;
        self.runner.set_alive(now);
        Ok(now)
    }
}
