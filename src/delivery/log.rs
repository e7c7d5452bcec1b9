//! The channel `log`: every message becomes a line of the log and counts as sent.

use std::sync::Arc;

use super::{Channel, Message, Sending};
use crate::base::{ContentHash, codec};
use crate::machine::delivery::{Content, Outcome};

/// Sends nothing to nobody, for trying flows out.
#[derive(Debug, Clone, Copy)]
pub struct Log;

impl Channel for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    fn send(&self, message: Arc<Message>) -> Sending<'_> {
        Box::pin(async move {
            let (Content::Email { subject: headline, .. } | Content::Push { title: headline, .. }) =
                &message.content;
            // Debug forms, so that no customer's text can start a line of its own.
            tracing::info!(
                delivery = %message.id,
                attempt = message.attempt,
                customer = ?message.customer.as_str(),
                recipient = ?message.recipient,
                headline = ?headline,
                "message"
            );
            Outcome::Sent { hash: ContentHash::of(&codec::encode(&message.content)) }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::super::tests::{email, mailbox, message, push, subscription};
    use super::*;

    fn sent(message: Arc<Message>) -> ContentHash {
        let polled = Log.send(message).as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Outcome::Sent { hash }) = polled else { panic!("{polled:?}") };
        hash
    }

    #[test]
    fn everything_is_sent_and_the_hash_is_that_of_the_content() {
        let mail = sent(message("e0-1.1", mailbox(), email()));
        assert_eq!(sent(message("e0-2.1", mailbox(), email())), mail);
        assert_ne!(sent(message("e0-1.1.1", subscription(), push())), mail);
    }
}
