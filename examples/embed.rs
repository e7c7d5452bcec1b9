//! Onward inside a program of your own, with a channel of your own.
//!
//! `cargo run --example embed` enrols a customer, prints the message, and asks what happened.

use std::{
    error::Error,
    io::Write,
    sync::{Arc, mpsc},
};

use onward::{
    Answer, Onward,
    base::{ContentHash, CustomerId},
    delivery::{Channel, Channels, Message, Sending},
    machine::delivery::{Content, Outcome},
    model::{CustomerUpdate, Event},
};

const FLOWS: &[u8] = br#"{
    "segments": [{ "id": "all", "name": "Everyone", "rule": "true" }],
    "flows": [{
        "id": "welcome", "name": "Welcome", "segment": "all", "trigger": { "event": "signup" },
        "steps": [
            { "id": "hi", "step_order": 1, "step_type": "SEND_EMAIL",
              "config": { "subject": "Hello {{ customer.attributes.name }}", "text": "Welcome." } },
            { "id": "pause", "step_order": 2, "step_type": "WAIT", "config": { "duration_days": 2 } },
            { "id": "tip", "step_order": 3, "step_type": "SEND_EMAIL",
              "config": { "subject": "A tip", "text": "Two days later." } }
        ]
    }]
}"#;

/// Hands each message to whoever listens.
struct Tell(mpsc::Sender<Arc<Message>>);

impl Channel for Tell {
    fn name(&self) -> &'static str {
        "tell"
    }

    fn send(&self, message: Arc<Message>) -> Sending<'_> {
        let hash = ContentHash::of(format!("{:?}", message.content).as_bytes());
        let told = self.0.send(message).is_ok();
        Box::pin(async move {
            if told {
                Outcome::Sent { hash }
            } else {
                Outcome::Broken { error: "nobody listens".to_owned() }
            }
        })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    let dir = tempfile::tempdir()?;
    let (tell, told) = mpsc::channel();
    let onward = Onward::open(dir.path(), &Channels::all(Tell(tell)))?;
    onward.publish(&[("flows.json", FLOWS)])?.wait()?;

    let ann = br#"{ "id": "ann", "email": "ann@example.com", "attributes": { "name": "Ann" } }"#;
    onward.upsert_customer(CustomerUpdate::parse(ann)?)?.wait()?;

    // The ticket resolves when the event is on disk; sent again, it is a duplicate.
    let event = Event::parse(br#"{ "id": "e1", "name": "signup", "customer": "ann" }"#)?;
    assert_eq!(onward.track(event.clone())?.wait()?, Answer::Accepted);
    assert_eq!(onward.track(event)?.wait()?, Answer::Duplicate);

    let message = told.recv()?;
    if let Content::Email { subject, .. } = &message.content {
        writeln!(out, "{} to {}: {subject}", message.id, message.customer)?;
    }
    let view = onward.customer(CustomerId::new("ann")?)?.wait()?;
    for (id, enrollment) in view.map(|view| view.enrollments).unwrap_or_default() {
        writeln!(out, "{id} is {:?}", enrollment.phase)?;
        for logged in onward.history(id)?.wait()? {
            writeln!(out, "  {} {}", logged.lsn, logged.record.name())?;
        }
    }
    onward.close()?;
    Ok(())
}
