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
    limits::{
        CAMPAIGNS_MAX, CATALOG_BYTES_MAX, EVENT_FLOWS_MAX, FLOWS_MAX, SEGMENT_DEPTH_MAX,
        SEGMENTS_MAX,
    },
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
    count(&drafts.segments, known.segments.keys(), ("segments", SEGMENTS_MAX), report);
    count(&drafts.flows, known.flows.keys(), ("flows", FLOWS_MAX), report);
    count_by_event(drafts, known, report);
    count(&drafts.campaigns, &known.campaigns, ("campaigns", CAMPAIGNS_MAX), report);
    weigh(drafts, known, report);
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

/// A directory has so many of a kind, stored ones and new ones.
fn count<'a, I: Ord + 'a, T>(
    drafts: &'a [Draft<I, T>],
    stored: impl IntoIterator<Item = &'a I>,
    (kind, max): (&str, usize),
    report: &mut Report,
) {
    let all: BTreeSet<_> = stored.into_iter().chain(drafts.iter().map(|it| &it.id)).collect();
    if let Some(last) = drafts.last().filter(|_| all.len() > max) {
        let message = format!("{} {kind} with those that are stored", all.len());
        report.error(&last.spot, "too_large", message, format!("a directory has at most {max}"));
    }
}

/// Every flow that an event may start is judged for each such event.
fn count_by_event(drafts: &Drafts, known: &Known, report: &mut Report) {
    let again: BTreeSet<_> = drafts.flows.iter().map(|draft| &draft.id).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, event) in known.flows.iter().filter(|(id, _)| !again.contains(id)) {
        *counts.entry(event).or_default() += 1;
    }
    for draft in &drafts.flows {
        let Some(document) = &draft.document else { continue };
        let event = document.value.trigger.event.as_str();
        let count = counts.entry(event).or_default();
        *count += 1;
        if *count == EVENT_FLOWS_MAX + 1 {
            let message = format!("more than {EVENT_FLOWS_MAX} flows start at `{event}`");
            let help = "let one flow do the work of several, or name events more exactly";
            report.error(&draft.spot, "too_large", message, help);
        }
    }
}

/// A directory compiles all that it holds when it is opened, and must not run out of memory then.
fn weigh(drafts: &Drafts, known: &Known, report: &mut Report) {
    let segments = drafts.segments.iter().map(|it| news(it, known, Segment::weight));
    let flows = drafts.flows.iter().map(|it| news(it, known, Flow::weight));
    let campaigns = drafts.campaigns.iter().map(|it| news(it, known, Campaign::weight));
    let mut total = known.weight;
    for (spot, weight) in segments.chain(flows).chain(campaigns).filter(|(_, it)| *it > 0) {
        total += weight;
        if total > CATALOG_BYTES_MAX {
            let message = "with this the directory would hold too many definitions";
            let help = format!(
                "all that are stored, old versions of flows included, take at most \
                 {CATALOG_BYTES_MAX} bytes of memory; begin a new directory"
            );
            return report.error(spot, "too_large", message, help);
        }
    }
}

/// What a draft adds to what is stored.
fn news<'a, I, T>(
    draft: &'a Draft<I, T>,
    known: &Known,
    weight: impl Fn(&T) -> usize,
) -> (&'a Spot, usize) {
    let new = draft.document.as_ref().filter(|it| !known.documents.contains(&it.hash));
    (&draft.spot, new.map_or(0, |it| weight(&it.value)))
}

fn references(drafts: &Drafts, known: &Known, report: &mut Report) {
    let segments: BTreeSet<_> =
        known.segments.keys().chain(drafts.segments.iter().map(|draft| &draft.id)).collect();
    let flows: BTreeSet<_> = known.flows.keys().chain(drafts.flows.iter().map(|d| &d.id)).collect();
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
