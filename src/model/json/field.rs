//! One field of an object, found without reading the others into values.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The text of what the object in `json` has under `key`.
pub(super) fn find<'a>(json: &'a str, key: &str) -> Option<&'a str> {
    let mut reader = serde_json::Deserializer::from_str(json);
    // Whatever is no object has no fields.
    reader.deserialize_map(Field(key)).ok().flatten().map(RawValue::get)
}

/// Looks for one key of an object; what it has there is left as it stands.
struct Field<'k>(&'k str);

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = fields.next_key_seed(Is(self.0))? {
            if is_it {
                found = Some(fields.next_value()?);
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Whether a key is this one.
struct Is<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_as_it_stands() {
        let json =
            r#"{"a":"x\"y","b":{"a":[1,2]},"é":1.50,"":null,"$serde_json::private::RawValue":7}"#;
        for (key, value) in [
            ("a", Some(r#""x\"y""#)),
            ("b", Some(r#"{"a":[1,2]}"#)),
            ("é", Some("1.50")),
            ("", Some("null")),
            ("$serde_json::private::RawValue", Some("7")),
            ("c", None),
        ] {
            assert_eq!(find(json, key), value, "{key}");
        }
        assert_eq!((find("[1]", "a"), find("7", "a"), find("", "a")), (None, None, None));
        assert_eq!(find(r#"{"\u0061":1}"#, "a"), Some("1"));
    }
}
