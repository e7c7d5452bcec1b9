//! A directory of several partitions: a file that says how many, and a directory of data for each.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use super::{Error, StoreKind, beside, head, there};
use crate::base::{Malformed, PartitionId, limits::PARTITIONS_MAX};

const NAME: &str = "partitions";
/// What the file says before the count, which ends with the line.
const BEFORE: &str = "onward partitions ";
const BYTES_MAX: u64 = 64;

/// Where the data of a partition is in a directory of so many.
pub fn place(dir: &Path, partition: PartitionId, count: u16) -> PathBuf {
    let PartitionId(number) = partition;
    if count == 1 { dir.to_owned() } else { dir.join(format!("partition-{number}")) }
}

/// How many partitions a directory was created with, if it has several.
pub fn several(dir: &Path) -> Result<Option<u16>, Error> {
    let path = dir.join(NAME);
    let Some(bytes) = there::read(&path, BYTES_MAX)? else { return Ok(None) };
    let text = str::from_utf8(&bytes).ok();
    let count = text.and_then(|it| it.strip_prefix(BEFORE)?.strip_suffix('\n')?.parse().ok());
    let count = count.filter(|count| (2..=PARTITIONS_MAX).contains(count));
    let malformed = || Malformed("it does not say how many partitions there are");
    count.map(Some).ok_or_else(|| Error::malformed(|| path.display().to_string())(malformed()))
}

/// How many partitions the directory has: as it was created, or now is, with as many as `asked` for;
/// one where nobody says.
pub fn open(dir: &Path, asked: Option<u16>) -> Result<u16, Error> {
    if let Some(expected) = asked.filter(|it| !(1..=PARTITIONS_MAX).contains(it)) {
        return Err(Error::PartitionsAsked { asked: expected });
    }
    let found = match several(dir)? {
        Some(found) => Some(found),
        None => is_whole(dir)?.then_some(1),
    };
    match (found, asked.unwrap_or(1)) {
        (Some(found), expected) if asked.is_some() && found != expected => {
            Err(Error::PartitionCount { found, expected })
        }
        (Some(found), _) => Ok(found),
        (None, 1) => Ok(1),
        (None, count) => create(dir, count).map(|()| count),
    }
}

/// Says that whoever wants the data of one partition must name it, where there are several.
pub(super) fn check_one(dir: &Path) -> Result<(), Error> {
    several(dir)?.map_or(Ok(()), |count| Err(Error::Partitioned { path: dir.to_owned(), count }))
}

/// Whether it holds the data of its only partition.
fn is_whole(dir: &Path) -> Result<bool, Error> {
    Ok(StoreKind::find(dir)?.is_some() || there::is_any(&dir.join(head::NAME))?)
}

fn create(dir: &Path, count: u16) -> Result<(), Error> {
    beside::create(dir)?;
    let (unfinished, path) = (dir.join("partitions.new"), dir.join(NAME));
    let mut file = there::create_anew(&unfinished)?;
    file.write_all(format!("{BEFORE}{count}\n").as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(Error::io("write", &unfinished))?;
    fs::rename(&unfinished, &path).map_err(Error::io("rename", &unfinished))?;
    beside::sync(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_fixed_when_the_directory_is_created() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        assert_eq!(open(&data, None).unwrap(), 1, "a new one has one, and is not created yet");
        assert_eq!(open(&data, Some(3)).unwrap(), 3);
        assert_eq!((open(&data, None).unwrap(), open(&data, Some(3)).unwrap()), (3, 3));
        let error = open(&data, Some(2)).unwrap_err().to_string();
        assert!(error.contains("has 3 partitions, not 2"), "{error}");
        let error = check_one(&data).unwrap_err().to_string();
        assert!(error.contains("partition-0"), "{error}");
        for asked in [0, PARTITIONS_MAX + 1] {
            assert!(matches!(open(&data, Some(asked)), Err(Error::PartitionsAsked { .. })));
        }
    }

    #[test]
    fn a_directory_of_one_stays_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("db"), "").unwrap();
        let error = open(dir.path(), Some(2)).unwrap_err();
        assert!(matches!(error, Error::PartitionCount { found: 1, expected: 2 }), "{error}");
        assert_eq!(open(dir.path(), Some(1)).unwrap(), 1);
    }

    #[test]
    fn a_file_that_says_something_else_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        for text in
            ["", "onward partitions 2", "onward partitions 1\n", "onward partitions x\n", "2\n"]
        {
            fs::write(dir.path().join(NAME), text).unwrap();
            assert!(matches!(open(dir.path(), None), Err(Error::Damaged { .. })), "{text:?}");
        }
        fs::write(dir.path().join(NAME), [b'x'; 65]).unwrap();
        assert!(open(dir.path(), None).is_err());
    }
}
