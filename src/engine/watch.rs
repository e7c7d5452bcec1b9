//! The watch over what is asked of the disk: one that gives no answer must not make anybody wait for
//! ever without a word.
//!
//! The bound is for one operation, so a slow disk is no hanging one: what works through many says
//! after each that it was answered (`store::pulse`). The watch counts its own looks
//! and never asks a clock: a machine that slept or a process that was stopped has not waited. After
//! the alarm every operation is an error, also one that succeeds late, so that nothing is
//! acknowledged any more; the thread that hangs is left behind.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    convert::Infallible,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use tracing::{error, warn};

use super::tally::Tally;
use crate::{
    base::{Span, thread},
    store::{
        self, Entry, Inserted, Store, Tree,
        pulse::{self, Pulse},
    },
};

/// Looks that make up the time that an operation has.
const LOOKS: u32 = 8;

/// An operation under way.
#[derive(Debug)]
struct Asked {
    what: &'static str,
    pulse: Arc<Pulse>,
}

thread_local! {
    /// The watch over all that this thread does.
    static OVER_ALL: RefCell<Option<Arc<Watch>>> = const { RefCell::new(None) };
}

/// Watches the operations on one directory.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    stall: Span,
    tally: Arc<Tally>,
    next: AtomicU64,
    asked: Mutex<BTreeMap<u64, Asked>>,
    /// What got no answer, and how often the ordinary time it had.
    alarm: OnceLock<(&'static str, u32)>,
    /// Dropped at the alarm.
    raise: Mutex<Option<Sender<Infallible>>>,
    raised: Receiver<Infallible>,
    /// Whom the alarm wakes.
    wakers: Mutex<BTreeMap<u64, Waker>>,
    /// Dropped with this, which ends the thread.
    _end: Option<Sender<Infallible>>,
}

impl Watch {
    /// Begins to watch `path`: an operation has `stall` to end. Within what is watched already, it
    /// is the same watch, so that whoever waits for that hears of all alarms.
    pub(super) fn start(path: &Path, stall: Span) -> store::Result<Arc<Self>> {
        if let Some(watch) = OVER_ALL.with_borrow(Clone::clone) {
            return Ok(watch);
        }
        let (end, ended) = bounded(0);
        let watch = Arc::new(Self::new(path, stall, Some(end)));
        let weak = Arc::downgrade(&watch);
        let pause = (stall.to_std() / LOOKS).max(Duration::from_millis(1));
        thread::start("onward-watch", move || Self::run(&weak, &ended, pause))?;
        Ok(watch)
    }

    /// Watches nothing by itself.
    #[cfg(test)]
    pub(super) fn blind() -> Arc<Self> {
        Arc::new(Self::new(Path::new("memory"), Span::seconds(30), None))
    }

    fn new(path: &Path, stall: Span, end: Option<Sender<Infallible>>) -> Self {
        let (raise, raised) = bounded(0);
        Self {
            path: path.to_owned(),
            stall,
            tally: Arc::default(),
            next: AtomicU64::new(0),
            asked: Mutex::new(BTreeMap::new()),
            alarm: OnceLock::new(),
            raise: Mutex::new(Some(raise)),
            raised,
            wakers: Mutex::new(BTreeMap::new()),
            _end: end,
        }
    }

