//! Deliveries for the tests of this module, and the tests of rendering.

use std::sync::Arc;

use super::*;
use crate::base::InstanceId;
use crate::machine::delivery::Render;
use crate::model::{Fields, JsonText, PushKeys, Subscription};

/// Says the same whatever the values are; an empty subject or title is an error.
#[derive(Debug)]
pub(super) struct Fixed(pub(super) Content);

impl Render for Fixed {
    fn render(&self, values: &Fields) -> Result<Content, String> {
        match values.get("broken") {
            Some(error) => Err(error.value().as_str().unwrap_or_default().to_owned()),
            None => Ok(self.0.clone()),
        }
    }
}

pub(super) fn email() -> Content {
    Content::Email {
        from: None,
        reply_to: None,
        subject: "Hello".to_owned(),
        text: Some("Thank you.".to_owned()),
        html: None,
    }
}

pub(super) fn push() -> Content {
    Content::Push {
        title: "A tip".to_owned(),
        body: "Try this.".to_owned(),
        url: Some("https://shop.example.com/".to_owned()),
        icon: None,
        ttl: Some(3600),
        urgency: None,
    }
}

pub(super) fn mailbox() -> Recipient {
    Recipient::Email("customer-1@example.com".into())
}

pub(super) fn subscription() -> Recipient {
    Recipient::Push(Arc::new(Subscription {
        endpoint: "https://push.example.net/s/1".to_owned(),
        keys: PushKeys { p256dh: "key".to_owned(), auth: "secret".to_owned() },
    }))
}

pub(super) fn delivery(id: &str, recipient: Recipient, content: Content) -> Delivery {
    Delivery {
        id: id.parse().unwrap(),
        instance: InstanceId([0xab; 16]),
        is_renamed: false,
        attempt: 1,
        time: Timestamp::parse("2011-03-04T05:06:07.891Z").unwrap(),
        customer: CustomerId::new("1").unwrap(),
        recipient,
        content: Arc::new(Fixed(content)),
        values: Arc::new(Fields::new()),
    }
}

pub(super) fn message(id: &str, recipient: Recipient, content: Content) -> Arc<Message> {
    Arc::new(Message::render(&delivery(id, recipient, content)).unwrap())
}

#[test]
fn a_message_is_the_same_on_every_attempt_but_for_the_attempt() {
    let first = delivery("e0-1234.3", mailbox(), email());
    let again = Delivery { attempt: 2, ..first.clone() };
    let first = Message::render(&first).unwrap();
    assert_eq!(first.message_id(), "e0-1234.3@abababababababababababababababab.onward");
    assert_eq!(Message::render(&again), Ok(Message { attempt: 2, ..first }));
}

#[test]
fn templates_that_fail_give_the_reason_and_no_message() {
    let values = [("broken", JsonText::new(&"no such value".into()))].into_iter().collect();
    let broken = Delivery { values: Arc::new(values), ..delivery("e0-1.1", mailbox(), email()) };
    let error = "no such value".to_owned();
    assert_eq!(Message::render(&broken), Err(Outcome::TemplateError { error }));
}
