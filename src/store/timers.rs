//! The timer index: near timers in memory, all saved ones in the store, packed in pieces by due
//! time.
//!
//! A timer is live only if the row of its enrollment names the record that set it, and only the
//! caller can tell. So an entry too many is harmless: it comes up when due, the caller sees that it
//! is stale and clears it. That makes cancelling free, and it is why pieces are never rewritten and
//! those of a checkpoint that was never recorded may stay. An entry too few would be a customer
//! forgotten; the invariants below are about that.
//!
//! A piece is stored under `t`, first due (i64), checkpoint (u64), number (u32). Its value is a frame
//! (magic `ONWT`, version, body, CRC-32C) of: number of timers (varint), first due (i64), last due
//! (i64), and for each timer its due time after the one before (varint), enrollment (varint), the
//! record that set it as a distance from there (varint), place (u64).

use std::collections::BTreeSet;

use super::{Entry, Error, Store, Tree, frame};
use crate::base::{
    Lsn, Malformed, Reader, Span, Timestamp, bytes::put_varint, limits::RUN_TIMERS_MAX,
    planted::is_planted,
};

const MAGIC: [u8; 4] = *b"ONWT";
const VERSION: u8 = 1;
const PREFIX: u8 = b't';
const TIMER_BYTES_MIN: usize = 11;

/// When an enrollment must be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timer {
    /// When.
    pub due: Timestamp,
    /// Whose.
    pub enrollment: Lsn,
    /// The record that set it.
    pub set: Lsn,
    /// The hash of the customer, which leads to the row.
    pub place: u64,
}

/// A piece that a checkpoint took and that may not be in the store yet.
#[derive(Debug)]
struct Piece {
    key: Vec<u8>,
    /// Sorted, not empty.
    timers: Vec<Timer>,
}

impl Piece {
    fn first_due(&self) -> Timestamp {
        self.timers.first().expect("a piece is not empty").due
    }

    fn last_due(&self) -> Timestamp {
        self.timers.last().expect("a piece is not empty").due
    }
}

/// All timers of one partition.
///
/// Invariants: every live timer due before the horizon is in `near`. Every live timer is in `near`,
/// in `unsaved`, in `saving`, or in a stored piece whose key is above `reach`.
#[derive(Debug)]
pub struct Timers {
    near: BTreeSet<Timer>,
    /// Set since the last checkpoint, near or far.
    unsaved: BTreeSet<Timer>,
    /// What the running checkpoint is writing.
    saving: Vec<Piece>,
    horizon: Timestamp,
    /// The greatest key of a loaded piece, or the horizon as a key: it begins with the horizon.
    reach: Vec<u8>,
    /// How far the horizon goes ahead of now.
    span: Span,
    /// The pieces with keys up to `reach`, by their last due time.
    loaded: BTreeSet<(Timestamp, Vec<u8>)>,
    /// Those of them that the running checkpoint makes superfluous.
    finished: Vec<Vec<u8>>,
    /// When the first stored piece above `reach` begins; not known until somebody has looked.
    stored_due: Option<Option<Timestamp>>,
}

impl Timers {
    /// Before anything is loaded; timers are kept in memory up to `span` ahead of now.
    pub fn new(span: Span) -> Self {
        Self {
            near: BTreeSet::new(),
            unsaved: BTreeSet::new(),
            saving: Vec::new(),
            horizon: Timestamp::EPOCH,
            reach: due_key(Timestamp::EPOCH),
            span: span.max(Span::millis(1)),
            loaded: BTreeSet::new(),
            finished: Vec::new(),
            stored_due: None,
        }
    }

    /// Sets a timer.
    pub fn set(&mut self, timer: Timer) {
        self.unsaved.insert(timer);
        if timer.due < self.horizon {
            self.near.insert(timer);
        }
    }

    /// Forgets a timer that fired, was cancelled or came up stale. One that is only in the store
    /// stays there and comes up stale. Call it when the records that settle the timer are applied,
    /// or when the row does not name it; not before.
    pub fn clear(&mut self, timer: &Timer) {
        self.unsaved.remove(timer);
        self.near.remove(timer);
    }

    /// The least timer that is due at `now`.
    pub fn peek(&mut self, store: &dyn Store, now: Timestamp) -> Result<Option<Timer>, Error> {
        while self.nearest().is_none() && self.horizon <= now && self.horizon < Timestamp::MAX {
            self.advance(store, now.plus(self.span))?;
        }
        let is_due = |timer: &Timer| timer.due <= now || is_planted!("fire_early");
        Ok(self.nearest().filter(is_due))
    }

