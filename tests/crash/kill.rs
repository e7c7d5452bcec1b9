//! Runs that are killed again and again.

use std::time::Duration;

use crate::{
    SCALE, SHARE,
    place::{Place, TIGHT, TRIMMED, Which},
    process::Moment,
    trace::{PATHS, TRIMMING, Tally},
    whole::{Whole, lines},
    workload::{self, Random},
};

/// A moment: half of them aim at the path that was interrupted least, the others anywhere.
fn moment(random: &mut Random, tally: &Tally, limits: &str) -> Moment {
    // Without tight limits a run has no checkpoint before its end.
    match random.below(6) {
        0..3 if !limits.is_empty() => {
            let reached = |path: &&str| *path != "outbox_again" || random.below(3) == 0;
            let mut paths: Vec<_> = PATHS.iter().map(|(path, _)| *path).collect();
            paths.retain(reached);
            paths.retain(|path| limits == TRIMMED || !TRIMMING.contains(path));
            let path = paths.into_iter().min_by_key(|path| tally.of(path)).unwrap();
            let is_once = ["open", "replay", "fence", "outbox_again"].contains(&path);
            Moment::Enters(path, if is_once { 1 } else { 1 + random.below(3) })
        }
        0 | 1 => Moment::Stall(0, Duration::from_millis(random.below(60))),
        2 => Moment::Stall(random.below(100), Duration::from_millis(random.below(60))),
        _ => Moment::Lines(1 + random.below(160)),
    }
}

/// Kills a command again and again, then lets it end; how many kills there were.
fn torment(
    (place, which): (&Place, Which),
    rounds: u64,
    whole: &Whole,
    random: &mut Random,
    tally: &mut Tally,
) -> u64 {
    let mut kills = 0;
    // What was killed while it opened a new directory may have left files with nothing in them yet.
    let mut is_made = place.exists();
    for round in 0..rounds {
        let moment = moment(random, tally, place.limits);
        let Some(spans) = place.kill(which, &moment) else { break };
        println!("{which:?} {round}: {moment:?} hit {:?}", spans.interrupted());
        tally.note(&spans);
        kills += 1;
        is_made |= !matches!(spans.interrupted()[..], ["(before open)" | "open", ..]);
        // Looking reads the directory as the next start would, so it must not happen always.
        match random.below(4) {
            0 if is_made => place.verify(),
            1 if is_made => whole.holds(place.limits, &place.log(), &place.messages()),
            _ => {}
        }
    }
    let summary = place.finish(which);
    whole.equals(place, &summary);
    place.verify();
    place.repeat(which);
    whole.equals(place, &summary);
    kills
}

#[test]
fn killed_runs_end_as_if_nothing_had_happened() {
    let seed = workload::seed();
    println!("SEED={seed}");
    let root = tempfile::tempdir().unwrap();
    let until = workload::write(root.path(), seed, SCALE);
    let place = |name: &str, limits| {
        let dir = root.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        Place { inputs: root.path().to_owned(), dir, limits, until: until.clone() }
    };
    let undisturbed = place("whole", "");
    let first = Whole::of(&undisturbed, Which::First);
    let second = Whole::of(&undisturbed, Which::Second);
    assert!(first.log.len() < second.log.len(), "the second command has something to do");
    println!("{} and {} messages", first.messages.len(), second.messages.len());

    let mut random = Random(seed);
    let mut tally = Tally::default();
    let mut kills = 0;
    for (name, limits, rounds) in
        [("tight", TIGHT, [60, 40]), ("trimmed", TRIMMED, [20, 14]), ("plain", "", [12, 8])]
    {
        let place = place(name, limits);
        for (which, whole, rounds) in
            [(Which::First, &first, rounds[0]), (Which::Second, &second, rounds[1])]
        {
            let rounds = rounds / SHARE;
            kills += torment((&place, which), rounds, whole, &mut random, &mut tally);
        }
        let (left, all) = (lines(&place.log()), lines(&second.log));
        println!("{name}: {left} of {all} records are left");
        assert_eq!(left < all, limits == TRIMMED, "only a log kept for a time is trimmed");
    }
    println!("SEED={seed}: {kills} kills\n{}", tally.table());
    assert!(kills >= 30 / SHARE, "{kills} kills; the runs are too short to be killed");
    for thread in ["main", "commit", "outbox"] {
        let paths = PATHS.iter().filter(|(_, it)| *it == thread);
        let hits: u64 = paths.map(|(path, _)| tally.of(path)).sum();
        assert!(hits > 0, "no kill interrupted the thread {thread}");
    }
}
