//! A disk that fills up under a running engine, and what becomes of those who wait and those who
//! come.

use std::{
    convert::Infallible,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::*;
use crate::{
    base::{Clock, CustomerId, InstanceId, Timestamp},
    engine::{ClockCheck, Engine, Error, Ticket, recover::Site},
    machine::{
        input::{Answer, Input},
        record::Source,
    },
    model::{CustomerUpdate, Event},
    store::{Entry, Inserted, Tree},
};

const WATERMARK: u64 = 1_000;
const PLENTY: u64 = 1_000_000;
/// Far longer than anything here takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A disk in memory that has no room from the n-th write on, until it gets some. After an error
/// what was not synced is gone, as it may be when the directory is opened again.
#[derive(Debug)]
pub(in crate::engine) struct Disk {
    inner: Mutex<MemoryStore>,
    /// Writes and syncs that still have room.
    room: AtomicU64,
    writes: AtomicU64,
    is_broken: AtomicBool,
    hangs: Mutex<Option<(Asked, Receiver<Infallible>)>>,
}

/// What hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Read,
    Write,
}

impl Disk {
    pub(in crate::engine) fn new() -> Arc<Self> {
        let inner = Mutex::new(MemoryStore::new());
        let (room, writes) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
        let (is_broken, hangs) = (AtomicBool::new(false), Mutex::new(None));
        let disk = Self { inner, room, writes, is_broken, hangs };
        disk.set_free(PLENTY);
        Arc::new(disk)
    }

    fn set_free(&self, free: u64) {
        self.inner().set_free_bytes(free);
    }

    /// The write after so many finds no room.
    pub(in crate::engine) fn fill_after(&self, writes: u64) {
        self.room.store(self.writes() + writes, Ordering::SeqCst);
    }

    /// No write works from now on, and that is not for want of room.
    fn break_down(&self) {
        self.is_broken.store(true, Ordering::SeqCst);
    }

    /// No such operation ends before the guard is dropped.
    pub(super) fn hang(&self, asked: Asked) -> Sender<Infallible> {
        let (guard, released) = bounded(0);
        *self.hangs.lock().unwrap() = Some((asked, released));
        guard
    }

    /// Whether an engine, or a thread that was left behind, still has it.
    pub(super) fn is_held(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1
    }

    fn wait_while_hanging(&self, asked: Asked) {
        let hangs = self.hangs.lock().unwrap().clone();
        if let Some((_, released)) = hangs.filter(|(it, _)| *it == asked) {
            // Nothing is ever sent: it ends when the guard is gone.
            let _ = released.recv().is_ok();
        }
    }

    /// What a reader finds.
    fn read(&self) -> MemoryStore {
        self.wait_while_hanging(Asked::Read);
        self.inner()
    }

    fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// There is room, and what was not synced when there was none is gone.
    fn empty(&self) {
        let mut inner = self.inner.lock().unwrap();
        *inner = inner.crashed();
        inner.set_free_bytes(PLENTY);
        self.room.store(u64::MAX, Ordering::SeqCst);
    }

    pub(super) fn inner(&self) -> MemoryStore {
        self.inner.lock().unwrap().clone()
    }

    fn write<T>(&self, write: impl FnOnce(&MemoryStore) -> store::Result<T>) -> store::Result<T> {
        self.wait_while_hanging(Asked::Write);
        let inner = self.inner.lock().unwrap();
        if self.is_broken.load(Ordering::SeqCst) {
            let source = std::io::ErrorKind::Other.into();
            return Err(store::Error::Io { what: "write to", path: "memory".into(), source });
        }
        if self.writes.fetch_add(1, Ordering::SeqCst) >= self.room.load(Ordering::SeqCst) {
            inner.set_free_bytes(0);
            let source = std::io::ErrorKind::StorageFull.into();
            return Err(store::Error::Io { what: "write to", path: "memory".into(), source });
        }
        write(&inner)
    }
}

impl Store for Disk {
    fn insert_new(&self, tree: Tree, key: &[u8], value: &[u8]) -> store::Result<Inserted> {
        self.write(|inner| inner.insert_new(tree, key, value))
    }

