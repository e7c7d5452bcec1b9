//! Templates that only put values into a text, which most do: rendered without the library, to
//! exactly what it would give. Whatever is not certain to be the same goes to the library: there is
//! no second opinion on errors, numbers with a fraction, or what must be escaped.

use super::{Form, VARIABLES};
use crate::base::limits::RENDERED_BYTES_MAX;
use crate::model::Fields;

/// More parts than this may need more fuel than there is.
const PARTS_MAX: usize = 1_000;
/// What HTML escapes, and what it might in another release.
const ESCAPED: &[char] = &['<', '>', '&', '"', '\'', '/'];

/// Texts with the names of values between them.
#[derive(Debug, Clone)]
pub(super) struct Plain(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    Text(Box<str>),
    Value(Box<str>),
}

impl Plain {
    /// Reads a template; none where it does more than to name variables.
    pub(super) fn read(source: &str) -> Option<Self> {
        // The library takes a last line break off, and what follows these has a meaning.
        if source.ends_with('\n')
            || source.contains('\r')
            || source.contains("{%")
            || source.contains("{#")
        {
            return None;
        }
        let (mut parts, mut rest) = (Vec::new(), source);
        while let Some((text, after)) = rest.split_once("{{") {
            let (expression, after) = after.split_once("}}")?;
            if !text.is_empty() {
                parts.push(Part::Text(text.into()));
            }
            parts.push(Part::Value(variable(expression)?.into()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        (parts.len() <= PARTS_MAX).then_some(Self(parts))
    }

    /// The text; none where the library has to say it.
    pub(super) fn render(&self, values: &Fields, form: Form) -> Option<String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(it) => text.push_str(it),
                Part::Value(name) => put(&mut text, values.get(name)?.as_str(), form)?,
            }
        }
        (text.len() <= RENDERED_BYTES_MAX).then_some(text)
    }
}

/// The variable that an expression is, by the name that its value has.
fn variable(expression: &str) -> Option<String> {
    let name = expression.trim_matches(' ');
    let is_word = |word: &str| {
        word.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
            && word.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
    };
    if !name.split('.').all(is_word) {
        return None;
    }
    let name = match name.strip_prefix("event.") {
        Some(below) => format!("trigger.{below}"),
        None => name.to_owned(),
    };
    let below = |known: &&str| known.ends_with('.') && name.starts_with(*known);
    let is_known = VARIABLES.contains(&name.as_str())
        || VARIABLES
            .iter()
            .find(|known| below(known))
            .is_some_and(|known| name.strip_prefix(known).is_some_and(|key| !key.contains('.')));
    is_known.then_some(name)
}

/// Prints a text as it is, or a whole number.
fn put(out: &mut String, json: &str, form: Form) -> Option<()> {
    let Some(quoted) = json.strip_prefix('"') else {
        let digits = json.strip_prefix('-').unwrap_or(json);
        // Above 18 digits it may be of another kind.
        let is_whole =
            (1..=18).contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_digit());
        return (is_whole && json != "-0").then(|| out.push_str(json));
    };
    let inner = quoted.strip_suffix('"')?;
    if !inner.contains('\\') {
        let is_safe = form == Form::Text || !inner.contains(ESCAPED);
        return is_safe.then(|| out.push_str(inner));
    }
    let text: String = serde_json::from_str(json).ok()?;
    let is_safe = form == Form::Text || !text.contains(ESCAPED);
    is_safe.then(|| out.push_str(&text))
}
