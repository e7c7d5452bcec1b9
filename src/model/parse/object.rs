//! Reading the tree: each reader takes what it knows and reports what is left.

use std::{collections::BTreeMap, fmt::Display};

use jsonc_parser::{ast::Value, common::Ranged};

use super::{
    report::{Report, Spot},
    source::{canonical, key, quoted},
};
use crate::{
    base::{ContentHash, limits::NAME_BYTES_MAX},
    model::{
        condition::{Expression, Place},
        definitions::Document,
        template::{Form, Template},
        weight,
    },
};

/// A value and where it stands.
#[derive(Clone)]
pub(in crate::model) struct At<'a> {
    value: &'a Value<'a>,
    pub(in crate::model) spot: Spot,
}

impl<'a> At<'a> {
    /// The value of a whole file.
    pub(in crate::model) fn root(value: &'a Value<'a>, file: usize) -> Self {
        let spot = Spot { file, offset: value.start(), path: "$".to_owned() };
        Self { value, spot }
    }

    /// `value` as it is stored, with its canonical text.
    pub(super) fn document<T>(&self, value: T) -> Document<T> {
        let json = canonical(self.value);
        let hash = ContentHash::of(json.as_bytes());
        Document { value, json, hash }
    }

    fn wrong_type(&self, report: &mut Report, wanted: &str) {
        let found = match self.value {
            Value::StringLit(_) => "a text",
            Value::NumberLit(_) => "a number",
            Value::BooleanLit(_) => "true or false",
            Value::Object(_) => "an object",
            Value::Array(_) => "a list",
            Value::NullKeyword(_) => "null",
        };
        report.error(&self.spot, "wrong_type", format!("{found} instead of {wanted}"), {
            format!("write {wanted}")
        });
    }

    /// The text.
    pub(in crate::model) fn text(&self, report: &mut Report) -> Option<&'a str> {
        let Value::StringLit(text) = self.value else {
            self.wrong_type(report, "a text");
            return None;
        };
        Some(&text.value)
    }

    /// Whether this is a text.
    pub(super) const fn is_text(&self) -> bool {
        matches!(self.value, Value::StringLit(_))
    }

    /// What `parse` makes of the text; its error is a finding with this code.
    pub(in crate::model) fn parse<T, E: Display>(
        &self,
        report: &mut Report,
        code: &'static str,
        parse: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(report)?;
        let parsed = parse(text);
        parsed.map_err(|error| self.refuse(report, code, text, &error)).ok()
    }

    fn refuse(&self, report: &mut Report, code: &'static str, found: &str, error: &dyn Display) {
        let message = format!("`{}` does not do", short(found));
        report.error(&self.spot, code, message, error.to_string());
    }

    /// What `parse` makes of the number as written.
    pub(in crate::model) fn number<T, E: Display>(
        &self,
        report: &mut Report,
        code: &'static str,
        parse: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Option<T> {
        let Value::NumberLit(number) = self.value else {
            self.wrong_type(report, "a number");
            return None;
        };
        let parsed = parse(number.value);
        parsed.map_err(|error| self.refuse(report, code, number.value, &error)).ok()
    }

    /// A name: some text, but not too much.
    pub(in crate::model) fn name(&self, report: &mut Report) -> Option<String> {
        self.parse(report, "bad_name", |text| {
            let fits = (1..=NAME_BYTES_MAX).contains(&text.len());
            if fits { Ok(text.to_owned()) } else { Err(format!("1 to {NAME_BYTES_MAX} bytes")) }
        })
    }

    /// One of some values, by name.
    pub(in crate::model) fn choice<T: Copy>(
        &self,
        report: &mut Report,
        all: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        self.parse(report, "bad_value", |text| {
            let found = all.iter().copied().find(|value| name(*value) == text);
            found.ok_or_else(|| {
                let names = all.iter().map(|value| format!("\"{}\"", name(*value)));
                format!("write {}", names.collect::<Vec<_>>().join(" or "))
            })
        })
    }

    /// A condition or an expression.
    pub(super) fn expression(&self, report: &mut Report, place: Place) -> Option<Expression> {
        let text = self.compilable(report, weight::condition)?;
        let compiled = Expression::compile(text, place);
        compiled.map_err(|faults| self.faults(report, faults)).ok()
    }

    /// A template.
    pub(in crate::model) fn template(&self, report: &mut Report, form: Form) -> Option<Template> {
        let text = self.compilable(report, weight::template)?;
        let compile = if report.stored { Template::stored } else { Template::compile };
        let compiled = compile(text, form);
        compiled.map_err(|faults| self.faults(report, faults)).ok()
    }

    /// The text, if there is room for what compiling it takes.
    fn compilable(&self, report: &mut Report, weight: fn(&str) -> usize) -> Option<&'a str> {
        let text = self.text(report)?;
        let what = "bytes of memory for conditions and templates";
        report.take(&self.spot, |it| &mut it.compiled, weight(text), what).then_some(text)
    }

    fn faults(&self, report: &mut Report, faults: Vec<crate::model::Fault>) {
        for fault in faults {
            report.fault(&self.spot, fault);
        }
    }

    /// The elements of a list of `max` at most.
    pub(in crate::model) fn items(&self, report: &mut Report, max: usize) -> Vec<Self> {
        let Value::Array(array) = self.value else {
            self.wrong_type(report, "a list");
            return Vec::new();
        };
        if array.elements.len() > max {
            let message = format!("{} elements", array.elements.len());
            report.error(&self.spot, "too_large", message, format!("at most {max}"));
            return Vec::new();
        }
        let element = |(place, value): (usize, &'a Value<'a>)| {
            let path = format!("{}[{place}]", self.spot.path);
            Self { value, spot: Spot { path, ..self.spot.at(value.start()) } }
        };
        array.elements.iter().enumerate().map(element).collect()
    }

    /// The fields of an object.
    pub(in crate::model) fn object(&self, report: &mut Report) -> Option<Object<'a>> {
        let Value::Object(object) = self.value else {
            self.wrong_type(report, "an object");
            return None;
        };
        let mut fields = BTreeMap::new();
        for property in &object.properties {
            let (name, start) = (key(&property.name), property.start());
            if fields.insert(name, (start, &property.value)).is_some() {
                let spot = field_spot(&self.spot, name, start);
                let message = format!("`{}` is there twice", short(name));
                report.error(&spot, "duplicate_field", message, "keep one of them");
            }
        }
        Some(Object { spot: self.spot.clone(), fields, asked: Vec::new() })
    }
}

