//! Backups, compactions, restorations and a trim of one directory: the power fails in the middle.
//!
//! At each cut the directory has everything acknowledged, and what was under way ends well when it
//! is started again, as if it had not been interrupted.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use onward::{
    Onward,
    base::{DeliveryId, Lsn, Span},
    engine::{
        copies,
        history::{self, Logged},
        trim::trim,
    },
    model::Event,
    store::{self, backup::BackedUp},
};

use super::{
    Tally,
    cut::{self, Cut},
    cuts,
    embedded::track,
};
use crate::{
    UNDER,
    disk::{Mark, Op},
    library::{Inputs, Manual, Said, limits, open, read},
    mount::Mount,
    workload::{self, Random},
};

/// What a trim keeps.
const KEEP: Span = Span::hours(72);
/// Of a hundred cuts, those beside a change of names: a swap and what removes the old directory are
/// a few operations among thousands.
const BESIDE_NAMES: u64 = 60;

/// What is done to the directory, one after the other, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// A backup to this directory, which holds so many records.
    BackedUp(&'static str, usize),
    Compacted,
    /// From this backup to this new directory.
    Restored(&'static str, &'static str),
    /// So many records are gone.
    Trimmed(usize),
}

/// A recording.
struct Life {
    log: Vec<Op>,
    steps: Vec<Done>,
    /// Every record, the trimmed ones too.
    whole: Vec<Logged>,
}

fn number(lsn: Lsn) -> usize {
    usize::try_from(lsn.0).unwrap()
}

/// Where things are on a disk.
struct Desk<'a>(&'a Path);

impl Desk<'_> {
    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn data(&self) -> PathBuf {
        self.join("data")
    }

    fn back_up(&self, name: &str) -> store::Result<BackedUp> {
        copies::backup(&self.data(), &self.join(name), &limits(), &mut |_| {})
    }

    fn compact(&self) -> store::Result<copies::Compacted> {
        copies::compact(&self.data(), &limits(), &mut |_| {})
    }

    fn restore(&self, from: &str, to: &str) -> store::Result<copies::Restored> {
        copies::restore(&self.join(from), (&self.join(to), UNDER), &limits(), &mut |_| {})
    }

    fn trim(&self) -> store::Result<usize> {
        let trimmed = trim(&self.data(), &limits(), KEEP, Some(&self.join("export")))?;
        Ok(trimmed.up_to.map_or(0, number))
    }

    /// A session of an engine that is backed up while it takes events in.
    fn session(
        &self,
        mount: &Mount,
        clock: &Arc<Manual>,
        begin: impl FnOnce(&Onward),
        (events, to): (&[Event], &'static str),
    ) -> Done {
        let mark = mount.marker();
        let told = move |id: DeliveryId| mark(Mark::Left(id.to_string()));
        let onward = open(&self.data(), clock, told).unwrap();
        begin(&onward);
        let (before, meanwhile) = events.split_at(events.len() / 2);
        track(&onward, before, clock, mount);
        let done = std::thread::scope(|scope| {
            let backup = scope.spawn(|| onward.backup(&self.join(to)).unwrap());
            track(&onward, meanwhile, clock, mount);
            backup.join().unwrap()
        });
        onward.close().unwrap();
        Done::BackedUp(to, number(done.lsn))
    }
}

