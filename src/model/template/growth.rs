//! Growth: what the values of a template can amount to, reckoned before it is ever rendered.
//!
//! Fuel pays for instructions, for text and for the items of one list. It does not pay for walking
//! values inside values, so a list that holds another twice, doubled sixty times, takes for ever to
//! compare. Here every expression gets an upper bound in cells: see
//! [`Size`]. Nothing large is built or walked unpaid.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::machinery::{
    Span,
    ast::{BinOpKind, Call, CallArg, CompareOpKind, Expr, Macro, Stmt, Test, UnaryOpKind},
};

use super::{
    Fault,
    size::{Kind, REPEATED, Size, TEXT, VIEW},
};
use crate::base::limits::{
    CELLS_BUILT_MAX, CELLS_FOLDED_MAX, CELLS_UNPAID_MAX, TEMPLATE_DEPTH_MAX, TEMPLATE_FAULTS_MAX,
};

/// The objects that every template is given.
const GIVEN: [&str; 7] = ["customer", "trigger", "event", "enrollment", "flow", "step", "now"];
/// Tests that do not look into a value.
const PLAIN_TESTS: [&str; 17] = [
    "defined",
    "undefined",
    "none",
    "boolean",
    "number",
    "integer",
    "int",
    "float",
    "string",
    "sequence",
    "iterable",
    "mapping",
    "true",
    "false",
    "odd",
    "even",
    "safe",
];

/// What in the template may grow beyond bounds.
pub(super) fn faults(template: &Stmt<'_>) -> Vec<Fault> {
    let mut growth = Growth::default();
    for name in GIVEN {
        growth.names.insert(name, Size::DATA);
    }
    growth.statement(template);
    // A macro sees what is set before it is called, so all that is ever set is known first.
    while let Some(body) = growth.bodies.pop() {
        growth.body(body);
    }
    growth.faults
}

#[derive(Default)]
pub(super) struct Growth<'t, 's> {
    /// The most that each name ever stands for, wherever it is set.
    names: BTreeMap<&'s str, Size>,
    macros: BTreeSet<&'s str>,
    /// Macros that are still to be looked at.
    bodies: Vec<&'t Macro<'s>>,
    faults: Vec<Fault>,
    depth: usize,
}