    fn put(&self, tree: Tree, key: &[u8], value: &[u8]) -> store::Result<()> {
        self.write(|inner| inner.put(tree, key, value))
    }

    fn get(&self, tree: Tree, key: &[u8]) -> store::Result<Option<Vec<u8>>> {
        self.read().get(tree, key)
    }

    fn at_or_below(&self, tree: Tree, key: &[u8]) -> store::Result<Option<Entry>> {
        self.read().at_or_below(tree, key)
    }

    fn above(&self, tree: Tree, key: &[u8]) -> store::Result<Option<Entry>> {
        self.read().above(tree, key)
    }

    fn remove(&self, tree: Tree, key: &[u8]) -> store::Result<()> {
        self.write(|inner| inner.remove(tree, key))
    }

    fn sync(&self) -> store::Result<()> {
        self.write(Store::sync)
    }

    fn size_on_disk(&self) -> store::Result<u64> {
        self.inner().size_on_disk()
    }

    fn free_bytes(&self) -> store::Result<u64> {
        self.inner().free_bytes()
    }
}

/// A clock that a test owns.
pub(in crate::engine) struct Manual(AtomicU64);

impl Manual {
    pub(in crate::engine) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(1_800_000_000_000_000)))
    }

    fn advance(&self, span: Span) {
        self.0.fetch_add(span.micros().unsigned_abs(), Ordering::SeqCst);
    }
}

impl Clock for Manual {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(i64::try_from(self.0.load(Ordering::SeqCst)).unwrap()).unwrap()
    }
}

/// An engine over a disk, and the workers in the hands of a test.
pub(super) struct Shop {
    pub(super) disk: Arc<Disk>,
    clock: Arc<Manual>,
    pub(super) engine: Engine,
    pub(super) deliveries: Receiver<Delivery>,
    reports: Sender<Report>,
}

pub(super) const FLOW: &[u8] = br#"{
    "segments": [{ "id": "all", "name": "All", "rule": "true" }],
    "flows": [{ "id": "welcome", "name": "Welcome", "segment": "all",
        "trigger": { "event": "signup" }, "entry": "every_time",
        "steps": [
            { "id": "first", "step_order": 1, "step_type": "SEND_EMAIL",
              "config": { "subject": "Hello", "text": "Hello." } },
            { "id": "wait", "step_order": 2, "step_type": "WAIT", "config": { "duration": "10m" } },
            { "id": "second", "step_order": 3, "step_type": "SEND_EMAIL",
              "config": { "subject": "Bye", "text": "Bye." } }] }] }"#;

pub(in crate::engine) fn opening() -> Opening {
    let limits = Limits { free_bytes_min: WATERMARK, checkpoint_records: 20, ..Limits::default() };
    Opening::new(InstanceId([7; 16]), limits)
}

impl Shop {
    pub(super) fn open(disk: &Arc<Disk>) -> Self {
        Self::open_with(disk, &opening()).unwrap()
    }

    pub(super) fn open_with(disk: &Arc<Disk>, opening: &Opening) -> Result<Self, Error> {
        let (out, deliveries) = unbounded();
        let (reports, receiver) = reports();
        let outbound: Outbound = Box::new(move |delivery| {
            // A test that has ended takes no deliveries.
            let _ = out.send(delivery).is_ok();
            Ok(())
        });
        let clock = Manual::new();
        let site = Site::Store(Arc::<Disk>::clone(disk));
        let moving = Arc::<Manual>::clone(&clock);
        let workers = (outbound, receiver);
        let engine = Engine::start_over(site, opening, workers, moving, ClockCheck::Strict)?;
        Ok(Self { disk: Arc::clone(disk), clock, engine, deliveries, reports })
    }

    pub(super) fn publish(&self) {
        let _ = self.engine.publish(&[("flow.json", FLOW)]).unwrap().wait().unwrap();
        let line = br#"{"id":"ann","email":"ann@x.example"}"#;
        let update = CustomerUpdate::parse(line).unwrap();
        let input = Input::Customer { source: Source::Api, update };
        let _ = self.engine.submit(input).unwrap().wait().unwrap();
    }

