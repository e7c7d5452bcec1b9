//! A decision being made: the state it reads and the records it has so far.

use super::{
    input::{Found, Stop, View},
    key::Key,
    record::{Back, Record},
    row::Row,
};
use crate::base::{Lsn, PartitionId, Timestamp};

/// A decision being made.
#[derive(Debug)]
pub(super) struct Draft<'a, V> {
    pub(super) view: &'a V,
    pub(super) partition: PartitionId,
    pub(super) now: Timestamp,
    first: Lsn,
    records: Vec<Record>,
}

impl<'a, V: View> Draft<'a, V> {
    pub(super) fn new(view: &'a V, partition: PartitionId, now: Timestamp) -> Self {
        Self { view, partition, now, first: view.memory().next_lsn(), records: Vec::new() }
    }

    /// The LSN that the next record gets.
    pub(super) fn next_lsn(&self) -> Lsn {
        self.first.plus(u64::try_from(self.records.len()).expect("a group fits in memory"))
    }

    /// The distance from the next record back to the one at `lsn`.
    pub(super) fn back(&self, lsn: Lsn) -> Back {
        Back::between(self.next_lsn(), lsn)
    }

    /// Adds a record and says where it will be.
    pub(super) fn push(&mut self, record: impl Into<Record>) -> Lsn {
        let lsn = self.next_lsn();
        self.records.push(record.into());
        lsn
    }

    pub(super) fn into_records(self) -> Vec<Record> {
        self.records
    }

    /// The row under `key`.
    pub(super) fn row(&self, key: &Key) -> Result<Option<&'a Row>, Stop> {
        self.view.row(key).resident(key)
    }

    /// Stops unless all of `keys` are resident, naming every one that is not.
    pub(super) fn require(&self, keys: &[Key]) -> Result<(), Stop> {
        let missing = keys.iter().filter(|key| self.view.row(key) == Found::Missing);
        let missing: Vec<Key> = missing.cloned().collect();
        if missing.is_empty() { Ok(()) } else { Err(Stop::Missing(missing)) }
    }
}