impl<'t, 's> Growth<'t, 's> {
    fn statements(&mut self, statements: &'t [Stmt<'s>]) {
        for statement in statements {
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &'t Stmt<'s>) {
        match statement {
            Stmt::Template(it) => self.statements(&it.children),
            Stmt::EmitExpr(it) => {
                self.plain(&it.expr);
            }
            Stmt::ForLoop(it) => {
                let item = self.item(&it.iter);
                let again = if it.recursive { item.or(Size::any(CELLS_UNPAID_MAX)) } else { item };
                self.set(&it.target, again);
                if let Some(filter) = &it.filter_expr {
                    self.plain(filter);
                }
                self.statements(&it.body);
                self.statements(&it.else_body);
            }
            Stmt::IfCond(it) => {
                self.plain(&it.expr);
                self.statements(&it.true_body);
                self.statements(&it.false_body);
            }
            Stmt::WithBlock(it) => {
                for (target, value) in &it.assignments {
                    let value = self.plain(value);
                    self.set(target, value);
                }
                self.statements(&it.body);
            }
            Stmt::Set(it) => {
                let value = self.plain(&it.expr);
                self.set(&it.target, value);
            }
            Stmt::SetBlock(it) => {
                self.statements(&it.body);
                let value = it.filter.as_ref().map_or(Size::TEXT, |filter| self.plain(filter));
                self.set(&it.target, value);
            }
            Stmt::AutoEscape(it) => {
                self.plain(&it.enabled);
                self.statements(&it.body);
            }
            Stmt::FilterBlock(it) => {
                self.statements(&it.body);
                self.plain(&it.filter);
            }
            Stmt::Macro(it) => {
                self.macros.insert(it.name);
                self.bodies.push(it);
            }
            Stmt::CallBlock(it) => {
                self.call(&it.call);
                self.bodies.push(&it.macro_decl);
            }
            Stmt::Do(it) => {
                self.call(&it.call);
            }
            Stmt::EmitRaw(_) | Stmt::Continue(_) | Stmt::Break(_) => {}
        }
    }

    fn body(&mut self, body: &'t Macro<'s>) {
        for default in &body.defaults {
            self.unpaid(default);
        }
        for name in &body.args {
            self.set(name, Size::any(CELLS_UNPAID_MAX));
        }
        self.statements(&body.body);
    }

    /// What a loop over it walks through, one by one.
    fn item(&mut self, list: &'t Expr<'s>) -> Size {
        match list {
            Expr::List(it) => {
                let items = it.items.iter().map(|item| self.built(item));
                items.reduce(Size::or).unwrap_or(Size::NUMBER)
            }
            Expr::Call(it) if self.is_global(&it.expr, "range") => {
                self.plain(list);
                Size::NUMBER
            }
            Expr::Var(_)
            | Expr::Const(_)
            | Expr::Slice(_)
            | Expr::UnaryOp(_)
            | Expr::BinOp(_)
            | Expr::Compare(_)
            | Expr::IfExpr(_)
            | Expr::Filter(_)
            | Expr::Test(_)
            | Expr::GetAttr(_)
            | Expr::GetItem(_)
            | Expr::Call(_)
            | Expr::Tuple(_)
            | Expr::Map(_) => Size::any(self.plain(list).cells),
        }
    }

    fn is_global(&self, expression: &Expr<'_>, name: &str) -> bool {
        matches!(expression, Expr::Var(it) if it.id == name && !self.names.contains_key(name))
    }

    fn set(&mut self, target: &'t Expr<'s>, value: Size) {
        match target {
            Expr::Var(it) => {
                let most = self.names.get(it.id).map_or(value, |before| before.or(value));
                self.names.insert(it.id, most);
            }
            Expr::List(it) => {
                it.items.iter().for_each(|item| self.set(item, Size::any(value.cells)));
            }
            Expr::Tuple(it) => {
                it.items.iter().for_each(|item| self.set(item, Size::any(value.cells)));
            }
            // Nothing else can be set without `namespace`.
            Expr::Const(_)
            | Expr::Slice(_)
            | Expr::UnaryOp(_)
            | Expr::BinOp(_)
            | Expr::Compare(_)
            | Expr::IfExpr(_)
            | Expr::Filter(_)
            | Expr::Test(_)
            | Expr::GetAttr(_)
            | Expr::GetItem(_)
            | Expr::Call(_)
            | Expr::Map(_) => {}
        }
    }

    /// What may be printed, passed on or reckoned with.
    pub(super) fn plain(&mut self, expression: &'t Expr<'s>) -> Size {
        let size = self.size(expression);
        self.bound(size, size.is_plain(), expression.span())
    }

    /// What goes into another value, or into a text that fuel pays for.
    pub(super) fn built(&mut self, expression: &'t Expr<'s>) -> Size {
        let size = self.size(expression);
        self.bound(size, size.cells <= CELLS_BUILT_MAX, expression.span())
    }

    /// What is walked without being paid for.
    pub(super) fn unpaid(&mut self, expression: &'t Expr<'s>) -> Size {
        let size = self.size(expression);
        self.bound(size, size.cells <= CELLS_UNPAID_MAX, expression.span())
    }

    fn bound(&mut self, size: Size, fits: bool, span: Span) -> Size {
        if fits {
            return size;
        }
        if size.cells >= REPEATED {
            let help =
                "say that it is a number, as in (price * quantity) | float, or print it alone";
            self.refuse(span, "a product that may be a list many times over", help)
        } else {
            let help =
                "print or join the parts one by one; do not put lists into lists again and again";
            self.refuse(span, "a value that may hold others too many times over", help)
        }
    }

    fn refuse(&mut self, span: Span, what: &str, help: &str) -> Size {
        if self.faults.len() < TEMPLATE_FAULTS_MAX {
            let (line, column) = (span.start_line, u32::from(span.start_col) + 1);
            let message = format!("{what}, at line {line}, column {column} of the template");
            self.faults.push(Fault::new("template_limit", message, help));
        }
        // Told once, not by all that is made of it.
        Size::NUMBER
    }

    /// All of them in one value.
    fn all(&mut self, items: &'t [Expr<'s>]) -> u64 {
        let items = items.iter().map(|item| self.built(item).cells.saturating_add(1));
        items.fold(1, u64::saturating_add)
    }

    fn size(&mut self, expression: &'t Expr<'s>) -> Size {
        if self.depth == TEMPLATE_DEPTH_MAX {
            let what = format!("over {TEMPLATE_DEPTH_MAX} expressions inside each other");
            return self.refuse(expression.span(), &what, "`set` parts of it before");
        }
        self.depth += 1;
        let size = self.expression(expression);
        self.depth -= 1;
        size
    }

    fn expression(&mut self, expression: &'t Expr<'s>) -> Size {
        match expression {
            Expr::Var(_) if self.is_global(expression, "loop") => Size::NUMBER,
            Expr::Var(it) => self.names.get(it.id).copied().unwrap_or(Size::DATA),
            Expr::Const(it) => Size::constant(&it.value),
            Expr::Slice(it) => {
                let whole = self.unpaid(&it.expr);
                for bound in [&it.start, &it.stop, &it.step].into_iter().flatten() {
                    self.plain(bound);
                }
                match whole.kind {
                    Kind::Text => whole,
                    Kind::Any | Kind::Number | Kind::Float => Size::any(whole.cells + VIEW),
                }
            }
            Expr::UnaryOp(it) => {
                let operand = self.plain(&it.expr);
                match it.op {
                    UnaryOpKind::Not => Size::NUMBER,
                    UnaryOpKind::Neg => operand.arithmetic(operand),
                }
            }
            Expr::BinOp(it) => self.operation(it.op, &it.left, &it.right),
            Expr::Compare(it) => {
                let mut left = &it.expr;
                for next in &it.ops {
                    let within = matches!(next.op, CompareOpKind::In | CompareOpKind::NotIn);
                    self.compared(left, &next.expr, within);
                    left = &next.expr;
                }
                Size::NUMBER
            }
            Expr::IfExpr(it) => {
                self.plain(&it.test_expr);
                let yes = self.plain(&it.true_expr);
                let no = it.false_expr.as_ref().map(|no| self.plain(no));
                no.map_or(yes, |no| yes.or(no))
            }
            Expr::Filter(it) => self.filter(it),
            Expr::Test(it) => self.test(it),
            Expr::GetAttr(it) => match self.plain(&it.expr) {
                number if number.is_number() => number,
                whole => Size::any(whole.cells),
            },
            Expr::GetItem(it) => {
                self.unpaid(&it.subscript_expr);
                Size::any(self.plain(&it.expr).cells)
            }
            Expr::Call(it) => self.call(it),
            Expr::List(it) => Size::any(self.all(&it.items)),
            Expr::Tuple(it) => Size::any(self.all(&it.items)),
            Expr::Map(it) => {
                let keys = it.keys.iter().map(|key| self.unpaid(key).cells);
                let keys = keys.fold(0, u64::saturating_add);
                Size::any(self.all(&it.values).saturating_add(keys))
            }
        }
    }

    fn operation(&mut self, op: BinOpKind, left: &'t Expr<'s>, right: &'t Expr<'s>) -> Size {
        match op {
            BinOpKind::Eq
            | BinOpKind::Ne
            | BinOpKind::Lt
            | BinOpKind::Lte
            | BinOpKind::Gt
            | BinOpKind::Gte => self.compared(left, right, false),
            BinOpKind::In => self.compared(left, right, true),
            BinOpKind::ScAnd | BinOpKind::ScOr => {
                let one = self.plain(left);
                one.or(self.plain(right))
            }
            BinOpKind::Add => {
                let one = self.plain(left);
                one.plus(self.plain(right))
            }
            BinOpKind::Sub | BinOpKind::FloorDiv | BinOpKind::Rem | BinOpKind::Pow => {
                let one = self.plain(left);
                one.arithmetic(self.plain(right))
            }
            BinOpKind::Div => {
                self.plain(left);
                self.plain(right);
                Size::FLOAT
            }
            BinOpKind::Mul => {
                let (one, other) = (self.plain(left), self.plain(right));
                let most = if is_literal(left) && is_literal(right) {
                    CELLS_FOLDED_MAX
                } else {
                    CELLS_BUILT_MAX
                };
                one.times(other, written(left).or_else(|| written(right)), most)
            }
            BinOpKind::Concat => {
                let cells = self.built(left).cells.saturating_add(self.built(right).cells);
                Size { cells: cells.min(TEXT), kind: Kind::Text }
            }
        }
    }

    /// Comparing ends with the shorter of the two.
    fn compared(&mut self, left: &'t Expr<'s>, right: &'t Expr<'s>, within: bool) -> Size {
        if within {
            self.unpaid(left);
            self.unpaid(right);
            return Size::NUMBER;
        }
        let (one, other) = (self.plain(left), self.plain(right));
        let least = if one.cells < other.cells { one } else { other };
        self.bound(least, least.cells <= CELLS_UNPAID_MAX, left.span());
        Size::NUMBER
    }

    pub(super) fn arguments(&mut self, arguments: &'t [CallArg<'s>]) -> Size {
        let mut all = Size::any(0);
        for argument in arguments {
            all.cells = all.cells.saturating_add(self.unpaid(value(argument)).cells);
        }
        all
    }

    fn call(&mut self, call: &'t Call<'s>) -> Size {
        let arguments = self.arguments(&call.args);
        if let Expr::Var(it) = &call.expr
            && self.macros.contains(it.id)
            && !self.names.contains_key(it.id)
        {
            return Size::TEXT;
        }
        if self.is_global(&call.expr, "range") {
            return Size::any(TEXT);
        }
        let cells = self.plain(&call.expr).cells.saturating_add(arguments.cells);
        Size::any(cells.saturating_add(TEXT))
    }

    fn test(&mut self, test: &'t Test<'s>) -> Size {
        if PLAIN_TESTS.contains(&test.name) {
            self.plain(&test.expr);
        } else {
            self.unpaid(&test.expr);
        }
        self.arguments(&test.args);
        Size::NUMBER
    }
}

