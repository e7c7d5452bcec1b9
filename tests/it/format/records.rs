//! One literal record of every kind, every field with something in it.

use std::sync::Arc;

use onward::{
    base::{
        CampaignId, ContentHash, CustomerId, EventId, FlowId, InstanceId, Lsn, SegmentId, Timestamp,
    },
    machine::{
        delivery::Recipient,
        reason::{Failure, Idle, InputKind, Refusal, Skip},
        record::*,
    },
    model::{Fields, JsonText, PushKeys, Subscription},
};

pub(super) const INSTANCE: InstanceId =
    InstanceId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
pub(super) const HASH: ContentHash =
    ContentHash([240, 241, 242, 243, 244, 245, 246, 247, 248, 249, 250, 251, 252, 253, 254, 255]);

pub(super) fn time() -> Timestamp {
    Timestamp::parse("2026-01-31T08:00:00.123456Z").unwrap()
}

pub(super) fn customer() -> CustomerId {
    CustomerId::new("17850").unwrap()
}

pub(super) fn json(text: &str) -> JsonText {
    JsonText::parse(text).unwrap()
}

pub(super) fn back(distance: u64) -> Back {
    Back::between(Lsn(distance), Lsn::ZERO)
}

pub(super) fn subscription() -> Arc<Subscription> {
    let keys = PushKeys { p256dh: "BOk".to_owned(), auth: "c2E".to_owned() };
    Arc::new(Subscription { endpoint: "https://push.example/é".to_owned(), keys })
}

pub(super) fn values() -> Fields {
    let values = [("customer.id", r#""17850""#), ("trigger.properties.total", "12.5")];
    values.into_iter().map(|(name, text)| (name, json(text))).collect()
}

pub(super) fn trigger() -> Arc<TriggerData> {
    Arc::new(TriggerData {
        id: Some(EventId::new("e1").unwrap()),
        name: "buy".into(),
        time: Some(time()),
        values: values(),
    })
}

fn line() -> Source {
    Source::Line { input: 2, offset: 70_000 }
}

fn at() -> At {
    At {
        enrollment: back(9),
        previous: back(300),
        place: 0x54b3_3101_2e93_d836,
        flow: 3,
        version: 2,
        step: 1,
        visit: 1_000,
        campaign: Some(7),
    }
}

/// The records; the order is that of the kinds.
pub(super) fn all() -> Vec<Record> {
    [outside(), definitions(), happenings(), enrollments(), deliveries()].concat()
}

fn outside() -> Vec<Record> {
    vec![
        InputOpened {
            kind: InputKind::Events,
            input: 2,
            name: "events.ndjson".to_owned(),
            length: 5_000_000_000,
            hash: HASH,
        }
        .into(),
        LineRead { source: line(), line: Idle::Duplicate }.into(),
        LineRejected { source: line(), code: 9, column: 42 }.into(),
        LossAccepted { ends: Lsn(1_000), acknowledged: Lsn(1_007) }.into(),
        Restored { instance: INSTANCE }.into(),
    ]
}

fn definitions() -> Vec<Record> {
    vec![
        DocumentPart { document: HASH, part: 0, parts: 1, text: r#"{"id":"uk"}"#.to_owned() }
            .into(),
        SegmentChanged {
            source: Source::Api,
            segment: SegmentId::new("uk").unwrap(),
            document: HASH,
            parts: 1,
        }
        .into(),
        FlowPublished {
            source: line(),
            flow: FlowId::new("welcome").unwrap(),
            number: 3,
            version: 2,
            segment: SegmentId::new("uk").unwrap(),
            document: HASH,
            parts: 1,
        }
        .into(),
        CampaignChanged {
            source: line(),
            campaign: CampaignId::new("spring").unwrap(),
            number: 7,
            document: HASH,
            parts: 1,
        }
        .into(),
    ]
}

fn happenings() -> Vec<Record> {
    let attributes =
        [("country".to_owned(), Some(json(r#""United Kingdom""#))), ("gone".to_owned(), None)];
    vec![
        CustomerChanged {
            source: line(),
            customer: customer(),
            created: true,
            email: Some(Some("ann@example.com".into())),
            timezone: Some(None),
            locale: None,
            attributes: attributes.into(),
            push: Some(vec![subscription()]),
        }
        .into(),
        EventReceived {
            source: line(),
            customer: customer(),
            created: false,
            id: Some(EventId::new("e1").unwrap()),
            name: "buy".into(),
            time: Some(time()),
            properties: json(r#"{"total":12.5,"items":[1,null,true]}"#),
            too_old: false,
            first: true,
            counted: true,
        }
        .into(),
        EntriesRefused {
            event: back(4),
            refused: vec![(3, Refusal::AlreadyActive), (300, Refusal::NoEntryKey)],
            unknown: [(300, "no such key".to_owned())].into(),
        }
        .into(),
    ]
}

fn enrollments() -> Vec<Record> {
    vec![
        Enrolled {
            event: back(1),
            customer: customer(),
            place: 0x54b3_3101_2e93_d836,
            flow: 3,
            version: 2,
            key: Some("cart 7".to_owned()),
            campaign: Some(7),
            trigger: trigger(),
            keys: Some(KeyChange { before: Some(back(70)), forgets: Some(forgotten()) }),
        }
        .into(),
        WaitStarted {
            at: at(),
            due: time(),
            zone: Some("Europe/Berlin".to_owned()),
            zone_data: Some("2026a".to_owned()),
        }
        .into(),
        WaitEnded { at: at(), due: time(), set: back(12) }.into(),
        Exited { at: at(), by_step: true, reason: "completed".into() }.into(),
    ]
}

fn forgotten() -> Forgotten {
    Forgotten { enrollment: back(9_000), flow: 4, key: "cart 1".to_owned() }
}

/// The forms that are no longer written, with what they are read as.
pub(super) fn old() -> Vec<(&'static str, Record)> {
    let mut enrolled = enrollments().swap_remove(0);
    if let Record::Enrolled(it) = &mut enrolled {
        it.keys = None;
    }
    vec![("record 30 v1 Enrolled", enrolled)]
}

fn deliveries() -> Vec<Record> {
    let (subscription, attempt, round) = (0, 2, 3);
    vec![
        DeliveryRequested {
            at: at(),
            subscription: 1,
            subscriptions: 2,
            round,
            recipient: Recipient::Push(self::subscription()),
            values: Arc::new(values()),
        }
        .into(),
        DeliveryAttempted { at: at(), subscription, attempt, due: time(), set: back(12) }.into(),
        DeliverySent { at: at(), subscription, attempt, round, first: true, hash: HASH }.into(),
        DeliveryDeferred {
            at: at(),
            subscription,
            attempt,
            round,
            until: time(),
            error: "451 busy".to_owned(),
        }
        .into(),
        DeliveryFailed {
            at: at(),
            subscription,
            attempt,
            round,
            reason: Failure::Exhausted,
            error: "451 busy".to_owned(),
        }
        .into(),
        DeliverySkipped {
            at: at(),
            requested: Some(0),
            round,
            reason: Skip::TemplateError,
            error: Some("undefined".to_owned()),
        }
        .into(),
    ]
}
