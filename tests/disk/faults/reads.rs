//! A page of the disk cannot be read, or a look at a name fails: nothing is cleared or cut for it,
//! the error says what and where, and once the disk is healed everything is there.

use std::{
    path::{Path, PathBuf},
    process::Output,
    sync::Arc,
};

use fuser::Errno;
use onward::{
    Error, Onward, base::DeliveryId, engine::history::Logged, model::Event, store::StoreKind,
};

use crate::{
    UNDER,
    disk::{Mark, Op},
    fault::{Fault, Faults, Kind},
    library::{Inputs, Manual, Said, open, read},
    mount::Mount,
    place::{Place, TIGHT, Which, text},
    shop::Shop,
    workload::{self, Random, Scale},
};

const BAD: (Kind, Fault) = (Kind::Read, Fault::Bad);
const LOOK: (Kind, Fault) = (Kind::Look, Fault::Error(Errno::EIO));
/// The exit code of a fault.
const FAULT: i32 = 4;
const SCALE: Scale = Scale { customers: 12, events: [24, 8], days: 3 };
/// Cases of each command, unless `CASES` says otherwise.
const CASES: u64 = 3;

fn told(mount: &Mount) -> impl Fn(DeliveryId) + Send + Sync + 'static {
    let mark = mount.marker();
    move |id| mark(Mark::Left(id.to_string()))
}

fn track(onward: &Onward, clock: &Manual, mount: &Mount, events: &[Event]) -> Result<(), Error> {
    let mark = mount.marker();
    for event in events {
        event.time.into_iter().for_each(|time| clock.reach(time));
        onward.track(event.clone())?.wait()?;
        event.id.iter().for_each(|id| mark(Mark::Acknowledged(id.to_string())));
    }
    Ok(())
}

/// A directory with these events in it; its records.
fn prepare(data: &Path, mount: &Mount, inputs: &Inputs, events: &[Event]) -> Vec<Logged> {
    let clock = Arc::new(Manual::default());
    let onward = open(data, &clock, told(mount)).unwrap();
    inputs.begin(&onward).unwrap();
    track(&onward, &clock, mount, events).unwrap();
    onward.close().unwrap();
    read(data).unwrap()
}

/// An error over a disk that cannot be read is about the disk, and says where.
fn check_error(error: &Error, mount: &Mount, name: &str) {
    let text = error.to_string();
    assert!(text.contains(mount.path().to_str().unwrap()), "{name} names no place: {text}");
    assert!(text.contains("Input/output error"), "{name} names no cause: {text}");
    assert!(!text.contains("damaged"), "{name} is taken for damage: {text}");
}

/// What an opening leaves where it takes something for damaged.
fn taken_for_damaged(data: &Path) -> Vec<String> {
    let names = std::fs::read_dir(data).unwrap().map(|it| it.unwrap().file_name());
    let names = names.map(|it| it.into_string().unwrap());
    names.filter(|it| it.starts_with("set-aside.") || it == "doubtful").collect()
}

#[test]
fn an_opening_that_cannot_read_changes_nothing() {
    let seed = workload::seed();
    println!("SEED={seed}");
    let Some(mount) = Mount::cached() else { return };
    let inputs = Inputs::remembered(seed, 4, 12);
    let data = mount.join("data");
    let before = prepare(&data, &mount, &inputs, &inputs.events);
    for (kind, fault) in [BAD, LOOK] {
        let (mut nth, mut refusals) = (0, 0);
        loop {
            let name = format!("{kind:?} {nth}");
            mount.faults(|it| (it.next, it.happened) = (Some((kind, nth, fault)), false));
            let opened = open(&data, &Arc::default(), |_| {}).and_then(Onward::close);
            let has_happened = mount.faults(|it| it.happened);
            mount.faults(Faults::heal);
            if let Err(error) = opened {
                check_error(&error, &mount, &name);
                refusals += 1;
            }
            let after = read(&data).unwrap_or_else(|error| panic!("{name}, healed: {error}"));
            assert!(after == before, "{name}: the records are others");
            assert_eq!(taken_for_damaged(&data), Vec::<String>::new(), "{name}");
            if !has_happened {
                break;
            }
            nth += 1;
        }
        println!("{nth:>5}  {kind:?}, {refusals} refusals");
        assert!(refusals > 3, "{refusals} refusals after {nth} faults");
    }
}

