//! Reading the steps of a flow: their order, how they lead to each other, and what they do.

use std::collections::{BTreeMap, BTreeSet};

use super::{At, Object, Report, Spot};
use crate::{
    base::{
        Span, StepId,
        limits::{CYCLE_WAIT_MIN, STEPS_MAX},
    },
    model::step::{Action, Step},
};

struct Draft {
    spot: Spot,
    id: Option<(StepId, Spot)>,
    order: Option<(usize, Spot)>,
    action: Option<Action>,
    ends: bool,
    next: Option<(StepId, Spot)>,
}

/// The steps by `step_order`; none where anything about them is wrong.
pub(super) fn steps(at: &At<'_>, report: &mut Report) -> Option<Vec<Step>> {
    let items = at.items(report, STEPS_MAX);
    if items.is_empty() {
        report.error(&at.spot, "missing_field", "a flow without steps", "add a step");
        return None;
    }
    let mut drafts: Vec<Draft> = items.iter().filter_map(|at| read(at, report)).collect();
    let complete = drafts.len() == items.len();
    let ordered = check_order(&mut drafts, report);
    let places = places(&drafts, report);
    let nexts = nexts(&drafts, &places, report);
    if !(complete && ordered && places.len() == drafts.len()) {
        return None;
    }
    let nexts = nexts?;
    check_reachable(&drafts, &nexts, report);
    check_cycles(&drafts, &nexts, report);
    let step = |(draft, next): (Draft, Option<usize>)| {
        let action = draft.action?;
        Some(Step { id: draft.id?.0, variables: action.variables(), action, next })
    };
    drafts.into_iter().zip(nexts).map(step).collect()
}

fn read(at: &At<'_>, report: &mut Report) -> Option<Draft> {
    let mut object = at.object(report)?;
    let id = object.require("id", report);
    let order = object.require("step_order", report);
    let kind = object.require("step_type", report);
    let config = object.take("config");
    let next = object.take("next_step_id");
    object.finish(report);
    let mut step_id = |at: Option<At<'_>>| {
        at.and_then(|at| Some((at.parse(report, "bad_id", StepId::new)?, at.spot)))
    };
    let (id, next) = (step_id(id), step_id(next));
    let order = order.and_then(|at| {
        let parse = |text: &str| match text.parse() {
            Ok(order @ 1..) => Ok(order),
            _ => Err("write 1, 2, 3, ..."),
        };
        Some((at.number(report, "step_order", parse)?, at.spot))
    });
    let config = match &config {
        Some(at) => at.object(report),
        None => Some(Object::empty(at.spot.clone())),
    };
    let ends = kind.as_ref().and_then(|at| at.text(report)) == Some("EXIT");
    if let (true, Some((_, spot))) = (ends, &next) {
        let help = "take `next_step_id` away";
        report.error(spot, "conflicting_fields", "nothing comes after an EXIT", help);
    }
    let action = kind.and_then(|kind| Action::read(&kind, config?, report));
    Some(Draft { spot: at.spot.clone(), id, order, action, ends, next })
}

/// Sorts by `step_order`, which is 1, 2, 3, ...
fn check_order(drafts: &mut [Draft], report: &mut Report) -> bool {
    drafts.sort_by_key(|draft| draft.order.as_ref().map(|(order, _)| *order));
    let mut right = true;
    let mut last = 0;
    for (order, spot) in drafts.iter().map(|draft| draft.order.as_ref()).map_while(|o| o) {
        if *order != last + 1 {
            right = false;
            let message = if *order == last {
                format!("a second step has the order {order}")
            } else {
                format!("the order {order} comes after {last}")
            };
            let help = "number the steps 1, 2, 3, ... without gaps";
            report.error(spot, "step_order", message, help);
        }
        last = *order;
    }
    right && drafts.iter().all(|draft| draft.order.is_some())
}

/// The place of each id.
fn places(drafts: &[Draft], report: &mut Report) -> BTreeMap<StepId, usize> {
    let mut places = BTreeMap::new();
    for (place, draft) in drafts.iter().enumerate() {
        let Some((id, spot)) = &draft.id else { continue };
        if places.insert(id.clone(), place).is_some() {
            let message = format!("a second step has the id `{id}`");
            report.error(spot, "duplicate_id", message, "give each step an id of its own");
        }
    }
    places
}

/// The place of the step that follows each.
fn nexts(
    drafts: &[Draft],
    places: &BTreeMap<StepId, usize>,
    report: &mut Report,
) -> Option<Vec<Option<usize>>> {
    let mut nexts = Vec::new();
    let mut known = true;
    for (place, draft) in drafts.iter().enumerate() {
        let following = (place + 1 < drafts.len()).then_some(place + 1);
        nexts.push(match &draft.next {
            _ if draft.ends => None,
            None => following,
            Some((id, spot)) => {
                let found = places.get(id).copied();
                if found.is_none() {
                    let message = format!("the flow has no step `{id}`");
                    report.error(spot, "unknown_step", message, "name a step of this flow");
                    known = false;
                }
                found
            }
        });
    }
    known.then_some(nexts)
}

fn next_of(nexts: &[Option<usize>], place: usize) -> Option<usize> {
    nexts.get(place).copied().flatten()
}

fn check_reachable(drafts: &[Draft], nexts: &[Option<usize>], report: &mut Report) {
    let mut reached = BTreeSet::new();
    let mut place = Some(0);
    while let Some(here) = place.filter(|here| reached.insert(*here)) {
        place = next_of(nexts, here);
    }
    for (_, draft) in drafts.iter().enumerate().filter(|(place, _)| !reached.contains(place)) {
        let help = "let a step before it lead here, or take it away";
        report.error(&draft.spot, "unreachable_step", "no step leads here", help);
    }
}

/// Each step has one successor, so each walk ends in at most one circle.
fn check_cycles(drafts: &[Draft], nexts: &[Option<usize>], report: &mut Report) {
    let mut walked = BTreeSet::new();
    for start in 0..drafts.len() {
        let mut walk = Vec::new();
        let mut place = Some(start);
        while let Some(here) = place.filter(|here| walked.insert(*here)) {
            walk.push(here);
            place = next_of(nexts, here);
        }
        let entered = place.and_then(|again| walk.iter().position(|here| *here == again));
        let Some((_, circle)) = entered.and_then(|entered| walk.split_at_checked(entered)) else {
            continue;
        };
        let steps = || circle.iter().filter_map(|place| drafts.get(*place));
        let actions: Option<Vec<&Action>> = steps().map(|step| step.action.as_ref()).collect();
        // A wait that could not be read has its finding already.
        let Some(actions) = actions else { continue };
        let waited = actions.into_iter().map(|action| Action::least_wait(action).micros()).sum();
        if Span::micros(CYCLE_WAIT_MIN) <= waited {
            continue;
        }
        let link = steps().filter_map(|step| step.next.as_ref()).next_back();
        let spot =
            link.map_or_else(|| drafts.first().map(|draft| &draft.spot), |(_, spot)| Some(spot));
        if let Some(spot) = spot {
            let message = "the steps lead in a circle without a wait";
            let help = format!("put WAITs of {CYCLE_WAIT_MIN} or more in sum into the circle");
            report.error(spot, "cycle_without_wait", message, help);
        }
    }
}
