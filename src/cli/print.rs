//! What people and programs read: whole lines that no data can make do anything to a terminal.

use std::{
    borrow::Cow,
    fmt::{Display, Write as _},
    io::{self, ErrorKind, Write},
};

use super::exit::Failure;
use crate::store::pulse;

/// The text with every character escaped that moves the cursor, ends the line, changes colours or
/// turns the direction of what follows. JSON stays JSON of the same value, because it has such
/// characters in strings only.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_active) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_active(character) {
            // All of them have four digits at most, so this is how JSON writes them, too.
            write!(safe, "\\u{:04x}", u32::from(character)).expect("a text takes everything");
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

/// Control characters, line separators, and marks of direction.
const fn is_active(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

/// Writes where somebody reads, who may take any time: that is no disk that hangs.
pub(super) fn at_leisure<T>(write: impl FnOnce() -> T) -> T {
    pulse::patiently(u32::MAX, write)
}

/// Prints a line. A reader that has gone away gets no more, and changes nothing about how the
/// command ends.
pub(super) fn say(line: impl Display) -> Result<(), Failure> {
    let line = line.to_string();
    match at_leisure(|| writeln!(io::stdout().lock(), "{}", printable(&line))) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::output(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Tells people something on standard error, which no program reads.
pub(super) fn tell(message: impl Display) {
    // Nobody is left to tell where this fails.
    let _ = Told.write_all(format!("onward: {message}").as_bytes()).is_ok();
}

/// Standard error, where every write is a line.
#[derive(Debug)]
pub(super) struct Told;

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        at_leisure(|| writeln!(io::stderr().lock(), "{}", printable(line))).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_the_rest_stays() {
        let harmless = "Grüße — 你好 \\u0041 \u{a0}\u{fffd}🙂 \u{5e9}\u{5dc}";
        assert!(matches!(printable(harmless), Cow::Borrowed(text) if text == harmless));
        for active in
            "\0\t\n\r\u{7}\u{1b}\u{7f}\u{9b}\u{61c}\u{200f}\u{2028}\u{202e}\u{2066}".chars()
        {
            let safe = printable(&format!("a{active}b")).into_owned();
            assert_eq!(safe, format!("a\\u{:04x}b", u32::from(active)));
        }
    }

    proptest::proptest! {
        #[test]
        fn json_stays_the_same_value(text: String) {
            let value = serde_json::json!({ text.clone(): [text] });
            let safe = printable(&value.to_string()).into_owned();
            proptest::prop_assert!(!safe.contains(is_active));
            proptest::prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
        }
    }
}
