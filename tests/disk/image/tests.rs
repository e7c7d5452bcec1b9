//! The rules of power cuts, each shown on a few operations.

use std::collections::BTreeSet;

use super::*;

const FILE: Node = 2;
const DIR: Node = 3;

fn name(dir: Node, name: &str) -> Name {
    (dir, name.to_owned())
}

fn create(node: Node) -> Op {
    Op::Create { name: name(ROOT, "file"), node }
}

fn write(at: usize, byte: u8, count: usize) -> Op {
    Op::Write { node: FILE, at, bytes: vec![byte; count] }
}

fn sync(node: Node) -> Op {
    Op::Sync { node }
}

/// The file that is there after everything so far is safe.
fn file_of(byte: u8, count: usize) -> Vec<Op> {
    vec![create(FILE), write(0, byte, count), sync(FILE), sync(ROOT)]
}

/// Everything that cuts in this mode leave after these operations, by name.
fn images(ops: &[Op], mode: Mode) -> BTreeSet<BTreeMap<String, Vec<u8>>> {
    let mut replay = Replay::default();
    ops.iter().for_each(|op| replay.apply(op));
    let image = |seed| {
        let dir = scratch();
        replay.write_image(mode, &mut Random(seed), dir.path());
        let mut found = BTreeMap::new();
        collect(dir.path(), "", &mut found);
        found
    };
    (0..100).map(image).collect()
}

fn collect(dir: &Path, prefix: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            collect(&path, &format!("{name}/"), found);
        } else {
            found.insert(name, fs::read(path).unwrap());
        }
    }
}

fn all_images(ops: &[Op]) -> BTreeSet<BTreeMap<String, Vec<u8>>> {
    Mode::ALL.iter().flat_map(|mode| images(ops, *mode)).collect()
}

/// What the one file may hold, after these operations.
fn contents(ops: &[Op]) -> BTreeSet<Vec<u8>> {
    all_images(ops).into_iter().map(|mut image| image.remove("file").unwrap()).collect()
}

#[test]
fn what_is_synced_is_there_in_every_mode() {
    let ops = file_of(1, 1000);
    assert_eq!(contents(&ops), BTreeSet::from([vec![1; 1000]]));
}

#[test]
fn the_modes_at_the_ends_keep_nothing_and_everything() {
    let mut ops = file_of(1, 1000);
    ops.push(write(900, 2, 300));
    ops.push(Op::Rename { from: name(ROOT, "file"), to: name(ROOT, "moved"), node: FILE });
    let before = BTreeMap::from([("file".to_owned(), vec![1; 1000])]);
    assert_eq!(images(&ops, Mode::Nothing), BTreeSet::from([before]));
    let after = BTreeMap::from([("moved".to_owned(), [vec![1; 900], vec![2; 300]].concat())]);
    assert_eq!(images(&ops, Mode::Everything), BTreeSet::from([after]));
}

#[test]
fn sectors_are_kept_or_lost_one_by_one_and_never_mixed() {
    let mut ops = file_of(1, 2 * SECTOR);
    ops.push(write(100, 2, SECTOR));
    ops.push(write(200, 3, 10));
    let found = contents(&ops);
    let second = |byte| [vec![byte; 100], vec![1; SECTOR - 100]].concat();
    let (old, new) = (vec![1; SECTOR], [vec![1; 100], vec![2; SECTOR - 100]].concat());
    let mut newest = new.clone();
    newest[200..210].fill(3);
    let mut expected = BTreeSet::new();
    for first in [&old, &new, &newest] {
        for last in [second(1), second(2)] {
            expected.insert([first.clone(), last].concat());
        }
    }
    assert_eq!(found, expected);
}

