//! The fold: which chunks of a log count, and what the next one must say.
//!
//! Every reader folds the same positions in the same order and so sees the same records, whatever
//! deposed owners appended in between. The rules:
//!
//! - Positions are dense; a missing one is damage.
//! - A **fence** with an epoch above the current one is adopted. It voids a group that its
//!   predecessor left unfinished, and the LSNs of that group are used again. Any other fence is
//!   void.
//! - A **data** chunk counts when epoch, nonce, `n` and first LSN are what comes next, and is void
//!   otherwise: it is of a deposed owner, or a duplicate.
//! - A chunk that counts but names another predecessor (CRC), and bytes that are no chunk, are
//!   damage.
//!
//! A new owner reads to the end, appends its fence at the position after it, and only when that is
//! stored appends data. As an append never overwrites, a stored fence was made from the fold of
//! exactly the positions before it: a deposed owner's late chunks lie either before the fence, where
//! the new owner has read them, or after it, where they are void. Two rules are the owner's part:
//! every fence has a fresh nonce, and after an append of unknown outcome comes a new fence, never
//! the same chunk at another position.

use serde::{Deserialize, Serialize};

use super::{
    Error,
    chunk::{self, Chunk, ChunkBuilder, ChunkKind, Header, Record, Stamp},
};
use crate::base::{InstanceId, Lsn, Malformed, PartitionId, Timestamp, planted::is_planted};

/// Whether the group at the end of a chunk goes on in the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The chunk ends with the last record of a group.
    Ends,
    /// More chunks follow before the group counts.
    Continues,
}

/// What a chunk did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A fence: a new owner begins.
    Adopted,
    /// The records of whole groups that end here; none while a group is unfinished.
    Records(Vec<Record>),
    /// Nothing.
    Void,
}

/// The state of a log after some number of positions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fold {
    instance: InstanceId,
    partition: PartitionId,
    position: u64,
    epoch: u64,
    nonce: u64,
    /// The position of the last fence.
    fence: u64,
    next_n: u64,
    next_lsn: Lsn,
    previous_crc: u32,
    /// The first LSN of a group whose last part is not there yet.
    open_group: Option<Lsn>,
    last_time: Timestamp,
    /// The parts of that group, kept only where the fold reads. A fold is saved between groups.
    #[serde(skip)]
    held: Vec<Record>,
}

impl Fold {
    /// Before the first position.
    pub fn new(instance: InstanceId, partition: PartitionId) -> Self {
        Self {
            instance,
            partition,
            position: 0,
            epoch: 0,
            nonce: 0,
            fence: 0,
            next_n: 0,
            next_lsn: Lsn(1),
            previous_crc: 0,
            open_group: None,
            last_time: Timestamp::EPOCH,
            held: Vec::new(),
        }
    }

    /// The directory the log belongs to.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// The partition whose log it is.
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The position that comes next.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The position of the last fence.
    pub fn fence_position(&self) -> u64 {
        self.fence
    }

    /// The current owner's epoch; 0 before the first fence.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What the next effective chunk says: its number, and the checksum of the one before it.
    pub(super) fn next_link(&self) -> (u64, u32) {
        (self.next_n, self.previous_crc)
    }

    /// The LSN that the next record gets, should the open group go on.
    pub fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    /// The last record of a whole group.
    pub fn last_lsn(&self) -> Lsn {
        let Lsn(next) = self.group_start();
        Lsn(next.checked_sub(1).expect("LSNs begin at 1"))
    }

    /// The time of the last record of a whole group.
    pub fn last_time(&self) -> Timestamp {
        self.last_time
    }

    /// Whether what comes next names this chunk as the one before it.
    pub fn follows(&self, chunk: &[u8]) -> bool {
        self.next_n > 0 && chunk::stored_crc(chunk) == self.previous_crc
    }

    /// Whether no group is unfinished, so that the fold may be saved.
    pub fn is_between_groups(&self) -> bool {
        self.open_group.is_none()
    }

    /// Whether it may have been saved: between groups, and with counts that a log can come to.
    pub(super) fn is_sound(&self) -> bool {
        let counts = [self.position, self.epoch, self.fence, self.next_n, self.next_lsn.0];
        self.is_between_groups()
            && Lsn::ZERO < self.next_lsn
            && counts.iter().all(|it| *it < u64::MAX / 2)
    }

    /// Whether it may have been saved with what is the state at record `at`.
    pub(super) fn is_sound_at(&self, at: Lsn) -> bool {
        self.is_sound() && self.last_lsn() == at
    }

    /// The fence with which a new owner takes over after what was read. `nonce` is fresh. It goes
    /// to [`Fold::position`], and once stored there, into [`Fold::offer`].
    pub fn new_fence(&self, nonce: u64, now: Timestamp) -> Vec<u8> {
        let stamp = Stamp {
            epoch: if is_planted!("fence_without_epoch") && self.epoch > 0 {
                self.epoch
            } else {
                self.epoch.checked_add(1).expect("fewer than 2^64 starts")
            },
            nonce,
            first_lsn: self.group_start(),
            ..self.stamp(Group::Ends)
        };
        chunk::fence(&stamp, now)
    }

