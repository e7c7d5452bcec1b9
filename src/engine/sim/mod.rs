//! A simulation of the whole engine by seed: the real loop, runner, commit worker and recovery over
//! a disk, workers, callers and a clock that do whatever a number says, all in one thread.
//!
//! Checks are made from outside: by what callers were told, what channels got, and what is durable
//! of the log ([`witness`]), held against what the flows say ([`walks`]).
//!
//! - `cargo test --lib engine::sim` runs the seeds that once failed (`seeds.txt`) and the first 1,000.
//! - `SEED=n cargo test --lib engine::sim -- --nocapture` runs one and prints what happens in it.
//! - `SEEDS=1000000 cargo test --release --lib engine::sim -- --nocapture` runs so many from a random
//!   one, or from `START=n`: the long mode, for nights.
//!
//! A world is a machine that may lose its power (what was synced stays, and any beginning of the
//! rest), processes that are killed, engines that depose each other, a disk that fails (the write
//! may be there all the same), workers that are slow, silent or lie, callers that repeat themselves,
//! a disk that fills up and is emptied, and a clock that leaps by hours or years, before engines that
//! believe it and engines that do not. In a second test the log also loses its end, once ([`loss`]).
//! How much of each is drawn per seed. At the end nothing fails any more, time goes on, and
//! everything owed must have happened.

mod callers;
mod disk;
mod loss;
mod rng;
mod room;
mod settle;
mod swarm;
mod time;
mod totals;
mod walks;
mod witness;
mod workers;
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::base::limits::WORKER_STACK_BYTES;
use totals::Totals;
use world::World;

/// Seeds that found something once, with what it was.
const FAILED: &str = include_str!("seeds.txt");
/// How many seeds a run without further words tries.
const SEEDS: u64 = 1_000;
/// Failures after which a run stops looking.
const FAILURES_MAX: usize = 5;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn random() -> u64 {
    let bytes = crate::engine::recover::random_instance().0;
    bytes.iter().take(6).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn failed_before() -> impl Iterator<Item = u64> {
    let lines = FAILED.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.split(' ').next().unwrap().parse().expect("a seed, then what it found"))
}

/// Runs every seed on as many threads as there are cores, each seed on one of them; gives those
/// that fail.
fn run(seeds: &[u64], live: impl Fn(World) + Sync) -> Vec<u64> {
    let next = AtomicU64::new(0);
    let failed = Mutex::new(Vec::new());
    let work = || {
        while failed.lock().unwrap().len() < FAILURES_MAX {
            let index = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
            let Some(seed) = seeds.get(index) else { return };
            if catch_unwind(AssertUnwindSafe(|| live(World::new(*seed, false)))).is_err() {
                println!("SEED={seed} fails; set that, and it is repeated and told");
                failed.lock().unwrap().push(*seed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            // Rendering and compiling take no stack of their own on a thread like this.
            let thread = thread::Builder::new().stack_size(WORKER_STACK_BYTES);
            thread.spawn_scoped(scope, work).unwrap();
        }
    });
    failed.into_inner().unwrap()
}

/// The seeds from the one that is asked for, or from a random one where only their number is.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let count = variable("SEEDS");
    let first = count.map_or(0, |_| random());
    let start = variable("START").unwrap_or(first);
    let end = start + count.unwrap_or(usual);
    println!("SEEDS from {start} to {end}");
    start..end
}

#[test]
fn no_seed_breaks_a_promise() {
    if let Some(seed) = variable("SEED") {
        println!("SEED={seed}");
        println!("{:#?}", World::new(seed, true).run());
        return;
    }
    let totals = Mutex::new(Totals::default());
    let seeds: Vec<u64> = failed_before().chain(seeds(SEEDS)).collect();
    let failed = run(&seeds, |world| totals.lock().unwrap().add(&world.run()));
    let totals = totals.into_inner().unwrap();
    println!("{totals:#?}");
    assert!(failed.is_empty(), "these seeds fail: {failed:?}");
    assert!(totals.acknowledged > 10 * totals.seeds && totals.deliveries > totals.seeds);
    assert!(totals.cuts > 0 && totals.kills > 0 && totals.takeovers > 0);
    assert!(totals.clock_stops > 0 && totals.clock_refusals > 0 && totals.refilled > 0);
}

#[test]
fn after_a_loss_no_message_has_the_name_of_another() {
    if let Some(seed) = variable("SEED") {
        println!("SEED={seed}");
        return World::new(seed, true).run_with_loss();
    }
    let seeds: Vec<u64> = seeds(SEEDS / 10).collect();
    let failed = run(&seeds, World::run_with_loss);
    assert!(failed.is_empty(), "these seeds fail: {failed:?}");
}

#[test]
fn a_seed_is_always_the_same_world() {
    for seed in [1, 6, 32] {
        let [once, again] = [(); 2].map(|()| World::new(seed, false).run());
        assert_eq!(once, again, "SEED={seed}");
    }
}
