//! JSON that callers send and we only carry: checked once, kept as compact text.

mod field;
mod plain;

use std::{collections::BTreeSet, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::base::limits::JSON_DEPTH_MAX;

/// Why a text is not JSON as we take it.
#[derive(Debug, thiserror::Error)]
pub enum BadJson {
    /// Not JSON, or a key twice in one object.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Nested deeper than [`JSON_DEPTH_MAX`].
    #[error("JSON nests at most {JSON_DEPTH_MAX} levels")]
    TooDeep,
}

/// A JSON value as compact text, without duplicate keys and nested [`JSON_DEPTH_MAX`] at most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JsonText(Arc<str>);

impl JsonText {
    /// Checks `text` and takes the white space out.
    pub fn parse(text: &str) -> Result<Self, BadJson> {
        if too_deep_at(text.as_bytes()).is_some() {
            return Err(BadJson::TooDeep);
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        let value = Self::deserialize(&mut reader)?;
        reader.end()?;
        Ok(value)
    }

    /// Whether it nests deeper than so many levels.
    pub fn is_deeper_than(&self, levels: usize) -> bool {
        !opens_few(self.0.as_bytes(), levels) && self.depth() > levels
    }

    /// How deep it nests: 0 for a plain value.
    pub fn depth(&self) -> usize {
        nesting(self.0.as_bytes()).max().unwrap_or(0)
    }

    /// The text of `value`, which the caller keeps shallow: see [`JsonText::depth`].
    pub fn new(value: &serde_json::Value) -> Self {
        Self(value.to_string().into())
    }

    /// A text.
    pub fn text(text: &str) -> Self {
        let quoted =
            serde_json::to_string(text).expect("a text is JSON and memory does not refuse");
        Self(quoted.into())
    }

    /// The empty object.
    pub fn empty_object() -> Self {
        Self("{}".into())
    }

    /// The compact text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What an object has under this key.
    pub fn field(&self, key: &str) -> Option<Self> {
        self.find(key).map(|found| Self(found.into()))
    }

    /// The text of what an object has under this key.
    pub(super) fn find(&self, key: &str) -> Option<&str> {
        field::find(&self.0, key)
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        &*self.0 == "null"
    }

    /// The value.
    pub fn value(&self) -> serde_json::Value {
        read(&self.0).expect("a JsonText is checked when it is made")
    }
}

impl fmt::Display for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return self.0.serialize(serializer);
        }
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut text = String::new();
        if deserializer.is_human_readable() {
            Compact(&mut text).deserialize(deserializer)?;
            return Ok(Self(text.into()));
        }
        text = String::deserialize(deserializer)?;
        if too_deep_at(text.as_bytes()).is_some() {
            return Err(D::Error::custom(BadJson::TooDeep));
        }
        // What serde_json ignores may have numbers that nothing holds.
        serde_json::from_str::<Discard>(&text).map_err(D::Error::custom)?;
        Ok(Self(text.into()))
    }
}

/// The value of a text, every key as it stands.
pub fn read(text: &str) -> Result<serde_json::Value, serde_json::Error> {
    serde_json::from_str::<plain::Plain>(text).map(|plain| plain.0)
}

/// The offset of the first bracket that nests deeper than [`JSON_DEPTH_MAX`]. Needs no valid JSON,
/// so that it can go before every reader that recurses.
pub(super) fn too_deep_at(bytes: &[u8]) -> Option<usize> {
    if opens_few(bytes, JSON_DEPTH_MAX) {
        return None;
    }
    nesting(bytes).position(|depth| depth > JSON_DEPTH_MAX)
}

/// Whether it has no more opening brackets than so many, wherever they stand. Most texts need no
/// closer look.
fn opens_few(bytes: &[u8], count: usize) -> bool {
    let opens = |byte: &u8| usize::from(matches!(byte, b'[' | b'{'));
    bytes.iter().map(opens).sum::<usize>() <= count
}

/// How many values a text holds, at most. Needs no valid JSON either.
pub(super) fn count_values(bytes: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    let begins = |byte: &&u8| is_structure(**byte, &mut quoted, &mut escaped);
    1 + bytes.iter().filter(begins).filter(|byte| b",[{".contains(*byte)).count()
}

