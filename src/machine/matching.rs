//! Event to flows: which ones it starts for its customer, and why it does not start the others.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    sync::Arc,
};

use super::{
    catalog::Published,
    draft::Draft,
    input::{Stop, View},
    key,
    reason::Refusal,
    record::{Enrolled, EntriesRefused, TriggerData},
    remembered::Remembered,
    row::{Entry, Row},
    walk::{self, Walker},
};
use crate::{
    base::{
        FlowId, Lsn, SegmentId,
        id::customer_hash,
        limits::{
            ERROR_BYTES_MAX, GROUP_BYTES_MAX, KEY_MEMORY, SEGMENT_DEPTH_MAX, TRIGGER_BYTES_MAX,
            UNKNOWN_TEXTS_MAX,
        },
    },
    model::{
        Activity, Condition, Customer, EntryRule, Event, Expression, Facts, Membership, Needs,
        Unknown,
    },
};

/// An accepted event with the customer and the activity as it left them.
#[derive(Debug)]
pub(super) struct Happened<'a> {
    pub(super) event: &'a Event,
    pub(super) lsn: Lsn,
    pub(super) customer: &'a Customer,
    /// Of the event's own name; none where the customer has too many names.
    pub(super) activity: Option<Activity>,
    /// Whether events of some name were not counted for this customer.
    pub(super) overflowed: bool,
}

/// Why a flow that the event triggers enrols nobody, or cannot be decided yet.
enum No {
    Stop(Stop),
    Refused(Refusal),
    /// A condition has no answer, and why.
    Unknown(Refusal, Unknown),
}

