//! The loop of the main job: one instant after the other.
//!
//! An instant is worked off in phases: its lines in file order; rounds of settling every delivery
//! requested so far, in order of delivery id, until none is left; its timers in (due, enrollment)
//! order; the same rounds again. What comes next follows from the state and the next line alone,
//! so that a run that was killed goes on with exactly the record it would have written.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, TryRecvError};

use super::{
    Error, Finished, Plan, Progress, Summary,
    feed::Feed,
    read::{Next, leap},
};
use crate::{
    base::{Clock, DeliveryId, Lsn, Timestamp, limits::CLOCK_AHEAD_MAX, planted::is_planted},
    engine::{
        recover::{self, Opening},
        runner::{Outbound, Report, Runner},
    },
    machine::{
        apply::TimerSet,
        delivery::Outcome,
        input::{Answer, Input},
        memory::{LastInput, Memory},
    },
    model::{Finding, LineError},
};

/// How time passes between two instants.
#[derive(Clone)]
pub enum Pace {
    /// Not at all: the clock jumps.
    Virtual,
    /// As fast as on this clock.
    Real(Arc<dyn Clock>),
}

impl std::fmt::Debug for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Virtual => "Virtual",
            Self::Real(_) => "Real",
        })
    }
}

/// How often progress is reported, in inputs.
const PROGRESS_EVERY: u64 = 256;
/// The longest wait for the clock before the world is looked at again.
const WAIT_MAX: Duration = Duration::from_millis(200);

/// A job under way.
pub struct Drive {
    runner: Runner,
    feed: Feed,
    reports: Receiver<Report>,
    /// Outcomes that have come in and are not settled yet.
    outcomes: BTreeMap<DeliveryId, Input>,
    now: Timestamp,
    until: Option<Timestamp>,
    pace: Pace,
    /// How the clock runs, once it has been asked.
    origin: Option<Origin>,
    first: Lsn,
}

impl std::fmt::Debug for Drive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drive").field("now", &self.now).finish_non_exhaustive()
    }
}

/// The engine's time and the clock's at the same moment, and the latest that the clock has said.
#[derive(Debug, Clone, Copy)]
struct Origin {
    engine: Timestamp,
    clock: Timestamp,
    seen: Timestamp,
}

/// What the state and the next line ask for.
enum Action {
    Line,
    Settle(DeliveryId),
    Timer(TimerSet),
    Advance(Timestamp),
    Done,
}

impl Drive {
    /// Opens the directory and works out what of the files is new.
    pub fn open(
        dir: &Path,
        opening: &Opening,
        plan: Plan,
        workers: impl FnOnce() -> Result<(Outbound, Receiver<Report>), Error>,
    ) -> Result<Self, Error> {
        let first_event = plan.first_event_time()?;
        let owned = recover::own(dir, opening)?;
        // Only who holds the directory may touch what the workers write to.
        let (outbound, reports) = workers()?;
        Self::over(Runner::start(owned, outbound)?, plan, first_event, reports)
    }

    /// Works out what of the files is new to what the runner holds.
    pub(in crate::engine) fn over(
        runner: Runner,
        plan: Plan,
        first_event: Option<Timestamp>,
        reports: Receiver<Report>,
    ) -> Result<Self, Error> {
        let state = &runner.partition.state;
        let memory = &state.memory;
        let first = memory.latest;
        let feed = plan.feed(memory, &state.catalog)?;
        let now =
            if first == Lsn::ZERO { first_event.unwrap_or(Timestamp::EPOCH) } else { memory.now };
        Ok(Self {
            runner,
            feed,
            reports,
            outcomes: BTreeMap::new(),
            now,
            until: None,
            pace: Pace::Virtual,
            origin: None,
            first,
        })
    }

    /// Runs timers up to this instant, after the last line.
    #[must_use]
    pub fn until(mut self, until: Option<Timestamp>) -> Self {
        self.until = until;
        self
    }

    /// Lets time pass at this pace.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// What someone should look at in the definitions.
    pub fn warnings(&self) -> &[Finding] {
        &self.feed.warnings
    }

