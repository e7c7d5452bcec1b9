//! Customers: whom we write to, and the updates that callers send.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::json::JsonText;
use crate::base::CustomerId;

/// What is known of a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// Who.
    pub id: CustomerId,
    /// Where e-mails go.
    pub email: Option<String>,
    /// An IANA time zone; one that is not falls back where it is used.
    pub timezone: Option<String>,
    /// A language tag.
    pub locale: Option<String>,
    /// Whatever else callers know.
    pub attributes: BTreeMap<String, JsonText>,
    /// The devices that take push messages.
    pub push: Vec<Subscription>,
}

/// One device that takes push messages, as a browser describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// The address at the push service.
    pub endpoint: String,
    /// The device's public key, base64url.
    pub p256dh: String,
    /// The device's secret, base64url.
    pub auth: String,
}

/// What to change of a customer: of each field nothing (`None`), or its new content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerUpdate {
    /// Who.
    pub id: CustomerId,
    /// The new address; `Some(None)` removes it.
    pub email: Option<Option<String>>,
    /// The new time zone; `Some(None)` removes it.
    pub timezone: Option<Option<String>>,
    /// The new language tag; `Some(None)` removes it.
    pub locale: Option<Option<String>>,
    /// The attributes to set; `None` removes one.
    pub attributes: BTreeMap<String, Option<JsonText>>,
    /// The new list of devices.
    pub push: Option<Vec<Subscription>>,
}

impl Customer {
    /// A customer of whom nothing but the id is known.
    pub const fn new(id: CustomerId) -> Self {
        Self {
            id,
            email: None,
            timezone: None,
            locale: None,
            attributes: BTreeMap::new(),
            push: Vec::new(),
        }
    }
}
