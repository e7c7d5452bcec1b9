//! Reading a campaign.

use std::collections::BTreeSet;

use super::{At, Draft, Report, Spot, whole};
use crate::{
    base::{CampaignId, FlowId, Timestamp, limits::CAMPAIGN_FLOWS_MAX},
    model::{campaign::Campaign, finding::Fault},
};

/// A campaign as far as it can be read; none without an id.
pub(in crate::model) fn campaign(
    at: &At<'_>,
    report: &mut Report,
) -> Option<Draft<CampaignId, Campaign>> {
    let mut object = at.object(report)?;
    let id_at = object.require("id", report);
    let name = object.require("name", report).and_then(|at| at.name(report));
    let flows = object.require("flows", report);
    let starts_at = object.take("starts");
    let ends_at = object.take("ends");
    object.finish(report);
    let mut time =
        |at: &Option<At<'_>>| at.as_ref().map(|at| at.parse(report, "bad_time", Timestamp::parse));
    let (starts, ends) = (time(&starts_at), time(&ends_at));
    if let (Some(Some(starts)), Some(Some(ends)), Some(at)) = (starts, ends, &ends_at)
        && ends <= starts
    {
        report.error(&at.spot, "bad_value", "it ends before it starts", "let it end later");
    }
    let id_at = id_at?;
    let id = id_at.parse(report, "bad_id", CampaignId::new);
    let flows = flows.map(|flows| list(&flows, report));
    let mut draft = Draft::new(id?, id_at.spot);
    draft.flows.clone_from(flows.as_ref()?);
    let flows = flows.into_iter().flatten().map(|(flow, _)| flow).collect();
    // A date that is there and wrong leaves no document.
    if let (Some(name), Some(starts), Some(ends)) = (name, whole(starts), whole(ends)) {
        let value = Campaign { id: draft.id.clone(), name, flows, starts, ends };
        draft.document = Some(at.document(value));
    }
    Some(draft)
}

fn list(flows: &At<'_>, report: &mut Report) -> Vec<(FlowId, Spot)> {
    let (mut list, mut known) = (Vec::new(), BTreeSet::new());
    for flow in flows.items(report, CAMPAIGN_FLOWS_MAX) {
        let Some(id) = flow.parse(report, "bad_id", FlowId::new) else { continue };
        if known.insert(id.clone()) {
            list.push((id, flow.spot));
        } else {
            let message = format!("`{id}` is listed twice");
            let fault = Fault::new("duplicate_member", message, "keep one of them");
            report.warning(&flow.spot, fault);
        }
    }
    list
}
