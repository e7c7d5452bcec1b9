//! Clocks that are ahead, behind, step back, leap and sleep.

use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::base::Span;

const HOUR: Span = Span::hours(1);

struct Manual(AtomicI64);

impl Clock for Manual {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

impl Manual {
    fn set(&self, time: Timestamp) {
        self.0.store(time.micros(), Ordering::SeqCst);
    }
}

/// The time of the last record.
fn recorded() -> Timestamp {
    Timestamp::parse("2026-03-29T00:30:00Z").unwrap()
}

fn start(
    at: Timestamp,
    alive: Timestamp,
    check: ClockCheck,
) -> (Arc<Manual>, Result<Present, Error>) {
    let clock = Arc::new(Manual(AtomicI64::new(at.micros())));
    let past = Past { recorded: Some(recorded()), alive };
    let present = Present::start(Arc::<Manual>::clone(&clock), check, past);
    (clock, present)
}

/// Whether an engine starts at `at` that was last seen running at `alive`.
fn starts(at: Timestamp, alive: Timestamp) -> bool {
    match start(at, alive, ClockCheck::Strict).1 {
        Ok(_) => true,
        Err(Error::Clock { clock, engine }) => {
            assert_eq!(clock, at);
            assert!(engine == recorded() || engine == alive);
            false
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn it_starts_where_the_clock_is_near_the_last_record_or_the_last_sign_of_life() {
    let second = Span::seconds(1);
    let (day, minutes) = (Span::hours(24), Span::minutes(5));
    for alive in [Timestamp::EPOCH, recorded()] {
        assert!(starts(recorded(), alive));
        assert!(starts(recorded().plus(day), alive));
        assert!(!starts(recorded().plus(day).plus(second), alive));
        assert!(starts(recorded().minus(minutes), alive));
        assert!(!starts(recorded().minus(minutes).minus(second), alive));
    }
    // It ran for a month without any record.
    let alive = recorded().plus(Span::days(30));
    assert!(starts(alive, alive));
    assert!(starts(alive.plus(day), alive));
    assert!(!starts(alive.plus(day).plus(second), alive));
    // The sign of life is no floor: time may go on from the last record.
    assert!(starts(recorded(), alive));
    assert!(!starts(recorded().minus(minutes).minus(second), alive));
}

#[test]
fn whoever_trusts_the_clock_starts_and_goes_on_with_it() {
    let late = recorded().plus(Span::days(4_000));
    let (clock, present) = start(late, Timestamp::EPOCH, ClockCheck::Trust);
    let mut present = present.unwrap();
    assert_eq!(present.look(recorded()).unwrap(), late);
    clock.set(late.plus(Span::days(4_000)));
    assert_eq!(present.look(recorded()).unwrap(), late.plus(Span::days(4_000)));
}

#[test]
fn time_stands_still_where_the_clock_steps_back_and_goes_on_when_it_has_caught_up() {
    let (clock, present) = start(recorded(), recorded(), ClockCheck::Strict);
    let mut present = present.unwrap();
    for behind in [HOUR, Span::days(400), Span::minutes(1)] {
        clock.set(recorded().minus(behind));
        assert_eq!(present.look(recorded()).unwrap(), recorded());
        assert_eq!(present.is_behind_told, behind > CLOCK_BEHIND_MAX || present.is_behind_told);
    }
    // Back in one leap of 400 days: that is where it was before, so it is believed.
    clock.set(recorded().minus(Span::days(400)));
    assert_eq!(present.look(recorded()).unwrap(), recorded());
    clock.set(recorded().plus(HOUR));
    assert_eq!(present.look(recorded()).unwrap(), recorded().plus(HOUR));
    assert!(!present.is_behind_told, "told again, should it happen again");
}

#[test]
fn a_leap_of_more_than_a_day_is_not_believed() {
    let (clock, present) = start(recorded(), recorded(), ClockCheck::Strict);
    let mut present = present.unwrap();
    // A night's sleep, and another after a look.
    for hours in [16, 40] {
        let now = recorded().plus(Span::hours(hours));
        clock.set(now);
        assert_eq!(present.look(recorded()).unwrap(), now);
    }
    let seen = recorded().plus(Span::hours(40));
    let leap = seen.plus(Span::hours(24)).plus(Span::millis(1));
    clock.set(leap);
    let error = present.look(recorded()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&leap.to_string()) && text.contains(&seen.to_string()), "{text}");
    // What has to be ended is ended at the time before.
    present.stop();
    assert_eq!(present.look(recorded()).unwrap(), seen);
    clock.set(seen.plus(HOUR));
    assert_eq!(present.look(recorded()).unwrap(), seen);
}
