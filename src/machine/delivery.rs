//! What leaves the engine and what comes back: a delivery for a worker, and its outcome.

use std::{fmt::Debug, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    base::{ContentHash, CustomerId, DeliveryId, InstanceId, Timestamp, limits::ERROR_BYTES_MAX},
    model::{Fields, Subscription},
};

/// One message to one address, handed to a worker only after its record is durable.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The same on every attempt and after every crash.
    pub id: DeliveryId,
    /// The data directory that sends: of one that got another identity, the one of before for what
    /// may have left under it.
    pub instance: InstanceId,
    /// Whether that is another identity than the directory was created with.
    pub is_renamed: bool,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The engine's time when the delivery was requested.
    pub time: Timestamp,
    /// Whom it is for.
    pub customer: CustomerId,
    /// Where it goes.
    pub recipient: Recipient,
    /// What to say, before the values are filled in.
    pub content: Arc<dyn Render>,
    /// The values that the templates name.
    pub values: Values,
}

/// The values of variables, by their names; shared, because record, row and delivery have the same.
pub type Values = Arc<Fields>;

/// An address on a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipient {
    /// A mailbox.
    Email(Arc<str>),
    /// A browser's push subscription.
    Push(Arc<Subscription>),
}

impl Recipient {
    /// The kind of channel that reaches this address.
    pub const fn channel(&self) -> ChannelKind {
        match self {
            Self::Email(_) => ChannelKind::Email,
            Self::Push(_) => ChannelKind::Push,
        }
    }
}

/// A kind of channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ChannelKind {
    /// E-mail.
    Email,
    /// Web push.
    Push,
}

/// Something that becomes a message once its values are known.
pub trait Render: Send + Sync + Debug {
    /// The message, or why there is none; a pure function of the templates and `values`.
    fn render(&self, values: &Fields) -> Result<Content, String>;
}

/// A rendered message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Content {
    /// An e-mail with a text, an HTML part or both.
    Email {
        /// The sender's mailbox; the channel has its own if absent.
        from: Option<String>,
        /// Where answers go.
        reply_to: Option<String>,
        /// The subject line.
        subject: String,
        /// The plain text.
        text: Option<String>,
        /// The HTML.
        html: Option<String>,
    },
    /// A push notification.
    Push {
        /// The headline.
        title: String,
        /// The text below it.
        body: String,
        /// What a click opens.
        url: Option<String>,
        /// A picture beside the text.
        icon: Option<String>,
        /// How many seconds the push service keeps it for a device that is offline.
        ttl: Option<u32>,
        /// How eagerly the push service wakes a device.
        urgency: Option<String>,
    },
}

/// How one attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The channel has taken it for good.
    Sent {
        /// The hash of what the channel took.
        hash: ContentHash,
    },
    /// Not now; another attempt may succeed.
    Deferred {
        /// What went wrong.
        error: String,
    },
    /// Not now, and not because of the message: the channel itself does not work. The main job
    /// stops, a running engine tries again.
    Broken {
        /// What went wrong.
        error: String,
    },
    /// Never: another attempt would end the same way.
    Rejected {
        /// What went wrong.
        error: String,
    },
    /// The templates gave no message.
    TemplateError {
        /// What went wrong.
        error: String,
    },
}

impl Outcome {
    /// The same with an error text as long as a record keeps it.
    #[must_use]
    pub fn cut(mut self) -> Self {
        match &mut self {
            Self::Sent { .. } => {}
            Self::Deferred { error }
            | Self::Broken { error }
            | Self::Rejected { error }
            | Self::TemplateError { error } => {
                error.truncate(error.floor_char_boundary(ERROR_BYTES_MAX));
            }
        }
        self
    }
}