#[test]
fn a_size_is_kept_or_lost_apart_from_the_bytes() {
    let mut ops = file_of(1, SECTOR);
    ops.push(write(SECTOR, 2, SECTOR));
    let old = vec![1; SECTOR];
    let zeros = [old.clone(), vec![0; SECTOR]].concat();
    let whole = [old.clone(), vec![2; SECTOR]].concat();
    assert_eq!(contents(&ops), BTreeSet::from([old, zeros, whole.clone()]));
    ops.push(sync(FILE));
    assert_eq!(contents(&ops), BTreeSet::from([whole.clone()]));
    ops.push(Op::Truncate { node: FILE, size: 10 });
    assert_eq!(contents(&ops), BTreeSet::from([whole, vec![1; 10]]));
    ops.extend([sync(FILE), write(0, 3, 5)]);
    let changed = [vec![3; 5], vec![1; 5]].concat();
    assert_eq!(contents(&ops), BTreeSet::from([vec![1; 10], changed]));
}

#[test]
fn a_torn_write_is_whole_before_and_lost_after() {
    let mut ops = file_of(0, 4 * SECTOR);
    ops.extend([write(0, 1, SECTOR), write(SECTOR, 2, 2 * SECTOR), write(3 * SECTOR, 3, SECTOR)]);
    for image in images(&ops, Mode::Torn) {
        let bytes = &image["file"];
        let there: Vec<bool> =
            bytes.chunks(SECTOR).map(|sector| sector.iter().all(|it| *it != 0)).collect();
        let of_second = there[1] || there[2];
        assert!(there[0] || !of_second, "the write before the torn one is there: {there:?}");
        assert!(there[1] && there[2] || !there[3], "the one after it is not: {there:?}");
    }
    assert!(images(&ops, Mode::Torn).len() > 4);
}

#[test]
fn a_file_without_a_synced_name_may_be_missing() {
    let ops = [create(FILE), write(0, 1, 10), sync(FILE)];
    let found = all_images(&ops);
    let there = BTreeMap::from([("file".to_owned(), vec![1; 10])]);
    assert_eq!(found, BTreeSet::from([BTreeMap::new(), there]));
}

#[test]
fn names_are_kept_or_lost_one_by_one_until_their_directory_is_synced() {
    let mut ops = vec![
        Op::Mkdir { name: name(ROOT, "dir"), node: DIR },
        Op::Create { name: name(DIR, "a"), node: 4 },
        Op::Create { name: name(DIR, "b"), node: 5 },
        sync(ROOT),
    ];
    let names = |ops: &[Op]| -> BTreeSet<Vec<String>> {
        all_images(ops).into_iter().map(|image| image.into_keys().collect()).collect()
    };
    let list = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let any =
        BTreeSet::from([list(&[]), list(&["dir/a"]), list(&["dir/b"]), list(&["dir/a", "dir/b"])]);
    assert_eq!(names(&ops), any);
    ops.push(sync(DIR));
    assert_eq!(names(&ops), BTreeSet::from([list(&["dir/a", "dir/b"])]));
    ops.push(Op::Rename { from: name(DIR, "a"), to: name(DIR, "b"), node: 4 });
    ops.push(Op::Unlink { name: name(DIR, "b") });
    let left =
        BTreeSet::from([list(&["dir/a", "dir/b"]), list(&["dir/a"]), list(&["dir/b"]), list(&[])]);
    assert_eq!(names(&ops), left);
    ops.push(sync(DIR));
    assert_eq!(names(&ops), BTreeSet::from([list(&[])]));
}

#[test]
fn an_exchange_of_names_happens_to_both_or_to_neither() {
    let mut ops = file_of(1, 10);
    let other = Op::Create { name: name(ROOT, "other"), node: 4 };
    let bytes = Op::Write { node: 4, at: 0, bytes: vec![2; 10] };
    ops.extend([other, bytes, sync(4), sync(ROOT)]);
    ops.push(Op::Exchange { one: (name(ROOT, "file"), 4), other: (name(ROOT, "other"), FILE) });
    let image = |file, other| {
        BTreeMap::from([("file".to_owned(), vec![file; 10]), ("other".to_owned(), vec![other; 10])])
    };
    assert_eq!(all_images(&ops), BTreeSet::from([image(1, 2), image(2, 1)]));
    ops.push(sync(ROOT));
    assert_eq!(all_images(&ops), BTreeSet::from([image(2, 1)]));
}
