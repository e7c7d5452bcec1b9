//! An enrollment's walk: from step to step until one of them waits, sends or ends it.

use std::sync::Arc;

use super::{
    apply::TimerSet,
    catalog::Published,
    delivery::{Recipient, Values},
    draft::Draft,
    input::{Answer, Stop, View},
    key,
    memory::{index, number},
    reason::Skip,
    record::{
        At, DeliveryAttempted, DeliveryRequested, DeliverySkipped, Exited, TriggerData, WaitEnded,
        WaitStarted,
    },
    row::{Enrollment, Phase, Row, Stage},
    step::{self, Entered},
};
use crate::{
    base::{
        EnrollmentId, Lsn, Timestamp,
        limits::{STEP_BUDGET, VALUES_BYTES_MAX},
        planted::is_planted,
    },
    model::{Action, After, Customer, Fields, JsonText, Step},
};

/// An enrollment on its way, with all that its steps may ask for.
#[derive(Debug)]
pub(super) struct Walker<'a> {
    pub(super) published: &'a Published,
    pub(super) customer: &'a Customer,
    pub(super) trigger: &'a TriggerData,
    pub(super) key: Option<&'a str>,
    pub(super) started_at: Timestamp,
    pub(super) id: Lsn,
    pub(super) place: u64,
    pub(super) campaign: Option<u32>,
    pub(super) latest: Lsn,
    /// The position of the step it is at.
    pub(super) step: u32,
    pub(super) visits: u32,
    /// Which round of settling the deliveries requested now will be in.
    pub(super) round: u32,
}

/// A timer's time has come; one that the row no longer names is stale and changes nothing.
pub(super) fn timer_due<V: View>(
    draft: &mut Draft<'_, V>,
    timer: &TimerSet,
) -> Result<Answer, Stop> {
    let Some(Row::Enrollment(enrollment)) =
        draft.row(&key::enrollment(timer.place, timer.enrollment))?
    else {
        return Ok(Answer::Unchanged);
    };
    match &enrollment.phase {
        Phase::Waiting { step, due, set } if *set == timer.set => {
            let (step, due, set) = (*step, *due, *set);
            let from = Resume { id: timer.enrollment, place: timer.place, step, round: 0 };
            resume(draft, from, enrollment, |draft, walker| {
                let at = walker.at(draft);
                let set = draft.back(set);
                walker.latest = draft.push(WaitEnded { at, due, set });
                let next = walker.next();
                enter(draft, walker, next);
            })?;
            Ok(Answer::Accepted)
        }
        Phase::Sending { step, deliveries, .. } => {
            let open = deliveries
                .iter()
                .find(|open| matches!(open.stage, Stage::Deferred { set, .. } if set == timer.set));
            let Some(open) = open else { return Ok(Answer::Unchanged) };
            let from = Resume { id: timer.enrollment, place: timer.place, step: *step, round: 0 };
            resume(draft, from, enrollment, |draft, walker| {
                let (at, set) = (walker.at(draft), draft.back(timer.set));
                let (subscription, due) = (open.subscription, timer.due);
                let next = if is_planted!("reuse_attempt") { 0 } else { 1 };
                let attempt = open.attempt.saturating_add(next);
                draft.push(DeliveryAttempted { at, subscription, attempt, due, set });
            })?;
            Ok(Answer::Accepted)
        }
        Phase::Waiting { .. } | Phase::Entering | Phase::Ended { .. } => Ok(Answer::Unchanged),
    }
}

/// Where a stored enrollment goes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resume {
    pub(super) id: Lsn,
    pub(super) place: u64,
    pub(super) step: u32,
    pub(super) round: u32,
}

/// Puts a stored enrollment back on its way.
pub(super) fn resume<V: View>(
    draft: &mut Draft<'_, V>,
    from: Resume,
    enrollment: &Enrollment,
    go: impl FnOnce(&mut Draft<'_, V>, &mut Walker<'_>),
) -> Result<(), Stop> {
    let unknown;
    let customer = match draft.row(&key::customer(&enrollment.customer))? {
        Some(Row::Customer(row)) => &row.customer,
        _ => {
            unknown = Customer::new(enrollment.customer.clone());
            &unknown
        }
    };
    let version = draft.view.catalog().version(enrollment.flow, enrollment.version);
    let mut walker = Walker {
        published: version.expect("every version that was published is in the catalog"),
        customer,
        trigger: &enrollment.trigger,
        key: enrollment.key.as_deref(),
        started_at: enrollment.started_at,
        id: from.id,
        place: from.place,
        campaign: enrollment.campaign,
        latest: enrollment.latest,
        step: from.step,
        visits: enrollment.visits,
        round: from.round,
    };
    go(draft, &mut walker);
    Ok(())
}

/// Enters the step at `next` and those after it, until one takes time or the enrollment is over.
pub(super) fn enter<V: View>(
    draft: &mut Draft<'_, V>,
    walker: &mut Walker<'_>,
    mut next: Option<usize>,
) {
    while let Some(position) = next {
        walker.step = number(position);
        if walker.visits >= STEP_BUDGET {
            return exit(draft, walker, "step_budget");
        }
        walker.visits += 1;
        match enter_one(draft, walker) {
            Then::Next(following) => next = following,
            Then::Stay => return,
        }
    }
    exit(draft, walker, "completed");
}

const TOO_LARGE: &str = "the values that the templates use exceed 32 KiB";

/// What comes after entering a step.
enum Then {
    /// The step at this position, at once; none: the end of the flow.
    Next(Option<usize>),
    /// Nothing now: the step takes time, or the enrollment is over.
    Stay,
}

