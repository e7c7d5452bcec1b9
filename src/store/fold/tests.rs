//! The fold against stale owners, duplicates, unfinished groups and damage.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::store::{Inserted, LocalLog, Log, MemoryStore, RecordReader, log::record_at};

const HERE: InstanceId = InstanceId([1; 16]);
const P: PartitionId = PartitionId(0);

fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

fn builder(bodies: &[&[u8]]) -> ChunkBuilder {
    let mut chunk = ChunkBuilder::new(time(10));
    bodies.iter().for_each(|body| chunk.push(time(10), 1, 1, body));
    chunk
}

/// A fold whose owner has just fenced.
fn owner() -> Fold {
    let mut fold = Fold::new(HERE, P);
    let fence = chunk::decode(&fold.new_fence(1, time(1))).unwrap();
    assert_eq!(fold.offer(0, fence).unwrap(), Effect::Adopted);
    fold
}

fn offer(fold: &mut Fold, position: u64, bytes: &[u8]) -> Result<Effect, Error> {
    fold.offer(position, chunk::decode(bytes).unwrap())
}

fn bodies(effect: Effect) -> Vec<(u64, Vec<u8>)> {
    let Effect::Records(records) = effect else { panic!("{effect:?}") };
    records.into_iter().map(|record| (record.lsn.0, record.body)).collect()
}

#[test]
fn reader_and_owner_agree() {
    let mut writer = owner();
    let mut reader = writer.clone();
    let (at, bytes) = writer.seal(builder(&[b"a", b"b"]), Group::Ends);
    let read = bodies(offer(&mut reader, at, &bytes).unwrap());
    assert_eq!(read, [(1, b"a".to_vec()), (2, b"b".to_vec())]);
    assert_eq!(reader, writer);
    assert_eq!((reader.last_lsn(), reader.last_time()), (Lsn(2), time(10)));
}

#[test]
fn a_group_counts_with_its_last_part() {
    let mut writer = owner();
    let mut reader = writer.clone();
    for (body, group) in [(b"a", Group::Continues), (b"b", Group::Continues)] {
        let (at, bytes) = writer.seal(builder(&[body]), group);
        assert_eq!(offer(&mut reader, at, &bytes).unwrap(), Effect::Records(vec![]));
        assert_eq!(reader.last_lsn(), Lsn(0));
        assert!(!reader.is_between_groups());
    }
    let (at, bytes) = writer.seal(builder(&[b"c"]), Group::Ends);
    let read = bodies(offer(&mut reader, at, &bytes).unwrap());
    assert_eq!(read, [(1, b"a".to_vec()), (2, b"b".to_vec()), (3, b"c".to_vec())]);
    assert_eq!(reader, writer);
}

#[test]
fn a_fence_voids_an_unfinished_group_and_its_lsns_are_used_again() {
    let mut old = owner();
    let mut reader = old.clone();
    let (at, bytes) = old.seal(builder(&[b"x", b"y"]), Group::Continues);
    offer(&mut reader, at, &bytes).unwrap();
    let fence = reader.new_fence(2, time(20));
    assert_eq!(chunk::peek(&fence).unwrap().first_lsn, Lsn(1));
    assert_eq!(offer(&mut reader, 2, &fence).unwrap(), Effect::Adopted);
    let mut new = reader.clone();
    // The deposed owner goes on, after the fence.
    let (_, late) = old.seal(builder(&[b"z"]), Group::Ends);
    assert_eq!(offer(&mut reader, 3, &late).unwrap(), Effect::Void);
    assert_eq!(offer(&mut new, 3, &late).unwrap(), Effect::Void);
    let (at, bytes) = new.seal(builder(&[b"a"]), Group::Ends);
    assert_eq!(at, 4);
    assert_eq!(bodies(offer(&mut reader, 4, &bytes).unwrap()), [(1, b"a".to_vec())]);
}

#[test]
fn duplicates_and_old_fences_are_void() {
    let mut writer = owner();
    let mut reader = writer.clone();
    let old_fence = Fold::new(HERE, P).new_fence(9, time(1));
    let (_, bytes) = writer.seal(builder(&[b"a"]), Group::Ends);
    bodies(offer(&mut reader, 1, &bytes).unwrap());
    assert_eq!(offer(&mut reader, 2, &bytes).unwrap(), Effect::Void);
    assert_eq!(offer(&mut reader, 3, &old_fence).unwrap(), Effect::Void);
    assert_eq!(reader.position(), 4);
    assert_eq!(reader.last_lsn(), Lsn(1));
}

