//! Callers, channels and definitions that would fill memory: told so, while the others go on.

use std::sync::Arc;

use crossbeam_channel::bounded;
use onward::{
    Answer, Error, Onward, Options,
    base::{Limits, Span, limits::SUBSCRIPTIONS_MAX},
    model::Event,
};
use serde_json::json;

use super::{
    Manual, START, channels, email, enrollments, next, publish, sent, signup, upsert, welcome,
};

/// Opens a new directory with these bounds, on a clock that stands still.
fn open(
    dir: &std::path::Path,
    channels: &onward::delivery::Channels,
    limits: Limits,
) -> (Onward, Arc<Manual>) {
    let clock = Manual::at(START);
    let options = Options { clock: Arc::<Manual>::clone(&clock), limits, ..Options::default() };
    (Onward::open_with(dir, channels, &options).unwrap(), clock)
}

fn track(onward: &Onward, event: Event) -> Result<Answer, Error> {
    onward.track(event)?.wait()
}

fn ready(onward: &Onward, customer: &str) -> Event {
    let address = format!("{customer}@example.com");
    upsert(onward, &json!({ "id": customer, "email": address })).wait().unwrap();
    signup(customer, customer)
}

#[test]
fn messages_that_wait_for_a_hanging_channel_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (gate, closed) = bounded::<()>(0);
    let (channels, attempts) = channels(move |_| {
        // The first message hangs until the gate falls; then every one is taken.
        let _ = closed.recv().is_err();
        Some(sent())
    });
    let limits = Limits { in_flight: 4, deliveries: 1, ..Limits::default() };
    let (onward, _clock) = open(dir.path(), &channels, limits);
    publish(&onward, &[email(1, "Hello")]);
    for n in 0..4 {
        let event = ready(&onward, &format!("c{n}"));
        assert_eq!(track(&onward, event).unwrap(), Answer::Accepted);
    }
    let event = ready(&onward, "c4");
    let busy = track(&onward, event.clone());
    assert!(matches!(busy, Err(Error::Busy)), "{busy:?}");
    assert!(enrollments(&onward, "c4").is_empty(), "nothing was taken in");
    assert_eq!(enrollments(&onward, "c3").len(), 1, "questions are answered");
    drop(gate);
    for _ in 0..4 {
        next(&attempts);
    }
    // The last of them may not be settled yet.
    let accepted = std::iter::repeat_with(|| track(&onward, event.clone()));
    let answers: Vec<_> = accepted.take_while(Result::is_err).take(10_000).collect();
    assert!(answers.len() < 10_000 && answers.iter().all(|it| matches!(it, Err(Error::Busy))));
    assert_eq!(next(&attempts).customer.as_str(), "c4");
    onward.close().unwrap();
}

#[test]
fn a_herd_of_timers_leaves_room_for_events() {
    let dir = tempfile::tempdir().unwrap();
    let (gate, closed) = bounded::<()>(0);
    let (channels, attempts) = channels(move |_| {
        let _ = closed.recv().is_err();
        Some(sent())
    });
    let limits = Limits { in_flight: 4, deliveries: 1, ..Limits::default() };
    let (onward, clock) = open(dir.path(), &channels, limits);
    let pause = json!({ "id": "w", "step_order": 1, "step_type": "WAIT",
                        "config": { "duration": "1h" } });
    publish(&onward, &[pause, email(2, "Hello")]);
    for n in 0..10 {
        let event = ready(&onward, &format!("c{n}"));
        assert_eq!(track(&onward, event).unwrap(), Answer::Accepted);
    }
    clock.advance(Span::hours(2));
    let event = ready(&onward, "late");
    assert_eq!(track(&onward, event).unwrap(), Answer::Accepted, "timers stop half-way");
    let flying = || onward.engine().query(|it| Ok(it.memory().in_flight.len())).unwrap();
    for _ in 0..10 {
        let count = flying().wait().unwrap();
        assert!(count <= 2, "{count} in flight");
    }
    drop(gate);
    // All of the herd comes through in the end.
    for _ in 0..10 {
        next(&attempts);
    }
    onward.close().unwrap();
}

