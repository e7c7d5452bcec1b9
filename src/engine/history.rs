//! Reading back: records as JSON, an enrollment's history, and what is known of a customer.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::{Error, partition::Partition, recover, scan::Rows};
use crate::{
    base::{
        CustomerId, EnrollmentId, Lsn, PartitionId, Timestamp,
        id::customer_hash,
        limits::{ENROLLMENTS_SHOWN, HISTORY_RECORDS_MAX},
    },
    machine::{
        key,
        record::Record,
        row::{CustomerRow, DeadLetter, Enrollment, Row},
    },
    model::LineCode,
    store::{self, Fold, RecordReader, Start, log::record_at},
};

/// A record with its place and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Its place in the log.
    pub lsn: Lsn,
    /// The engine's time.
    pub time: Timestamp,
    /// What it says.
    pub record: Record,
}

/// A record as JSON: `lsn`, `time`, `record` (its name), then its fields by name. Links are LSNs
/// here, the enrollment has its printed id, an event's own time is its `event_time`, and what is
/// wrong with a line has its name.
#[derive(Debug, Serialize)]
struct Line {
    lsn: Lsn,
    time: Timestamp,
    record: &'static str,
    #[serde(flatten)]
    fields: Value,
}

impl Logged {
    /// The record as one line of JSON.
    pub fn json(&self, partition: PartitionId) -> String {
        let mut fields = self.record.fields().expect("records are JSON with text keys");
        let enrollment = match (&self.record, self.record.at()) {
            (Record::Enrolled(_), _) => Some(EnrollmentId { partition, lsn: self.lsn }),
            (_, Some(at)) => Some(at.enrollment(self.lsn, partition)),
            (_, None) => None,
        };
        for name in ["event", "set"] {
            self.resolve(fields.get_mut(name));
        }
        if let Some(at) = fields.get_mut("at") {
            self.resolve(at.get_mut("previous"));
            if let Some(object) = at.as_object_mut() {
                object.remove("enrollment");
            }
        }
        if let Some(object) = fields.as_object_mut() {
            if let Some(id) = enrollment {
                object.insert("enrollment".to_owned(), id.to_string().into());
            }
            if let Some(time) = object.remove("time") {
                object.insert("event_time".to_owned(), time);
            }
            // Only a key that goes is news.
            object.remove("keys");
            if let Some(gone) = self.forgotten_key() {
                object.insert("forgets".to_owned(), gone);
            }
            if let Record::LineRejected(it) = &self.record
                && let Some(code) = LineCode::from_number(it.code)
            {
                object.insert("code".to_owned(), code.as_str().into());
            }
        }
        let line = Line { lsn: self.lsn, time: self.time, record: self.record.name(), fields };
        serde_json::to_string(&line).expect("records are JSON with text keys")
    }

    fn forgotten_key(&self) -> Option<Value> {
        let Record::Enrolled(it) = &self.record else { return None };
        let gone = it.keys.as_ref()?.forgets.as_ref()?;
        let enrollment = gone.enrollment.from(self.lsn);
        Some(serde_json::json!({ "flow": gone.flow, "key": gone.key, "enrollment": enrollment }))
    }

    /// A distance becomes the LSN it points to.
    fn resolve(&self, link: Option<&mut Value>) {
        if let Some(link) = link
            && let Some(distance) = link.as_u64()
        {
            *link = self.lsn.0.saturating_sub(distance).into();
        }
    }
}

/// Calls `visit` for every record from `from` on in the export at `path`, in order.
pub fn each_exported<E: From<store::Error>>(
    path: &Path,
    from: Lsn,
    visit: &mut dyn FnMut(PartitionId, &Logged) -> Result<(), E>,
) -> Result<(), E> {
    store::export::each_record(path, &mut |fold, stored| {
        if stored.lsn < from {
            return Ok(());
        }
        let record = recover::decode(&stored)?;
        visit(fold.partition(), &Logged { lsn: stored.lsn, time: stored.time, record })
    })
}

/// What is known of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerView {
    /// The customer.
    pub customer: CustomerRow,
    /// The customer's enrollments, oldest first.
    pub enrollments: Vec<(EnrollmentId, Enrollment)>,
}

impl Partition {
    /// Calls `visit` for every record from `from` on that is not trimmed, in order.
    pub fn each_record<E: From<store::Error>>(
        &self,
        from: Lsn,
        visit: &mut dyn FnMut(Logged) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut reader = RecordReader::new(&*self.log, self.start()?.fold().clone());
        while let Some(group) = reader.next() {
            let group = match group {
                Ok(group) => group,
                Err(error) => {
                    // Perhaps the commit thread has trimmed what would come next.
                    let start = self.start()?;
                    if start.fold().position() <= reader.state().position() {
                        return Err(error.into());
                    }
                    reader = RecordReader::new(&*self.log, start.fold().clone());
                    continue;
                }
            };
            for stored in group.iter().filter(|stored| from <= stored.lsn) {
                let record = recover::decode(stored)?;
                visit(Logged { lsn: stored.lsn, time: stored.time, record })?;
            }
        }
        Ok(())
    }

