//! Answers that the caller does not wait for: a thread of its own reads them, so that nobody waits
//! for one before the next call.

use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Error, Spread, spread::Spans};
use crate::{
    Ticket,
    app::SystemClock,
    base::{Clock, Timestamp},
    machine::input::Answer,
};

/// Answers that nobody has looked at yet, at most.
const UNREAD: usize = 1 << 16;

/// Where calls are noted whose answers are to be read.
#[derive(Debug)]
pub(super) struct Answers {
    asked: Sender<Asked>,
    told: Receiver<Result<Spread, crate::Error>>,
}

enum Asked {
    /// A call and when it was to be made.
    Call(Timestamp, Ticket<Answer>),
    /// How long the calls since the last one took.
    Spread,
}

/// Does the work while somebody reads the answers to the calls that it notes.
pub(super) fn reading<T>(work: impl FnOnce(&Answers) -> Result<T, Error>) -> Result<T, Error> {
    thread::scope(|scope| {
        let (asked, calls) = bounded(UNREAD);
        let (tell, told) = bounded(0);
        scope.spawn(move || read(&calls, &tell));
        // It is dropped with the end of the work, and the reader ends when nobody asks any more.
        work(&Answers { asked, told })
    })
}

impl Answers {
    /// A call that was to be made at `due`.
    pub(super) fn note(&self, due: Timestamp, ticket: Ticket<Answer>) {
        self.ask(Asked::Call(due, ticket));
    }

    /// How long those that were noted since the last question took, once all of them are answered.
    pub(super) fn spread(&self) -> Result<Spread, Error> {
        self.ask(Asked::Spread);
        Ok(self.told.recv().unwrap_or_else(|_| Ok(Spread::default()))?)
    }

    fn ask(&self, it: Asked) {
        // The reader outlives every question.
        let _ = self.asked.send(it).is_ok();
    }
}

fn read(calls: &Receiver<Asked>, tell: &Sender<Result<Spread, crate::Error>>) {
    let (mut spans, mut failed) = (Spans::new(), None);
    for asked in calls {
        match asked {
            Asked::Call(due, ticket) => match ticket.wait() {
                Ok(_) => spans.add(SystemClock.now().since(due)),
                Err(error) => failed = Some(error),
            },
            Asked::Spread => {
                let seen = std::mem::replace(&mut spans, Spans::new());
                let spread = failed.take().map_or_else(|| Ok(seen.spread()), Err);
                let _ = tell.send(spread).is_ok();
            }
        }
    }
}
