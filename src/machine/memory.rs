//! The projection that is always in memory: the clock, the inputs, the directory of definitions,
//! deliveries in flight, counters. A checkpoint saves it whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{catalog::News, counters::Counters, reason::InputKind, record::Source};
use crate::{
    base::{
        CampaignId, ContentHash, DeliveryId, FlowId, InstanceId, Lsn, Malformed, Reader, SegmentId,
        Timestamp, codec, planted::is_planted,
    },
    machine::delivery::ChannelKind,
    model::Definitions,
};

/// The form of [`Memory`] as bytes. Version 1 ended before the restorations, version 2 before the
/// forgotten keys.
const VERSION: u8 = 3;

/// Everything that is not rows or timers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The latest record.
    pub latest: Lsn,
    /// Its time: the clock never reads less.
    pub now: Timestamp,
    /// What the latest input was.
    pub last_input: LastInput,
    /// The input files, by number.
    pub inputs: Vec<InputState>,
    /// The segments.
    pub segments: BTreeMap<SegmentId, Stored>,
    /// The flows, by number.
    pub flows: Vec<FlowState>,
    /// The campaigns, by number.
    pub campaigns: Vec<CampaignState>,
    /// Deliveries handed out or to be handed out, in the order in which a virtual clock settles
    /// them: (rounds before it, id).
    pub in_flight: BTreeMap<(u32, DeliveryId), InFlight>,
    /// What happened how often.
    pub counters: Counters,
    /// When the directory got another identity, as a copy or after a loss, oldest first.
    pub restorations: Vec<Restoration>,
    /// Entry keys forgotten because their customer had too many, by the flow's number.
    pub forgotten_keys: BTreeMap<u32, u64>,
}

/// A directory got another identity than the one that it was created with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restoration {
    /// From when on: no earlier record has this time.
    pub at: Timestamp,
    /// The identity.
    pub instance: InstanceId,
}

/// What the latest input was: the phase of an instant on the virtual clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum LastInput {
    /// Something from outside.
    #[default]
    Outside,
    /// A timer.
    Timer,
    /// A delivery's outcome.
    Outcome,
}

/// How far an input file has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputState {
    /// What it holds.
    pub kind: InputKind,
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// What it says.
    pub hash: ContentHash,
    /// The byte after the last line whose consequences are recorded.
    pub offset: u64,
    /// Lines of it that are no customer or event.
    pub rejected: u64,
}

/// Where a definition's document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its hash.
    pub document: ContentHash,
    /// In how many parts.
    pub parts: u32,
}

/// A flow's versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowState {
    /// Its id.
    pub id: FlowId,
    /// The segment that its current version is linked to.
    pub segment: SegmentId,
    /// Its versions; the first is version 1.
    pub versions: Vec<Stored>,
}

/// A campaign's current document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignState {
    /// Its id.
    pub id: CampaignId,
    /// Its document.
    pub stored: Stored,
}

/// A delivery in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// The customer's hash: where the enrollment's row is.
    pub place: u64,
    /// Which attempt.
    pub attempt: u32,
    /// Through which channel.
    pub channel: ChannelKind,
    /// The record that requested this attempt: it leaves when that is durable.
    pub requested: Lsn,
}

impl Memory {
    /// The LSN that the next record gets.
    pub const fn next_lsn(&self) -> Lsn {
        self.latest.next()
    }

    /// The number of the flow with this id.
    pub fn flow_number(&self, id: &FlowId) -> Option<u32> {
        number_of(self.flows.iter().position(|flow| &flow.id == id))
    }

    /// The number of the campaign with this id.
    pub fn campaign_number(&self, id: &CampaignId) -> Option<u32> {
        number_of(self.campaigns.iter().position(|campaign| &campaign.id == id))
    }

    /// The identity that a delivery requested at `time` leaves with: those from before a change may
    /// have left under the one of then. None: the one that the directory was created with.
    pub fn instance_at(&self, time: Timestamp) -> Option<InstanceId> {
        if is_planted!("copy_keeps_the_name") {
            return None;
        }
        let latest = self.restorations.iter().rfind(|it| it.at <= time);
        latest.map(|it| it.instance)
    }

    /// When the directory got the identity that it has; none where it was created with it.
    pub fn renamed_at(&self) -> Option<Timestamp> {
        self.restorations.last().map(|it| it.at)
    }

    /// Whether any of `definitions` is not in force.
    pub fn has_news(&self, definitions: &Definitions) -> bool {
        let news = News::of(definitions, self);
        !(news.segments.is_empty() && news.flows.is_empty() && news.campaigns.is_empty())
    }

    /// The flow with this number.
    pub fn flow(&self, number: u32) -> Option<&FlowState> {
        self.flows.get(index(number))
    }

    /// The campaign with this number.
    pub fn campaign(&self, number: u32) -> Option<&CampaignState> {
        self.campaigns.get(index(number))
    }

    /// Notes that a line of an input was refused.
    pub(super) fn reject(&mut self, source: Source) {
        self.read_to(source);
        if let Source::Line { input, .. } = source
            && let Some(state) = self.inputs.get_mut(index(input))
        {
            state.rejected += 1;
        }
    }

    /// Notes that the line ending at `offset` has been dealt with.
    pub(super) fn read_to(&mut self, source: Source) {
        self.last_input = LastInput::Outside;
        let Source::Line { input, offset } = source else { return };
        if is_planted!("lose_input_position") {
            return;
        }
        if let Some(state) = self.inputs.get_mut(index(input)) {
            state.offset = state.offset.max(offset);
        }
    }

    /// The whole as bytes, for a checkpoint.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        codec::encode_into(&mut out, self);
        out
    }

    /// Reads what a checkpoint saved.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            VERSION => codec::decode(reader.rest()),
            // An empty list or map is one zero byte.
            2 => codec::decode(&[reader.rest(), &[0]].concat()),
            1 => codec::decode(&[reader.rest(), &[0, 0]].concat()),
            _ => Err(Malformed("a checkpoint of an unknown version")),
        }
    }
}

/// A number as an index.
pub(crate) fn index(number: u32) -> usize {
    usize::try_from(number).expect("an address space is at least 32 bits wide")
}

/// An index as a number.
pub(crate) fn number(index: usize) -> u32 {
    u32::try_from(index).expect("flows, steps and campaigns are bounded far below 2^32")
}

fn number_of(position: Option<usize>) -> Option<u32> {
    position.map(number)
}
