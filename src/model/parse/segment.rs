//! Reading a segment.

use std::collections::BTreeSet;

use super::{At, Draft, Report};
use crate::{
    base::{CustomerId, SegmentId, limits::MEMBERS_MAX},
    model::{
        condition::{Condition, Place},
        finding::Fault,
        segment::{Membership, Segment},
    },
};

/// A segment as far as it can be read; none without an id.
pub(in crate::model) fn segment(
    at: &At<'_>,
    report: &mut Report,
) -> Option<Draft<SegmentId, Segment>> {
    let mut object = at.object(report)?;
    let id_at = object.require("id", report);
    let name = object.require("name", report).and_then(|at| at.name(report));
    let (rule, members) = (object.take("rule"), object.take("members"));
    let spot = object.spot.clone();
    object.finish(report);
    let id_at = id_at?;
    let id = id_at.parse(report, "bad_id", SegmentId::new);
    let mut segments = Vec::new();
    let membership = match (rule, members) {
        (Some(rule), None) => {
            rule.expression(report, Place::SegmentRule).map(Condition::from).map(|condition| {
                let asked = condition.needs().segments.iter();
                segments.extend(asked.map(|id| (id.clone(), rule.spot.clone())));
                Membership::Rule(condition)
            })
        }
        (None, Some(members)) => Some(Membership::Members(list(&members, report))),
        (Some(rule), Some(_)) => {
            let help = "keep `rule` or `members`";
            report.error(&rule.spot, "conflicting_fields", "both a rule and members", help);
            None
        }
        (None, None) => {
            let help = "add \"rule\": \"<condition>\" or \"members\": [\"<customer id>\"]";
            report.error(&spot, "missing_field", "neither a rule nor members", help);
            None
        }
    };
    let mut draft = Draft::new(id?, id_at.spot);
    draft.segments = segments;
    if let (Some(name), Some(membership)) = (name, membership) {
        draft.document = Some(at.document(Segment { id: draft.id.clone(), name, membership }));
    }
    Some(draft)
}

fn list(members: &At<'_>, report: &mut Report) -> BTreeSet<CustomerId> {
    let mut list = BTreeSet::new();
    for member in members.items(report, MEMBERS_MAX) {
        let Some(id) = member.parse(report, "bad_id", CustomerId::new) else { continue };
        if let Some(twice) = list.replace(id) {
            let message = format!("`{twice}` is listed twice");
            let fault = Fault::new("duplicate_member", message, "keep one of them");
            report.warning(&member.spot, fault);
        }
    }
    list
}