impl From<Stop> for No {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

/// Enrols the customer in every flow that the event starts, flows by id.
pub(super) fn match_flows<V: View>(
    draft: &mut Draft<'_, V>,
    happened: &Happened<'_>,
) -> Result<(), Stop> {
    let mut refused = Vec::new();
    let mut unknown = BTreeMap::new();
    let view = draft.view;
    let asked = Asked::default();
    let mut remembered = Remembered::default();
    for published in view.catalog().triggered_by(&happened.event.name) {
        let number = published.number;
        let entered = admit(draft, happened, published, &asked)
            .and_then(|key| enrol(draft, happened, published, key, &mut remembered));
        match entered {
            Ok(()) => {}
            Err(No::Stop(stop)) => return Err(stop),
            Err(No::Refused(reason)) => refused.push((number, reason)),
            Err(No::Unknown(reason, Unknown(mut why))) => {
                refused.push((number, reason));
                if unknown.len() < UNKNOWN_TEXTS_MAX {
                    why.truncate(why.floor_char_boundary(ERROR_BYTES_MAX));
                    unknown.insert(number, why);
                }
            }
        }
    }
    if !refused.is_empty() {
        let event = draft.back(happened.lsn);
        draft.push(EntriesRefused { event, refused, unknown });
    }
    Ok(())
}

/// Records that an event was too old to enrol anybody.
pub(super) fn refuse_all<V: View>(draft: &mut Draft<'_, V>, event: &Event, lsn: Lsn) {
    let triggered = draft.view.catalog().triggered_by(&event.name);
    let refused: Vec<_> = triggered.iter().map(|it| (it.number, Refusal::TooOld)).collect();
    if !refused.is_empty() {
        let (event, unknown) = (draft.back(lsn), BTreeMap::new());
        draft.push(EntriesRefused { event, refused, unknown });
    }
}

/// The entry key with which the customer may enter.
fn admit<V: View>(
    draft: &Draft<'_, V>,
    happened: &Happened<'_>,
    published: &Published,
    asked: &Asked,
) -> Result<Option<String>, No> {
    let flow = &published.flow;
    let judge = Judge { draft, happened, flow: Some(&flow.id), asked };
    if let Some(filter) = &flow.trigger.filter {
        match judge.holds(filter, 0)? {
            Ok(true) => {}
            Ok(false) => return Err(No::Refused(Refusal::Filter)),
            Err(unknown) => return Err(No::Unknown(Refusal::FilterUnknown, unknown)),
        }
    }
    match judge.in_segment(&flow.segment, 0)? {
        Ok(true) => {}
        Ok(false) => return Err(No::Refused(Refusal::NotInSegment)),
        Err(unknown) => return Err(No::Unknown(Refusal::SegmentUnknown, unknown)),
    }
    let key = match &flow.entry_key {
        None => None,
        Some(expression) => match judge.key(expression)? {
            Ok(Some(key)) => Some(key),
            Ok(None) => return Err(No::Refused(Refusal::NoEntryKey)),
            Err(unknown) => return Err(No::Unknown(Refusal::NoEntryKey, unknown)),
        },
    };
    match may_enter(draft, happened, published, key.as_deref())? {
        None => Ok(key),
        Some(refusal) => Err(No::Refused(refusal)),
    }
}

/// What the memory of entries says against entering with this key.
fn may_enter<V: View>(
    draft: &Draft<'_, V>,
    happened: &Happened<'_>,
    published: &Published,
    key: Option<&str>,
) -> Result<Option<Refusal>, Stop> {
    let id = &happened.event.customer;
    let row = draft.row(&key::entry(id, published.number, key))?;
    let Some(Row::Entry(Entry { started_at, latest, .. })) = row else { return Ok(None) };
    let enrollment = draft.row(&key::enrollment(customer_hash(id), *latest))?;
    if matches!(enrollment, Some(Row::Enrollment(it)) if it.is_active()) {
        return Ok(Some(Refusal::AlreadyActive));
    }
    if key.is_some() && draft.now.since(*started_at) >= KEY_MEMORY {
        return Ok(None);
    }
    Ok(match published.flow.entry {
        EntryRule::Once => Some(Refusal::AlreadyEntered),
        EntryRule::EveryTime => None,
        EntryRule::After(span) => (draft.now.since(*started_at) < span).then_some(Refusal::TooSoon),
    })
}

fn enrol<V: View>(
    draft: &mut Draft<'_, V>,
    happened: &Happened<'_>,
    published: &Published,
    key: Option<String>,
    remembered: &mut Remembered,
) -> Result<(), No> {
    let event = happened.event;
    let trigger = Arc::new(trigger_data(event, published));
    if trigger.values.bytes() > TRIGGER_BYTES_MAX {
        return Err(No::Refused(Refusal::TooLarge));
    }
    // One enrollment takes a bounded number of steps at once; many of them together need a bound.
    if draft.bytes() > GROUP_BYTES_MAX {
        return Err(No::Refused(Refusal::TooMuchAtOnce));
    }
    let keys = match &key {
        None => None,
        Some(key) => {
            let entry = draft.row(&key::entry(&event.customer, published.number, Some(key)))?;
            let before = if let Some(Row::Entry(it)) = entry { Some(it.latest) } else { None };
            let change = remembered.change(draft, &event.customer, before)?;
            Some(change.ok_or(No::Refused(Refusal::TooManyKeys))?)
        }
    };
    let named = campaigns_named(event);
    let catalog = draft.view.catalog();
    let campaign = catalog.campaign(&published.flow.id, &named, draft.now);
    let place = customer_hash(&event.customer);
    let enrolled = Enrolled {
        event: draft.back(happened.lsn),
        customer: event.customer.clone(),
        place,
        flow: published.number,
        version: published.version,
        key: key.clone(),
        campaign,
        trigger: Arc::clone(&trigger),
        keys,
    };
    let id = draft.push(enrolled);
    let mut walker = Walker {
        published,
        customer: happened.customer,
        trigger: &trigger,
        key: key.as_deref(),
        started_at: draft.now,
        id,
        place,
        campaign,
        latest: id,
        step: 0,
        visits: 0,
        round: 0,
    };
    walk::enter(draft, &mut walker, Some(0));
    Ok(())
}

/// What the version's steps use of the event.
fn trigger_data(event: &Event, published: &Published) -> TriggerData {
    let paths = &published.flow.trigger_paths;
    let values = paths.iter().filter_map(|path| {
        let value = match path.strip_prefix("trigger.properties.") {
            Some(key) => event.properties.field(key)?,
            None => (&**path == "trigger.properties").then(|| event.properties.clone())?,
        };
        (!value.is_null()).then(|| (Arc::clone(path), value))
    });
    TriggerData {
        id: event.id.clone(),
        name: Arc::clone(&event.name),
        time: event.time,
        values: values.collect(),
    }
}

/// The campaigns that the event names, the one that counts more first.
fn campaigns_named(event: &Event) -> Vec<String> {
    if !event.properties.as_str().contains("campaign") {
        return Vec::new();
    }
    let named = ["campaign", "utm_campaign"].into_iter();
    let named = named.filter_map(|name| event.properties.field(name));
    named.filter_map(|it| it.value().as_str().map(str::to_owned)).collect()
}

/// Evaluates conditions for an event's customer.
struct Judge<'a, 'd, V> {
    draft: &'a Draft<'d, V>,
    happened: &'a Happened<'a>,
    flow: Option<&'a FlowId>,
    asked: &'a Asked,
}

/// What conditions of this event have found out and spent already.
#[derive(Default)]
struct Asked {
    /// Memberships: flows and rules ask for the same segments.
    memberships: RefCell<Memberships>,
    /// Bytes read.
    reads: Cell<u64>,
}

type Verdict<T> = Result<Result<T, Unknown>, Stop>;
type Memberships = BTreeMap<SegmentId, Result<bool, Unknown>>;

impl<V: View> Judge<'_, '_, V> {
    fn holds(&self, condition: &Condition, depth: usize) -> Verdict<bool> {
        Ok(match self.memberships(condition.needs(), depth)? {
            Ok(memberships) => self.with_facts(&memberships, |facts| condition.holds(facts)),
            Err(unknown) => Err(unknown),
        })
    }