    /// Where the log begins: older records are trimmed.
    pub fn start(&self) -> store::Result<Start> {
        Start::find(&*self.store, &*self.log, Fold::new(self.instance, self.id))
    }

    /// What is known of a customer.
    pub fn customer(&mut self, id: &CustomerId) -> store::Result<Option<CustomerView>> {
        let Some(Row::Customer(customer)) = self.row(&key::customer(id))? else { return Ok(None) };
        let place = customer_hash(id);
        let (from, to) = key::enrollments(place);
        let rows = self.state.table.scan(&*self.store, &from, Some(&to), ENROLLMENTS_SHOWN)?;
        let enrollments = rows.into_iter().filter_map(|(key, row)| {
            let Row::Enrollment(enrollment) = row else { return None };
            let lsn = key.last_chunk::<8>().copied().map(u64::from_be_bytes)?;
            let id = EnrollmentId { partition: self.id, lsn: Lsn(lsn) };
            (enrollment.customer == customer.customer.id).then_some((id, *enrollment))
        });
        let enrollments = enrollments.collect();
        Ok(Some(CustomerView { customer: *customer, enrollments }))
    }

    /// An enrollment.
    ///
    /// # Errors
    /// [`Error::Trimmed`]: its first record, which leads to it, is gone.
    pub fn enrollment(&mut self, id: EnrollmentId) -> Result<Option<Enrollment>, Error> {
        let Some(began) = self.record(id.lsn)? else {
            let trimmed = self.start()?.at();
            if id.lsn == Lsn::ZERO || trimmed < id.lsn {
                return Ok(None);
            }
            return Err(Error::Trimmed { lsn: id.lsn, begins: trimmed.next() });
        };
        let Record::Enrolled(enrolled) = began.record else { return Ok(None) };
        Ok(match self.row(&key::enrollment(enrolled.place, id.lsn))? {
            Some(Row::Enrollment(enrollment)) if id.partition == self.id => Some(*enrollment),
            _ => None,
        })
    }

    /// The same by looking at every row: it takes a while, and needs no record.
    pub fn search_enrollment(&mut self, id: EnrollmentId) -> store::Result<Option<Enrollment>> {
        let now = self.recorded_time();
        let mut rows = Rows::new(&mut self.state.table, (&*self.store, &self.limits), now);
        while rows.peek()?.is_some() {
            if let Some((key, Row::Enrollment(enrollment))) = rows.take()
                && key::began_at(&key) == Some(id.lsn)
                && id.partition == self.id
            {
                return Ok(Some(*enrollment));
            }
        }
        Ok(None)
    }

    /// Every record of an enrollment, the event that began it first; of a long one the latest
    /// [`HISTORY_RECORDS_MAX`] besides that event.
    ///
    /// # Errors
    /// As [`Partition::enrollment`].
    pub fn history(&mut self, id: EnrollmentId) -> Result<Vec<Logged>, Error> {
        match self.enrollment(id)? {
            Some(enrollment) => Ok(self.history_of(&enrollment)?),
            None => Ok(Vec::new()),
        }
    }

    /// Every record of `enrollment` that is not trimmed.
    pub fn history_of(&self, enrollment: &Enrollment) -> store::Result<Vec<Logged>> {
        let mut history = Vec::new();
        let mut next = Some(enrollment.latest);
        while let Some(lsn) = next.filter(|_| history.len() < HISTORY_RECORDS_MAX) {
            let Some(logged) = self.record(lsn)? else { break };
            next = logged.record.at().map(|at| at.previous.from(lsn));
            history.push(logged);
        }
        history.extend(self.record(enrollment.event)?);
        history.reverse();
        Ok(history)
    }

    /// The dead-letter list from its beginning, at most `limit` of it, each with the LSN of the
    /// record that put it there.
    pub fn dead_letters(&mut self, limit: usize) -> store::Result<Vec<(Lsn, DeadLetter)>> {
        let (from, to) = key::dead_letters();
        let rows = self.state.table.scan(&*self.store, &from, Some(&to), limit)?;
        let letters = rows.into_iter().filter_map(|(key, row)| {
            let Row::DeadLetter(letter) = row else { return None };
            let lsn = key.last_chunk::<8>().copied().map(u64::from_be_bytes)?;
            Some((Lsn(lsn), letter))
        });
        Ok(letters.collect())
    }

    /// The record at `lsn`.
    pub fn record(&self, lsn: Lsn) -> store::Result<Option<Logged>> {
        if let Some(recent) = self.recent(lsn) {
            return Ok(Some(recent.clone()));
        }
        let stored = record_at(&*self.log, &self.fold, lsn)?;
        stored
            .map(|it| Ok(Logged { lsn, time: it.time, record: recover::decode(&it)? }))
            .transpose()
    }

    fn row(&mut self, key: &key::Key) -> store::Result<Option<Row>> {
        self.state.table.fetch(&*self.store, [key])?;
        Ok(match self.state.table.get(key) {
            store::Found::Row(row) => Some(row.clone()),
            store::Found::Absent | store::Found::Missing => None,
        })
    }
}
