//! Campaigns: they group and count what flows send; they never start, stop or gate a flow.

use crate::base::{CampaignId, FlowId, Timestamp};

/// A name and dates over the flows it uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Campaign {
    /// Its identifier.
    pub id: CampaignId,
    /// What people call it.
    pub name: String,
    /// The flows it uses; a flow may serve many campaigns.
    pub flows: Vec<FlowId>,
    /// The first instant of it; none: always been.
    pub starts: Option<Timestamp>,
    /// The instant it is over; none: never.
    pub ends: Option<Timestamp>,
}

impl Campaign {
    /// Whether its dates hold `instant`.
    pub fn holds(&self, instant: Timestamp) -> bool {
        self.starts.is_none_or(|starts| starts <= instant)
            && self.ends.is_none_or(|ends| instant < ends)
    }
}