    fn key(&self, expression: &Expression) -> Verdict<Option<String>> {
        Ok(match self.memberships(expression.needs(), 0)? {
            Ok(memberships) => self.with_facts(&memberships, |facts| expression.key(facts)),
            Err(unknown) => Err(unknown),
        })
    }

    fn in_segment(&self, id: &SegmentId, depth: usize) -> Verdict<bool> {
        if let Some(known) = self.asked.memberships.borrow().get(id) {
            return Ok(known.clone());
        }
        let verdict = self.judge_segment(id, depth)?;
        self.asked.memberships.borrow_mut().insert(id.clone(), verdict.clone());
        Ok(verdict)
    }

    fn judge_segment(&self, id: &SegmentId, depth: usize) -> Verdict<bool> {
        let Some(segment) = self.draft.view.catalog().segment(id) else {
            return Ok(Err(Unknown(format!("there is no segment `{id}`"))));
        };
        match &segment.membership {
            Membership::Members(members) => Ok(Ok(members.contains(&self.happened.event.customer))),
            Membership::Rule(_) if depth > SEGMENT_DEPTH_MAX => {
                Ok(Err(Unknown("segments refer to each other too deeply".to_owned())))
            }
            Membership::Rule(rule) => {
                // A rule knows nothing of the flow that asks.
                Judge { flow: None, ..*self }.holds(rule, depth)
            }
        }
    }

    /// Makes sure that all a condition needs is at hand, and asks the segments it names.
    fn memberships(&self, needs: &Needs, depth: usize) -> Verdict<Memberships> {
        let id = &self.happened.event.customer;
        let others = needs.activities.iter().filter(|name| ***name != *self.happened.event.name);
        let keys: Vec<_> = others.map(|name| key::activity(id, name)).collect();
        self.draft.require(&keys)?;
        if self.happened.overflowed && needs.activities.iter().any(|n| self.activity(n).is_none()) {
            let text = "the customer has more event names than are remembered";
            return Ok(Err(Unknown(text.to_owned())));
        }
        let mut memberships = Memberships::new();
        for segment in &needs.segments {
            memberships.insert(segment.clone(), self.in_segment(segment, depth + 1)?);
        }
        Ok(Ok(memberships))
    }

    fn with_facts<T>(&self, memberships: &Memberships, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
        let unasked = || Err(Unknown("a segment the condition does not name".to_owned()));
        ask(&Facts {
            now: self.draft.now,
            id: &self.happened.event.customer,
            customer: Some(self.happened.customer),
            event: self.flow.and(Some(self.happened.event)),
            flow: self.flow,
            reads: &self.asked.reads,
            activity: &|name| self.activity(name),
            segment: &|id| memberships.get(id).cloned().unwrap_or_else(unasked),
        })
    }

    fn activity(&self, name: &str) -> Option<&Activity> {
        if *name == *self.happened.event.name {
            return self.happened.activity.as_ref();
        }
        match self.draft.row(&key::activity(&self.happened.event.customer, name)) {
            Ok(Some(Row::Activity(activity))) => Some(activity),
            _ => None,
        }
    }
}
