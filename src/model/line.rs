//! Lines of customers and events: how one is read, and what can be wrong with it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::json::{self, JsonText};
use crate::base::limits::{JSON_DEPTH_MAX, LINE_BYTES_MAX, NAME_BYTES_MAX};

/// Why a line is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("column {column}: {code}: {message}")]
pub struct LineError {
    /// The kind of mistake.
    pub code: LineCode,
    /// Where it was noticed, in bytes from 1.
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal $text:literal,)*) => {
        /// The kinds of mistakes in a line, with names and numbers that never change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum LineCode {
            $($(#[$doc])* $name,)*
        }

        impl LineCode {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name that people and programs see.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The number in our formats.
            pub const fn number(self) -> u8 {
                match self { $(Self::$name => $number,)* }
            }

            /// The kind with this number.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

codes! {
    /// Not JSON at all.
    NotJson = 1 "not_json",
    /// Bytes that are not UTF-8.
    NotUtf8 = 2 "not_utf8",
    /// JSON, but no object.
    NotAnObject = 3 "not_an_object",
    /// A field that does not exist.
    UnknownField = 4 "unknown_field",
    /// A field that must be there.
    MissingField = 5 "missing_field",
    /// A field of another type.
    WrongType = 6 "wrong_type",
    /// A field twice in one object.
    DuplicateField = 7 "duplicate_field",
    /// An id that is empty or too long.
    BadId = 8 "bad_id",
    /// A time that is no instant we take.
    BadTime = 9 "bad_time",
    /// Text that is no e-mail address.
    BadEmail = 10 "bad_email",
    /// The name of an event that only the engine records.
    ReservedEvent = 11 "reserved_event",
    /// A line over its limit.
    TooLong = 12 "too_long",
    /// JSON nested too deeply.
    TooDeep = 13 "too_deep",
    /// A field over its limit.
    TooLarge = 14 "too_large",
    /// A name that is empty.
    BadName = 15 "bad_name",
    /// A push subscription that cannot be one.
    BadSubscription = 16 "bad_subscription",
    /// An event more than a day ahead of the engine's clock, or a line of the main job more than five
    /// years after all before it.
    TooFarAhead = 17 "too_far_ahead",
}

impl std::fmt::Display for LineCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for LineCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What stands between the code and the message in the custom errors of the readers below, which
/// pass through serde as text.
const MARK: char = '\u{1f}';

/// An error that [`read`] turns into one with this code.
pub(super) fn refuse<E: serde::de::Error>(code: LineCode, message: impl std::fmt::Display) -> E {
    E::custom(format_args!("{code}{MARK}{message}"))
}

/// Reads one line as one JSON object of the type.
pub(super) fn read<'de, T: Deserialize<'de>>(line: &'de [u8]) -> Result<T, LineError> {
    let error =
        |code, offset: usize, message: String| LineError { code, column: offset + 1, message };
    if line.len() > LINE_BYTES_MAX {
        let message = format!("{} bytes; a line has at most {LINE_BYTES_MAX}", line.len());
        return Err(error(LineCode::TooLong, LINE_BYTES_MAX, message));
    }
    let text = std::str::from_utf8(line).map_err(|bad| {
        error(LineCode::NotUtf8, bad.valid_up_to(), "a line is written in UTF-8".to_owned())
    })?;
    if let Some(offset) = json::too_deep_at(line) {
        let message = format!("JSON nests at most {JSON_DEPTH_MAX} levels");
        return Err(error(LineCode::TooDeep, offset, message));
    }
    let start = text.len() - text.trim_start_matches([' ', '\t', '\r', '\n']).len();
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = T::deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|bad| {
        let offset = offset_of(text, &bad);
        let (code, message) = classify(&bad);
        let first = text.as_bytes().get(start);
        // What is JSON but no object never reaches the fields.
        if code == LineCode::WrongType && first.is_some_and(|byte| *byte != b'{') {
            return error(LineCode::NotAnObject, start, "a line is one JSON object".to_owned());
        }
        error(code, offset, message)
    })
}

/// Where serde_json stood, in bytes from 0.
pub(super) fn offset_of(text: &str, error: &serde_json::Error) -> usize {
    let before = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    let before: usize = before.map(str::len).sum();
    (before + error.column().saturating_sub(1)).min(text.len())
}

fn classify(error: &serde_json::Error) -> (LineCode, String) {
    let text = error.to_string();
    // serde_json appends the place, which we give in our own terms.
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    if error.classify() != serde_json::error::Category::Data {
        return (LineCode::NotJson, text.to_owned());
    }
    let Some((code, message)) = text.split_once(MARK) else {
        let foreign = FOREIGN.iter().find(|(start, _)| text.starts_with(start));
        return (foreign.map_or(LineCode::WrongType, |(_, code)| *code), text.to_owned());
    };
    let known = LineCode::ALL.iter().find(|known| known.as_str() == code);
    (known.copied().unwrap_or(LineCode::WrongType), message.to_owned())
}

/// How the messages start that are not ours to mark: serde's, and those of ids and times.
const FOREIGN: [(&str, LineCode); 5] = [
    ("unknown field ", LineCode::UnknownField),
    ("missing field ", LineCode::MissingField),
    ("duplicate field ", LineCode::DuplicateField),
    ("an id ", LineCode::BadId),
    ("a time ", LineCode::BadTime),
];

/// The name of something: not empty, and bounded.
pub(super) fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let message = format!("a name has 1 to {NAME_BYTES_MAX} bytes");
        return Err(refuse(LineCode::BadName, message));
    }
    Ok(name)
}

