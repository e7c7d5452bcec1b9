//! A worker's report: what it means for the delivery, its step and the enrollment.

use super::{
    delivery::Outcome,
    draft::Draft,
    input::{Answer, Stop, View},
    key,
    reason::{Failure, Skip},
    record::{DeliveryDeferred, DeliveryFailed, DeliverySent, DeliverySkipped},
    row::{Open, Phase, Row, Stage},
    step,
    walk::{self, Resume, Walker},
};
use crate::{
    base::{
        DeliveryId, Span, Timestamp,
        limits::{ATTEMPTS_MAX, BACKOFF_FIRST, BACKOFF_MAX},
    },
    model::After,
};

/// Records how an attempt ended; a report on an attempt that is not the current one is stale and
/// changes nothing.
pub(super) fn settled<V: View>(
    draft: &mut Draft<'_, V>,
    delivery: DeliveryId,
    place: u64,
    attempt: u32,
    outcome: &Outcome,
) -> Result<Answer, Stop> {
    let id = delivery.enrollment.lsn;
    let Some(Row::Enrollment(enrollment)) = draft.row(&key::enrollment(place, id))? else {
        return Ok(Answer::Unchanged);
    };
    let Phase::Sending { step, deliveries, .. } = &enrollment.phase else {
        return Ok(Answer::Unchanged);
    };
    let Some(open) = deliveries.iter().find(|open| open.subscription == delivery.subscription)
    else {
        return Ok(Answer::Unchanged);
    };
    let current = open.attempt == attempt && open.stage == Stage::InFlight;
    if !current || enrollment.visits != delivery.visit {
        return Ok(Answer::Unchanged);
    }
    let from = Resume { id, place, step: *step, round: open.round.saturating_add(1) };
    walk::resume(draft, from, enrollment, |draft, walker| {
        let already_sent = deliveries.iter().any(|open| open.stage == Stage::Sent);
        let stage = record(draft, walker, delivery, open, already_sent, outcome);
        let others = deliveries.iter().filter(|open| open.subscription != delivery.subscription);
        let stages: Vec<&Stage> = others.map(|open| &open.stage).chain([&stage]).collect();
        go_on(draft, walker, &stages);
    })?;
    Ok(Answer::Accepted)
}

/// Writes the delivery's record and says how far it is now.
fn record<V: View>(
    draft: &mut Draft<'_, V>,
    walker: &mut Walker<'_>,
    delivery: DeliveryId,
    open: &Open,
    already_sent: bool,
    outcome: &Outcome,
) -> Stage {
    let (at, subscription) = (walker.at(draft), open.subscription);
    let (attempt, round) = (open.attempt, open.round);
    let (lsn, stage) = match outcome {
        Outcome::Sent { hash } => {
            let (first, hash) = (!already_sent, *hash);
            let sent = DeliverySent { at, subscription, attempt, round, first, hash };
            (draft.push(sent), Stage::Sent)
        }
        Outcome::Deferred { error } | Outcome::Broken { error } if attempt < ATTEMPTS_MAX => {
            let until = draft.now.plus(backoff(delivery, attempt));
            let error = error.clone();
            let set = draft.next_lsn();
            let deferred = DeliveryDeferred { at, subscription, attempt, round, until, error };
            (draft.push(deferred), Stage::Deferred { until, set })
        }
        Outcome::Deferred { error } | Outcome::Broken { error } | Outcome::Rejected { error } => {
            let rejected = matches!(outcome, Outcome::Rejected { .. });
            let reason = if rejected { Failure::Rejected } else { Failure::Exhausted };
            let error = error.clone();
            let failed = DeliveryFailed { at, subscription, attempt, round, reason, error };
            (draft.push(failed), Stage::Failed)
        }
        Outcome::TemplateError { error } => {
            let (requested, reason) = (Some(subscription), Skip::TemplateError);
            let error = Some(error.clone());
            let skipped = DeliverySkipped { at, requested, round, reason, error };
            (draft.push(skipped), Stage::Skipped)
        }
    };
    walker.latest = lsn;
    stage
}

/// Once every delivery of the step has ended, the next step begins; one that was taken is enough.
fn go_on<V: View>(draft: &mut Draft<'_, V>, walker: &mut Walker<'_>, stages: &[&Stage]) {
    let is_open = |stage: &&&Stage| matches!(stage, Stage::InFlight | Stage::Deferred { .. });
    if stages.iter().any(|stage| is_open(&stage)) {
        return;
    }
    let has = |stage: Stage| stages.iter().any(|it| **it == stage);
    let (after, reason) = if has(Stage::Sent) {
        (After::Continue, "")
    } else if has(Stage::Failed) {
        (step::on_failure(walker.action()), "failed")
    } else {
        (step::on_skip(walker.action()), "skipped")
    };
    match after {
        After::Continue => {
            let next = walker.next();
            walk::enter(draft, walker, next);
        }
        After::Exit => walk::exit(draft, walker, reason),
    }
}

/// How long after its failure an attempt is repeated: exponential, capped, spread over the upper
/// half by a hash of delivery and attempt, so that every replay draws the same.
fn backoff(delivery: DeliveryId, attempt: u32) -> Span {
    let doublings = attempt.saturating_sub(1).min(32);
    let full = BACKOFF_FIRST.micros().saturating_mul(1_i64 << doublings).min(BACKOFF_MAX.micros());
    let draw = xxhash_rust::xxh3::xxh3_64(format!("{delivery}#{attempt}").as_bytes());
    let spread = i64::try_from(draw % 1_000).expect("below 1,000");
    let micros = full / 2 + full / 2 / 1_000 * spread;
    let start = Timestamp::EPOCH;
    Timestamp::from_micros(micros).map_or(BACKOFF_MAX, |end| end.since(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_is_spread_and_capped() {
        let delivery: DeliveryId = "e0-17.1".parse().unwrap();
        let mut full = BACKOFF_FIRST.micros();
        for attempt in 1..=20 {
            let span = backoff(delivery, attempt).micros();
            assert!(full / 2 <= span && span <= full, "attempt {attempt}: {span} of {full}");
            assert_eq!(span, backoff(delivery, attempt).micros());
            full = (full * 2).min(BACKOFF_MAX.micros());
        }
        let other: DeliveryId = "e0-18.1".parse().unwrap();
        assert_ne!(backoff(delivery, 1), backoff(other, 1));
    }
}