#[test]
fn a_chunk_counts_only_if_all_of_its_stamp_is_what_comes_next() {
    let fold = owner();
    let right = fold.stamp(Group::Ends);
    let offered = |stamp: &Stamp| {
        offer(&mut fold.clone(), fold.position(), &builder(&[b"a"]).finish(stamp)).unwrap()
    };
    assert_eq!(bodies(offered(&right)), [(1, b"a".to_vec())]);
    for wrong in [
        Stamp { epoch: right.epoch + 1, ..right },
        Stamp { nonce: right.nonce + 1, ..right },
        Stamp { n: right.n + 1, ..right },
        Stamp { first_lsn: right.first_lsn.next(), ..right },
    ] {
        assert_eq!(offered(&wrong), Effect::Void, "{wrong:?}");
    }
    let mut nobody = Fold::new(HERE, P);
    let early = builder(&[b"a"]).finish(&nobody.stamp(Group::Ends));
    assert_eq!(offer(&mut nobody, 0, &early).unwrap(), Effect::Void);
}

#[test]
fn damage_is_told_from_what_does_not_count() {
    let mut writer = owner();
    let reader = writer.clone();
    let mut forked = writer.clone();
    let (_, one) = writer.seal(builder(&[b"a"]), Group::Ends);
    let (_, two) = writer.seal(builder(&[b"b"]), Group::Ends);
    let (_, other) = forked.seal(builder(&[b"q"]), Group::Ends);

    let hole = offer(&mut reader.clone(), 2, &two).unwrap_err();
    assert!(hole.to_string().contains("nothing at position 1"), "{hole}");

    // The same owner, n and LSN, after another chunk: bits changed and the checksum with them.
    let mut fold = reader.clone();
    bodies(offer(&mut fold, 1, &other).unwrap());
    let error = offer(&mut fold, 2, &two).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    bodies(offer(&mut reader.clone(), 1, &one).unwrap());

    let mut elsewhere = Fold::new(InstanceId([2; 16]), P);
    let error = offer(&mut elsewhere, 0, &reader.new_fence(1, time(1))).unwrap_err();
    assert!(matches!(error, Error::OtherInstance { .. }), "{error}");
    let mut elsewhere = Fold::new(HERE, PartitionId(1));
    let error = offer(&mut elsewhere, 0, &reader.new_fence(1, time(1))).unwrap_err();
    assert!(error.to_string().contains("partition 0"), "{error}");

    // A fence by somebody who had read more than there is.
    let mut fold = reader;
    let error = offer(&mut fold, 1, &writer.new_fence(5, time(9))).unwrap_err();
    assert!(error.to_string().contains("another log"), "{error}");
}

/// A participant that may own the log, or believe so.
#[derive(Debug, Clone)]
struct Owner {
    fold: Fold,
    fenced: bool,
    /// Everything since its fence was stored where it meant it.
    sure: bool,
    /// Records of the group that it is in.
    group: Vec<(u64, Vec<u8>)>,
}

#[derive(Debug, Clone, Copy)]
enum Move {
    Read(usize),
    Fence(usize),
    /// Goes on whatever became of the append before: chunks are in flight.
    Append(usize, u8, Group),
    /// The append happens, and the owner never hears of it.
    AppendUnheard(usize, u8),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let group = prop::sample::select(vec![Group::Ends, Group::Ends, Group::Continues]);
    let it = prop_oneof![
        2 => (0..3_usize).prop_map(Move::Read),
        2 => (0..3_usize).prop_map(Move::Fence),
        8 => (0..3_usize, 1..4_u8, group).prop_map(|(who, count, group)| Move::Append(who, count, group)),
        1 => (0..3_usize, 1..4_u8).prop_map(|(who, count)| Move::AppendUnheard(who, count)),
    ];
    prop::collection::vec(it, 1..80)
}

