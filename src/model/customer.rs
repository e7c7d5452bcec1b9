//! Customers: whom we write to, and the updates that callers send.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    fields::Fields,
    json::JsonText,
    line::{self, LineCode, LineError},
};
use crate::base::{
    CustomerId,
    limits::{
        ATTRIBUTES_BYTES_MAX, EMAIL_BYTES_MAX, NAME_BYTES_MAX, SUBSCRIPTION_BYTES_MAX,
        SUBSCRIPTIONS_MAX,
    },
};

/// What is known of a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// Who.
    pub id: CustomerId,
    /// Where e-mails go.
    pub email: Option<Arc<str>>,
    /// An IANA time zone; one that is not falls back where it is used.
    pub timezone: Option<String>,
    /// A language tag.
    pub locale: Option<String>,
    /// Whatever else callers know.
    pub attributes: Fields,
    /// The devices that take push messages.
    pub push: Vec<Arc<Subscription>>,
}

/// One device that takes push messages, as a browser describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// The address at the push service.
    pub endpoint: String,
    /// What a message to it is encrypted with.
    pub keys: PushKeys,
}

/// The keys of a push subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushKeys {
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
    pub email: Option<Option<Arc<str>>>,
    /// The new time zone; `Some(None)` removes it.
    pub timezone: Option<Option<String>>,
    /// The new language tag; `Some(None)` removes it.
    pub locale: Option<Option<String>>,
    /// The attributes to set; `None` removes one.
    pub attributes: BTreeMap<String, Option<JsonText>>,
    /// The new list of devices.
    pub push: Option<Vec<Arc<Subscription>>>,
}

impl Customer {
    /// A customer of whom nothing but the id is known.
    pub const fn new(id: CustomerId) -> Self {
        Self {
            id,
            email: None,
            timezone: None,
            locale: None,
            attributes: Fields::new(),
            push: Vec::new(),
        }
    }
}

impl CustomerUpdate {
    /// Reads a line such as `{"id":"17850","email":"ann@example.com","attributes":{"vip":true}}`.
    pub fn parse(line: &[u8]) -> Result<Self, LineError> {
        let Line { id, email, timezone, locale, attributes, push } = line::read(line)?;
        Ok(Self { id, email, timezone, locale, attributes, push })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: CustomerId,
    #[serde(default, deserialize_with = "email")]
    email: Option<Option<Arc<str>>>,
    #[serde(default, deserialize_with = "short_text")]
    timezone: Option<Option<String>>,
    #[serde(default, deserialize_with = "short_text")]
    locale: Option<Option<String>>,
    #[serde(default, deserialize_with = "attributes")]
    attributes: BTreeMap<String, Option<JsonText>>,
    #[serde(default, deserialize_with = "push")]
    push: Option<Vec<Arc<Subscription>>>,
}

/// A subscription as `PushSubscription.toJSON()` writes it. When it expires is not kept: the push
/// service says so when it has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BrowserSubscription {
    endpoint: String,
    #[serde(default, rename = "expirationTime")]
    _expiration_time: Option<f64>,
    keys: PushKeys,
}

fn email<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Arc<str>>>, D::Error> {
    let email = Option::<Arc<str>>::deserialize(deserializer)?;
    if email.as_deref().is_some_and(|email| !is_email(email)) {
        let message = format!(
            "an e-mail address is written like ann@example.com, at most {EMAIL_BYTES_MAX} bytes"
        );
        return Err(line::refuse(LineCode::BadEmail, message));
    }
    Ok(Some(email))
}

/// What looks like an address; only sending to it can tell more.
fn is_email(text: &str) -> bool {
    let strange = |c: char| c.is_whitespace() || c.is_control();
    let parts = text.split_once('@');
    text.len() <= EMAIL_BYTES_MAX
        && !text.contains(strange)
        && parts
            .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'))
}

fn short_text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<String>>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    if text.as_ref().is_some_and(|text| text.len() > NAME_BYTES_MAX) {
        let message = format!("this field has at most {NAME_BYTES_MAX} bytes");
        return Err(line::refuse(LineCode::TooLarge, message));
    }
    Ok(Some(text))
}

