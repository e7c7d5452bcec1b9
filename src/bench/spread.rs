//! How durations are spread.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::float;
use crate::base::Span;

/// The middle and the upper end of some durations, in milliseconds, to a thousandth of each; zero
/// where there is none.
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
    pub(super) fn of(spans: impl IntoIterator<Item = Span>) -> Self {
        let mut seen = Spans::new();
        spans.into_iter().for_each(|span| seen.add(span));
        seen.spread()
    }
}

/// Durations in microseconds, counted: however many there are, they take the same memory.
#[derive(Debug)]
pub(super) struct Spans(Histogram<u64>);

impl Spans {
    pub(super) fn new() -> Self {
        Self(Histogram::new(3).expect("three digits are among those it can keep"))
    }

    /// One more; a clock that was set back makes it zero.
    pub(super) fn add(&mut self, span: Span) {
        let micros = u64::try_from(span.micros()).unwrap_or(0);
        self.0.record(micros).expect("it grows as far as a number goes");
    }

    pub(super) fn spread(&self) -> Spread {
        let ms = |micros| float(micros) / 1_000.0;
        let at = |quantile| ms(self.0.value_at_quantile(quantile));
        Spread { p50_ms: at(0.5), p99_ms: at(0.99), p999_ms: at(0.999), max_ms: ms(self.0.max()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;

    fn micros(count: i64) -> Span {
        Timestamp::from_micros(count).unwrap().since(Timestamp::EPOCH)
    }

    #[test]
    fn the_middle_and_the_end_are_where_they_should_be() {
        let spread = Spread::of((1..=1_000).rev().map(micros));
        let expected = Spread { p50_ms: 0.5, p99_ms: 0.99, p999_ms: 0.999, max_ms: 1.0 };
        assert_eq!(spread, expected);
        assert_eq!(Spread::of([]), Spread::default());
        assert_eq!(Spread::of([Span::millis(-1), micros(0)]), Spread::default());
    }

    #[test]
    fn the_longest_of_hours_is_there_to_a_thousandth() {
        let Spread { p50_ms, max_ms, .. } = Spread::of([Span::seconds(7_200), Span::millis(3)]);
        assert!((p50_ms - 3.0).abs() <= 0.003, "{p50_ms}");
        assert!((max_ms - 7_200_000.0).abs() <= 7_200.0, "{max_ms}");
    }
}
