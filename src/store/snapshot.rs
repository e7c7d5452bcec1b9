//! sled's snapshot, read without sled: how far it covers sled's log, and where the pages were.
//!
//! It is: one more than the place in sled's log (i64), one more than the offset of the segment that
//! was written to (varint), the pages in the order of their numbers, the length of all that (u64),
//! CRC-32 (u32). A page is the number of its parts, each with its place in the log (i64), a kind and
//! an offset (varint), for kind 1 the name of a file (i64), and its length (varint); zero parts are a
//! page that is free, with one part without a length. Integers are little-endian.
//!
//! **Architecture invariant:** any bytes give an answer; no more memory is asked for than they take.

use std::{collections::BTreeMap, path::Path};

use super::{
    Error,
    segments::{number, segment_bytes, varint},
    there,
};
use crate::base::bytes::Malformed;

/// A segment as a snapshot names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Named {
    /// Where it is in the file.
    pub(crate) offset: u64,
    /// Its place in sled's log.
    pub(crate) lsn: u64,
}

/// What a snapshot says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Up to where it covers sled's log.
    pub(crate) stable: u64,
    /// Whether the segment that this is in was to be gone on with.
    has_active: bool,
    /// The segments in use, each with the numbers of the pages that have parts in it.
    pub(crate) pages: BTreeMap<Named, Vec<u64>>,
}

impl Snapshot {
    /// Reads the snapshot at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        // A part of a page takes less here than four times its least message there.
        let db = there::look(&path.with_file_name("db"))?.map_or(0, |it| it.len());
        let max = db.saturating_mul(4).saturating_add(segment_bytes());
        let place = || path.display().to_string();
        let gone = || Error::malformed(place)(Malformed("it is gone"));
        let bytes = there::read(path, max)?.ok_or_else(gone)?;
        decode(&bytes).map_err(Error::malformed(place))
    }

    /// Where reading sled's log begins: with the segment that the snapshot ends in.
    pub(crate) fn from(&self) -> u64 {
        segment_of(self.stable)
    }

    /// The first segment in sled's log whose place was chosen after the snapshot.
    pub(crate) fn first_after(&self) -> u64 {
        if self.has_active {
            self.from() + segment_bytes()
        } else {
            self.stable.div_ceil(segment_bytes()) * segment_bytes()
        }
    }
}

/// What these bytes of a snapshot say.
pub(crate) fn decode(bytes: &[u8]) -> Result<Snapshot, Malformed> {
    const CUT: Malformed = Malformed("cut short");
    let (rest, crc) = bytes.split_last_chunk::<4>().ok_or(CUT)?;
    let (body, _length) = rest.split_last_chunk::<8>().ok_or(CUT)?;
    if u64::from(crc32fast::hash(body)) != number(crc) {
        return Err(Malformed("the checksum does not match"));
    }
    let mut rest = body;
    let stable = place(&mut rest).ok_or(CUT)?.saturating_sub(1);
    let has_active = varint(&mut rest).ok_or(CUT)? > 0;
    let mut pages: BTreeMap<Named, Vec<u64>> = BTreeMap::new();
    let mut page = 0;
    while let Some((parts, mut after)) = rest.split_first() {
        for _ in 0..*parts {
            let named = part(&mut after).ok_or(CUT)?;
            varint(&mut after).ok_or(CUT)?;
            pages.entry(named).or_default().push(page);
        }
        if *parts == 0 {
            // Nothing is read of a page that is free.
            part(&mut after).ok_or(CUT)?;
        }
        page += 1;
        rest = after;
    }
    Ok(Snapshot { stable, has_active, pages })
}

/// The segment that a part of a page is in.
fn part(rest: &mut &[u8]) -> Option<Named> {
    let lsn = segment_of(place(rest)?);
    let (kind, after) = rest.split_first()?;
    *rest = after;
    let offset = segment_of(within(varint(rest)?)?);
    if *kind == 1 {
        place(rest)?;
    }
    Some(Named { offset, lsn })
}

fn place(rest: &mut &[u8]) -> Option<u64> {
    let (place, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    within(number(place))
}

/// A place as sled counts it, which is never below zero.
fn within(place: u64) -> Option<u64> {
    i64::try_from(place).is_ok().then_some(place)
}

fn segment_of(at: u64) -> u64 {
    at / segment_bytes() * segment_bytes()
}

#[cfg(test)]
mod tests {
    //! What is read of any bytes.

    use proptest::prelude::*;

    use super::*;

    fn sealed(body: &[u8]) -> Vec<u8> {
        let mut sum = crc32fast::hash(body).to_be_bytes();
        sum.reverse();
        [body, [0; 8].as_slice(), &sum].concat()
    }

    /// A page in two segments, one that is free, and another.
    fn body() -> Vec<u8> {
        // A segment is two to the 23rd bytes.
        let part = |segment: u8, kind: u8| {
            let place = [0x64, 0, segment << 7, segment >> 1];
            [&place[..], &[0; 4], &[kind, 251], &place].concat()
        };
        let parts = [part(1, 0), vec![9], part(2, 1), vec![7; 8], vec![9], part(3, 0), part(1, 0)];
        let [first, length, second, blob, other, free, third] = parts;
        [
            &[0x41, 0, 0, 0, 0, 0, 0, 0, 9, 2][..],
            &[first, length, second, blob, other].concat(),
            &[0],
            &free,
            &[1],
            &third,
            &[9],
        ]
        .concat()
    }

    #[test]
    fn it_names_the_segments_of_every_page_that_is_not_free() {
        let read = decode(&sealed(&body())).unwrap();
        assert_eq!((read.stable, read.from(), read.first_after()), (64, 0, segment_bytes()));
        let named: Vec<_> = read.pages.iter().map(|(it, pages)| (it.offset, pages)).collect();
        let segment = segment_bytes();
        assert_eq!(named, [(segment, &vec![0, 2]), (2 * segment, &vec![0])]);
        assert!(read.pages.keys().all(|it| it.lsn == it.offset));
    }

    #[test]
    fn one_that_ends_within_a_page_is_cut_short() {
        let body = body();
        let whole: Vec<usize> =
            (0..=body.len()).filter(|end| decode(&sealed(&body[..*end])).is_ok()).collect();
        assert_eq!(whole, [9, 48, 63, 79]);
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(read) = decode(&sealed(&bytes)) {
                let parts: usize = read.pages.values().map(Vec::len).sum();
                prop_assert!(parts <= bytes.len() / 10, "a part takes ten bytes and more");
            }
        }
    }
}
