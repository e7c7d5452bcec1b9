//! Templates: the texts of messages with `{{ variables }}` in them.
//!
//! The language is Jinja (minijinja) without includes. A template names what it needs up front, so
//! that the one who renders it brings exactly that.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    sync::Arc,
};

use minijinja::{
    AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value, machinery,
    syntax::SyntaxConfig,
    value::{Kwargs, ValueKind},
};

use serde::Serialize;

use plain::Plain;

use super::{fields::Fields, finding::Fault};
use crate::base::limits::{
    RENDERED_BYTES_MAX, TEMPLATE_BYTES_MAX, TEMPLATE_FUEL, TEMPLATE_INDENT_MAX,
    TEMPLATE_RECURSION_MAX,
};
use crate::base::thread;

/// What a template renders to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Plain text: values are printed as they are.
    Text,
    /// HTML: values are escaped.
    Html,
}

/// Why a template could not be rendered, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RenderError(pub String);

/// The variables; those that end with a dot stand for any name below them, and for all of them.
const VARIABLES: [&str; 17] = [
    "customer.id",
    "customer.email",
    "customer.timezone",
    "customer.locale",
    "customer.attributes.",
    "trigger.id",
    "trigger.name",
    "trigger.time",
    "trigger.properties.",
    "enrollment.id",
    "enrollment.key",
    "enrollment.started_at",
    "enrollment.campaign",
    "flow.id",
    "flow.version",
    "step.id",
    "now",
];

/// The one template of an environment.
const NAME: &str = "template";
/// A function of Jinja that is not there.
const NAMESPACE: &str = "namespace";
/// What an item of a printed list takes: itself, a comma and a space.
const LISTED_BYTES_MIN: usize = 3;

/// A checked template.
#[derive(Clone)]
pub struct Template {
    source: Arc<str>,
    form: Form,
    variables: BTreeSet<Arc<str>>,
    /// What renders it; or why it is not rendered, if it was stored before there were bounds.
    environment: Result<Arc<Environment<'static>>, RenderError>,
    /// The same for those that need no library, as long as their values are of the usual kinds.
    plain: Option<Arc<Plain>>,
}

impl Template {
    /// Reads and checks a template; every fault at once.
    pub fn compile(source: &str, form: Form) -> Result<Self, Vec<Fault>> {
        Self::read(source, form, false)
    }

    /// As [`Template::compile`], but what may grow beyond bounds is refused only when it is rendered:
    /// it was stored before there were bounds.
    pub(in crate::model) fn stored(source: &str, form: Form) -> Result<Self, Vec<Fault>> {
        Self::read(source, form, true)
    }

    fn read(text: &str, form: Form, stored: bool) -> Result<Self, Vec<Fault>> {
        if text.len() > TEMPLATE_BYTES_MAX {
            let message = format!("{} bytes of template", text.len());
            let help = format!("a template has at most {TEMPLATE_BYTES_MAX} bytes");
            return Err(vec![Fault::new("too_large", message, help)]);
        }
        // The parser recurses as deep as the text nests.
        let read = thread::with_room(|| {
            let tree = machinery::parse(text, NAME, SyntaxConfig::default());
            // Before anything is made of the tree: what is constant is evaluated at once.
            let faults = growth::faults(&tree.map_err(|error| vec![unparsed(&error)])?);
            let (environment, variables) = match faults.first() {
                Some(_) if !stored => return Err(faults),
                Some(fault) => (Err(RenderError(fault.message.clone())), BTreeSet::new()),
                None => {
                    let environment = environment(text, form).map_err(|fault| vec![fault])?;
                    let variables = variables(&environment)?;
                    (Ok(Arc::new(environment)), variables)
                }
            };
            let plain = environment.is_ok().then(|| Plain::read(text)).flatten().map(Arc::new);
            Ok(Self { source: text.into(), form, variables, environment, plain })
        });
        read.unwrap_or_else(|error| Err(vec![Fault::no_room(&error)]))
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The variables it uses, with `trigger` for its synonym `event`: the fields such as
    /// `customer.email`, one name below `customer.attributes` and `trigger.properties` such as
    /// `customer.attributes.country`, or these two as a whole.
    pub const fn variables(&self) -> &BTreeSet<Arc<str>> {
        &self.variables
    }

    /// The text, with a value for each of [`Template::variables`]; null and missing are undefined,
    /// and to print what is undefined is an error.
    pub fn render(&self, values: &Fields) -> Result<String, RenderError> {
        let plain = self.plain.as_ref().and_then(|plain| plain.render(values, self.form));
        plain.map_or_else(|| self.render_by_library(values), Ok)
    }

    fn render_by_library(&self, values: &Fields) -> Result<String, RenderError> {
        let environment = self.environment.as_ref().map_err(Clone::clone)?;
        // A template can build values that nest deeply, which drop and print by recursion.
        let rendered = thread::with_room(|| {
            let template = environment.get_template(NAME).map_err(|error| explain(&error))?;
            let mut text = Bounded(Vec::new());
            template
                .render_captured_to(context(values), &mut text)
                .map_err(|error| explain(&error))?;
            Ok(text.into_text())
        });
        rendered.unwrap_or_else(|error| Err(RenderError(error.to_string())))
    }
}

/// Text of at most [`RENDERED_BYTES_MAX`].
struct Bounded(Vec<u8>);

impl Bounded {
    fn into_text(self) -> String {
        String::from_utf8(self.0).expect("minijinja writes UTF-8")
    }
}

fn bounded(text: fmt::Arguments<'_>) -> Result<String, minijinja::Error> {
    let mut bounded = Bounded(Vec::new());
    io::Write::write_fmt(&mut bounded, text).map_err(|_| ErrorKind::WriteFailure)?;
    Ok(bounded.into_text())
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > RENDERED_BYTES_MAX - self.0.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?}, {:?})", self.form, self.source)
    }
}

