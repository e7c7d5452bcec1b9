//! The records of a chunk as one LZ4 block: their length (u32), then the block.

use lz4_flex::block;

use crate::base::{Malformed, limits::CHUNK_BYTES_MAX};

const LENGTH_BYTES: usize = 4;
/// Fewer bytes stay as they are: there is little to gain, and somebody waits for such a chunk.
const WORTH_BYTES: usize = 256;

/// Puts the block for `records` after what `bytes` hold. Tells whether that was worth it; if not,
/// `bytes` are left alone.
pub(super) fn pack(records: &[u8], bytes: &mut Vec<u8>) -> bool {
    if records.len() < WORTH_BYTES {
        return false;
    }
    let length = u32::try_from(records.len()).expect("a chunk is far below 4 GiB");
    let begin = bytes.len();
    bytes.extend_from_slice(&length.to_be_bytes());
    let at = bytes.len();
    bytes.resize(at + block::get_maximum_output_size(records.len()), 0);
    let room = bytes.get_mut(at..).expect("the room was just made");
    let packed = block::compress_into(records, room).expect("the room is enough for any bytes");
    let worth_it = LENGTH_BYTES + packed < records.len();
    bytes.truncate(if worth_it { at + packed } else { begin });
    worth_it
}

/// The records of a block.
pub(super) fn unpack(stored: &[u8]) -> Result<Vec<u8>, Malformed> {
    let (length, block) = stored.split_first_chunk().ok_or(Malformed("cut short"))?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > CHUNK_BYTES_MAX {
        return Err(Malformed("a block that unpacks to more than a chunk may hold"));
    }
    let mut records = vec![0; length];
    match block::decompress_into(block, &mut records) {
        Ok(unpacked) if unpacked == length => Ok(records),
        Ok(_) => Err(Malformed("a block that unpacks to less than it says")),
        Err(_) => Err(Malformed("a block that does not unpack")),
    }
}
