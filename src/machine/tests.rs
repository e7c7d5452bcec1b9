//! The machine by itself: what a job cannot reach, and that what is stored reads back.

mod arbitrary;
mod keys;
mod world;

use proptest::prelude::*;

use super::{
    apply::TimerSet,
    delivery::Outcome,
    input::{Answer, Input, Rejection},
    memory::Memory,
    reason::Refusal,
    record::{Record, Source},
    row::Row,
};
use crate::{
    base::{
        ContentHash, DeliveryId, EnrollmentId, Lsn, Span, Timestamp,
        limits::{
            ATTEMPTS_MAX, ATTRIBUTES_BYTES_MAX, EVENT_AHEAD_MAX, GROUP_BYTES_MAX, JSON_DEPTH_MAX,
            SUBSCRIPTIONS_MAX,
        },
    },
    model::{CustomerUpdate, Event, JsonText, LineCode, PushKeys, Subscription},
};
use world::World;

const MAIL_THEN_WAIT: &str = r#"{ "segments": [{ "id": "all", "name": "All", "rule": "true" }],
  "flows": [{ "id": "f", "name": "F", "segment": "all", "trigger": { "event": "go" },
    "steps": [
      { "id": "m", "step_order": 1, "step_type": "SEND_EMAIL", "config": { "subject": "Hi", "text": "-" } },
      { "id": "w", "step_order": 2, "step_type": "WAIT", "config": { "duration": "1h" } },
      { "id": "n", "step_order": 3, "step_type": "SEND_EMAIL", "config": { "subject": "Ho", "text": "-" } }] }] }"#;

fn now() -> Timestamp {
    Timestamp::parse("2026-01-01T00:00:00Z").unwrap()
}

fn event(line: &str) -> Input {
    Input::Event { source: Source::Api, event: Event::parse(line.as_bytes()).unwrap() }
}

fn customer(line: &str) -> Input {
    Input::Customer { source: Source::Api, update: CustomerUpdate::parse(line.as_bytes()).unwrap() }
}

fn sent() -> Outcome {
    Outcome::Sent { hash: ContentHash([7; 16]) }
}

fn deferred() -> Outcome {
    Outcome::Deferred { error: "busy".to_owned() }
}

fn report(delivery: DeliveryId, place: u64, attempt: u32, outcome: Outcome) -> Input {
    Input::Settled { delivery, place, attempt, outcome }
}

fn names(records: &[Record]) -> Vec<&'static str> {
    records.iter().map(Record::name).collect()
}