fn record(mount: &Mount, seed: u64) -> Life {
    let inputs = Inputs::new(seed, 30, 180);
    let clock = Arc::new(Manual::default());
    let desk = Desk(mount.path());
    let mark = mount.marker();
    let mut steps = Vec::new();
    let mut end = |done: Done| {
        mark(Mark::Finished(steps.len()));
        steps.push(done);
    };
    let backed_up =
        |name: &'static str| Done::BackedUp(name, number(desk.back_up(name).unwrap().lsn));
    let [first, second, third] = [0..90, 90..150, 150..inputs.events.len()];

    let begin = |onward: &Onward| inputs.begin(onward).unwrap();
    end(desk.session(mount, &clock, begin, (&inputs.events[first], "backup")));
    end(backed_up("backup"));
    desk.compact().unwrap();
    end(Done::Compacted);
    end(desk.session(mount, &clock, |_| {}, (&inputs.events[second], "backup")));
    desk.restore("backup", "copy").unwrap();
    end(Done::Restored("backup", "copy"));
    let mut whole = read(&desk.data()).unwrap();
    end(Done::Trimmed(desk.trim().unwrap()));
    end(desk.session(mount, &clock, |_| {}, (&inputs.events[third], "image")));
    end(backed_up("image"));
    desk.compact().unwrap();
    end(Done::Compacted);
    desk.restore("image", "second").unwrap();
    end(Done::Restored("image", "second"));
    let known = whole.len();
    let rest = read(&desk.data()).unwrap();
    whole.extend(rest.into_iter().filter(|it| known < number(it.lsn)));
    Life { log: std::mem::take(&mut mount.disk().log), steps, whole }
}

/// A part of a log, held against another one.
struct Part<'a> {
    /// Records before it, which are trimmed.
    trimmed: usize,
    log: &'a [Logged],
}

impl<'a> Part<'a> {
    fn of(log: &'a [Logged]) -> Self {
        Self { trimmed: log.first().map_or(0, |it| number(it.lsn) - 1), log }
    }

    fn end(&self) -> usize {
        self.trimmed + self.log.len()
    }

    /// Up to which record the two say the same; the beginning may be missing in either.
    fn same(&self, other: &Self) -> usize {
        let begin = self.trimmed.max(other.trimmed);
        let [mine, its] = [self, other].map(|it| it.log.get(begin - it.trimmed..).unwrap_or(&[]));
        begin + mine.iter().zip(its).take_while(|(one, other)| one == other).count()
    }
}

impl Life {
    /// Steps that had ended before a cut.
    fn finished(cut: &Cut<'_>) -> usize {
        cut.marks().filter(|it| matches!(it, Mark::Finished(_))).count()
    }

    /// Most records that may be trimmed at a cut.
    fn trimmed(&self, cut: &Cut<'_>) -> usize {
        let begun = &self.steps[..(Self::finished(cut) + 1).min(self.steps.len())];
        let trims = begun.iter().map(|it| if let Done::Trimmed(count) = it { *count } else { 0 });
        trims.max().unwrap_or(0)
    }

    /// What is trimmed at a cut is in the export.
    fn check_export(&self, desk: &Desk<'_>, trimmed: usize) -> store::Result<()> {
        if trimmed == 0 {
            return Ok(());
        }
        let mut exported = 0;
        history::each_exported(&desk.join("export"), Lsn::ZERO, &mut |_, logged| {
            assert_eq!(*logged, self.whole[exported], "the export has the records of the log");
            exported += 1;
            Ok::<_, store::Error>(())
        })?;
        assert!(trimmed <= exported, "{trimmed} records are gone and {exported} exported");
        Ok(())
    }

    /// The directory at a cut has everything that somebody was told of; its log.
    fn look(&self, desk: &Desk<'_>, cut: &Cut<'_>) -> store::Result<Vec<Logged>> {
        let log = read(&desk.data())?;
        let [part, whole] = [&log, &self.whole].map(|it| Part::of(it));
        let same = part.same(&whole);
        Said::by(&self.whole[..same]).holds(cut.marks());
        assert!(part.trimmed <= self.trimmed(cut), "only a trim removes records");
        self.check_export(desk, part.trimmed)?;
        Ok(log)
    }

    /// What was ended before a cut is there.
    fn check_finished(&self, desk: &Desk<'_>, cut: &Cut<'_>) {
        for done in &self.steps[..Self::finished(cut)] {
            match *done {
                Done::BackedUp(name, records) => {
                    let found = copies::check(&desk.join(name), &mut |_| {}).unwrap();
                    assert!(records <= number(found.lsn), "{name} has {records} records or more");
                }
                Done::Restored(_, name) => drop(read(&desk.join(name)).unwrap()),
                Done::Compacted | Done::Trimmed(_) => {}
            }
        }
    }

