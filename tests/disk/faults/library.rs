//! The library: at every operation of a small run, in every way.

use std::{path::Path, sync::Arc, time::Duration};

use fuser::Errno;
use onward::{
    Error, Onward, Ticket,
    base::{DeliveryId, Limits, Span},
    model::Event,
    store::{self, Directory, Tree},
};

use super::FAULTS;
use crate::{
    SHARE, UNDER,
    disk::{Mark, Op},
    fault::{Fault, Faults, Kind},
    image::{Mode, Replay, scratch},
    library::{Inputs, Manual, Said, limits, open, open_with, read},
    mount::Mount,
    workload::{self, Random},
};

/// One run from opening to closing, a mark for each answer; what it ended with.
fn run(data: &Path, inputs: &Inputs, mount: &Mount) -> Result<(), Error> {
    run_with(limits(), data, inputs, mount)
}

fn run_with(limits: Limits, data: &Path, inputs: &Inputs, mount: &Mount) -> Result<(), Error> {
    let clock = Arc::new(Manual::default());
    let (left, mark) = (mount.marker(), mount.marker());
    let told = move |id: DeliveryId| left(Mark::Left(id.to_string()));
    let onward = open_with(data, &clock, limits, told)?;
    let answered = inputs.begin(&onward).and_then(|()| {
        for event in &inputs.events {
            event.time.into_iter().for_each(|time| clock.reach(time));
            onward.track(event.clone())?.wait()?;
            event.id.iter().for_each(|id| mark(Mark::Acknowledged(id.to_string())));
        }
        Ok(())
    });
    // What stopped it is told at the end; whoever waited for an answer learns less.
    onward.close()?;
    answered
}

/// Lets one operation fail, heals the disk and goes on; false where there is no such operation.
fn case(mount: &Mount, inputs: &Inputs, (kind, nth, fault): (Kind, u64, Fault)) -> bool {
    mount.disk().format();
    let data = mount.join("data");
    // The second start reads what the first one left.
    mount.faults(|it| it.next = Some((kind, nth, fault)));
    let result = run(&data, inputs, mount).and_then(|()| run(&data, inputs, mount));
    let has_happened = mount.faults(|it| it.happened);
    mount.faults(Faults::heal);
    cut_after(mount, nth);
    let name = format!("{kind:?} {nth} {fault:?}");
    match result {
        Ok(()) => {}
        Err(error) => {
            let text = error.to_string();
            assert!(has_happened, "{name}: {text}");
            let place = mount.path().to_str().unwrap();
            assert!(text.contains(place), "{name} names no place: {text}");
        }
    }
    run(&data, inputs, mount).unwrap_or_else(|error| panic!("{name}, healed: {error}"));
    let said = Said::by(&read(&data).unwrap());
    let log = std::mem::take(&mut mount.disk().log);
    said.holds(log.iter().filter_map(Op::mark));
    has_happened
}

/// The power fails after the fault: what a failed sync was to make durable is not.
pub(super) fn cut_after(mount: &Mount, seed: u64) {
    let log = mount.disk().log.clone();
    let mut replay = Replay::default();
    log.iter().for_each(|op| replay.apply(op));
    let mut random = Random(seed);
    let mode = Mode::ALL[random.index(Mode::ALL.len())];
    let dir = scratch();
    replay.write_image(mode, &mut random, dir.path());
    let data = dir.path().join("data");
    open(&data, &Arc::default(), |_| {}).unwrap().close().unwrap();
    Said::by(&read(&data).unwrap()).holds(log.iter().filter_map(Op::mark));
}

#[test]
fn the_library_survives_every_failing_operation() {
    let seed = workload::seed();
    println!("SEED={seed}");
    let Some(mount) = Mount::new() else { return };
    let inputs = Inputs::remembered(seed, 4, 6);
    for (kind, fault) in FAULTS {
        let mut count = 0;
        while case(&mount, &inputs, (kind, count, fault)) {
            count += SHARE;
        }
        println!("{count:>5}  {kind:?} {fault:?}");
        assert!(count > 0, "the run has no such operation");
    }
}

/// Runs again, as soon as the thread that was left behind has let the directory go.
fn run_when_released(data: &Path, inputs: &Inputs, mount: &Mount) {
    for _ in 0..1_000 {
        match run(data, inputs, mount) {
            Err(Error::Store(store::Error::InUse { .. })) => {
                let _ = crossbeam_channel::never::<()>().recv_timeout(Duration::from_millis(10));
            }
            ended => return ended.unwrap(),
        }
    }
    panic!("the directory stays in use");
}

