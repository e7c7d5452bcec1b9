//! Files that change, and too many of them.

use super::*;
use std::io::Write;

#[test]
fn a_directory_reads_so_many_files() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let files = Files { events: Some(file.path().to_owned()), ..Files::default() };
    let (kind, length, hash) = (InputKind::Events, 0, ContentHash([1; 16]));
    let old = InputState { kind, name: "old".to_owned(), length, hash, offset: 0, rejected: 0 };
    let mut memory = Memory { inputs: vec![old; INPUTS_MAX], ..Memory::default() };
    let feed = |memory: &Memory| Plan::new(&files).unwrap().feed(memory, &Catalog::default());
    assert!(matches!(feed(&memory), Err(Error::TooManyInputs { known: INPUTS_MAX })));
    memory.inputs.pop();
    assert!(feed(&memory).is_ok());
}

#[test]
fn lines_that_come_while_a_file_is_read_are_not_taken() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let line = br#"{"name":"go","customer":"a"}"#;
    file.write_all(&[line, &b"\n"[..]].concat()).unwrap();
    let files = Files { events: Some(file.path().to_owned()), ..Files::default() };
    let plan = Plan::new(&files).unwrap();
    let mut feed = plan.feed(&Memory::default(), &Catalog::default()).unwrap();
    file.write_all(line).unwrap();
    for expected in ["Opening", "Event"] {
        assert_eq!(feed.peek().unwrap(), Next::Now);
        let input = format!("{:?}", feed.take().unwrap());
        assert!(input.starts_with(expected), "{input}");
    }
    assert!(matches!(feed.peek(), Err(Error::Changed { .. })));
}
