//! What must hold for a whole directory whose store's file says anything, as it is read without sled.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    base::{Lsn, Reader, Timestamp},
    machine::row::Row,
    store::{
        Fold, HeadState, chunk,
        salvage::Salvage,
        segments::{self, segment_bytes},
        survey::survey,
    },
};

/// Segments of one input.
const SEGMENTS_MAX: u64 = 4;

/// Several segments, each with its length (u16) before it, are looked at and searched as those of a
/// directory: by whoever knows nothing, and by a head that says that all of it was acknowledged. What
/// is found lies in the file, and what can be saved is whole.
pub fn directory(data: &[u8]) {
    let dir = Scratch::new();
    let file = File::create(dir.0.join("db")).expect("a file of our own");
    let mut reader = Reader::new(data);
    let mut count = 0;
    while count < SEGMENTS_MAX
        && let Ok(length) = reader.u16()
        && let Ok(bytes) = reader.take(usize::from(length))
    {
        let at = count * segment_bytes();
        file.write_all_at(&with_header_crc(bytes), at).expect("a file of our own");
        count += 1;
    }
    // The last one ends where it does: what is not there is not searched.
    let length = count * segment_bytes();
    let owner = segments::chunks(data).map(|(_, _, header)| header).next();
    let head = owner.as_ref().map(|it| {
        let fold = Fold::new(it.instance, it.partition);
        HeadState { lsn: Lsn(u64::MAX), ..HeadState::of(&fold, Timestamp::EPOCH) }
    });
    for head in [None, head.as_ref()] {
        let found = survey(&dir.0, head).expect("a file of our own can be read");
        assert!(found.end.is_none_or(|end| end <= length), "it ends within the file");
        assert!(found.gaps.iter().all(|it| it.offset < length), "gaps lie within the file");
    }
    let found = Salvage::search::<Row>(&dir.0, owner.map(|it| it.instance), &mut |_| {});
    if let Some(saved) = found.expect("a file of our own can be read").log {
        for chunk in saved.chunks() {
            let (_, bytes) = chunk.expect("a file of our own can be read");
            assert!(chunk::decode(&bytes).is_ok(), "what is saved is whole");
        }
    }
}

/// The beginning of a segment with the right checksum of its header.
fn with_header_crc(bytes: &[u8]) -> Vec<u8> {
    match bytes.split_first_chunk::<4>().and_then(|(_, rest)| rest.split_at_checked(16)) {
        Some((checked, messages)) => {
            let crc = !crc32fast::hash(checked);
            [&crc.swap_bytes().to_be_bytes(), checked, messages].concat()
        }
        None => bytes.to_vec(),
    }
}

/// A directory that goes away.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("onward-check-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("there is room for a directory");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind is nobody's.
        let _ = fs::remove_dir_all(&self.0).is_ok();
    }
}
