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
    if count == 1 { dir.to_owned() } else { one_of_several(dir, partition.0) }
}

fn one_of_several(dir: &Path, number: u16) -> PathBuf {
    dir.join(format!("partition-{number}"))
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
    check_is_no_partition(dir)?;
    let found = match several(dir)? {
        Some(found) => Some(found),
        None => is_whole(dir)?.then_some(1),
    };
    match (found, asked.unwrap_or(1)) {
        (Some(found), expected) if asked.is_some() && found != expected => {
            Err(Error::PartitionCount { found, expected })
        }
        (Some(found), _) => check_all_there(dir, found).map(|()| found),
        (None, count) => {
            check_are_all(dir, count)?;
            if count > 1 {
                create(dir, count)?;
            }
            Ok(count)
        }
    }
}

/// Refuses one partition of a directory in the place of all of them.
fn check_is_no_partition(dir: &Path) -> Result<(), Error> {
    let dir = std::path::absolute(dir).map_err(Error::io("find", dir))?;
    let Some(whole) = dir.parent() else { return Ok(()) };
    // What is beside a directory of another name is no matter of ours.
    let number = (0..PARTITIONS_MAX).find(|it| one_of_several(whole, *it) == dir);
    let Some(number) = number else { return Ok(()) };
    match several(whole)? {
        Some(count) if number < count => {
            let whole = whole.to_owned();
            Err(Error::OnePartition { path: dir, whole })
        }
        _ => Ok(()),
    }
}

/// Refuses to make a new one in the place of a partition that was lost: the directories of all were made
/// before the file that says how many there are.
fn check_all_there(dir: &Path, count: u16) -> Result<(), Error> {
    for number in 0..count {
        let path = place(dir, PartitionId(number), count);
        if !there::is_dir(&path)? {
            return Err(Error::PartitionGone { path });
        }
    }
    Ok(())
}

/// Refuses partitions with data that nobody counts, unless as many are asked for as there are, which
/// is how several backups become a directory again.
fn check_are_all(dir: &Path, count: u16) -> Result<(), Error> {
    let mut found = Vec::new();
    for number in 0..PARTITIONS_MAX {
        if is_whole(&one_of_several(dir, number))? {
            found.push(number);
        }
    }
    if found.is_empty() || (count > 1 && found.iter().copied().eq(0..count)) {
        return Ok(());
    }
    Err(Error::Uncounted { path: dir.to_owned(), found })
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
    (0..count).try_for_each(|it| beside::create(&one_of_several(dir, it)))?;
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

    /// As a start of the engine makes it.
    fn fill(dir: &Path, number: u16) {
        fs::create_dir_all(one_of_several(dir, number)).unwrap();
        fs::write(one_of_several(dir, number).join("db"), "").unwrap();
    }

    #[test]
    fn a_partition_that_is_gone_is_not_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(open(dir.path(), Some(2)).unwrap(), 2);
        fill(dir.path(), 0);
        assert_eq!(open(dir.path(), None).unwrap(), 2, "killed before the second one was made");
        fs::remove_dir(one_of_several(dir.path(), 1)).unwrap();
        let error = open(dir.path(), None).unwrap_err();
        assert!(matches!(&error, Error::PartitionGone { path } if path.ends_with("partition-1")));
    }

    #[test]
    fn partitions_that_nobody_counts_are_refused_unless_as_many_are_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), 0);
        fill(dir.path(), 1);
        for asked in [None, Some(1), Some(3)] {
            let error = open(dir.path(), asked).unwrap_err().to_string();
            assert!(error.contains("partition-0, partition-1"), "{error}");
        }
        assert_eq!(several(dir.path()).unwrap(), None);
        assert_eq!(open(dir.path(), Some(2)).unwrap(), 2);
        assert_eq!(open(dir.path(), None).unwrap(), 2);
    }

    #[test]
    fn one_partition_is_not_taken_for_all() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(open(dir.path(), Some(2)).unwrap(), 2);
        let error = open(&dir.path().join("partition-1"), None).unwrap_err();
        assert!(matches!(&error, Error::OnePartition { whole, .. } if *whole == dir.path()));
        assert_eq!(open(&dir.path().join("partition-2"), None).unwrap(), 1, "it is none of them");
    }

    #[test]
    fn what_others_call_partitions_is_no_matter_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(NAME)).unwrap();
        for data in [NAME, "data"] {
            assert_eq!(open(&dir.path().join(data), None).unwrap(), 1, "{data}");
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
