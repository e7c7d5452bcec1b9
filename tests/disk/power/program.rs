//! The real program on the disk, killed and started again while it is recorded.

use std::{io, process::Stdio, time::Duration};

use onward::store;

use super::{
    Tally,
    cut::{self, Cut},
    cuts,
};
use crate::{
    disk::{Mark, Op},
    mount::Mount,
    place::{Place, TIGHT, TRIMMED, Which},
    shop::{Shop, read},
    whole::lines,
    workload::{self, Random, Scale},
};

const SCALE: Scale = Scale { customers: 50, events: [160, 60], days: 10 };
/// Of so many cuts one is run to its end.
const RUN_EVERY: u64 = 15;
/// Kills of each command.
const KILLS: usize = 4;
/// How often a run that is to be killed is looked at.
const GLANCE: Duration = Duration::from_millis(1);

/// Cuts of a recording of both commands.
impl Shop {
    /// Runs both commands on the disk, each killed some times on the way.
    fn record(&self, mount: &Mount, random: &mut Random) -> Vec<Op> {
        let place = self.place(mount.path());
        let mark = mount.marker();
        for (number, (which, _)) in self.wholes.iter().enumerate() {
            for _ in 0..KILLS {
                run_and_kill(&place, *which, mount, 1 + random.index(120)).unwrap();
            }
            place.finish(*which);
            mark(Mark::Finished(number));
        }
        let [_, (_, whole)] = &self.wholes;
        let is_trimmed = whole.trimmed(place.limits, &place.log()) > 0;
        assert_eq!(is_trimmed, place.limits == TRIMMED, "the log is trimmed where it is to be");
        std::mem::take(&mut mount.disk().log)
    }

    /// What there is holds against the undisturbed run.
    fn look(&self, cut: &Cut<'_>, tally: &Tally) {
        let place = self.place(cut.dir);
        let messages = place.messages();
        let finished = cut.marks().count();
        let log = match read(&place.data()) {
            Ok(log) => log,
            Err(store::Error::Missing { .. }) if finished == 0 && messages.is_empty() => {
                return tally.add("cuts before the directory was there", 1);
            }
            Err(error) => panic!("cannot read: {error}"),
        };
        let [_, (_, whole)] = &self.wholes;
        whole.holds(place.limits, &log, &messages);
        for (_, done) in &self.wholes[..finished] {
            assert!(
                whole.trimmed(place.limits, &log) + log.len() >= done.log.len(),
                "a finished command is all there"
            );
            let is_there = |it: (&String, &Vec<u8>)| messages.get(it.0) == Some(it.1);
            assert!(done.messages.iter().all(is_there), "all that was sent is there");
        }
        tally.add("records found", lines(&log));
        tally.add("messages found", messages.len());
    }

    /// Started again, the program ends as if nothing had happened.
    fn run_on(&self, cut: &Cut<'_>, tally: &Tally) {
        let place = self.place(cut.dir);
        let finished = cut.marks().count().min(1);
        for (which, whole) in &self.wholes[finished..] {
            let summary = place.finish(*which);
            whole.equals(&place, &summary);
        }
        place.verify();
        tally.add("runs to the end", 1);
    }
}

/// Starts a command and kills it after so many operations.
fn run_and_kill(place: &Place, which: Which, mount: &Mount, count: usize) -> io::Result<()> {
    let goal = mount.disk().log.len() + count;
    let mut command = place.run_command(which);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    while child.try_wait()?.is_none() && mount.disk().log.len() < goal {
        let _ = crossbeam_channel::never::<()>().recv_timeout(GLANCE);
    }
    child.kill()?;
    child.wait().map(drop)
}

/// Records both commands with these limits and cuts the power.
fn cut_program(limits: &'static str, cuts: usize) {
    let seed = workload::seed();
    println!("SEED={seed}");
    let Some(mount) = Mount::new() else { return };
    let inputs = tempfile::tempdir().unwrap();
    let shop = Shop::new(inputs.path(), seed, (SCALE, limits));
    let log = shop.record(&mount, &mut Random(seed));
    drop(mount);
    println!("{} operations", log.len());
    let tally = Tally::default();
    cut::cut(&log, (seed, cuts), &tally, |cut| {
        if cut.number.is_multiple_of(RUN_EVERY) {
            shop.run_on(cut, &tally);
        } else {
            shop.look(cut, &tally);
        }
    });
    tally.print();
}

#[test]
fn what_the_program_wrote_survives_power_cuts() {
    cut_program(TIGHT, cuts());
}

#[test]
fn what_the_program_keeps_of_a_trimmed_log_survives_power_cuts() {
    cut_program(TRIMMED, cuts() / 2);
}
