//! The head: the golden file, its two slots, torn writes, damage.

use proptest::prelude::*;

use super::*;
use crate::store::golden;

fn state(lsn: u64) -> HeadState {
    HeadState {
        instance: InstanceId(*b"0123456789abcdef"),
        partition: PartitionId(2),
        epoch: 3,
        position: 4,
        lsn: Lsn(lsn),
        time: Timestamp::from_micros(1_700_000_000_000_000).unwrap(),
        alive: Timestamp::from_micros(1_700_000_600_000_000).unwrap(),
    }
}

fn read(dir: &Path) -> Option<HeadState> {
    Head::open(dir).unwrap().1
}

#[test]
fn the_format_is_read_and_written_for_ever() {
    let slot = encode(7, &state(5));
    assert_eq!(slot.len(), SLOT_BYTES);
    golden::check("head_v2.hex", &slot);
    assert_eq!(decode(&golden::read("head_v2.hex")).unwrap(), (7, state(5)));
}

#[test]
fn the_first_format_is_read_for_ever() {
    // It did not say when the engine was last alive.
    let first = HeadState { alive: state(5).time, ..state(5) };
    assert_eq!(decode(&golden::read("head_v1.hex")).unwrap(), (7, first));
}

#[test]
fn an_engine_is_alive_at_its_last_record_at_least() {
    let fold = Fold::new(InstanceId([0; 16]), PartitionId(2));
    let early = HeadState { time: state(1).alive, alive: state(1).time, ..state(1) };
    assert!(decode(&encode(1, &early)).is_err());
    assert_eq!(HeadState::of(&fold, state(1).alive).alive, state(1).alive);
}

#[test]
fn the_newest_slot_counts_over_any_number_of_writes_and_openings() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(read(dir.path()), None);
    for round in 0..3 {
        let (mut head, _) = Head::open(dir.path()).unwrap();
        for n in 1..4 {
            let lsn = round * 10 + n;
            head.write(&state(lsn)).unwrap();
            assert_eq!(read(dir.path()), Some(state(lsn)));
            assert_eq!(fs::metadata(dir.path().join("head")).unwrap().len(), 1024);
        }
    }
}

#[test]
fn a_torn_slot_leaves_the_other_and_two_are_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("head");
    let (mut head, _) = Head::open(dir.path()).unwrap();
    (1..=5).for_each(|lsn| head.write(&state(lsn)).unwrap());
    let whole = fs::read(&path).unwrap();
    for torn in 0..2_usize {
        let mut bytes = whole.clone();
        bytes[torn * SLOT_BYTES + 40] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let (mut head, found) = Head::open(dir.path()).unwrap();
        let found = found.unwrap().lsn;
        assert!(found == Lsn(4) || found == Lsn(5));
        // The next write goes over the torn slot, not over the one that is left.
        head.write(&state(6)).unwrap();
        let bytes = fs::read(&path).unwrap();
        let slots: Vec<u64> =
            bytes.chunks(SLOT_BYTES).map(|slot| decode(slot).unwrap().1.lsn.0).collect();
        assert!(slots.contains(&found.0) && slots.contains(&6), "{slots:?}");
    }
    fs::write(&path, [0; 1024]).unwrap();
    let error = Head::open(dir.path()).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[test]
fn a_log_that_lost_its_end_is_told_from_a_short_one() {
    let fold = Fold::new(InstanceId(*b"0123456789abcdef"), PartitionId(2));
    let empty = HeadState::of(&fold, Timestamp::EPOCH);
    assert_eq!(empty.lsn, Lsn(0));
    empty.check(&fold).unwrap();
    let error = state(5).check(&fold).unwrap_err().to_string();
    assert!(error.contains("ends at record 0, but record 5 was acknowledged at 2023-"), "{error}");
    let other = Fold::new(InstanceId([0; 16]), PartitionId(2));
    assert!(matches!(state(0).check(&other).unwrap_err(), Error::OtherInstance { .. }));
}

proptest! {
    #[test]
    fn a_changed_byte_is_noticed(at in 0..SLOT_BYTES, mask in 1_u8..) {
        let mut slot = encode(1, &state(1));
        slot[at] ^= mask;
        prop_assert!(decode(&slot).is_err());
    }

    #[test]
    fn any_bytes_give_a_state_or_an_error(body in prop::collection::vec(any::<u8>(), 0..100)) {
        let slot = frame::seal(MAGIC, VERSION, |out| out.extend_from_slice(&body));
        prop_assert!(decode(&slot).is_ok() || decode(&slot).is_err());
        prop_assert!(decode(&body).is_err());
    }
}
