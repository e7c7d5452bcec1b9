//! Damage: whatever happens to the files of a directory, what is opened is right or refused.
//!
//! `FLIPS=<number>` tries so many damages, `SEED=<number>` the same ones again, and with
//! `ONLY=<number>` just the one of them.

#[cfg(test)]
mod bytes;
#[cfg(test)]
mod harm;
#[cfg(test)]
mod look;
#[cfg(test)]
mod original;
#[cfg(test)]
mod random;

#[cfg(test)]
mod damage {
    use std::{
        collections::BTreeMap,
        fs,
        hash::BuildHasher,
        os::unix::process::ExitStatusExt,
        path::{Path, PathBuf},
        process::{Child, Command, ExitStatus, Stdio},
        sync::Mutex,
        time::Duration,
    };

    use crate::{
        harm::{self, Copy, Harm, Layout},
        look,
        original::{self, Kind, Records},
        random::Random,
    };

    /// Far longer than any look takes.
    const PATIENCE: Duration = Duration::from_secs(300);
    const PAUSE: Duration = Duration::from_millis(10);
    /// Who opens it first: a reader, its owner, or `doctor` and `repair`.
    const ROLES: [&str; 3] = ["mend", "read", "own"];
    /// Kilobytes of address space of a process that looks.
    const MEMORY: &str = "2500000";

    fn number(name: &str) -> Option<u64> {
        std::env::var(name).ok().map(|text| text.parse().expect("a number"))
    }

    /// What the processes do that the test below starts; nothing where it is run as a test.
    #[test]
    fn child() {
        let Ok(role) = std::env::var("DAMAGE_ROLE") else { return };
        let dir = PathBuf::from(std::env::var("DAMAGE_DIR").unwrap());
        match role.split_once(' ') {
            Some(("session", number)) => original::session(&dir, number.parse().unwrap()),
            Some(("look", is_read_first)) => {
                let records = Records::load(&dir.with_extension("records"));
                // On every third one what the operator has is tried first.
                let mended =
                    if is_read_first == "mend" { look::mend(&dir, &records) } else { None };
                let verdict =
                    mended.unwrap_or_else(|| look::look(&dir, &records, is_read_first != "own"));
                fs::write(dir.with_extension("verdict"), verdict).unwrap();
            }
            _ => panic!("no such role: {role}"),
        }
    }

