//! Chunks: the golden file, round trips, damage, arbitrary bytes.

use proptest::prelude::*;

use super::*;
use crate::store::golden;

fn stamp(continues: bool) -> Stamp {
    Stamp {
        instance: InstanceId(*b"0123456789abcdef"),
        partition: PartitionId(7),
        epoch: 3,
        nonce: 0x0102_0304_0506_0708,
        n: 41,
        first_lsn: Lsn(1_000),
        fence: 39,
        previous_crc: 0xdead_beef,
        continues,
    }
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

fn golden_chunk() -> (Vec<u8>, Vec<Record>) {
    let base = time(1_700_000_000_000_000);
    let mut chunk = ChunkBuilder::new(base);
    chunk.push(base, 1, 1, b"");
    chunk.push(base.plus(crate::base::Span::millis(300)), 0x0203, 4, b"hello");
    let records = vec![
        Record { lsn: Lsn(1_000), time: base, kind: 1, version: 1, body: vec![] },
        Record {
            lsn: Lsn(1_001),
            time: time(1_700_000_000_300_000),
            kind: 0x0203,
            version: 4,
            body: b"hello".to_vec(),
        },
    ];
    (chunk.finish(&stamp(true)), records)
}

#[test]
fn the_first_format_is_read_and_written_for_ever() {
    let (bytes, records) = golden_chunk();
    golden::check("chunk_v1.hex", &bytes);
    let chunk = decode(&golden::read("chunk_v1.hex")).unwrap();
    assert_eq!(chunk.records, records);
    let header = chunk.header;
    assert_eq!(header.kind, ChunkKind::Data);
    assert!(header.continues);
    assert_eq!(header.instance, InstanceId(*b"0123456789abcdef"));
    assert_eq!(header.partition, PartitionId(7));
    assert_eq!((header.epoch, header.nonce), (3, 0x0102_0304_0506_0708));
    assert_eq!((header.n, header.first_lsn, header.fence), (41, Lsn(1_000), 39));
    assert_eq!(header.base_time, time(1_700_000_000_000_000));
    assert_eq!((header.count, header.length), (2, 17));
    assert_eq!(header.previous_crc, 0xdead_beef);
}

/// What a program wrote whose compression may differ from ours: only reading it is for ever.
#[test]
fn the_first_compressed_format_is_read_for_ever() {
    let stored = golden::read("chunk_compressed_v1.hex");
    let chunk = decode(&stored).unwrap();
    assert!(chunk.header.compressed && !chunk.header.continues);
    assert_eq!(usize::try_from(chunk.header.length), Ok(stored.len() - HEADER_BYTES));
    assert_eq!(chunk.records, compressible(20).1);
}

/// A chunk of `count` records that are much alike.
fn compressible(count: u8) -> (ChunkBuilder, Vec<Record>) {
    let mut chunk = ChunkBuilder::new(time(9));
    let record = |number: u8| {
        let body = [b"a body that says the same: ".as_slice(), &[number]].concat();
        chunk.push(time(9), 5, 1, &body);
        let lsn = Lsn(1_000).plus(u64::from(number));
        Record { lsn, time: time(9), kind: 5, version: 1, body }
    };
    let records = (0..count).map(record).collect();
    (chunk, records)
}

#[test]
fn compression_is_there_where_it_pays_only() {
    let (few, _) = compressible(2);
    assert!(!peek(&few.finish(&stamp(false))).unwrap().compressed, "too few bytes");
    let (many, records) = compressible(200);
    let plain = many.len_bytes();
    let bytes = many.finish(&stamp(true));
    assert!(bytes.len() < plain / 2, "{} of {plain} bytes", bytes.len());
    assert_eq!(stated_length(&bytes), Some(bytes.len()));
    let read = decode(&bytes).unwrap();
    assert!(read.header.compressed && read.header.continues);
    assert_eq!(read.records, records);
    let mut noise = ChunkBuilder::new(time(9));
    let body: Vec<u8> =
        (0..400_u32).flat_map(|it| crc32c::crc32c(&it.to_be_bytes()).to_be_bytes()).collect();
    noise.push(time(9), 1, 1, &body);
    let plain = noise.len_bytes();
    let bytes = noise.finish(&stamp(false));
    assert_eq!((bytes.len(), peek(&bytes).unwrap().compressed), (plain, false), "nothing to gain");
}

#[test]
fn a_block_that_says_something_else_of_its_length_is_refused() {
    let stored = compressible(20).0.finish(&stamp(false));
    let length = u32::from_be_bytes(*stored[HEADER_BYTES..].first_chunk().unwrap());
    for stated in [0, length - 1, length + 1, u32::try_from(CHUNK_BYTES_MAX).unwrap() + 1, u32::MAX]
    {
        let mut bytes = stored.clone();
        bytes[HEADER_BYTES..HEADER_BYTES + 4].copy_from_slice(&stated.to_be_bytes());
        let refused = decode(&resealed(bytes)).unwrap_err();
        assert!(refused.0.starts_with("a block that"), "{stated}: {refused}");
    }
    let mut fence = fence(&stamp(false), time(5));
    fence[6] = COMPRESSED;
    assert!(decode(&resealed(fence)).is_err(), "a fence has nothing to unpack");
}

#[test]
fn a_fence_has_no_records() {
    let bytes = fence(&stamp(false), time(5));
    let chunk = decode(&bytes).unwrap();
    assert_eq!(chunk.header.kind, ChunkKind::Fence);
    assert_eq!(chunk.header.first_lsn, Lsn(1_000));
    assert_eq!(chunk.header.base_time, time(5));
    assert_eq!(chunk.records, vec![]);
    assert!(!chunk.header.covers(Lsn(1_000)));
}

#[test]
fn the_largest_record_fits_and_one_byte_more_does_not() {
    let mut chunk = ChunkBuilder::new(Timestamp::EPOCH);
    chunk.push(Timestamp::MAX, u16::MAX, u8::MAX, &vec![1; RECORD_BYTES_MAX]);
    let room = CHUNK_BYTES_MAX - chunk.len_bytes() - RECORD_EXTRA_MAX;
    assert!(chunk.has_room(room));
    assert!(!chunk.has_room(room + 1));
    chunk.push(Timestamp::MAX, 1, 1, &vec![2; room]);
    let bytes = chunk.finish(&stamp(false));
    assert!(bytes.len() <= CHUNK_BYTES_MAX);
    assert_eq!(decode(&bytes).unwrap().records.len(), 2);
}

/// The same bytes with a checksum that matches, so that the checks behind it are reached.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() >= HEADER_BYTES {
        let crc =
            crc32c::crc32c_append(crc32c::crc32c(&bytes[..CHECKED_BYTES]), &bytes[HEADER_BYTES..]);
        bytes[CHECKED_BYTES..HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
    }
    bytes
}

