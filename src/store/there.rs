//! Whether something is there. A disk that does not answer is not taken for one that has nothing:
//! whoever finds nothing begins anew, and may write over what is there.

use std::{
    fs::{self, Metadata},
    io::ErrorKind,
    path::Path,
};

use super::{Error, pulse};

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
}