#[test]
fn the_inbox_is_bounded_in_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (channels, _attempts) = channels(|_| Some(sent()));
    let limits = Limits { inbox_bytes: 100_000, ..Limits::default() };
    let (onward, _clock) = open(dir.path(), &channels, limits);
    publish(&onward, &[email(1, "Hello")]);
    let (release, held) = bounded::<()>(0);
    let pause = onward.engine().query(move |_| {
        let _ = held.recv().is_err();
        Ok(())
    });
    let large = |id: &str| {
        let text = "x".repeat(40_000);
        let line =
            json!({ "id": id, "name": "look", "customer": "c", "properties": { "t": text } });
        Event::parse(line.to_string().as_bytes()).unwrap()
    };
    let first = onward.track(large("1")).unwrap();
    let second = onward.track(large("2")).unwrap();
    assert!(matches!(onward.track(large("3")), Err(Error::Busy)));
    let small = onward.track(signup("s", "c")).unwrap();
    drop(release);
    pause.unwrap().wait().unwrap();
    for ticket in [first, second, small] {
        assert_eq!(ticket.wait().unwrap(), Answer::Accepted);
    }
    assert_eq!(track(&onward, large("3")).unwrap(), Answer::Accepted, "its room is free again");
    onward.close().unwrap();
}

#[test]
fn every_version_of_a_flow_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (channels, _attempts) = channels(|_| Some(sent()));
    let (onward, _clock) = open(dir.path(), &channels, Limits::default());
    let weight = || {
        let known = onward.engine().query(|it| Ok(it.catalog().known(it.memory()).weight));
        known.unwrap().wait().unwrap()
    };
    let mut weights = vec![weight()];
    for subject in ["one", "two", "two", "three"] {
        publish(&onward, &[email(1, subject)]);
        weights.push(weight());
    }
    let [none, one, two, same, three] = weights.as_slice() else { panic!("{weights:?}") };
    assert!(*none == 0 && none < one && one < two && two == same && same < three, "{weights:?}");
    onward.close().unwrap();
}

#[test]
fn one_event_does_not_cause_more_than_fits() {
    let dir = tempfile::tempdir().unwrap();
    let (channels, _attempts) = channels(|_| Some(sent()));
    let (onward, _clock) = open(dir.path(), &channels, Limits::default());
    let push = json!({ "id": "p", "step_order": 1, "step_type": "SEND_PUSH",
                       "config": { "title": "-", "body": "{{ event.properties.x }}" } });
    let mut all: serde_json::Value =
        serde_json::from_slice(&welcome(std::slice::from_ref(&push))).unwrap();
    for n in 0..100 {
        let id = format!("s{n}");
        let segment = json!({ "id": id, "name": "S", "rule": "true" });
        let flow = json!({ "id": id, "name": "F", "segment": id,
                           "trigger": { "event": "signup" }, "steps": [push] });
        all["segments"].as_array_mut().unwrap().push(segment);
        all["flows"].as_array_mut().unwrap().push(flow);
    }
    onward.publish(&[("all", all.to_string().as_bytes())]).unwrap().wait().unwrap();
    let keys = json!({ "p256dh": "k", "auth": "a" });
    let devices: Vec<_> = (0..SUBSCRIPTIONS_MAX)
        .map(|n| json!({ "endpoint": format!("https://{n}"), "keys": keys }))
        .collect();
    upsert(&onward, &json!({ "id": "c", "push": devices })).wait().unwrap();
    let line = json!({ "name": "signup", "customer": "c",
                       "properties": { "x": "x".repeat(16_000) } });
    let event = Event::parse(line.to_string().as_bytes()).unwrap();
    assert_eq!(track(&onward, event).unwrap(), Answer::Accepted);
    let entered = enrollments(&onward, "c").len();
    assert!((30..90).contains(&entered), "{entered}");
    onward.close().unwrap();
}
