//! A directory that an earlier program left behind opens with today's.
//!
//! `fixtures/directory_v1` has what the first released commit wrote, killed on the way: several
//! checkpoints, a log tail after the last one, waits pending, a delivery deferred, half the events
//! read. Beside it is what that program printed of it, and the log with which it ended.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use flate2::read::GzDecoder;
use onward::{
    base::{ContentHash, DeliveryId, InstanceId, Limits, Lsn, Span, Timestamp},
    delivery::Message,
    engine::{
        Opening, copies,
        job::{Drive, Files, Plan},
        recover,
        runner::{Outbound, Report, reports},
        verify::verify,
    },
    machine::{
        delivery::{Delivery, Outcome},
        record::Record,
    },
    store::{Directory, StoreKind, checkpoint},
};
use serde_json::Value;

use super::Desk;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/directory_v1").join(name)
}

fn unpacked(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = File::open(fixture(&format!("{name}.gz"))).unwrap();
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

fn text(name: &str) -> String {
    String::from_utf8(unpacked(name)).unwrap()
}

/// The directory as the earlier program left it.
fn directory(desk: &Desk) {
    fs::create_dir_all(desk.data().join("blobs")).unwrap();
    for name in ["db", "conf", "head", "snap.000000000001EEEB"] {
        let mut file = File::create(desk.data().join(name)).unwrap();
        file.write_all(&unpacked(name)).unwrap();
    }
}

/// What the channel of the earlier program said to each attempt.
fn outcome(delivery: &Delivery) -> Outcome {
    let message = match Message::render(delivery) {
        Ok(message) => message,
        Err(outcome) => return outcome,
    };
    let text = format!("{} {:?} {:?}", message.message_id(), message.recipient, message.content);
    let hash = ContentHash::of(text.as_bytes());
    let digits = hash.to_string().into_bytes();
    match (digits[0] % 4, delivery.attempt) {
        (0, 1 | 2) => Outcome::Deferred { error: "451 busy".to_owned() },
        (1, 1) if digits[1].is_multiple_of(4) => {
            Outcome::Rejected { error: "550 no such mailbox".to_owned() }
        }
        _ => Outcome::Sent { hash },
    }
}

/// Goes on with the job that the earlier program was killed in; gives what left, in whose name.
fn go_on(data: &Path) -> BTreeSet<(DeliveryId, InstanceId)> {
    let files = Files {
        definitions: vec![fixture("definitions.json")],
        customers: Some(fixture("customers.ndjson")),
        events: Some(fixture("events.ndjson")),
    };
    let plan = Plan::new(&files).unwrap();
    let limits = Limits {
        cache_pages: 16,
        checkpoint_records: 60,
        chunk_bytes: 1024,
        timer_span: Span::minutes(1),
        ..Limits::default()
    };
    let opening = Opening::new(plan.instance(), limits);
    let (sender, receiver) = reports();
    let left = Arc::new(Mutex::new(BTreeSet::new()));
    let leaving = Arc::clone(&left);
    let outbound: Outbound = Box::new(move |delivery: Delivery| {
        leaving.lock().unwrap().insert((delivery.id, delivery.instance));
        let outcome = outcome(&delivery);
        sender.send(Report { id: delivery.id, attempt: delivery.attempt, outcome }).unwrap();
        Ok(())
    });
    let drive = Drive::open(data, &opening, plan, || Ok((outbound, receiver))).unwrap();
    let until = Timestamp::parse("2025-06-01T00:00:00Z").unwrap();
    drive.until(Some(until)).run(&mut |_| {}).unwrap();
    left.lock().unwrap().clone()
}

/// What the earlier program printed, one object a line: some of `show`, then `verify`.
const SHOWN: [&[&str]; 8] = [
    &["show", "enrollment", "e0-545"],
    &["show", "customer", "c1"],
    &["show", "flow", "welcome"],
    &["show", "flow", "cart"],
    &["show", "flow", "vip"],
    &["show", "flow", "loyal"],
    &["show", "dead-letters"],
    &["verify"],
];

#[test]
fn a_directory_of_the_first_version_opens_and_goes_on() {
    let desk = Desk::new();
    directory(&desk);
    let store = Directory::open(&desk.data()).unwrap();
    let (state, _) = checkpoint::load(&*store).unwrap().unwrap();
    assert!(Lsn(0) < state.at && state.at < Lsn(549), "{} leaves a tail", state.at);
    drop(store);

    assert_eq!(desk.log(), text("log.ndjson"));
    for (args, expected) in SHOWN.iter().zip(text("shown.ndjson").lines()) {
        let expected: Value = serde_json::from_str(expected).unwrap();
        let found = desk.on_data(&[args, &["--json"][..]].concat()).code(0).object();
        let Some(fields) = expected.as_object() else {
            assert_eq!(found, expected, "{args:?}");
            continue;
        };
        // Later programs may say more.
        fields.iter().for_each(|(name, value)| assert_eq!(&found[name], value, "{args:?}"));
    }

    go_on(&desk.data());
    assert_eq!(desk.log(), text("end.ndjson"), "the log ends as the earlier program ended it");
    desk.on_data(&["verify"]).code(0);
}

#[test]
fn a_copy_sends_again_under_the_old_name_what_the_original_may_have_sent() {
    let desk = Desk::new();
    directory(&desk);
    let (limits, quiet) = (Limits::default(), &mut |_| {});
    let [backup, copy] = ["backup", "copy"].map(|name| desk.path(name));
    let backed_up = copies::backup(&desk.data(), &backup, &limits, quiet).unwrap();
    assert_eq!(backed_up.lsn, Lsn(549));
    let restored = copies::restore(&backup, (&copy, StoreKind::Sled), &limits, quiet).unwrap();

    let left = go_on(&copy);
    let mut partition = recover::read(&copy, &limits).unwrap();
    assert_eq!(verify(&mut partition).unwrap().differences, Vec::<String>::new());
    let mut names = [BTreeSet::new(), BTreeSet::new()];
    partition
        .each_record(Lsn(1), &mut |logged| {
            if let Record::DeliveryRequested(it) = &logged.record {
                let enrollment = it.at.enrollment(logged.lsn, partition.id());
                let id =
                    DeliveryId { enrollment, visit: it.at.visit, subscription: it.subscription };
                let [before, after] = &mut names;
                let (side, name) = if logged.lsn <= backed_up.lsn {
                    (before, restored.original)
                } else {
                    (after, restored.instance)
                };
                side.insert((id, name));
            }
            Ok::<(), onward::store::Error>(())
        })
        .unwrap();
    let [before, after] = names;
    assert!(after.len() > 20, "{after:?}");
    let again: Vec<_> = left.difference(&after).collect();
    assert!(again.iter().any(|(id, _)| id.to_string().starts_with("e0-545.")), "{again:?}");
    assert!(again.iter().all(|it| before.contains(it)), "{again:?}");
    assert!(after.is_subset(&left), "what was requested later leaves under the new name");
}