/// After each byte, how many brackets are open outside of texts.
fn nesting(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    bytes.iter().map(move |byte| {
        if is_structure(*byte, &mut quoted, &mut escaped) {
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        depth
    })
}

/// Whether the byte stands outside of texts, given what came before it.
const fn is_structure(byte: u8, quoted: &mut bool, escaped: &mut bool) -> bool {
    match byte {
        _ if *escaped => *escaped = false,
        b'\\' if *quoted => *escaped = true,
        b'"' => *quoted = !*quoted,
        _ => return !*quoted,
    }
    false
}

/// Reads one value to the end as strictly as [`JsonText`] does, but keeps duplicate keys for the
/// caller to report.
pub(super) fn check(
    reader: &mut serde_json::Deserializer<serde_json::de::StrRead<'_>>,
) -> Result<(), serde_json::Error> {
    Discard::deserialize(&mut *reader)?;
    reader.end()
}

/// Any value, read as strictly as one that is kept, and dropped.
struct Discard;

impl<'de> Deserialize<'de> for Discard {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Discard {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        while entries.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

/// Writes the value it reads as compact text.
struct Compact<'a>(&'a mut String);

impl Compact<'_> {
    fn put<T: Serialize + ?Sized, E: serde::de::Error>(self, value: &T) -> Result<(), E> {
        self.0.push_str(&serde_json::to_string(value).map_err(E::custom)?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Compact<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Compact<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.put(&())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.put(&value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.put(&value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.put(&value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.put(&value)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.put(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.0.push('[');
        let first = self.0.len();
        loop {
            let before = self.0.len();
            if before > first {
                self.0.push(',');
            }
            if items.next_element_seed(Compact(self.0))?.is_none() {
                self.0.truncate(before);
                self.0.push(']');
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut keys = BTreeSet::new();
        self.0.push('{');
        while let Some(key) = entries.next_key::<String>()? {
            if !keys.is_empty() {
                self.0.push(',');
            }
            Compact(self.0).put(&key)?;
            self.0.push(':');
            entries.next_value_seed(Compact(self.0))?;
            if let Some(twice) = keys.replace(key) {
                return Err(A::Error::custom(format_args!("duplicate field `{twice}`")));
            }
        }
        self.0.push('}');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::codec::{decode, encode};
    use proptest::prelude::*;

    pub(crate) fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            (-1e12..1e12_f64).prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn depth_counts_brackets_outside_texts() {
        for (text, depth) in [("1", 0), (r#""[[\"[""#, 0), ("[]", 1), (r#"{"a":[{}],"b":{}}"#, 3)] {
            assert_eq!(JsonText::parse(text).unwrap().depth(), depth, "{text}");
        }
    }

    #[test]
    fn a_key_that_serde_json_uses_inside_is_a_key_like_others() {
        for text in [
            r#"{"$serde_json::private::RawValue":20,"b":1}"#,
            r#"{"$serde_json::private::RawValue":"[1]"}"#,
            r#"[{"$serde_json::private::Number":"x"}]"#,
        ] {
            let json = JsonText::parse(text).unwrap();
            assert_eq!(json.as_str(), text);
            assert_eq!(json.value().to_string(), text);
            assert_eq!(decode::<JsonText>(&encode(&json)), Ok(json));
        }
    }

    #[test]
    fn stored_numbers_that_nothing_holds_are_an_error() {
        let text = r#"{"lines":777E7777777}"#.to_owned();
        assert!(JsonText::parse(&text).is_err());
        assert!(decode::<JsonText>(&encode(&text)).is_err());
    }

    #[test]
    fn keys_are_unique_and_nesting_is_bounded() {
        assert_eq!(
            JsonText::parse(" { \"a\" : [ 1 , { } ] } ").unwrap().as_str(),
            r#"{"a":[1,{}]}"#
        );
        let twice = JsonText::parse(r#"[{"a":1,"a":2}]"#).unwrap_err().to_string();
        assert!(twice.starts_with("duplicate field `a`"), "{twice}");
        for (depth, fits) in [(JSON_DEPTH_MAX, true), (JSON_DEPTH_MAX + 1, false)] {
            let text = "[".repeat(depth) + &"]".repeat(depth);
            assert_eq!(JsonText::parse(&text).is_ok(), fits, "{depth}");
            assert_eq!(decode::<JsonText>(&encode(&text)).is_ok(), fits, "{depth}");
        }
        assert!(JsonText::parse(&"[".repeat(1_000_000)).is_err());
        assert_eq!(too_deep_at(br#""[[\"[[""#), None);
        for (text, count) in [("", 1), ("[]", 2), (r#"{"a":[1,"[,{\",{"],"b":{}}"#, 6)] {
            assert_eq!(count_values(text.as_bytes()), count, "{text}");
        }
    }

    proptest! {
        #[test]
        fn both_forms_read_back(value in json()) {
            let text = JsonText::parse(&serde_json::to_string_pretty(&value).unwrap()).unwrap();
            prop_assert_eq!(text.value(), value);
            prop_assert_eq!(&decode::<JsonText>(&encode(&text)).unwrap(), &text);
            let human = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(&human, text.as_str());
            prop_assert_eq!(serde_json::from_str::<JsonText>(&human).unwrap(), text);
        }

        #[test]
        fn any_text_is_json_or_an_error(text: String) {
            if let Ok(json) = JsonText::parse(&text) {
                prop_assert_eq!(json.value(), serde_json::from_str::<serde_json::Value>(&text).unwrap());
            }
        }
    }
}
