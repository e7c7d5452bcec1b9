//! Whether something is there. A disk that does not answer is not taken for one that has nothing:
//! whoever finds nothing begins anew, and may write over what is there.

use std::{
    fs::{self, File, Metadata},
    io::{ErrorKind, Read},
    path::Path,
};

use rustix::fs::{Mode, OFlags};

use super::{Error, pulse};
use crate::base::{Malformed, bytes::length_of};

/// What is at `path`, links followed, if anything is.
pub(crate) fn look(path: &Path) -> Result<Option<Metadata>, Error> {
    use ErrorKind::{NotADirectory, NotFound};
    let found = fs::metadata(path);
    pulse::beat();
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(None),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}

/// Whether anything is at `path`.
pub(crate) fn is_any(path: &Path) -> Result<bool, Error> {
    look(path).map(|found| found.is_some())
}

/// Whether a file is at `path`.
pub(crate) fn is_file(path: &Path) -> Result<bool, Error> {
    look(path).map(|found| found.is_some_and(|it| it.is_file()))
}

/// Whether a directory is at `path`.
pub(crate) fn is_dir(path: &Path) -> Result<bool, Error> {
    look(path).map(|found| found.is_some_and(|it| it.is_dir()))
}

/// Whether a file is at `path`, which nothing else may be.
pub(crate) fn is_file_or_absent(path: &Path) -> Result<bool, Error> {
    match look(path)? {
        None => Ok(false),
        Some(it) if it.is_file() => Ok(true),
        Some(_) => Err(no_file(path)),
    }
}

fn no_file(path: &Path) -> Error {
    Error::malformed(|| path.display().to_string())(Malformed("it is no file"))
}

/// Opens the file at `path` for reading, if anything is there. Others may have put there what is no
/// file, and opening a pipe would wait for somebody to write to it.
pub(crate) fn open(path: &Path) -> Result<Option<File>, Error> {
    if !is_file_or_absent(path)? {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(
        rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| Error::io("open", path)(errno.into()))?,
    );
    let is_file = file.metadata().map_err(Error::io("look at", path))?.is_file();
    if is_file { Ok(Some(file)) } else { Err(no_file(path)) }
}

/// What the file at `path` holds, if anything is there: at most `max` bytes, because what others may
/// have put there has any length.
pub(crate) fn read(path: &Path, max: u64) -> Result<Option<Vec<u8>>, Error> {
    let Some(file) = open(path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if max < length_of(&bytes) {
        let why = Malformed("it is longer than such a file can be");
        return Err(Error::malformed(|| path.display().to_string())(why));
    }
    Ok(Some(bytes))
}

/// Makes the file at `path` instead of what an interrupted writer has left there. A link there is
/// not followed.
pub(crate) fn create_anew(path: &Path) -> Result<File, Error> {
    let created = match File::create_new(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path).map_err(Error::io("remove", path))?;
            File::create_new(path)
        }
        other => other,
    };
    created.map_err(Error::io("create", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_looked_at_is_not_absent() {
        let dir = tempfile::tempdir().unwrap();
        let [file, absent, round] = ["file", "absent", "round"].map(|name| dir.path().join(name));
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&round, &round).unwrap();
        let ask =
            |path: &Path| is_any(path).and_then(|any| Ok([any, is_file(path)?, is_dir(path)?]));
        assert_eq!(ask(dir.path()).unwrap(), [true, false, true]);
        assert_eq!(ask(&file).unwrap(), [true, true, false]);
        assert_eq!(ask(&absent).unwrap(), [false; 3]);
        assert_eq!(ask(&file.join("below")).unwrap(), [false; 3]);
        let error = ask(&round).unwrap_err();
        assert!(matches!(&error, Error::Io { path, .. } if *path == round), "{error}");
    }

    #[test]
    fn only_files_are_read_and_no_more_of_them_than_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let [file, absent, pipe] = ["file", "absent", "pipe"].map(|name| dir.path().join(name));
        fs::write(&file, "four").unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0)
            .unwrap();
        assert_eq!(read(&file, 4).unwrap().unwrap(), b"four");
        assert_eq!(read(&absent, 4).unwrap(), None);
        let why = |path: &Path| read(path, 3).unwrap_err().to_string();
        assert!(why(&file).contains("longer than such a file can be"), "{}", why(&file));
        for path in [&*pipe, dir.path(), Path::new("/dev/zero")] {
            assert!(why(path).contains("it is no file"), "{}", why(path));
        }
    }

    #[test]
    fn what_a_writer_has_left_is_replaced_and_no_link_followed() {
        let dir = tempfile::tempdir().unwrap();
        let [file, link] = ["file", "link"].map(|name| dir.path().join(name));
        fs::write(&file, "kept").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        create_anew(&link).unwrap();
        create_anew(&link).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"kept");
        assert!(fs::symlink_metadata(&link).unwrap().is_file());
    }
}