    /// Works until every line is read and every timer up to the end has fired.
    ///
    /// # Errors
    /// [`Error::NoSpace`] where the disk is full or nearly so: what was decided before is written,
    /// as far as there is room, and the same job goes on from there.
    pub fn run(self, progress: &mut dyn FnMut(Progress)) -> Result<Finished, Error> {
        let gauge = Arc::clone(self.runner.gauge());
        let store = Arc::clone(&self.runner.partition.store);
        match self.work(progress) {
            Err(Error::Store(error)) if error.is_no_space() => {
                tracing::warn!(%error, "a write found no room");
                // Where even that cannot be told, the last reading stands.
                let _ = gauge.read(&*store).is_ok();
                Err(Error::NoSpace(gauge.reading()))
            }
            worked => {
                let finished = worked?;
                // Nothing else has it any more, so that it says how it ended.
                store.close()?;
                Ok(finished)
            }
        }
    }

    /// The same on a thread of its own, which is left behind where the disk gives no answer.
    ///
    /// # Errors
    /// As [`Drive::run`].
    pub fn run_apart(
        self,
        mut progress: impl FnMut(Progress) + Send + 'static,
    ) -> Result<Finished, Error> {
        let watch = Arc::clone(self.runner.watch());
        watch.guard(move || self.run(&mut progress))?
    }

    fn work(mut self, progress: &mut dyn FnMut(Progress)) -> Result<Finished, Error> {
        let mut steps = 0_u64;
        while self.step()? {
            steps += 1;
            if steps.is_multiple_of(PROGRESS_EVERY) {
                progress(self.progress());
            }
        }
        self.runner.drain()?;
        progress(self.progress());
        self.finish()
    }

    /// Does what comes next; false where nothing does.
    pub(in crate::engine) fn step(&mut self) -> Result<bool, Error> {
        let action = self.next()?;
        if !matches!(action, Action::Done) {
            self.check_room()?;
        }
        match action {
            Action::Line => {
                if let Some(input) = self.feed.take() {
                    self.decide(&input)?;
                }
            }
            Action::Settle(id) => {
                let input = self.outcome(id)?;
                self.decide(&input)?;
            }
            Action::Timer(timer) => self.decide(&Input::TimerDue(timer))?,
            Action::Advance(to) => self.advance(to)?,
            Action::Done => return Ok(false),
        }
        Ok(true)
    }

    /// Stops where the disk gives no answer, and below the watermark when all that was decided is written.
    fn check_room(&mut self) -> Result<(), Error> {
        self.runner.watch().check()?;
        let Some(shortage) = self.runner.shortage() else { return Ok(()) };
        self.runner.drain()?;
        Err(Error::NoSpace(shortage))
    }

    fn finish(self) -> Result<Finished, Error> {
        let Self { runner, feed, first, .. } = self;
        let partition = runner.finish()?;
        let summary = Summary::of(&partition, first)?;
        let rejected_in_inputs = feed.rejected_in_inputs(&partition.state.memory);
        Ok(Finished { summary, rejected: feed.rejected, rejected_in_inputs })
    }

    fn progress(&self) -> Progress {
        Progress {
            bytes_read: self.feed.bytes_read,
            bytes_total: self.feed.bytes_total,
            now: self.now,
            records: self.runner.partition.latest().0.saturating_sub(self.first.0),
        }
    }

    fn memory(&self) -> &Memory {
        &self.runner.partition.state.memory
    }

    /// What comes next. The phase of the instant is what the latest record's input was, unless
    /// that was at an earlier instant.
    fn next(&mut self) -> Result<Action, Error> {
        let phase = if self.memory().now == self.now {
            self.memory().last_input
        } else {
            LastInput::Outside
        };
        let in_flight = self.memory().in_flight.keys().next().map(|(_, id)| *id);
        let line = self.next_line()?;
        let line_is_due = match line {
            Next::Now => true,
            Next::At(time) => time <= self.now,
            Next::End => false,
        };
        if phase == LastInput::Timer
            && let Some(timer) = self.runner.partition.due_timer(self.now)?
        {
            return Ok(Action::Timer(timer));
        }
        if phase == LastInput::Outside && line_is_due {
            return Ok(Action::Line);
        }
        if let Some(id) = in_flight {
            return Ok(Action::Settle(id));
        }
        if line_is_due {
            return Ok(Action::Line);
        }
        if let Some(timer) = self.runner.partition.due_timer(self.now)? {
            return Ok(Action::Timer(timer));
        }
        self.next_instant(line)
    }

