//! What definitions say of each other: ids, references, links, and rules that ask for each other.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    campaign::Campaign,
    definitions::Known,
    flow::Flow,
    parse::{Draft, Report, Spot},
    segment::Segment,
};
use crate::base::{
    CampaignId, FlowId, SegmentId,
    limits::{FLOWS_MAX, SEGMENT_DEPTH_MAX},
};

/// All that some files define.
#[derive(Default)]
pub(super) struct Drafts {
    pub(super) segments: Vec<Draft<SegmentId, Segment>>,
    pub(super) flows: Vec<Draft<FlowId, Flow>>,
    pub(super) campaigns: Vec<Draft<CampaignId, Campaign>>,
}

/// Checks the drafts against each other and what is known.
pub(super) fn validate(drafts: &Drafts, known: &Known, report: &mut Report) {
    unique(drafts.segments.iter().map(|draft| (draft.id.as_str(), &draft.spot)), "segment", report);
    unique(drafts.flows.iter().map(|draft| (draft.id.as_str(), &draft.spot)), "flow", report);
    let campaigns = drafts.campaigns.iter().map(|draft| (draft.id.as_str(), &draft.spot));
    unique(campaigns, "campaign", report);
    count_flows(drafts, known, report);
    references(drafts, known, report);
    links(drafts, known, report);
    rules(drafts, known, report);
}

fn unique<'a>(ids: impl Iterator<Item = (&'a str, &'a Spot)>, kind: &str, report: &mut Report) {
    let mut seen = BTreeSet::new();
    for (id, spot) in ids {
        if !seen.insert(id) {
            let message = format!("a second {kind} has the id `{id}`");
            report.error(spot, "duplicate_id", message, "give it an id of its own");
        }
    }
}

fn count_flows(drafts: &Drafts, known: &Known, report: &mut Report) {
    let all: BTreeSet<_> = known.flows.iter().chain(drafts.flows.iter().map(|d| &d.id)).collect();
    if let Some(last) = drafts.flows.last().filter(|_| all.len() > FLOWS_MAX) {
        let message = format!("{} flows", all.len());
        report.error(&last.spot, "too_large", message, format!("at most {FLOWS_MAX}"));
    }
}

fn references(drafts: &Drafts, known: &Known, report: &mut Report) {
    let segments: BTreeSet<_> =
        known.segments.keys().chain(drafts.segments.iter().map(|draft| &draft.id)).collect();
    let flows: BTreeSet<_> = known.flows.iter().chain(drafts.flows.iter().map(|d| &d.id)).collect();
    let of_segments = drafts.segments.iter().flat_map(|draft| &draft.segments);
    let of_flows = drafts.flows.iter().flat_map(|draft| draft.segments.iter().chain(&draft.link));
    for (id, spot) in of_segments.chain(of_flows).filter(|(id, _)| !segments.contains(id)) {
        let message = format!("there is no segment `{id}`");
        report.error(spot, "unknown_segment", message, "define it, or name another");
    }
    let of_campaigns = drafts.campaigns.iter().flat_map(|draft| &draft.flows);
    for (id, spot) in of_campaigns.filter(|(id, _)| !flows.contains(id)) {
        let message = format!("there is no flow `{id}`");
        report.error(spot, "unknown_flow", message, "define it, or name another");
    }
}

/// One flow per segment; a flow published again brings its own link.
fn links(drafts: &Drafts, known: &Known, report: &mut Report) {
    let again: BTreeSet<_> = drafts.flows.iter().map(|draft| &draft.id).collect();
    let stored =
        known.segments.iter().filter_map(|(segment, flow)| Some((segment, flow.as_ref()?)));
    let mut taken: BTreeMap<_, _> = stored.filter(|(_, flow)| !again.contains(flow)).collect();
    for draft in &drafts.flows {
        let Some((segment, spot)) = &draft.link else { continue };
        let holder = *taken.entry(segment).or_insert(&draft.id);
        if holder != &draft.id {
            let message = format!("the segment `{segment}` belongs to the flow `{holder}`");
            let help =
                "give this flow a segment of its own; its rule may be in_segment of the other";
            report.error(spot, "segment_taken", message, help);
        }
    }
}

/// Rules may ask for other segments, but neither in a circle nor too deeply.
fn rules(drafts: &Drafts, known: &Known, report: &mut Report) {
    let mut asks: BTreeMap<&SegmentId, BTreeSet<&SegmentId>> =
        known.segment_rules.iter().map(|(id, asked)| (id, asked.iter().collect())).collect();
    for draft in &drafts.segments {
        asks.insert(&draft.id, draft.segments.iter().map(|(id, _)| id).collect());
    }
    let depths = depths(&asks);
    for draft in &drafts.segments {
        let Some((_, spot)) = draft.segments.first() else { continue };
        match depths.get(&draft.id) {
            Some(depth) if *depth > SEGMENT_DEPTH_MAX => {
                let message = format!("rules ask for segments {depth} deep");
                let help = format!("at most {SEGMENT_DEPTH_MAX} deep");
                report.error(spot, "segment_depth", message, help);
            }
            None if asks_itself(&draft.id, &asks) => {
                let message = format!("the rule of `{}` asks for itself", draft.id);
                let help = "take one in_segment of the circle away";
                report.error(spot, "segment_cycle", message, help);
            }
            Some(_) | None => {}
        }
    }
}

type Asks<'a> = BTreeMap<&'a SegmentId, BTreeSet<&'a SegmentId>>;

/// How deep each rule asks; those that lead into a circle have no depth.
fn depths<'a>(asks: &Asks<'a>) -> BTreeMap<&'a SegmentId, usize> {
    let mut askers: BTreeMap<&SegmentId, Vec<&'a SegmentId>> = BTreeMap::new();
    let mut open: BTreeMap<&SegmentId, usize> = BTreeMap::new();
    let mut depths = BTreeMap::new();
    let mut settled: Vec<&'a SegmentId> = Vec::new();
    for (id, asked) in asks {
        open.insert(*id, asked.len());
        asked.iter().for_each(|other| askers.entry(*other).or_default().push(*id));
        // What has no rule in sight asks for nothing.
        settled.extend(asked.iter().filter(|other| !asks.contains_key(*other)));
    }
    settled.extend(asks.iter().filter(|(_, asked)| asked.is_empty()).map(|(id, _)| *id));
    settled.sort_unstable();
    settled.dedup();
    while let Some(id) = settled.pop() {
        let below = asks.get(id).into_iter().flatten().filter_map(|other| depths.get(other));
        let depth = below.max().map_or(0, |deepest: &usize| deepest + 1);
        depths.insert(id, depth);
        for asker in askers.get(id).into_iter().flatten() {
            let left = open.entry(*asker).or_default();
            *left = left.saturating_sub(1);
            if *left == 0 {
                settled.push(*asker);
            }
        }
    }
    depths
}

fn asks_itself(id: &SegmentId, asks: &Asks<'_>) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![id];
    while let Some(next) = open.pop() {
        for other in asks.get(next).into_iter().flatten() {
            if *other == id {
                return true;
            }
            if seen.insert(*other) {
                open.push(other);
            }
        }
    }
    false
}
