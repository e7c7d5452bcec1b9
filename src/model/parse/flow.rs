//! Reading a flow.

use super::{At, Draft, Report, Spot, steps, whole};
use crate::{
    base::{FlowId, SegmentId, Span, limits::FLOW_BYTES_MAX},
    model::{
        condition::{Condition, Expression, Place},
        finding::Fault,
        flow::Flow,
        trigger::{EntryRule, Trigger},
    },
};

/// A flow as far as it can be read; none without an id.
pub(in crate::model) fn flow(at: &At<'_>, report: &mut Report) -> Option<Draft<FlowId, Flow>> {
    let mut object = at.object(report)?;
    let id_at = object.require("id", report);
    let name = object.require("name", report).and_then(|at| at.name(report));
    let segment = object.require("segment", report);
    let trigger = object.require("trigger", report);
    let (entry, entry_key) = (object.take("entry"), object.take("entry_key"));
    let steps = object.require("steps", report);
    object.finish(report);

    let link = segment.and_then(|at| Some((at.parse(report, "bad_id", SegmentId::new)?, at.spot)));
    let mut segments = Vec::new();
    let trigger = trigger.and_then(|at| read_trigger(&at, report, &mut segments));
    let rule = entry.as_ref().map(|at| read_entry(at, report));
    let key = entry_key.as_ref().map(|at| {
        let key = at.expression(report, Place::EntryKey)?;
        asked(&key, &at.spot, &mut segments);
        Some(key)
    });
    if let (Some(at), Some(Some(EntryRule::EveryTime | EntryRule::After(_))), None) =
        (&entry, rule, &key)
    {
        let message = "without an entry key a customer has one enrollment at a time";
        let help = "add \"entry_key\": \"event.id\" for one enrollment per event";
        report.warning(&at.spot, Fault::new("entry_key_missing", message, help));
    }
    let steps = steps.and_then(|at| steps::steps(&at, report));

    let id_at = id_at?;
    let mut draft = Draft::new(id_at.parse(report, "bad_id", FlowId::new)?, id_at.spot);
    draft.segments = segments;
    draft.link.clone_from(&link);
    let parts = (name, link, trigger, whole(rule), whole(key), steps);
    let (Some(name), Some((segment, _)), Some(trigger), Some(entry), Some(entry_key), Some(steps)) =
        parts
    else {
        return Some(draft);
    };
    let entry = entry.unwrap_or_default();
    let variables = steps.iter().flat_map(|step| step.variables.iter());
    let trigger_paths = variables.filter(|name| name.starts_with("trigger.")).cloned().collect();
    let id = draft.id.clone();
    let value = Flow { id, name, segment, trigger, entry, entry_key, steps, trigger_paths };
    let document = at.document(value);
    if document.json.len() > FLOW_BYTES_MAX {
        let message = format!("{} bytes of flow", document.json.len());
        report.error(&at.spot, "too_large", message, format!("at most {FLOW_BYTES_MAX}"));
    }
    draft.document = Some(document);
    Some(draft)
}

fn asked(expression: &Expression, spot: &Spot, segments: &mut Vec<(SegmentId, Spot)>) {
    let asked = expression.needs().segments.iter();
    segments.extend(asked.map(|id| (id.clone(), spot.clone())));
}

fn read_trigger(
    at: &At<'_>,
    report: &mut Report,
    segments: &mut Vec<(SegmentId, Spot)>,
) -> Option<Trigger> {
    let mut object = at.object(report)?;
    let event = object.require("event", report).and_then(|at| at.name(report));
    let filter = object.take("filter");
    object.finish(report);
    let filter = filter.map(|at| {
        let filter = at.expression(report, Place::TriggerFilter)?;
        asked(&filter, &at.spot, segments);
        Some(Condition::from(filter))
    });
    Some(Trigger { event: event?, filter: whole(filter)? })
}

fn read_entry(at: &At<'_>, report: &mut Report) -> Option<EntryRule> {
    if at.is_text() {
        let all = [EntryRule::Once, EntryRule::EveryTime];
        return at.choice(report, &all, |rule| match rule {
            EntryRule::EveryTime => "every_time",
            EntryRule::Once | EntryRule::After(_) => "once",
        });
    }
    let mut object = at.object(report)?;
    let after = object.require("after", report);
    object.finish(report);
    after?.parse(report, "bad_duration", Span::parse).map(EntryRule::After)
}
