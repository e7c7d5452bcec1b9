//! The definitions in force, compiled: derived from [`Memory`] and the documents, never recorded.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use super::memory::{Memory, index, number};
use crate::{
    base::{CampaignId, ContentHash, FlowId, SegmentId, Timestamp},
    model::{Campaign, Definitions, Findings, Flow, Known, Membership, Segment},
};

/// One published version of a flow.
#[derive(Debug)]
pub struct Published {
    /// The flow's number in this directory.
    pub number: u32,
    /// The version, from 1.
    pub version: u32,
    /// What it says.
    pub flow: Flow,
}

/// Every definition that a decision may need.
#[derive(Debug, Default, Clone)]
pub struct Catalog {
    segments: BTreeMap<SegmentId, (ContentHash, Arc<Segment>)>,
    flows: BTreeMap<(u32, u32), Arc<Published>>,
    campaigns: BTreeMap<u32, (ContentHash, Arc<Campaign>)>,
    by_event: BTreeMap<String, Vec<Arc<Published>>>,
}

/// Reads a stored document, given its hash and its number of parts.
pub type ReadDocument<'a, E> = dyn FnMut(ContentHash, u32) -> Result<String, E> + 'a;

/// Why the catalog could not be built from what is stored.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable<E> {
    /// A document could not be read.
    #[error(transparent)]
    Document(#[from] E),
    /// A document does not say what it said when it was stored.
    #[error("a stored definition is no longer valid: {}", .0.list.first().map_or_else(String::new, ToString::to_string))]
    Invalid(Findings),
}

impl Catalog {
    /// Compiles all that `memory` names and `self` does not hold yet.
    pub fn refresh<E>(
        &mut self,
        memory: &Memory,
        read: &mut ReadDocument<'_, E>,
    ) -> Result<(), Unreadable<E>> {
        for (id, stored) in &memory.segments {
            if self.segments.get(id).is_some_and(|(hash, _)| *hash == stored.document) {
                continue;
            }
            let json = read(stored.document, stored.parts)?;
            let segment = Segment::from_json(&json).map_err(Unreadable::Invalid)?;
            self.segments.insert(id.clone(), (stored.document, Arc::new(segment)));
        }
        for (flow_index, state) in memory.flows.iter().enumerate() {
            for (version_index, stored) in state.versions.iter().enumerate() {
                let key = (number(flow_index), number(version_index).saturating_add(1));
                if let Entry::Vacant(vacant) = self.flows.entry(key) {
                    let json = read(stored.document, stored.parts)?;
                    let flow = Flow::from_json(&json).map_err(Unreadable::Invalid)?;
                    let published = Published { number: key.0, version: key.1, flow };
                    vacant.insert(Arc::new(published));
                }
            }
        }
        for (campaign_index, state) in memory.campaigns.iter().enumerate() {
            let number = number(campaign_index);
            if self.campaigns.get(&number).is_some_and(|(hash, _)| *hash == state.stored.document) {
                continue;
            }
            let json = read(state.stored.document, state.stored.parts)?;
            let campaign = Campaign::from_json(&json).map_err(Unreadable::Invalid)?;
            self.campaigns.insert(number, (state.stored.document, Arc::new(campaign)));
        }
        self.index_events();
        Ok(())
    }

    fn index_events(&mut self) {
        let mut current = BTreeMap::new();
        for published in self.flows.values() {
            // Versions come in ascending order, so that the last one stays.
            current.insert(published.flow.id.clone(), Arc::clone(published));
        }
        self.by_event.clear();
        for (_, published) in current {
            let event = published.flow.trigger.event.clone();
            self.by_event.entry(event).or_default().push(published);
        }
    }

    /// The current versions of the flows that an event of this name may start, by flow id.
    pub fn triggered_by(&self, event: &str) -> &[Arc<Published>] {
        self.by_event.get(event).map_or(&[], Vec::as_slice)
    }

    /// A version of a flow.
    pub fn version(&self, flow: u32, version: u32) -> Option<&Arc<Published>> {
        self.flows.get(&(flow, version))
    }

