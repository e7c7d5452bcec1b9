//! Records and rows of every kind with anything in them.

use std::sync::Arc;

use proptest::{collection::vec, option::of, prelude::*, sample::select};

use crate::{
    base::{
        CampaignId, ContentHash, CustomerId, EventId, FlowId, InstanceId, Lsn, SegmentId, Timestamp,
    },
    machine::{
        delivery::Recipient,
        reason::{Failure, Idle, InputKind, Refusal, Skip},
        record::*,
        row::{CustomerRow, DeadLetter, Enrollment, Entry, Open, Phase, Row, Stage},
    },
    model::{Activity, Customer, Fields, JsonText, PushKeys, Subscription},
};

fn time() -> impl Strategy<Value = Timestamp> {
    (0..=Timestamp::MAX.micros()).prop_map(|micros| Timestamp::from_micros(micros).unwrap())
}

fn back() -> impl Strategy<Value = Back> {
    any::<u64>().prop_map(|distance| Back::between(Lsn(distance), Lsn::ZERO))
}

fn lsn() -> impl Strategy<Value = Lsn> {
    any::<u64>().prop_map(Lsn)
}

fn hash() -> impl Strategy<Value = ContentHash> {
    any::<[u8; 16]>().prop_map(ContentHash)
}

fn id() -> impl Strategy<Value = String> {
    "\\PC{1,40}"
}

macro_rules! ids {
    ($($name:ident $type:ident)*) => {$(
        fn $name() -> impl Strategy<Value = $type> {
            id().prop_map(|text| $type::new(text).unwrap())
        }
    )*};
}

ids! { customer_id CustomerId event_id EventId flow_id FlowId segment_id SegmentId campaign_id CampaignId }

fn json() -> impl Strategy<Value = JsonText> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        (-1e300..1e300).prop_map(Into::into),
        ".{0,20}".prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    });
    value.prop_map(|value| JsonText::new(&value))
}

fn text(pattern: &'static str) -> impl Strategy<Value = Arc<str>> {
    pattern.prop_map(Arc::from)
}

fn values() -> impl Strategy<Value = Fields> {
    vec((text(".{0,20}"), json()), 0..4).prop_map(|fields| fields.into_iter().collect())
}

fn source() -> impl Strategy<Value = Source> {
    let line = any::<(u32, u64)>().prop_map(|(input, offset)| Source::Line { input, offset });
    prop_oneof![Just(Source::Api), line]
}

fn at() -> impl Strategy<Value = At> {
    let numbers = any::<(u64, u32, u32, u32, u32, Option<u32>)>();
    (back(), back(), numbers).prop_map(|(enrollment, previous, numbers)| {
        let (place, flow, version, step, visit, campaign) = numbers;
        At { enrollment, previous, place, flow, version, step, visit, campaign }
    })
}

fn trigger() -> impl Strategy<Value = TriggerData> {
    let parts = (of(event_id()), text(".{0,20}"), of(time()), values());
    parts.prop_map(|(id, name, time, values)| TriggerData { id, name, time, values })
}

fn subscription() -> impl Strategy<Value = Arc<Subscription>> {
    (".{0,20}", ".{0,20}", ".{0,20}").prop_map(|(endpoint, p256dh, auth)| {
        Arc::new(Subscription { endpoint, keys: PushKeys { p256dh, auth } })
    })
}

fn recipient() -> impl Strategy<Value = Recipient> {
    prop_oneof![
        text(".{0,20}").prop_map(Recipient::Email),
        subscription().prop_map(Recipient::Push)
    ]
}

fn inputs() -> impl Strategy<Value = Record> {
    let opened = (select(InputKind::ALL), any::<(u32, u64)>(), ".{0,20}", hash());
    prop_oneof![
        opened.prop_map(|(kind, (input, length), name, hash)| {
            InputOpened { kind, input, name, length, hash }.into()
        }),
        (source(), select(Idle::ALL)).prop_map(|(source, line)| LineRead { source, line }.into()),
        (source(), any::<(u8, u64)>()).prop_map(|(source, (code, column))| LineRejected {
            source,
            code,
            column
        }
        .into()),
        (lsn(), lsn()).prop_map(|(ends, acknowledged)| LossAccepted { ends, acknowledged }.into()),
        any::<[u8; 16]>().prop_map(|id| Restored { instance: InstanceId(id) }.into()),
    ]
}

