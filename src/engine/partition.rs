//! One partition: decides inputs, applies their records at once and encodes them into chunks. What
//! leaves is the caller's business, and may leave only when its LSN is durable.

use std::{collections::VecDeque, mem, sync::Arc};

use super::{
    backlog::Backlog,
    history::Logged,
    state::{State, timer_set},
};
use crate::{
    base::{
        DeliveryId, InstanceId, Limits, Lsn, PartitionId, Span, Timestamp,
        limits::{FETCHES_MAX, RECORD_BYTES_MAX},
        planted::is_planted,
    },
    machine::{
        apply::{TimerSet, apply, unread_rows},
        catalog::Catalog,
        decide::decide,
        delivery::Delivery,
        input::{Answer, Decision, Input, Rejection, Stop},
        key,
        memory::{InFlight, Memory},
        record::Record,
        row::{Phase, Row, Stage},
        step::StepMessage,
    },
    store::{self, ChunkBuilder, Fold, Group, Log, Store},
};

/// What a record takes in a chunk besides its body, at most.
const FRAME_BYTES: usize = 24;

/// A chunk on its way to the disk.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) position: u64,
    pub(super) bytes: Vec<u8>,
}

/// A delivery that is to be handed out once its record is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Requested {
    pub(super) lsn: Lsn,
    pub(super) round: u32,
    pub(super) id: DeliveryId,
}

/// One partition of a data directory, owned by one thread.
#[derive(Debug)]
pub struct Partition {
    pub(super) id: PartitionId,
    pub(super) instance: InstanceId,
    pub(super) state: State,
    pub(super) store: Arc<dyn Store>,
    pub(super) log: Arc<dyn Log>,
    pub(super) limits: Limits,
    /// What a reader of all chunks sealed so far sees.
    pub(super) fold: Fold,
    open: Option<ChunkBuilder>,
    sealed: Vec<Sealed>,
    /// Room for the bodies of a group, used again and again.
    bodies: Vec<u8>,
    pub(super) requested: VecDeque<Requested>,
    backlog: Backlog,
    /// Records that are not known to be on disk yet.
    recent: VecDeque<Logged>,
    pub(super) since_checkpoint: u64,
    /// Bytes of record bodies written since it was opened.
    pub(super) body_bytes: u64,
    /// Whether its rows and timers were doubtful where they are, and are made from its log, in
    /// memory.
    pub(super) are_projections_made: bool,
}

impl Partition {
    pub(super) fn new(
        instance: InstanceId,
        state: State,
        store: Arc<dyn Store>,
        log: Arc<dyn Log>,
        limits: Limits,
        fold: Fold,
    ) -> Self {
        let in_flight = state.memory.in_flight.iter();
        let requested = in_flight.map(|((round, id), it)| Requested {
            lsn: it.requested,
            round: *round,
            id: *id,
        });
        let mut requested: Vec<_> = requested.collect();
        requested.sort_unstable();
        if is_planted!("forget_in_flight") {
            requested.clear();
        }
        Self {
            id: fold.partition(),
            instance,
            state,
            store,
            log,
            limits,
            fold,
            open: None,
            sealed: Vec::new(),
            bodies: Vec::new(),
            requested: requested.into(),
            backlog: Backlog::default(),
            recent: VecDeque::new(),
            since_checkpoint: 0,
            body_bytes: 0,
            are_projections_made: false,
        }
    }

    /// Lets go of the store and hears how it closed.
    pub(super) fn close(self) -> store::Result<()> {
        let Self { store, log, state, .. } = self;
        drop((log, state));
        store.close()
    }

    /// The latest record, durable or not.
    pub(super) fn latest(&self) -> Lsn {
        self.state.memory.latest
    }

    /// The time of the latest record.
    pub fn recorded_time(&self) -> Timestamp {
        self.state.memory.now
    }

    /// When the directory may get another identity: later than everything before, so that the time
    /// of a delivery tells under which one it leaves.
    pub(super) fn renaming_time(&self) -> Timestamp {
        self.recorded_time().plus(Span::MICROSECOND)
    }