type Parts = (i64, u16, u8, Vec<u8>);

fn parts() -> impl Strategy<Value = Vec<Parts>> {
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        prop::collection::vec(Just(7), 0..300),
    ];
    let part = (0..=i64::from(u32::MAX), any::<u16>(), any::<u8>(), body);
    prop::collection::vec(part, 1..20)
}

proptest! {
    #[test]
    fn records_read_back_as_written(base in 0..1_i64 << 50, mut parts in parts(), continues: bool) {
        parts.sort();
        let mut chunk = ChunkBuilder::new(time(base));
        let mut expected = Vec::new();
        for (delta, kind, version, body) in parts {
            chunk.push(time(base + delta), kind, version, &body);
            let lsn = Lsn(1_000).plus(u64::try_from(expected.len()).unwrap());
            expected.push(Record { lsn, time: time(base + delta), kind, version, body });
        }
        let (length, count) = (chunk.len_bytes(), chunk.count());
        let bytes = chunk.finish(&stamp(continues));
        let read = decode(&bytes).unwrap();
        prop_assert_eq!(bytes.len() < length, read.header.compressed);
        prop_assert!(bytes.len() <= length);
        prop_assert_eq!(read.header.count, count);
        prop_assert_eq!(read.header.continues, continues);
        prop_assert_eq!(read.header.crc, stored_crc(&bytes));
        prop_assert_eq!(peek(&bytes).unwrap(), read.header);
        prop_assert_eq!(read.records, expected);
    }

    #[test]
    fn a_changed_byte_is_noticed(at in any::<prop::sample::Index>(), mask in 1_u8..) {
        let (mut bytes, _) = golden_chunk();
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        prop_assert!(decode(&bytes).is_err());
        prop_assert!(peek(&bytes).is_err());
    }

    #[test]
    fn a_cut_chunk_is_noticed(at in any::<prop::sample::Index>()) {
        let (bytes, _) = golden_chunk();
        prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn any_bytes_give_a_chunk_or_an_error(
        compressed: bool,
        tail in prop::collection::vec(any::<u8>(), 0..40),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut bytes =
            if compressed { compressible(20).0.finish(&stamp(false)) } else { golden_chunk().0 };
        bytes.extend(tail);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(chunk) = decode(&resealed(bytes.clone())) {
            prop_assert_eq!(chunk.records.len(), usize::try_from(chunk.header.count).unwrap());
        }
        let _ = decode(&bytes);
    }
}
