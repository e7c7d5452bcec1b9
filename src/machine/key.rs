//! Keys of rows: bytes whose order keeps what is read together side by side.
//!
//! | Row | Key |
//! |---|---|
//! | document part | `01`, hash (16), part (4) |
//! | customer | `02`, customer hash (8), `01`, customer id |
//! | activity | `02`, customer hash (8), `02`, id length (2), customer id, event name |
//! | remembered event id | `02`, customer hash (8), `03`, id length (2), customer id, fingerprint (16) |
//! | entry | `02`, customer hash (8), `04`, id length (2), customer id, flow (4), entry key |
//! | enrollment | `02`, customer hash (8), `05`, LSN (8) |
//! | remembered entry keys | `02`, customer hash (8), `06`, customer id |
//! | dead letter | `03`, LSN (8) |
//!
//! Everything of a customer shares the hash, so that one page serves an event. Two customers with
//! one hash share a neighbourhood, never a row. Integers are big-endian.

use crate::base::{ContentHash, CustomerId, EventId, Lsn, id::customer_hash};

use crate::base::bytes::KEY_SHORT_BYTES;
pub use crate::base::bytes::Key;

const DOCUMENT: u8 = 1;
const CUSTOMER_GROUP: u8 = 2;
const DEAD_LETTER: u8 = 3;

const CUSTOMER: u8 = 1;
const ACTIVITY: u8 = 2;
const SEEN: u8 = 3;
const ENTRY: u8 = 4;
const ENROLLMENT: u8 = 5;
const ENTRY_KEYS: u8 = 6;

/// The part of the document with this hash.
pub fn document(hash: ContentHash, part: u32) -> Key {
    let part = part.to_be_bytes();
    let parts: [&[u8]; 3] = [&[DOCUMENT], &hash.0, &part];
    joined(parts.iter())
}

/// The customer.
pub fn customer(id: &CustomerId) -> Key {
    in_group(customer_hash(id), CUSTOMER, &[id.as_str().as_bytes()])
}

/// What the customer did under this event name.
pub fn activity(id: &CustomerId, name: &str) -> Key {
    of_customer(id, ACTIVITY, &[name.as_bytes()])
}

/// That the customer's event with this id was accepted.
pub fn seen(id: &CustomerId, event: &EventId) -> Key {
    let fingerprint = ContentHash::of(event.as_str().as_bytes());
    of_customer(id, SEEN, &[&fingerprint.0])
}

/// The customer's entries into the flow with this entry key.
pub fn entry(id: &CustomerId, flow: u32, key: Option<&str>) -> Key {
    let flow = flow.to_be_bytes();
    match key {
        None => of_customer(id, ENTRY, &[&flow]),
        // The byte keeps "the customer is the key" apart from every text.
        Some(text) => of_customer(id, ENTRY, &[&flow, &[1], text.as_bytes()]),
    }
}

/// Which entry keys of the customer are remembered.
pub fn entry_keys(id: &CustomerId) -> Key {
    in_group(customer_hash(id), ENTRY_KEYS, &[id.as_str().as_bytes()])
}

/// The enrollment that began at `lsn`.
pub fn enrollment(place: u64, lsn: Lsn) -> Key {
    in_group(place, ENROLLMENT, &[&lsn.0.to_be_bytes()])
}

/// The dead letter of the record at `lsn`.
pub fn dead_letter(lsn: Lsn) -> Key {
    let lsn = lsn.0.to_be_bytes();
    let parts: [&[u8]; 2] = [&[DEAD_LETTER], &lsn];
    joined(parts.iter())
}

/// The first key of the dead letters and the first one after them.
pub fn dead_letters() -> (Key, Key) {
    (Key::from_slice(&[DEAD_LETTER]), Key::from_slice(&[DEAD_LETTER + 1]))
}

/// The first key of the enrollments in a customer's neighbourhood and the first one after them.
pub fn enrollments(place: u64) -> (Key, Key) {
    (in_group(place, ENROLLMENT, &[]), in_group(place, ENROLLMENT + 1, &[]))
}

/// The record that began the row, where its key says so: an enrollment or a dead letter.
pub fn began_at(key: &Key) -> Option<Lsn> {
    let says = match key.split_first()? {
        (&DEAD_LETTER, _) => true,
        (&CUSTOMER_GROUP, rest) => rest.get(8) == Some(&ENROLLMENT),
        _ => false,
    };
    key.last_chunk().filter(|_| says).map(|bytes| Lsn(u64::from_be_bytes(*bytes)))
}

fn of_customer(id: &CustomerId, kind: u8, rest: &[&[u8]]) -> Key {
    let text = id.as_str().as_bytes();
    let length = u16::try_from(text.len()).expect("an id has at most 256 bytes");
    let (place, length) = (customer_hash(id).to_be_bytes(), length.to_be_bytes());
    let start: [&[u8]; 5] = [&[CUSTOMER_GROUP], &place, &[kind], &length, text];
    joined(start.iter().chain(rest))
}

fn in_group(place: u64, kind: u8, rest: &[&[u8]]) -> Key {
    let place = place.to_be_bytes();
    let start: [&[u8]; 3] = [&[CUSTOMER_GROUP], &place, &[kind]];
    joined(start.iter().chain(rest))
}

/// The parts one after the other. Most keys are short, and are put together where they stay.
fn joined<'a>(parts: impl Iterator<Item = &'a &'a [u8]> + Clone) -> Key {
    let length = parts.clone().map(|part| part.len()).sum();
    let mut short = [0; KEY_SHORT_BYTES];
    if length > short.len() {
        return parts.flat_map(|part| part.iter().copied()).collect();
    }
    let mut rest = &mut short[..];
    for part in parts {
        let (room, after) = rest.split_at_mut(part.len());
        room.copy_from_slice(part);
        rest = after;
    }
    Key::from_buf_and_len(short, length)
}
