//! Definitions: the segments, flows and campaigns of some files, read, checked and ready to use.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    campaign::Campaign,
    finding::{Finding, Findings},
    flow::Flow,
    parse::{self, At, Draft, Report, Source},
    segment::Segment,
    validate::{Drafts, validate},
};
use crate::base::{
    CampaignId, ContentHash, FlowId, SegmentId,
    limits::{CAMPAIGNS_MAX, FLOWS_MAX, SEGMENTS_MAX},
};

/// What some files define.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Definitions {
    /// The segments, in the order of the files.
    pub segments: Vec<Document<Segment>>,
    /// The flows, in the order of the files.
    pub flows: Vec<Document<Flow>>,
    /// The campaigns, in the order of the files.
    pub campaigns: Vec<Document<Campaign>>,
    /// What someone should look at, by file, line and column.
    pub warnings: Vec<Finding>,
}

/// A definition with the text that is stored of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document<T> {
    /// What it says.
    pub value: T,
    /// The JSON as the operator wrote it: compact, keys sorted, no defaults filled in.
    pub json: String,
    /// The hash of `json`: two documents with one hash say the same.
    pub hash: ContentHash,
}

/// What a directory holds already, which files may refer to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// The stored segments, and the flow that is linked to each.
    pub segments: BTreeMap<SegmentId, Option<FlowId>>,
    /// The stored flows, and the event that starts each.
    pub flows: BTreeMap<FlowId, String>,
    /// The segments that the rule of a stored segment asks for, where it asks for any.
    pub segment_rules: BTreeMap<SegmentId, BTreeSet<SegmentId>>,
    /// The stored campaigns.
    pub campaigns: BTreeSet<CampaignId>,
    /// The documents in force.
    pub documents: BTreeSet<ContentHash>,
    /// Bytes of memory that all stored definitions take, as reckoned.
    pub weight: usize,
}

/// What stored documents are called in findings.
const STORED: &str = "stored document";

impl Definitions {
    /// Reads and checks files together, each with a name for the findings; every finding at once.
    pub fn parse(files: &[(&str, &[u8])], known: &Known) -> Result<Self, Findings> {
        let mut report = Report::default();
        let mut drafts = Drafts::default();
        let numbered = files.iter().enumerate();
        let sources: Vec<Source<'_>> = numbered
            .map(|(file, (name, bytes))| Source::new(file, name, bytes, &mut report))
            .collect();
        for (file, source) in sources.iter().enumerate() {
            let tree =
                source.is_whole.then(|| parse::tree(file, source.text, &mut report)).flatten();
            if let Some(tree) = tree {
                read(&At::root(&tree, file), &mut drafts, &mut report);
            }
        }
        validate(&drafts, known, &mut report);
        let (findings, warnings) = report.finish(&sources);
        if !findings.list.is_empty() {
            return Err(findings);
        }
        Ok(Self {
            segments: drafts.segments.into_iter().filter_map(|draft| draft.document).collect(),
            flows: drafts.flows.into_iter().filter_map(|draft| draft.document).collect(),
            campaigns: drafts.campaigns.into_iter().filter_map(|draft| draft.document).collect(),
            warnings,
        })
    }
}

fn read(at: &At<'_>, drafts: &mut Drafts, report: &mut Report) {
    let Some(mut root) = at.object(report) else { return };
    let (segments, flows) = (root.take("segments"), root.take("flows"));
    let campaigns = root.take("campaigns");
    root.finish(report);
    each(segments, SEGMENTS_MAX, report, |at, report| {
        drafts.segments.extend(parse::segment(at, report));
    });
    each(flows, FLOWS_MAX, report, |at, report| drafts.flows.extend(parse::flow(at, report)));
    each(campaigns, CAMPAIGNS_MAX, report, |at, report| {
        drafts.campaigns.extend(parse::campaign(at, report));
    });
}

fn each(
    list: Option<At<'_>>,
    max: usize,
    report: &mut Report,
    mut read: impl FnMut(&At<'_>, &mut Report),
) {
    let items = list.map(|list| list.items(report, max));
    for item in items.into_iter().flatten() {
        read(&item, report);
    }
}

/// One document of its own, as [`Document::json`] holds it.
fn stored<I, T>(
    json: &str,
    read: impl FnOnce(&At<'_>, &mut Report) -> Option<Draft<I, T>>,
) -> Result<T, Findings> {
    // What is stored was within bounds when it came, whatever they were.
    let mut report = Report::of_stored();
    let source = Source::new(0, STORED, json.as_bytes(), &mut report);
    let tree = parse::tree(0, source.text, &mut report);
    let draft = tree.as_ref().and_then(|tree| read(&At::root(tree, 0), &mut report));
    let document = draft.and_then(|draft| draft.document);
    let (findings, _) = report.finish(&[source]);
    document.filter(|_| findings.list.is_empty()).map(|document| document.value).ok_or(findings)
}

impl Segment {
    /// Reads a segment from its stored document.
    pub fn from_json(json: &str) -> Result<Self, Findings> {
        stored(json, parse::segment)
    }
}

impl Flow {
    /// Reads a flow from its stored document.
    pub fn from_json(json: &str) -> Result<Self, Findings> {
        stored(json, parse::flow)
    }
}

impl Campaign {
    /// Reads a campaign from its stored document.
    pub fn from_json(json: &str) -> Result<Self, Findings> {
        stored(json, parse::campaign)
    }
}

#[cfg(test)]
mod tests;
