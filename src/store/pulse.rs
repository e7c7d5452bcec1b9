//! Signs of life of whoever works through many operations on a disk, for those who watch that the
//! disk answers.
//!
//! A watch gives an operation some time to end. One that is itself many, such as reading a whole
//! file, says after each that there was an answer, and the time begins again. Which watches are
//! waiting is known to the thread, so that nothing has to be passed down to where files are read.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// How often a watch has looked since the last answer, and how often its time one may take.
#[derive(Debug)]
pub(crate) struct Pulse {
    looks: AtomicU32,
    patience: AtomicU32,
}

thread_local! {
    /// Those of everything that this thread is in the middle of.
    static PULSES: RefCell<Vec<Arc<Pulse>>> = const { RefCell::new(Vec::new()) };
}

impl Pulse {
    /// One that begins now.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { looks: AtomicU32::new(0), patience: AtomicU32::new(1) })
    }

    /// Looks: how often since the last answer, this time included, and the patience.
    pub(crate) fn look(&self) -> (u32, u32) {
        (self.looks.fetch_add(1, Relaxed).saturating_add(1), self.patience.load(Relaxed))
    }
}

/// An answer has come, or another question begins.
pub(crate) fn beat() {
    PULSES.with_borrow(|pulses| pulses.iter().for_each(|it| it.looks.store(0, Relaxed)));
}

/// Does `work`, one operation that may take `patience` times as long as others.
pub(crate) fn patiently<T>(patience: u32, work: impl FnOnce() -> T) -> T {
    let before = set_patience(&[patience]);
    let done = work();
    set_patience(&before);
    done
}

/// Sets the patience of each, the last one for all that are left; what it was before.
fn set_patience(patience: &[u32]) -> Vec<u32> {
    beat();
    let each = patience.iter().chain(patience.last().into_iter().cycle());
    PULSES.with_borrow(|pulses| {
        pulses.iter().zip(each).map(|(it, new)| it.patience.swap(*new, Relaxed)).collect()
    })
}

/// The pulses of this thread, for one that works for it.
pub(crate) fn all() -> Vec<Arc<Pulse>> {
    PULSES.with_borrow(Clone::clone)
}

/// Does `work` with these pulses besides those of the thread.
pub(crate) fn under<T>(
    pulses: impl IntoIterator<Item = Arc<Pulse>>,
    work: impl FnOnce() -> T,
) -> T {
    /// So many are left at its end, also where that is a panic.
    struct Until(usize);
    impl Drop for Until {
        fn drop(&mut self) {
            PULSES.with_borrow_mut(|pulses| pulses.truncate(self.0));
            beat();
        }
    }
    beat();
    let _until = PULSES.with_borrow_mut(|all| {
        let until = Until(all.len());
        all.extend(pulses);
        until
    });
    work()
}
