//! What a line says, and to which partition.

use crate::{
    base::{PartitionId, Timestamp, limits::LEAP_MAX},
    machine::reason::InputKind,
    model::{CustomerUpdate, Event, LineCode, LineError},
};

/// What a line says.
#[derive(Debug)]
pub(super) enum Read {
    Blank,
    Customer(CustomerUpdate),
    Event(Event),
    Bad(LineError),
    /// The line of another partition's customer, and its time.
    Foreign(Option<Timestamp>),
}

pub(super) fn read(kind: InputKind, bytes: &[u8]) -> Read {
    if bytes.trim_ascii().is_empty() {
        return Read::Blank;
    }
    match kind {
        InputKind::Customers => CustomerUpdate::parse(bytes).map_or_else(Read::Bad, Read::Customer),
        InputKind::Events | InputKind::Definitions => {
            Event::parse(bytes).map_or_else(Read::Bad, Read::Event)
        }
    }
}

/// What is wrong with a line of this time where it is `now`, if it lies too far ahead. Before the
/// first event the clock stands where it began, or moments after it, and nothing is far from there.
pub(super) fn leap(now: Timestamp, time: Timestamp, until: Option<Timestamp>) -> Option<LineError> {
    let has_begun = now.since(Timestamp::EPOCH) > LEAP_MAX;
    let is_expected = !has_begun || until.is_some_and(|until| time <= until);
    (!is_expected && time.since(now) > LEAP_MAX).then(|| LineError {
        code: LineCode::TooFarAhead,
        column: 1,
        message: format!(
            "{time} is more than {LEAP_MAX} after {now}, where time has come to; correct it, or say \
             with --until that time reaches there"
        ),
    })
}

/// Whose lines a job reads: those of the customers of one of so many partitions. The first one also
/// reads those that are no customer or event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) partition: PartitionId,
    pub(super) count: u16,
}

impl Share {
    /// What a line of somebody else still tells: how far time has come.
    pub(super) fn of(self, read: Read) -> Read {
        let (id, time) = match &read {
            Read::Event(event) => (Some(&event.customer), event.time),
            Read::Customer(update) => (Some(&update.id), None),
            Read::Blank | Read::Bad(_) | Read::Foreign(_) => (None, None),
        };
        let whose = id.map_or_else(PartitionId::default, |id| PartitionId::of(id, self.count));
        if whose == self.partition { read } else { Read::Foreign(time) }
    }
}

/// When the next input happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Whenever it is its turn.
    Now,
    /// At this time, or now if that has passed.
    At(Timestamp),
    /// There is none.
    End,
}
