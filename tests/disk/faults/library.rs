//! The library: at every operation of a small run, in every way.

use std::{path::Path, sync::Arc};

use onward::Error;

use super::FAULTS;
use crate::{
    disk::{Mark, Op},
    fault::{Fault, Faults, Kind},
    image::{Mode, Replay, scratch},
    library::{Inputs, Manual, Said, open, read},
    mount::Mount,
    workload::{self, Random},
};

/// One run from opening to closing, a mark for each answer; what it ended with.
fn run(data: &Path, inputs: &Inputs, mount: &Mount) -> Result<(), Error> {
    let clock = Arc::new(Manual::default());
    let (left, mark) = (mount.marker(), mount.marker());
    let onward = open(data, &clock, move |id| left(Mark::Left(id.to_string())))?;
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
fn cut_after(mount: &Mount, seed: u64) {
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
    let inputs = Inputs::new(seed, 4, 6);
    for (kind, fault) in FAULTS {
        let mut count = 0;
        while case(&mount, &inputs, (kind, count, fault)) {
            count += 1;
        }
        println!("{count:>5}  {kind:?} {fault:?}");
        assert!(count > 0, "the run has no such operation");
    }
}
