//! Making the projections again from the log alone, or from the base that a trimmed log begins at.

use std::sync::Arc;

use super::{
    recover::damaged,
    scan::{Rows, timers_of},
    state::State,
};
use crate::{
    base::{
        Limits, Lsn,
        limits::{PAGE_BYTES_MAX, SYNC_BYTES_MAX},
    },
    machine::{memory::Memory, row::Row},
    store::{self, BaseState, Start, Store, Tree, base, checkpoint, mirror::Paced},
};

/// Removes every projection, and every base of records after `latest`, where the log ends that
/// begins at `start`: the log alone says what holds.
///
/// # Errors
/// [`store::Error::NoWayBack`]: it does not, and nothing is removed.
pub(super) fn forget_projections(
    store: &dyn Store,
    start: &Start,
    latest: Lsn,
) -> store::Result<()> {
    let trimmed = start.at();
    let gives_rows = match start {
        Start::Whole(_) => true,
        Start::Base(base) => base.has_copies() && base.at <= latest,
    };
    if !gives_rows {
        return Err(store::Error::NoWayBack { trimmed });
    }
    base::forget_above(store, latest)?;
    sweep(store, Lsn::ZERO)?;
    checkpoint::forget(store)?;
    store.sync()?;
    clear(store)
}

/// The state that replaying the log begins with where no checkpoint is in force.
pub(super) fn state(
    store: &Arc<dyn Store>,
    start: &Start,
    limits: &Limits,
) -> store::Result<State> {
    let partition = start.fold().partition();
    let base = match start {
        Start::Whole(_) => return Ok(State::new(Memory::default(), limits.timer_span, partition)),
        Start::Base(base) if base.has_copies() => base,
        Start::Base(base) => return Err(store::Error::NoWayBack { trimmed: base.at }),
    };
    // What an interrupted attempt left may be of later records.
    clear(&**store)?;
    copy_rows(base, &**store, &**store)?;
    let mut state = State::new(memory_of(base, &**store)?, limits.timer_span, partition);
    let mut timers = Vec::new();
    let mut rows = Rows::new(&mut state.table, (&**store, limits), base.time);
    while rows.peek()?.is_some() {
        if let Some((key, Row::Enrollment(enrollment))) = rows.take() {
            timers.extend(timers_of(&key, &enrollment));
        }
    }
    timers.into_iter().for_each(|timer| state.timers.set(timer));
    Ok(state)
}

/// The memory image of a base in `store`.
pub(super) fn memory_of(base: &BaseState, store: &dyn Store) -> store::Result<Memory> {
    let place = || format!("the memory image of the base at record {}", base.at);
    Memory::decode(&base.memory(store)?).map_err(|why| damaged(&place(), why))
}

/// Copies the rows of a base in `from` to where pages are in `to`.
pub(super) fn copy_rows(base: &BaseState, from: &dyn Store, to: &dyn Store) -> store::Result<()> {
    let mut paced = Paced::new(to);
    base.each_copy(from, &mut |key, value| paced.put(Tree::Rows, key, value))?;
    to.sync()
}

/// Removes bases before `oldest`, and parts of none.
pub(super) fn sweep(store: &dyn Store, oldest: Lsn) -> store::Result<()> {
    while !base::sweep(store, oldest, SYNC_BYTES_MAX / PAGE_BYTES_MAX)? {
        store.sync()?;
    }
    store.sync()
}

fn clear(store: &dyn Store) -> store::Result<()> {
    let mut paced = Paced::new(store);
    for tree in [Tree::Rows, Tree::Timers] {
        while let Some((key, _)) = store.above(tree, &[])? {
            paced.remove(tree, &key)?;
        }
    }
    store.sync()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn what_is_forgotten_goes_a_bounded_part_at_a_time() {
        let full = MemoryStore::new();
        for key in 0..1_000_u32 {
            full.put(Tree::Rows, &key.to_be_bytes(), &[0; 8]).unwrap();
        }
        full.sync().unwrap();
        let store = full.crashed();
        clear(&store).unwrap();
        assert_eq!(store.above(Tree::Rows, &[]).unwrap(), None);
        assert!((1..=64).contains(&store.most_unsynced()), "{}", store.most_unsynced());
    }
}
