//! A disk that is full under a running engine, until somebody makes room.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::{
    disk::Handle,
    world::{Running, Stepping, World},
};
use crate::{
    base::Clock,
    engine::{
        ClockCheck, Engine, Error,
        live::{Full, Live},
        runner::{Report, Runner},
    },
    store,
};

impl World {
    /// A write found no room: the engine drops its partition and refuses everybody, until there is
    /// room and it goes on by itself; unless it is killed, or does not believe the clock.
    pub(super) fn run_out(&mut self, cause: &store::Error) {
        self.say(|_| String::from("the disk is full"));
        let running = self.running.take().expect("an engine runs between steps");
        let Running { engine, live, handle, reports, check, .. } = running;
        let mut full = live.run_out(cause).expect("the free space can be measured");
        self.look();
        let acts = self.rng.below(20);
        let is_killed = self.rng.one_in(5);
        for n in 0..=acts {
            self.act_while_full(&engine, &reports);
            full.refuse_all();
            self.look();
            if n == acts && !is_killed {
                self.disk.set_free_bytes(u64::MAX);
                handle.reopen();
            }
            match self.look_for_room(full, check, &handle) {
                Ok(Looked::Full(still)) => full = *still,
                Ok(Looked::Open(running)) => {
                    let (live, worker) = *running;
                    self.running = Some(Running { engine, live, worker, handle, reports, check });
                    self.totals.refilled += 1;
                    self.say(|_| String::from("there is room again"));
                    self.look();
                    return;
                }
                Err(error) => {
                    self.say(|_| format!("the engine stops without room: {error}"));
                    break;
                }
            }
        }
        // Whoever came last learns that nobody knows.
        drop(engine);
        self.count_failures(&handle);
        self.look();
        match handle.left() {
            Some(left) => self.power_cut(left),
            None => self.open(),
        }
    }

    fn act_while_full(&mut self, engine: &Engine, reports: &Sender<Report>) {
        match self.rng.below(6) {
            0..3 => {
                let Self { rng, swarm, witness, callers, .. } = self;
                let text = callers.call(rng, swarm, engine, witness, self.clock.now());
                self.say(|_| format!("call while it is full: {text}"));
            }
            3 => {
                for report in self.workers.report(&mut self.rng, &self.swarm) {
                    self.say(|_| format!("report while it is full: {report:?}"));
                    reports.send(report).unwrap();
                }
            }
            _ => self.tick(),
        }
    }

    /// The engine looks at the clock and for room, and opens its data where there is some.
    fn look_for_room(
        &mut self,
        mut full: Full,
        check: ClockCheck,
        handle: &Arc<Handle>,
    ) -> Result<Looked, Error> {
        let is_believed = self.would_believe(check);
        let looked = full.look();
        match &looked {
            Ok(_) => assert!(is_believed, "a clock that leapt is believed"),
            Err(Error::Clock { .. }) => {
                assert!(!is_believed, "a clock that did not leap is not believed");
            }
            Err(Error::Store(error)) if handle.left().is_none() => self.check_fault(error),
            Err(_) => {}
        }
        let Some(mut owned) = looked? else { return Ok(Looked::Full(Box::new(full))) };
        self.check_owned(&mut owned)?;
        let mut worker = None;
        let live = full.go_on(owned, |owned, deliveries| {
            let (runner, stepped) = Runner::stepped(owned, deliveries)?;
            stepped.lock().unwrap().slice(self.swarm.slice_bytes);
            worker = Some(stepped);
            Ok(runner)
        })?;
        let worker = worker.expect("an engine that goes on has a worker");
        Ok(Looked::Open(Box::new((live, worker))))
    }
}

/// What a look for room found.
enum Looked {
    Full(Box<Full>),
    Open(Box<(Live, Stepping)>),
}
