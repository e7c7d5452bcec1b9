//! Timers that are overdue, in the order in which they are worked off.
//!
//! That is the order in which they were due. Where very many are, it would load a page of rows for
//! each and write it again, because their customers come in no order. Such a herd is taken in the
//! order of its customers instead, whose rows lie side by side; those of one customer stay in theirs.

use std::cmp::Reverse;

use crate::{
    base::{Timestamp, limits::HERD_TIMERS_MAX},
    store::{Result, Store, Timer, Timers},
};

/// What is under way of it.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// A herd, the next one last. All of them are among the timers as well until they have fired.
    herd: Vec<Timer>,
    /// How many came one after the other in the order in which they were due.
    in_a_row: usize,
}

impl Backlog {
    /// The next timer that is due at `now`; after so many in a row what is due is a herd.
    pub(super) fn next(
        &mut self,
        timers: &mut Timers,
        store: &dyn Store,
        now: Timestamp,
        herd_after: usize,
    ) -> Result<Option<Timer>> {
        if self.herd.is_empty() && self.in_a_row >= herd_after {
            self.in_a_row = 0;
            self.herd = timers.overdue(store, now, HERD_TIMERS_MAX)?;
            self.herd.sort_unstable_by_key(|it| Reverse((it.place, *it)));
        }
        if let Some(timer) = self.herd.pop() {
            return Ok(Some(timer));
        }
        let timer = timers.peek(store, now)?;
        self.in_a_row = if timer.is_some() { self.in_a_row + 1 } else { 0 };
        Ok(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{Lsn, Span},
        store::MemoryStore,
    };

    const LATE: i64 = 1_000;

    fn timer(due: i64, enrollment: u64, place: u64) -> Timer {
        let due = Timestamp::from_micros(due).unwrap();
        Timer { due, enrollment: Lsn(enrollment), set: Lsn(enrollment), place }
    }

    /// Fires all that is due, at most so many in the order in which they were.
    fn fired(herd_after: usize, set: &[Timer]) -> Vec<u64> {
        let (store, mut timers) = (MemoryStore::new(), Timers::new(Span::ZERO));
        set.iter().for_each(|it| timers.set(*it));
        let now = Timestamp::from_micros(LATE).unwrap();
        let (mut backlog, mut fired) = (Backlog::default(), Vec::new());
        while let Some(timer) = backlog.next(&mut timers, &store, now, herd_after).unwrap() {
            timers.clear(&timer);
            fired.push(timer.enrollment.0);
        }
        assert_eq!(timers.next_due(&store).unwrap().map(Timestamp::micros), Some(LATE + 1));
        fired
    }

    #[test]
    fn few_fire_as_they_were_due_and_a_herd_as_its_customers_lie() {
        let due =
            [(5, 1, 9), (6, 2, 8), (7, 3, 7), (8, 4, 6), (8, 5, 7), (9, 6, 1), (LATE + 1, 7, 0)];
        let set = due.map(|(due, enrollment, place)| timer(due, enrollment, place));
        assert_eq!(fired(6, &set), [1, 2, 3, 4, 5, 6]);
        assert_eq!(fired(2, &set), [1, 2, 6, 4, 3, 5]);
        assert_eq!(fired(0, &set), [6, 4, 3, 5, 2, 1]);
    }
}
