//! `decide(state, now, input)`: the only place where choices are made.
//!
//! What may follow from each input:
//!
//! | Input | Records |
//! |---|---|
//! | event | `EventReceived`, then per flow that it starts `Enrolled` and the first steps, then one `EntriesRefused`; a line that repeats an event: `LineRead` |
//! | customer | `CustomerChanged`; a line that changes nothing: `LineRead` |
//! | definitions | `DocumentPart`s, `SegmentChanged`, `FlowPublished`, `CampaignChanged` |
//! | timer | `WaitEnded` and the next steps, or `DeliveryAttempted`; nothing where it is stale |
//! | accepted loss | `LossAccepted`, `Restored` |
//! | outcome | `DeliverySent`, `DeliveryDeferred`, `DeliveryFailed` or `DeliverySkipped`; with the last one of its step also the next steps; nothing where it is stale |
//!
//! **Architecture invariant:** no effects. When rows are missing, the decision is thrown away and
//! asked for again.

use std::sync::Arc;

use super::{
    draft::Draft,
    input::{Answer, Decision, Found, Input, Rejection, Stop, View},
    key::{self, Key},
    matching, publish,
    reason::Idle,
    record::{
        CustomerChanged, EventReceived, LineRead, LineRejected, LossAccepted, Restored, Source,
    },
    row::Row,
    settle, walk,
};
use crate::{
    base::{
        PartitionId, Timestamp,
        limits::{
            ACTIVITY_NAMES_MAX, ATTRIBUTES_BYTES_MAX, DEDUP_WINDOW, EMAIL_BYTES_MAX, EVENT_AGE_MAX,
            EVENT_AHEAD_MAX, JSON_DEPTH_MAX, LINE_BYTES_MAX, NAME_BYTES_MAX,
            SUBSCRIPTION_BYTES_MAX, SUBSCRIPTIONS_MAX,
        },
        planted::is_planted,
    },
    model::{Activity, Customer, CustomerUpdate, Event, JsonText, LineCode, Subscription},
};

/// What follows from `input` at `now`.
pub fn decide<V: View>(
    view: &V,
    partition: PartitionId,
    now: Timestamp,
    input: &Input,
) -> Result<Decision, Stop> {
    let mut draft = Draft::new(view, partition, now);
    let answer = match input {
        Input::Event { source, event } => decide_event(&mut draft, *source, event)?,
        Input::Customer { source, update } => decide_customer(&mut draft, *source, update)?,
        Input::BlankLine { source } => {
            draft.push(LineRead { source: *source, line: Idle::Blank });
            Answer::Unchanged
        }
        Input::BadLine { source, error } => {
            let column = u64::try_from(error.column).unwrap_or(u64::MAX);
            draft.push(LineRejected { source: *source, code: error.code.number(), column });
            Answer::Unchanged
        }
        Input::Opening(file) => {
            publish::open_inputs(&mut draft, std::slice::from_ref(file));
            Answer::Accepted
        }
        Input::Publish { source, files, definitions } => {
            publish::open_inputs(&mut draft, files);
            publish::publish(&mut draft, *source, definitions)
        }
        Input::TimerDue(timer) => walk::timer_due(&mut draft, timer)?,
        Input::Settled { delivery, place, attempt, outcome } => {
            settle::settled(&mut draft, *delivery, *place, *attempt, outcome)?
        }
        Input::AcceptLoss { ends, acknowledged, instance } => {
            draft.push(LossAccepted { ends: *ends, acknowledged: *acknowledged });
            if !is_planted!("loss_keeps_the_name") {
                draft.push(Restored { instance: *instance });
            }
            Answer::Accepted
        }
        Input::Restored { instance } => {
            draft.push(Restored { instance: *instance });
            Answer::Accepted
        }
    };
    Ok(Decision { records: draft.into_records(), answer })
}

/// The customer, its activity of this name, and whether the id was seen, where there is one.
fn event_rows(event: &Event) -> [Option<Key>; 3] {
    let customer = key::customer(&event.customer);
    let activity = key::activity(&event.customer, &event.name);
    let seen = event.id.as_ref().map(|id| key::seen(&event.customer, id));
    [Some(customer), Some(activity), seen]
}

fn decide_event<V: View>(
    draft: &mut Draft<'_, V>,
    source: Source,
    event: &Event,
) -> Result<Answer, Stop> {
    let [known, known_activity, seen] = draft.rows(&event_rows(event))?;
    let properties = &event.properties;
    if event.name.len() > NAME_BYTES_MAX
        || properties.as_str().len() > LINE_BYTES_MAX
        || properties.is_deeper_than(JSON_DEPTH_MAX - 1)
    {
        return reject(draft, source, Rejection::EventTooLarge, LineCode::TooLarge);
    }
    if event.time.is_some_and(|time| time > draft.now.plus(EVENT_AHEAD_MAX)) {
        return reject(draft, source, Rejection::TooFarAhead, LineCode::TooFarAhead);
    }
    if is_duplicate(draft, seen) {
        if source.is_line() {
            draft.push(LineRead { source, line: Idle::Duplicate });
        }
        return Ok(Answer::Duplicate);
    }
    let known = if let Some(Row::Customer(row)) = known { Some(&**row) } else { None };
    let known_activity = if let Some(Row::Activity(it)) = known_activity { Some(it) } else { None };
    let names = known.map_or(0, |row| super::memory::index(row.names));
    let counted = known_activity.is_some() || names < ACTIVITY_NAMES_MAX;
    let time = super::apply::activity_time(event.time, draft.now);
    let too_old = draft.now.since(event.time.unwrap_or(draft.now)) > EVENT_AGE_MAX;
    let lsn = draft.push(EventReceived {
        source,
        customer: event.customer.clone(),
        created: known.is_none(),
        id: event.id.clone(),
        name: Arc::clone(&event.name),
        time: event.time,
        properties: event.properties.clone(),
        too_old,
        first: counted && known_activity.is_none(),
        counted,
    });
    if too_old {
        matching::refuse_all(draft, event, lsn);
        return Ok(Answer::Accepted);
    }
    let overflowed = known.is_some_and(|row| row.overflowed) || !counted;
    let fresh;
    let customer = match known {
        Some(row) => &row.customer,
        None => {
            fresh = Customer::new(event.customer.clone());
            &fresh
        }
    };
    let activity = counted.then(|| match known_activity {
        Some(before) => {
            let mut activity = before.clone();
            activity.add(time);
            activity
        }
        None => Activity::new(time),
    });
    let happened = matching::Happened { event, lsn, customer, activity, overflowed };
    matching::match_flows(draft, &happened)?;
    Ok(Answer::Accepted)
}