/// Fails one read after opening; whether there was one.
fn fail_while_running(mount: &Mount, inputs: &Inputs, nth: u64) -> bool {
    mount.disk().format();
    let data = mount.join("data");
    let (first, second) = inputs.events.split_at(inputs.events.len() / 2);
    prepare(&data, mount, inputs, first);
    let clock = Arc::new(Manual::default());
    let onward = open(&data, &clock, told(mount)).unwrap();
    mount.faults(|it| it.next = Some((Kind::Read, nth, Fault::Error(Errno::EIO))));
    let tracked = track(&onward, &clock, mount, second);
    let ended = onward.close();
    let has_happened = mount.faults(|it| it.happened);
    mount.faults(Faults::heal);
    let name = format!("read {nth}");
    match ended.and(tracked) {
        Ok(()) => {}
        Err(error) => check_error(&error, mount, &name),
    }
    let onward = open(&data, &clock, told(mount)).unwrap();
    track(&onward, &clock, mount, second).unwrap();
    onward.close().unwrap();
    let log = std::mem::take(&mut mount.disk().log);
    Said::by(&read(&data).unwrap()).holds(log.iter().filter_map(Op::mark));
    has_happened
}

#[test]
fn a_page_that_cannot_be_read_stops_the_engine_and_loses_nothing() {
    let seed = workload::seed();
    println!("SEED={seed}");
    // Nothing is kept in memory, so that the pages of customers are read from the disk.
    let Some(mount) = Mount::new() else { return };
    let inputs = Inputs::remembered(seed, 800, 60);
    let mut count = 0;
    while fail_while_running(&mount, &inputs, count) {
        count += 1;
    }
    println!("{count:>5}  reads");
    assert!(count > 3, "{count} pages were read");
}

/// The commands that read a directory, each with where it writes besides.
fn commands(place: &Place) -> Vec<(&'static str, Vec<PathBuf>)> {
    let other = |name: &str| place.dir.join(name);
    vec![
        ("verify", vec![]),
        ("log", vec![]),
        ("doctor", vec![]),
        ("backup", vec!["--to".into(), other("backup")]),
        ("repair", vec!["--to".into(), other("repaired")]),
        ("trim", vec!["--keep".into(), "72h".into(), "--export".into(), other("export")]),
    ]
}

/// Makes room for what `repair` makes. Before anything is to fail: this is no command's doing.
fn clear(place: &Place) {
    let repaired = place.dir.join("repaired");
    if repaired.exists() {
        std::fs::remove_dir_all(repaired).unwrap();
    }
}

fn run(place: &Place, name: &str, args: &[PathBuf]) -> Output {
    let mut command = place.command();
    command.arg(name).arg("--data").arg(place.data()).args(args).output().unwrap()
}

#[test]
fn commands_that_cannot_read_say_so_and_lose_nothing() {
    let seed = workload::seed();
    println!("SEED={seed}");
    let Some(mount) = Mount::cached() else { return };
    let inputs = tempfile::tempdir().unwrap();
    let shop = Shop::new(inputs.path(), seed, (SCALE, TIGHT));
    let place = shop.place(mount.path());
    let mut random = Random(seed);
    let cases = std::env::var("CASES").map_or(CASES, |it| it.parse().expect("CASES is a number"));
    place.finish(Which::First);
    // What a repair reads is sled's file.
    let is_for = |name: &str| UNDER == StoreKind::Sled || name != "repair";
    for (name, args) in commands(&place).into_iter().filter(|it| is_for(it.0)) {
        for (kind, fault) in [BAD, LOOK] {
            // The first time nothing fails and everything is counted.
            let before = mount.faults(|it| it.counts.get(&kind).copied().unwrap_or(0));
            clear(&place);
            let output = run(&place, name, &args);
            assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output));
            let count = mount.faults(|it| it.counts[&kind]) - before;
            let mut refusals = 0;
            for _ in 0..cases {
                let nth = random.below(count.max(1));
                refusals += u64::from(fail(&mount, &place, (name, &args), (kind, nth, fault)));
            }
            println!("{name} {kind:?}: {refusals} of {cases} refused, {count} of them in a run");
        }
    }
    // The log is trimmed by now, so only what it says of itself can be compared.
    place.finish(Which::Second);
    place.verify();
}

/// Whether the command told of the fault.
fn fail(
    mount: &Mount,
    place: &Place,
    (name, args): (&str, &[PathBuf]),
    (kind, nth, fault): (Kind, u64, Fault),
) -> bool {
    let case = format!("{name}, {kind:?} {nth}");
    clear(place);
    mount.faults(|it| (it.next, it.happened) = (Some((kind, nth, fault)), false));
    let output = run(place, name, args);
    mount.faults(Faults::heal);
    let told = text(&output);
    let is_refused = output.status.code() == Some(FAULT);
    if is_refused {
        assert!(told.contains(mount.path().to_str().unwrap()), "{case} names no place: {told}");
        assert!(told.contains("Input/output error"), "{case} names no cause: {told}");
    } else {
        assert_eq!(output.status.code(), Some(0), "{case}: {told}");
    }
    assert!(!told.contains("panicked"), "{case}: {told}");
    place.verify();
    if is_refused {
        clear(place);
        let healed = run(place, name, args);
        assert_eq!(healed.status.code(), Some(0), "{case}, healed: {}", text(&healed));
    }
    is_refused
}