    /// The next line. One from a far future is refused as soon as it is seen, before any timer moves
    /// the clock towards it, so that whoever goes on after a kill decides the same.
    fn next_line(&mut self) -> Result<Next, Error> {
        let line = self.feed.peek()?;
        if let Next::At(time) = line
            && let Some(error) = leap(self.now, time, self.until)
            && !is_planted!("leap_taken")
        {
            self.feed.refuse_next(error);
            return self.feed.peek();
        }
        Ok(line)
    }

    fn next_instant(&mut self, line: Next) -> Result<Action, Error> {
        // The end of time never comes.
        let due = self.runner.partition.next_due()?.filter(|due| *due < Timestamp::MAX);
        Ok(match (line, due) {
            (Next::At(time), Some(due)) => Action::Advance(time.min(due)),
            (Next::At(time), None) => Action::Advance(time),
            (Next::Now | Next::End, Some(due)) if self.until.is_some_and(|until| due <= until) => {
                Action::Advance(due)
            }
            (Next::Now | Next::End, _) => Action::Done,
        })
    }

    fn decide(&mut self, input: &Input) -> Result<(), Error> {
        let answer = self.runner.decide(self.now, input)?;
        let answer = answer.expect("a line is never rejected without a record");
        match (input, answer) {
            (Input::BadLine { error, .. }, _) => self.feed.refuse_last(error.clone()),
            (_, Answer::Refused { code, rejection }) => {
                let message = rejection.to_string();
                self.feed.refuse_last(LineError { code, column: 1, message });
            }
            _ => {}
        }
        self.runner.submit();
        self.absorb()?;
        while self.runner.is_full() {
            self.check_room()?;
            self.runner.wait_a_moment()?;
        }
        Ok(())
    }

    /// Takes what has been reported, without waiting.
    fn absorb(&mut self) -> Result<(), Error> {
        loop {
            match self.runner.commits().try_recv() {
                Ok(committed) => self.runner.absorb(committed)?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => panic!("{COMMIT_ENDS}"),
            }
        }
    }

    /// Waits until the outcome of this delivery is in.
    fn outcome(&mut self, id: DeliveryId) -> Result<Input, Error> {
        self.runner.submit();
        self.runner.dispatch()?;
        loop {
            if let Some(input) = self.outcomes.remove(&id) {
                return Ok(input);
            }
            crossbeam_channel::select! {
                recv(self.reports) -> report => {
                    self.take(report.expect("the workers outlive the job"))?;
                }
                recv(self.runner.commits()) -> committed => {
                    self.runner.absorb(committed.expect(COMMIT_ENDS))?;
                }
                // Without room nothing more is handed out, so its report might never come.
                default(WAIT_MAX) => self.check_room()?,
            }
            self.runner.dispatch()?;
        }
    }

    /// Keeps an outcome until it is its turn.
    fn take(&mut self, report: Report) -> Result<(), Error> {
        if let Outcome::Broken { error } = report.outcome {
            return Err(Error::Channel { error });
        }
        let id = report.id;
        self.outcomes.extend(self.runner.reported(report).map(|input| (id, input)));
        Ok(())
    }

    /// Moves the clock; nothing is in flight.
    fn advance(&mut self, to: Timestamp) -> Result<(), Error> {
        if let Pace::Real(clock) = &self.pace {
            let clock = Arc::clone(clock);
            self.wait_until(to, &*clock)?;
        }
        self.now = to;
        Ok(())
    }

    fn wait_until(&mut self, to: Timestamp, clock: &dyn Clock) -> Result<(), Error> {
        let started = clock.now();
        let first = Origin { engine: self.now, clock: started, seen: started };
        let mut origin = *self.origin.get_or_insert(first);
        loop {
            self.runner.submit();
            let now = clock.now();
            if now.since(origin.seen) > CLOCK_AHEAD_MAX {
                return Err(Error::Clock { clock: now, seen: origin.seen });
            }
            origin.seen = origin.seen.max(now);
            self.origin = Some(origin);
            let passed = now.since(origin.clock);
            let needed = to.since(origin.engine);
            if needed <= passed {
                return Ok(());
            }
            let left = (needed.to_std() - passed.to_std()).min(WAIT_MAX);
            self.runner.watch().check()?;
            if let Ok(committed) = self.runner.commits().recv_timeout(left) {
                self.runner.absorb(committed)?;
            }
        }
    }
}

const COMMIT_ENDS: &str = "the commit thread reports its failure before it ends";