    /// Timers that are due at `now`, the least first, and no more than so many.
    pub fn overdue(
        &mut self,
        store: &dyn Store,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<Timer>, Error> {
        while self.near.len() < most && self.horizon <= now && self.horizon < Timestamp::MAX {
            self.advance(store, now.plus(self.span))?;
        }
        let is_due = |timer: &Timer| timer.due <= now && timer.due < self.horizon;
        Ok(self.near.iter().copied().take_while(is_due).take(most).collect())
    }

    /// When the least timer is due. Loads nothing: a far timer stays where it is.
    pub fn next_due(&mut self, store: &dyn Store) -> Result<Option<Timestamp>, Error> {
        if let Some(timer) = self.nearest() {
            return Ok(Some(timer.due));
        }
        let stored = match self.stored_due {
            Some(known) => known,
            None => next_piece(store, &self.reach)?.and_then(|(key, _)| first_due(&key)),
        };
        self.stored_due = Some(stored);
        let saving = self.saving.iter().filter(|piece| self.reach < piece.key);
        let memory = self.near.first().into_iter().chain(self.unsaved.first());
        let dues = memory.map(|timer| timer.due).chain(saving.map(Piece::first_due));
        Ok(dues.chain(stored).min())
    }

    /// Takes the timers set since the last checkpoint, all by records at or below `at`, as entries
    /// for [`Tree::Timers`]. `now` decides how finely they are packed.
    pub fn checkpoint(&mut self, at: Lsn, now: Timestamp) -> Vec<Entry> {
        assert!(self.saving.is_empty(), "a checkpoint ends before the next one begins");
        // Judged now, when the records that settled them are at or below `at`: a piece must not
        // go while a crash could still bring one of its timers back.
        let live = self.near.first().map_or(Timestamp::MAX, |timer| timer.due);
        let later = self.loaded.split_off(&(live, Vec::new()));
        self.finished =
            std::mem::replace(&mut self.loaded, later).into_iter().map(|(_, key)| key).collect();
        self.saving = self.pieces(at, now);
        self.reach_saving(None);
        let lost = usize::from(is_planted!("lose_timer_run"));
        let kept = self.saving.iter().skip(lost);
        kept.map(|piece| (piece.key.clone(), encode_piece(&piece.timers))).collect()
    }

    /// The checkpoint is recorded: its pieces are in the store. Gives the keys of the pieces that
    /// hold no live timer any more, for the caller to remove.
    pub fn written(&mut self) -> Vec<Vec<u8>> {
        self.saving.clear();
        self.stored_due = None;
        std::mem::take(&mut self.finished)
    }

    /// Every timer, stale ones that are still stored included.
    pub fn all(&self, store: &dyn Store) -> Result<Vec<Timer>, Error> {
        let mut all = self.near.clone();
        all.extend(&self.unsaved);
        all.extend(self.saving.iter().flat_map(|piece| &piece.timers));
        let mut key = vec![PREFIX];
        while let Some((next, value)) = next_piece(store, &key)? {
            all.extend(read_piece(&next, &value)?);
            key = next;
        }
        Ok(all.into_iter().collect())
    }

    /// How many timers are in memory.
    pub fn resident(&self) -> usize {
        let saving: usize = self.saving.iter().map(|piece| piece.timers.len()).sum();
        self.near.len() + self.unsaved.len() + saving
    }

    /// The least timer of all, if that is known: nothing at or after the horizon is, because an
    /// unloaded piece may begin with an equal due time and a lesser enrollment.
    fn nearest(&self) -> Option<Timer> {
        self.near.first().copied().filter(|timer| timer.due < self.horizon)
    }

    /// Moves the horizon towards `goal`: to the next stored piece, which it loads, or all the way.
    /// One piece at a time, so that after a long stop not everything comes into memory at once. What
    /// is due at one instant does: it fires in the order of the enrollments.
    fn advance(&mut self, store: &dyn Store, goal: Timestamp) -> Result<(), Error> {
        let next = next_piece(store, &self.reach)?;
        let next = next.and_then(|(key, value)| Some((first_due(&key)?, key, value)));
        let (horizon, reach) = match next {
            Some((first, key, value)) if first < goal => {
                let timers = read_piece(&key, &value)?;
                self.loaded.extend(timers.last().map(|last| (last.due, key.clone())));
                self.near.extend(timers);
                (first, key)
            }
            _ => (goal, due_key(goal)),
        };
        self.near.extend(self.unsaved.range(least(self.horizon)..least(horizon)));
        self.horizon = horizon;
        self.stored_due = None;
        let before = std::mem::replace(&mut self.reach, reach);
        self.reach_saving(Some(&before));
        Ok(())
    }

    /// Loads from memory the pieces being saved whose keys `reach` has come past since `before`.
    fn reach_saving(&mut self, before: Option<&[u8]>) {
        for piece in &self.saving {
            if before.is_none_or(|before| *before < *piece.key) && piece.key <= self.reach {
                self.near.extend(&piece.timers);
                self.loaded.insert((piece.last_due(), piece.key.clone()));
            }
        }
    }

    /// Packs what is unsaved. A piece stays within one minute of the next day or one later day, so
    /// that loading one brings little into memory that is not due for long.
    fn pieces(&mut self, at: Lsn, now: Timestamp) -> Vec<Piece> {
        let day_ahead = now.plus(Span::days(1));
        let bucket = |timer: &Timer| {
            let is_near = timer.due < day_ahead;
            let width = if is_near { Span::minutes(1) } else { Span::days(1) };
            (is_near, timer.due.micros() / width.micros())
        };
        let sorted: Vec<Timer> = std::mem::take(&mut self.unsaved).into_iter().collect();
        let parts = sorted
            .chunk_by(|a, b| bucket(a) == bucket(b))
            .flat_map(|bucket| bucket.chunks(RUN_TIMERS_MAX));
        (0_u32..)
            .zip(parts)
            .map(|(number, timers)| {
                let mut key = due_key(timers.first().expect("a chunk is not empty").due);
                key.extend_from_slice(&at.0.to_be_bytes());
                key.extend_from_slice(&number.to_be_bytes());
                Piece { key, timers: timers.to_vec() }
            })
            .collect()
    }
}

/// The least timer due at `due`.
fn least(due: Timestamp) -> Timer {
    Timer { due, enrollment: Lsn::ZERO, set: Lsn::ZERO, place: 0 }
}

fn due_key(due: Timestamp) -> Vec<u8> {
    let mut key = vec![PREFIX];
    key.extend_from_slice(&due.micros().to_be_bytes());
    key
}

fn first_due(key: &[u8]) -> Option<Timestamp> {
    let (prefix, rest) = key.split_first()?;
    let micros = i64::from_be_bytes(*rest.first_chunk()?);
    Timestamp::from_micros(micros).ok().filter(|_| *prefix == PREFIX)
}

fn next_piece(store: &dyn Store, key: &[u8]) -> Result<Option<Entry>, Error> {
    let next = store.above(Tree::Timers, key)?;
    Ok(next.filter(|(key, _)| key.first() == Some(&PREFIX)))
}

fn read_piece(key: &[u8], value: &[u8]) -> Result<Vec<Timer>, Error> {
    let place = || format!("the piece of timers {}", key.escape_ascii());
    let timers = decode_piece(value).map_err(Error::malformed(place))?;
    if timers.first().map(|timer| timer.due) == first_due(key) {
        return Ok(timers);
    }
    Err(Error::malformed(place)(Malformed("it begins at another time than its key says")))
}

/// `timers` are sorted and not empty.
pub(crate) fn encode_piece(timers: &[Timer]) -> Vec<u8> {
    let due = |timer: Option<&Timer>| timer.expect("a piece is not empty").due;
    let (first, last) = (due(timers.first()), due(timers.last()));
    frame::seal(MAGIC, VERSION, |out| {
        put_varint(out, u64::try_from(timers.len()).expect("a piece has few timers"));
        out.extend_from_slice(&first.micros().to_be_bytes());
        out.extend_from_slice(&last.micros().to_be_bytes());
        let mut before = first;
        for timer in timers {
            put_varint(out, timer.due.since(before).micros().unsigned_abs());
            put_varint(out, timer.enrollment.0);
            put_varint(out, timer.set.0.wrapping_sub(timer.enrollment.0));
            out.extend_from_slice(&timer.place.to_be_bytes());
            before = timer.due;
        }
    })
}

pub(crate) fn decode_piece(bytes: &[u8]) -> Result<Vec<Timer>, Malformed> {
    let mut reader = frame::open(MAGIC, VERSION, bytes)?;
    let count = reader.length()?;
    if count > reader.remaining() / TIMER_BYTES_MIN {
        return Err(Malformed("more timers than the bytes can hold"));
    }
    let mut timers = Vec::with_capacity(count);
    let (first, last) = (reader.i64()?, reader.i64()?);
    let mut micros = first;
    for _ in 0..count {
        let timer = read_timer(&mut reader, &mut micros)?;
        if timers.last().is_some_and(|before| timer <= *before) {
            return Err(Malformed("timers out of order"));
        }
        timers.push(timer);
    }
    reader.end()?;
    if timers.first().map(|timer| timer.due.micros()) != Some(first) || micros != last {
        return Err(Malformed("another first or last due time than its timers have"));
    }
    Ok(timers)
}

fn read_timer(reader: &mut Reader<'_>, micros: &mut i64) -> Result<Timer, Malformed> {
    let after = || Malformed("a due time after 9999");
    let delta = i64::try_from(reader.varint()?).map_err(|_| after())?;
    *micros = micros.checked_add(delta).ok_or_else(after)?;
    let due = Timestamp::from_micros(*micros).map_err(|_| after())?;
    let enrollment = reader.varint()?;
    let set = enrollment.wrapping_add(reader.varint()?);
    Ok(Timer { due, enrollment: Lsn(enrollment), set: Lsn(set), place: reader.u64()? })
}

#[cfg(test)]
mod tests;
