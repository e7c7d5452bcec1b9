//! Replay from a base that keeps no rows: those that began after it come out whole, the others not
//! at all.

use super::state::State;
use crate::{
    base::{Lsn, Timestamp},
    machine::{
        apply::{Projections, TimerSet, apply},
        key::{self, Key},
        memory::Memory,
        record::Record,
        row::Row,
    },
    store,
};

/// Applies a record to memory, and to the rows that are known to be whole.
pub(super) fn apply_known(state: &mut State, lsn: Lsn, time: Timestamp, record: &Record) {
    let begun = begun(state, lsn, record);
    let partition = state.partition;
    apply(&mut Known { state, begun }, partition, lsn, time, record);
}

/// The rows that are what the record says and nothing more.
#[expect(clippy::wildcard_enum_match_arm, reason = "what is not named begins no row")]
fn begun(state: &State, lsn: Lsn, record: &Record) -> Vec<Key> {
    match record {
        Record::DocumentPart(it) => vec![key::document(it.document, it.part)],
        Record::CustomerChanged(it) => {
            it.created.then(|| key::customer(&it.customer)).into_iter().collect()
        }
        Record::EventReceived(it) => {
            let customer = it.created.then(|| key::customer(&it.customer));
            let activity = (it.first && it.counted).then(|| key::activity(&it.customer, &it.name));
            let seen = it.id.as_ref().map(|id| key::seen(&it.customer, id));
            [customer, activity, seen].into_iter().flatten().collect()
        }
        Record::Enrolled(it) => {
            // Of a customer who is new everything is.
            let is_new = is_known(state, &key::customer(&it.customer));
            let entry = is_new.then(|| key::entry(&it.customer, it.flow, it.key.as_deref()));
            let keys = is_new.then(|| key::entry_keys(&it.customer));
            let enrollment = key::enrollment(it.place, lsn);
            [entry, keys, Some(enrollment)].into_iter().flatten().collect()
        }
        Record::DeliveryFailed(_) => vec![key::dead_letter(lsn)],
        _ => Vec::new(),
    }
}

fn is_known(state: &State, key: &Key) -> bool {
    matches!(state.table.get(key), store::Found::Row(_))
}

struct Known<'a> {
    state: &'a mut State,
    begun: Vec<Key>,
}

impl Projections for Known<'_> {
    fn row(&mut self, lsn: Lsn, key: Key, change: &mut dyn FnMut(&mut Option<Row>)) {
        if self.begun.contains(&key) || is_known(self.state, &key) {
            self.state.row(lsn, key, change);
        }
    }

    fn set_timer(&mut self, timer: TimerSet) {
        self.state.set_timer(timer);
    }

    fn clear_timer(&mut self, timer: TimerSet) {
        self.state.clear_timer(timer);
    }

    fn memory(&mut self) -> &mut Memory {
        Projections::memory(self.state)
    }
}
