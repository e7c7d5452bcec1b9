//! Forms of records that are no longer written, and are read for ever.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Back, Enrolled, Record, TriggerData};
use crate::base::{CustomerId, Malformed, codec};

/// Version 1 of [`Enrolled`]: the number of entry keys had no bound.
#[derive(Debug, Serialize, Deserialize)]
struct EnrolledV1 {
    event: Back,
    customer: CustomerId,
    place: u64,
    flow: u32,
    version: u32,
    key: Option<String>,
    campaign: Option<u32>,
    trigger: Arc<TriggerData>,
}

impl From<EnrolledV1> for Enrolled {
    fn from(it: EnrolledV1) -> Self {
        let EnrolledV1 { event, customer, place, flow, version, key, campaign, trigger } = it;
        Self { event, customer, place, flow, version, key, campaign, trigger, keys: None }
    }
}

/// Reads a body of a version before the one that is written today.
pub(super) fn decode(kind: u16, version: u8, body: &[u8]) -> Result<Record, Malformed> {
    match (kind, version) {
        (30, 1) => codec::decode(body).map(|it: EnrolledV1| Enrolled::from(it).into()),
        _ => Err(Malformed("a record of an unknown kind or version")),
    }
}