/// A customer whose first mail is in flight: the delivery and its place.
fn in_flight() -> (World, DeliveryId, u64) {
    let mut world = World::new(MAIL_THEN_WAIT);
    world.accept(now(), &customer(r#"{"id":"a","email":"a@x.example"}"#));
    world.accept(now(), &event(r#"{"id":"e","name":"go","customer":"a"}"#));
    let ((_, id), flying) = world.memory.in_flight.iter().next().unwrap();
    let (id, place) = (*id, flying.place);
    (world, id, place)
}

#[test]
fn an_event_over_a_day_ahead_is_rejected() {
    let mut world = World::new(MAIL_THEN_WAIT);
    let ahead = |span: Span| {
        let time = now().plus(EVENT_AHEAD_MAX).plus(span);
        format!(r#"{{"name":"go","customer":"a","time":"{time}"}}"#)
    };
    let latest = world.memory.latest;
    let over = event(&ahead(Span::millis(1)));
    assert_eq!(world.give(now(), &over), Err(Rejection::TooFarAhead));
    assert_eq!(world.memory.latest, latest, "nothing is recorded of what a caller got wrong");

    let Input::Event { event: line, .. } = over else { panic!("an event") };
    let source = Source::Line { input: 0, offset: 9 };
    let (answer, records) = world.accept(now(), &Input::Event { source, event: line });
    let [Record::LineRejected(rejected)] = records.as_slice() else { panic!("{records:?}") };
    let (code, rejection) = (LineCode::TooFarAhead, Rejection::TooFarAhead);
    assert_eq!((answer, rejected.source), (Answer::Refused { code, rejection }, source));
    assert_eq!(LineCode::from_number(rejected.code), Some(LineCode::TooFarAhead));

    let (answer, records) = world.accept(now(), &event(&ahead(Span::ZERO)));
    assert_eq!(answer, Answer::Accepted);
    assert_eq!(names(&records)[..2], ["EventReceived", "Enrolled"]);
}

#[test]
fn the_time_of_an_event_ahead_counts_as_now() {
    let mut world = World::new(MAIL_THEN_WAIT);
    world.accept(now(), &event(r#"{"name":"x","customer":"a","time":"2026-01-01T23:00:00Z"}"#));
    let activities = world.rows.values().filter_map(|row| {
        let Row::Activity(activity) = row else { return None };
        Some(activity.last)
    });
    assert_eq!(activities.collect::<Vec<_>>(), [now()]);
}

#[test]
fn a_caller_learns_of_duplicates_and_nothing_is_recorded() {
    let (mut world, ..) = in_flight();
    let latest = world.memory.latest;
    let again = event(r#"{"id":"e","name":"go","customer":"a"}"#);
    assert_eq!(world.accept(now(), &again), (Answer::Duplicate, Vec::new()));
    let same = customer(r#"{"id":"a","email":"a@x.example"}"#);
    assert_eq!(world.accept(now(), &same), (Answer::Unchanged, Vec::new()));
    assert_eq!(world.memory.latest, latest);
}

#[test]
fn attributes_that_grow_too_large_are_rejected() {
    let mut world = World::new(MAIL_THEN_WAIT);
    let half = "x".repeat(ATTRIBUTES_BYTES_MAX / 2);
    let set = |name: &str| customer(&format!(r#"{{"id":"a","attributes":{{"{name}":"{half}"}}}}"#));
    world.accept(now(), &set("one"));
    assert_eq!(world.give(now(), &set("two")), Err(Rejection::CustomerTooLarge));
    world.accept(now(), &customer(r#"{"id":"a","attributes":{"one":null}}"#));
    world.accept(now(), &set("two"));
}

/// A message to sixteen devices holds its values sixteen times; a hundred flows that send one would
/// be a group of tens of megabytes.
#[test]
fn one_event_causes_a_bounded_group() {
    let flows = 100;
    let segment = |n| serde_json::json!({ "id": format!("s{n}"), "name": "S", "rule": "true" });
    let flow = |n| {
        let config = serde_json::json!({ "title": "-", "body": "{{ event.properties.x }}" });
        let step = serde_json::json!({ "id": "p", "step_order": 1, "step_type": "SEND_PUSH",
                                       "config": config });
        serde_json::json!({ "id": format!("f{n}"), "name": "F", "segment": format!("s{n}"),
                            "trigger": { "event": "go" }, "steps": [step] })
    };
    let all = serde_json::json!({
        "segments": (0..flows).map(segment).collect::<Vec<_>>(),
        "flows": (0..flows).map(flow).collect::<Vec<_>>(),
    });
    let mut world = World::new(&all.to_string());
    let keys = serde_json::json!({ "p256dh": "k", "auth": "a" });
    let device = |n| serde_json::json!({ "endpoint": format!("https://{n}"), "keys": keys });
    let devices: Vec<_> = (0..SUBSCRIPTIONS_MAX).map(device).collect();
    world.accept(now(), &customer(&serde_json::json!({ "id": "a", "push": devices }).to_string()));
    let line = serde_json::json!({ "name": "go", "customer": "a",
                                   "properties": { "x": "x".repeat(16_000) } });
    let (_, records) = world.accept(now(), &event(&line.to_string()));
    let bytes: usize = records.iter().map(|it| it.encode().len()).sum();
    let one_flow = (SUBSCRIPTIONS_MAX + 1) * 20_000;
    assert!((GROUP_BYTES_MAX / 2..GROUP_BYTES_MAX + one_flow).contains(&bytes), "{bytes}");
    let Some(Record::EntriesRefused(it)) = records.last() else { panic!("some are refused") };
    assert!(it.refused.iter().all(|(_, why)| *why == Refusal::TooMuchAtOnce), "{it:?}");
    let enrolled = records.iter().filter(|it| it.name() == "Enrolled").count();
    assert_eq!(enrolled + it.refused.len(), flows);
}

/// Callers can build what no line says; records and rows have a size that it must not exceed.
#[test]
fn what_a_caller_builds_is_bounded() {
    let mut world = World::new(MAIL_THEN_WAIT);
    let long = "x".repeat(100_000);
    let built = Event::parse(br#"{"name":"go","customer":"a"}"#).unwrap();
    let properties = JsonText::parse(&format!(r#"{{"a":"{long}"}}"#)).unwrap();
    let deep = |levels: usize| {
        (0..levels).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]))
    };
    let too_deep = JsonText::new(&deep(JSON_DEPTH_MAX));
    for event in [
        Event { properties, ..built.clone() },
        Event { properties: too_deep, ..built.clone() },
        Event { name: long.clone().into(), ..built },
    ] {
        let input = Input::Event { source: Source::Api, event };
        assert_eq!(world.give(now(), &input), Err(Rejection::EventTooLarge));
    }
    let built = CustomerUpdate::parse(br#"{"id":"a"}"#).unwrap();
    let field = || Some(Some(long.clone()));
    let keys = PushKeys { p256dh: "k".to_owned(), auth: "a".to_owned() };
    let device =
        |endpoint: &str| Subscription { endpoint: endpoint.to_owned(), keys: keys.clone() };
    let removed = (0..20_000).map(|n| (n.to_string(), None)).collect();
    let too_deep = [("a".to_owned(), Some(JsonText::new(&deep(JSON_DEPTH_MAX - 1))))].into();
    for update in [
        CustomerUpdate { email: Some(Some(long.as_str().into())), ..built.clone() },
        CustomerUpdate { timezone: field(), ..built.clone() },
        CustomerUpdate { locale: field(), ..built.clone() },
        CustomerUpdate { push: Some(vec![device("https://p").into(); 17]), ..built.clone() },
        CustomerUpdate { push: Some(vec![device(&long).into()]), ..built.clone() },
        CustomerUpdate { attributes: too_deep, ..built.clone() },
        CustomerUpdate { attributes: removed, ..built },
    ] {
        let input = Input::Customer { source: Source::Api, update };
        assert_eq!(world.give(now(), &input), Err(Rejection::CustomerTooLarge));
    }
}

#[test]
fn a_stale_report_changes_nothing() {
    let (mut world, id, place) = in_flight();
    let other = |visit, subscription| DeliveryId { visit, subscription, ..id };
    let nobody = EnrollmentId { lsn: Lsn(9_999), ..id.enrollment };
    let unchanged = (Answer::Unchanged, Vec::new());
    let check = |world: &mut World, stale: &[(DeliveryId, u32)]| {
        for (delivery, attempt) in stale {
            for outcome in [sent(), deferred(), Outcome::Rejected { error: String::new() }] {
                let stale = report(*delivery, place, *attempt, outcome);
                assert_eq!(world.accept(now(), &stale), unchanged, "{stale:?}");
            }
        }
    };
    let elsewhere = DeliveryId { enrollment: nobody, ..id };
    check(&mut world, &[(id, 0), (id, 2), (other(2, 0), 1), (other(1, 1), 1), (elsewhere, 1)]);
    // Between two attempts none is current.
    world.accept(now(), &report(id, place, 1, deferred()));
    check(&mut world, &[(id, 1), (id, 2)]);
    let timer = *world.timers.first().unwrap();
    world.accept(timer.due, &Input::TimerDue(timer));
    check(&mut world, &[(id, 1), (id, 3)]);
    // In the WAIT after it, and in the mail after that.
    world.accept(timer.due, &report(id, place, 2, sent()));
    check(&mut world, &[(id, 2), (other(2, 0), 1), (other(3, 0), 1)]);
    let wait = *world.timers.first().unwrap();
    world.accept(wait.due, &Input::TimerDue(wait));
    check(&mut world, &[(id, 1), (id, 2), (other(2, 0), 1)]);
    let (_, records) = world.accept(wait.due, &report(other(3, 0), place, 1, sent()));
    assert_eq!(names(&records), ["DeliverySent", "Exited"]);
    check(&mut world, &[(id, 1), (other(3, 0), 1)]);
}

#[test]
fn a_stale_timer_changes_nothing() {
    let (mut world, id, place) = in_flight();
    let unchanged = (Answer::Unchanged, Vec::new());
    world.accept(now(), &report(id, place, 1, deferred()));
    let retry = *world.timers.first().unwrap();
    let other = TimerSet { set: Lsn(retry.set.0 - 1), ..retry };
    assert_eq!(world.accept(retry.due, &Input::TimerDue(other)), unchanged);
    world.accept(retry.due, &Input::TimerDue(retry));
    assert_eq!(world.accept(retry.due, &Input::TimerDue(retry)), unchanged);
    world.accept(retry.due, &report(id, place, 2, sent()));
    let wait = *world.timers.first().unwrap();
    assert_eq!(world.accept(wait.due, &Input::TimerDue(retry)), unchanged);
    let nobody = TimerSet { enrollment: Lsn(9_999), ..wait };
    assert_eq!(world.accept(wait.due, &Input::TimerDue(nobody)), unchanged);
}

#[test]
fn exhausted_retries_leave_a_dead_letter_and_the_flow_goes_on() {
    let (mut world, id, place) = in_flight();
    for attempt in 1..ATTEMPTS_MAX {
        world.accept(now(), &report(id, place, attempt, deferred()));
        let timer = *world.timers.first().unwrap();
        world.accept(timer.due, &Input::TimerDue(timer));
    }
    let (_, records) = world.accept(now(), &report(id, place, ATTEMPTS_MAX, deferred()));
    assert_eq!(names(&records), ["DeliveryFailed", "WaitStarted"]);
    let letters = world.rows.values().filter_map(|row| {
        let Row::DeadLetter(letter) = row else { return None };
        Some((letter.enrollment, letter.attempts, &*letter.error))
    });
    assert_eq!(letters.collect::<Vec<_>>(), [(id.enrollment.lsn, ATTEMPTS_MAX, "busy")]);
    assert_eq!(world.memory.counters.dead_letters, 1);
}

proptest! {
    #[test]
    fn a_record_reads_back_as_written(record in arbitrary::record()) {
        let body = record.encode();
        prop_assert_eq!(&Record::decode(record.kind(), record.version(), &body), &Ok(record.clone()));
        prop_assert!(Record::decode(record.kind(), record.version() + 1, &body).is_err());
        prop_assert!(record.fields().is_ok(), "people can read every record");
        let longer = [&body[..], &[0]].concat();
        prop_assert!(Record::decode(record.kind(), record.version(), &longer).is_err());
        let (_, shorter) = body.split_last().unwrap();
        prop_assert!(Record::decode(record.kind(), record.version(), shorter).is_err());
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(kind in 0..50_u16, version in 0..3_u8, body: Vec<u8>) {
        if let Ok(record) = Record::decode(kind, version, &body) {
            prop_assert_eq!(record.kind(), kind);
            let again = Record::decode(kind, record.version(), &record.encode());
            prop_assert_eq!(again, Ok(record));
        }
    }

    #[test]
    fn a_changed_byte_gives_a_record_or_an_error(
        record in arbitrary::record(),
        at: prop::sample::Index,
        byte: u8,
    ) {
        let mut body = record.encode();
        let at = at.index(body.len());
        body[at] = byte;
        let _ = Record::decode(record.kind(), record.version(), &body).is_ok();
    }

    #[test]
    fn a_row_reads_back_as_written(row in arbitrary::row()) {
        let mut bytes = Vec::new();
        row.encode(&mut bytes);
        prop_assert_eq!(Row::decode(&bytes), Ok(row));
        bytes.push(0);
        prop_assert!(Row::decode(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_a_row_or_an_error(kind in 0..9_u8, body: Vec<u8>) {
        let bytes = [&[kind, 1], &body[..]].concat();
        for bytes in [&bytes, &body] {
            if let Ok(row) = Row::decode(bytes) {
                let mut again = Vec::new();
                row.encode(&mut again);
                prop_assert_eq!(Row::decode(&again), Ok(row));
            }
        }
    }

    #[test]
    fn any_bytes_are_a_memory_image_or_an_error(body: Vec<u8>) {
        for bytes in [&[&[1], &body[..]].concat(), &body] {
            if let Ok(memory) = Memory::decode(bytes) {
                prop_assert_eq!(Memory::decode(&memory.encode()), Ok(memory));
            }
        }
    }
}