impl Eq for Template {}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        (self.form, &self.source) == (other.form, &other.source)
    }
}

fn environment(source: &str, form: Form) -> Result<Environment<'static>, Fault> {
    let mut environment = Environment::new();
    let escape = match form {
        Form::Text => AutoEscape::None,
        Form::Html => AutoEscape::Html,
    };
    environment.set_auto_escape_callback(move |_| escape.clone());
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(TEMPLATE_FUEL));
    environment.set_recursion_limit(TEMPLATE_RECURSION_MAX);
    // Booleans as everywhere else in a document, not as Python has them.
    environment.set_formatter(|out, state, value| {
        if value.kind() == ValueKind::Bool {
            return write!(out, "{}", value.is_true()).map_err(minijinja::Error::from);
        }
        if matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
            // Printed into a variable it meets no other bound, and a short template can build a
            // value that prints for ever.
            // Printing goes on to the end of a list, if only to find out that there is no more room.
            if value.len().is_some_and(|count| count > RENDERED_BYTES_MAX / LISTED_BYTES_MIN) {
                return Err(ErrorKind::WriteFailure.into());
            }
            let text = bounded(format_args!("{value}"))?;
            return minijinja::escape_formatter(out, state, &Value::from(text));
        }
        minijinja::escape_formatter(out, state, value)
    });
    environment.add_filter("tojson", tojson);
    environment.add_filter("pprint", |value: &Value| bounded(format_args!("{value:#?}")));
    // It would print what the template did not ask for.
    environment.remove_global("debug");
    // What holds itself is printed and compared until the stack ends. Definitions that were stored
    // when this was there still open; their messages are skipped.
    environment.add_function(NAMESPACE, || {
        let message = "there is no namespace here; use the filter `sum`, or `set` without one";
        Err::<Value, _>(minijinja::Error::new(ErrorKind::UnknownFunction, message))
    });
    environment.set_debug(false);
    environment.add_template_owned(NAME, source.to_owned()).map_err(|error| unparsed(&error))?;
    Ok(environment)
}

fn unparsed(error: &minijinja::Error) -> Fault {
    let help = "templates are written like Hello {{ customer.attributes.name }}";
    Fault::new("template", explain(error).0, help)
}

/// As minijinja's, which would indent by any number of spaces and write any number of lines.
fn tojson(value: &Value, indent: Option<Value>, args: Kwargs) -> Result<Value, minijinja::Error> {
    let indent: Option<Value> = match indent {
        Some(indent) => Some(indent),
        None => args.get("indent")?,
    };
    args.assert_all_used()?;
    let spaces = indent.as_ref().and_then(Value::as_usize).unwrap_or_default();
    if spaces > TEMPLATE_INDENT_MAX {
        let message = format!("tojson indents by at most {TEMPLATE_INDENT_MAX} spaces");
        return Err(minijinja::Error::new(ErrorKind::InvalidOperation, message));
    }
    let spaces = " ".repeat(spaces);
    let pretty = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
    let mut rehearsal = serde_json::Serializer::with_formatter(Bounded(Vec::new()), pretty);
    if value.serialize(&mut rehearsal).is_err_and(|error| error.is_io()) {
        return Err(ErrorKind::WriteFailure.into());
    }
    minijinja::filters::tojson(value, indent, std::iter::empty::<(String, Value)>().collect())
}