    fn start(role: &str, dir: &Path) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -c 0; ulimit -v $0; exec \"$@\"", MEMORY]);
        command.arg(std::env::current_exe().unwrap()).args([
            "--exact",
            "damage::child",
            "--nocapture",
        ]);
        command
            .env("DAMAGE_ROLE", role)
            .env("DAMAGE_DIR", dir)
            .env("MALLOC_ARENA_MAX", "2")
            .env("RUST_BACKTRACE", "0");
        let log = fs::File::create(dir.with_extension("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// How it ended; none where it had to be killed.
    fn finish(child: &mut Child) -> Option<ExitStatus> {
        for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
            if let Some(status) = child.try_wait().unwrap() {
                return Some(status);
            }
            let _ = crossbeam_channel::never::<()>().recv_timeout(PAUSE);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        None
    }

    /// A directory to be damaged.
    struct Sample {
        dir: PathBuf,
        /// As it was one session before.
        older: PathBuf,
        records: Records,
        layout: Layout,
        /// What the head says of it.
        acknowledged: usize,
    }

    impl Sample {
        fn new(root: &Path, kind: Kind) -> Self {
            let place = |name: &str| root.join(format!("{kind:?}-{name}"));
            let (dir, older) = (place("original"), place("older"));
            fs::create_dir(&dir).unwrap();
            let records = original::make(kind, &dir, &older, |dir, number| {
                let status = finish(&mut start(&format!("session {number}"), dir));
                let is_aborted = status.is_some_and(|it| it.signal() == Some(6));
                let log = fs::read_to_string(dir.with_extension("log")).unwrap();
                assert_eq!(is_aborted, number == 2, "{status:?}\n{log}");
            });
            let layout = Layout::of(&dir);
            let (_, head) = onward::store::Head::open(&dir).unwrap();
            let acknowledged = usize::try_from(head.unwrap().lsn.0).unwrap();
            println!(
                "{kind:?}: {} records, {} of them trimmed, {acknowledged} known to the head; {}",
                records.end(),
                records.base,
                layout.describe()
            );
            Self { dir, older, records, layout, acknowledged }
        }
    }

    struct Setting {
        root: tempfile::TempDir,
        samples: [Sample; 2],
        /// Each kind of damage as often as its weight says.
        wheel: Vec<&'static Harm>,
    }

    impl Setting {
        fn new() -> Self {
            // In memory where there is such a place: each case is a copy.
            let memory = Path::new("/dev/shm");
            let mut builder = tempfile::Builder::new();
            builder.prefix("onward-damage-");
            let root = if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() };
            let root = root.unwrap();
            let samples = [Kind::Whole, Kind::Trimmed].map(|kind| Sample::new(root.path(), kind));
            let wheel = harm::ALL.iter().flat_map(|it| std::iter::repeat_n(it, it.1)).collect();
            Self { root, samples, wheel }
        }

        /// The damage of this number, done to a copy that a process of its own looks at.
        fn case(&self, number: u64, seed: u64) -> Case {
            let dir = self.root.path().join(format!("case-{number}"));
            let mut random = Random(seed ^ number.wrapping_mul(0x9E37_79B9));
            let sample = random.pick(&self.samples);
            original::copy(&sample.dir, &dir);
            // Each once, then by weight.
            let which = usize::try_from(number).unwrap();
            let harm = harm::ALL.get(which).unwrap_or_else(|| *random.pick(&self.wheel));
            let role = random.pick(&ROLES);
            let copy = Copy { dir: &dir, older: &sample.older, layout: &sample.layout };
            let done = harm.2(&copy, &mut random);
            sample.records.save(&dir.with_extension("records"));
            let status = finish(&mut start(&format!("look {role}"), &dir));
            let (outcome, why) = outcome(sample, status, &dir);
            for end in ["verdict", "log", "records"] {
                let _ = fs::remove_file(dir.with_extension(end)).is_ok();
            }
            for end in ["compacting", "restoring"] {
                let _ = fs::remove_dir_all(dir.with_extension(end)).is_ok();
            }
            fs::remove_dir_all(&dir).unwrap();
            Case { number, harm: harm.0, role, done, outcome, why }
        }
    }

    /// A word, in capitals where it must not be, and a reason.
    fn outcome(sample: &Sample, status: Option<ExitStatus>, dir: &Path) -> (&'static str, String) {
        let log = fs::read_to_string(dir.with_extension("log")).unwrap_or_default();
        let Some(status) = status else { return ("HANG", log) };
        if !status.success() {
            let word = match status.signal() {
                _ if log.contains("memory allocation of") => "MEMORY",
                Some(_) => "ABORT",
                None => "PANIC",
            };
            return (word, format!("{status} {log}"));
        }
        let verdict = fs::read_to_string(dir.with_extension("verdict")).unwrap();
        let (word, why) = verdict.split_once(' ').unwrap_or((&verdict, ""));
        let word = match word {
            "correct" => "correct",
            "refused" => "refused",
            "lost" => {
                let left: usize = why.split(' ').next().unwrap().parse().unwrap();
                // A loss of nothing that the head knows is the documented one.
                if left < sample.acknowledged { "LOST" } else { "tail" }
            }
            "mended" => "UNMENDED",
            _ => "WRONG",
        };
        (word, why.to_owned())
    }

    /// One damage and what came of it.
    struct Case {
        number: u64,
        harm: &'static str,
        role: &'static str,
        done: String,
        outcome: &'static str,
        why: String,
    }

    impl std::fmt::Display for Case {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            let Self { number, harm, role, done, outcome, why } = self;
            write!(f, "{number} {harm} ({done}), {role} first: {outcome} {why}")
        }
    }

    /// Every case, on as many threads as the machine has cores.
    fn run(setting: &Setting, seed: u64, numbers: Vec<u64>) -> Vec<Case> {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let numbers = Mutex::new(numbers.into_iter());
        let cases = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let number = numbers.lock().unwrap().next();
                        let Some(number) = number else { break };
                        let case = setting.case(number, seed);
                        cases.lock().unwrap().push(case);
                    }
                });
            }
        });
        cases.into_inner().unwrap()
    }

    #[test]
    fn damage_is_refused_or_without_consequence() {
        let drawn = || std::hash::RandomState::new().hash_one("seed") % 1_000_000;
        let seed = number("SEED").unwrap_or_else(drawn);
        println!("SEED={seed}");
        let setting = Setting::new();
        let only = number("ONLY").map(|it| vec![it]);
        let all = || (0..number("FLIPS").unwrap_or(120)).collect();
        let cases = run(&setting, seed, only.clone().unwrap_or_else(all));
        let mut table: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for case in &cases {
            *table.entry((case.harm, case.outcome)).or_default() += 1;
        }
        for ((harm, outcome), count) in &table {
            println!("{harm:<24}{outcome:<10}{count:>6}");
        }
        if only.is_some() {
            cases.iter().for_each(|case| println!("{case}"));
        }
        let is_bad = |case: &&Case| case.outcome.chars().all(char::is_uppercase);
        let bad: Vec<String> = cases.iter().filter(is_bad).map(Case::to_string).collect();
        assert!(bad.is_empty(), "SEED={seed}\n{}", bad.join("\n"));
    }
}
