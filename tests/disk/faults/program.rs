//! The program: it ends with the code of a fault and names the place; started again on a healed
//! disk, it ends as if nothing had happened.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use fuser::Errno;
use onward::store::{self, StoreKind};

use super::FAULTS;
use crate::{
    SHARE, UNDER,
    fault::{Fault, Faults, Kind},
    mount::Mount,
    place::{Place, TIGHT, Which, object, text},
    shop::{Shop, read},
    workload::{self, Random, Scale},
};

const SCALE: Scale = Scale { customers: 12, events: [24, 8], days: 3 };
/// Cases of each row of the table, unless `CASES` says otherwise.
const CASES: u64 = 3;
/// The exit code of a fault, and of a run that some lines are wrong for.
const FAULT: Option<i32> = Some(4);
const DONE: Option<i32> = Some(1);
/// How often a run that is to hang is looked at, and how often it must be seen hanging.
const GLANCE: Duration = Duration::from_millis(5);
const GLANCES: usize = 10;

/// An empty disk with a shop on it.
fn begin(mount: &Mount, shop: &Shop) -> Place {
    mount.disk().format();
    shop.place(mount.path())
}

/// How many operations of each kind the first command takes.
fn counts(mount: &Mount, shop: &Shop) -> BTreeMap<Kind, u64> {
    begin(mount, shop).finish(Which::First);
    mount.faults(|it| it.counts.clone())
}

/// After healing, what is there is a part of the whole, and the commands end as undisturbed.
fn go_on(place: &Place, shop: &Shop, name: &str) {
    let [(_, whole), _] = &shop.wholes;
    match read(&place.data()) {
        Ok(log) => whole.holds(place.limits, &log, &place.messages()),
        Err(store::Error::Missing { .. }) => assert!(place.messages().is_empty(), "{name}"),
        Err(error) => panic!("{name}: cannot read: {error}"),
    }
    for (which, whole) in &shop.wholes {
        let summary = place.finish(*which);
        whole.equals(place, &summary);
    }
    place.verify();
}

fn fail(mount: &Mount, shop: &Shop, (kind, nth, fault): (Kind, u64, Fault)) {
    let name = format!("{kind:?} {nth} {fault:?}");
    let place = begin(mount, shop);
    mount.faults(|it| it.next = Some((kind, nth, fault)));
    let output = place.run_command(Which::First).output().unwrap();
    let has_happened = mount.faults(|it| it.happened);
    mount.faults(Faults::heal);
    let told = text(&output);
    if fault == Fault::Short || !has_happened {
        assert_eq!(output.status.code(), DONE, "{name}: {told}");
    } else {
        assert_eq!(output.status.code(), FAULT, "{name}: {told}");
        let path = mount.path().to_str().unwrap();
        assert!(told.contains(path), "{name} names no place: {told}");
    }
    go_on(&place, shop, &name);
}

#[test]
fn the_program_survives_failing_operations() {
    let seed = workload::seed();
    println!("SEED={seed}");
    let Some(mount) = Mount::new() else { return };
    let inputs = tempfile::tempdir().unwrap();
    let shop = Shop::new(inputs.path(), seed, (SCALE, TIGHT));
    let counts = counts(&mount, &shop);
    println!("{counts:?}");
    let mut random = Random(seed);
    let cases = std::env::var("CASES").map_or(CASES, |it| it.parse().expect("CASES is a number"));
    for (kind, fault) in FAULTS {
        for _ in 0..cases.div_ceil(SHARE) {
            fail(&mount, &shop, (kind, random.below(counts[&kind]), fault));
        }
    }
}

/// A store syncs once more when it is closed, sled its file as a whole.
#[test]
fn the_program_tells_of_a_disk_that_fails_at_the_very_end() {
    let seed = workload::seed();
    println!("SEED={seed}");
    let Some(mount) = Mount::new() else { return };
    let inputs = tempfile::tempdir().unwrap();
    let shop = Shop::new(inputs.path(), seed, (SCALE, TIGHT));
    let kind = if UNDER == StoreKind::Sled { Kind::WholeSync } else { Kind::Sync };
    let syncs = counts(&mount, &shop)[&kind];
    // How many operations a run takes differs a little.
    let is_there = (0..syncs).rev().find(|nth| {
        fail(&mount, &shop, (kind, *nth, Fault::Error(Errno::ENOSPC)));
        mount.faults(|it| it.happened)
    });
    println!("{is_there:?} of {syncs}");
    assert!(is_there.is_some_and(|it| syncs < it + 8), "one of the last of {syncs} syncs came");
}