/// The message with its line, without values and source lines.
fn explain(error: &minijinja::Error) -> RenderError {
    if error.kind() == ErrorKind::WriteFailure {
        return RenderError(format!("the text has over {RENDERED_BYTES_MAX} bytes"));
    }
    let mut text = error.kind().to_string();
    if let Some(detail) = error.detail() {
        text = format!("{text}: {detail}");
    }
    match error.line() {
        Some(line) => RenderError(format!("{text}, at line {line} of the template")),
        None => RenderError(text),
    }
}

fn variables(environment: &Environment<'_>) -> Result<BTreeSet<Arc<str>>, Vec<Fault>> {
    let Ok(template) = environment.get_template(NAME) else { return Ok(BTreeSet::new()) };
    let (mut known, mut faults) = (BTreeSet::new(), Vec::new());
    let used: BTreeSet<String> = template.undeclared_variables(true).into_iter().collect();
    let globals: BTreeSet<&str> = environment.globals().map(|(name, _)| name).collect();
    for name in used.iter().filter(|name| !globals.contains(name.as_str())) {
        match variable(name) {
            Ok(name) => {
                known.insert(name.into());
            }
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(known) } else { Err(faults) }
}

/// The name of the variable that `used` reads, or that there is none.
fn variable(used: &str) -> Result<String, Fault> {
    let name = match used.split_once('.') {
        Some(("event", below)) => format!("trigger.{below}"),
        _ => used.to_owned(),
    };
    for known in VARIABLES {
        let Some(whole) = known.strip_suffix('.') else {
            if name == known {
                return Ok(name);
            }
            continue;
        };
        if name == whole {
            return Ok(name);
        }
        if let Some(below) = name.strip_prefix(known) {
            return Ok(format!("{known}{}", below.split('.').next().unwrap_or(below)));
        }
    }
    let object = name.split('.').next().unwrap_or_default();
    let object = if object == "event" { "trigger" } else { object };
    let belongs = |known: &&&str| known.split('.').next() == Some(object);
    let mut below = VARIABLES.iter().filter(belongs).peekable();
    let list = |names: &mut dyn Iterator<Item = &&str>| {
        names.map(|name| name.trim_end_matches('.')).collect::<Vec<_>>().join(", ")
    };
    let help = if below.peek().is_some() {
        format!("there are {}", list(&mut below))
    } else {
        "there are customer, trigger (or event), enrollment, flow, step and now".to_owned()
    };
    Err(Fault::new("unknown_variable", format!("there is no variable `{used}`"), help))
}

/// Objects of objects from dotted names.
fn context(values: &Fields) -> Value {
    let mut objects = BTreeMap::<&str, BTreeMap<&str, Value>>::new();
    let mut below = BTreeMap::<(&str, &str), BTreeMap<String, Value>>::new();
    let mut top = BTreeMap::<&str, Value>::new();
    for object in ["customer", "trigger", "enrollment", "flow", "step"] {
        objects.insert(object, BTreeMap::new());
    }
    for (name, json) in values.iter() {
        let value = json.value();
        let mut parts = name.splitn(3, '.');
        match (parts.next().unwrap_or_default(), parts.next(), parts.next(), value) {
            (_, _, _, serde_json::Value::Null) => {}
            (object, None, _, value) => {
                top.insert(object, jinja(value));
            }
            (object, Some(field), None, serde_json::Value::Object(fields)) => {
                let fields = fields.into_iter().map(|(key, value)| (key, jinja(value)));
                below.entry((object, field)).or_default().extend(fields);
            }
            (object, Some(field), None, value) => {
                objects.entry(object).or_default().insert(field, jinja(value));
            }
            (object, Some(field), Some(key), value) => {
                below.entry((object, field)).or_default().insert(key.to_owned(), jinja(value));
            }
        }
    }
    for (object, field) in [("customer", "attributes"), ("trigger", "properties")] {
        below.entry((object, field)).or_default();
    }
    for ((object, field), fields) in below {
        objects.entry(object).or_default().insert(field, Value::from(fields));
    }
    for (object, fields) in objects {
        top.insert(object, Value::from(fields));
    }
    if let Some(trigger) = top.get("trigger").cloned() {
        top.insert("event", trigger);
    }
    Value::from(top)
}

/// JSON for the template; null is undefined, so that `default` helps.
fn jinja(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::UNDEFINED,
        serde_json::Value::Array(items) => items.into_iter().map(jinja).collect(),
        serde_json::Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, field)| (key, jinja(field)));
            Value::from(fields.collect::<BTreeMap<_, _>>())
        }
        plain @ (serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_)) => Value::from(minijinja::value::Serde(plain)),
    }
}

mod filters;
mod growth;
mod plain;
mod size;
#[cfg(test)]
mod tests;
