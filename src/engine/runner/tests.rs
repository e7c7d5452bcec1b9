//! When checkpoints are due, and a runner whose commit thread is stepped.

use std::path::Path;

use super::*;
use crate::{
    base::{InstanceId, Limits},
    engine::{
        commit::Stepped,
        recover::{self, Opening, Site},
        watch::Watch,
    },
    machine::record::Source,
    model::CustomerUpdate,
    store::{Directory, MemoryStore, Store, Tree},
};

fn opening() -> Opening {
    let limits = Limits { checkpoint_records: 10, ..Limits::default() };
    Opening::new(InstanceId([7; 16]), limits)
}

fn no_workers() -> Outbound {
    Box::new(|delivery| Err(Box::new(delivery)))
}

fn open(dir: &Path) -> Runner {
    Runner::start(recover::own(dir, &opening()).unwrap(), no_workers()).unwrap()
}

fn change(runner: &mut Runner, number: u64) {
    let line = format!(r#"{{"id":"c{number}"}}"#);
    let update = CustomerUpdate::parse(line.as_bytes()).unwrap();
    let input = Input::Customer { source: Source::Api, update };
    runner.decide(Timestamp::EPOCH, &input).unwrap().unwrap();
}

/// Writes so many records and goes away as a killed process does: no checkpoint at the end.
fn write(dir: &Path, start: u64, count: u64) {
    let mut runner = open(dir);
    for number in start..start + count {
        change(&mut runner, number);
        runner.drain().unwrap();
    }
    while runner.checkpointing {
        runner.wait_commit().unwrap();
    }
}

fn checkpoint_at(dir: &Path) -> Option<Lsn> {
    let store: Arc<dyn Store> = Directory::open_existing(dir).unwrap().store();
    checkpoint::load(&*store).unwrap().map(|(state, _)| state.at)
}

#[test]
fn what_the_store_is_given_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut runner = open(dir.path());
    let tally = Arc::clone(runner.watch.tally());
    let log = tally.given_bytes(Tree::Log);
    change(&mut runner, 0);
    runner.drain().unwrap();
    assert!(tally.given_bytes(Tree::Log) > log && tally.given_bytes(Tree::Rows) == 0);
    assert!(!tally.is_checkpointing());
    runner.checkpoint();
    assert!(tally.is_checkpointing());
    while runner.checkpointing {
        runner.wait_commit().unwrap();
    }
    assert!(!tally.is_checkpointing() && tally.given_bytes(Tree::Rows) > 0);
}

#[test]
fn a_checkpoint_has_gone_with_whoever_ran_it() {
    let dir = tempfile::tempdir().unwrap();
    let watch = Watch::start(dir.path(), opening().limits.stall).unwrap();
    let site = Site::Directory(dir.path().to_owned());
    let start = || Runner::start(site.own(&opening(), &watch).unwrap(), no_workers()).unwrap();
    let mut runner = start();
    change(&mut runner, 0);
    runner.drain().unwrap();
    runner.checkpoint();
    assert!(watch.tally().is_checkpointing());
    // As after a full disk: nobody has learned of its end.
    drop(runner);
    drop(start());
    assert!(!watch.tally().is_checkpointing());
}

#[test]
fn records_of_processes_that_were_killed_count_towards_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0, 6);
    assert_eq!(checkpoint_at(dir.path()), None);
    write(dir.path(), 6, 6);
    assert_eq!(checkpoint_at(dir.path()), Some(Lsn(10)));
    write(dir.path(), 12, 6);
    assert_eq!(checkpoint_at(dir.path()), Some(Lsn(10)));
    // A clean end of a process that wrote nothing itself checkpoints what it replayed.
    open(dir.path()).finish().unwrap();
    assert_eq!(checkpoint_at(dir.path()), Some(Lsn(18)));
}

#[test]
fn a_stepped_runner_learns_what_is_durable_from_steps_alone() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let owned = recover::own_store(&store, &opening()).unwrap();
    let (mut runner, worker) = Runner::stepped(owned, Deliveries::new(no_workers())).unwrap();
    let step = || worker.lock().unwrap().step(false);
    assert_eq!(step(), Stepped::Idle);
    change(&mut runner, 0);
    runner.submit();
    assert!(runner.commits().is_empty());
    assert_eq!(step(), Stepped::Worked);
    let committed = runner.commits().try_recv().unwrap();
    runner.absorb(committed).unwrap();
    assert!(runner.is_durable());
    // Who waits steps as well.
    change(&mut runner, 1);
    runner.drain().unwrap();
    runner.finish().unwrap();
    assert_eq!(step(), Stepped::Ended);
    assert_eq!(checkpoint::load(&*store).unwrap().unwrap().0.at, Lsn(2));
}
