//! The frame of every stored value but chunks: magic, version, body, CRC-32C.

use crate::base::{Malformed, Reader, planted::is_planted};

const CRC_BYTES: usize = 4;

/// Writes a value whose body `write` appends.
pub(super) fn seal(magic: [u8; 4], version: u8, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = magic.to_vec();
    out.push(version);
    write(&mut out);
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

/// The body of a value that [`seal`] wrote.
pub(super) fn open(magic: [u8; 4], version: u8, bytes: &[u8]) -> Result<Reader<'_>, Malformed> {
    let (sealed, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or(Malformed("cut short"))?;
    let mut reader = Reader::new(sealed);
    if reader.array()? != magic {
        return Err(Malformed("the first bytes are of another kind of value"));
    }
    let is_whole = crc32c::crc32c(sealed) == u32::from_be_bytes(*crc);
    if !is_whole && !is_planted!("frame_crc_unchecked") {
        return Err(Malformed("the checksum does not match"));
    }
    if reader.u8()? != version {
        return Err(Malformed("a version that this program does not know"));
    }
    Ok(reader)
}
