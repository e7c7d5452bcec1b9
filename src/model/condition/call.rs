//! Calls in a condition: the library's methods, and our functions, each of which becomes a slot.

use cel::{
    IdedExpr,
    common::{
        ast::{CallExpr, Expr, LiteralValue},
        types::CelString,
        value::CowVal,
    },
};

use super::{
    compile::{Compiler, keep, literal},
    functions::{self, GLOBALS, METHODS, OURS},
    slot::Slot,
};
use crate::base::{
    SegmentId, Span,
    limits::{NAME_BYTES_MAX, PATTERN_COST_MAX, PATTERN_COSTS},
};

impl<'a> Compiler<'a> {
    pub(super) fn method(
        &mut self,
        name: &str,
        target: &'a IdedExpr,
        args: &'a [IdedExpr],
    ) -> Expr {
        if let ("matches", [pattern]) = (name, args) {
            return self.matches(target, pattern);
        }
        if name == "matches" || !METHODS.contains(&name) {
            let help = format!("values have {}", METHODS.join(", "));
            return self.fault("unknown_function", format!("there is no `.{name}(..)`"), &help);
        }
        let args = self.all(args);
        let target = Some(Box::new(self.rewrite(target)));
        Expr::Call(CallExpr { func_name: name.to_owned(), target, args })
    }

    pub(super) fn matches(&mut self, subject: &'a IdedExpr, pattern: &'a IdedExpr) -> Expr {
        let subject = self.rewrite(subject);
        let Some(pattern) = literal(pattern) else {
            return self.fault("condition", "a computed pattern", "a pattern is a text in quotes");
        };
        let values = [CelString::from(""), CelString::from(pattern)].map(CowVal::owned).to_vec();
        let environment = functions::environment();
        let tried = environment.find_overload("matches", &values).map(|matches| matches(values));
        if !matches!(tried, Some(Ok(_))) {
            let message = format!("`{pattern}` is no regular expression");
            return self.fault(
                "condition",
                message,
                "patterns are written like '^[A-Z]{2}[0-9]+$'",
            );
        }
        let pattern = self.slot(Slot::Pattern(pattern.to_owned(), price(pattern)));
        keep("matches", vec![subject, IdedExpr { id: 0, expr: pattern }])
    }

    pub(super) fn own_function(&mut self, name: &str, args: &'a [IdedExpr]) -> Expr {
        let first = args.first().and_then(literal);
        let slot = match (name, args, first) {
            ("count", [_], Some(event)) => self.event_name(event).map(Slot::Count),
            ("first", [_], Some(event)) => self.event_name(event).map(Slot::First),
            ("last", [_], Some(event)) => self.event_name(event).map(Slot::Last),
            ("count_within", [_, span], Some(event)) => self.count_within(event, span),
            ("count_since", [_, time], Some(event)) => {
                let seen = self.event_name(event).map(Slot::Seen);
                let time = self.rewrite(time);
                return self.slot_or_null(seen).map_or(Expr::Literal(LiteralValue::Null), |seen| {
                    keep(functions::COUNT_SINCE, vec![IdedExpr { id: 0, expr: seen }, time])
                });
            }
            ("in_segment", [_], Some(id)) => match SegmentId::new(id) {
                Ok(id) => Some(Slot::InSegment(id)),
                Err(error) => {
                    self.fault("bad_id", error.to_string(), "in_segment('id of a segment')");
                    None
                }
            },
            ("bucket", [_], Some(salt)) => Some(Slot::Bucket(salt.to_owned())),
            (
                "count" | "first" | "last" | "count_within" | "count_since" | "in_segment"
                | "bucket",
                ..,
            ) => {
                let message = format!("`{name}` with other arguments than it takes");
                self.fault("condition", message, &format!("names are texts in quotes: {OURS}"));
                None
            }
            _ => {
                let help = format!("there are {}, {OURS}", GLOBALS.join(", "));
                self.fault("unknown_function", format!("there is no function `{name}`"), &help);
                None
            }
        };
        self.slot_or_null(slot).unwrap_or(Expr::Literal(LiteralValue::Null))
    }

    fn slot_or_null(&mut self, slot: Option<Slot>) -> Option<Expr> {
        slot.map(|slot| self.slot(slot))
    }

    fn event_name(&mut self, name: &str) -> Option<String> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            let help = format!("a name has 1 to {NAME_BYTES_MAX} bytes");
            self.fault("bad_name", "this is no name of an event", &help);
            return None;
        }
        Some(name.to_owned())
    }

    fn count_within(&mut self, event: &str, span: &'a IdedExpr) -> Option<Slot> {
        let name = self.event_name(event)?;
        match literal(span).map(Span::parse) {
            Some(Ok(span)) => Some(Slot::CountWithin(name, span)),
            Some(Err(error)) => {
                self.fault("bad_duration", error.to_string(), "count_within('purchase', '30d')");
                None
            }
            None => {
                let message = "the second argument is not a text";
                self.fault("condition", message, "count_within('purchase', '30d')");
                None
            }
        }
    }
}

/// What one use of a pattern counts as bytes read: it is compiled each time, and how long that and
/// matching take goes with its compiled size.
fn price(pattern: &str) -> u64 {
    let fits = |size| regex::RegexBuilder::new(pattern).size_limit(size).build().is_ok();
    let found = PATTERN_COSTS.into_iter().find(|(size, _)| fits(*size));
    found.map_or(PATTERN_COST_MAX, |(_, cost)| cost)
}
