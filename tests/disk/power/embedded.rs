//! The library in this process: it says what it has acknowledged and what has left.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use onward::{Answer, Onward, Ticket, engine::history::Logged, model::Event, store};

use super::{
    Tally,
    cut::{self, Cut},
    cuts,
};
use crate::{
    disk::{Mark, Op},
    library::{Inputs, Manual, Said, open, read},
    mount::Mount,
    workload,
};

/// Events that wait for their answers at the same time.
const UNDER_WAY: usize = 12;
/// Times that the recorded engine is closed and opened again.
const SESSIONS: usize = 3;

/// Runs an engine on the disk: what happened on it, and the log it ended with.
fn record(mount: &Mount, seed: u64) -> (Vec<Op>, Vec<Logged>) {
    let inputs = Inputs::new(seed, 50, 240);
    let data = mount.join("data");
    // An answer that does not wait for its sync comes before it.
    mount.faults(|it| it.sync_takes = Duration::from_millis(2));
    let clock = Arc::new(Manual::default());
    for (number, part) in inputs.events.chunks(inputs.events.len().div_ceil(SESSIONS)).enumerate() {
        let mark = mount.marker();
        let onward = open(&data, &clock, move |id| mark(Mark::Left(id.to_string()))).unwrap();
        if number == 0 {
            inputs.begin(&onward).unwrap();
        }
        track(&onward, part, &clock, mount);
        onward.close().unwrap();
    }
    let log = std::mem::take(&mut mount.disk().log);
    (log, read(&data).unwrap())
}

/// Sends events in, some at a time, and marks each answer.
pub(super) fn track(onward: &Onward, events: &[Event], clock: &Manual, mount: &Mount) {
    let mark = mount.marker();
    let mut under_way: VecDeque<(Option<String>, Ticket<Answer>)> = VecDeque::new();
    let settle = |(id, ticket): (Option<String>, Ticket<Answer>)| {
        ticket.wait().unwrap();
        id.into_iter().for_each(|id| mark(Mark::Acknowledged(id)));
    };
    for event in events {
        event.time.into_iter().for_each(|time| clock.reach(time));
        let id = event.id.as_ref().map(ToString::to_string);
        under_way.push_back((id, onward.track(event.clone()).unwrap()));
        if under_way.len() == UNDER_WAY {
            under_way.drain(..UNDER_WAY / 2).for_each(settle);
        }
    }
    under_way.into_iter().for_each(settle);
}

/// Everything that somebody was told of before the cut is in the log.
fn check(records: &[Logged], cut: &Cut<'_>, tally: &Tally) {
    let [events, deliveries] = Said::by(records).holds(cut.marks());
    tally.add("acknowledged events found", events);
    tally.add("deliveries that left found", deliveries);
}

/// Looks at the image as `verify` and `log` would.
fn look(cut: &Cut<'_>, whole: &[Logged], tally: &Tally) {
    match read(&cut.dir.join("data")) {
        Ok(records) => {
            assert!(whole.starts_with(&records), "the log is a beginning of the whole");
            check(&records, cut, tally);
        }
        Err(store::Error::Missing { .. }) if cut.marks().next().is_none() => {
            tally.add("cuts before the directory was there", 1);
        }
        Err(error) => panic!("cannot read: {error}"),
    }
}

/// Takes the image over as the engine does, ends cleanly, and looks then.
fn take_over(cut: &Cut<'_>, whole: &[Logged], tally: &Tally) {
    let data = cut.dir.join("data");
    // The clock stands at the last record, or everything would fall due at once.
    open(&data, &Arc::default(), |_| {}).unwrap().close().unwrap();
    let after = read(&data).unwrap();
    check(&after, cut, tally);
    // What is new begins after everything that somebody was told of.
    let same = after.iter().zip(whole).take_while(|(it, other)| it == other).count();
    Said::by(&whole[..same]).holds(cut.marks());
}

#[test]
fn what_the_library_acknowledged_survives_power_cuts() {
    let seed = workload::seed();
    println!("SEED={seed}");
    let Some(mount) = Mount::new() else { return };
    let (log, whole) = record(&mount, seed);
    drop(mount);
    println!("{} operations, {} records", log.len(), whole.len());
    let tally = Tally::default();
    cut::cut(&log, (seed, cuts()), &tally, |cut| {
        // Reading repairs a little, so either is the first to see the image.
        if cut.number.is_multiple_of(2) {
            look(cut, &whole, &tally);
        } else {
            take_over(cut, &whole, &tally);
        }
    });
    tally.print();
}
