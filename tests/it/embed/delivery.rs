//! What becomes of attempts that fail, that never answer, and that go to several places.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use crossbeam_channel::Receiver;
use onward::{
    Onward,
    base::{Span, limits::ATTEMPTS_MAX},
    delivery::Message,
    machine::{
        delivery::{Content, Outcome, Recipient},
        record::Record,
        row::DeadLetter,
    },
};
use serde_json::{Value, json};

use super::{
    Manual, START, await_record, channels, deferred, email, ended, enrollments, enter, errors,
    history, names, next, open_at, publish, sent, settled, signup, upsert,
};

fn subject(message: &Message) -> &str {
    match &message.content {
        Content::Email { subject, .. } => subject,
        Content::Push { title, .. } => title,
    }
}

fn dead_letters(onward: &Onward) -> Vec<DeadLetter> {
    let letters = onward.engine().query(|it| Ok(it.dead_letters(100)?)).unwrap().wait().unwrap();
    letters.into_iter().map(|(_, letter)| letter).collect()
}

/// A channel that defers so many attempts before it sends.
fn defers(count: u32) -> impl Fn(&Message) -> Option<Outcome> {
    let calls = AtomicU32::new(0);
    move |_| Some(if calls.fetch_add(1, Ordering::SeqCst) < count { deferred() } else { sent() })
}

#[test]
fn a_deferred_delivery_is_repeated_with_back_off_until_it_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Manual::at(START);
    let (channels, attempts) = channels(defers(3));
    let onward = open_at(dir.path(), &channels, &clock);
    publish(&onward, &[email(1, "Hello"), email(2, "Bye")]);
    let id = enter(&onward, "ann");
    let first = next(&attempts);
    let mut bounds = (Span::seconds(15), Span::seconds(30));
    for attempt in 1..=3 {
        let history = await_record(&onward, id, "DeliveryDeferred");
        let last = history.last().unwrap();
        let Record::DeliveryDeferred(record) = &last.record else { panic!("{last:?}") };
        let wait = record.until.since(last.time);
        assert!(bounds.0 <= wait && wait <= bounds.1, "attempt {attempt} waits {wait:?}");
        assert_eq!((record.attempt, record.error.as_str()), (attempt, "not now"));
        bounds = (Span::seconds(15 << attempt), Span::seconds(30 << attempt));
        clock.advance(Span::millis(wait.micros() / 1_000 - 1));
        assert_eq!(names(&settled(&onward, id)).last(), Some(&"DeliveryDeferred"));
        assert!(attempts.is_empty(), "nothing before it is due");
        clock.advance(Span::millis(2));
        settled(&onward, id);
        let again = next(&attempts);
        assert_eq!(again.attempt, attempt + 1);
        assert_eq!(*again, Message { attempt: attempt + 1, ..(*first).clone() });
    }
    await_record(&onward, id, "Exited");
    let last = next(&attempts);
    assert_eq!((subject(&last), last.attempt), ("Bye", 1));
    assert_eq!(dead_letters(&onward), []);
}

#[test]
fn a_deferred_delivery_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Manual::at(START);
    let (channels, attempts) = channels(defers(1));
    let onward = open_at(dir.path(), &channels, &clock);
    publish(&onward, &[email(1, "Hello")]);
    let id = enter(&onward, "ann");
    let first = next(&attempts);
    await_record(&onward, id, "DeliveryDeferred");
    onward.close().unwrap();
    clock.advance(Span::minutes(1));
    let onward = open_at(dir.path(), &channels, &clock);
    await_record(&onward, id, "Exited");
    let again = next(&attempts);
    assert_eq!((again.attempt, again.message_id()), (2, first.message_id()));
}

#[test]
fn an_attempt_without_answer_is_made_again_after_a_restart_under_the_same_id() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Manual::at(START);
    let (silent, silent_attempts) = channels(|_| None);
    let onward = open_at(dir.path(), &silent, &clock);
    publish(&onward, &[email(1, "Hello")]);
    let id = enter(&onward, "ann");
    let first = next(&silent_attempts);
    drop(onward);
    let (channels, attempts) = channels(|_| Some(sent()));
    let onward = open_at(dir.path(), &channels, &clock);
    let again = next(&attempts);
    assert_eq!(again, first, "the same message, attempt and id");
    await_record(&onward, id, "Exited");
}