pub(super) const fn value<'t, 's>(argument: &'t CallArg<'s>) -> &'t Expr<'s> {
    match argument {
        CallArg::Pos(it)
        | CallArg::Kwarg(_, it)
        | CallArg::PosSplat(it)
        | CallArg::KwargSplat(it) => it,
    }
}

/// Whether the expression is evaluated before the template is rendered, as often as it is deep.
fn is_literal(expression: &Expr<'_>) -> bool {
    match expression {
        Expr::Const(_) | Expr::Map(_) => true,
        Expr::List(it) => it.items.iter().all(is_literal),
        Expr::Tuple(it) => it.items.iter().all(is_literal),
        Expr::UnaryOp(it) => is_literal(&it.expr),
        Expr::BinOp(it) => is_literal(&it.left) && is_literal(&it.right),
        Expr::Var(_)
        | Expr::Slice(_)
        | Expr::Compare(_)
        | Expr::IfExpr(_)
        | Expr::Filter(_)
        | Expr::Test(_)
        | Expr::GetAttr(_)
        | Expr::GetItem(_)
        | Expr::Call(_) => false,
    }
}

/// The integer, if it is written as one.
pub(super) fn written(number: &Expr<'_>) -> Option<u64> {
    let Expr::Const(it) = number else { return None };
    if it.value.is_integer() { it.value.as_usize()?.try_into().ok() } else { None }
}
