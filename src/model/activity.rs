//! What is remembered of one customer's events of one name.

use serde::{Deserialize, Serialize};

use crate::base::{Timestamp, limits::ACTIVITY_TIMES_MAX};

/// Count, first and last for ever, and the latest [`ACTIVITY_TIMES_MAX`] times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// How many events.
    pub count: u64,
    /// The earliest time of one.
    pub first: Timestamp,
    /// The latest time of one.
    pub last: Timestamp,
    /// The latest times, ascending.
    pub times: Vec<Timestamp>,
}

impl Activity {
    /// The first event of its name.
    pub fn new(time: Timestamp) -> Self {
        Self { count: 1, first: time, last: time, times: vec![time] }
    }

    /// Counts one more; times need not come in order.
    pub fn add(&mut self, time: Timestamp) {
        self.count = self.count.saturating_add(1);
        self.first = self.first.min(time);
        self.last = self.last.max(time);
        let place = self.times.partition_point(|known| *known <= time);
        self.times.insert(place, time);
        if self.times.len() > ACTIVITY_TIMES_MAX {
            self.times.remove(0);
        }
    }

    /// How many events are at `start` or later; `None` where that reaches past what is remembered.
    pub fn count_since(&self, start: Timestamp) -> Option<u64> {
        if start <= self.first {
            return Some(self.count);
        }
        let forgotten = u64::try_from(self.times.len()).is_ok_and(|kept| kept < self.count);
        let earlier = self.times.partition_point(|time| *time < start);
        // With an earlier time still remembered, every later one is remembered too.
        if forgotten && earlier == 0 {
            return None;
        }
        u64::try_from(self.times.len() - earlier).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros).unwrap()
    }

    proptest! {
        #[test]
        fn counts_are_exact_or_refused(
            times in prop::collection::vec(0..1_000_i64, 1..200),
            start in 0..1_000_i64,
        ) {
            let mut activity = Activity::new(at(times[0]));
            times[1..].iter().for_each(|time| activity.add(at(*time)));
            let expected = times.iter().filter(|time| **time >= start).count();
            if let Some(count) = activity.count_since(at(start)) {
                prop_assert_eq!(usize::try_from(count), Ok(expected));
            } else {
                prop_assert!(expected >= ACTIVITY_TIMES_MAX);
            }
            prop_assert!(activity.times.is_sorted());
            prop_assert_eq!(usize::try_from(activity.count), Ok(times.len()));
            prop_assert_eq!(activity.first, at(*times.iter().min().unwrap()));
            prop_assert_eq!(activity.last, at(*times.iter().max().unwrap()));
        }
    }
}
