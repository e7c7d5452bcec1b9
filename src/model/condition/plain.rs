//! Conditions that compare one variable with a text, which most do: answered without the library, and
//! without a value of its own for what is compared. Only for what is a text, too; whatever else a
//! variable may hold is the library's business.

use cel::{
    IdedExpr,
    common::ast::{Expr, operators},
};

use super::{
    Facts,
    compile::literal,
    evaluate::READ_COST,
    slot::{Path, Root, Slot},
};
use crate::base::bytes::length_of;

/// A variable and the text that it is compared with.
pub(super) struct Plain {
    path: Path,
    text: Box<str>,
    is_equal: bool,
}

impl Plain {
    /// What the expression is; none where it is anything else.
    pub(super) fn of(expression: &IdedExpr, slots: &[Slot]) -> Option<Self> {
        let Expr::Call(call) = &expression.expr else { return None };
        let is_equal = match call.func_name.as_str() {
            operators::EQUALS => true,
            operators::NOT_EQUALS => false,
            _ => return None,
        };
        let [left, right] = call.args.as_slice() else { return None };
        let (variable, text) = match (literal(left), literal(right)) {
            (None, Some(text)) => (left, text),
            (Some(text), None) => (right, text),
            _ => return None,
        };
        let Expr::Ident(name) = &variable.expr else { return None };
        let slot = slots.get(name.strip_prefix('@')?.parse::<usize>().ok()?)?;
        let Slot::Value(path) = slot else { return None };
        Some(Self { path: path.clone(), text: text.into(), is_equal })
    }

    /// Whether it holds; none where the library has to say it. Counts as read what the library does.
    pub(super) fn holds(&self, facts: &Facts<'_>) -> Option<bool> {
        let found = text_of(&self.path, facts)?;
        let cost = length_of(found.as_bytes()) + READ_COST;
        facts.reads.set(facts.reads.get().saturating_add(cost));
        Some((found == &*self.text) == self.is_equal)
    }
}

fn text_of<'a>(path: &Path, facts: &Facts<'a>) -> Option<&'a str> {
    let key = || match path.keys.as_slice() {
        [key] => Some(key.as_str()),
        _ => None,
    };
    match path.root {
        Root::CustomerId => Some(facts.id.as_str()),
        Root::Email => facts.customer?.email.as_deref(),
        Root::EventName => Some(&*facts.event?.name),
        Root::FlowId => Some(facts.flow?.as_str()),
        Root::Attributes => unquoted(facts.customer?.attributes.get(key()?)?.as_str()),
        Root::Properties => unquoted(facts.event?.properties.find(key()?)?),
        Root::Timezone | Root::Locale | Root::EventId | Root::EventTime | Root::Now => None,
    }
}

/// What a JSON text says that needs no second look.
fn unquoted(json: &str) -> Option<&str> {
    let text = json.strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains('\\')).then_some(text)
}
