//! An NDJSON file line by line, with the byte offset after each, in bounded memory.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use xxhash_rust::xxh3::Xxh3;

use crate::base::{
    ContentHash,
    bytes::{BYTE_ORDER_MARK, length_of},
    limits::LINE_BYTES_MAX,
};

const BUFFER_BYTES: usize = 256 * 1024;

/// One line without its end.
#[derive(Debug)]
pub(super) struct Line {
    /// Its bytes; cut just above the limit where it is longer, so that the reader says so.
    pub(super) bytes: Vec<u8>,
    /// The byte after its end.
    pub(super) offset: u64,
}

/// A file being read.
#[derive(Debug)]
pub(super) struct Lines {
    reader: BufReader<File>,
    offset: u64,
}

impl Lines {
    /// Reads from the byte at `offset`, which begins a line.
    pub(super) fn open(path: &Path, offset: u64) -> io::Result<Self> {
        let mut file = regular(path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Self { reader: BufReader::with_capacity(BUFFER_BYTES, file), offset })
    }

    /// The next line; the last one may lack its end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let mut any = false;
        loop {
            let buffer = self.reader.fill_buf()?;
            if self.offset == 0 && buffer.starts_with(BYTE_ORDER_MARK) {
                // It belongs to the first line, so that a file of nothing else has been read, too.
                self.reader.consume(BYTE_ORDER_MARK.len());
                self.offset = length_of(BYTE_ORDER_MARK);
                any = true;
                continue;
            }
            if buffer.is_empty() {
                return Ok(any.then_some(Line { bytes, offset: self.offset }));
            }
            any = true;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let length = end.unwrap_or(buffer.len());
            let room = (LINE_BYTES_MAX + 1).saturating_sub(bytes.len());
            bytes.extend(buffer.iter().take(length.min(room)));
            let used = length + usize::from(end.is_some());
            self.reader.consume(used);
            self.offset += u64::try_from(used).expect("a buffer is small");
            if end.is_some() {
                return Ok(Some(Line { bytes, offset: self.offset }));
            }
        }
    }
}

/// A file that has an end and can be read again: a pipe or a device has neither.
fn regular(path: &Path) -> io::Result<File> {
    if fs::metadata(path)?.is_file() {
        return File::open(path);
    }
    let why = "it is no regular file; write what it gives to one first";
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

/// What a file holds, up to one byte more than `max`.
pub(super) fn read_up_to(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let end = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let file = regular(path)?;
    let length = file.metadata()?.len().min(end);
    // All of it at once: growing would take it several times.
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(end).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The length and the hash of a whole file.
pub(super) fn identify(path: &Path) -> io::Result<(u64, ContentHash)> {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, regular(path)?);
    let mut hasher = Xxh3::new();
    let mut length = 0;
    loop {
        let buffer = reader.fill_buf()?;
        let used = buffer.len();
        if used == 0 {
            return Ok((length, ContentHash(hasher.digest128().to_be_bytes())));
        }
        hasher.update(buffer);
        reader.consume(used);
        length += u64::try_from(used).expect("a buffer is small");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn lines_end_where_the_offset_says() {
        let file = file(b"one\n\ntwo\r\nlast");
        let mut lines = Lines::open(file.path(), 0).unwrap();
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push((String::from_utf8(line.bytes).unwrap(), line.offset));
        }
        let expected = [("one", 4), ("", 5), ("two\r", 10), ("last", 14)];
        assert_eq!(found, expected.map(|(text, offset)| (text.to_owned(), offset)));
        let mut rest = Lines::open(file.path(), 5).unwrap();
        assert_eq!(rest.next().unwrap().unwrap().bytes, b"two\r");
    }

    #[test]
    fn a_byte_order_mark_is_part_of_the_first_line_and_not_of_what_it_says() {
        let longest = vec![b'x'; LINE_BYTES_MAX];
        for (content, first, end) in [
            (&b"\xef\xbb\xbf"[..], &b""[..], 3),
            (b"\xef\xbb\xbfone\ntwo", b"one", 7),
            (b"\xef\xbb\xbf\xef\xbb\xbf\n", b"\xef\xbb\xbf", 7),
            (&[&b"\xef\xbb\xbf"[..], &longest].concat(), &longest, LINE_BYTES_MAX + 3),
        ] {
            let file = file(content);
            let line = Lines::open(file.path(), 0).unwrap().next().unwrap().unwrap();
            assert_eq!((&*line.bytes, line.offset), (first, u64::try_from(end).unwrap()));
        }
        let file = file(b"one\n\xef\xbb\xbftwo");
        let mut lines = Lines::open(file.path(), 4).unwrap();
        assert_eq!(lines.next().unwrap().unwrap().bytes, b"\xef\xbb\xbftwo");
    }

    #[test]
    fn a_huge_line_is_cut_and_passed_over() {
        let mut content = vec![b'x'; 3 * BUFFER_BYTES];
        content.extend(b"\nnext\n");
        let file = file(&content);
        let mut lines = Lines::open(file.path(), 0).unwrap();
        assert_eq!(lines.next().unwrap().unwrap().bytes.len(), LINE_BYTES_MAX + 1);
        assert_eq!(lines.next().unwrap().unwrap().bytes, b"next");
        assert!(lines.next().unwrap().is_none());
    }

    #[test]
    fn a_files_identity_is_the_hash_of_its_bytes() {
        let content = vec![b'y'; BUFFER_BYTES + 17];
        let file = file(&content);
        let length = u64::try_from(content.len()).unwrap();
        assert_eq!(identify(file.path()).unwrap(), (length, ContentHash::of(&content)));
    }
}