#[test]
fn the_program_goes_on_after_a_disk_that_hung_or_was_killed_on_it() {
    let seed = workload::seed();
    println!("SEED={seed}");
    let Some(mount) = Mount::new() else { return };
    let inputs = tempfile::tempdir().unwrap();
    let shop = Shop::new(inputs.path(), seed, (SCALE, TIGHT));
    let counts = counts(&mount, &shop);
    let mut random = Random(seed);
    let mut hangs = 0;
    for kind in [Kind::Open, Kind::Create, Kind::Write, Kind::Rename, Kind::Sync] {
        for is_killed in [false, true] {
            let place = begin(&mount, &shop);
            let nth = random.below(counts[&kind]);
            mount.faults(|it| it.next = Some((kind, nth, Fault::Hang)));
            let mut command = place.run_command(Which::First);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let mut glances = 0;
            while glances < GLANCES && child.try_wait().unwrap().is_none() {
                glances += usize::from(mount.faults(|it| it.hangs));
                let _ = crossbeam_channel::never::<()>().recv_timeout(GLANCE);
            }
            // How many operations a run takes differs a little, so that this one may have been none.
            let has_hung = mount.faults(|it| it.happened);
            assert!(
                !has_hung || glances == GLANCES,
                "{kind:?} {nth}: it ended while the disk hung"
            );
            hangs += usize::from(has_hung);
            if is_killed {
                child.kill().unwrap();
            }
            mount.faults(Faults::heal);
            let status = child.wait().unwrap();
            assert!(is_killed || status.code() == DONE, "{kind:?} {nth}: {status}");
            go_on(&place, &shop, &format!("{kind:?} {nth} hangs"));
        }
    }
    println!("{hangs} hangs");
    assert!(hangs > 5, "only {hangs} of 10 cases hung");
}

#[test]
fn a_disk_that_is_read_only_or_gone_from_the_start_is_told_and_nothing_changes() {
    let seed = workload::seed();
    println!("SEED={seed}");
    let Some(mount) = Mount::new() else { return };
    let inputs = tempfile::tempdir().unwrap();
    let shop = Shop::new(inputs.path(), seed, (SCALE, TIGHT));
    let place = begin(&mount, &shop);
    let [(_, first), (_, second)] = &shop.wholes;
    let summary = place.finish(Which::First);
    first.equals(&place, &summary);
    let faults: [fn(&mut Faults); 3] = [
        |it| it.read_only = true,
        |it| it.gone = Some(Errno::ENOENT),
        |it| it.gone = Some(Errno::EIO),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        mount.faults(fault);
        let output = place.run_command(Which::Second).output().unwrap();
        mount.faults(Faults::heal);
        let told = text(&output);
        assert_eq!(output.status.code(), FAULT, "{number}: {told}");
        assert!(told.contains(place.dir.to_str().unwrap()), "{number} names no place: {told}");
        assert!(!told.contains("panicked"), "{number}: {told}");
        assert!(place.log() == first.log, "{number} changed the log");
    }
    let summary = place.finish(Which::Second);
    second.equals(&place, &summary);
}

#[test]
fn what_must_not_be_written_to_can_be_examined_and_repaired() {
    let seed = workload::seed();
    println!("SEED={seed}");
    let Some(mount) = Mount::new() else { return };
    let inputs = tempfile::tempdir().unwrap();
    let shop = Shop::new(inputs.path(), seed, (SCALE, TIGHT));
    let place = begin(&mount, &shop);
    place.finish(Which::First);
    let new = inputs.path().join("new");
    let run = |command: &str, more: &[&str]| {
        let mut asked = place.command();
        asked.args([command, "--json", "--data"]).arg(place.data()).args(more);
        let output = asked.output().unwrap();
        (output.status.code(), text(&output), output)
    };
    let doctor = ["--scratch", inputs.path().to_str().unwrap()];
    let repair = ["--to", new.to_str().unwrap()];
    mount.faults(|it| it.read_only = true);
    let (code, told, _) = run("doctor", &doctor);
    assert_eq!(code, Some(0), "{told}");
    let (code, told, output) = run("repair", &repair);
    // What a repair reads is sled's file.
    if UNDER == StoreKind::Sled {
        assert_eq!(code, Some(0), "{told}");
        assert_eq!(object(&output)["has_head"], true, "{told}");
        std::fs::remove_dir_all(&new).unwrap();
    } else {
        assert_eq!(code, Some(3), "{told}");
    }
    mount.faults(Faults::heal);
    // What cannot be read is not taken for what is not whole.
    mount.faults(|it| it.gone = Some(Errno::EIO));
    for (command, more) in [("doctor", doctor), ("repair", repair)] {
        let (code, told, _) = run(command, &more);
        assert_eq!(code, FAULT, "{command}: {told}");
    }
    mount.faults(Faults::heal);
    assert!(!new.exists(), "nothing is saved from what cannot be read");
}
