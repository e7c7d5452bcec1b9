//! Clocks that go wrong while the engine runs: timers are late at most, never early and never lost.

use std::{path::Path, sync::Arc};

use crossbeam_channel::Receiver;
use onward::{
    Error, Onward,
    base::{EnrollmentId, Span, Timestamp},
    delivery::{Channels, Message},
    model::Event,
};
use serde_json::{Value, json};

use super::{
    Manual, PATIENCE, START, await_record, channels, enter, names, next, open_at, publish, sent,
    settled, upsert,
};

/// One message, a wait of ten minutes, another message.
fn steps() -> Vec<Value> {
    let mail = |id: &str, order: usize| {
        json!({ "id": id, "step_order": order, "step_type": "SEND_EMAIL",
                "config": { "subject": id, "text": "Hello." } })
    };
    let wait = json!({ "id": "wait", "step_order": 2, "step_type": "WAIT",
                       "config": { "duration": "10m" } });
    vec![mail("first", 1), wait, mail("second", 3)]
}

/// An engine with one customer who waits since the clock said [`START`].
struct Waiting {
    dir: tempfile::TempDir,
    clock: Arc<Manual>,
    channels: Channels,
    attempts: Receiver<Arc<Message>>,
    onward: Onward,
    id: EnrollmentId,
}

impl Waiting {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Manual::at(START);
        let (channels, attempts) = channels(|_| Some(sent()));
        let onward = open_at(dir.path(), &channels, &clock);
        publish(&onward, &steps());
        let id = enter(&onward, "ann");
        next(&attempts);
        await_record(&onward, id, "WaitStarted");
        Self { dir, clock, channels, attempts, onward, id }
    }

    fn is_waiting(&self) -> bool {
        let is_waiting = names(&settled(&self.onward, self.id)).last() == Some(&"WaitStarted");
        assert!(!is_waiting || self.attempts.is_empty(), "nothing leaves before it is due");
        is_waiting
    }

    /// The second message has left, once.
    fn assert_ended(&self) {
        await_record(&self.onward, self.id, "Exited");
        next(&self.attempts);
        assert!(self.attempts.is_empty(), "a timer fires once");
    }
}

fn recorded(onward: &Onward) -> Timestamp {
    onward.engine().query(|it| Ok(it.recorded_time())).unwrap().wait().unwrap()
}

/// What stopped it, once it has.
fn stopped(onward: &Onward) -> String {
    let pause = std::time::Duration::from_millis(5);
    for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
        if let Err(Error::Stopped { cause }) = onward.engine().query(|_| Ok(())) {
            return cause;
        }
        let _ = crossbeam_channel::never::<()>().recv_timeout(pause);
    }
    panic!("it goes on")
}

/// Makes the engine look at its clock and record nothing: an event of the far future is refused.
fn look(onward: &Onward) {
    let line = json!({ "name": "signup", "customer": "ann", "time": "9999-01-01T00:00:00Z" });
    let event = Event::parse(line.to_string().as_bytes()).unwrap();
    let answer = onward.track(event).unwrap().wait();
    assert!(matches!(answer, Err(Error::Rejected(_))), "{answer:?}");
}

fn refusal(dir: &Path, channels: &Channels, clock: &Arc<Manual>) -> String {
    use onward::{Options, base::Clock};
    let clock: Arc<dyn Clock> = Arc::<Manual>::clone(clock);
    let options = Options { clock, ..Options::default() };
    match Onward::open_with(dir, channels, &options) {
        Err(error @ Error::Clock { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_step_back_makes_a_timer_late_not_early_and_not_lost() {
    let it = Waiting::new();
    it.clock.advance(Span::minutes(-60));
    assert!(it.is_waiting());
    // Ten minutes after the step the wait is not over: the clock says when.
    it.clock.advance(Span::minutes(10));
    assert!(it.is_waiting());
    assert_eq!(recorded(&it.onward).to_string(), START, "time stands still");
    let _ = upsert(&it.onward, &json!({ "id": "bob" })).wait().unwrap();
    assert_eq!(recorded(&it.onward).to_string(), START, "and does not keep anybody out");
    it.clock.advance(Span::millis(60 * 60_000 - 1));
    assert!(it.is_waiting());
    it.clock.advance(Span::millis(1));
    it.assert_ended();
    it.onward.close().unwrap();
}

#[test]
fn a_night_asleep_makes_a_timer_late() {
    let it = Waiting::new();
    it.clock.advance(Span::hours(9));
    it.assert_ended();
    assert_eq!(recorded(&it.onward).to_string(), "2026-01-01T09:00:00Z");
    it.onward.close().unwrap();
}

#[test]
fn a_leap_of_years_stops_the_engine_before_any_timer_fires() {
    let it = Waiting::new();
    it.clock.advance(Span::days(3_650));
    let cause = stopped(&it.onward);
    assert!(cause.contains("2035-12-30T00:00:00Z") && cause.contains(START), "{cause}");
    assert!(cause.contains("correct the clock"), "{cause}");
    let closed = it.onward.close();
    assert!(matches!(closed, Err(Error::Stopped { .. })), "{closed:?}");
    assert!(it.attempts.is_empty());
    let refused = refusal(it.dir.path(), &it.channels, &it.clock);
    assert_eq!(refused, cause, "as long as the clock says so");
    // The clock is right again, and nothing was recorded at the wrong time.
    it.clock.advance(Span::days(-3_650));
    let onward = open_at(it.dir.path(), &it.channels, &it.clock);
    let it = Waiting { onward, ..it };
    assert_eq!(recorded(&it.onward).to_string(), START);
    assert!(it.is_waiting());
    it.clock.advance(Span::minutes(10));
    it.assert_ended();
}

#[test]
fn the_last_record_is_a_floor_across_restarts() {
    let it = Waiting::new();
    it.onward.close().unwrap();
    it.clock.advance(Span::minutes(-4));
    let onward = open_at(it.dir.path(), &it.channels, &it.clock);
    let it = Waiting { onward, ..it };
    let _ = upsert(&it.onward, &json!({ "id": "bob" })).wait().unwrap();
    assert_eq!(recorded(&it.onward).to_string(), START);
    it.clock.advance(Span::millis(14 * 60_000 - 1));
    assert!(it.is_waiting());
    it.clock.advance(Span::millis(1));
    it.assert_ended();
}

#[test]
fn an_engine_that_was_idle_for_days_starts_again() {
    let it = Waiting::new();
    it.clock.advance(Span::minutes(10));
    it.assert_ended();
    // Two weeks pass while it runs and nothing happens.
    for _ in 0..14 {
        it.clock.advance(Span::hours(24));
        look(&it.onward);
    }
    it.onward.close().unwrap();
    it.clock.advance(Span::hours(23));
    open_at(it.dir.path(), &it.channels, &it.clock).close().unwrap();
    // The start in between counts, although it recorded nothing either.
    it.clock.advance(Span::hours(23));
    open_at(it.dir.path(), &it.channels, &it.clock).close().unwrap();
    it.clock.advance(Span::hours(25));
    let refused = refusal(it.dir.path(), &it.channels, &it.clock);
    assert!(refused.contains("2026-01-16T22:10:00Z"), "{refused}");
}
