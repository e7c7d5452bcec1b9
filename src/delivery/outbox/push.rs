//! A push as one JSON object, for a gateway that encrypts and posts it.

use serde::Serialize;

use super::mismatch;
use crate::base::{CustomerId, DeliveryId, Timestamp};
use crate::delivery::Message;
use crate::machine::delivery::{Content, Outcome, Recipient};
use crate::model::PushKeys;

/// The file, in the order of its fields; what the step does not say is left out.
#[derive(Serialize)]
struct Push<'a> {
    id: DeliveryId,
    message_id: String,
    time: Timestamp,
    customer: &'a CustomerId,
    endpoint: &'a str,
    keys: &'a PushKeys,
    title: &'a str,
    body: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icon: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    urgency: Option<&'a str>,
}

pub(super) fn build(message: &Message) -> Result<Vec<u8>, Outcome> {
    let Recipient::Push(subscription) = &message.recipient else {
        return Err(mismatch());
    };
    let Content::Push { title, body, url, icon, ttl, urgency } = &message.content else {
        return Err(mismatch());
    };
    let push = Push {
        id: message.id,
        message_id: message.message_id(),
        time: message.time,
        customer: &message.customer,
        endpoint: &subscription.endpoint,
        keys: &subscription.keys,
        title,
        body,
        url: url.as_deref(),
        icon: icon.as_deref(),
        ttl: *ttl,
        urgency: urgency.as_deref(),
    };
    let mut bytes = serde_json::to_vec_pretty(&push).expect("texts and numbers are always JSON");
    bytes.push(b'\n');
    Ok(bytes)
}