/// Lets the clock run until no attempt is made any more.
fn exhaust(
    onward: &Onward,
    clock: &Arc<Manual>,
    id: onward::base::EnrollmentId,
    attempts: &Receiver<Arc<Message>>,
) {
    for attempt in 1..ATTEMPTS_MAX {
        assert_eq!(next(attempts).attempt, attempt);
        await_record(onward, id, "DeliveryDeferred");
        clock.advance(Span::hours(6));
        settled(onward, id);
    }
    assert_eq!(next(attempts).attempt, ATTEMPTS_MAX);
}

#[test]
fn exhausted_attempts_are_a_dead_letter_and_the_flow_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Manual::at(START);
    let (channels, attempts) =
        channels(|message| Some(if subject(message) == "Hello" { deferred() } else { sent() }));
    let onward = open_at(dir.path(), &channels, &clock);
    publish(&onward, &[email(1, "Hello"), email(2, "Bye")]);
    let id = enter(&onward, "ann");
    exhaust(&onward, &clock, id, &attempts);
    await_record(&onward, id, "Exited");
    assert_eq!(subject(&next(&attempts)), "Bye");
    assert_eq!(ended(&onward, id).as_deref(), Some("completed"));
    let letters = dead_letters(&onward);
    let [letter] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!((letter.attempts, letter.error.as_str()), (ATTEMPTS_MAX, "not now"));
    assert_eq!(letter.enrollment, id.lsn);
}

#[test]
fn exhausted_attempts_end_a_flow_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Manual::at(START);
    let (channels, attempts) = channels(|_| Some(deferred()));
    let onward = open_at(dir.path(), &channels, &clock);
    let mut step = email(1, "Hello");
    step["config"]["on_failure"] = json!("exit");
    publish(&onward, &[step, email(2, "Bye")]);
    let id = enter(&onward, "ann");
    exhaust(&onward, &clock, id, &attempts);
    await_record(&onward, id, "Exited");
    assert_eq!(ended(&onward, id).as_deref(), Some("failed"));
    assert_eq!(dead_letters(&onward).len(), 1);
    assert!(attempts.is_empty());
}

#[test]
fn a_rejected_delivery_is_a_dead_letter_at_once_and_the_flow_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (channels, attempts) = channels(|message| {
        let error = "no such mailbox".to_owned();
        Some(if subject(message) == "Hello" { Outcome::Rejected { error } } else { sent() })
    });
    let onward = open_at(dir.path(), &channels, &Manual::at(START));
    publish(&onward, &[email(1, "Hello"), email(2, "Bye")]);
    let id = enter(&onward, "ann");
    let history = await_record(&onward, id, "Exited");
    assert_eq!(errors(&history), ["no such mailbox"]);
    assert_eq!([subject(&next(&attempts)), subject(&next(&attempts))], ["Hello", "Bye"]);
    let letters = dead_letters(&onward);
    let [letter] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!((letter.attempts, letter.error.as_str()), (1, "no such mailbox"));
}

#[test]
fn a_channel_that_panics_defers() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Manual::at(START);
    let (channels, attempts) = channels(|message| {
        assert!(message.attempt > 1, "a bug in the channel");
        Some(sent())
    });
    let onward = open_at(dir.path(), &channels, &clock);
    publish(&onward, &[email(1, "Hello")]);
    let id = enter(&onward, "ann");
    let history = await_record(&onward, id, "DeliveryDeferred");
    let told = errors(&history);
    assert!(told[0].contains("recorder") && told[0].contains("a bug in the channel"), "{told:?}");
    clock.advance(Span::minutes(1));
    await_record(&onward, id, "Exited");
    assert_eq!([next(&attempts).attempt, next(&attempts).attempt], [1, 2]);
}

fn push() -> Value {
    json!({ "id": "ping", "step_order": 1, "step_type": "SEND_PUSH",
            "config": { "title": "Ping", "body": "{{ customer.id }}" } })
}

/// A customer with so many devices, in the flow.
fn enter_with_devices(onward: &Onward, count: u32) -> onward::base::EnrollmentId {
    let device = |number| {
        json!({ "endpoint": format!("https://push.example.net/{number}"),
                "keys": { "p256dh": "BEUmFeC1fCXlpKxcyHdl5LeYtaY3WwwhUxukZwsGB1YoD3OXdzMBU5J8zp8QvfyCraX6yKavv9c7MEa_9Uqy0a4",
                          "auth": "qh_TPgMOVBai_USJN2BSMQ" } })
    };
    let devices: Vec<Value> = (0..count).map(device).collect();
    let _ = upsert(onward, &json!({ "id": "ann", "push": devices })).wait().unwrap();
    let _ = onward.track(signup("e1", "ann")).unwrap().wait().unwrap();
    enrollments(onward, "ann")[0].0
}