    /// A segment.
    pub fn segment(&self, id: &SegmentId) -> Option<&Arc<Segment>> {
        self.segments.get(id).map(|(_, segment)| segment)
    }

    /// The campaign that an enrollment begun at `now` counts for: the first of `named` that uses
    /// the flow; else of those that use it and whose dates hold `now` the one that started last, by
    /// id where several did.
    pub fn campaign(&self, flow: &FlowId, named: &[String], now: Timestamp) -> Option<u32> {
        let all = || self.campaigns.iter().map(|(number, (_, it))| (number, it));
        let using = || all().filter(|(_, it)| it.flows.contains(flow));
        let by_name = named.iter().find_map(|name| using().find(|(_, it)| it.id.as_str() == name));
        let by_date = || {
            let mut open: Vec<_> = using().filter(|(_, it)| it.holds(now)).collect();
            open.sort_by(|(_, a), (_, b)| b.starts.cmp(&a.starts).then_with(|| a.id.cmp(&b.id)));
            open.first().copied()
        };
        by_name.or_else(by_date).map(|(number, _)| *number)
    }

    /// What new definitions may refer to.
    pub fn known(&self, memory: &Memory) -> Known {
        let mut known = Known::default();
        let linked: BTreeMap<_, _> =
            memory.flows.iter().map(|flow| (&flow.segment, &flow.id)).collect();
        for (id, (_, segment)) in &self.segments {
            known.segments.insert(id.clone(), linked.get(id).copied().cloned());
            if let Membership::Rule(rule) = &segment.membership {
                known.segment_rules.insert(id.clone(), rule.needs().segments.clone());
            }
        }
        let current = self.by_event.values().flatten().map(|published| &published.flow);
        known.flows = current.map(|flow| (flow.id.clone(), flow.trigger.event.clone())).collect();
        known.campaigns = memory.campaigns.iter().map(|campaign| campaign.id.clone()).collect();
        let flows = memory.flows.iter().filter_map(|flow| flow.versions.last());
        let stored = memory.segments.values().chain(flows);
        let stored = stored.chain(memory.campaigns.iter().map(|campaign| &campaign.stored));
        known.documents = stored.map(|stored| stored.document).collect();
        known.weight = self.weight();
        known
    }

    /// Bytes of memory that it takes, as reckoned.
    fn weight(&self) -> usize {
        let segments = self.segments.values().map(|(_, segment)| segment.weight());
        let flows = self.flows.values().map(|published| published.flow.weight());
        let campaigns = self.campaigns.values().map(|(_, campaign)| campaign.weight());
        segments.chain(flows).chain(campaigns).sum()
    }
}

/// What of `definitions` is not stored yet, in document order.
#[derive(Debug, Default)]
pub(super) struct News<'a> {
    pub(super) segments: Vec<(&'a SegmentId, &'a str, ContentHash)>,
    pub(super) flows: Vec<(&'a FlowId, &'a SegmentId, &'a str, ContentHash)>,
    pub(super) campaigns: Vec<(&'a CampaignId, &'a str, ContentHash)>,
}

impl<'a> News<'a> {
    pub(super) fn of(definitions: &'a Definitions, memory: &Memory) -> Self {
        let mut news = Self::default();
        for it in &definitions.segments {
            let stored = memory.segments.get(&it.value.id);
            if stored.is_none_or(|stored| stored.document != it.hash) {
                news.segments.push((&it.value.id, &it.json, it.hash));
            }
        }
        for it in &definitions.flows {
            let stored = memory.flow_number(&it.value.id).and_then(|number| memory.flow(number));
            let current = stored.and_then(|flow| flow.versions.last());
            if current.is_none_or(|current| current.document != it.hash) {
                news.flows.push((&it.value.id, &it.value.segment, &it.json, it.hash));
            }
        }
        for it in &definitions.campaigns {
            let stored = memory.campaign_number(&it.value.id);
            let state = stored.and_then(|number| memory.campaigns.get(index(number)));
            if state.is_none_or(|state| state.stored.document != it.hash) {
                news.campaigns.push((&it.value.id, &it.json, it.hash));
            }
        }
        news
    }
}