    fn run(watch: &Weak<Self>, ended: &Receiver<Infallible>, pause: Duration) {
        while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let Some(watch) = watch.upgrade() else { return };
            watch.look();
        }
    }

    /// The time that an operation has.
    pub(super) const fn stall(&self) -> Span {
        self.stall
    }

    /// What was asked of the disk, counted.
    pub(super) const fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// One look at what is under way.
    fn look(&self) {
        let mut stalled = None;
        for asked in lock(&self.asked).values() {
            let (looks, patience) = asked.pulse.look();
            let all = LOOKS.saturating_mul(patience);
            if looks == all / 2 {
                let path = self.path.display();
                warn!(%path, operation = asked.what, stall = %self.stall, "the disk gives no answer");
            }
            if looks > all {
                stalled = Some((asked.what, patience));
            }
        }
        if let Some(stalled) = stalled
            && self.alarm.set(stalled).is_ok()
        {
            error!("{}", self.stalled(stalled));
            lock(&self.raise).take();
            // Whoever is woken may stop listening at once.
            let wakers = std::mem::take(&mut *lock(&self.wakers));
            wakers.into_values().for_each(Waker::wake);
        }
    }

    fn stalled(&self, (what, patience): (&'static str, u32)) -> store::Error {
        let waited = self.stall.times(patience);
        store::Error::Stalled { what, path: self.path.clone(), waited }
    }

    /// An error once something got no answer.
    pub(super) fn check(&self) -> store::Result<()> {
        self.alarm.get().map_or(Ok(()), |stalled| Err(self.stalled(*stalled)))
    }

    /// Disconnected by the alarm.
    pub(super) const fn raised(&self) -> &Receiver<Infallible> {
        &self.raised
    }

    /// Does `ask`, which must end in time, or each part of it that is answered by itself.
    pub(super) fn during<T, E: From<store::Error>>(
        &self,
        what: &'static str,
        ask: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.check()?;
        let number = self.number();
        let pulse = Pulse::new();
        lock(&self.asked).insert(number, Asked { what, pulse: Arc::clone(&pulse) });
        let answer = pulse::under([pulse], ask);
        lock(&self.asked).remove(&number);
        // An answer that comes late is none.
        self.check()?;
        answer
    }

    /// Does `work` on a thread that is left behind at the alarm.
    pub(super) fn guard<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> store::Result<T> {
        let (sender, done) = bounded(1);
        let pulses = pulse::all();
        let thread = thread::start("onward-guarded", move || {
            // Nobody waits for it after the alarm.
            let _ = sender.send(pulse::under(pulses, work)).is_ok();
        })?;
        select! {
            recv(done) -> answer => {
                let joined = thread.join();
                answer.or_else(|_| match joined {
                    Err(panic) => std::panic::resume_unwind(panic),
                    Ok(()) => unreachable!("a thread that ends has answered"),
                })
            }
            recv(self.raised) -> _ => {
                self.check()?;
                unreachable!("it is raised by an alarm")
            }
        }
    }

    /// A number that nobody else has.
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Wakes `waker` at the alarm, in place of the one before under this number; false where that
    /// has come.
    fn listen(&self, number: u64, waker: &Waker) -> bool {
        let mut wakers = lock(&self.wakers);
        if self.alarm.get().is_some() {
            return false;
        }
        wakers.insert(number, waker.clone());
        true
    }
}

/// Does `work` on `path` on a thread of its own, which is left behind where one of the operations it
/// consists of, in the directory or in others, gets no answer in time.
pub fn watched<T: Send + 'static, E: From<store::Error> + Send + 'static>(
    (what, path): (&'static str, &Path),
    stall: Span,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    let watch = Watch::start(path, stall)?;
    let watching = Arc::clone(&watch);
    watch.guard(move || {
        OVER_ALL.set(Some(Arc::clone(&watching)));
        watching.during(what, work)
    })?
}

/// Somebody who waits for an answer and for the alarm.
#[derive(Debug)]
pub(super) struct Listener {
    watch: Arc<Watch>,
    number: Option<u64>,
}

impl Listener {
    pub(super) fn new(watch: &Arc<Watch>) -> Self {
        Self { watch: Arc::clone(watch), number: None }
    }

    /// Wakes `waker` at the alarm; false where that has come.
    pub(super) fn listen(&mut self, waker: &Waker) -> bool {
        let number = *self.number.get_or_insert_with(|| self.watch.number());
        self.watch.listen(number, waker)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            lock(&self.watch.wakers).remove(&number);
        }
    }
}

/// A thread that is left behind where it hangs on the disk.
#[derive(Debug)]
pub(super) struct Apart {
    thread: JoinHandle<()>,
    /// Disconnected at its end.
    done: Receiver<Infallible>,
}

impl Apart {
    /// Starts it.
    pub(super) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> store::Result<Self> {
        let (ends, done) = bounded(0);
        let thread = thread::start(name, move || {
            let _ends: Sender<Infallible> = ends;
            work();
        })?;
        Ok(Self { thread, done })
    }

