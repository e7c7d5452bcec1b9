//! Cuts the power at many points of a recording, on all cores.

use std::{
    any::Any,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::{
    disk::{Mark, Op},
    image::{Mode, Replay, scratch},
    workload::Random,
};

/// A power cut, with what it left.
pub(super) struct Cut<'a> {
    pub(super) number: u64,
    /// What happened before it.
    pub(super) past: &'a [Op],
    /// The image.
    pub(super) dir: &'a Path,
}

impl<'a> Cut<'a> {
    /// The marks before it.
    pub(super) fn marks(&self) -> impl Iterator<Item = &'a Mark> {
        self.past.iter().filter_map(Op::mark)
    }
}

/// How often something was there.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<BTreeMap<String, u64>>);

impl Tally {
    pub(super) fn add(&self, what: &str, count: usize) {
        let count = u64::try_from(count).unwrap();
        *self.0.lock().unwrap().entry(what.to_owned()).or_default() += count;
    }

    pub(super) fn print(&self) {
        for (what, count) in &*self.0.lock().unwrap() {
            println!("{count:>9}  {what}");
        }
    }
}

/// Cuts so often, and calls `check` for what each cut leaves; it panics where something is wrong.
pub(super) fn cut(
    log: &[Op],
    (seed, cuts): (u64, usize),
    tally: &Tally,
    check: impl Fn(&Cut<'_>) + Sync,
) {
    let mut random = Random(seed);
    let points = (0..cuts).map(|_| point(log, &mut random)).collect();
    cut_at(log, (seed, points), tally, check);
}

/// Cuts after so many operations each.
pub(super) fn cut_at(
    log: &[Op],
    (seed, mut points): (u64, Vec<usize>),
    tally: &Tally,
    check: impl Fn(&Cut<'_>) + Sync,
) {
    points.sort_unstable();
    let failed = AtomicBool::new(false);
    let failures = Mutex::new(Vec::new());
    let cores = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for core in 0..cores {
            let (points, check, failed, failures) = (&points, &check, &failed, &failures);
            scope.spawn(move || {
                let mut replay = Replay::default();
                let mut done = 0;
                for (number, at) in points.iter().copied().enumerate().skip(core).step_by(cores) {
                    if failed.load(Ordering::SeqCst) {
                        return;
                    }
                    log[done..at].iter().for_each(|op| replay.apply(op));
                    done = at;
                    let number = u64::try_from(number).unwrap();
                    if let Err(failure) = one(&replay, &log[..at], (seed, number), tally, check) {
                        failed.store(true, Ordering::SeqCst);
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A point of the log: anywhere, just before a sync, or beside a change of names or a mark.
pub(super) fn point(log: &[Op], random: &mut Random) -> usize {
    let any = 1 + random.index(log.len());
    let is_wanted: fn(&Op) -> bool = match random.below(4) {
        0 => |op| matches!(op, Op::Sync { .. }),
        1 => |op| !matches!(op, Op::Sync { .. } | Op::Write { .. }),
        _ => return any,
    };
    // Just before it, where most is at stake, or just after it.
    let found = log[any - 1..].iter().position(is_wanted);
    found.map_or(any, |ahead| any - 1 + ahead + random.index(2))
}

fn one(
    replay: &Replay,
    past: &[Op],
    (seed, number): (u64, u64),
    tally: &Tally,
    check: &impl Fn(&Cut<'_>),
) -> Result<(), String> {
    let random = || Random(seed ^ (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mode = Mode::ALL[random().index(Mode::ALL.len())];
    let dir = scratch();
    replay.write_image(mode, &mut random(), dir.path());
    tally.add(&format!("cuts, {mode:?}"), 1);
    tally.add("unsynced bytes at cuts, KiB", replay.unsynced() / 1024);
    let cut = Cut { number, past, dir: dir.path() };
    catch_unwind(AssertUnwindSafe(|| check(&cut))).map_err(|panic| {
        let kept = scratch().keep();
        replay.write_image(mode, &mut random(), &kept);
        let last: Vec<String> = past.iter().rev().take(4).rev().map(short).collect();
        format!(
            "SEED={seed}, cut {number}, {mode:?}, after operation {} ({}), {} bytes unsynced: {}\n\
             SEED={seed} makes the same cuts again; the image is kept in {}",
            past.len(),
            last.join(", "),
            replay.unsynced(),
            text(&*panic),
            kept.display(),
        )
    })
}

fn short(op: &Op) -> String {
    if let Op::Write { node, at, bytes } = op {
        return format!("Write {node} at {at}, {} bytes", bytes.len());
    }
    format!("{op:?}")
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref().copied()).unwrap_or("a panic without a text").to_owned()
}
