//! Identifiers. Those that callers choose are checked text; ours are numbers with one printed form.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::limits::ID_BYTES_MAX;

/// Why a text is no identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadId {
    /// Identifiers name something, so they are not empty.
    #[error("an id must not be empty")]
    Empty,
    /// Longer than [`ID_BYTES_MAX`].
    #[error("an id has at most {ID_BYTES_MAX} bytes")]
    TooLong,
    /// Not the printed form of this kind of id.
    #[error("an enrollment is written e0-1234, a delivery e0-1234.3")]
    Form,
}

macro_rules! text_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(
            // Invariant: 1 to ID_BYTES_MAX bytes. Shared by all that name the same thing.
            Arc<str>,
        );

        impl $name {
            /// Checks the length; any Unicode is fine.
            pub fn new(text: impl Into<Arc<str>>) -> Result<Self, BadId> {
                let text = text.into();
                match text.len() {
                    0 => Err(BadId::Empty),
                    1..=ID_BYTES_MAX => Ok(Self(text)),
                    _ => Err(BadId::TooLong),
                }
            }

            /// The id as its owner wrote it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }
    )*};
}

text_ids! {
    /// Whom we write to.
    CustomerId;
    /// The idempotency key of an event, unique per customer within the dedup window.
    EventId;
    /// A flow.
    FlowId;
    /// A segment.
    SegmentId;
    /// A step, unique within its flow.
    StepId;
    /// A campaign.
    CampaignId;
}

/// A record's place in the log of its partition, dense from 1; 0 means "before every record".
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before every record.
    pub const ZERO: Self = Self(0);

    /// The place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// The place `count` records on.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.checked_add(count).expect("a log holds fewer than 2^64 records"))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A share of the customers with a log of its own: `xxh3_64(customer id, seed 0) mod count`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PartitionId(pub u16);

impl PartitionId {
    /// Whose log tells of this customer, where there are so many.
    pub fn of(customer: &CustomerId, count: u16) -> Self {
        let number = customer_hash(customer) % u64::from(count.max(1));
        Self(u16::try_from(number).expect("a remainder is below the count"))
    }
}

/// The hash that places a customer, fixed for ever.
pub fn customer_hash(id: &CustomerId) -> u64 {
    xxhash_rust::xxh3::xxh3_64(id.as_str().as_bytes())
}

/// One customer's walk through one flow version: the partition and the LSN of its first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnrollmentId {
    /// Whose log.
    pub partition: PartitionId,
    /// Where in that log it began.
    pub lsn: Lsn,
}

impl fmt::Display for EnrollmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}-{}", self.partition.0, self.lsn)
    }
}

impl FromStr for EnrollmentId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let (partition, lsn) =
            text.strip_prefix('e').and_then(|rest| rest.split_once('-')).ok_or(BadId::Form)?;
        Ok(Self { partition: PartitionId(number(partition)?), lsn: Lsn(number(lsn)?) })
    }
}

impl Serialize for EnrollmentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        (self.partition, self.lsn).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for EnrollmentId {
    /// From the binary form only: nothing reads these from JSON.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (partition, lsn) = Deserialize::deserialize(deserializer)?;
        Ok(Self { partition, lsn })
    }
}

/// One message to one address: the enrollment, which of its step visits, and for push which of
/// the customer's subscriptions (from 1). The same on every attempt and after every crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// Whose message.
    pub enrollment: EnrollmentId,
    /// The number of the step visit, from 1.
    pub visit: u32,
    /// The subscription, from 1; 0 where the channel has one address only.
    pub subscription: u16,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.enrollment, self.visit)?;
        if self.subscription == 0 { Ok(()) } else { write!(f, ".{}", self.subscription) }
    }
}

impl FromStr for DeliveryId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let (enrollment, rest) = text.split_once('.').ok_or(BadId::Form)?;
        let (visit, subscription) = match rest.split_once('.') {
            Some((visit, subscription)) => (visit, number(subscription)?),
            None => (rest, 0),
        };
        Ok(Self { enrollment: enrollment.parse()?, visit: number(visit)?, subscription })
    }
}

impl Serialize for DeliveryId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        (self.enrollment, self.visit, self.subscription).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DeliveryId {
    /// From the binary form only: nothing reads these from JSON.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (enrollment, visit, subscription) = Deserialize::deserialize(deserializer)?;
        Ok(Self { enrollment, visit, subscription })
    }
}

/// Digits only and no leading zero, so that an id has one printed form.
fn number<N: FromStr>(text: &str) -> Result<N, BadId> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let shortest = text == "0" || !text.starts_with('0');
    if !plain || !shortest {
        return Err(BadId::Form);
    }
    text.parse().map_err(|_| BadId::Form)
}

macro_rules! hex_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", u128::from_be_bytes(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            /// From the binary form only: nothing reads these from JSON.
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <[u8; 16]>::deserialize(deserializer).map(Self)
            }
        }
    )*};
}

hex_ids! {
    /// One data directory's identity, in everything that leaves the machine, so that a restored
    /// copy cannot be taken for the original.
    InstanceId;
    /// What a document says, as a hash of its bytes: the identity of a version or an input file.
    ContentHash;
}

impl ContentHash {
    /// The hash of `bytes`: XXH3-128, seed 0, big-endian; fixed for ever.
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_128(bytes).to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_printed_form() {
        for text in ["e0-1234.3", "e7-1.1.2"] {
            let id: DeliveryId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
        }
        for text in ["", "e0", "e0-", "0-1.1", "e0-01.1", "e0-+1.1", "e0-1", "e0-1.1.1.1"] {
            assert_eq!(text.parse::<DeliveryId>(), Err(BadId::Form), "{text}");
        }
    }

    #[test]
    fn a_customers_place_and_a_documents_hash_never_change() {
        let id = CustomerId::new("17850").unwrap();
        assert_eq!(customer_hash(&id), 0x54b3_3101_2e93_d836);
        assert_eq!(ContentHash::of(b"onward").to_string(), "fba0f25a9b5848429cb89f6d6157169c");
    }
}