    /// Starts what the cut interrupted again, and holds what comes of it against the directory.
    fn repeat(&self, desk: &Desk<'_>, cut: &Cut<'_>, tally: &Tally) {
        let Some(step) = self.steps.get(Self::finished(cut)) else { return };
        let log = || self.look(desk, cut).unwrap();
        match *step {
            Done::BackedUp(name, _) => {
                let is_there = desk.join(name).join("manifest").exists();
                if is_there {
                    copies::check(&desk.join(name), &mut |_| {}).unwrap();
                }
                tally.add(if is_there { "backups taken up" } else { "backups begun again" }, 1);
                desk.back_up(name).unwrap();
                restored(desk, name, "extra", &log());
            }
            Done::Compacted => {
                desk.compact().unwrap();
                tally.add("compactions finished", 1);
                drop(log());
            }
            Done::Restored(from, to) => {
                let to_is_there = desk.join(to).exists();
                tally.add(if to_is_there { "restorations named" } else { "restored again" }, 1);
                restored(desk, from, to, &log());
            }
            Done::Trimmed(count) => {
                assert_eq!(desk.trim().unwrap(), count, "the trim goes as far as it did");
                tally.add("trims finished", 1);
                drop(log());
            }
        }
        let names = fs::read_dir(desk.0).unwrap().map(|it| it.unwrap().path());
        let left: Vec<PathBuf> = names.filter(|it| it.extension().is_some()).collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "nothing else is left");
    }
}

/// The copy is there or can be made; it has what this log has up to where the backup was made, and
/// one record more.
fn restored(desk: &Desk<'_>, from: &str, to: &str, log: &[Logged]) {
    if !desk.join(to).exists() {
        desk.restore(from, to).unwrap();
    }
    let checked = copies::check(&desk.join(from), &mut |_| {}).unwrap();
    let copy = read(&desk.join(to)).unwrap();
    let (last, copied) = copy.split_last().unwrap();
    assert_eq!(last.record.name(), "Restored");
    assert_eq!(last.lsn.0, checked.lsn.0 + 1);
    let [copied, original] = [copied, log].map(Part::of);
    assert_eq!(copied.same(&original), copied.end(), "a copy has the records of the original");
}

/// Points of the recording: near a change of names, or anywhere that is of interest.
fn points(log: &[Op], count: usize, random: &mut Random) -> Vec<usize> {
    let is_naming = |op: &Op| {
        matches!(op, Op::Rename { .. } | Op::Exchange { .. } | Op::Unlink { .. } | Op::Mkdir { .. })
    };
    let namings: Vec<usize> = (0..log.len()).filter(|at| is_naming(&log[*at])).collect();
    let mut one = || {
        if random.percent(BESIDE_NAMES) {
            let at = namings[random.index(namings.len())];
            return (at + random.index(4)).clamp(1, log.len());
        }
        cut::point(log, random)
    };
    (0..count).map(|_| one()).collect()
}

#[test]
fn copies_and_trims_survive_power_cuts() {
    let seed = workload::seed();
    println!("SEED={seed}");
    let Some(mount) = Mount::new() else { return };
    let life = record(&mount, seed);
    drop(mount);
    println!("{} operations, {} records, {:?}", life.log.len(), life.whole.len(), life.steps);
    let tally = Tally::default();
    let points = points(&life.log, cuts() / 5, &mut Random(seed));
    cut::cut_at(&life.log, (seed, points), &tally, |cut| {
        let desk = Desk(cut.dir);
        // Reading repairs a little, and so does opening: each is the first to see some images.
        match cut.number % 3 {
            0 => match life.look(&desk, cut) {
                Ok(log) => tally.add("records found", log.len()),
                Err(store::Error::Missing { .. }) if cut.marks().next().is_none() => {
                    return tally.add("cuts before the directory was there", 1);
                }
                Err(error) => panic!("cannot read: {error}"),
            },
            1 => open(&desk.data(), &Arc::default(), |_| {}).unwrap().close().unwrap(),
            _ if cut.marks().next().is_none() => {
                return tally.add("cuts before anybody was told of anything", 1);
            }
            _ => {}
        }
        life.check_finished(&desk, cut);
        life.repeat(&desk, cut, &tally);
    });
    tally.print();
}
