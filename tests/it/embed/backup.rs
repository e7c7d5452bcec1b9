//! Backups of a running engine, and engines over what is restored from them.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use onward::{
    Error,
    base::{Clock, CustomerId, Limits, Lsn, Span},
    engine::{copies, history::Logged, recover, trim::trim, verify::verify},
    store::{self, StoreKind},
};

use serde_json::json;

use super::{
    Manual, START, await_record, channels, deferred, email, enter, next, open_at, publish, sent,
    upsert,
};

fn restore(from: &Path, to: &Path) -> copies::Restored {
    copies::restore(from, (to, StoreKind::Sled), &Limits::default(), &mut |_| {}).unwrap()
}

fn log(dir: &Path) -> Vec<Logged> {
    let mut partition = recover::read(dir, &Limits::default()).unwrap();
    assert_eq!(verify(&mut partition).unwrap().differences, Vec::<String>::new());
    let mut records = Vec::new();
    partition
        .each_record(Lsn(1), &mut |logged| {
            records.push(logged);
            Ok::<(), store::Error>(())
        })
        .unwrap();
    records
}

#[test]
fn a_running_engine_is_backed_up_while_it_takes_events_in() {
    let root = tempfile::tempdir().unwrap();
    let [data, backup, copy] = ["data", "backup", "copy"].map(|name| root.path().join(name));
    let (channels, _attempts) = channels(|_| Some(sent()));
    let onward = open_at(&data, &channels, &Manual::at(START));
    publish(&onward, &[email(1, "Hello")]);
    let is_over = AtomicBool::new(false);
    let taken = std::thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let mut taken = 0;
            while !is_over.load(Ordering::SeqCst) {
                enter(&onward, &format!("busy{taken}"));
                taken += 1;
            }
            taken
        });
        let mut latest = Lsn(0);
        for number in 0..5 {
            let known = enter(&onward, &format!("known{number}"));
            let done = onward.backup(&backup).unwrap();
            // What was answered before the call is in it.
            assert!(known.lsn < done.lsn && latest < done.lsn, "{known}, {done:?}");
            assert!(done.bytes_added < done.bytes || latest == Lsn(0), "{done:?}");
            latest = done.lsn;
        }
        is_over.store(true, Ordering::SeqCst);
        (caller.join().unwrap(), latest)
    });
    assert!(taken.0 > 0, "the engine took events in meanwhile");
    onward.close().unwrap();

    let restored = restore(&backup, &copy);
    assert_eq!(restored.lsn, taken.1);
    let (original, copied) = (log(&data), log(&copy));
    let (last, before) = copied.split_last().unwrap();
    assert_eq!(last.record.name(), "Restored");
    assert_eq!(Some(before), original.get(..before.len()), "it is the original as it was then");
}

#[test]
fn a_delivery_of_before_leaves_both_under_one_name_and_later_ones_do_not() {
    let root = tempfile::tempdir().unwrap();
    let [data, backup, copy] = ["data", "backup", "copy"].map(|name| root.path().join(name));
    // The original tries again later, and so does the copy: the receiver must be able to tell.
    let (busy, attempts) = channels(|_| Some(deferred()));
    let clock = Manual::at(START);
    let onward = open_at(&data, &busy, &clock);
    publish(&onward, &[email(1, "Hello")]);
    let ann = enter(&onward, "ann");
    let first = next(&attempts);
    await_record(&onward, ann, "DeliveryDeferred");
    onward.backup(&backup).unwrap();
    let again = onward.backup(&backup).unwrap();
    assert_eq!(again.chunks_added, 0, "nothing has happened since");
    enter(&onward, "bob");
    let of_original = next(&attempts);

    let restored = restore(&backup, &copy);
    let (good, attempts) = channels(|_| Some(sent()));
    onward.close().unwrap();
    clock.advance(Span::hours(1));
    let onward_copy = open_at(&copy, &good, &clock);
    let repeated = next(&attempts);
    // While it runs, too: the backup is the original's.
    let refused = onward_copy.backup(&backup);
    assert!(matches!(refused, Err(Error::Store(store::Error::OtherBackup { .. }))), "{refused:?}");
    assert_eq!((repeated.message_id(), repeated.id), (first.message_id(), first.id));
    enter(&onward_copy, "bob");
    let of_copy = next(&attempts);
    assert_ne!(of_copy.message_id(), of_original.message_id());
    assert!(of_copy.message_id().ends_with(&format!("@{}.onward", restored.instance)));
    onward_copy.close().unwrap();
}

#[test]
fn a_backup_to_where_something_else_is_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (channels, _attempts) = channels(|_| Some(sent()));
    let onward = open_at(&root.path().join("data"), &channels, &Manual::at(START));
    let refused = onward.backup(root.path());
    let is_around = matches!(refused, Err(Error::Store(store::Error::NotOutside { .. })));
    assert!(is_around, "{refused:?}");
    let other = root.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("mine"), "").unwrap();
    let refused = onward.backup(&other);
    let Err(Error::Store(store::Error::InTheWay { path })) = refused else { panic!("{refused:?}") };
    assert_eq!(path, other.join("mine"));
    publish(&onward, &[email(1, "Hello")]);
    enter(&onward, "ann");
    onward.close().unwrap();
}

#[test]
fn a_running_engine_whose_log_is_trimmed_is_backed_up_with_an_image() {
    let root = tempfile::tempdir().unwrap();
    let [data, backup, copy] = ["data", "backup", "copy"].map(|name| root.path().join(name));
    let (channels, _attempts) = channels(|_| Some(sent()));
    let clock = Manual::at(START);
    let onward = open_at(&data, &channels, &clock);
    publish(&onward, &[email(1, "Hello")]);
    let old = enter(&onward, "ann");
    for _ in 0..5 {
        clock.advance(Span::hours(20));
        upsert(&onward, &json!({ "id": "clock", "attributes": { "at": clock.now() } }))
            .wait()
            .unwrap();
    }
    onward.close().unwrap();
    let trimmed = trim(&data, &Limits::default(), Span::hours(72), None).unwrap();
    assert!(trimmed.up_to.is_some_and(|lsn| old.lsn < lsn), "{trimmed:?}");

    let onward = open_at(&data, &channels, &clock);
    enter(&onward, "bob");
    let done = onward.backup(&backup).unwrap();
    enter(&onward, "eve");
    let more = onward.backup(&backup).unwrap();
    assert!(done.lsn < more.lsn && more.bytes_added < done.bytes_added, "{done:?}, {more:?}");
    onward.close().unwrap();
    let images = std::fs::read_dir(&backup).unwrap();
    let images = images
        .filter(|it| it.as_ref().unwrap().file_name().to_string_lossy().starts_with("image-"));
    assert_eq!(images.count(), 1);

    let restored = restore(&backup, &copy);
    assert_eq!(restored.lsn, more.lsn);
    let mut partition = recover::read(&copy, &Limits::default()).unwrap();
    assert_eq!(verify(&mut partition).unwrap().differences, Vec::<String>::new());
    let view = partition.customer(&CustomerId::new("ann").unwrap()).unwrap().unwrap();
    assert_eq!(view.enrollments[0].0, old, "what no record says any more is there");
}
