//! From text to what can be evaluated: parse, check against the limits, put slots for variables.

use cel::{
    IdedExpr, Program,
    common::{
        ast::{
            CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, ListExpr, LiteralValue,
            MapEntryExpr, MapExpr, operators,
        },
        types::CelString,
    },
};

use super::{
    Needs, Place,
    functions::{self, GLOBALS},
    plain::Plain,
    slot::{self, Path, Slot},
};
use crate::{
    base::limits::{
        CONDITION_BYTES_MAX, CONDITION_DEPTH_MAX, CONDITION_LIST_MAX, CONDITION_NODES_MAX,
    },
    model::finding::Fault,
};

/// What the macros call their own variable; no text can spell it.
const ACCUMULATOR: &str = "@result";

/// A checked expression.
pub(super) struct Compiled {
    /// What to evaluate: CEL over the slots, each an identifier `@0`, `@1`, ...
    pub(super) expression: IdedExpr,
    /// What to fill in.
    pub(super) slots: Vec<Slot>,
    /// What the slots need.
    pub(super) needs: Needs,
    /// The same where it is so simple that it needs no library.
    pub(super) plain: Option<Plain>,
}

/// Parses and checks; recurses as deep as the text nests.
pub(super) fn compile(source: &str, place: Place) -> Result<Compiled, Vec<Fault>> {
    if source.len() > CONDITION_BYTES_MAX {
        let message = format!("{} bytes of condition", source.len());
        let help = format!("a condition has at most {CONDITION_BYTES_MAX} bytes");
        return Err(vec![Fault::new("condition_limit", message, help)]);
    }
    let program = Program::compile(source).map_err(syntax)?;
    let mut compiler = Compiler {
        place,
        slots: Vec::new(),
        faults: Vec::new(),
        nodes: 0,
        depth: 0,
        variable: None,
    };
    let expression = compiler.rewrite(program.expression());
    if !compiler.faults.is_empty() {
        return Err(compiler.faults);
    }
    let needs = slot::needs(&compiler.slots);
    let plain = Plain::of(&expression, &compiler.slots);
    Ok(Compiled { expression, slots: compiler.slots, needs, plain })
}

fn syntax(errors: cel::ParseErrors) -> Vec<Fault> {
    let help = "conditions are CEL, such as customer.attributes.country == 'France'";
    let fault = |error: cel::ParseError| {
        let (line, column) = error.pos;
        let message = error.msg.lines().next().unwrap_or("not an expression").to_owned();
        let place = format!("{message}, at line {line} column {column} of the condition");
        Fault::new("condition", place, help)
    };
    // One mistake makes the parser stumble on; the first tells most.
    let first = errors.errors.into_iter().next().map(fault);
    vec![first.unwrap_or_else(|| Fault::new("condition", "not an expression", help))]
}

pub(super) struct Compiler<'a> {
    place: Place,
    slots: Vec<Slot>,
    faults: Vec<Fault>,
    nodes: usize,
    depth: usize,
    /// The variable of the macro whose body this is.
    variable: Option<&'a str>,
}

impl<'a> Compiler<'a> {
    pub(super) fn rewrite(&mut self, node: &'a IdedExpr) -> IdedExpr {
        self.nodes += 1;
        if self.nodes > CONDITION_NODES_MAX || self.depth >= CONDITION_DEPTH_MAX {
            return self.too_complex();
        }
        self.depth += 1;
        let expr = match &node.expr {
            Expr::Literal(_) => node.expr.clone(),
            Expr::Ident(name) if name == ACCUMULATOR || self.variable == Some(name) => {
                node.expr.clone()
            }
            Expr::Ident(_) => self.select(node),
            Expr::Select(select) if select.test => self.presence(&select.operand, &select.field),
            Expr::Select(_) => self.select(node),
            Expr::Call(call) => self.call(node, call),
            Expr::List(list) => self.list(list),
            Expr::Map(map) => self.map(map),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Struct(_) | Expr::Unspecified => self.fault("condition", "a struct", "use a map"),
        };
        self.depth -= 1;
        IdedExpr { id: node.id, expr }
    }

