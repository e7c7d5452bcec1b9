//! The log's vocabulary: past-tense facts that hold results, so that [`apply`](super::apply) only
//! copies and new code reads old logs.
//!
//! One struct per kind and version, frozen once released: a change is a new version beside the old
//! one, converted on reading. Kind numbers are explicit and never reused. Structs hold integers,
//! text, options, lists and maps only, which is what the codec carries.
//!
//! | Kind | Record | Version |
//! |---|---|---|
//! | 1 | [`InputOpened`] | 1 |
//! | 2 | [`LineRead`] | 1 |
//! | 3 | [`LineRejected`] | 1 |
//! | 4 | [`LossAccepted`] | 1 |
//! | 5 | [`Restored`] | 1 |
//! | 10 | [`DocumentPart`] | 1 |
//! | 11 | [`SegmentChanged`] | 1 |
//! | 12 | [`FlowPublished`] | 1 |
//! | 13 | [`CampaignChanged`] | 1 |
//! | 20 | [`CustomerChanged`] | 1 |
//! | 21 | [`EventReceived`] | 1 |
//! | 22 | [`EntriesRefused`] | 1 |
//! | 30 | [`Enrolled`] | 2 |
//! | 31 | [`WaitStarted`] | 1 |
//! | 32 | [`WaitEnded`] | 1 |
//! | 33 | [`Exited`] | 1 |
//! | 40 | [`DeliveryRequested`] | 1 |
//! | 41 | [`DeliveryAttempted`] | 1 |
//! | 42 | [`DeliverySent`] | 1 |
//! | 43 | [`DeliveryDeferred`] | 1 |
//! | 44 | [`DeliveryFailed`] | 1 |
//! | 45 | [`DeliverySkipped`] | 1 |

mod old;
mod parts;

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::delivery::{Recipient, Values};
use super::reason::{Failure, Idle, InputKind, Refusal, Skip};
use crate::{
    base::{
        CampaignId, ContentHash, CustomerId, EventId, FlowId, InstanceId, Lsn, Malformed,
        SegmentId, Timestamp, codec,
    },
    model::{JsonText, Subscription},
};

pub use parts::{At, Back, Forgotten, KeyChange, Source, TriggerData};

macro_rules! records {
    ($($(#[$doc:meta])* $number:literal v $version:literal $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
            pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

            impl From<$name> for Record {
                fn from(fact: $name) -> Self {
                    Self::$name(Box::new(fact))
                }
            }
        )*

        /// One fact.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each variant is the documented struct of its name")]
        pub enum Record { $($name(Box<$name>),)* }

        impl Record {
            /// The number of its kind.
            pub const fn kind(&self) -> u16 {
                match self { $(Self::$name(_) => $number,)* }
            }

            /// The version of its form that is written today.
            pub const fn version(&self) -> u8 {
                match self { $(Self::$name(_) => $version,)* }
            }

            /// The name of its kind.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name),)* }
            }

            /// Appends its body as bytes.
            pub fn encode_into(&self, out: &mut Vec<u8>) {
                match self { $(Self::$name(fact) => codec::encode_into(out, fact),)* }
            }

            /// Its body as bytes.
            pub fn encode(&self) -> Vec<u8> {
                let mut out = Vec::new();
                self.encode_into(&mut out);
                out
            }

            /// Reads a body of any kind and version ever released.
            pub fn decode(kind: u16, version: u8, body: &[u8]) -> Result<Self, Malformed> {
                match (kind, version) {
                    $(($number, $version) => codec::decode(body).map(Self::$name),)*
                    _ => old::decode(kind, version, body),
                }
            }

            /// Its fields for people and programs to read; links still as distances.
            pub fn fields(&self) -> serde_json::Result<serde_json::Value> {
                match self { $(Self::$name(fact) => serde_json::to_value(fact),)* }
            }
        }
    };
}

