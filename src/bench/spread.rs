//! How durations are spread.

use serde::Serialize;

use crate::base::Span;

/// The middle and the upper end of some durations, in milliseconds; zero where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Half of them take no longer.
    pub p50_ms: f64,
    /// Of a hundred one takes longer.
    pub p99_ms: f64,
    /// Of a thousand one takes longer.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Spread {
    pub(super) fn of(mut spans: Vec<Span>) -> Self {
        spans.sort_unstable();
        let at = |per_mille: usize| {
            let index = (spans.len() * per_mille / 1_000).min(spans.len().saturating_sub(1));
            spans.get(index).map_or(0.0, |span| span.to_std().as_secs_f64() * 1_000.0)
        };
        Self { p50_ms: at(500), p99_ms: at(990), p999_ms: at(999), max_ms: at(1_000) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_end_are_where_they_should_be() {
        let spread = Spread::of((0..1_000).rev().map(Span::millis).collect());
        let expected = Spread { p50_ms: 500.0, p99_ms: 990.0, p999_ms: 999.0, max_ms: 999.0 };
        assert_eq!(spread, expected);
        assert_eq!(Spread::of(Vec::new()), Spread::default());
    }
}
