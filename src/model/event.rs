//! Events: what a customer did.

use serde::{Deserialize, Serialize};

use super::json::JsonText;
use crate::base::{CustomerId, EventId, Timestamp};

/// The names of the events that the engine itself records.
pub const RESERVED: [&str; 10] = [
    "customer_created",
    "email_sent",
    "email_opened",
    "email_clicked",
    "email_bounced",
    "email_complained",
    "push_sent",
    "push_clicked",
    "unsubscribed",
    "subscribed",
];

/// Something a customer did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The idempotency key; without one nothing is a duplicate.
    pub id: Option<EventId>,
    /// What happened.
    pub name: String,
    /// Who did it.
    pub customer: CustomerId,
    /// When; none: when it arrived.
    pub time: Option<Timestamp>,
    /// A JSON object of whatever else is known.
    pub properties: JsonText,
}
