//! Pages: the golden file, round trips, splits, damage, arbitrary bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::store::golden;

/// A row that shows how often it was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Tally {
    pub(in crate::store) sum: u64,
    pub(in crate::store) expires: Timestamp,
    pub(in crate::store) padding: Vec<u8>,
}

impl Row for Tally {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sum.to_be_bytes());
        out.extend_from_slice(&self.expires.micros().to_be_bytes());
        out.extend_from_slice(&self.padding);
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = crate::base::Reader::new(bytes);
        let sum = reader.u64()?;
        let expires = Timestamp::from_micros(reader.i64()?).map_err(|_| Malformed("time"))?;
        Ok(Self { sum, expires, padding: reader.rest().to_vec() })
    }

    fn is_expired(&self, now: Timestamp) -> bool {
        self.expires <= now
    }
}

fn tally(sum: u64, padding: &[u8]) -> Tally {
    Tally { sum, expires: Timestamp::MAX, padding: padding.to_vec() }
}

fn put(page: &mut Page<Tally>, lsn: u64, key: &[u8], row: Tally) {
    page.change(Lsn(lsn), key, |it| *it = Some(row));
}

fn rows(page: &Page<Tally>) -> Vec<(Key, Tally)> {
    let mut rows = vec![];
    let ended = page.scan(&[], |key, row| {
        rows.push((key.clone(), row.clone()));
        Continue(())
    });
    assert_eq!(ended, Ok(Continue(())));
    rows
}

fn sum(page: &Page<Tally>, key: &[u8]) -> Option<u64> {
    rows(page).iter().find(|(it, _)| **it == *key).map(|(_, row)| row.sum)
}

fn reread(page: &Page<Tally>, now: Timestamp) -> Page<Tally> {
    let (key, value) = encode_page(page, now);
    assert_eq!(page_lower(&key).unwrap(), &**page.lower());
    decode_page(page.lower(), &value).unwrap()
}

fn golden_page() -> Page<Tally> {
    let mut page = Page::empty(Key::from_slice(b"c"));
    put(&mut page, 5, b"customer-1", tally(1, b"x"));
    put(&mut page, 6, b"customer-22", tally(2, b""));
    put(&mut page, 7, b"d", tally(0x0102, b"yz"));
    page
}

#[test]
fn the_first_format_is_read_and_written_for_ever() {
    let (key, value) = encode_page(&golden_page(), Timestamp::EPOCH);
    assert_eq!(key, b"pc");
    golden::check("page_v1.hex", &value);
    let page: Page<Tally> = decode_page(b"c", &golden::read("page_v1.hex")).unwrap();
    assert_eq!(page.lsn(), Lsn(7));
    assert_eq!(&**page.lower(), b"c");
    let expected = [
        (Key::from_slice(b"customer-1"), tally(1, b"x")),
        (Key::from_slice(b"customer-22"), tally(2, b"")),
        (Key::from_slice(b"d"), tally(0x0102, b"yz")),
    ];
    assert_eq!(rows(&page), expected);
}

#[test]
fn expired_rows_are_dropped_when_the_page_is_written() {
    let mut page = golden_page();
    let soon = Timestamp::from_micros(100).unwrap();
    put(&mut page, 8, b"customer-2", Tally { expires: soon, ..tally(3, b"") });
    assert_eq!(sum(&reread(&page, Timestamp::EPOCH), b"customer-2"), Some(3));
    let later = reread(&page, soon);
    assert_eq!(later.get(b"customer-2"), Found::Absent);
    assert_eq!(rows(&later).len(), 3);
    assert_eq!(sum(&page, b"customer-2"), Some(3));
}

#[test]
fn a_page_of_one_huge_row_stays_whole_and_is_storable() {
    let mut page = Page::empty(Key::default());
    let row = tally(1, &vec![7; ROW_BYTES_MAX - 16 - 3]);
    put(&mut page, 1, b"key", row.clone());
    assert!(page.split().is_none());
    let (_, value) = encode_page(&page, Timestamp::EPOCH);
    assert!(value.len() <= page.bytes());
    assert!(page.bytes() <= crate::base::limits::VALUE_BYTES_MAX);
    put(&mut page, 2, b"l", tally(2, b""));
    let right = page.split().unwrap();
    assert_eq!(rows(&page), [(Key::from_slice(b"key"), row)]);
    assert_eq!(rows(&right), [(Key::from_slice(b"l"), tally(2, b""))]);
}