struct World {
    log: LocalLog,
    owners: Vec<Option<Owner>>,
    acknowledged: Vec<(u64, Vec<u8>)>,
    /// Makes nonces and bodies unique.
    next: u64,
}

impl World {
    fn new() -> Self {
        let log = LocalLog::new(Arc::new(MemoryStore::new()), P);
        Self { log, owners: vec![None, None, None], acknowledged: vec![], next: 0 }
    }

    fn unique(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Stores at the end only, as any log does that keeps positions dense.
    fn submit(&self, position: u64, bytes: &[u8]) -> bool {
        position == self.log.tail().unwrap()
            && self.log.submit(position, bytes).unwrap() == Inserted::Stored
    }

    fn play(&mut self, it: Move) {
        match it {
            Move::Read(who) => {
                let mut reader = RecordReader::new(&self.log, Fold::new(HERE, P));
                reader.by_ref().for_each(|records| drop(records.unwrap()));
                let fold = reader.into_fold();
                let owner = Owner { fold, fenced: false, sure: true, group: vec![] };
                self.owners[who] = Some(owner);
            }
            Move::Fence(who) => {
                let nonce = self.unique();
                let Some(mut owner) = self.owners[who].take_if(|owner| !owner.fenced) else {
                    return;
                };
                let bytes = owner.fold.new_fence(nonce, time(1));
                let at = owner.fold.position();
                if self.submit(at, &bytes) {
                    assert_eq!(offer(&mut owner.fold, at, &bytes).unwrap(), Effect::Adopted);
                    owner.fenced = true;
                    self.owners[who] = Some(owner);
                }
            }
            Move::Append(who, count, group) => {
                let Some(mut owner) = self.owners[who].take_if(|owner| owner.fenced) else {
                    return;
                };
                self.append(&mut owner, count, group);
                self.owners[who] = Some(owner);
            }
            Move::AppendUnheard(who, count) => {
                let Some(mut owner) = self.owners[who].take_if(|owner| owner.fenced) else {
                    return;
                };
                owner.sure = false;
                self.append(&mut owner, count, Group::Ends);
            }
        }
    }

    fn append(&mut self, owner: &mut Owner, count: u8, group: Group) {
        let mut chunk = ChunkBuilder::new(time(5));
        for lsn in (owner.fold.next_lsn().0..).take(count.into()) {
            let body = self.unique().to_be_bytes();
            chunk.push(time(5), 1, 1, &body);
            owner.group.push((lsn, body.to_vec()));
        }
        let (at, bytes) = owner.fold.seal(chunk, group);
        owner.sure &= self.submit(at, &bytes);
        if group == Group::Ends {
            let whole = std::mem::take(&mut owner.group);
            if owner.sure {
                self.acknowledged.extend(whole);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn whoever_appends_all_readers_agree_and_nothing_acknowledged_is_lost(moves in moves()) {
        let mut world = World::new();
        for it in moves {
            world.play(it);
        }
        let mut reader = RecordReader::new(&world.log, Fold::new(HERE, P));
        let mut read = Vec::new();
        let mut middle = None;
        while let Some(records) = reader.next() {
            read.extend(records.unwrap());
            middle.get_or_insert_with(|| (reader.state().clone(), read.len()));
        }
        let fold = reader.into_fold();
        for (record, lsn) in read.iter().zip(1..) {
            prop_assert_eq!(record.lsn, Lsn(lsn));
        }
        prop_assert_eq!(fold.last_lsn(), Lsn(u64::try_from(read.len()).unwrap()));
        prop_assert_eq!(fold.position(), world.log.tail().unwrap());
        for (lsn, body) in &world.acknowledged {
            prop_assert_eq!(&read[usize::try_from(*lsn).unwrap() - 1].body, body);
        }
        for record in &read {
            let found = record_at(&world.log, &fold, record.lsn).unwrap();
            prop_assert_eq!(found.as_ref(), Some(record));
        }
        prop_assert_eq!(record_at(&world.log, &fold, fold.last_lsn().next()).unwrap(), None);
        if let Some((saved, seen)) = middle {
            let rest: Vec<_> = RecordReader::new(&world.log, saved)
                .flat_map(|records| records.unwrap())
                .collect();
            prop_assert_eq!(&rest[..], &read[seen..]);
        }
    }
}
