//! Sizes: upper bounds of the values in a template, in cells.
//!
//! A number is one cell, a text one for each byte but never more than [`TEXT`], a list or map as
//! many as all it holds.

use minijinja::{Value, value::ValueKind};

use crate::base::limits::{CELLS_BUILT_MAX, PRODUCTS_MAX, TEMPLATE_FUEL, VALUES_BYTES_MAX};

/// Cells of what comes from outside: an item of a list takes at least two bytes of JSON.
pub(super) const DATA: u64 = 16 * 1024;
const _: () = assert!(VALUES_BYTES_MAX <= 2 * 16 * 1024);
/// Cells of a text: all that fuel buys.
pub(super) const TEXT: u64 = TEMPLATE_FUEL;
/// Added by each product that may turn out to be a list, repeated up to a hundred million times.
pub(super) const REPEATED: u64 = 1 << 40;
/// Added by each view into another value, which its walk goes through.
pub(super) const VIEW: u64 = 512;

/// What a value is known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number that repeats nothing.
    Float,
    /// A number or a boolean.
    Number,
    Text,
    Any,
}

/// An upper bound of a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) cells: u64,
    pub(super) kind: Kind,
}

impl Size {
    pub(super) const NUMBER: Self = Self { cells: 1, kind: Kind::Number };
    pub(super) const FLOAT: Self = Self { cells: 1, kind: Kind::Float };
    pub(super) const TEXT: Self = Self { cells: TEXT, kind: Kind::Text };
    pub(super) const DATA: Self = Self::any(DATA);

    pub(super) const fn any(cells: u64) -> Self {
        Self { cells, kind: Kind::Any }
    }

    pub(super) fn constant(value: &Value) -> Self {
        let length = |text: &str| u64::try_from(text.len()).unwrap_or(u64::MAX).saturating_add(1);
        let kind = value.kind();
        if let Some(text) = value.as_str() {
            return Self { cells: length(text).min(TEXT), kind: Kind::Text };
        }
        if value.is_integer() || kind == ValueKind::Bool {
            return Self::NUMBER;
        }
        if kind == ValueKind::Number {
            return Self::FLOAT;
        }
        Self::any(length(&value.to_string()))
    }

    pub(super) const fn is_number(self) -> bool {
        matches!(self.kind, Kind::Float | Kind::Number)
    }

    /// One or the other.
    pub(super) fn or(self, other: Self) -> Self {
        let kind = match (self.kind, other.kind) {
            (one, same) if one == same => one,
            (Kind::Float, Kind::Number) | (Kind::Number, Kind::Float) => Kind::Number,
            _ => Kind::Any,
        };
        Self { cells: self.cells.max(other.cells), kind }
    }

    /// What arithmetic other than `+` and `*` gives.
    pub(super) const fn arithmetic(self, other: Self) -> Self {
        match (self.kind, other.kind) {
            (Kind::Float, _) | (_, Kind::Float) => Self::FLOAT,
            _ => Self::NUMBER,
        }
    }

    /// Whether it may be printed, counted or reckoned with: all that lists of lists are not.
    pub(super) const fn is_plain(self) -> bool {
        self.cells / REPEATED <= PRODUCTS_MAX && self.cells % REPEATED <= CELLS_BUILT_MAX
    }

    /// Both behind each other, as texts, lists or numbers.
    pub(super) fn plus(self, other: Self) -> Self {
        if self.is_number() || other.is_number() {
            return self.arithmetic(other);
        }
        let cells = self.cells.saturating_add(other.cells);
        if self.kind == Kind::Text || other.kind == Kind::Text {
            return Self { cells: cells.min(TEXT), kind: Kind::Text };
        }
        Self::any(cells.saturating_add(VIEW))
    }

    /// The product; `times` is the one that is written as a number, `most` are the cells of a list that stays small.
    pub(super) fn times(self, other: Self, times: Option<u64>, most: u64) -> Self {
        if self.kind == Kind::Float || other.kind == Kind::Float {
            return Self::FLOAT;
        }
        if self.is_number() && other.is_number() {
            return Self::NUMBER;
        }
        if self.kind == Kind::Text || other.kind == Kind::Text {
            return Self::TEXT;
        }
        let larger = self.cells.max(other.cells);
        match times.and_then(|times| larger.checked_mul(times.max(1))) {
            Some(cells) if cells <= most => Self::any(cells.saturating_add(VIEW)),
            _ => Self::any(self.cells.saturating_add(other.cells).saturating_add(REPEATED)),
        }
    }
}
