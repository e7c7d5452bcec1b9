//! Compaction, backup, restore and repair, killed at random moments: each goes on when it is started again,
//! and leaves the original as it is.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use onward::store::StoreKind;
use serde_json::Value;

use super::{
    SCALE, SHARE, UNDER,
    place::{Place, TIGHT, Which, text},
    process::{Moment, end, kill},
    workload::{self, Random},
};

/// Kills commands and counts where.
struct Torment<'a> {
    random: &'a mut Random,
    /// How often each span was interrupted.
    tally: BTreeMap<String, u64>,
}

impl Torment<'_> {
    /// Kills the command again and again, each time as one of these spans begins or anywhere after
    /// the first, looks at what is left, and lets it end at last.
    fn run(
        &mut self,
        rounds: u64,
        spans: &[&'static str],
        command: &dyn Fn() -> Command,
        look: &dyn Fn(),
    ) -> Value {
        for round in 0..rounds.div_ceil(SHARE.min(2)) {
            let index = usize::try_from(round).unwrap() % (spans.len() + 1);
            let moment = match spans.get(index) {
                Some(span) if index == 0 => Moment::Reaches(span, 1 + self.random.below(40)),
                Some(span) => Moment::Reaches(span, 1),
                None => Moment::Lines(1 + self.random.below(300)),
            };
            if let Some(spans) = kill(command(), 0, &moment) {
                let name = spans.innermost().unwrap_or("(between)").to_owned();
                *self.tally.entry(name).or_default() += 1;
            }
            look();
        }
        end(command())
    }

    fn kills(&self) -> u64 {
        self.tally.values().sum()
    }
}

/// A directory, its backup, and what is restored from that.
struct Desk {
    place: Place,
    backup: PathBuf,
    copy: PathBuf,
    saved: PathBuf,
}

impl Desk {
    fn compact(&self) -> Command {
        let mut command = self.place.on_data("compact");
        command.arg("--json");
        command
    }

    fn back_up(&self) -> Command {
        let mut command = self.place.on_data("backup");
        command.arg("--json").arg("--to").arg(&self.backup);
        command
    }

    fn check(&self) -> Value {
        let mut command = self.place.command();
        command.args(["backup", "--json", "--check"]).arg(&self.backup);
        end(command)
    }

    fn restore(&self) -> Command {
        let mut command = self.place.command();
        command.args(["restore", "--json", "--store", UNDER.name(), "--from"]).arg(&self.backup);
        command.arg("--data").arg(&self.copy);
        command
    }

    fn repair(&self) -> Command {
        let mut command = self.place.on_data("repair");
        command.arg("--json").arg("--to").arg(&self.saved);
        command
    }

    /// Whatever is beside the data directory and belongs to no finished command.
    fn left_over(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.place.dir).unwrap().map(|it| it.unwrap().path());
        entries.filter(|it| it.extension().is_some()).collect()
    }

    /// Kills backups; how many bytes the one has that ends.
    fn torment_backup(&self, torment: &mut Torment<'_>) -> u64 {
        let known = self.backup.exists().then(|| self.check());
        let look = || {
            // What is in force is whole, and not less than before.
            let found = self.backup.join("manifest").exists().then(|| self.check());
            let lsn = |it: &Option<Value>| it.as_ref().map(|it| it["lsn"].as_u64().unwrap());
            assert!(lsn(&known) <= lsn(&found), "{known:?}, then {found:?}");
        };
        let done = torment.run(6, &["backup_entry", "backup_manifest"], &|| self.back_up(), &look);
        done["bytes"].as_u64().unwrap()
    }

    /// Kills restores; the one that ends gives a directory with this log and one record more.
    fn torment_restore(&self, torment: &mut Torment<'_>, log: &[u8]) {
        let look = || {
            // There is no copy, or it is whole; then it is made anew.
            if self.copy.exists() {
                assert!(self.place.log_of(&self.copy).starts_with(log));
                fs::remove_dir_all(&self.copy).unwrap();
            }
        };
        let done = torment.run(
            6,
            &["restore_chunk", "checkpoint", "copy_name"],
            &|| self.restore(),
            &look,
        );
        let restored = self.place.log_of(&self.copy);
        assert!(restored.starts_with(log), "the copy has the records of the original");
        let added: Value = serde_json::from_slice(&restored[log.len()..]).unwrap();
        assert_eq!(added["instance"], done["instance"]);
        fs::remove_dir_all(&self.copy).unwrap();
    }

    /// Kills repairs; the one that ends gives a directory with this log.
    fn torment_repair(&self, torment: &mut Torment<'_>, log: &[u8]) {
        let made = self.saved.with_added_extension("repairing");
        let look = || {
            // Nothing has the name before it is whole, and what has another one is not to be used.
            if self.saved.exists() {
                assert!(self.place.log_of(&self.saved) == log);
                fs::remove_dir_all(&self.saved).unwrap();
            } else if made.exists() {
                let mut command = self.place.command();
                let output = command.args(["verify", "--data"]).arg(&made).output().unwrap();
                assert_eq!(output.status.code(), Some(3), "{}", text(&output));
                assert!(text(&output).contains("is not finished"), "{}", text(&output));
            }
        };
        torment.run(6, &["repair_chunk", "copy_name"], &|| self.repair(), &look);
        assert!(self.saved.exists() && !made.exists());
        look();
    }

    fn torment_compact(&self, torment: &mut Torment<'_>, log: &[u8]) {
        let look = || assert!(self.place.log() == log, "it is the old directory or the new one");
        torment.run(8, &["copy_entry", "copy_swap", "copy_remove"], &|| self.compact(), &look);
        look();
        self.place.verify();
    }
}

#[test]
fn killed_copies_go_on_and_leave_the_original_as_it_is() {
    let seed = workload::seed();
    println!("SEED={seed}");
    let root = tempfile::tempdir().unwrap();
    let until = workload::write(root.path(), seed, SCALE);
    let dir = root.path().join("original");
    fs::create_dir(&dir).unwrap();
    let [backup, copy, saved] = ["backup", "copy", "saved"].map(|name| dir.join(name));
    let place = Place { inputs: root.path().to_owned(), dir, limits: TIGHT, until };
    let desk = Desk { place, backup, copy, saved };
    let mut random = Random(seed);
    let mut torment = Torment { random: &mut random, tally: BTreeMap::new() };
    let bytes = [Which::First, Which::Second].map(|which| {
        desk.place.finish(which);
        let log = desk.place.log();
        let bytes = desk.torment_backup(&mut torment);
        desk.torment_restore(&mut torment, &log);
        // What a repair reads is sled's file.
        if UNDER == StoreKind::Sled {
            desk.torment_repair(&mut torment, &log);
        }
        desk.torment_compact(&mut torment, &log);
        assert_eq!(desk.left_over(), Vec::<PathBuf>::new(), "nothing else is left");
        bytes
    });
    assert!(bytes[0] < bytes[1], "{bytes:?}");
    println!("SEED={seed}: {} kills\n{:#?}", torment.kills(), torment.tally);
    assert!(torment.kills() >= 15 / SHARE, "the copies are too short to be killed");
}
