//! Bytes that were written once, and must be read and written like that for ever.

use std::fmt::Write;

/// The bytes of a fixture.
pub(super) fn read(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/it/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("the fixture is there");
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16);
    digits.chunks(2).map(|pair| byte(pair).expect("a fixture is hex")).collect()
}

/// Compares as text, so that a difference can be read.
pub(super) fn check(name: &str, written: &[u8]) {
    assert_eq!(hex(written), hex(&read(name)), "{name}");
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(32) {
        line.iter().for_each(|byte| write!(text, "{byte:02x}").expect("a string takes text"));
        text.push('\n');
    }
    text
}