/// The fields of an object that nobody has taken yet.
pub(in crate::model) struct Object<'a> {
    pub(in crate::model) spot: Spot,
    fields: BTreeMap<&'a str, (usize, &'a Value<'a>)>,
    asked: Vec<&'static str>,
}

impl<'a> Object<'a> {
    /// An object without fields.
    pub(in crate::model) const fn empty(spot: Spot) -> Self {
        Self { spot, fields: BTreeMap::new(), asked: Vec::new() }
    }

    /// A field that may be there.
    pub(in crate::model) fn take(&mut self, name: &'static str) -> Option<At<'a>> {
        self.asked.push(name);
        let (_, value) = self.fields.remove(name)?;
        Some(At { value, spot: field_spot(&self.spot, name, value.start()) })
    }

    /// A field that must be there.
    pub(in crate::model) fn require(
        &mut self,
        name: &'static str,
        report: &mut Report,
    ) -> Option<At<'a>> {
        let found = self.take(name);
        if found.is_none() {
            let message = format!("`{name}` is missing");
            report.error(&self.spot, "missing_field", message, format!("add \"{name}\""));
        }
        found
    }

    /// Whatever nobody took does not exist.
    pub(in crate::model) fn finish(self, report: &mut Report) {
        for (name, (start, _)) in self.fields {
            let help = match self.asked.as_slice() {
                [] => "there are no fields here".to_owned(),
                known => format!("there are {}", known.join(", ")),
            };
            let message = format!("there is no field `{}` here", short(name));
            let spot = field_spot(&self.spot, name, start);
            report.error(&spot, "unknown_field", message, help);
        }
    }
}

fn field_spot(object: &Spot, name: &str, offset: usize) -> Spot {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let path = match plain {
        true => format!("{}.{}", object.path, short(name)),
        false => format!("{}[{}]", object.path, quoted(&short(name))),
    };
    Spot { path, ..object.at(offset) }
}

/// As much of a text as a message needs.
fn short(text: &str) -> String {
    let mut chars = text.chars();
    let start: String = chars.by_ref().take(60).collect();
    if chars.next().is_some() { format!("{start}...") } else { start }
}
