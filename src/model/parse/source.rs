//! A file as a tree of JSON values with their places; strict JSON, nothing of JSONC.

use std::collections::BTreeMap;

use jsonc_parser::{
    CollectOptions, ParseOptions,
    ast::{ObjectPropName, Value},
    parse_to_ast,
};

use super::report::{Report, Spot};
use crate::{
    base::{bytes::BYTE_ORDER_MARK, limits::JSON_DEPTH_MAX},
    model::{json, line},
};

/// A file with its name.
#[derive(Clone, Copy)]
pub(in crate::model) struct Source<'a> {
    pub(in crate::model) name: &'a str,
    pub(in crate::model) text: &'a str,
    /// Whether it is all text; otherwise there is a finding that says so.
    pub(in crate::model) is_whole: bool,
}

impl<'a> Source<'a> {
    /// The text of a file, or as far as it is text, without a byte order mark.
    pub(in crate::model) fn new(
        file: usize,
        name: &'a str,
        bytes: &'a [u8],
        report: &mut Report,
    ) -> Self {
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        let start = Spot::start(file);
        if !report.take(&start, |it| &mut it.bytes, bytes.len(), "bytes of definitions") {
            return Self { name, text: "", is_whole: false };
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Self { name, text, is_whole: true },
            Err(error) => {
                let text = bytes.get(..error.valid_up_to()).map(std::str::from_utf8);
                let text = text.and_then(Result::ok).unwrap_or_default();
                let message = "bytes that are not UTF-8";
                report.error(&start.at(text.len()), "not_utf8", message, "save it as UTF-8");
                Self { name, text, is_whole: false }
            }
        }
    }
}

/// The value that a file holds; none where it is not JSON.
pub(in crate::model) fn tree<'a>(
    file: usize,
    text: &'a str,
    report: &mut Report,
) -> Option<Value<'a>> {
    let start = Spot::start(file);
    if let Some(offset) = json::too_deep_at(text.as_bytes()) {
        let help = format!("JSON nests at most {JSON_DEPTH_MAX} levels");
        report.error(&start.at(offset), "too_deep", "nested too deeply", help);
        return None;
    }
    let values = json::count_values(text.as_bytes());
    if !report.take(&start, |it| &mut it.values, values, "values in the JSON of definitions") {
        return None;
    }
    let help = "definitions are JSON, without comments and trailing commas";
    let parsed = match parse_to_ast(text, &CollectOptions::default(), &strict()) {
        Ok(parsed) => parsed,
        Err(error) => {
            let message = error.kind().to_string();
            report.error(&start.at(error.range().start), "syntax", message, help);
            return None;
        }
    };
    let Some(value) = parsed.value else {
        report.error(&start, "syntax", "an empty file", help);
        return None;
    };
    // The last word on what is JSON: leading zeros, control characters, lone surrogates.
    let mut reader = serde_json::Deserializer::from_str(text);
    match json::check(&mut reader) {
        Ok(()) => Some(value),
        Err(error) => {
            let message = error.to_string();
            report.error(&start.at(line::offset_of(text, &error)), "syntax", message, help);
            None
        }
    }
}

const fn strict() -> ParseOptions {
    ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

/// The name of a property.
pub(super) fn key<'a>(name: &'a ObjectPropName<'a>) -> &'a str {
    match name {
        ObjectPropName::String(text) => text.value.as_ref(),
        ObjectPropName::Word(word) => word.value,
    }
}

/// The value as compact text with sorted keys; numbers as they were written.
pub(super) fn canonical(value: &Value<'_>) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value<'_>, out: &mut String) {
    match value {
        Value::NullKeyword(_) => out.push_str("null"),
        Value::BooleanLit(truth) => out.push_str(if truth.value { "true" } else { "false" }),
        Value::NumberLit(number) => out.push_str(number.value),
        Value::StringLit(text) => out.push_str(&quoted(&text.value)),
        Value::Array(array) => {
            out.push('[');
            for (place, element) in array.elements.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write(element, out);
            }
            out.push(']');
        }
        Value::Object(object) => {
            let fields = object.properties.iter().map(|field| (key(&field.name), &field.value));
            out.push('{');
            for (place, (name, field)) in fields.collect::<BTreeMap<_, _>>().iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                out.push_str(&quoted(name));
                out.push(':');
                write(field, out);
            }
            out.push('}');
        }
    }
}

/// The text as JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
