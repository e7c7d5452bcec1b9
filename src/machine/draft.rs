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
    bytes: usize,
}

impl<'a, V: View> Draft<'a, V> {
    pub(super) fn new(view: &'a V, partition: PartitionId, now: Timestamp) -> Self {
        let first = view.memory().next_lsn();
        Self { view, partition, now, first, records: Vec::new(), bytes: 0 }
    }

    /// Bytes of memory that the records so far take, as reckoned.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
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
        let (lsn, record) = (self.next_lsn(), record.into());
        self.bytes += weight(&record);
        self.records.push(record);
        lsn
    }

    pub(super) fn into_records(self) -> Vec<Record> {
        self.records
    }

    /// The row under `key`.
    pub(super) fn row(&self, key: &Key) -> Result<Option<&'a Row>, Stop> {
        self.view.row(key).resident(key)
    }

    /// The rows under `keys`, as far as there are keys; stops where one is not resident, naming every
    /// such.
    pub(super) fn rows<const N: usize>(
        &self,
        keys: &[Option<Key>; N],
    ) -> Result<[Option<&'a Row>; N], Stop> {
        let mut missing = Vec::new();
        let rows = keys.each_ref().map(|key| {
            let key = key.as_ref()?;
            match self.view.row(key) {
                Found::Row(row) => Some(row),
                Found::Absent => None,
                Found::Missing => {
                    missing.push(key.clone());
                    None
                }
            }
        });
        if missing.is_empty() { Ok(rows) } else { Err(Stop::Missing(missing)) }
    }

    /// Stops unless all of `keys` are resident, naming every one that is not.
    pub(super) fn require(&self, keys: &[Key]) -> Result<(), Stop> {
        let missing = keys.iter().filter(|key| self.view.row(key) == Found::Missing);
        let missing: Vec<Key> = missing.cloned().collect();
        if missing.is_empty() { Ok(()) } else { Err(Stop::Missing(missing)) }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all others of an event are small")]
fn weight(record: &Record) -> usize {
    let held = match record {
        Record::Enrolled(it) => it.trigger.values.bytes(),
        Record::DeliveryRequested(it) => it.values.bytes(),
        _ => 0,
    };
    size_of::<Record>() + held
}
