//! One simulated world: engines, disk, workers, callers and clock, moved by one seed in one thread.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicI64, Ordering},
};

use crossbeam_channel::Sender;

use super::{
    callers::{self, Callers},
    disk::{Attic, Handle, Synced},
    rng::Rng,
    swarm::{Act, FREE_BYTES_MIN, Faults, Swarm},
    totals::Totals,
    witness::Witness,
    workers::Workers,
};
use crate::{
    base::{Clock, InstanceId, Lsn, Timestamp},
    engine::{
        ClockCheck, Engine, Error, Opening,
        commit::{Stepped, Worker},
        live::{Home, Live},
        recover::{self, Owned, Site},
        runner::{Deliveries, Report, Runner, reports},
        verify::verify,
    },
    store::{self, MemoryStore, Store},
};

pub(super) const INSTANCE: InstanceId = InstanceId([9; 16]);
/// Every how many starts the recovered engine is verified, because that takes its time.
const VERIFY_EVERY: u64 = 4;

/// A clock that shows what the simulation says.
#[derive(Debug)]
pub(super) struct Shown(pub(super) AtomicI64);

impl Clock for Shown {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed)).unwrap()
    }
}

/// What would be a commit thread.
pub(super) type Stepping = Arc<Mutex<Worker>>;

/// An engine that runs.
pub(super) struct Running {
    pub(super) engine: Engine,
    pub(super) live: Live,
    pub(super) worker: Stepping,
    pub(super) handle: Arc<Handle>,
    pub(super) reports: Sender<Report>,
    /// Whether it believes any clock.
    pub(super) check: ClockCheck,
}

/// Everything there is.
pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) swarm: Swarm,
    is_traced: bool,
    pub(super) disk: MemoryStore,
    pub(super) attic: Attic,
    pub(super) running: Option<Running>,
    /// The last record that is left and the last acknowledged, where some were lost.
    pub(super) loss: Option<(Lsn, Lsn)>,
    pub(super) deposed: Vec<Stepping>,
    pub(super) clock: Arc<Shown>,
    /// The latest time that an engine may have believed.
    pub(super) clock_max: Timestamp,
    /// The latest time that the engine has seen the clock show; earlier engines, until one starts.
    pub(super) seen: Timestamp,
    /// Whether the next engine is told to believe the clock.
    pub(super) is_trusting: bool,
    pub(super) witness: Witness,
    pub(super) workers: Workers,
    pub(super) callers: Callers,
    pub(super) totals: Totals,
}

impl World {
    pub(super) fn new(seed: u64, is_traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let swarm = Swarm::draw(seed, &mut rng);
        let refusals = swarm.refusals;
        let start = Timestamp::parse("2027-01-05T00:00:00Z").unwrap();
        Self {
            rng,
            swarm,
            is_traced,
            disk: MemoryStore::new(),
            attic: Attic::default(),
            running: None,
            loss: None,
            deposed: Vec::new(),
            clock: Arc::new(Shown(AtomicI64::new(start.micros()))),
            clock_max: start,
            seen: start,
            is_trusting: false,
            witness: Witness::new(INSTANCE, callers::documents()),
            workers: Workers::new(seed, refusals),
            callers: Callers::new(),
            totals: Totals::default(),
        }
    }

    /// Lives through all steps of the seed, then settles and checks everything once more.
    pub(super) fn run(mut self) -> Totals {
        self.say(|it| format!("{:?}", it.swarm));
        self.live();
        self.totals.seeds = 1;
        self.totals.records = self.witness.latest().0;
        self.totals.acknowledged = self.callers.acknowledged;
        self.totals.duplicates = self.callers.duplicates;
        self.totals.unknown = self.callers.unknown;
        self.totals.busy = self.callers.busy;
        self.totals.no_space = self.callers.no_space;
        self.totals.questions = self.callers.answered_questions;
        self.totals.deliveries = self.workers.deliveries;
        self.totals
    }

    /// Opens, does the steps of the seed, and settles.
    pub(super) fn live(&mut self) {
        self.open();
        for _ in 0..self.swarm.steps {
            let act = self.rng.weighted(&self.swarm.acts);
            self.act(act);
            self.totals.steps += 1;
        }
        self.settle();
    }

