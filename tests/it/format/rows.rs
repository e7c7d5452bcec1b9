//! Literal rows, of every kind and every form that a kind has, and a memory image.

use std::{collections::BTreeMap, sync::Arc};

use onward::{
    base::{CampaignId, DeliveryId, EnrollmentId, FlowId, Lsn, PartitionId, SegmentId},
    machine::{
        counters::{CampaignCounts, Counters, FlowCounts, StepCounts},
        delivery::{ChannelKind, Recipient},
        memory::{
            CampaignState, FlowState, InFlight, InputState, LastInput, Memory, Restoration, Stored,
        },
        reason::{InputKind, Refusal, Skip},
        row::{CustomerRow, DeadLetter, Enrollment, Entry, Open, Phase, Row, Stage},
    },
    model::{Activity, Customer},
};

use super::records::{HASH, INSTANCE, customer, json, subscription, time, trigger, values};

const PLACE: u64 = 0x54b3_3101_2e93_d836;

/// The rows; enrollments come in every phase.
pub(super) fn all() -> Vec<Row> {
    let ended = Phase::Ended { reason: "completed".into(), at: time() };
    let mut rows = vec![
        Row::Document(r#"{"id":"uk"}"#.to_owned()),
        Row::Customer(Box::new(CustomerRow { customer: person(), names: 3, overflowed: true })),
        Row::Activity(Activity { count: 70, first: time(), last: time(), times: vec![time()] }),
        Row::Seen(time()),
        Row::Entry(Entry { started_at: time(), latest: Lsn(1_234), count: 2 }),
    ];
    let phases = [Phase::Entering, Phase::Waiting { step: 1, due: time(), set: Lsn(9) }];
    rows.extend(phases.map(enrollment));
    rows.extend([sending(), ended].map(enrollment));
    rows.push(Row::EntryKeys(vec![Lsn(7), Lsn(1_234)]));
    rows.push(Row::DeadLetter(DeadLetter {
        enrollment: Lsn(1_234),
        visit: 3,
        subscription: 1,
        place: PLACE,
        attempts: 8,
        error: "451 busy".to_owned(),
        at: time(),
    }));
    rows
}

fn person() -> Customer {
    Customer {
        id: customer(),
        email: Some("ann@example.com".into()),
        timezone: None,
        locale: Some("en-GB".to_owned()),
        attributes: [("vip", json("true"))].into_iter().collect(),
        push: vec![subscription()],
    }
}

fn enrollment(phase: Phase) -> Row {
    Row::Enrollment(Box::new(Enrollment {
        customer: customer(),
        flow: 3,
        version: 2,
        key: Some("cart 7".to_owned()),
        started_at: time(),
        event: Lsn(1_233),
        trigger: trigger(),
        campaign: Some(7),
        latest: Lsn(2_000),
        visits: 4,
        phase,
    }))
}

fn sending() -> Phase {
    let stages = [
        Stage::InFlight,
        Stage::Deferred { until: time(), set: Lsn(1_999) },
        Stage::Sent,
        Stage::Failed,
        Stage::Skipped,
    ];
    let open = |(stage, subscription)| Open {
        subscription,
        recipient: Recipient::Email("ann@example.com".into()),
        attempt: 2,
        round: 1,
        stage,
    };
    let deliveries = stages.into_iter().zip(0..).map(open).collect();
    Phase::Sending { step: 1, time: time(), values: Arc::new(values()), deliveries }
}

/// A memory image with something in every field.
pub(super) fn memory() -> Memory {
    let enrollment = EnrollmentId { partition: PartitionId(0), lsn: Lsn(1_234) };
    let delivery = DeliveryId { enrollment, visit: 3, subscription: 1 };
    let flying =
        InFlight { place: PLACE, attempt: 1, channel: ChannelKind::Push, requested: Lsn(2_000) };
    let stored = Stored { document: HASH, parts: 1 };
    Memory {
        latest: Lsn(2_000),
        now: time(),
        last_input: LastInput::Outcome,
        inputs: vec![InputState {
            kind: InputKind::Customers,
            name: "customers.ndjson".to_owned(),
            length: 5_000,
            hash: HASH,
            offset: 4_000,
            rejected: 3,
        }],
        segments: [(SegmentId::new("uk").unwrap(), stored)].into(),
        flows: vec![FlowState {
            id: FlowId::new("welcome").unwrap(),
            segment: SegmentId::new("uk").unwrap(),
            versions: vec![stored, stored],
        }],
        campaigns: vec![CampaignState { id: CampaignId::new("spring").unwrap(), stored }],
        in_flight: [((1, delivery), flying)].into(),
        counters: counters(),
        restorations: vec![Restoration { at: time(), instance: INSTANCE }],
        forgotten_keys: [(3, 8)].into(),
    }
}

fn counters() -> Counters {
    let step = StepCounts {
        entered: 6,
        waiting: 1,
        sent: 2,
        deferred: 3,
        failed: 1,
        skipped: [(Skip::NoAddress, 2)].into(),
    };
    let flow = FlowCounts {
        enrolled: 9,
        active: 4,
        refused: [(Refusal::TooSoon, 5)].into(),
        exited: [("completed".to_owned(), 5)].into(),
        steps: [((2, 1), step)].into(),
    };
    let campaign = CampaignCounts { enrolled: 9, exited: 5, sent: 2, skipped: 2, failed: 1 };
    Counters {
        customers: 1,
        events: 2,
        too_old: 3,
        lines: 4,
        duplicates: 5,
        rejected: 6,
        dead_letters: 7,
        flows: BTreeMap::from([(3, flow)]),
        campaigns: BTreeMap::from([(7, campaign)]),
    }
}
