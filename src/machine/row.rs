//! What is kept of the log: one row per customer, activity, entry, enrollment, and so on.
//!
//! Rows are self-sufficient: whatever a decision needs is in one, so that old records may go.
//! As bytes a row is its kind, its version and a body; a frozen struct per kind and version.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    delivery::{Recipient, Values},
    record::{CustomerChanged, TriggerData},
};
use crate::{
    base::{CustomerId, Lsn, Malformed, Reader, Timestamp, codec, limits::DEDUP_WINDOW},
    model::{Activity, Customer},
};

/// The kind of [`Row::Seen`] in bytes.
const SEEN: u8 = 4;

/// A row of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// A part of a document.
    Document(String),
    /// A customer.
    Customer(Box<CustomerRow>),
    /// What a customer did under one event name.
    Activity(Activity),
    /// When an event id was accepted.
    Seen(Timestamp),
    /// A customer's entries into a flow with one key.
    Entry(Entry),
    /// Which entry keys of a customer are remembered: the latest enrollment of each, oldest first.
    EntryKeys(Vec<Lsn>),
    /// An enrollment.
    Enrollment(Box<Enrollment>),
    /// A delivery that failed for good.
    DeadLetter(DeadLetter),
}

/// A customer with what counting needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerRow {
    /// The customer.
    pub customer: Customer,
    /// How many event names have activity.
    pub names: u32,
    /// Whether an event was not counted because there were too many names.
    pub overflowed: bool,
}

/// A customer's entries into a flow with one key; memory that outlives the enrollments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When the latest enrollment started.
    pub started_at: Timestamp,
    /// The latest enrollment.
    pub latest: Lsn,
    /// How many there were.
    pub count: u32,
}

/// One customer's walk through one flow version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrollment {
    /// Who.
    pub customer: CustomerId,
    /// The flow's number.
    pub flow: u32,
    /// The version it walks.
    pub version: u32,
    /// The entry key.
    pub key: Option<String>,
    /// When it started.
    pub started_at: Timestamp,
    /// The event that began it.
    pub event: Lsn,
    /// The trigger's data.
    pub trigger: Arc<TriggerData>,
    /// The campaign it counts for.
    pub campaign: Option<u32>,
    /// Its latest record.
    pub latest: Lsn,
    /// How many steps it has entered.
    pub visits: u32,
    /// What it is doing.
    pub phase: Phase,
}

/// What an enrollment is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Between two steps; only ever seen within a group.
    Entering,
    /// In a WAIT.
    Waiting {
        /// The step.
        step: u32,
        /// When it ends.
        due: Timestamp,
        /// The record that says so; a timer that names another is stale.
        set: Lsn,
    },
    /// In a step that sends.
    Sending {
        /// The step.
        step: u32,
        /// When its messages were requested: their engine time.
        time: Timestamp,
        /// The values of the templates' variables.
        values: Values,
        /// Its deliveries.
        deliveries: Vec<Open>,
    },
    /// Over.
    Ended {
        /// Why.
        reason: Arc<str>,
        /// When.
        at: Timestamp,
    },
}

/// One delivery of a step that sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Which subscription, from 1; 0 for e-mail.
    pub subscription: u16,
    /// Where it goes.
    pub recipient: Recipient,
    /// The current or latest attempt.
    pub attempt: u32,
    /// How many rounds of settling came before it when that attempt was handed out.
    pub round: u32,
    /// How far it is.
    pub stage: Stage,
}

/// How far a delivery is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// With a worker, or waiting for one.
    InFlight,
    /// Deferred.
    Deferred {
        /// When the next attempt is due.
        until: Timestamp,
        /// The record that says so.
        set: Lsn,
    },
    /// Taken by the receiver.
    Sent,
    /// Failed for good.
    Failed,
    /// Not sent.
    Skipped,
}

/// A delivery that failed for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The enrollment it belongs to.
    pub enrollment: Lsn,
    /// The step visit.
    pub visit: u32,
    /// Which subscription.
    pub subscription: u16,
    /// The customer's hash.
    pub place: u64,
    /// How many attempts there were.
    pub attempts: u32,
    /// What the receiver or the channel said.
    pub error: String,
    /// When.
    pub at: Timestamp,
}

impl Row {
    /// Appends the row's kind, version and body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Document(text) => put(out, 1, text),
            Self::Customer(row) => put(out, 2, row),
            Self::Activity(activity) => put(out, 3, activity),
            Self::Seen(time) => put(out, SEEN, time),
            Self::Entry(entry) => put(out, 5, entry),
            Self::Enrollment(enrollment) => put(out, 6, enrollment),
            Self::DeadLetter(letter) => put(out, 7, letter),
            Self::EntryKeys(keys) => put(out, 8, keys),
        }
    }

    /// How many bytes [`Row::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        2 + match self {
            Self::Document(text) => codec::encoded_len(text),
            Self::Customer(row) => codec::encoded_len(row),
            Self::Activity(activity) => codec::encoded_len(activity),
            Self::Seen(time) => codec::encoded_len(time),
            Self::Entry(entry) => codec::encoded_len(entry),
            Self::Enrollment(enrollment) => codec::encoded_len(enrollment),
            Self::DeadLetter(letter) => codec::encoded_len(letter),
            Self::EntryKeys(keys) => codec::encoded_len(keys),
        }
    }

    /// Reads a row of any kind and version ever released.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let (kind, version) = (reader.u8()?, reader.u8()?);
        let body = reader.rest();
        match (kind, version) {
            (1, 1) => codec::decode(body).map(Self::Document),
            (2, 1) => codec::decode(body).map(Self::Customer),
            (3, 1) => codec::decode(body).map(Self::Activity),
            (SEEN, 1) => codec::decode(body).map(Self::Seen),
            (5, 1) => codec::decode(body).map(Self::Entry),
            (6, 1) => codec::decode(body).map(Self::Enrollment),
            (7, 1) => codec::decode(body).map(Self::DeadLetter),
            (8, 1) => codec::decode(body).map(Self::EntryKeys),
            _ => Err(Malformed("a row of an unknown kind or version")),
        }
    }

    /// Whether the row counts as absent from now on: an event id that is no longer remembered.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        matches!(self, Self::Seen(time) if now.since(*time) >= DEDUP_WINDOW)
    }

    /// The same of a row in bytes, of which only an event id is read.
    pub fn are_expired(bytes: &[u8], now: Timestamp) -> bool {
        bytes.first() == Some(&SEEN) && Self::decode(bytes).is_ok_and(|row| row.is_expired(now))
    }
}

fn put<T: Serialize>(out: &mut Vec<u8>, kind: u8, body: &T) {
    out.extend([kind, 1]);
    codec::encode_into(out, body);
}

impl CustomerRow {
    /// Changes the customer as the record says.
    pub(super) fn change(&mut self, it: &CustomerChanged) {
        let customer = &mut self.customer;
        if let Some(email) = &it.email {
            customer.email.clone_from(email);
        }
        if let Some(timezone) = &it.timezone {
            customer.timezone.clone_from(timezone);
        }
        if let Some(locale) = &it.locale {
            customer.locale.clone_from(locale);
        }
        if let Some(push) = &it.push {
            customer.push.clone_from(push);
        }
        for (name, value) in &it.attributes {
            match value {
                Some(value) => customer.attributes.set(name, value.clone()),
                None => customer.attributes.remove(name),
            }
        }
    }
}

impl Enrollment {
    /// Whether it still has steps to take.
    pub const fn is_active(&self) -> bool {
        !matches!(self.phase, Phase::Ended { .. })
    }
}
