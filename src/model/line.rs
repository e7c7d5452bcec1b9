//! What can be wrong with one line of customers or events.

use serde::{Serialize, Serializer};

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