    /// Decides one input, applies what follows and adds it to the open chunk.
    pub(super) fn decide(
        &mut self,
        now: Timestamp,
        input: &Input,
    ) -> store::Result<Result<Answer, Rejection>> {
        let now = now.max(self.recorded_time());
        let Decision { records, answer } = match self.ask(now, input)? {
            Ok(decision) => decision,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let first = self.state.memory.next_lsn();
        self.prepare(first, &records)?;
        for (record, index) in records.iter().zip(0_u64..) {
            let lsn = first.plus(index);
            apply(&mut self.state, self.id, lsn, now, record);
            self.note_request(lsn, record);
        }
        self.append(now, &records);
        let logged = records.into_iter().zip(0_u64..);
        self.recent.extend(logged.map(|(record, n)| Logged {
            lsn: first.plus(n),
            time: now,
            record,
        }));
        if matches!(answer, Answer::Published { .. }) {
            self.state.refresh_catalog(&*self.store)?;
        }
        if let (Input::TimerDue(timer), Answer::Unchanged) = (input, &answer) {
            use crate::machine::apply::Projections;
            self.state.clear_timer(*timer);
        }
        Ok(Ok(answer))
    }

    fn ask(&mut self, now: Timestamp, input: &Input) -> store::Result<Result<Decision, Rejection>> {
        for _ in 0..FETCHES_MAX {
            match decide(&self.state, self.id, now, input) {
                Ok(decision) => return Ok(Ok(decision)),
                Err(Stop::Rejected(rejection)) => return Ok(Err(rejection)),
                Err(Stop::Missing(keys)) => self.state.fetch(&*self.store, keys)?,
            }
        }
        panic!("a decision never needs this many rounds of loading");
    }

    /// Loads the rows that the records change and the decision did not read.
    fn prepare(&mut self, first: Lsn, records: &[Record]) -> store::Result<()> {
        let unread = records.iter().zip(0_u64..);
        let unread = unread.flat_map(|(record, n)| unread_rows(first.plus(n), record)).flatten();
        let table = &self.state.table;
        let missing: Vec<_> = unread.filter(|key| !table.is_resident(key)).collect();
        self.state.fetch(&*self.store, missing)
    }

    /// Forgets the records that are on disk.
    pub(super) fn forget_recent(&mut self, durable: Lsn) {
        while self.recent.pop_front_if(|it| it.lsn <= durable).is_some() {}
    }

    /// The record at `lsn`, if it may not be on disk yet.
    pub(super) fn recent(&self, lsn: Lsn) -> Option<&Logged> {
        let first = self.recent.front()?.lsn;
        self.recent.get(usize::try_from(lsn.0.checked_sub(first.0)?).ok()?)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "only requests are handed out")]
    fn note_request(&mut self, lsn: Lsn, record: &Record) {
        let (at, subscription, round) = match record {
            Record::DeliveryRequested(it) => (&it.at, it.subscription, it.round),
            Record::DeliveryAttempted(it) => (&it.at, it.subscription, 0),
            _ => return,
        };
        let enrollment = at.enrollment(lsn, self.id);
        let id = DeliveryId { enrollment, visit: at.visit, subscription };
        self.requested.push_back(Requested { lsn, round, id });
    }

    /// Adds a group to the open chunk; one that does not fit gets chunks of its own.
    fn append(&mut self, now: Timestamp, records: &[Record]) {
        let mut bodies = mem::take(&mut self.bodies);
        bodies.clear();
        let ends: Vec<usize> = records
            .iter()
            .map(|it| {
                it.encode_into(&mut bodies);
                bodies.len()
            })
            .collect();
        let bytes = bodies.len() + records.len() * FRAME_BYTES;
        self.since_checkpoint += u64::try_from(records.len()).expect("a group fits in memory");
        self.body_bytes += u64::try_from(bytes).expect("a group fits in memory");
        if self.open_bytes() + bytes > self.limits.chunk_bytes {
            self.seal(Group::Ends);
        }
        let mut rest = &bodies[..];
        let mut begin = 0;
        for (record, end) in records.iter().zip(ends) {
            let (body, after) = rest.split_at_checked(end - begin).expect("bodies end in order");
            (rest, begin) = (after, end);
            assert!(body.len() <= RECORD_BYTES_MAX, "decisions bound what a record holds");
            let full = self.open_bytes() + body.len() + FRAME_BYTES > self.limits.chunk_bytes;
            if full {
                let ends = is_planted!("wrong_group_end");
                self.seal(if ends { Group::Ends } else { Group::Continues });
            }
            let open = self.open.get_or_insert_with(|| ChunkBuilder::new(now));
            open.push(now, record.kind(), record.version(), body);
        }
        self.bodies = bodies;
        if self.open_bytes() >= self.limits.chunk_bytes {
            self.seal(Group::Ends);
        }
    }

