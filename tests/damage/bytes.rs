//! Changes to the bytes of a file; each says what it did.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use crate::random::Random;

fn file(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

pub(crate) fn read(path: &Path, at: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut got = 0;
    while got < len {
        match file(path).read_at(&mut bytes[got..], offset(at + got)).unwrap() {
            0 => break,
            more => got += more,
        }
    }
    bytes
}

pub(crate) fn write(path: &Path, at: usize, bytes: &[u8]) {
    file(path).write_all_at(bytes, offset(at)).unwrap();
}

fn offset(at: usize) -> u64 {
    u64::try_from(at).unwrap()
}

pub(crate) fn flip(path: &Path, at: usize, random: &mut Random) -> String {
    let bit = random.below(8);
    let byte = read(path, at, 1)[0] ^ (1 << bit);
    write(path, at, &[byte]);
    format!("bit {bit} of byte {at}")
}

pub(crate) fn flip_any(path: &Path, random: &mut Random) -> String {
    let len = usize::try_from(fs::metadata(path).unwrap().len()).unwrap();
    let at = random.below(len);
    flip(path, at, random)
}

pub(crate) fn zero(path: &Path, at: usize, length: usize) -> String {
    let len = usize::try_from(fs::metadata(path).unwrap().len()).unwrap();
    let length = length.min(len - at.min(len));
    write(path, at, &vec![0; length]);
    format!("{length} zeros at {at}")
}

pub(crate) fn cut(path: &Path, at: usize) -> String {
    file(path).set_len(offset(at)).unwrap();
    format!("{} cut at {at}", path.display())
}

pub(crate) fn swap(path: &Path, [a, b]: [usize; 2], length: usize) -> String {
    let (first, second) = (read(path, a, length), read(path, b, length));
    write(path, a, &second);
    write(path, b, &first);
    format!("{length} bytes at {a} and {b} swapped")
}

pub(crate) fn duplicate(path: &Path, [from, to]: [usize; 2], length: usize) -> String {
    write(path, to, &read(path, from, length));
    format!("{length} bytes at {from} again at {to}")
}

pub(crate) fn delete(path: &Path) -> String {
    fs::remove_file(path).unwrap();
    format!("no {}", path.display())
}