#[test]
fn a_push_goes_to_every_subscription() {
    let dir = tempfile::tempdir().unwrap();
    let (channels, attempts) = channels(|message| {
        let Recipient::Push(subscription) = &message.recipient else { panic!("{message:?}") };
        let error = "gone".to_owned();
        Some(if subscription.endpoint.ends_with("/1") {
            Outcome::Rejected { error }
        } else {
            sent()
        })
    });
    let onward = open_at(dir.path(), &channels, &Manual::at(START));
    let mut step = push();
    step["config"]["on_failure"] = json!("exit");
    publish(&onward, &[step]);
    let id = enter_with_devices(&onward, 3);
    let history = await_record(&onward, id, "Exited");
    let count = |name| names(&history).iter().filter(|it| **it == name).count();
    assert_eq!((count("DeliverySent"), count("DeliveryFailed")), (2, 1));
    // One that was taken is enough.
    assert_eq!(ended(&onward, id).as_deref(), Some("completed"));
    let messages = [next(&attempts), next(&attempts), next(&attempts)];
    let mut ids: Vec<String> = messages.iter().map(|it| it.message_id()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3, "each delivery has an id of its own");
    assert_eq!(dead_letters(&onward).len(), 1);
}

#[test]
fn a_push_that_no_subscription_takes_has_failed() {
    let dir = tempfile::tempdir().unwrap();
    let (channels, _attempts) = channels(|_| Some(Outcome::Rejected { error: "gone".to_owned() }));
    let onward = open_at(dir.path(), &channels, &Manual::at(START));
    let mut step = push();
    step["config"]["on_failure"] = json!("exit");
    publish(&onward, &[step]);
    let id = enter_with_devices(&onward, 2);
    await_record(&onward, id, "Exited");
    assert_eq!(ended(&onward, id).as_deref(), Some("failed"));
    assert_eq!(dead_letters(&onward).len(), 2);
}

#[test]
fn without_a_subscription_a_push_is_skipped_and_the_flow_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (channels, attempts) = channels(|_| Some(sent()));
    let onward = open_at(dir.path(), &channels, &Manual::at(START));
    publish(&onward, &[push()]);
    let id = enter_with_devices(&onward, 0);
    let history = history(&onward, id);
    assert_eq!(names(&history), ["EventReceived", "Enrolled", "DeliverySkipped", "Exited"]);
    assert!(attempts.is_empty());
}

#[test]
fn a_slow_channel_holds_up_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (channels, attempts) = channels(|message| match &message.recipient {
        Recipient::Push(_) => None,
        Recipient::Email(_) => Some(sent()),
    });
    let onward = open_at(dir.path(), &channels, &Manual::at(START));
    let document = json!({
        "segments": [{ "id": "a", "name": "A", "rule": "true" }, { "id": "b", "name": "B", "rule": "true" }],
        "flows": [
            { "id": "pushes", "name": "P", "segment": "a", "trigger": { "event": "signup" }, "steps": [push()] },
            { "id": "mails", "name": "M", "segment": "b", "trigger": { "event": "signup" },
              "steps": [email(1, "Hello")] }]
    });
    let document = document.to_string();
    onward.publish(&[("flows.json", document.as_bytes())]).unwrap().wait().unwrap();
    for number in 0..300 {
        let customer = format!("c{number}");
        let device = json!({ "endpoint": format!("https://push.example.net/{number}"),
            "keys": { "p256dh": "BEUmFeC1fCXlpKxcyHdl5LeYtaY3WwwhUxukZwsGB1YoD3OXdzMBU5J8zp8QvfyCraX6yKavv9c7MEa_9Uqy0a4",
                      "auth": "qh_TPgMOVBai_USJN2BSMQ" } });
        let line = json!({ "id": customer, "email": "a@example.com", "push": [device] });
        drop(upsert(&onward, &line));
        drop(onward.track(signup(&format!("e{number}"), &customer)).unwrap());
    }
    let mut mails = 0;
    while mails < 300 {
        mails += u32::from(matches!(next(&attempts).recipient, Recipient::Email(_)));
    }
}
