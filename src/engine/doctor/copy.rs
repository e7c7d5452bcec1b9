//! A copy of a directory that nobody else can read, and that goes away.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use crate::{
    engine::recover::random_instance,
    store::{self, beside, pulse, there},
};

/// The files that sled keeps large values in.
const BLOBS: &str = "blobs";

/// Bytes that are copied at once.
const PIECE_BYTES: u64 = 1024 * 1024;

/// The copy.
#[derive(Debug)]
pub(super) struct Copy(PathBuf);

impl Copy {
    /// Copies what the store has in `dir` to a new directory in `scratch`. Its name cannot be known
    /// before, so nobody can have put anything there.
    pub(super) fn of(dir: &Path, scratch: &Path) -> store::Result<Self> {
        beside::check_outside(scratch, dir)?;
        let mut files = files_of(dir, "")?;
        if there::is_dir(&dir.join(BLOBS))? {
            files.append(&mut files_of(dir, BLOBS)?);
        }
        beside::check_room(scratch, files.iter().map(|it| it.bytes).sum())?;
        let copy = Self(scratch.join(format!("onward-doctor-{}", random_instance())));
        for made in [copy.0.clone(), copy.0.join(BLOBS)] {
            let created = DirBuilder::new().mode(0o700).create(&made);
            created.map_err(store::Error::io("create", &made))?;
        }
        for Piece { name, .. } in &files {
            copy_file(&dir.join(name), &copy.0.join(name))?;
        }
        Ok(copy)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // Where this fails, a copy is left that nobody else can read.
        let _ = fs::remove_dir_all(&self.0).is_ok();
    }
}

/// A file of the store.
struct Piece {
    /// Where it is in the directory.
    name: PathBuf,
    bytes: u64,
}

fn files_of(dir: &Path, below: &str) -> store::Result<Vec<Piece>> {
    let mut found = Vec::new();
    let place = dir.join(below);
    for entry in fs::read_dir(&place).map_err(store::Error::io("read", &place))? {
        let name = entry.map_err(store::Error::io("read", &place))?.file_name();
        let is_ours = !below.is_empty() || beside::is_ours(&name.to_string_lossy());
        let name = Path::new(below).join(name);
        let there = there::look(&dir.join(&name))?.filter(|it| is_ours && it.is_file());
        found.extend(there.map(|it| Piece { name, bytes: it.len() }));
    }
    Ok(found)
}

/// Who may only read the original must be able to open the copy.
fn copy_file(from: &Path, to: &Path) -> store::Result<()> {
    let Some(mut original) = there::open(from)? else { return Ok(()) };
    let mut copy = File::create_new(to).map_err(store::Error::io("create", to))?;
    // Piece by piece, because a whole one may take longer than a disk has to answer.
    let mut piece = || io::copy(&mut (&mut original).take(PIECE_BYTES), &mut copy);
    while piece().map_err(store::Error::io("copy", from))? > 0 {
        pulse::beat();
    }
    Ok(())
}
