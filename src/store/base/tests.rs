//! What a base keeps, when it is in force, and what is swept away.

use super::*;
use crate::{
    base::{InstanceId, PartitionId},
    store::{
        ChunkBuilder, Group, LocalLog, MemoryStore, Table, checkpoint, chunk, golden,
        page::{encode_page, tests::Tally},
    },
};
use std::sync::Arc;

const ALL: usize = usize::MAX;

/// A log of so many chunks of one record each, and its fold.
fn logged(store: &MemoryStore, chunks: u64) -> (LocalLog, Fold) {
    let log = LocalLog::new(Arc::new(store.clone()), PartitionId(0));
    let mut fold = Fold::new(InstanceId([3; 16]), PartitionId(0));
    let fence = fold.new_fence(1, Timestamp::EPOCH);
    let _ = log.submit(0, &fence).unwrap();
    fold.offer(0, chunk::decode(&fence).unwrap()).unwrap();
    for _ in 0..chunks {
        let mut chunk = ChunkBuilder::new(Timestamp::EPOCH);
        chunk.push(Timestamp::EPOCH, 1, 1, b"body");
        let (position, bytes) = fold.seal(chunk, Group::Ends);
        let _ = log.submit(position, &bytes).unwrap();
    }
    (log, fold)
}

fn at(fold: &Fold) -> CheckpointState {
    let (memory, _) = checkpoint::memory_entries(fold.last_lsn(), b"");
    CheckpointState { at: fold.last_lsn(), fold: fold.clone(), time: Timestamp::EPOCH, memory }
}

/// Rows in as many pages as it takes, in the store.
fn rows(store: &MemoryStore, count: u64) {
    let mut table = Table::new();
    for n in 1..=count {
        let key = n.to_be_bytes();
        table.fetch(store, [key]).unwrap();
        table.update(Lsn(n), &key, |row| {
            *row = Some(Tally { sum: n, expires: Timestamp::MAX, padding: vec![b'x'; 100] });
        });
    }
    for page in table.checkpoint() {
        let (key, value) = encode_page(&page, Timestamp::EPOCH);
        store.put(Tree::Rows, &key, &value).unwrap();
    }
}

fn write(store: &MemoryStore, fold: &Fold, copy_bytes: usize) -> BaseState {
    let memory = vec![7; MEMORY_PART_BYTES + 1];
    let mut writer = BaseWriter::<Tally>::new(&at(fold), &memory, copy_bytes);
    let mut slices = 0;
    while !writer.is_whole() {
        // Until it is recorded there is no such base.
        assert!(list(store).unwrap().iter().all(|it| it.at != fold.last_lsn()));
        writer.write(store, store, 1).unwrap();
        slices += 1;
    }
    assert!(slices > 2);
    let state = writer.record(store).unwrap();
    assert_eq!(state.memory(store).unwrap(), memory);
    state
}

fn parts(store: &MemoryStore) -> usize {
    let mut after = PREFIX.to_vec();
    let mut count = 0;
    while let Some((key, _)) = store.above(Tree::Meta, &after).unwrap() {
        count += 1;
        after = key;
    }
    count
}

#[test]
fn a_base_knows_its_rows_and_keeps_copies_of_few() {
    let store = MemoryStore::new();
    rows(&store, 300);
    let (_, small) = logged(&store, 1);
    let (_, large) = logged(&store, 2);
    let copied = write(&store, &small, ALL);
    let counted = write(&store, &large, 10_000);
    assert_eq!((copied.rows, counted.rows), (300, 300));
    assert_eq!(copied.digest, counted.digest);
    assert!(copied.has_copies() && !counted.has_copies());
    assert_eq!(list(&store).unwrap(), [copied.clone(), counted.clone()]);
    let copy = MemoryStore::new();
    copied.each_copy(&store, &mut |key, value| copy.put(Tree::Rows, key, value)).unwrap();
    let mut digest = Digest::new(Timestamp::EPOCH);
    let mut pages = StoredPages::default();
    while let Some(stored) = pages.next::<Tally>(&copy).unwrap() {
        digest.add_page(&stored.page).unwrap();
    }
    assert_eq!(digest.finish(), (copied.rows, copied.digest));
    // Copies that have become too many go with the first sweep.
    let before = parts(&store);
    while !sweep(&store, Lsn::ZERO, 10).unwrap() {}
    assert!(parts(&store) < before);
    assert_eq!(list(&store).unwrap(), [copied.clone(), counted]);
    copied.each_copy(&store, &mut |_, _| Ok(())).unwrap();
}

#[test]
fn a_digest_tells_rows_apart() {
    let row = |padding: &str, expires| Tally { sum: 1, expires, padding: padding.into() };
    let digest = |rows: &[(&str, &str)]| {
        let mut digest = Digest::new(Timestamp::EPOCH);
        rows.iter().for_each(|(key, text)| digest.add(key.as_bytes(), &row(text, Timestamp::MAX)));
        // What has expired is as good as gone.
        digest.add(b"z", &row("", Timestamp::EPOCH));
        digest.finish()
    };
    let all = digest(&[("a", "bc"), ("d", "e")]);
    assert_eq!(all.0, 2);
    let rest = [&[0, 0, 0, 0, 0, 0, 0, 1][..], &Timestamp::MAX.micros().to_be_bytes()].concat();
    let bytes = [b"\x01a\x12", &rest[..], b"bc\x01d\x11", &rest, b"e"].concat();
    assert_eq!(all.1, ContentHash::of(&bytes));
    assert_eq!(all.1.to_string(), "25e8866e3adac68d050e291844bbadef");
    for other in [&[("ab", "c"), ("d", "e")][..], &[("a", "bc"), ("d", "f")], &[("a", "bc")]] {
        assert_ne!(digest(other), all);
    }
}

