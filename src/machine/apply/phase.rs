//! What a record makes of an enrollment's phase.

use std::sync::Arc;

use super::Applied;
use crate::machine::{
    record::{DeliveryRequested, Record},
    row::{Enrollment, Open, Phase, Stage},
};

impl Applied {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "each projection takes what concerns it; the counters name every record"
    )]
    pub(super) fn phase(self, enrollment: &mut Enrollment, record: &Record) {
        let phase = &mut enrollment.phase;
        match record {
            Record::WaitStarted(it) => {
                *phase = Phase::Waiting { step: it.at.step, due: it.due, set: self.lsn };
            }
            Record::WaitEnded(_) => *phase = Phase::Entering,
            Record::Exited(it) => {
                *phase = Phase::Ended { reason: Arc::clone(&it.reason), at: self.time };
            }
            Record::DeliveryRequested(it) => self.requested(phase, it),
            Record::DeliveryAttempted(it) => set_stage(phase, it.subscription, |open| {
                open.attempt = it.attempt;
                open.round = 0;
                open.stage = Stage::InFlight;
            }),
            Record::DeliverySent(it) => stage(phase, it.subscription, Stage::Sent),
            Record::DeliveryDeferred(it) => {
                stage(phase, it.subscription, Stage::Deferred { until: it.until, set: self.lsn });
            }
            Record::DeliveryFailed(it) => stage(phase, it.subscription, Stage::Failed),
            Record::DeliverySkipped(it) => {
                if let Some(subscription) = it.requested {
                    stage(phase, subscription, Stage::Skipped);
                }
            }
            _ => {}
        }
    }

    fn requested(self, phase: &mut Phase, it: &DeliveryRequested) {
        let open = Open {
            subscription: it.subscription,
            recipient: it.recipient.clone(),
            attempt: 1,
            round: it.round,
            stage: Stage::InFlight,
        };
        match phase {
            Phase::Sending { step, deliveries, .. }
                if *step == it.at.step && it.subscription > 1 =>
            {
                deliveries.push(open);
            }
            Phase::Entering
            | Phase::Waiting { .. }
            | Phase::Sending { .. }
            | Phase::Ended { .. } => {
                *phase = Phase::Sending {
                    step: it.at.step,
                    time: self.time,
                    values: Arc::clone(&it.values),
                    deliveries: vec![open],
                };
            }
        }
    }
}

fn stage(phase: &mut Phase, subscription: u16, stage: Stage) {
    set_stage(phase, subscription, |open| open.stage = stage);
}

fn set_stage(phase: &mut Phase, subscription: u16, change: impl FnOnce(&mut Open)) {
    let Phase::Sending { deliveries, .. } = phase else {
        panic!("a delivery is settled while its step sends");
    };
    let open = deliveries.iter_mut().find(|open| open.subscription == subscription);
    change(open.expect("a delivery is settled after it was requested"));
}
