//! Templates: the texts of messages with `{{ variables }}` in them.

use std::{collections::BTreeSet, fmt};

/// What a template renders to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Plain text: values are printed as they are.
    Text,
    /// HTML: values are escaped.
    Html,
}

/// A checked template.
#[derive(Clone)]
pub struct Template {
    source: String,
    form: Form,
    variables: BTreeSet<String>,
}

impl Template {
    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The variables it uses, dotted, with `trigger` for its synonym `event`.
    pub const fn variables(&self) -> &BTreeSet<String> {
        &self.variables
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