#[test]
fn sweeping_takes_older_bases_and_parts_of_none_and_nothing_else() {
    let store = MemoryStore::new();
    rows(&store, 300);
    store.put(Tree::Meta, b"barge", b"before").unwrap();
    store.put(Tree::Meta, b"checkpoint", b"after").unwrap();
    let folds: Vec<Fold> = (1..=3).map(|chunks| logged(&store, chunks).1).collect();
    write(&store, &folds[0], ALL);
    let kept = write(&store, &folds[1], ALL);
    // A crash came before the third was recorded.
    let mut writer = BaseWriter::<Tally>::new(&at(&folds[2]), b"memory", ALL);
    writer.write(&store, &store, ALL).unwrap();
    assert_eq!(list(&store).unwrap().len(), 2);
    let mut slices = 0;
    while !sweep(&store, kept.at, 3).unwrap() {
        slices += 1;
        let states = list(&store).unwrap();
        // The state goes first and alone.
        assert_eq!(states.len(), 1);
    }
    assert!(slices > 2);
    assert_eq!(list(&store).unwrap(), std::slice::from_ref(&kept));
    kept.each_copy(&store, &mut |_, _| Ok(())).unwrap();
    let pages = 1 + kept.copies.unwrap() + u64::from(kept.memory_parts);
    assert_eq!(u64::try_from(parts(&store)).unwrap(), pages + 1);
    assert_eq!(store.get(Tree::Meta, b"barge").unwrap().unwrap(), b"before");
}

#[test]
fn a_log_starts_at_the_oldest_base_that_its_first_chunk_allows() {
    let store = MemoryStore::new();
    let empty = Fold::new(InstanceId([3; 16]), PartitionId(0));
    let (log, fold) = logged(&store, 9);
    let find = || Start::find(&store, &log, empty.clone());
    let [one, two] = [3, 6].map(|chunks| write(&store, &logged(&MemoryStore::new(), chunks).1, 0));
    assert_eq!(find().unwrap(), Start::Whole(empty.clone()));
    // However far trimming to the first one has come.
    for below in 1..=one.fold.position() {
        assert!(log.trim(below, ALL).unwrap());
        assert_eq!(find().unwrap(), Start::Base(Box::new(one.clone())));
    }
    assert!(log.trim(one.fold.position() + 1, ALL).unwrap());
    assert_eq!(find().unwrap().at(), two.at);
    let reader = crate::store::RecordReader::new(&log, find().unwrap().fold().clone());
    let records: Vec<_> = reader.flat_map(Result::unwrap).map(|it| it.lsn.0).collect();
    assert_eq!(records, [7, 8, 9]);
    forget_above(&store, Lsn(5)).unwrap();
    let error = find().unwrap_err().to_string();
    assert!(error.contains("begins at position 5, and no base says"), "{error}");
    assert_eq!(fold.last_lsn(), Lsn(9));
}

#[test]
fn damage_of_a_base_is_noticed() {
    let store = MemoryStore::new();
    rows(&store, 300);
    let base = write(&store, &logged(&store, 2).1, ALL);
    store.remove(Tree::Meta, &memory_key(base.at, 1)).unwrap();
    assert!(base.memory(&store).unwrap_err().to_string().contains("is gone"));
    store.put(Tree::Meta, &memory_key(base.at, 1), b"8").unwrap();
    assert!(base.memory(&store).unwrap_err().to_string().contains("checksum"));
    let (copy, _) = store.above(Tree::Meta, &part_key(base.at, ROWS, &[])).unwrap().unwrap();
    store.remove(Tree::Meta, &copy).unwrap();
    let error = base.each_copy(&store, &mut |_, _| Ok(())).unwrap_err().to_string();
    assert!(error.contains("copies of its rows are gone"), "{error}");
    let moved = encode(&BaseState { at: Lsn(1), ..base.clone() });
    assert_eq!(decode(&moved), Err(Malformed("a fold that is not at its record")));
    store.put(Tree::Meta, &state_key(Lsn(9)), &encode(&base)).unwrap();
    assert!(list(&store).unwrap_err().to_string().contains("it says another record"));
    store.put(Tree::Meta, &state_key(base.at), b"ONWB").unwrap();
    assert!(matches!(list(&store), Err(Error::Damaged { .. })));
    // Nothing of a base that cannot be read is taken for a part of none.
    assert!(matches!(sweep(&store, Lsn::ZERO, ALL), Err(Error::Damaged { .. })));
}

#[test]
fn the_first_format_is_read_and_written_for_ever() {
    let mut state = write(&MemoryStore::new(), &logged(&MemoryStore::new(), 2).1, ALL);
    (state.rows, state.digest) = (300, ContentHash([0xd1; 16]));
    golden::check("base_v1.hex", &encode(&state));
    assert_eq!(decode(&golden::read("base_v1.hex")), Ok(state));
}

#[test]
fn flipped_bits_give_a_state_or_an_error() {
    let bytes = golden::read("base_v1.hex");
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&flipped).is_err(), "bit {bit}");
        crate::check::base(&flipped);
    }
}
