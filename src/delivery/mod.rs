//! Layer 3, side effects: what a channel is, the message it sends, and which channel serves whom.
//!
//! A message is a pure function of its [`Delivery`], so every attempt sends the same bytes and a
//! receiver can tell a repetition by its `message_id`.
//!
//! **Architecture invariant:** nothing here knows the log or the engine; deliveries come in through
//! [`Pool::offer`] and outcomes leave through the closure given to [`Pool::start`].

mod log;
#[cfg(feature = "outbox")]
mod outbox;
mod pool;

use std::{fmt, pin::Pin, sync::Arc};

use crate::base::{CustomerId, DeliveryId, InstanceId, Timestamp};
use crate::machine::delivery::{ChannelKind, Content, Delivery, Outcome, Recipient};

pub use log::Log;
#[cfg(feature = "outbox")]
pub use outbox::Outbox;
pub use pool::Pool;

/// What [`Channel::send`] gives back.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// A way to reach people: an SMTP server, a push service, a directory.
pub trait Channel: Send + Sync + 'static {
    /// What operators call it.
    fn name(&self) -> &'static str;

    /// Sends once. It must not block its thread, may be dropped half-way when it takes too long,
    /// and says `Sent` only when the message cannot be lost any more.
    fn send(&self, message: Arc<Message>) -> Sending<'_>;
}

/// A message as a channel gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Which delivery.
    pub id: DeliveryId,
    /// Which attempt, from 1; no part of what is sent.
    pub attempt: u32,
    /// The identity of the directory that sends.
    pub instance: InstanceId,
    /// Whether that is another one than the directory was created with.
    pub is_renamed: bool,
    /// The engine's time when the delivery was requested.
    pub time: Timestamp,
    /// Whom it is for.
    pub customer: CustomerId,
    /// Where it goes.
    pub recipient: Recipient,
    /// What it says.
    pub content: Content,
}

impl Message {
    /// Fills the delivery's values into its content, or says why that gives no message.
    pub fn render(delivery: &Delivery) -> Result<Self, Outcome> {
        let content = delivery
            .content
            .render(&delivery.values)
            .map_err(|error| Outcome::TemplateError { error })?;
        Ok(Self {
            id: delivery.id,
            attempt: delivery.attempt,
            instance: delivery.instance,
            is_renamed: delivery.is_renamed,
            time: delivery.time,
            customer: delivery.customer.clone(),
            recipient: delivery.recipient.clone(),
            content,
        })
    }

    /// Globally unique and the same on every attempt: `e0-1234.3@<instance hex>.onward`.
    pub fn message_id(&self) -> String {
        format!("{}@{}.onward", self.id, self.instance)
    }

    /// What it may be called beside all others that the directory sends: `e0-1234.3`, and
    /// `e0-1234.3@<instance hex>` since the directory has another identity than at first.
    pub fn name(&self) -> String {
        if self.is_renamed { format!("{}@{}", self.id, self.instance) } else { self.id.to_string() }
    }
}

/// Which channel serves which kind of recipient.
#[derive(Clone)]
pub struct Channels {
    /// Serves mailboxes.
    pub email: Arc<dyn Channel>,
    /// Serves push subscriptions.
    pub push: Arc<dyn Channel>,
}

impl Channels {
    /// One channel for everybody.
    pub fn all(channel: impl Channel) -> Self {
        let email: Arc<dyn Channel> = Arc::new(channel);
        Self { push: Arc::clone(&email), email }
    }

    fn get(&self, kind: ChannelKind) -> Arc<dyn Channel> {
        Arc::clone(match kind {
            ChannelKind::Email => &self.email,
            ChannelKind::Push => &self.push,
        })
    }
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channels")
            .field("email", &self.email.name())
            .field("push", &self.push.name())
            .finish()
    }
}

#[cfg(test)]
mod tests;
