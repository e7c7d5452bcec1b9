//! A sync fails, the device does not have what was written, and the kernel shows it all the same:
//! whoever opens the directory next goes on from what the device has.

use std::{fs, path::Path, sync::Arc};

use onward::{Error, base::DeliveryId, model::Event};

use super::library::cut_after;
use crate::{
    SHARE, UNDER,
    disk::{Mark, Op, ROOT},
    fault::{Fault, Faults, Kind},
    image::Replay,
    library::{Inputs, Manual, Said, open, read},
    mount::Mount,
    workload,
};

const EVENTS: u64 = 18;

/// Sends these events in one after the other, a mark for each answer.
fn session(data: &Path, mount: &Mount, inputs: &Inputs, events: &[Event]) -> Result<(), Error> {
    let clock = Arc::new(Manual::default());
    let (left, mark) = (mount.marker(), mount.marker());
    let onward = open(data, &clock, move |id: DeliveryId| left(Mark::Left(id.to_string())))?;
    let answered = inputs.begin(&onward).and_then(|()| {
        for event in events {
            event.time.into_iter().for_each(|time| clock.reach(time));
            onward.track(event.clone())?.wait()?;
            event.id.iter().for_each(|id| mark(Mark::Acknowledged(id.to_string())));
        }
        Ok(())
    });
    onward.close()?;
    answered
}

/// Whether the kernel shows another file than the device has.
fn is_shown_otherwise(mount: &Mount) -> bool {
    let shown = fs::read(UNDER.path(&mount.join("data"))).unwrap();
    let disk = mount.disk();
    let data = disk.lookup(&(ROOT, "data".to_owned())).unwrap();
    let db = disk.lookup(&(data, UNDER.file().to_owned())).unwrap();
    let mut replay = Replay::default();
    disk.log.iter().for_each(|op| replay.apply(op));
    replay.seen(db).unwrap() != shown
}

/// What became of a case.
struct Case {
    has_happened: bool,
    was_shown_otherwise: bool,
}

/// Lets one sync of the second of three sessions fail, then cuts the power.
fn case(mount: &Mount, inputs: &Inputs, nth: u64) -> Case {
    mount.disk().format();
    let data = mount.join("data");
    let (first, others) = inputs.events.split_at(inputs.events.len() / 3);
    let (second, _) = others.split_at(others.len() / 2);
    session(&data, mount, inputs, first).unwrap();
    mount.faults(|it| it.next = Some((Kind::Sync, nth, Fault::Lost)));
    let ended = session(&data, mount, inputs, second);
    let has_happened = mount.faults(|it| it.happened);
    mount.faults(Faults::heal);
    if let Err(error) = &ended {
        assert!(has_happened, "sync {nth}: {error}");
    }
    let was_shown_otherwise = is_shown_otherwise(mount);
    // Callers send again what nobody answered; what they were told is a duplicate must be there.
    session(&data, mount, inputs, others)
        .unwrap_or_else(|error| panic!("sync {nth}, opened again: {error}"));
    cut_after(mount, nth);
    let said = Said::by(&read(&data).unwrap());
    let log = std::mem::take(&mut mount.disk().log);
    let [events, _] = said.holds(log.iter().filter_map(Op::mark));
    assert!(events >= inputs.events.len(), "sync {nth}: {events} events were acknowledged");
    Case { has_happened, was_shown_otherwise }
}

#[test]
fn what_the_kernel_shows_after_a_failed_sync_is_not_trusted() {
    let seed = workload::seed();
    println!("SEED={seed}");
    let Some(mount) = Mount::cached() else { return };
    let inputs = Inputs::remembered(seed, 4, EVENTS);
    let (mut cases, mut shown_otherwise) = (0, 0);
    loop {
        let case = case(&mount, &inputs, cases);
        if !case.has_happened {
            break;
        }
        cases += SHARE.min(2);
        shown_otherwise += u64::from(case.was_shown_otherwise);
    }
    println!("{cases} failed syncs, after {shown_otherwise} the kernel showed what was not there");
    assert!(shown_otherwise > 5 / SHARE, "{shown_otherwise} of {cases} cases show anything");
}
