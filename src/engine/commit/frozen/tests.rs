//! What a reader sees while the engine goes on, and when it is told to stop.

use std::sync::{Arc, Mutex};

use super::*;
use crate::{
    base::{InstanceId, Limits, Lsn, Timestamp},
    engine::{
        Error, Opening, Ticket, recover,
        runner::{Deliveries, Outbound, Runner},
    },
    machine::{input::Input, record::Source},
    model::CustomerUpdate,
    store::{Entry, MemoryStore, Tree},
};

/// A runner over a store in memory, and the worker that a test steps.
struct Bench {
    store: Arc<dyn Store>,
    runner: Runner,
    worker: Arc<Mutex<Worker>>,
}

impl Bench {
    fn new(cache_bytes: usize) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let limits = Limits { checkpoint_records: 5, cache_bytes, ..Limits::default() };
        let instance = InstanceId([7; 16]);
        let opening = Opening::new(instance, limits);
        let owned = recover::own_store(&store, &opening).unwrap();
        let outbound: Outbound = Box::new(|delivery| Err(Box::new(delivery)));
        let (runner, worker) = Runner::stepped(owned, Deliveries::new(outbound)).unwrap();
        Self { store, runner, worker }
    }

    fn change(&mut self, customers: std::ops::Range<u64>) {
        for number in customers {
            let pad = "x".repeat(500);
            let line = format!(r#"{{"id":"c{number}","attributes":{{"pad":"{pad}"}}}}"#);
            let update = CustomerUpdate::parse(line.as_bytes()).unwrap();
            let input = Input::Customer { source: Source::Api, update };
            self.runner.decide(Timestamp::EPOCH, &input).unwrap().unwrap();
            self.runner.drain().unwrap();
        }
    }

    fn freeze(&mut self) -> Ticket<Frozen> {
        let (reply, ticket) = Ticket::new();
        self.runner.freeze(reply);
        self.work();
        ticket
    }

    /// Lets the worker do what it can, and takes its reports.
    fn work(&mut self) {
        while self.worker.lock().unwrap().step(false) == super::super::Stepped::Worked {
            while let Ok(committed) = self.runner.commits().try_recv() {
                self.runner.absorb(committed).unwrap();
            }
        }
    }

    /// Everything that is frozen.
    fn image(&self) -> Vec<Entry> {
        let mut found = Vec::new();
        for tree in [Tree::Rows, Tree::Timers, Tree::Meta] {
            let mut after = Vec::new();
            while let Some((key, value)) = self.store.above(tree, &after).unwrap() {
                after.clone_from(&key);
                found.push((key, value));
            }
        }
        found
    }
}

#[test]
fn what_is_frozen_stays_while_the_log_goes_on() {
    let mut bench = Bench::new(usize::MAX / 4);
    bench.change(0..7);
    let frozen = bench.freeze().wait().unwrap();
    assert_eq!(frozen.checkpoint().at, Lsn(7));
    assert_eq!(checkpoint::load(&**frozen.store()).unwrap().unwrap().0, *frozen.checkpoint());
    let image = bench.image();
    assert!(image.len() > 2);
    bench.change(3..40);
    bench.work();
    assert_eq!(bench.runner.partition.fold.last_lsn(), Lsn(7 + 33));
    assert_eq!(bench.image(), image);
    frozen.check().unwrap();
    drop(frozen);
    bench.work();
    assert_ne!(bench.image(), image);
    // The second one is of its own moment, and what was put off is done before it.
    let second = bench.freeze().wait().unwrap();
    assert_eq!(second.checkpoint().at, Lsn(40));
}

#[test]
fn an_empty_directory_freezes_too() {
    let mut bench = Bench::new(usize::MAX / 4);
    let frozen = bench.freeze().wait().unwrap();
    assert_eq!(frozen.checkpoint().at, Lsn::ZERO);
    frozen.check().unwrap();
}

#[test]
fn the_reader_learns_that_the_cache_could_not_wait_before_anything_changes() {
    let mut bench = Bench::new(20_000);
    bench.change(0..7);
    let frozen = bench.freeze().wait().unwrap();
    let image = bench.image();
    let mut more = 7;
    while frozen.check().is_ok() {
        assert_eq!(bench.image(), image);
        assert!(more < 1_000, "the cache is full at some time");
        bench.change(more..more + 1);
        bench.work();
        more += 1;
    }
    assert!(matches!(frozen.check(), Err(store::Error::Thawed)));
    bench.work();
    assert_ne!(bench.image(), image);
    let limit = 2 * 20_000 + 8 * 1024;
    assert!(bench.runner.partition.state.table.resident_bytes() <= limit);
}

#[test]
fn an_engine_that_stops_waits_for_no_reader() {
    let mut bench = Bench::new(usize::MAX / 4);
    bench.change(0..3);
    let frozen = bench.freeze().wait().unwrap();
    // One that still waits in line is told as well.
    let second = bench.freeze();
    bench.change(3..6);
    bench.runner.finish().unwrap();
    assert!(matches!(frozen.check(), Err(store::Error::Thawed)));
    assert!(matches!(second.wait(), Err(Error::Store(store::Error::Thawed))));
    let recorded = checkpoint::load(&*bench.store).unwrap().unwrap();
    assert_eq!(recorded.0.at, Lsn(6));
}