#[test]
fn the_library_does_not_wait_for_ever_for_a_disk_that_hangs() {
    let seed = workload::seed();
    println!("SEED={seed}");
    let Some(mount) = Mount::new() else { return };
    let inputs = Inputs::remembered(seed, 4, 6);
    let data = mount.join("data");
    let impatient = || Limits { stall: Span::millis(100), ..limits() };
    let mut random = Random(seed);
    let mut hangs = 0;
    for kind in [Kind::Open, Kind::Create, Kind::Rename, Kind::Write, Kind::Write, Kind::Sync] {
        mount.disk().format();
        let nth = random.below(if matches!(kind, Kind::Write | Kind::Sync) { 20 } else { 2 });
        mount.faults(|it| it.next = Some((kind, nth, Fault::Hang)));
        // It comes back while the disk still hangs, or nothing here comes to an end.
        let ended = run_with(impatient(), &data, &inputs, &mount);
        if mount.faults(|it| it.hangs) {
            let text = ended.unwrap_err().to_string();
            assert!(text.contains("no answer from"), "{kind:?} {nth}: {text}");
            assert!(text.contains(mount.path().to_str().unwrap()), "{kind:?} {nth}: {text}");
            hangs += 1;
        }
        mount.faults(Faults::heal);
        run_when_released(&data, &inputs, &mount);
        let log = std::mem::take(&mut mount.disk().log);
        Said::by(&read(&data).unwrap()).holds(log.iter().filter_map(Op::mark));
    }
    println!("{hangs} hangs");
    assert!(hangs > 2, "only {hangs} of 6 cases hung");
}

/// Sends an event until it is taken; how often it was refused.
fn insist(onward: &Onward, event: &Event, mount: &Mount) -> usize {
    for refused in 0..2_000 {
        match onward.track(event.clone()).and_then(Ticket::wait) {
            Ok(_) => return refused,
            Err(Error::NoSpace(_) | Error::Unknown | Error::Busy) => {}
            Err(error) => panic!("after {refused} refusals: {error}"),
        }
        // There is room again once the caller has been told twice.
        if refused == 1 {
            mount.faults(Faults::heal);
        }
        let _ = crossbeam_channel::never::<()>().recv_timeout(Duration::from_millis(10));
    }
    panic!("there is room, and nothing is taken in");
}

#[test]
fn the_library_goes_on_by_itself_when_a_full_disk_has_room_again() {
    let seed = workload::seed();
    println!("SEED={seed}");
    let Some(mount) = Mount::new() else { return };
    let inputs = Inputs::remembered(seed, 4, 30);
    let data = mount.join("data");
    let mut refusals = 0;
    for nth in 0..12 {
        mount.disk().format();
        let clock = Arc::new(Manual::default());
        let mark = mount.marker();
        let told = move |id: DeliveryId| mark(Mark::Left(id.to_string()));
        let onward = open(&data, &clock, told).unwrap();
        inputs.begin(&onward).unwrap();
        mount.faults(|it| it.next = Some((Kind::Write, nth, Fault::Full)));
        let mark = mount.marker();
        for event in &inputs.events {
            event.time.into_iter().for_each(|time| clock.reach(time));
            refusals += insist(&onward, event, &mount);
            event.id.iter().for_each(|id| mark(Mark::Acknowledged(id.to_string())));
        }
        mount.faults(Faults::heal);
        onward.close().unwrap();
        let log = std::mem::take(&mut mount.disk().log);
        let [events, _] = Said::by(&read(&data).unwrap()).holds(log.iter().filter_map(Op::mark));
        assert_eq!(events, inputs.events.len());
    }
    println!("{refusals} refusals");
    assert!(refusals > 12, "only {refusals} refusals");
}

#[test]
fn a_sync_that_fails_while_closing_is_told() {
    let Some(mount) = Mount::new() else { return };
    let data = mount.join("data");
    let store = Directory::open_as(&data, Some(UNDER)).unwrap();
    store.put(Tree::Meta, b"key", b"value").unwrap();
    store.sync().unwrap();
    mount.faults(|it| it.next = Some((Kind::Sync, 0, Fault::Error(Errno::ENOSPC))));
    let error = store.close().unwrap_err().to_string();
    mount.faults(Faults::heal);
    assert!(error.contains(data.to_str().unwrap()) && error.contains("sync"), "{error}");
    // What was synced before is there.
    let store = Directory::open_as(&data, Some(UNDER)).unwrap();
    assert_eq!(store.get(Tree::Meta, b"key").unwrap().unwrap(), b"value");
    store.close().unwrap();
}
