//! All rows in the order of their keys, and the timers that they name.

use crate::{
    base::{Limits, Lsn, Timestamp},
    machine::{
        key,
        row::{Enrollment, Phase, Row, Stage},
    },
    store::{self, Key, Store, Table, Timer},
};

/// Rows looked at together.
const BATCH_ROWS: usize = 1_000;

/// The timers that an enrollment's row names.
pub(super) fn timers_of(key: &Key, enrollment: &Enrollment) -> Vec<Timer> {
    let place: Option<[u8; 8]> = key.get(1..9).and_then(|bytes| bytes.try_into().ok());
    let place = place.map_or(0, u64::from_be_bytes);
    let lsn = key::began_at(key).unwrap_or(Lsn::ZERO);
    let timer = |due, set| Timer { due, enrollment: lsn, set, place };
    match &enrollment.phase {
        Phase::Waiting { due, set, .. } => vec![timer(*due, *set)],
        Phase::Sending { deliveries, .. } => {
            let deferred = deliveries.iter().filter_map(|open| match open.stage {
                Stage::Deferred { until, set } => Some(timer(until, set)),
                Stage::InFlight | Stage::Sent | Stage::Failed | Stage::Skipped => None,
            });
            deferred.collect()
        }
        Phase::Entering | Phase::Ended { .. } => Vec::new(),
    }
}

/// Rows in the order of their keys, a batch at a time, without those that count as absent.
pub(super) struct Rows<'a> {
    table: &'a mut Table<Row>,
    store: &'a dyn Store,
    limits: &'a Limits,
    now: Timestamp,
    batch: std::vec::IntoIter<(Key, Row)>,
    /// Where the next batch begins; none after the last one.
    from: Option<Vec<u8>>,
    peeked: Option<(Key, Row)>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(
        table: &'a mut Table<Row>,
        (store, limits): (&'a dyn Store, &'a Limits),
        now: Timestamp,
    ) -> Self {
        let batch = Vec::new().into_iter();
        Self { table, store, limits, now, batch, from: Some(Vec::new()), peeked: None }
    }

    pub(super) fn peek(&mut self) -> store::Result<Option<&(Key, Row)>> {
        while self.peeked.is_none() {
            match self.batch.next() {
                Some((_, row)) if row.is_expired(self.now) => {}
                Some(entry) => self.peeked = Some(entry),
                None if !self.fill()? => return Ok(None),
                None => {}
            }
        }
        Ok(self.peeked.as_ref())
    }

    fn fill(&mut self) -> store::Result<bool> {
        let Some(from) = self.from.take() else { return Ok(false) };
        self.table.evict(self.limits.cache_bytes, self.limits.cache_pages, usize::MAX);
        let rows = self.table.scan(self.store, &from, None, BATCH_ROWS)?;
        // The least key above the last one.
        let next = |key: &Key| [&key[..], &[0]].concat();
        self.from = rows.last().filter(|_| rows.len() == BATCH_ROWS).map(|(key, _)| next(key));
        self.batch = rows.into_iter();
        Ok(true)
    }

    pub(super) fn take(&mut self) -> Option<(Key, Row)> {
        self.peeked.take()
    }
}
