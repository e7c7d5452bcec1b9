//! Definitions come into force: what is new or changed becomes documents, versions and numbers.

use std::collections::BTreeMap;

use super::{
    catalog::News,
    draft::Draft,
    input::{Answer, InputFile, View},
    memory::number,
    record::{CampaignChanged, DocumentPart, FlowPublished, InputOpened, SegmentChanged, Source},
};
use crate::{
    base::{ContentHash, FlowId, limits::DOCUMENT_PART_BYTES},
    model::Definitions,
};

/// Records the identities of input files, numbered on from those there are.
pub(super) fn open_inputs<V: View>(draft: &mut Draft<'_, V>, files: &[InputFile]) {
    let first = number(draft.view.memory().inputs.len());
    for (file, input) in files.iter().zip(first..) {
        let (kind, name, length, hash) = (file.kind, file.name.clone(), file.length, file.hash);
        draft.push(InputOpened { kind, input, name, length, hash });
    }
}

/// Publishes what is not in force yet; the same content is the same version.
pub(super) fn publish<V: View>(
    draft: &mut Draft<'_, V>,
    source: Source,
    definitions: &Definitions,
) -> Answer {
    let memory = draft.view.memory();
    let news = News::of(definitions, memory);
    for (id, json, document) in &news.segments {
        let parts = store(draft, *document, json);
        let segment = (*id).clone();
        draft.push(SegmentChanged { source, segment, document: *document, parts });
    }
    let mut new_flows: BTreeMap<&FlowId, u32> = BTreeMap::new();
    for (id, segment, json, document) in &news.flows {
        let parts = store(draft, *document, json);
        let next = number(memory.flows.len() + new_flows.len());
        let known = memory.flow_number(id);
        let flow_number = known.unwrap_or_else(|| *new_flows.entry(id).or_insert(next));
        let versions =
            known.and_then(|number| memory.flow(number)).map_or(0, |it| it.versions.len());
        draft.push(FlowPublished {
            source,
            flow: (*id).clone(),
            number: flow_number,
            version: number(versions).saturating_add(1),
            segment: (*segment).clone(),
            document: *document,
            parts,
        });
    }
    let mut next = number(memory.campaigns.len());
    for (id, json, document) in &news.campaigns {
        let parts = store(draft, *document, json);
        let campaign_number = memory.campaign_number(id).unwrap_or_else(|| {
            next = next.saturating_add(1);
            next.saturating_sub(1)
        });
        let campaign = (*id).clone();
        let number = campaign_number;
        draft.push(CampaignChanged { source, campaign, number, document: *document, parts });
    }
    Answer::Published {
        segments: news.segments.len(),
        flows: news.flows.len(),
        campaigns: news.campaigns.len(),
    }
}

/// Records the document's text in parts and says in how many.
fn store<V: View>(draft: &mut Draft<'_, V>, document: ContentHash, json: &str) -> u32 {
    let texts = split(json);
    let parts = number(texts.len());
    for (text, part) in texts.into_iter().zip(0_u32..) {
        draft.push(DocumentPart { document, part, parts, text: text.to_owned() });
    }
    parts
}

/// Cuts `text` between characters into parts that fit a record each.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while rest.len() > DOCUMENT_PART_BYTES {
        let at = rest.floor_char_boundary(DOCUMENT_PART_BYTES);
        let (part, tail) = rest.split_at(at);
        parts.push(part);
        rest = tail;
    }
    parts.push(rest);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_document_is_cut_between_characters() {
        let text = "é".repeat(DOCUMENT_PART_BYTES);
        let parts = split(&text);
        assert_eq!(parts.concat(), text);
        assert!(parts.len() == 2 && parts.iter().all(|part| part.len() <= DOCUMENT_PART_BYTES));
        assert_eq!(split(""), [""]);
    }
}