fn definitions() -> impl Strategy<Value = Record> {
    let numbers = any::<(u32, u32, u32)>;
    prop_oneof![
        (hash(), numbers(), ".{0,40}").prop_map(|(document, (part, parts, _), text)| {
            DocumentPart { document, part, parts, text }.into()
        }),
        (source(), segment_id(), hash(), any::<u32>()).prop_map(
            |(source, segment, document, parts)| {
                SegmentChanged { source, segment, document, parts }.into()
            }
        ),
        (source(), flow_id(), segment_id(), hash(), numbers()).prop_map(
            |(source, flow, segment, document, (number, version, parts))| {
                FlowPublished { source, flow, number, version, segment, document, parts }.into()
            }
        ),
        (source(), campaign_id(), hash(), numbers()).prop_map(
            |(source, campaign, document, (number, parts, _))| {
                CampaignChanged { source, campaign, number, document, parts }.into()
            }
        ),
    ]
}

fn happenings() -> impl Strategy<Value = Record> {
    let field = || of(of(".{0,20}"));
    let attributes = prop::collection::btree_map(".{0,9}", of(json()), 0..4);
    let email = of(of(text(".{0,20}")));
    let changed = (source(), customer_id(), any::<bool>(), (email, field(), field()), attributes);
    let changed = (changed, of(vec(subscription(), 0..3))).prop_map(|(changed, push)| {
        let (source, customer, created, (email, timezone, locale), attributes) = changed;
        CustomerChanged { source, customer, created, email, timezone, locale, attributes, push }
    });
    let received = (source(), customer_id(), of(event_id()), text(".{0,20}"), of(time()), json());
    let received = (received, any::<(bool, bool, bool, bool)>()).prop_map(|(received, flags)| {
        let (source, customer, id, name, time, properties) = received;
        let (created, too_old, first, counted) = flags;
        EventReceived {
            source,
            customer,
            created,
            id,
            name,
            time,
            properties,
            too_old,
            first,
            counted,
        }
    });
    let refused = vec((any::<u32>(), select(Refusal::ALL)), 0..4);
    let refused = (back(), refused, prop::collection::btree_map(any::<u32>(), ".{0,20}", 0..3));
    prop_oneof![
        changed.prop_map(Into::into),
        received.prop_map(Into::into),
        refused.prop_map(|(event, refused, unknown)| {
            EntriesRefused { event, refused, unknown }.into()
        }),
    ]
}

fn steps() -> impl Strategy<Value = Record> {
    let enrolled = (back(), customer_id(), any::<(u64, u32, u32)>(), of(".{0,20}"), trigger());
    let forgets = (back(), any::<u32>(), ".{0,20}").prop_map(|(enrollment, flow, key)| Forgotten {
        enrollment,
        flow,
        key,
    });
    let keys =
        (of(back()), of(forgets)).prop_map(|(before, forgets)| KeyChange { before, forgets });
    prop_oneof![
        (enrolled, any::<Option<u32>>(), of(keys)).prop_map(|(enrolled, campaign, keys)| {
            let (event, customer, (place, flow, version), key, trigger) = enrolled;
            let trigger = Arc::new(trigger);
            Enrolled { event, customer, place, flow, version, key, campaign, trigger, keys }.into()
        }),
        (at(), time(), of(".{0,9}"), of(".{0,9}")).prop_map(|(at, due, zone, zone_data)| {
            WaitStarted { at, due, zone, zone_data }.into()
        }),
        (at(), time(), back()).prop_map(|(at, due, set)| WaitEnded { at, due, set }.into()),
        (at(), any::<bool>(), text(".{0,20}"))
            .prop_map(|(at, by_step, reason)| { Exited { at, by_step, reason }.into() }),
    ]
}

fn deliveries() -> impl Strategy<Value = Record> {
    let numbers = any::<(u16, u32, u32)>;
    prop_oneof![
        (at(), any::<(u16, u16, u32)>(), recipient(), values()).prop_map(
            |(at, (subscription, subscriptions, round), recipient, values)| {
                let values = Arc::new(values);
                DeliveryRequested { at, subscription, subscriptions, round, recipient, values }
                    .into()
            }
        ),
        (at(), numbers(), time(), back()).prop_map(|(at, (subscription, attempt, _), due, set)| {
            DeliveryAttempted { at, subscription, attempt, due, set }.into()
        }),
        (at(), numbers(), any::<bool>(), hash()).prop_map(
            |(at, (subscription, attempt, round), first, hash)| {
                DeliverySent { at, subscription, attempt, round, first, hash }.into()
            }
        ),
        (at(), numbers(), time(), ".{0,20}").prop_map(
            |(at, (subscription, attempt, round), until, error)| {
                DeliveryDeferred { at, subscription, attempt, round, until, error }.into()
            }
        ),
        (at(), numbers(), select(Failure::ALL), ".{0,20}").prop_map(
            |(at, (subscription, attempt, round), reason, error)| {
                DeliveryFailed { at, subscription, attempt, round, reason, error }.into()
            }
        ),
        (at(), any::<(Option<u16>, u32)>(), select(Skip::ALL), of(".{0,20}")).prop_map(
            |(at, (requested, round), reason, error)| {
                DeliverySkipped { at, requested, round, reason, error }.into()
            }
        ),
    ]
}