    fn open_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, ChunkBuilder::len_bytes)
    }

    fn seal(&mut self, group: Group) {
        if let Some(open) = self.open.take() {
            let (position, bytes) = self.fold.seal(open, group);
            self.sealed.push(Sealed { position, bytes });
        }
    }

    /// Closes the open chunk and hands over all that are not with the commit thread yet.
    pub(super) fn take_sealed(&mut self) -> Vec<Sealed> {
        self.seal(Group::Ends);
        mem::take(&mut self.sealed)
    }

    /// Bytes that are not with the commit thread yet.
    pub(super) fn unsealed_bytes(&self) -> usize {
        self.open_bytes() + self.sealed.iter().map(|sealed| sealed.bytes.len()).sum::<usize>()
    }

    /// The least timer whose time has come.
    pub(super) fn due_timer(&mut self, now: Timestamp) -> store::Result<Option<TimerSet>> {
        Ok(self.state.timers.peek(&*self.store, now)?.map(timer_set))
    }

    /// The same of many, in the order in which they are worked off; see [`Backlog`].
    pub(super) fn overdue_timer(&mut self, now: Timestamp) -> store::Result<Option<TimerSet>> {
        let (timers, herd_after) = (&mut self.state.timers, self.limits.herd_timers);
        Ok(self.backlog.next(timers, &*self.store, now, herd_after)?.map(timer_set))
    }

    /// When the next timer is due.
    pub(super) fn next_due(&mut self) -> store::Result<Option<Timestamp>> {
        self.state.timers.next_due(&*self.store)
    }

    /// The delivery as a worker gets it, and what is known of it while it is out; none where it has
    /// been settled since.
    pub(super) fn delivery(
        &mut self,
        requested: Requested,
    ) -> store::Result<Option<(Delivery, InFlight)>> {
        let Some(flying) = self.state.memory.in_flight.get(&(requested.round, requested.id)) else {
            return Ok(None);
        };
        let flying = *flying;
        let id = requested.id;
        let key = key::enrollment(flying.place, id.enrollment.lsn);
        if !self.state.table.is_resident(&key) {
            self.state.table.fetch(&*self.store, [&key])?;
        }
        let store::Found::Row(Row::Enrollment(enrollment)) = self.state.table.get(&key) else {
            return Ok(None);
        };
        let Phase::Sending { step, time, values, deliveries } = &enrollment.phase else {
            return Ok(None);
        };
        let open = deliveries.iter().find(|open| open.subscription == id.subscription);
        let open = open.filter(|open| open.stage == Stage::InFlight);
        let version = self.state.catalog.version(enrollment.flow, enrollment.version);
        let (Some(open), Some(version)) = (open, version) else { return Ok(None) };
        let renamed = self.state.memory.instance_at(*time);
        let delivery = Delivery {
            id,
            instance: renamed.unwrap_or(self.instance),
            is_renamed: renamed.is_some(),
            attempt: open.attempt,
            time: *time,
            customer: enrollment.customer.clone(),
            recipient: open.recipient.clone(),
            content: Arc::new(StepMessage { published: Arc::clone(version), step: *step }),
            values: Arc::clone(values),
        };
        Ok(Some((delivery, flying)))
    }
}

impl Partition {
    /// Which partition it is.
    pub const fn id(&self) -> PartitionId {
        self.id
    }

    /// The directory's identity.
    pub const fn instance(&self) -> InstanceId {
        self.instance
    }

    /// The projection in memory: clock, inputs, definitions, counters.
    pub const fn memory(&self) -> &Memory {
        &self.state.memory
    }

    /// The definitions in force.
    pub const fn catalog(&self) -> &Catalog {
        &self.state.catalog
    }
}