#[test]
fn a_page_of_another_place_is_noticed() {
    let (_, value) = encode_page(&golden_page(), Timestamp::EPOCH);
    assert!(decode_page::<Tally>(b"customer-1", &value).is_ok());
    assert!(decode_page::<Tally>(b"customer-11", &value).is_err());
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0_u8..3, 0..5)
}

fn entries() -> impl Strategy<Value = Vec<(Vec<u8>, u64, Vec<u8>)>> {
    let padding = prop::collection::vec(any::<u8>(), 0..2_000);
    prop::collection::vec((key(), any::<u64>(), padding), 0..40)
}

proptest! {
    #[test]
    fn pages_read_back_as_written_and_split_without_loss(entries in entries()) {
        let mut page = Page::empty(Key::default());
        for (lsn, (key, sum, padding)) in (1..).zip(&entries) {
            put(&mut page, lsn, key, tally(*sum, padding));
        }
        let all = rows(&page);
        let mut parts = vec![page];
        let mut done: Vec<Page<Tally>> = vec![];
        while let Some(mut page) = parts.pop() {
            match page.split() {
                Some(right) => parts.extend([right, page]),
                None => done.push(page),
            }
        }
        let mut seen = vec![];
        for page in &done {
            let again = reread(page, Timestamp::EPOCH);
            prop_assert_eq!(rows(&again), rows(page));
            prop_assert_eq!(again.lsn(), page.lsn());
            prop_assert_eq!(again.bytes(), page.bytes());
            let (_, value) = encode_page(page, Timestamp::EPOCH);
            prop_assert!(value.len() <= page.bytes());
            prop_assert!(page.bytes() <= PAGE_BYTES_MAX || rows(page).len() == 1);
            seen.extend(rows(page));
        }
        prop_assert_eq!(seen, all);
        for pair in done.windows(2) {
            prop_assert!(rows(&pair[0]).last().unwrap().0 < pair[1].lower);
            prop_assert_eq!(&rows(&pair[1])[0].0, &pair[1].lower);
        }
    }

    #[test]
    fn a_page_is_a_map_whatever_of_it_is_stored(
        before in entries(),
        ops in prop::collection::vec((key(), 0..6_u8, any::<u64>()), 0..60),
    ) {
        let mut page = Page::empty(Key::default());
        let mut model = BTreeMap::new();
        for (key, sum, padding) in before {
            put(&mut page, 1, &key, tally(sum, &padding));
            model.insert(key, tally(sum, &padding));
        }
        page = reread(&page, Timestamp::EPOCH);
        for (lsn, (key, op, sum)) in (2..).zip(ops) {
            match op {
                0 => {
                    page.read(&key).unwrap();
                    prop_assert!(page.has_at_hand(&key));
                }
                1 => page.cool(),
                2 => {
                    encode_page(&page, Timestamp::EPOCH);
                    page.cool();
                }
                3 | 4 => {
                    page.read(&key).unwrap();
                    page.begin_change();
                    put(&mut page, lsn, &key, tally(sum, b"abc"));
                    model.insert(key, tally(sum, b"abc"));
                }
                _ => {
                    page.read(&key).unwrap();
                    page.begin_change();
                    page.change(Lsn(lsn), &key, |row| *row = None);
                    model.remove(&key);
                }
            }
            let all: Vec<_> = model.iter().map(|(k, row)| (Key::from_slice(k), row.clone())).collect();
            prop_assert_eq!(rows(&page), all);
            for key in model.keys() {
                prop_assert!(page.get(key) != Found::Absent);
            }
            let counted = (page.bytes(), page.memory());
            page.count();
            prop_assert_eq!((page.bytes(), page.memory()), counted);
            prop_assert!(page.value(&page.entries(Timestamp::EPOCH)).len() <= page.bytes());
        }
    }

    #[test]
    fn any_bytes_give_a_page_or_an_error(body in prop::collection::vec(any::<u8>(), 0..80)) {
        let value = frame::seal(MAGIC, VERSION, |out| out.extend_from_slice(&body));
        if let Ok(page) = decode_page::<Tally>(b"", &value)
            && page.check().is_ok()
        {
            prop_assert!(rows(&page).is_sorted_by(|a, b| a.0 < b.0));
        }
        prop_assert!(decode_page::<Tally>(b"", &body).is_err());
    }

    #[test]
    fn a_changed_byte_is_noticed(at in any::<prop::sample::Index>(), mask in 1_u8..) {
        let (_, mut value) = encode_page(&golden_page(), Timestamp::EPOCH);
        let at = at.index(value.len());
        value[at] ^= mask;
        prop_assert!(decode_page::<Tally>(b"c", &value).is_err());
    }
}
