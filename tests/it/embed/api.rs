//! Publishing, customers, events, and what can be asked, from sync and from async code.

use std::{collections::BTreeSet, sync::Arc};

use onward::{
    Answer, Error, Onward, Options,
    base::{CustomerId, EnrollmentId, Limits, PartitionId, Span},
    delivery::Channels,
    machine::{delivery::Content, input::Rejection},
    model::Event,
};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::{
    Manual, START, await_record, channels, email, ended, enrollments, enter, history, names, next,
    open_at, options, publish, sent, settled, signup, upsert, welcome,
};

#[test]
fn what_was_accepted_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Manual::at(START);
    let (channels, attempts) = channels(|_| Some(sent()));
    let onward = open_at(dir.path(), &channels, &clock);
    let published = publish(&onward, &[email(1, "Hello {{ customer.id }}")]);
    assert_eq!(published, Answer::Published { segments: 1, flows: 1, campaigns: 0 });
    let id = enter(&onward, "ann");
    assert_eq!(
        onward.track(signup("signup-ann", "ann")).unwrap().wait().unwrap(),
        Answer::Duplicate
    );
    let message = next(&attempts);
    assert_eq!((message.customer.as_str(), message.attempt), ("ann", 1));
    let Content::Email { subject, .. } = &message.content else { panic!("{message:?}") };
    assert_eq!(subject, "Hello ann");
    let before = await_record(&onward, id, "Exited");
    let expected = ["EventReceived", "Enrolled", "DeliveryRequested", "DeliverySent", "Exited"];
    assert_eq!(names(&before), expected);
    let customer = CustomerId::new("ann").unwrap();
    let view = onward.customer(customer.clone()).unwrap().wait().unwrap();
    onward.close().unwrap();

    let onward = open_at(dir.path(), &channels, &clock);
    assert_eq!(onward.customer(customer).unwrap().wait().unwrap(), view);
    assert_eq!(history(&onward, id), before);
    assert_eq!(ended(&onward, id).as_deref(), Some("completed"));
    assert_eq!(
        onward.track(signup("signup-ann", "ann")).unwrap().wait().unwrap(),
        Answer::Duplicate
    );
    let again = publish(&onward, &[email(1, "Hello {{ customer.id }}")]);
    assert_eq!(again, Answer::Published { segments: 0, flows: 0, campaigns: 0 });
    // Only the next customer's message is sent, so the first one's was not sent again.
    enter(&onward, "bob");
    assert_eq!(next(&attempts).customer.as_str(), "bob");
    onward.close().unwrap();
    assert!(attempts.is_empty());
}

#[test]
fn a_drop_keeps_what_was_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Manual::at(START);
    let (channels, _attempts) = channels(|_| Some(sent()));
    let onward = open_at(dir.path(), &channels, &clock);
    let ticket = upsert(&onward, &json!({ "id": "ann", "email": "ann@example.com" }));
    // A ticket that nobody waits for is no less accepted.
    drop(ticket);
    drop(onward);
    let onward = open_at(dir.path(), &channels, &clock);
    let view = onward.customer(CustomerId::new("ann").unwrap()).unwrap().wait().unwrap();
    assert_eq!(view.unwrap().customer.customer.email.as_deref(), Some("ann@example.com"));
}

fn runtimes() -> [Runtime; 2] {
    [
        Builder::new_current_thread().build().unwrap(),
        Builder::new_multi_thread().worker_threads(2).build().unwrap(),
    ]
}

#[test]
fn async_code_awaits_tickets_and_may_drop_or_close() {
    for runtime in runtimes() {
        let dir = tempfile::tempdir().unwrap();
        let (channels, attempts) = channels(|_| Some(sent()));
        let steps = welcome(&[email(1, "Hello")]);
        runtime.block_on(async {
            let onward = Onward::open(dir.path(), &channels).unwrap();
            onward.publish(&[("flows.json", &steps)]).unwrap().await.unwrap();
            let _ =
                upsert(&onward, &json!({ "id": "ann", "email": "a@example.com" })).await.unwrap();
            let event = signup("e1", "ann");
            let (first, second) =
                tokio::join!(onward.track(event.clone()).unwrap(), onward.track(event).unwrap());
            assert_eq!((first.unwrap(), second.unwrap()), (Answer::Accepted, Answer::Duplicate));
            drop(onward);
        });
        runtime.block_on(async {
            let onward = Onward::open(dir.path(), &channels).unwrap();
            let id = CustomerId::new("ann").unwrap();
            let view = onward.customer(id).unwrap().await.unwrap().unwrap();
            assert_eq!(view.enrollments.len(), 1);
            onward.close().unwrap();
        });
        assert_eq!(next(&attempts).customer.as_str(), "ann");
    }
}