/// A record of any kind.
pub(super) fn record() -> impl Strategy<Value = Record> {
    prop_oneof![inputs(), definitions(), happenings(), steps(), deliveries()]
}

fn customer() -> impl Strategy<Value = Customer> {
    let field = || of(".{0,20}");
    let email = of(text(".{0,20}"));
    (customer_id(), (email, field(), field()), values(), vec(subscription(), 0..3)).prop_map(
        |(id, (email, timezone, locale), attributes, push)| Customer {
            id,
            email,
            timezone,
            locale,
            attributes,
            push,
        },
    )
}

fn stage() -> impl Strategy<Value = Stage> {
    prop_oneof![
        Just(Stage::InFlight),
        (time(), lsn()).prop_map(|(until, set)| Stage::Deferred { until, set }),
        Just(Stage::Sent),
        Just(Stage::Failed),
        Just(Stage::Skipped),
    ]
}

fn phase() -> impl Strategy<Value = Phase> {
    let open = (recipient(), any::<(u16, u32, u32)>(), stage()).prop_map(
        |(recipient, (subscription, attempt, round), stage)| Open {
            subscription,
            recipient,
            attempt,
            round,
            stage,
        },
    );
    prop_oneof![
        Just(Phase::Entering),
        (any::<u32>(), time(), lsn()).prop_map(|(step, due, set)| Phase::Waiting {
            step,
            due,
            set
        }),
        (any::<u32>(), time(), values(), vec(open, 0..3)).prop_map(
            |(step, time, values, deliveries)| {
                let values = Arc::new(values);
                Phase::Sending { step, time, values, deliveries }
            }
        ),
        (text(".{0,20}"), time()).prop_map(|(reason, at)| Phase::Ended { reason, at }),
    ]
}

fn enrollment() -> impl Strategy<Value = Enrollment> {
    let who = (customer_id(), of(".{0,20}"), trigger());
    let when = (time(), lsn(), lsn());
    (who, when, any::<(u32, u32, u32, Option<u32>)>(), phase()).prop_map(
        |(who, (started_at, event, latest), (flow, version, visits, campaign), phase)| {
            let (customer, key, trigger) = who;
            let trigger = Arc::new(trigger);
            Enrollment {
                customer,
                flow,
                version,
                key,
                started_at,
                event,
                trigger,
                campaign,
                latest,
                visits,
                phase,
            }
        },
    )
}

/// A row of any kind.
pub(super) fn row() -> impl Strategy<Value = Row> {
    let letter = (lsn(), any::<(u32, u16, u64, u32)>(), ".{0,20}", time());
    let activity = (any::<u64>(), time(), time(), vec(time(), 0..9));
    prop_oneof![
        ".{0,40}".prop_map(Row::Document),
        (customer(), any::<(u32, bool)>()).prop_map(|(customer, (names, overflowed))| {
            Row::Customer(Box::new(CustomerRow { customer, names, overflowed }))
        }),
        activity.prop_map(|(count, first, last, times)| {
            Row::Activity(Activity { count, first, last, times })
        }),
        time().prop_map(Row::Seen),
        (time(), lsn(), any::<u32>()).prop_map(|(started_at, latest, count)| {
            Row::Entry(Entry { started_at, latest, count })
        }),
        vec(lsn(), 0..9).prop_map(Row::EntryKeys),
        enrollment().prop_map(|enrollment| Row::Enrollment(Box::new(enrollment))),
        letter.prop_map(|(enrollment, (visit, subscription, place, attempts), error, at)| {
            Row::DeadLetter(DeadLetter {
                enrollment,
                visit,
                subscription,
                place,
                attempts,
                error,
                at,
            })
        }),
    ]
}
