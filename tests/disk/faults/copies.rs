//! Compaction, backup, restoration and trimming on a disk that fails: the original stays whole, the
//! error says where, and the same once more ends well.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use fuser::Errno;
use onward::{
    Error,
    base::{Lsn, Span},
    engine::{copies, history::Logged, trim::trim},
};

use super::FAULTS;
use crate::{
    UNDER,
    disk::Contents,
    fault::{Fault, Faults, Kind},
    library::{Inputs, Manual, limits, open, read},
    mount::Mount,
    workload::{self, Random},
};

/// Cases of each row of the table and each operation, unless `CASES` says otherwise.
const CASES: u64 = 1;

/// What goes wrong with removals and changes of a size, which only copies make.
const REMOVALS: [(Kind, Fault); 4] = [
    (Kind::Unlink, Fault::Error(Errno::EIO)),
    (Kind::Unlink, Fault::Gone),
    (Kind::Truncate, Fault::Error(Errno::EIO)),
    (Kind::Truncate, Fault::Error(Errno::ENOSPC)),
];

/// What is done to a directory: told where everything is.
type Work = fn(&Path) -> Result<(), Error>;

const WORKS: [(&str, Work); 4] = [
    ("compact", |dir| {
        copies::compact(&dir.join("data"), &limits(), &mut |_| {})?;
        Ok(())
    }),
    ("backup", |dir| {
        copies::backup(&dir.join("data"), &dir.join("backup"), &limits(), &mut |_| {})?;
        Ok(())
    }),
    ("restore", |dir| {
        let to = dir.join("copy");
        copies::restore(&dir.join("whole"), (&to, UNDER), &limits(), &mut |_| {})?;
        Ok(())
    }),
    ("trim", |dir| {
        let export = dir.join("export");
        trim(&dir.join("data"), &limits(), Span::hours(72), Some(&export))?;
        Ok(())
    }),
];

/// A directory with a backup that lacks its end, and a backup that is whole.
fn begin(mount: &Mount, inputs: &Inputs) -> Contents {
    let clock = Arc::new(Manual::default());
    let onward = open(&mount.join("data"), &clock, |_| {}).unwrap();
    inputs.begin(&onward).unwrap();
    let (first, second) = inputs.events.split_at(inputs.events.len() / 2);
    for (events, backup) in [(first, "backup"), (second, "whole")] {
        for event in events {
            event.time.into_iter().for_each(|time| clock.reach(time));
            onward.track(event.clone()).unwrap().wait().unwrap();
        }
        onward.backup(&mount.join(backup)).unwrap();
    }
    onward.close().unwrap();
    mount.disk().contents()
}

/// Whether two logs say the same from where the later one begins to where the shorter one ends.
fn is_part(log: &[Logged], whole: &[Logged]) -> bool {
    let first = log.first().map_or(Lsn::ZERO, |it| it.lsn);
    let rest = whole.iter().skip_while(|it| it.lsn < first);
    log.iter().zip(rest).all(|(one, other)| one == other)
}

/// What came of the work is there, and what it was made of.
fn check(dir: &Path, whole: &[Logged], name: &str) {
    let log = read(&dir.join("data")).unwrap();
    assert!(is_part(&log, whole), "{name}: the records are as they were");
    let [end, expected] = [log.as_slice(), whole].map(|it| it.last().map(|it| it.lsn));
    assert!(expected <= end, "{name}: every record is there");
    for backup in ["backup", "whole"] {
        copies::check(&dir.join(backup), &mut |_| {}).unwrap();
    }
    if dir.join("copy").exists() {
        let copy = read(&dir.join("copy")).unwrap();
        let (last, copied) = copy.split_last().unwrap();
        assert_eq!(last.record.name(), "Restored", "{name}");
        assert!(is_part(copied, whole), "{name}: the copy has the same records");
    }
}

/// One failing operation; whether there was one.
fn case(
    mount: &Mount,
    (contents, whole): (&Contents, &[Logged]),
    (name, work): (&str, Work),
    (kind, nth, fault): (Kind, u64, Fault),
) -> bool {
    let name = format!("{name}, {kind:?} {nth} {fault:?}");
    mount.disk().load(contents);
    mount.faults(|it| it.next = Some((kind, nth, fault)));
    let result = work(mount.path());
    let has_happened = mount.faults(|it| it.happened);
    mount.faults(Faults::heal);
    if let Err(error) = &result {
        let text = error.to_string();
        assert!(has_happened, "{name}: {text}");
        assert!(text.contains(mount.path().to_str().unwrap()), "{name} names no place: {text}");
    }
    check(mount.path(), whole, &name);
    // A copy that has its name is whole, though its maker may not have learned that.
    if result.is_err() && !mount.join("copy").exists() {
        work(mount.path()).unwrap_or_else(|error| panic!("{name}, healed: {error}"));
    }
    check(mount.path(), whole, &name);
    has_happened
}

/// How many operations of each kind a work takes.
fn counts(mount: &Mount, contents: &Contents, work: Work) -> BTreeMap<Kind, u64> {
    mount.disk().load(contents);
    work(mount.path()).unwrap();
    mount.faults(|it| it.counts.clone())
}

#[test]
fn copies_and_trims_survive_failing_operations() {
    let seed = workload::seed();
    println!("SEED={seed}");
    let Some(mount) = Mount::new() else { return };
    let inputs = Inputs::new(seed, 10, 150);
    let contents = begin(&mount, &inputs);
    let whole = read(&mount.join("data")).unwrap();
    let mut random = Random(seed);
    let cases = std::env::var("CASES").map_or(CASES, |it| it.parse().expect("CASES is a number"));
    for (name, work) in WORKS {
        let counts = counts(&mount, &contents, work);
        println!("{name}: {counts:?}");
        let count = |kind: Kind| counts.get(&kind).copied().unwrap_or(0);
        let mut happened = 0;
        for (kind, fault) in FAULTS.into_iter().chain(REMOVALS) {
            for nth in (0..cases.min(count(kind))).map(|_| random.below(count(kind))) {
                let what = (kind, nth, fault);
                happened += usize::from(case(&mount, (&contents, &whole), (name, work), what));
            }
        }
        println!("{happened:>5}  faults while it should {name}");
        assert!(happened > 5, "only {happened} faults while it should {name}");
    }
}
