//! Why something was decided: small closed sets with a number that is stored and a name that is shown.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

macro_rules! reasons {
    ($($(#[$doc:meta])* $set:ident { $($(#[$item_doc:meta])* $item:ident = $number:literal, $name:literal;)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $set { $($(#[$item_doc])* $item,)* }

        impl $set {
            /// Every member of the set.
            pub const ALL: &'static [Self] = &[$(Self::$item,)*];

            /// The name that people and programs read.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$item => $name,)* }
            }

            /// The number that records hold, fixed for ever.
            pub const fn number(self) -> u8 {
                match self { $(Self::$item => $number,)* }
            }
        }

        impl fmt::Display for $set {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl Serialize for $set {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.serialize_str(self.name())
                } else {
                    serializer.serialize_u8(self.number())
                }
            }
        }

        impl<'de> Deserialize<'de> for $set {
            /// From the binary form only: nothing reads these from JSON.
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                match u8::deserialize(deserializer)? {
                    $($number => Ok(Self::$item),)*
                    _ => Err(D::Error::custom("no such reason")),
                }
            }
        }
    )*};
}

reasons! {
    /// Why a trigger that fired enrolled nobody.
    Refusal {
        /// The trigger's filter does not hold.
        Filter = 1, "filter";
        /// The trigger's filter cannot be evaluated.
        FilterUnknown = 2, "filter_unknown";
        /// The customer is not in the flow's segment.
        NotInSegment = 3, "not_in_segment";
        /// The segment's rule cannot be evaluated.
        SegmentUnknown = 4, "segment_unknown";
        /// The entry key is null, missing, empty, too long or of no usable type.
        NoEntryKey = 5, "no_entry_key";
        /// An enrollment with this key is active.
        AlreadyActive = 6, "already_active";
        /// `once`: this key entered before.
        AlreadyEntered = 7, "already_entered";
        /// `after`: this key entered too short a time ago.
        TooSoon = 8, "too_soon";
        /// The trigger's data that the steps use is larger than an enrollment may keep.
        TooLarge = 9, "too_large";
        /// The event is older than events may be to enrol.
        TooOld = 10, "too_old";
        /// What other flows did about the same event fills what one event may cause.
        TooMuchAtOnce = 11, "too_much_at_once";
        /// As many keys as are remembered have an active enrollment.
        TooManyKeys = 12, "too_many_keys";
    }

    /// Why a step sent nothing.
    Skip {
        /// The customer has no e-mail address.
        NoAddress = 1, "no_address";
        /// The customer has no push subscription.
        NoSubscription = 2, "no_subscription";
        /// A template failed: a missing variable, a limit.
        TemplateError = 3, "template_error";
    }

    /// Why a delivery went to the dead-letter list.
    Failure {
        /// The receiver refused it for good.
        Rejected = 1, "rejected";
        /// Every attempt was deferred.
        Exhausted = 2, "exhausted";
    }

    /// What a line that caused nothing else was.
    Idle {
        /// White space only.
        Blank = 1, "blank";
        /// An event whose id is remembered.
        Duplicate = 2, "duplicate";
        /// A customer as already known.
        Unchanged = 3, "unchanged";
    }

    /// What an input file holds.
    InputKind {
        /// Segments, flows, campaigns.
        Definitions = 1, "definitions";
        /// Customers, one a line.
        Customers = 2, "customers";
        /// Events, one a line.
        Events = 3, "events";
    }
}