    /// Makes the owner's next chunk and counts it as stored: its position and its bytes.
    pub fn seal(&mut self, records: ChunkBuilder, group: Group) -> (u64, Vec<u8>) {
        assert!(self.epoch > 0, "an owner fences before it appends");
        let position = self.position;
        let count = u64::from(records.count());
        let time = records.last_time();
        let bytes = records.finish(&self.stamp(group));
        self.position += 1;
        self.count_in(group, count, chunk::stored_crc(&bytes));
        if group == Group::Ends {
            self.last_time = self.last_time.max(time);
        }
        (position, bytes)
    }

    /// Reads the chunk at `position`.
    pub fn offer(&mut self, position: u64, chunk: Chunk) -> Result<Effect, Error> {
        let Chunk { header, records } = chunk;
        self.check_place(position, &header)?;
        self.position += 1;
        match header.kind {
            ChunkKind::Fence if header.epoch <= self.epoch => Ok(Effect::Void),
            ChunkKind::Fence => self.adopt(position, &header),
            ChunkKind::Data if !self.is_next(&header) => Ok(Effect::Void),
            ChunkKind::Data => self.take(position, &header, records),
        }
    }

    fn check_place(&self, position: u64, header: &Header) -> Result<(), Error> {
        if position != self.position {
            let what = format!("the log has nothing at position {}", self.position);
            return Err(Error::Damaged { what, place: place(position) });
        }
        if header.instance != self.instance {
            return Err(Error::OtherInstance {
                place: place(position),
                found: header.instance,
                expected: self.instance,
            });
        }
        if header.partition != self.partition {
            let PartitionId(found) = header.partition;
            return Err(damaged(position, format!("it belongs to partition {found}")));
        }
        Ok(())
    }

    fn adopt(&mut self, position: u64, header: &Header) -> Result<Effect, Error> {
        if header.n != self.next_n
            || header.first_lsn != self.group_start()
            || header.fence != self.fence
        {
            return Err(damaged(position, "its owner had read another log"));
        }
        self.check_chain(position, header)?;
        self.next_lsn = self.group_start();
        self.open_group = None;
        self.held.clear();
        self.epoch = header.epoch;
        self.nonce = header.nonce;
        self.fence = position;
        self.next_n += 1;
        self.previous_crc = header.crc;
        Ok(Effect::Adopted)
    }

    fn take(
        &mut self,
        position: u64,
        header: &Header,
        mut records: Vec<Record>,
    ) -> Result<Effect, Error> {
        self.check_chain(position, header)?;
        let group = if header.continues { Group::Continues } else { Group::Ends };
        self.count_in(group, u64::from(header.count), header.crc);
        if group == Group::Continues {
            self.held.append(&mut records);
            return Ok(Effect::Records(Vec::new()));
        }
        if let Some(last) = records.last() {
            self.last_time = self.last_time.max(last.time);
        }
        if self.held.is_empty() {
            return Ok(Effect::Records(records));
        }
        let mut whole = std::mem::take(&mut self.held);
        whole.append(&mut records);
        Ok(Effect::Records(whole))
    }

    fn is_next(&self, header: &Header) -> bool {
        self.epoch > 0
            && header.epoch == self.epoch
            && header.nonce == self.nonce
            && header.n == self.next_n
            && header.first_lsn == self.next_lsn
    }

    fn check_chain(&self, position: u64, header: &Header) -> Result<(), Error> {
        if header.previous_crc == self.previous_crc {
            return Ok(());
        }
        Err(damaged(position, "it follows a chunk that is not the one before it"))
    }

    fn count_in(&mut self, group: Group, count: u64, crc: u32) {
        match group {
            Group::Ends => self.open_group = None,
            Group::Continues => {
                self.open_group.get_or_insert(self.next_lsn);
            }
        }
        self.next_n += 1;
        self.next_lsn = self.next_lsn.plus(count);
        self.previous_crc = crc;
    }

    fn stamp(&self, group: Group) -> Stamp {
        Stamp {
            instance: self.instance,
            partition: self.partition,
            epoch: self.epoch,
            nonce: self.nonce,
            n: self.next_n,
            first_lsn: self.next_lsn,
            fence: self.fence,
            previous_crc: self.previous_crc,
            continues: group == Group::Continues,
        }
    }

    fn group_start(&self) -> Lsn {
        self.open_group.unwrap_or(self.next_lsn)
    }
}

/// Says that the chunk at `position` is damaged.
pub(super) fn damaged(position: u64, what: impl Into<String>) -> Error {
    Error::Damaged { what: what.into(), place: place(position) }
}

/// For `map_err`: the bytes at `position` are no chunk.
pub(super) fn malformed(position: u64) -> impl FnOnce(Malformed) -> Error {
    move |why| damaged(position, why.to_string())
}

fn place(position: u64) -> String {
    format!("the log at position {position}")
}

#[cfg(test)]
mod tests;