    pub(super) fn signup(&self, id: &str) -> Ticket<Answer> {
        let line = format!(r#"{{"id":"{id}","name":"signup","customer":"ann"}}"#);
        let event = Event::parse(line.as_bytes()).unwrap();
        self.engine.submit(Input::Event { source: Source::Api, event }).unwrap()
    }

    /// How many enrollments a reader sees.
    fn enrollments(&self) -> usize {
        let ann = CustomerId::new("ann").unwrap();
        let view = self.engine.query(move |it| Ok(it.customer(&ann)?)).unwrap().wait().unwrap();
        view.unwrap().enrollments.len()
    }

    pub(super) fn delivery(&self) -> Delivery {
        self.deliveries.recv_timeout(PATIENCE).expect("a delivery is handed out")
    }

    fn report_sent(&self, delivery: &Delivery) {
        let outcome = Outcome::Sent { hash: crate::base::ContentHash::of(b"sent") };
        let report = Report { id: delivery.id, attempt: delivery.attempt, outcome };
        self.reports.send(report).unwrap();
    }

    /// Waits until the last record of the delivery's enrollment has this name.
    fn await_name(&self, delivery: &Delivery, name: &str) {
        let id = delivery.id.enrollment;
        for _ in 0..PATIENCE.as_millis() / 20 {
            let history = self.engine.query(move |it| it.history(id)).unwrap().wait().unwrap();
            if history.last().is_some_and(|it| it.record.name() == name) {
                return;
            }
            pause();
        }
        panic!("there is no {name}");
    }

    /// Tries the same event until there is an answer.
    fn insist(&self, id: &str) -> Answer {
        for _ in 0..PATIENCE.as_millis() / 20 {
            match self.signup(id).wait() {
                Ok(answer) => return answer,
                Err(Error::NoSpace(_) | Error::Unknown) => {}
                Err(other) => panic!("{other}"),
            }
            pause();
        }
        panic!("there is room, and it does not go on");
    }

    /// Waits until it refuses what comes.
    fn await_refusal(&self) -> Error {
        for number in 0..PATIENCE.as_millis() / 20 {
            match self.signup(&format!("filler-{number}")).wait() {
                Err(error @ Error::NoSpace(_)) => return error,
                Ok(_) | Err(Error::Unknown) => {}
                Err(other) => panic!("{other}"),
            }
            pause();
        }
        panic!("there is no room, and it goes on");
    }

    /// The log says what the state says, and every acknowledged event is there once.
    pub(super) fn check(self, acknowledged: &[&str]) {
        // Or it would wait for the workers when it stops.
        pause();
        self.deliveries.try_iter().for_each(|delivery| self.report_sent(&delivery));
        self.engine.close().unwrap();
        let (records, differences) = look(&self.disk.inner(), &Limits::default());
        assert_eq!(differences, Vec::<String>::new());
        for id in acknowledged {
            let text = format!("EventId(\"{id}\")");
            let received = records.iter().filter(|it| it.record.name() == "EventReceived");
            let found = received.filter(|it| format!("{:?}", it.record).contains(&text));
            assert_eq!(found.count(), 1, "{id}");
        }
    }
}

pub(super) fn pause() {
    let _ = crossbeam_channel::never::<()>().recv_timeout(Duration::from_millis(20));
}

#[test]
fn below_the_watermark_it_is_read_only_until_there_is_room() {
    let shop = Shop::open(&Disk::new());
    shop.publish();
    assert_eq!(shop.signup("e1").wait().unwrap(), Answer::Accepted);
    let first = shop.delivery();
    shop.disk.set_free(WATERMARK - 1);
    let error = shop.await_refusal().to_string();
    assert!(error.contains("memory has 999 bytes free, and 1125 bytes are needed"), "{error}");
    assert!(error.contains("free some space") && error.contains("goes on by itself"), "{error}");
    let before = shop.enrollments();
    // The outcome of a send under way is recorded; the timer that follows from it waits.
    shop.report_sent(&first);
    shop.await_name(&first, "WaitStarted");
    shop.clock.advance(Span::hours(1));
    assert!(matches!(shop.signup("e2").wait(), Err(Error::NoSpace(_))));
    shop.await_name(&first, "WaitStarted");
    assert_eq!(shop.enrollments(), before, "reads work and nothing was taken in");
    assert!(shop.deliveries.is_empty(), "nothing more leaves");
    // More than the watermark is not enough, an eighth more is.
    shop.disk.set_free(WATERMARK + 1);
    assert!(matches!(shop.signup("e2").wait(), Err(Error::NoSpace(_))));
    shop.disk.set_free(PLENTY);
    assert_eq!(shop.insist("e2"), Answer::Accepted);
    let second = shop.delivery();
    assert_eq!(second.id.enrollment, first.id.enrollment);
    assert!(second.id.visit > first.id.visit, "the timer is not lost");
    shop.report_sent(&second);
    shop.await_name(&second, "Exited");
    shop.check(&["e1", "e2"]);
}

#[test]
fn a_write_without_room_acknowledges_nothing_and_the_same_engine_goes_on() {
    let refused: usize = std::thread::scope(|scope| {
        let mut runs = Vec::new();
        for writes in 0..12 {
            runs.push(scope.spawn(move || fill_up(writes)));
        }
        runs.into_iter().map(|run| run.join().unwrap()).sum()
    });
    assert!(refused > 0, "somebody came while there was no room");
}

/// Fills the disk after so many writes and makes room again; tells how many came in between.
fn fill_up(writes: u64) -> usize {
    let shop = Shop::open(&Disk::new());
    shop.publish();
    assert_eq!(shop.signup("e1").wait().unwrap(), Answer::Accepted);
    let first = shop.delivery();
    shop.disk.fill_after(writes);
    let mut acknowledged = vec!["e1".to_owned()];
    let (mut refused, mut unknown) = (0, 0);
    for number in 2..40 {
        let id = format!("e{number}");
        match shop.signup(&id).wait() {
            Ok(Answer::Accepted) => acknowledged.push(id),
            Err(Error::Unknown) => unknown += 1,
            Err(Error::NoSpace(_)) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(unknown, 1, "one waited when the write failed");
    let error = shop.await_refusal().to_string();
    assert!(error.contains("memory has 0 bytes free"), "{error}");
    let ann = CustomerId::new("ann").unwrap();
    let read = shop.engine.query(move |it| Ok(it.customer(&ann)?)).unwrap().wait();
    assert!(matches!(read, Err(Error::NoSpace(_))), "{read:?}");
    // A worker knows nothing of it, and what it reports is not forgotten.
    shop.report_sent(&first);
    shop.disk.empty();
    let answer = shop.insist("last");
    assert!(matches!(answer, Answer::Accepted | Answer::Duplicate));
    acknowledged.push("last".to_owned());
    shop.await_name(&first, "WaitStarted");
    assert!(shop.deliveries.is_empty(), "what a worker had is not handed out again");
    let acknowledged: Vec<&str> = acknowledged.iter().map(String::as_str).collect();
    shop.check(&acknowledged);
    refused
}

#[test]
fn a_full_disk_does_not_keep_an_engine_from_stopping() {
    let shop = Shop::open(&Disk::new());
    shop.publish();
    assert_eq!(shop.signup("e1").wait().unwrap(), Answer::Accepted);
    shop.disk.fill_after(0);
    shop.await_refusal();
    let closed = shop.engine.close();
    assert!(matches!(closed, Err(Error::NoSpace(_))), "{closed:?}");
    shop.disk.empty();
    let shop = Shop::open(&shop.disk);
    assert_eq!(shop.signup("e1").wait().unwrap(), Answer::Duplicate);
    // Below the watermark it stops cleanly, and without a checkpoint.
    shop.disk.set_free(0);
    shop.await_refusal();
    shop.check(&["e1"]);
}

#[test]
fn any_other_failed_write_stops_the_engine_for_good() {
    let shop = Shop::open(&Disk::new());
    shop.publish();
    shop.disk.break_down();
    let answer = shop.signup("e1").wait();
    assert!(matches!(answer, Err(Error::Unknown)), "{answer:?}");
    shop.disk.empty();
    let closed = shop.engine.close();
    let Err(Error::Stopped { cause }) = closed else { panic!("{closed:?}") };
    assert!(cause.contains("cannot write to memory"), "{cause}");
    assert!(shop.deliveries.is_empty(), "nothing leaves");
}