/// A JSON object, carried as text.
pub(super) fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<JsonText, D::Error> {
    let json = JsonText::deserialize(deserializer)?;
    if !json.as_str().starts_with('{') {
        return Err(refuse(LineCode::WrongType, "this field is an object"));
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{customer::CustomerUpdate, event::Event};
    use proptest::prelude::*;

    fn event(line: &str) -> (&'static str, usize) {
        let error = Event::parse(line.as_bytes()).expect_err(line);
        (error.code.as_str(), error.column)
    }

    #[test]
    fn mistakes_have_a_code_and_a_column() {
        for (line, expected) in [
            ("", ("not_json", 1)),
            ("{", ("not_json", 1)),
            ("nope", ("not_json", 2)),
            (r#"{"name":"a","customer":"1"} x"#, ("not_json", 29)),
            (r#" ["name"]"#, ("not_an_object", 2)),
            ("7", ("not_an_object", 1)),
            ("null", ("not_an_object", 1)),
            (r#"{"name":"a"}"#, ("missing_field", 12)),
            (r#"{"name":"a","customer":"1","x":1}"#, ("unknown_field", 30)),
            (r#"{"name":"a","name":"b","customer":"1"}"#, ("duplicate_field", 18)),
            (r#"{"name":7,"customer":"1"}"#, ("wrong_type", 9)),
            (r#"{"name":"a","customer":17850}"#, ("wrong_type", 28)),
            (r#"{"name":"a","customer":""}"#, ("bad_id", 26)),
            (r#"{"name":"","customer":"1"}"#, ("bad_name", 10)),
            (r#"{"name":"a","customer":"1","time":"today"}"#, ("bad_time", 42)),
            (r#"{"name":"a","customer":"1","properties":[1]}"#, ("wrong_type", 44)),
            (r#"{"name":"a","customer":"1","properties":{"a":1,"a":2}}"#, ("duplicate_field", 53)),
            (r#"{"name":"email_sent","customer":"1"}"#, ("reserved_event", 20)),
        ] {
            assert_eq!(event(line), expected, "{line}");
        }
        let deep =
            format!(r#"{{"name":"a","customer":"1","properties":{}"#, "[".repeat(100_000 / 4));
        assert_eq!(event(&deep), ("too_deep", 41 + JSON_DEPTH_MAX - 1));
        let long = " ".repeat(LINE_BYTES_MAX + 1);
        assert_eq!(event(&long), ("too_long", LINE_BYTES_MAX + 1));
        let error = Event::parse(b"{\"name\":\"\xff\"}").unwrap_err();
        assert_eq!((error.code.as_str(), error.column), ("not_utf8", 10));
    }

    #[test]
    fn codes_keep_their_numbers() {
        for code in LineCode::ALL {
            assert_eq!(LineCode::from_number(code.number()), Some(*code));
        }
        assert_eq!(serde_json::to_string(&LineCode::TooLarge).unwrap(), r#""too_large""#);
        assert_eq!((LineCode::NotJson.number(), LineCode::BadSubscription.number()), (1, 16));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, text in r#"[{}\[\]":,a-z0-9 \\]{0,40}"#) {
            for line in [bytes.as_slice(), text.as_bytes()] {
                for error in [Event::parse(line).err(), CustomerUpdate::parse(line).err()] {
                    let column = error.map_or(1, |error| error.column);
                    prop_assert!((1..=line.len() + 1).contains(&column));
                }
            }
        }
    }
}
