//! Directories of many segments: sled clears those that are free whenever it opens, and whatever an
//! operator does, nothing of that is damage.

use std::{fmt::Write, fs, path::Path};

use onward::store::{Directory, Tree};
use serde_json::json;

use super::{Desk, end, onward, signup, wait, welcome};

const CUSTOMERS: usize = 90;
const SEGMENT: usize = 8 * 1024 * 1024;
/// Checkpoints come often, and pages are written again and again.
const LIMITS: &str = "cache_bytes=4000000,checkpoint_records=60";

/// Text that no compression makes much smaller.
fn noise(seed: &str) -> String {
    (0..2_500).fold(String::new(), |mut text, number| {
        let part = crc32c::crc32c(format!("{seed} {number}").as_bytes());
        write!(text, "{part:08x}").unwrap();
        text
    })
}

/// Every customer once more, each with much that is told.
fn updates(round: usize) -> String {
    (0..CUSTOMERS).fold(String::new(), |mut lines, number| {
        let note = noise(&format!("{round}-{number}"));
        let line = json!({ "id": format!("c{number}"), "email": "someone@example.com",
            "attributes": { "note": note } });
        writeln!(lines, "{line}").unwrap();
        lines
    })
}

fn large() -> Desk {
    let desk = Desk::new();
    desk.file("defs.json", welcome(&[wait(1, "2d")]).to_string());
    desk.file("customers.ndjson", updates(0));
    desk.file("events.ndjson", signup("e1", "c1", "2026-01-01T00:00:00Z"));
    run(&desk);
    desk
}

fn run(desk: &Desk) {
    let mut command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    silent(end(command.env("ONWARD_LIMITS", LIMITS)).code(0));
}

/// Nothing is in doubt.
fn silent(ended: super::Ended) {
    for word in ["gaps", "doubtful"] {
        assert!(!ended.err.contains(word), "{}", ended.err);
    }
}

fn is_well(dir: &Path) {
    let on = |command: &str| end(onward(&[command, "--data"]).arg(dir)).code(0);
    silent(on("doctor"));
    silent(on("verify"));
    silent(on("verify"));
}

/// Segments without a header before others that have one.
fn cleared(dir: &Path) -> usize {
    let bytes = fs::read(dir.join("db")).unwrap();
    let is_blank = |it: &&[u8]| it.iter().take(20).all(|byte| *byte == 0);
    let segments: Vec<&[u8]> = bytes.chunks(SEGMENT).collect();
    let last = segments.iter().rposition(|it| !is_blank(it)).unwrap();
    segments[..last].iter().filter(|it| is_blank(it)).count()
}

#[test]
fn a_directory_of_many_segments_is_well_whatever_is_done_to_it() {
    let desk = large();
    let mut seen = 0;
    for round in 1..4 {
        let more = fs::read_to_string(desk.path("customers.ndjson")).unwrap() + &updates(round);
        desk.file("customers.ndjson", more);
        run(&desk);
        run(&desk);
        seen += cleared(&desk.data());
    }
    is_well(&desk.data());
    assert!(seen >= 2, "{seen} segments that sled cleared are few");
    let (new, copy) = (desk.path("new"), desk.path("copy"));
    silent(desk.on_data(&["backup", "--to", desk.path("backup").to_str().unwrap()]).code(0));
    let mut restore = onward(&["restore", "--from"]);
    silent(end(restore.arg(desk.path("backup")).arg("--data").arg(&copy)).code(0));
    is_well(&copy);
    silent(desk.on_data(&["repair", "--to", new.to_str().unwrap()]).code(0));
    is_well(&new);
    silent(desk.on_data(&["compact"]).code(0));
    is_well(&desk.data());
}

/// How many entries a tree has.
fn entries(desk: &Desk, tree: Tree) -> usize {
    let store = Directory::open(&desk.data()).unwrap();
    let mut key = Vec::new();
    let mut count = 0;
    while let Some((next, _)) = store.above(tree, &key).unwrap() {
        count += 1;
        key = next;
    }
    count
}

#[test]
fn whoever_looks_at_a_doubtful_directory_is_told_and_leaves_it_to_the_engine() {
    let desk = large();
    let shown = desk.on_data(&["show", "customer", "c1", "--json"]).code(0).out;
    let before = [Tree::Rows, Tree::Timers].map(|tree| entries(&desk, tree));
    assert!(before.iter().all(|it| *it > 0), "{before:?}");
    // Bytes of nobody are where the next segment would be.
    let path = desk.data().join("db");
    let mut bytes = fs::read(&path).unwrap();
    bytes.resize(bytes.len().next_multiple_of(SEGMENT), 0);
    bytes.extend([1; 4_096]);
    fs::write(&path, bytes).unwrap();
    for _ in 0..2 {
        let ended = desk.on_data(&["verify"]).code(1).says(&["doubtful"]);
        assert!(ended.out.contains("compared with nothing"), "{}", ended.out);
        let found = desk.on_data(&["verify", "--json"]).code(1).object();
        assert_eq!((&found["doubtful"], &found["rows"]), (&true.into(), &0.into()));
        assert!(found["records"].as_u64() > Some(90), "{found}");
        assert_eq!(desk.on_data(&["show", "customer", "c1", "--json"]).code(0).out, shown);
        let found = desk.on_data(&["doctor"]).code(1).out;
        assert!(found.contains("older than others"), "{found}");
        assert_eq!([Tree::Rows, Tree::Timers].map(|tree| entries(&desk, tree)), before);
    }
    let mut command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    end(&mut command).code(0).says(&["doubtful", "made again"]);
    silent(desk.on_data(&["verify"]).code(0));
    assert_eq!(desk.on_data(&["show", "customer", "c1", "--json"]).code(0).out, shown);
}