    pub(super) fn fault(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        help: &str,
    ) -> Expr {
        self.faults.push(Fault::new(code, message, help));
        Expr::Literal(LiteralValue::Null)
    }

    fn too_complex(&mut self) -> IdedExpr {
        if !self.faults.iter().any(|fault| fault.code == "condition_limit") {
            let help = format!(
                "at most {CONDITION_NODES_MAX} names, values and operators, \
                 {CONDITION_DEPTH_MAX} deep"
            );
            self.fault("condition_limit", "the condition is too complex", &help);
        }
        IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Null) }
    }

    pub(super) fn slot(&mut self, slot: Slot) -> Expr {
        let place = self.slots.iter().position(|known| *known == slot).unwrap_or_else(|| {
            self.slots.push(slot);
            self.slots.len() - 1
        });
        Expr::Ident(format!("@{place}"))
    }

    /// A name with fields and constant keys, or a field of something computed.
    fn select(&mut self, node: &'a IdedExpr) -> Expr {
        if let Some((root, keys)) = self.chain(node) {
            return match Path::new(root, &keys, self.place) {
                Ok(path) => self.slot(Slot::Value(path)),
                Err(fault) => {
                    self.faults.push(fault);
                    Expr::Literal(LiteralValue::Null)
                }
            };
        }
        let Expr::Select(select) = &node.expr else {
            return self.fault("condition", "a name that leads nowhere", "name a variable");
        };
        let operand = self.rewrite(&select.operand);
        keep(functions::GET, vec![operand, text(&select.field)])
    }

    fn presence(&mut self, operand: &'a IdedExpr, field: &'a str) -> Expr {
        if let Some((root, mut keys)) = self.chain(operand) {
            keys.push(field);
            return match Path::new(root, &keys, self.place) {
                Ok(path) => self.slot(Slot::Present(path)),
                Err(fault) => {
                    self.faults.push(fault);
                    Expr::Literal(LiteralValue::Null)
                }
            };
        }
        let operand = self.rewrite(operand);
        keep(functions::HAS, vec![operand, text(field)])
    }

    /// The variable and the constant keys that a node spells.
    fn chain(&mut self, node: &'a IdedExpr) -> Option<(&'a str, Vec<&'a str>)> {
        let (mut node, mut keys) = (node, Vec::new());
        loop {
            match &node.expr {
                Expr::Ident(name) if name == ACCUMULATOR || self.variable == Some(name) => {
                    return None;
                }
                Expr::Ident(name) => {
                    keys.reverse();
                    self.nodes += keys.len();
                    if self.nodes > CONDITION_NODES_MAX {
                        self.too_complex();
                    }
                    return Some((name, keys));
                }
                Expr::Select(select) if !select.test => {
                    keys.push(select.field.as_str());
                    node = &select.operand;
                }
                Expr::Call(call) if call.func_name == operators::INDEX => {
                    let [operand, index] = call.args.as_slice() else { return None };
                    keys.push(literal(index)?);
                    node = operand;
                }
                Expr::Call(_)
                | Expr::Comprehension(_)
                | Expr::List(_)
                | Expr::Literal(_)
                | Expr::Map(_)
                | Expr::Select(_)
                | Expr::Struct(_)
                | Expr::Unspecified => return None,
            }
        }
    }

    fn call(&mut self, node: &'a IdedExpr, call: &'a CallExpr) -> Expr {
        let name = call.func_name.as_str();
        if let Some(target) = &call.target {
            return self.method(name, target, &call.args);
        }
        match name {
            operators::INDEX => {
                if self.chain(node).is_some() {
                    return self.select(node);
                }
                keep(functions::GET, self.all(&call.args))
            }
            operators::ADD if is_accumulator(call.args.first()) => keep(name, self.all(&call.args)),
            operators::ADD => keep(functions::ADD, self.all(&call.args)),
            operators::SUBSTRACT => keep(functions::SUBTRACT, self.all(&call.args)),
            operators::MULTIPLY => keep(functions::MULTIPLY, self.all(&call.args)),
            operators::DIVIDE => keep(functions::DIVIDE, self.all(&call.args)),
            operators::MODULO => keep(functions::REMAINDER, self.all(&call.args)),
            operators::CONDITIONAL
            | operators::LOGICAL_AND
            | operators::LOGICAL_OR
            | operators::LOGICAL_NOT
            | operators::EQUALS
            | operators::NOT_EQUALS
            | operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS
            | operators::NEGATE
            | operators::IN
            | operators::NOT_STRICTLY_FALSE => keep(name, self.all(&call.args)),
            "matches" => match call.args.as_slice() {
                [subject, pattern] => self.matches(subject, pattern),
                _ => {
                    self.fault("condition", "`matches` needs two arguments", "matches(text, 'a.*')")
                }
            },
            _ if GLOBALS.contains(&name) => keep(name, self.all(&call.args)),
            _ => self.own_function(name, &call.args),
        }
    }

    pub(super) fn all(&mut self, nodes: &'a [IdedExpr]) -> Vec<IdedExpr> {
        nodes.iter().map(|node| self.rewrite(node)).collect()
    }

    fn list(&mut self, list: &'a ListExpr) -> Expr {
        if list.elements.len() > CONDITION_LIST_MAX || !list.optional_indices.is_empty() {
            return self.long_list();
        }
        Expr::List(ListExpr::new(self.all(&list.elements)))
    }

    fn long_list(&mut self) -> Expr {
        let help = format!("at most {CONDITION_LIST_MAX} elements, none optional");
        self.fault("condition_limit", "a list or map that is too long", &help)
    }

    fn map(&mut self, map: &'a MapExpr) -> Expr {
        if map.entries.len() > CONDITION_LIST_MAX {
            return self.long_list();
        }
        let mut entries = Vec::new();
        for entry in &map.entries {
            let EntryExpr::MapEntry(MapEntryExpr { key, value, optional: false }) = &entry.expr
            else {
                return self.long_list();
            };
            let (key, value) = (self.rewrite(key), self.rewrite(value));
            let expr = EntryExpr::MapEntry(MapEntryExpr { key, value, optional: false });
            entries.push(IdedEntryExpr { id: entry.id, expr });
        }
        Expr::Map(MapExpr { entries })
    }

    fn comprehension(&mut self, comprehension: &'a ComprehensionExpr) -> Expr {
        let name = comprehension.iter_var.as_str();
        if self.variable.is_some() || comprehension.iter_var2.is_some() {
            let help = "`all`, `exists`, `map` and `filter` do not nest";
            return self.fault("condition_limit", "a macro inside a macro", help);
        }
        if slot::is_root(name, self.place) {
            let message = format!("`{name}` is a variable already");
            return self.fault("condition", message, "give the macro's variable another name");
        }
        let items = keep(functions::ITEMS, vec![self.rewrite(&comprehension.iter_range)]);
        self.variable = Some(name);
        let rewritten = ComprehensionExpr {
            iter_range: IdedExpr { id: 0, expr: items },
            iter_var: name.to_owned(),
            iter_var2: None,
            accu_var: comprehension.accu_var.clone(),
            accu_init: self.rewrite(&comprehension.accu_init),
            loop_cond: self.rewrite(&comprehension.loop_cond),
            loop_step: self.rewrite(&comprehension.loop_step),
            result: self.rewrite(&comprehension.result),
        };
        self.variable = None;
        Expr::Comprehension(Box::new(rewritten))
    }
}

fn is_accumulator(node: Option<&IdedExpr>) -> bool {
    node.is_some_and(|node| matches!(&node.expr, Expr::Ident(name) if name == ACCUMULATOR))
}

/// The text that a node spells in quotes.
pub(super) fn literal(node: &IdedExpr) -> Option<&str> {
    let Expr::Literal(LiteralValue::String(text)) = &node.expr else { return None };
    Some(text.inner())
}

fn text(text: &str) -> IdedExpr {
    let literal = LiteralValue::String(CelString::from(text.to_owned()));
    IdedExpr { id: 0, expr: Expr::Literal(literal) }
}

pub(super) fn keep(name: &str, args: Vec<IdedExpr>) -> Expr {
    Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args })
}