fn attributes<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Option<JsonText>>, D::Error> {
    let object = line::object(deserializer)?;
    if object.as_str().len() > ATTRIBUTES_BYTES_MAX {
        let message = format!("the attributes have at most {ATTRIBUTES_BYTES_MAX} bytes as JSON");
        return Err(line::refuse(LineCode::TooLarge, message));
    }
    serde_json::from_str(object.as_str()).map_err(serde::de::Error::custom)
}

fn push<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Arc<Subscription>>>, D::Error> {
    let list = Vec::<BrowserSubscription>::deserialize(deserializer)?;
    if list.len() > SUBSCRIPTIONS_MAX {
        let message = format!("a customer has at most {SUBSCRIPTIONS_MAX} push subscriptions");
        return Err(line::refuse(LineCode::TooLarge, message));
    }
    let whole = |it: BrowserSubscription| Subscription { endpoint: it.endpoint, keys: it.keys };
    let list: Vec<Arc<Subscription>> = list.into_iter().map(whole).map(Arc::new).collect();
    for it in &list {
        let Subscription { endpoint, keys } = &**it;
        let parts = [endpoint, &keys.p256dh, &keys.auth];
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if bytes > SUBSCRIPTION_BYTES_MAX || parts.iter().any(|part| part.is_empty()) {
            let message = format!(
                "a subscription has endpoint, keys.p256dh and keys.auth, at most \
                 {SUBSCRIPTION_BYTES_MAX} bytes"
            );
            return Err(line::refuse(LineCode::BadSubscription, message));
        }
    }
    Ok(Some(list))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::codec::{decode, encode};

    #[test]
    fn null_removes_and_silence_keeps() {
        let line =
            br#"{"id":"1","email":null,"locale":"en-GB","attributes":{"a":null,"b":{"c":[1]}},
            "push":[{"endpoint":"https://push.example/1","keys":{"p256dh":"k","auth":"s"}}]}"#;
        let update = CustomerUpdate::parse(line).unwrap();
        assert_eq!((&update.email, &update.timezone), (&Some(None), &None));
        assert_eq!(update.locale, Some(Some("en-GB".to_owned())));
        let b = JsonText::parse(r#"{"c":[1]}"#).unwrap();
        let expected = [("a".to_owned(), None), ("b".to_owned(), Some(b))];
        assert_eq!(update.attributes, expected.into());
        assert_eq!(update.push.as_ref().map(Vec::len), Some(1));
        assert_eq!(decode::<CustomerUpdate>(&encode(&update)), Ok(update));
        let nothing = CustomerUpdate::parse(br#"{"id":"1"}"#).unwrap();
        assert_eq!((nothing.push, nothing.attributes.len()), (None, 0));
    }

    #[test]
    fn what_is_refused() {
        let many = r#"{"endpoint":"e","keys":{"p256dh":"k","auth":"a"}},"#.repeat(17);
        for (fields, code) in [
            (r#""email":"ann""#, "bad_email"),
            (r#""email":"a@b@c""#, "bad_email"),
            (r#""email":"a b@c""#, "bad_email"),
            (r#""email":"@c""#, "bad_email"),
            (r#""email":"a@\u0000c""#, "bad_email"),
            (&format!(r#""email":"{}@c""#, "a".repeat(EMAIL_BYTES_MAX)), "bad_email"),
            (&format!(r#""timezone":"{}""#, "a".repeat(NAME_BYTES_MAX + 1)), "too_large"),
            (
                &format!(r#""attributes":{{"a":"{}"}}"#, "a".repeat(ATTRIBUTES_BYTES_MAX)),
                "too_large",
            ),
            (r#""attributes":null"#, "wrong_type"),
            (r#""attributes":{"a":1,"a":2}"#, "duplicate_field"),
            (r#""push":[{"endpoint":"","keys":{"p256dh":"k","auth":"a"}}]"#, "bad_subscription"),
            (r#""push":[{"endpoint":"e"}]"#, "missing_field"),
            (&format!(r#""push":[{}]"#, many.trim_end_matches(',')), "too_large"),
            (r#""name":"Ann""#, "unknown_field"),
            (r#""id":"2""#, "duplicate_field"),
        ] {
            let line = format!(r#"{{"id":"1",{fields}}}"#);
            let error = CustomerUpdate::parse(line.as_bytes()).expect_err(&line);
            assert_eq!(error.code.as_str(), code, "{line}: {error}");
        }
    }
}