    pub(super) fn say(&self, what: impl FnOnce(&Self) -> String) {
        if self.is_traced {
            println!("{:>5} {} {}", self.totals.steps, self.clock.now(), what(self));
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Call => {
                let running = self.running.as_ref().expect("an engine runs between steps");
                let Self { rng, swarm, witness, callers, .. } = self;
                let text = callers.call(rng, swarm, &running.engine, witness, self.clock.now());
                self.say(|_| format!("call: {text}"));
            }
            Act::Round => {
                self.round();
            }
            Act::Commit => {
                let is_head_due = self.rng.one_in(10);
                let running = self.running.as_ref().expect("an engine runs between steps");
                let stepped = running.worker.lock().unwrap().step(is_head_due);
                if stepped != Stepped::Idle {
                    self.say(|_| format!("commit: {stepped:?}"));
                }
                self.look_at_power();
            }
            Act::Report => {
                let reports = self.workers.report(&mut self.rng, &self.swarm);
                let running = self.running.as_ref().expect("an engine runs between steps");
                for report in reports {
                    self.say(|_| format!("report: {report:?}"));
                    running.reports.send(report).unwrap();
                }
            }
            Act::Tick => self.tick(),
            Act::Deposed => {
                for worker in &self.deposed {
                    let stepped = worker.lock().unwrap().step(false);
                    self.say(|_| format!("a deposed owner: {stepped:?}"));
                }
            }
            Act::Kill => {
                self.totals.kills += 1;
                self.end("killed");
                self.open();
            }
            Act::PowerCut => {
                let running = self.running.as_ref().expect("an engine runs between steps");
                let left = running.handle.cut_power();
                self.power_cut(left);
            }
            Act::ArmPowerCut => {
                let writes = 1 + self.rng.below(30);
                let running = self.running.as_ref().expect("an engine runs between steps");
                running.handle.arm_power_cut(writes);
                self.say(|_| format!("the power will fail in {writes} writes"));
            }
            Act::Takeover => {
                self.totals.takeovers += 1;
                let stubborn = self.rng.one_in(self.swarm.stubborn);
                let running = self.running.as_ref().expect("an engine runs between steps");
                running.handle.depose(stubborn);
                self.deposed.push(Arc::clone(&running.worker));
                self.end(if stubborn { "deposed, stubborn" } else { "deposed" });
                self.open();
            }
            Act::Space => {
                let free = self.rng.pick(&[FREE_BYTES_MIN / 2, u64::MAX, u64::MAX]);
                self.disk.set_free_bytes(free);
                self.say(|_| format!("{free} bytes are free"));
            }
            Act::Restart => self.restart(),
        }
    }

    /// The partition's thread does a round; whatever it let out is looked at before anything else
    /// happens. Whether anything left.
    pub(super) fn round(&mut self) -> bool {
        let is_believed = self.believes();
        let running = self.running.as_mut().expect("an engine runs between steps");
        let result = running.live.round();
        let has_left = self.look();
        match result {
            Ok(()) => assert!(is_believed, "a clock that leapt is believed"),
            Err(Error::Clock { .. }) => {
                assert!(!is_believed, "a clock that did not leap is not believed");
                self.clock_stops();
            }
            Err(error) => self.stopped(&error),
        }
        has_left
    }

    /// Looks at what left the engine; whether anything did.
    pub(super) fn look(&mut self) -> bool {
        let Self { witness, workers, disk, attic, .. } = self;
        let synced = Synced(disk.clone(), Attic::clone(attic));
        witness.read_on(synced, self.clock_max, &workers.reported);
        let mut has_left = false;
        while let Some((id, attempt)) = self.workers.look() {
            has_left = true;
            self.say(|_| format!("delivery {id}, attempt {attempt}"));
            let known = self.witness.walks.is_in_flight(id, attempt);
            assert!(known, "{id} left at attempt {attempt}, which is not durable or over");
        }
        let engine = self.running.as_ref().map(|it| &it.engine);
        for text in self.callers.listen(engine, &self.witness) {
            has_left = true;
            self.say(|_| format!("answer: {text}"));
        }
        has_left
    }

    /// The engine gave up by itself: rightly, if something failed.
    fn stopped(&mut self, error: &Error) {
        self.say(|_| format!("the engine stops: {error}"));
        let Error::Store(error) = error else { panic!("the engine stops: {error}") };
        let is_cut = self.running.as_ref().is_some_and(|it| it.handle.left().is_some());
        if error.is_no_space() && !is_cut { self.run_out(error) } else { self.gives_up(error) }
    }

    /// What failed ends the engine, and another one starts.
    pub(super) fn gives_up(&mut self, error: &store::Error) {
        if let Some(left) = self.running.as_ref().and_then(|it| it.handle.left()) {
            return self.power_cut(left);
        }
        self.check_fault(error);
        self.totals.stops += 1;
        self.end("stopped");
        self.open();
    }

    pub(super) fn check_fault(&self, error: &store::Error) {
        let is_ours = matches!(error, store::Error::Io { .. } | store::Error::Poisoned { .. });
        let is_rival = matches!(error, store::Error::Conflict { .. }) && self.totals.takeovers > 0;
        assert!(is_ours || is_rival, "nothing failed, and the engine stops: {error}");
    }

