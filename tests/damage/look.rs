//! What a process of its own sees of a damaged directory.

use std::{collections::BTreeMap, fs, path::Path};

use onward::engine::{
    doctor::{Examined, examine},
    recover,
    repair::{self, Repaired, repair},
    verify::verify,
};

use crate::original::{self, Manual, Records};

/// What became of it, as a line: a word, then the reason.
pub(crate) fn look(dir: &Path, records: &Records, is_read_first: bool) -> String {
    if is_read_first && let Some(verdict) = read(dir, records, "read") {
        return verdict;
    }
    let onward = match original::open(dir, &Manual::at("2026-02-01T00:00:00Z")) {
        Ok(onward) => onward,
        Err(error) => return format!("refused own {error}"),
    };
    for ticket in original::enter(&onward, 1_000_000) {
        if let Err(error) = ticket.wait() {
            let cause = onward.close().err().map_or(String::new(), |cause| cause.to_string());
            return format!("refused later {error} {cause}");
        }
    }
    if let Err(error) = onward.close() {
        return format!("refused close {error}");
    }
    read(dir, records, "again").unwrap_or_else(|| "correct".to_owned())
}

/// None where all is as it must be. The log may have more than it had.
fn read(dir: &Path, records: &Records, when: &str) -> Option<String> {
    let mut partition = match recover::read(dir, &original::limits()) {
        Ok(partition) => partition,
        Err(error) => return Some(format!("refused {when} {error}")),
    };
    let found = match Records::of(&partition) {
        Ok(found) => found,
        Err(error) => return Some(format!("refused {when}-log {error}")),
    };
    if let Some(at) = found.first_other(records, usize::MAX) {
        // What follows a lost tail is new.
        return Some(format!("lost {} {when}: record {at} is another", at - 1));
    }
    if found.base != records.base {
        return Some(format!("wrong {when}: the log begins after {}", found.base));
    }
    match verify(&mut partition) {
        Err(error) => Some(format!("refused {when}-verify {error}")),
        Ok(it) if it.difference_count > 0 => {
            Some(format!("wrong {when} {} {:?}", it.difference_count, it.differences.first()))
        }
        Ok(_) if found.end() < records.end() => {
            Some(format!("lost {} {when}: of {}", found.end(), records.end()))
        }
        Ok(_) => None,
    }
}

/// What `doctor` and `repair` make of it; none where both are right. The directory stays as it is.
pub(crate) fn mend(dir: &Path, records: &Records) -> Option<String> {
    let before = files(dir);
    let examined = examine(dir, &original::limits(), dir.parent().unwrap(), &mut |_| {});
    let to = dir.with_extension("new");
    let repaired = repair(dir, &to, &original::limits(), &mut |_, _| {});
    let wrong = judge(dir, &to, examined, repaired, records);
    if to.exists() {
        fs::remove_dir_all(&to).unwrap();
    }
    if files(dir) != before {
        return Some("mended they changed the directory".to_owned());
    }
    wrong.map(|wrong| format!("mended {wrong}"))
}

fn judge(
    dir: &Path,
    to: &Path,
    examined: onward::store::Result<Examined>,
    repaired: Result<Repaired, repair::Error>,
    records: &Records,
) -> Option<String> {
    let examined = match examined {
        Ok(examined) => examined,
        Err(error) => return Some(format!("doctor fails: {error}")),
    };
    // What a start would meet, on a copy, and what it leaves for a repair.
    let copy = dir.with_extension("start");
    original::copy(dir, &copy);
    let refused = recover::read(&copy, &original::limits()).err();
    let is_refused = refused.is_some();
    let left = is_refused.then(|| saved_after(&copy));
    fs::remove_dir_all(&copy).unwrap();
    if let (Some(error), true) = (refused, examined.findings.is_empty()) {
        return Some(format!("doctor finds nothing, but: {error}"));
    }
    let whole = usize::try_from(examined.records.0).unwrap();
    let repaired = match repaired {
        Ok(repaired) => repaired,
        Err(
            repair::Error::Nothing { .. }
            | repair::Error::NoBeginning { .. }
            | repair::Error::Store(_),
        ) if whole == 0 => return None,
        Err(error) => return Some(format!("repair fails: {error}")),
    };
    let saved = usize::try_from(repaired.saved.0).unwrap();
    if left.is_some_and(|left| left < repaired.saved.0) {
        return Some(format!("a start that was refused left {left:?} of {saved}"));
    }
    let mut partition = match recover::read(to, &original::limits()) {
        Ok(partition) => partition,
        Err(error) => return Some(format!("the new directory does not open: {error}")),
    };
    match verify(&mut partition) {
        Err(error) => return Some(format!("the new directory: {error}")),
        Ok(it) if it.difference_count > 0 => return Some(format!("differs: {it:?}")),
        Ok(_) => {}
    }
    let found = Records::of(&partition).unwrap();
    if found.first_other(records, saved).is_some() {
        return Some("the new directory has other records".to_owned());
    }
    // Two more say what is lost, or that nobody knows, and what the directory is called since.
    let more = if repaired.lost.is_some() || !repaired.has_head { 2 } else { 0 };
    if found.end() != saved + more || records.end() < saved || saved < whole {
        return Some(format!("{} records, {saved} saved, {whole} whole", found.end()));
    }
    let base = repaired.base.map_or(0, |it| usize::try_from(it.0).unwrap());
    (found.base != base).then(|| format!("begins after {}, as it says {base}", found.base))
}

/// How many records a repair saves of `dir`.
fn saved_after(dir: &Path) -> u64 {
    let to = dir.with_extension("again");
    let saved = repair(dir, &to, &original::limits(), &mut |_, _| {}).map_or(0, |it| it.saved.0);
    if to.exists() {
        fs::remove_dir_all(&to).unwrap();
    }
    saved
}

/// The bytes of every file, as far as they are telling.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let is_file = entry.file_type().unwrap().is_file();
        found.insert(name, if is_file { fs::read(entry.path()).unwrap() } else { Vec::new() });
    }
    found
}