records! {
    /// An input file was opened: its identity, before anything of it was read.
    1 v 1 InputOpened {
        /// What it holds.
        kind: InputKind,
        /// Its number in this directory, from 0.
        input: u32,
        /// Its name, without folders.
        name: String,
        /// Its length in bytes.
        length: u64,
        /// What it says.
        hash: ContentHash,
    }

    /// A line was read that causes nothing else.
    2 v 1 LineRead {
        /// Which line.
        source: Source,
        /// What it was.
        line: Idle,
    }

    /// A line was read that is no customer or event.
    3 v 1 LineRejected {
        /// Which line.
        source: Source,
        /// The stable number of what is wrong.
        code: u8,
        /// Where in the line, in bytes from 1.
        column: u64,
    }

    /// The operator accepted that the log ends before what was acknowledged.
    4 v 1 LossAccepted {
        /// The last record that is there.
        ends: Lsn,
        /// The last record that had been acknowledged.
        acknowledged: Lsn,
    }

    /// This directory is a copy from here on, or goes on after a loss: what leaves it carries an
    /// identity of its own.
    5 v 1 Restored {
        /// The identity.
        instance: InstanceId,
    }

    /// A part of a document that is too long for one record, before the record that names it.
    10 v 1 DocumentPart {
        /// The whole document's hash.
        document: ContentHash,
        /// Which part, from 0.
        part: u32,
        /// How many there are.
        parts: u32,
        /// The text.
        text: String,
    }

    /// A segment is what the document says from now on.
    11 v 1 SegmentChanged {
        /// Where it came from.
        source: Source,
        /// Which segment.
        segment: SegmentId,
        /// The document.
        document: ContentHash,
        /// In how many parts.
        parts: u32,
    }

    /// A flow got a new version; the first one makes it live.
    12 v 1 FlowPublished {
        /// Where it came from.
        source: Source,
        /// Which flow.
        flow: FlowId,
        /// Its number in this directory, from 0.
        number: u32,
        /// The version, from 1.
        version: u32,
        /// Its segment.
        segment: SegmentId,
        /// The document.
        document: ContentHash,
        /// In how many parts.
        parts: u32,
    }

    /// A campaign is what the document says from now on.
    13 v 1 CampaignChanged {
        /// Where it came from.
        source: Source,
        /// Which campaign.
        campaign: CampaignId,
        /// Its number in this directory, from 0.
        number: u32,
        /// The document.
        document: ContentHash,
        /// In how many parts.
        parts: u32,
    }

    /// A customer is new or has new values; what did not change is not here.
    20 v 1 CustomerChanged {
        /// Where it came from.
        source: Source,
        /// Who.
        customer: CustomerId,
        /// Whether the customer was unknown.
        created: bool,
        /// The new e-mail address, or none from now on.
        email: Option<Option<Arc<str>>>,
        /// The new time zone, or none from now on.
        timezone: Option<Option<String>>,
        /// The new locale, or none from now on.
        locale: Option<Option<String>>,
        /// The new value of each changed attribute, or none from now on.
        attributes: BTreeMap<String, Option<JsonText>>,
        /// The push subscriptions from now on.
        push: Option<Vec<Arc<Subscription>>>,
    }

    /// An event was accepted.
    21 v 1 EventReceived {
        /// Where it came from.
        source: Source,
        /// Whose.
        customer: CustomerId,
        /// Whether the customer was unknown and is created by it.
        created: bool,
        /// Its idempotency key.
        id: Option<EventId>,
        /// What happened.
        name: Arc<str>,
        /// When it happened, as the event says.
        time: Option<Timestamp>,
        /// Its properties, a JSON object.
        properties: JsonText,
        /// Whether it was older than events may be to enrol: it is activity only.
        too_old: bool,
        /// Whether it is the first of its name that is remembered for this customer.
        first: bool,
        /// Whether it counts as activity; not where the customer has too many event names.
        counted: bool,
    }

    /// Flows whose trigger has the event's name, and that did not enrol its customer.
    22 v 1 EntriesRefused {
        /// Distance to the event.
        event: Back,
        /// Each flow's number with the reason.
        refused: Vec<(u32, Refusal)>,
        /// Of the conditions that had no answer, why; by flow number, the first few.
        unknown: BTreeMap<u32, String>,
    }

    /// A customer entered a flow. This record's LSN is the enrollment's id.
    30 v 2 Enrolled {
        /// Distance to the event that did it.
        event: Back,
        /// Who.
        customer: CustomerId,
        /// The customer's hash.
        place: u64,
        /// The flow's number.
        flow: u32,
        /// The version it walks.
        version: u32,
        /// The entry key; none where the customer is the key.
        key: Option<String>,
        /// The campaign it counts for.
        campaign: Option<u32>,
        /// The trigger's data.
        trigger: Arc<TriggerData>,
        /// What becomes of the customer's entry keys; none where the customer is the key.
        keys: Option<KeyChange>,
    }

    /// A wait began.
    31 v 1 WaitStarted {
        /// Whose.
        at: At,
        /// When it ends.
        due: Timestamp,
        /// The zone in which that was worked out, where one was needed.
        zone: Option<String>,
        /// The version of the zone data, where a zone was needed.
        zone_data: Option<String>,
    }

    /// A wait ended: its time had come.
    32 v 1 WaitEnded {
        /// Whose.
        at: At,
        /// When it was due.
        due: Timestamp,
        /// Distance to the record that set it.
        set: Back,
    }

    /// The enrollment is over.
    33 v 1 Exited {
        /// Whose.
        at: At,
        /// Whether it entered an EXIT step for that; else it was over after the step before.
        by_step: bool,
        /// Why.
        reason: Arc<str>,
    }

    /// A message is to be sent; this is the worker's instruction and fixes the message.
    40 v 1 DeliveryRequested {
        /// Whose.
        at: At,
        /// Which of the customer's subscriptions, from 1; 0 for e-mail.
        subscription: u16,
        /// How many of them this visit sends to.
        subscriptions: u16,
        /// How many rounds of settling came before it at this instant.
        round: u32,
        /// Where it goes.
        recipient: Recipient,
        /// The values of exactly those variables that the step's templates use.
        values: Values,
    }

    /// A deferred delivery's time had come: it is handed out again.
    41 v 1 DeliveryAttempted {
        /// Whose.
        at: At,
        /// Which subscription.
        subscription: u16,
        /// Which attempt this is.
        attempt: u32,
        /// When it was due.
        due: Timestamp,
        /// Distance to the record that set it.
        set: Back,
    }

    /// The receiver took the message.
    42 v 1 DeliverySent {
        /// Whose.
        at: At,
        /// Which subscription.
        subscription: u16,
        /// At which attempt.
        attempt: u32,
        /// How many rounds of settling came before it when it was handed out.
        round: u32,
        /// Whether it is the first of the visit that was taken.
        first: bool,
        /// What was sent, as a hash of its bytes.
        hash: ContentHash,
    }

    /// The attempt failed and will be repeated.
    43 v 1 DeliveryDeferred {
        /// Whose.
        at: At,
        /// Which subscription.
        subscription: u16,
        /// The attempt that failed.
        attempt: u32,
        /// How many rounds of settling came before it when it was handed out.
        round: u32,
        /// When the next one is due.
        until: Timestamp,
        /// What the receiver or the channel said.
        error: String,
    }

    /// The delivery failed for good and is on the dead-letter list.
    44 v 1 DeliveryFailed {
        /// Whose.
        at: At,
        /// Which subscription.
        subscription: u16,
        /// The attempt that failed.
        attempt: u32,
        /// How many rounds of settling came before it when it was handed out.
        round: u32,
        /// Why there is no further one.
        reason: Failure,
        /// What the receiver or the channel said.
        error: String,
    }

    /// The step, or one delivery of it, sends nothing.
    45 v 1 DeliverySkipped {
        /// Whose.
        at: At,
        /// Which requested subscription; none where nothing had been requested.
        requested: Option<u16>,
        /// How many rounds of settling came before it when it was handed out.
        round: u32,
        /// Why.
        reason: Skip,
        /// What exactly, where a template failed.
        error: Option<String>,
    }
}

impl Record {
    /// Where the enrollment stands that this record belongs to, unless it belongs to none.
    pub fn at(&self) -> Option<&At> {
        match self {
            Self::WaitStarted(it) => Some(&it.at),
            Self::WaitEnded(it) => Some(&it.at),
            Self::Exited(it) => Some(&it.at),
            Self::DeliveryRequested(it) => Some(&it.at),
            Self::DeliveryAttempted(it) => Some(&it.at),
            Self::DeliverySent(it) => Some(&it.at),
            Self::DeliveryDeferred(it) => Some(&it.at),
            Self::DeliveryFailed(it) => Some(&it.at),
            Self::DeliverySkipped(it) => Some(&it.at),
            Self::InputOpened(_)
            | Self::LineRead(_)
            | Self::LineRejected(_)
            | Self::LossAccepted(_)
            | Self::Restored(_)
            | Self::DocumentPart(_)
            | Self::SegmentChanged(_)
            | Self::FlowPublished(_)
            | Self::CampaignChanged(_)
            | Self::CustomerChanged(_)
            | Self::EventReceived(_)
            | Self::EntriesRefused(_)
            | Self::Enrolled(_) => None,
        }
    }
}