    /// A power cut may have come at a write.
    fn look_at_power(&mut self) {
        if let Some(left) = self.running.as_ref().and_then(|it| it.handle.left()) {
            self.power_cut(left);
        }
    }

    pub(super) fn power_cut(&mut self, left: MemoryStore) {
        self.totals.cuts += 1;
        self.end("the power fails");
        self.deposed.clear();
        self.disk = left;
        self.open();
    }

    /// The engine is gone; who waits learns that nobody knows.
    pub(super) fn end(&mut self, how: &str) {
        self.say(|_| how.to_owned());
        if let Some(running) = self.running.take() {
            self.count_failures(&running.handle);
        }
        self.look();
    }

    pub(super) fn count_failures(&mut self, handle: &Handle) {
        self.totals.failures.add(&handle.failures());
    }

    /// A clean stop: what is under way may still be reported, everything else is written.
    fn restart(&mut self) {
        self.totals.restarts += 1;
        self.say(|_| String::from("stops cleanly"));
        let running = self.running.as_mut().expect("an engine runs between steps");
        running.live.runner.hold_deliveries();
        self.round();
        self.close();
    }

    /// What was decided is written, and another engine starts.
    pub(super) fn close(&mut self) {
        let Some(Running { live, handle, engine, .. }) = self.running.take() else { return };
        let result = live.close(Ok(()));
        self.look();
        drop(engine);
        self.count_failures(&handle);
        match (result, handle.left()) {
            (_, Some(left)) => return self.power_cut(left),
            (Err(Error::Store(error)), None) => self.check_fault(&error),
            (Err(error), None) => panic!("the engine does not close: {error}"),
            (Ok(()), None) => {}
        }
        self.open();
    }

    /// Starts an engine over the disk; tries again where the disk fails, at last without faults.
    pub(super) fn open(&mut self) {
        for attempt in 0.. {
            let faults = if attempt < 3 { self.swarm.faults } else { Faults::default() };
            if attempt > 10 {
                self.deposed.clear();
            }
            assert!(attempt < 20, "it never opens");
            match self.try_open(faults) {
                Ok(()) => return,
                Err(Error::Store(error)) => {
                    self.say(|_| format!("does not open: {error}"));
                    self.check_fault(&error);
                }
                Err(Error::Clock { .. }) => self.clock_refused(),
                Err(error) => panic!("does not open: {error}"),
            }
        }
    }

    fn try_open(&mut self, faults: Faults) -> Result<(), Error> {
        let rival = self.deposed.last().cloned();
        let rng = self.rng.fork();
        let handle = Arc::new(Handle::new(self.disk.clone(), &self.attic, faults, rng, rival));
        let result = self.start(&handle);
        if result.is_err() {
            self.count_failures(&handle);
        }
        result
    }

    fn start(&mut self, handle: &Arc<Handle>) -> Result<(), Error> {
        let limits = self.swarm.limits.clone();
        let opening = Opening::new(INSTANCE, limits);
        let store: Arc<dyn Store> = Arc::<Handle>::clone(handle);
        let mut owned = recover::own_store(&store, &opening)?;
        self.check_owned(&mut owned)?;
        let deliveries = Deliveries::new(self.workers.outbound(self.rng.fork()));
        let (runner, worker) = Runner::stepped(owned, deliveries)?;
        worker.lock().unwrap().slice(self.swarm.slice_bytes);
        let latest = runner.partition.latest();
        let (reports, inbox) = reports();
        let present = self.look_first(&runner)?;
        let watch = Arc::clone(runner.watch());
        let home = Home { site: Site::Store(store), opening, watch };
        let (engine, live) = Engine::over(runner, inbox, present, home);
        let (handle, check) = (Arc::clone(handle), self.check());
        self.is_trusting = false;
        self.running = Some(Running { engine, live, worker, handle, reports, check });
        self.say(|_| format!("opened at {latest}"));
        self.look();
        Ok(())
    }

    /// What was opened has all that was durable, and sometimes everything is compared.
    pub(super) fn check_owned(&mut self, owned: &mut Owned) -> store::Result<()> {
        let latest = owned.partition.latest();
        // The head says what was lost until the log says so itself.
        owned.loss = self.loss.filter(|_| owned.partition.memory().renamed_at().is_none());
        assert!(self.witness.latest() <= latest, "what was durable is gone");
        if self.rng.one_in(VERIFY_EVERY) {
            let mut found = verify(&mut owned.partition)?;
            if !self.deposed.is_empty() {
                // A deposed owner may append while the log is read.
                found.differences.retain(|it| !it.starts_with("the fold"));
            }
            assert_eq!(found.differences, Vec::<String>::new(), "verify, after opening");
            self.totals.verified += 1;
        }
        Ok(())
    }
}