fn is_duplicate<V: View>(draft: &Draft<'_, V>, seen: Option<&Row>) -> bool {
    matches!(seen, Some(Row::Seen(time)) if draft.now.since(*time) < DEDUP_WINDOW)
}

fn decide_customer<V: View>(
    draft: &mut Draft<'_, V>,
    source: Source,
    update: &CustomerUpdate,
) -> Result<Answer, Stop> {
    let known = match draft.row(&key::customer(&update.id))? {
        Some(Row::Customer(row)) => Some(&row.customer),
        _ => None,
    };
    let fresh = Customer::new(update.id.clone());
    let before = known.unwrap_or(&fresh);
    if attributes_after(before, update) > ATTRIBUTES_BYTES_MAX || is_oversized(update) {
        return reject(draft, source, Rejection::CustomerTooLarge, LineCode::TooLarge);
    }
    let mut attributes = update.attributes.clone();
    attributes.retain(|name, value| before.attributes.get(name) != value.as_ref());
    let change = CustomerChanged {
        source,
        customer: update.id.clone(),
        created: known.is_none(),
        email: update.email.clone().filter(|new| *new != before.email),
        timezone: update.timezone.clone().filter(|new| *new != before.timezone),
        locale: update.locale.clone().filter(|new| *new != before.locale),
        attributes,
        push: update.push.clone().filter(|new| *new != before.push),
    };
    if changes_nothing(&change) {
        if source.is_line() {
            draft.push(LineRead { source, line: Idle::Unchanged });
        }
        return Ok(Answer::Unchanged);
    }
    draft.push(change);
    Ok(Answer::Accepted)
}

fn changes_nothing(change: &CustomerChanged) -> bool {
    let fields = [&change.timezone, &change.locale];
    !change.created
        && change.email.is_none()
        && fields.iter().all(|field| field.is_none())
        && change.attributes.is_empty()
        && change.push.is_none()
}

/// The bytes of the customer's attributes once the update is applied.
fn attributes_after(before: &Customer, update: &CustomerUpdate) -> usize {
    let kept =
        before.attributes.iter().filter(|(name, _)| !update.attributes.contains_key(&***name));
    let kept = kept.map(|(name, value)| name.len() + value.as_str().len() + 4);
    let set = update.attributes.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let set = set.map(|(name, value)| name.len() + value.as_str().len() + 4);
    kept.chain(set).sum()
}

/// Whether a part of the update is larger or deeper than any line may say; a caller can build one.
fn is_oversized(update: &CustomerUpdate) -> bool {
    let longer = |field: &Option<Option<String>>, max| {
        field.as_ref().and_then(Option::as_deref).is_some_and(|text| text.len() > max)
    };
    let email = update.email.as_ref().and_then(Option::as_deref);
    let push = update.push.as_deref().unwrap_or_default();
    let bytes = |it: &Subscription| it.endpoint.len() + it.keys.p256dh.len() + it.keys.auth.len();
    email.is_some_and(|email| email.len() > EMAIL_BYTES_MAX)
        || longer(&update.timezone, NAME_BYTES_MAX)
        || longer(&update.locale, NAME_BYTES_MAX)
        || push.len() > SUBSCRIPTIONS_MAX
        || push.iter().any(|it| bytes(it) > SUBSCRIPTION_BYTES_MAX)
        || update.attributes.iter().map(attribute_bytes).sum::<usize>() > ATTRIBUTES_BYTES_MAX
        || update.attributes.values().flatten().any(|it| it.is_deeper_than(JSON_DEPTH_MAX - 2))
}

fn attribute_bytes((name, value): (&String, &Option<JsonText>)) -> usize {
    name.len() + value.as_ref().map_or(0, |value| value.as_str().len()) + 4
}

/// A caller is told; a line is recorded, so that reading goes on behind it.
fn reject<V: View>(
    draft: &mut Draft<'_, V>,
    source: Source,
    rejection: Rejection,
    code: LineCode,
) -> Result<Answer, Stop> {
    if !source.is_line() {
        return Err(Stop::Rejected(rejection));
    }
    draft.push(LineRejected { source, code: code.number(), column: 1 });
    Ok(Answer::Refused { code, rejection })
}

impl<'a> Found<'a> {
    /// The row, or nothing where it does not exist; `Err` where it is not in memory.
    pub(super) fn resident(self, key: &Key) -> Result<Option<&'a Row>, Stop> {
        match self {
            Self::Row(row) => Ok(Some(row)),
            Self::Absent => Ok(None),
            Self::Missing => Err(Stop::Missing(vec![key.clone()])),
        }
    }
}
