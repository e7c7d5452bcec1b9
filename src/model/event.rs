//! Events: what a customer did.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    json::JsonText,
    line::{self, LineCode, LineError},
};
use crate::base::{CustomerId, EventId, Timestamp, limits::LINE_BYTES_MAX};

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
    pub name: Arc<str>,
    /// Who did it.
    pub customer: CustomerId,
    /// When; none: when it arrived.
    pub time: Option<Timestamp>,
    /// A JSON object of whatever else is known.
    pub properties: JsonText,
}

impl Event {
    /// Reads a line such as `{"name":"signup","customer":"17850","properties":{"plan":"free"}}`.
    pub fn parse(line: &[u8]) -> Result<Self, LineError> {
        let Line { id, name, customer, time, properties } = line::read(line)?;
        Ok(Self { id, name, customer, time, properties })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default)]
    id: Option<EventId>,
    #[serde(deserialize_with = "name")]
    name: Arc<str>,
    customer: CustomerId,
    #[serde(default)]
    time: Option<Timestamp>,
    #[serde(default = "JsonText::empty_object", deserialize_with = "properties")]
    properties: JsonText,
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    let name = line::name(deserializer)?;
    if RESERVED.contains(&name.as_str()) {
        let message = format!("`{name}` is recorded by the engine and not accepted from outside");
        return Err(line::refuse(LineCode::ReservedEvent, message));
    }
    Ok(name.into())
}

/// Bounded once more: numbers are kept in their usual form, which may be longer than the line.
fn properties<'de, D: Deserializer<'de>>(deserializer: D) -> Result<JsonText, D::Error> {
    let object = line::object(deserializer)?;
    if object.as_str().len() > LINE_BYTES_MAX {
        let message = format!("the properties have at most {LINE_BYTES_MAX} bytes as JSON");
        return Err(line::refuse(LineCode::TooLarge, message));
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::codec::{decode, encode};

    #[test]
    fn a_line_has_what_it_says() {
        let line = br#"{"id":"e1","name":"buy","customer":"17850","time":"2026-01-31T08:00:00Z",
            "properties":{"total":12.50,"list":[ ]}}"#;
        let event = Event::parse(line).unwrap();
        assert_eq!(event.id.as_ref().map(EventId::as_str), Some("e1"));
        assert_eq!((&*event.name, event.customer.as_str()), ("buy", "17850"));
        assert_eq!(event.time, Timestamp::parse("2026-01-31T08:00:00Z").ok());
        assert_eq!(event.properties.as_str(), r#"{"total":12.5,"list":[]}"#);
        assert_eq!(decode::<Event>(&encode(&event)), Ok(event));
        let short = Event::parse(br#"{"id":null,"name":"buy","customer":"1"}"#).unwrap();
        assert_eq!((short.id, short.time, short.properties.as_str()), (None, None, "{}"));
    }
}
