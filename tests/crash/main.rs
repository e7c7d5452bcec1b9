//! The kill test: the real program, killed at random moments over and over, leaves exactly what a
//! run leaves that nobody disturbs.
//!
//! The seed of a failure is its first line; `SEED=<number>` makes the same shop and asks for the
//! same moments, as far as the scheduler grants them.

#[cfg(test)]
mod copies;
#[cfg(test)]
mod process;
#[cfg(test)]
mod trace;
#[cfg(test)]
mod workload;

/// What a failure is repeated with.
#[cfg(test)]
fn seed() -> u64 {
    use std::hash::BuildHasher;
    let given = std::env::var("SEED").ok().map(|text| text.parse().expect("SEED is a number"));
    given.unwrap_or_else(|| std::hash::RandomState::new().hash_one("seed") % 1_000_000)
}

#[cfg(test)]
mod kill {
    use std::{collections::BTreeMap, time::Duration};

    use serde_json::Value;

    use super::{
        process::{Moment, Place, TIGHT, TRIMMED, Which},
        seed,
        trace::{PATHS, TRIMMING, Tally},
        workload::{self, Random},
    };

    /// What an undisturbed run leaves behind each command.
    struct Whole {
        summary: Value,
        log: Vec<u8>,
        messages: BTreeMap<String, Vec<u8>>,
        /// How many lines of the log there are before each message may leave, by its file's stem.
        requested: BTreeMap<String, usize>,
        /// How many lines of the log there are once each message must be there.
        sent: BTreeMap<String, usize>,
    }

    impl Whole {
        fn of(place: &Place, which: Which) -> Self {
            let summary = place.finish(which);
            let log = place.log();
            let mut whole = Self {
                summary,
                messages: place.messages(),
                requested: BTreeMap::new(),
                sent: BTreeMap::new(),
                log: Vec::new(),
            };
            for (line, count) in log.split_inclusive(|byte| *byte == b'\n').zip(1..) {
                let record: Value = serde_json::from_slice(line).unwrap();
                let stem = || {
                    let enrollment = record["enrollment"].as_str().unwrap();
                    let base = format!("{enrollment}.{}", record["at"]["visit"]);
                    match record["subscription"].as_u64() {
                        None | Some(0) => base,
                        Some(number) => format!("{base}.{number}"),
                    }
                };
                match record["record"].as_str().unwrap() {
                    "DeliveryRequested" => drop(whole.requested.insert(stem(), count)),
                    "DeliverySent" => drop(whole.sent.insert(stem(), count)),
                    _ => {}
                }
            }
            whole.log = log;
            whole
        }

        /// What a killed run has left so far is a part of this, and nothing has left too early.
        fn holds(&self, place: &Place) {
            let log = place.log();
            let trimmed = self.trimmed(place, &log);
            assert!(
                self.log[trimmed..].starts_with(&log),
                "the log of a killed run is a beginning of the whole, but for what is trimmed"
            );
            let records = lines(&self.log[..trimmed + log.len()]);
            let messages = place.messages();
            for (name, bytes) in &messages {
                assert_eq!(self.messages.get(name), Some(bytes), "{name}");
                let at = self.requested[stem(name)];
                assert!(at <= records, "{name} left before record {at} was there; {records} are");
            }
            let stems: Vec<&str> = messages.keys().map(|name| stem(name)).collect();
            for (sent, at) in &self.sent {
                let is_there = stems.contains(&sent.as_str());
                assert!(*at > records || is_there, "{sent} is recorded as sent and is not there");
            }
        }

        /// How many bytes of the whole log were there before what `place` has left of it.
        fn trimmed(&self, place: &Place, log: &[u8]) -> usize {
            let mut before = self.log.split_inclusive(|byte| *byte == b'\n');
            let first = log.split_inclusive(|byte| *byte == b'\n').next();
            let trimmed = before.by_ref().take_while(|line| Some(*line) != first);
            let trimmed = trimmed.map(<[u8]>::len).sum();
            let is_trimmed = first.is_some() && trimmed > 0;
            assert!(place.limits == TRIMMED || !is_trimmed, "a whole log is not trimmed");
            if is_trimmed { trimmed } else { 0 }
        }

        fn equals(&self, place: &Place, summary: &Value) {
            assert_eq!(*summary, self.summary);
            let log = place.log();
            let rest = &self.log[self.trimmed(place, &log)..];
            assert!(log == rest, "log --json is byte for byte that of the whole run");
            assert!(place.messages() == self.messages, "the outbox is that of the whole run");
            let names = place.outbox_names();
            assert!(names.iter().eq(self.messages.keys()), "nothing else is in the outbox");
        }
    }

    fn lines(log: &[u8]) -> usize {
        log.split_inclusive(|byte| *byte == b'\n').count()
    }

    fn stem(name: &str) -> &str {
        name.trim_end_matches(".eml").trim_end_matches(".push.json")
    }

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
        for round in 0..rounds {
            let moment = moment(random, tally, place.limits);
            let Some(spans) = place.kill(which, &moment) else { break };
            println!("{which:?} {round}: {moment:?} hit {:?}", spans.interrupted());
            tally.note(&spans);
            kills += 1;
            // Looking reads the directory as the next start would, so it must not happen always.
            match random.below(4) {
                0 if place.exists() => place.verify(),
                1 if place.exists() => whole.holds(place),
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
        let seed = seed();
        println!("SEED={seed}");
        let root = tempfile::tempdir().unwrap();
        let until = workload::write(root.path(), seed);
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
                kills += torment((&place, which), rounds, whole, &mut random, &mut tally);
            }
            let (left, all) = (lines(&place.log()), lines(&second.log));
            println!("{name}: {left} of {all} records are left");
            assert_eq!(left < all, limits == TRIMMED, "only a log kept for a time is trimmed");
        }
        println!("SEED={seed}: {kills} kills\n{}", tally.table());
        assert!(kills >= 30, "{kills} kills; the runs are too short to be killed");
        for thread in ["main", "commit", "outbox"] {
            let paths = PATHS.iter().filter(|(_, it)| *it == thread);
            let hits: u64 = paths.map(|(path, _)| tally.of(path)).sum();
            assert!(hits > 0, "no kill interrupted the thread {thread}");
        }
    }
}
