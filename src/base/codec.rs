//! The one module that names bincode: bodies of records and rows as bytes and back.
//!
//! Little-endian, variable-length integers, trailing bytes rejected, always from a slice and
//! limited by its length, so that no length prefix can ask for memory the input does not have.

use bincode::Options;
use serde::{Serialize, de::DeserializeOwned};

use super::bytes::{Malformed, length_of};

/// Appends the encoding of `value` to `out`.
pub fn encode_into<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    options().serialize_into(out, value).expect("our types encode and memory does not refuse");
}

/// The encoding of `value`.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    encode_into(&mut out, value);
    out
}

/// How many bytes the encoding of `value` has.
pub fn encoded_len<T: Serialize>(value: &T) -> usize {
    let bytes = options().serialized_size(value).expect("our types encode");
    usize::try_from(bytes).expect("what is in memory has a size that fits")
}

/// The value that `bytes` encode, whole.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    options()
        .with_limit(length_of(bytes))
        .deserialize(bytes)
        .map_err(|_| Malformed("a body that is not of its kind and version"))
}

fn options() -> impl Options + Copy {
    bincode::DefaultOptions::new()
        .with_no_limit()
        .with_little_endian()
        .with_varint_encoding()
        .reject_trailing_bytes()
}