#[test]
fn tasks_share_one_engine() {
    let [_, runtime] = runtimes();
    let dir = tempfile::tempdir().unwrap();
    let (channels, _attempts) = channels(|_| Some(sent()));
    let onward = Arc::new(Onward::open(dir.path(), &channels).unwrap());
    let answers = runtime.block_on(async {
        let tasks: Vec<_> = (0..100)
            .map(|number| {
                let onward = Arc::clone(&onward);
                let event = signup(&format!("e{}", number % 50), "ann");
                tokio::spawn(async move { onward.track(event).unwrap().await.unwrap() })
            })
            .collect();
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.unwrap());
        }
        answers
    });
    let count = |answer: &Answer| answers.iter().filter(|it| *it == answer).count();
    assert_eq!((count(&Answer::Accepted), count(&Answer::Duplicate)), (50, 50));
}

#[test]
fn a_full_inbox_is_busy_and_takes_nothing_in() {
    let dir = tempfile::tempdir().unwrap();
    let (channels, _attempts) = channels(|_| Some(sent()));
    let limits = Limits { inbox_inputs: 2, ..Limits::default() };
    let options = Options { limits, ..Options::default() };
    let onward = Onward::open_with(dir.path(), &channels, &options).unwrap();
    let (started, has_started) = crossbeam_channel::bounded(1);
    let (gate, opened) = crossbeam_channel::bounded::<()>(0);
    let held = onward.engine().query(move |_| {
        started.send(()).unwrap();
        let _ = opened.recv().is_ok();
        Ok(())
    });
    let held = held.unwrap();
    has_started.recv_timeout(super::PATIENCE).unwrap();
    let taken: Vec<_> =
        (0..2).map(|it| onward.track(signup(&format!("e{it}"), "ann")).unwrap()).collect();
    let busy = onward.track(signup("e2", "late"));
    assert!(matches!(busy, Err(Error::Busy)), "{busy:?}");
    drop(gate);
    held.wait().unwrap();
    for ticket in taken {
        assert_eq!(ticket.wait().unwrap(), Answer::Accepted);
    }
    let late = CustomerId::new("late").unwrap();
    assert_eq!(onward.customer(late).unwrap().wait().unwrap(), None);
    assert_eq!(onward.track(signup("e2", "late")).unwrap().wait().unwrap(), Answer::Accepted);
}

#[test]
fn who_waits_in_the_inbox_of_an_engine_that_fails_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (channels, _attempts) = channels(|_| Some(sent()));
    let onward = Onward::open(dir.path(), &channels).unwrap();
    let (gate, opened) = crossbeam_channel::bounded::<()>(0);
    let path = dir.path().to_owned();
    let failing = onward.engine().query(move |_| {
        let _ = opened.recv().is_ok();
        Err::<(), _>(onward::store::Error::Poisoned { path }.into())
    });
    let behind = onward.track(signup("e1", "ann")).unwrap();
    let asked = onward.customer(CustomerId::new("ann").unwrap()).unwrap();
    drop(gate);
    assert!(matches!(failing.unwrap().wait(), Err(Error::Unknown)));
    assert!(matches!(behind.wait(), Err(Error::Stopped { .. })));
    assert!(matches!(asked.wait(), Err(Error::Stopped { .. })));
    let closed = onward.close();
    assert!(matches!(closed, Err(Error::Stopped { .. })), "{closed:?}");
}

#[test]
fn invalid_definitions_are_told_with_every_finding_and_none_is_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let (channels, _attempts) = channels(|_| Some(sent()));
    let onward = Onward::open(dir.path(), &channels).unwrap();
    let wrong = br#"{"segments":[{"id":"ok","name":"Ok","rule":"true"},{"id":""}],"flows":[7]}"#;
    let Err(Error::Invalid(findings)) = onward.publish(&[("wrong.json", wrong)]) else {
        panic!("they are not valid");
    };
    assert!(findings.list.len() >= 3, "{findings}");
    let published = publish(&onward, &[email(1, "Hello")]);
    assert_eq!(published, Answer::Published { segments: 1, flows: 1, campaigns: 0 });
    let changed = publish(&onward, &[email(1, "Hello again")]);
    assert_eq!(changed, Answer::Published { segments: 0, flows: 1, campaigns: 0 });
}