    /// Waits until it ends, or for the alarm.
    pub(super) fn join_or_leave(self, watch: &Watch) {
        select! {
            // A panic has been told where it happened.
            recv(self.done) -> _ => drop(self.thread.join()),
            recv(watch.raised()) -> _ => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panics")
}

/// A store whose every operation is watched.
#[derive(Debug)]
pub(super) struct Watched {
    /// None only while it is closed or dropped.
    inner: Option<Arc<dyn Store>>,
    watch: Arc<Watch>,
}

impl Watched {
    pub(super) fn new(inner: Arc<dyn Store>, watch: &Arc<Watch>) -> Self {
        Self { inner: Some(inner), watch: Arc::clone(watch) }
    }

    fn inner(&self) -> &dyn Store {
        self.inner.as_deref().expect("it is there until it is dropped")
    }
}

impl Drop for Watched {
    /// Closing a store may ask the disk once more.
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        if self.watch.check().is_ok() {
            let closed: store::Result<()> = self.watch.during("close", || {
                drop(inner);
                Ok(())
            });
            // The alarm has told who waits.
            let _ = closed.is_ok();
        } else {
            drop(Apart::start("onward-close", move || drop(inner)));
        }
    }
}

impl Store for Watched {
    fn insert_new(&self, tree: Tree, key: &[u8], value: &[u8]) -> store::Result<Inserted> {
        self.watch.tally.give(tree, key, value);
        self.watch.during("append to", || self.inner().insert_new(tree, key, value))
    }

    fn put(&self, tree: Tree, key: &[u8], value: &[u8]) -> store::Result<()> {
        self.watch.tally.give(tree, key, value);
        self.watch.during("write to", || self.inner().put(tree, key, value))
    }

    fn get(&self, tree: Tree, key: &[u8]) -> store::Result<Option<Vec<u8>>> {
        self.watch.during("read from", || self.inner().get(tree, key))
    }

    fn at_or_below(&self, tree: Tree, key: &[u8]) -> store::Result<Option<Entry>> {
        self.watch.during("read from", || self.inner().at_or_below(tree, key))
    }

    fn above(&self, tree: Tree, key: &[u8]) -> store::Result<Option<Entry>> {
        self.watch.during("read from", || self.inner().above(tree, key))
    }

    fn remove(&self, tree: Tree, key: &[u8]) -> store::Result<()> {
        self.watch.during("write to", || self.inner().remove(tree, key))
    }

    fn sync(&self) -> store::Result<()> {
        self.watch.during("sync", || self.inner().sync())
    }

    fn size_on_disk(&self) -> store::Result<u64> {
        self.watch.during("measure", || self.inner().size_on_disk())
    }

    fn free_bytes(&self) -> store::Result<u64> {
        self.watch.during("measure the free space of", || self.inner().free_bytes())
    }

    fn path(&self) -> &Path {
        self.inner().path()
    }

    fn close(self: Arc<Self>) -> store::Result<()> {
        let Some(mut watched) = Arc::into_inner(self) else { return Ok(()) };
        let inner = watched.inner.take().expect("it is there until it is dropped");
        watched.watch.during("close", || inner.close())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_has_its_time_and_the_next_one_again() {
        let watch = Watch::blind();
        let slow = |times: u32| {
            watch.during::<_, store::Error>("sync", || {
                (0..times).for_each(|_| watch.look());
                Ok("there")
            })
        };
        (0..5).for_each(|_| assert_eq!(slow(LOOKS).unwrap(), "there"));
        assert!(watch.listen(watch.number(), Waker::noop()));
        // So has each part of one that is many, also on a thread that works for it, and one that may
        // take longer has that.
        let many = watch.during::<_, store::Error>("open", || {
            slow(LOOKS)?;
            slow(LOOKS)?;
            (0..LOOKS).for_each(|_| watch.look());
            pulse::patiently(3, || (0..3 * LOOKS).for_each(|_| watch.look()));
            (0..LOOKS).for_each(|_| watch.look());
            std::thread::scope(|scope| {
                let pulses = pulse::all();
                scope.spawn(|| pulse::under(pulses, pulse::beat)).join().unwrap();
            });
            (0..LOOKS).for_each(|_| watch.look());
            Ok(())
        });
        many.unwrap();
        let late = slow(LOOKS + 1);
        let error = late.unwrap_err().to_string();
        assert!(error.contains("no answer") && error.contains("memory for 30s"), "{error}");
        assert!(error.contains("sync"), "{error}");
        // From then on nothing is asked.
        let error = watch.during::<(), store::Error>("read from", || unreachable!()).unwrap_err();
        assert!(error.to_string().contains("sync"), "{error}");
        assert!(!watch.listen(watch.number(), Waker::noop()));
        let left = watch.guard(|| crossbeam_channel::never::<()>().recv().is_ok());
        assert!(left.is_err());
    }

    #[test]
    fn work_that_is_guarded_gives_its_answer_and_its_panic() {
        let watch = Watch::blind();
        assert_eq!(watch.guard(|| 7).unwrap(), 7);
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            watch.guard(|| panic!("as it says"))
        }));
        assert!(panic.is_err());
    }
}
