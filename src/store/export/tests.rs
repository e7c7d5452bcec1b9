//! Entries as bytes.

use super::*;
use crate::{
    base::{InstanceId, PartitionId, Timestamp},
    store::golden,
};

fn fold() -> Fold {
    Fold::new(InstanceId([3; 16]), PartitionId(0))
}

#[test]
fn the_first_format_is_read_and_written_for_ever() {
    let entries = [Entry::Fold(fold()), Entry::Chunk(7, b"the bytes of a chunk".to_vec())];
    for (entry, name) in entries.into_iter().zip(["export_fold_v1.hex", "export_chunk_v1.hex"]) {
        golden::check(name, &encode(&entry));
        assert_eq!(decode(&golden::read(name)), Ok(entry));
    }
}

#[test]
fn an_export_ends_anywhere_and_the_rest_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("export");
    let mut log = fold();
    let mut chunks = Vec::new();
    for nonce in 0..3 {
        let fence = log.new_fence(nonce, Timestamp::EPOCH);
        log.offer(log.position(), chunk::decode(&fence).unwrap()).unwrap();
        chunks.push(fence);
    }
    let write = || {
        let mut export = Export::open(&path, &fold(), 0)?;
        for position in export.end()..3 {
            export.append(chunks[usize::try_from(position).unwrap()].clone())?;
        }
        export.sync()
    };
    write().unwrap();
    let whole = std::fs::read(&path).unwrap();
    let beginning = LENGTH_BYTES + crate::base::bytes::length_of(&encode(&Entry::Fold(fold())));
    for cut in usize::try_from(beginning).unwrap()..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        write().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole, "cut at {cut}");
    }
    // The wrong chunk is refused before it is written.
    let mut export = Export::open(&path, &fold(), 0).unwrap();
    assert!(export.append(chunks[0].clone()).is_ok(), "a fence of an old epoch is void");
    assert!(matches!(export.append(b"no chunk".to_vec()), Err(Error::Damaged { .. })));
    // What the log has not any more is not cut off.
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(Export::open(&path, &fold(), 3), Err(Error::Damaged { .. })));
    assert_eq!(std::fs::read(&path).unwrap().len(), whole.len() - 1);
    std::fs::write(&path, &whole).unwrap();
    assert!(matches!(Export::open(&path, &fold(), 4), Err(Error::ExportGap { ends: 3, .. })));
    let other = Fold::new(InstanceId([4; 16]), PartitionId(0));
    assert!(matches!(Export::open(&path, &other, 0), Err(Error::OtherInstance { .. })));
}

#[test]
fn flipped_bits_give_an_entry_or_an_error() {
    for name in ["export_fold_v1.hex", "export_chunk_v1.hex"] {
        let bytes = golden::read(name);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit} of {name}");
            crate::check::export(&flipped);
        }
    }
}
