//! What filters make of the sizes of values.

use minijinja::machinery::ast::{CallArg, Expr, Filter};

use super::{
    growth::{Growth, value, written},
    size::{Size, TEXT},
};

/// Filters that give a text: whatever it says, fuel pays for it.
const TEXTS: [&str; 15] = [
    "string",
    "join",
    "tojson",
    "pprint",
    "escape",
    "e",
    "safe",
    "upper",
    "lower",
    "title",
    "capitalize",
    "trim",
    "indent",
    "urlencode",
    "replace",
];

impl<'t, 's> Growth<'t, 's> {
    pub(super) fn filter(&mut self, filter: &'t Filter<'s>) -> Size {
        match filter.name {
            "float" | "int" => {
                self.input(filter, Self::plain);
                let number = if filter.name == "float" { Size::FLOAT } else { Size::NUMBER };
                // What they give for what is no number.
                let others = filter.args.iter();
                others.fold(number, |so_far, other| so_far.or(self.unpaid(value(other))))
            }
            "abs" | "round" | "length" | "count" | "bool" => {
                let input = self.input(filter, Self::plain);
                self.arguments(&filter.args);
                if filter.name == "round" { input.arithmetic(input) } else { Size::NUMBER }
            }
            "default" | "d" => {
                let input = self.input(filter, Self::plain);
                let others = filter.args.iter();
                others.fold(input, |so_far, other| so_far.or(self.plain(value(other))))
            }
            "first" | "last" | "attr" => {
                let input = self.input(filter, Self::plain);
                self.arguments(&filter.args);
                Size::any(input.cells)
            }
            "format" => {
                self.input(filter, Self::built);
                let only_numbers = filter.expr.as_ref().is_some_and(formats_numbers);
                let bound = if only_numbers { Self::plain } else { Self::unpaid };
                for argument in &filter.args {
                    bound(self, value(argument));
                }
                Size::TEXT
            }
            "list" | "reverse" => Size::any(self.input(filter, Self::built).cells),
            text if TEXTS.contains(&text) => {
                self.input(filter, Self::built);
                self.arguments(&filter.args);
                Size::TEXT
            }
            _ => {
                let input = self.input(filter, Self::unpaid);
                let first = self.arguments(filter.args.get(..1).unwrap_or_default());
                let later = self.arguments(filter.args.get(1..).unwrap_or_default());
                made(filter, input.cells, first.cells, later.cells)
            }
        }
    }

    fn input(
        &mut self,
        filter: &'t Filter<'s>,
        bound: fn(&mut Self, &'t Expr<'s>) -> Size,
    ) -> Size {
        // That of a block is the text of the block.
        filter.expr.as_ref().map_or(Size::TEXT, |input| bound(self, input))
    }
}

/// What a filter makes of the parts of its input, with the sizes of its first argument and of the others.
fn made(filter: &Filter<'_>, input: u64, first: u64, later: u64) -> Size {
    let named = filter.args.first();
    let fills = |count: u64| count.saturating_mul(later.saturating_add(1));
    let cells = match filter.name {
        "sort" | "unique" | "select" | "reject" | "selectattr" | "rejectattr" | "min" | "max"
        | "sum" => input,
        "split" | "lines" => TEXT,
        "chain" | "zip" => input.saturating_add(first).saturating_add(later).saturating_mul(2),
        // As many lists, or gaps in one, as are asked for or fuel pays for.
        "batch" | "slice" => {
            let count = named.and_then(|count| written(value(count))).unwrap_or(TEXT);
            input.saturating_mul(2).saturating_add(fills(count))
        }
        "map" if named.is_some_and(names_a_text) => input.max(TEXT),
        _ => input.saturating_add(fills(input)),
    };
    Size::any(cells)
}

fn names_a_text(argument: &CallArg<'_>) -> bool {
    matches!(argument, CallArg::Pos(Expr::Const(name))
        if name.value.as_str().is_some_and(|name| TEXTS.contains(&name)))
}

/// Whether a format that is written as a text takes nothing but numbers.
fn formats_numbers(format: &Expr<'_>) -> bool {
    let Expr::Const(it) = format else { return false };
    let Some(text) = it.value.as_str() else { return false };
    let text = text.replace("%%", "");
    text.split('%').skip(1).all(|part| {
        let flags = |at: char| at.is_ascii_digit() || "+-#. ".contains(at);
        part.trim_start_matches(flags).starts_with(['d', 'f', 'F', 'e', 'E', 'g', 'G'])
    })
}