#[test]
fn an_event_too_far_ahead_is_rejected_and_one_that_is_too_old_enrols_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Manual::at(START);
    let (channels, _attempts) = channels(|_| Some(sent()));
    let onward = open_at(dir.path(), &channels, &clock);
    publish(&onward, &[email(1, "Hello")]);
    let at = |time: &str| {
        let line = json!({ "name": "signup", "customer": "ann", "time": time });
        Event::parse(line.to_string().as_bytes()).unwrap()
    };
    let ahead = onward.track(at("2026-01-02T00:00:01Z")).unwrap().wait();
    assert!(matches!(ahead, Err(Error::Rejected(Rejection::TooFarAhead))), "{ahead:?}");
    assert_eq!(onward.track(at("2025-12-28T23:59:59Z")).unwrap().wait().unwrap(), Answer::Accepted);
    assert_eq!(enrollments(&onward, "ann"), []);
    assert_eq!(onward.track(at("2026-01-02T00:00:00Z")).unwrap().wait().unwrap(), Answer::Accepted);
    assert_eq!(enrollments(&onward, "ann").len(), 1);
}

#[test]
fn a_wait_ends_when_the_clock_says_so_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Manual::at(START);
    let (channels, attempts) = channels(|_| Some(sent()));
    let onward = open_trusting(dir.path(), &channels, &clock);
    let wait = json!({ "id": "two-days", "step_order": 1, "step_type": "WAIT", "config": { "duration_days": 2 } });
    publish(&onward, &[wait, email(2, "Later")]);
    let id = enter(&onward, "ann");
    clock.advance(Span::millis(2 * 24 * 3_600_000 - 1));
    assert_eq!(names(&settled(&onward, id)).last(), Some(&"WaitStarted"));
    onward.close().unwrap();
    let onward = open_trusting(dir.path(), &channels, &clock);
    assert_eq!(names(&settled(&onward, id)).last(), Some(&"WaitStarted"));
    assert!(attempts.is_empty());
    clock.advance(Span::millis(1));
    await_record(&onward, id, "Exited");
    let message = next(&attempts);
    assert_eq!(message.time.to_string(), "2026-01-03T00:00:00Z");
}

/// Opens on a clock that a test moves by days.
fn open_trusting(dir: &std::path::Path, channels: &Channels, clock: &Arc<Manual>) -> Onward {
    let options = Options {
        clock: Arc::<Manual>::clone(clock),
        clock_check: onward::engine::ClockCheck::Trust,
        ..Options::default()
    };
    Onward::open_with(dir, channels, &options).unwrap()
}

#[test]
fn several_partitions_share_the_customers_and_answer_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Manual::at(START);
    let (channels, attempts) = channels(|_| Some(sent()));
    let shared = Options { partitions: Some(3), ..options(&clock) };
    let onward = Onward::open_with(dir.path(), &channels, &shared).unwrap();
    assert_eq!(onward.engines().len(), 3);
    let _ = publish(&onward, &[email(1, "Hello {{ customer.id }}")]);
    let customers: Vec<String> = (0..20).map(|n| format!("customer-{n}")).collect();
    let entered: Vec<_> = customers.iter().map(|name| enter(&onward, name)).collect();
    let partitions: BTreeSet<_> = entered.iter().map(|id| id.partition).collect();
    assert_eq!(partitions.len(), 3, "{entered:?}");
    for _ in &customers {
        next(&attempts);
    }
    for (name, id) in customers.iter().zip(&entered) {
        let history = await_record(&onward, *id, "Exited");
        assert_eq!(history.len(), 5, "{name}");
        let again = onward.track(signup(&format!("signup-{name}"), name)).unwrap().wait().unwrap();
        assert_eq!(again, Answer::Duplicate);
        let view =
            onward.customer(CustomerId::new(name.as_str()).unwrap()).unwrap().wait().unwrap();
        assert!(view.is_some(), "{name}");
    }
    let elsewhere = EnrollmentId { partition: PartitionId(7), ..entered[0] };
    assert_eq!(onward.enrollment(elsewhere).unwrap().wait().unwrap(), None);
    let backup = tempfile::tempdir().unwrap();
    let error = onward.backup(&backup.path().join("to")).unwrap_err().to_string();
    assert!(error.contains("3 partitions"), "{error}");
    onward.close().unwrap();

    // As it was created, where nobody says how many; another number is refused.
    let onward = Onward::open_with(dir.path(), &channels, &options(&clock)).unwrap();
    assert!(onward.enrollment(entered[0]).unwrap().wait().unwrap().is_some());
    onward.close().unwrap();
    let two = Options { partitions: Some(2), ..options(&clock) };
    let error = Onward::open_with(dir.path(), &channels, &two).unwrap_err().to_string();
    assert!(error.contains("has 3 partitions, not 2"), "{error}");
}