fn enter_one<V: View>(draft: &mut Draft<'_, V>, walker: &mut Walker<'_>) -> Then {
    let action = walker.action();
    match step::enter(action, walker.customer, draft.now) {
        Entered::Wait { due } => {
            let at = walker.at(draft);
            walker.latest = draft.push(WaitStarted { at, due, zone: None, zone_data: None });
            Then::Stay
        }
        Entered::Exit(reason) => {
            let at = walker.at(draft);
            walker.latest = draft.push(Exited { at, by_step: true, reason });
            Then::Stay
        }
        Entered::Deliver(recipients) => match walker.values(draft) {
            Some(values) => {
                request(draft, walker, recipients, &values);
                Then::Stay
            }
            None => skip(draft, walker, Skip::TemplateError, Some(TOO_LARGE.to_owned())),
        },
        Entered::Skip(reason) => skip(draft, walker, reason, None),
    }
}

fn skip<V: View>(
    draft: &mut Draft<'_, V>,
    walker: &mut Walker<'_>,
    reason: Skip,
    error: Option<String>,
) -> Then {
    let at = walker.at(draft);
    walker.latest = draft.push(DeliverySkipped { at, requested: None, round: 0, reason, error });
    match step::on_skip(walker.action()) {
        After::Continue => Then::Next(walker.next()),
        After::Exit => {
            exit(draft, walker, "skipped");
            Then::Stay
        }
    }
}

fn request<V: View>(
    draft: &mut Draft<'_, V>,
    walker: &mut Walker<'_>,
    recipients: Vec<Recipient>,
    values: &Values,
) {
    let subscriptions = u16::try_from(recipients.len()).expect("subscriptions are bounded");
    for (recipient, position) in recipients.into_iter().zip(1_u16..) {
        let subscription = if matches!(recipient, Recipient::Email(_)) { 0 } else { position };
        let at = walker.at(draft);
        let (round, values) = (walker.round, Arc::clone(values));
        walker.latest = draft.push(DeliveryRequested {
            at,
            subscription,
            subscriptions,
            round,
            recipient,
            values,
        });
    }
}

/// Ends the enrollment without an EXIT step.
pub(super) fn exit<V: View>(draft: &mut Draft<'_, V>, walker: &mut Walker<'_>, reason: &str) {
    let at = walker.at(draft);
    walker.latest = draft.push(Exited { at, by_step: false, reason: reason.into() });
}

impl<'a> Walker<'a> {
    /// The action of the step it is at.
    pub(super) fn action(&self) -> &'a Action {
        &self.here().action
    }

    /// The position of the step that follows the one it is at.
    pub(super) fn next(&self) -> Option<usize> {
        self.here().next
    }

    fn here(&self) -> &'a Step {
        self.published.flow.steps.get(index(self.step)).expect("a version's steps never change")
    }

    /// Where its next record stands.
    pub(super) fn at<V: View>(&self, draft: &Draft<'_, V>) -> At {
        At {
            enrollment: draft.back(self.id),
            previous: draft.back(self.latest),
            place: self.place,
            flow: self.published.number,
            version: self.published.version,
            step: self.step,
            visit: self.visits,
            campaign: self.campaign,
        }
    }

    /// The values of the variables that the step's templates use; none where they are too large
    /// for one message. What is null or missing is left out.
    fn values<V: View>(&self, draft: &Draft<'_, V>) -> Option<Values> {
        let values = self.here().variables.iter().filter_map(|path| {
            let value = self.value(draft, path)?;
            Some((Arc::clone(path), value))
        });
        let values: Fields = values.collect();
        (values.bytes() <= VALUES_BYTES_MAX).then(|| Arc::new(values))
    }

    fn value<V: View>(&self, draft: &Draft<'_, V>, path: &str) -> Option<JsonText> {
        let (root, field) = path.split_once('.').unwrap_or((path, ""));
        let found = match (root, field) {
            ("customer", _) => return customer_value(self.customer, field),
            ("trigger", "id") => self.trigger.id.as_ref()?.as_str().into(),
            ("trigger", "name") => (*self.trigger.name).into(),
            // An event that does not say when happened when it arrived.
            ("trigger", "time") => self.trigger.time.unwrap_or(self.started_at).to_string().into(),
            ("trigger", _) => return self.trigger.values.get(path).cloned(),
            ("enrollment", "id") => {
                EnrollmentId { partition: draft.partition, lsn: self.id }.to_string().into()
            }
            ("enrollment", "key") => self.key?.into(),
            ("enrollment", "started_at") => self.started_at.to_string().into(),
            ("enrollment", "campaign") => {
                draft.view.memory().campaign(self.campaign?)?.id.as_str().into()
            }
            ("flow", "id") => self.published.flow.id.as_str().into(),
            ("flow", "version") => self.published.version.into(),
            ("step", "id") => self.here().id.as_str().into(),
            ("now", _) => draft.now.to_string().into(),
            _ => return None,
        };
        Some(JsonText::new(&found))
    }
}

fn customer_value(customer: &Customer, field: &str) -> Option<JsonText> {
    let text = |value: &str| Some(JsonText::text(value));
    match field.split_once('.').unwrap_or((field, "")) {
        ("id", _) => text(customer.id.as_str()),
        ("email", _) => text(customer.email.as_deref()?),
        ("timezone", _) => text(customer.timezone.as_deref()?),
        ("locale", _) => text(customer.locale.as_deref()?),
        ("attributes", "") => {
            let all = customer.attributes.iter().map(|(k, v)| (k.to_string(), v.value()));
            Some(JsonText::new(&serde_json::Value::Object(all.collect())))
        }
        // The rest is the exact key, dots and all.
        ("attributes", key) => customer.attributes.get(key).cloned(),
        _ => None,
    }
}
