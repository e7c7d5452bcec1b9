//! Time as an argument: instants, spans, their grammar, and the [`Clock`] trait without an
//! implementation.

use std::{fmt, str::FromStr};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where "now" comes from. The engine asks once a round; nothing below it ever does.
pub trait Clock: Send + Sync {
    /// The instant it is.
    fn now(&self) -> Timestamp;
}

/// An instant: microseconds since 1970-01-01T00:00:00Z, from then to the end of the year 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(
    // Invariant: EPOCH..=MAX.
    i64,
);

/// Why a number or a text is no instant or span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadTime {
    /// Not RFC 3339.
    #[error("a time is written like 2026-01-31T08:00:00Z")]
    Instant,
    /// Before 1970 or after 9999.
    #[error("a time lies between 1970-01-01 and 9999-12-31")]
    Range,
    /// Not in the grammar of durations.
    #[error("a duration is written like 2d3h, 45m or P3DT2H, without months and years")]
    Span,
    /// Longer than [`Span::MAX`].
    #[error("a duration is at most 36500 days")]
    SpanRange,
}

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);
    /// 9999-12-31T23:59:59.999999Z.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// The instant `micros` microseconds after 1970 began.
    pub const fn from_micros(micros: i64) -> Result<Self, BadTime> {
        if micros < Self::EPOCH.0 || micros > Self::MAX.0 {
            return Err(BadTime::Range);
        }
        Ok(Self(micros))
    }

    /// Microseconds since 1970 began.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339.
    pub fn parse(text: &str) -> Result<Self, BadTime> {
        let instant = DateTime::parse_from_rfc3339(text).map_err(|_| BadTime::Instant)?;
        Self::from_micros(instant.timestamp_micros())
    }

    /// `span` later, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0)).min(Self::MAX)
    }

    /// `span` earlier, at least [`Timestamp::EPOCH`].
    #[must_use]
    pub fn minus(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0)).max(Self::EPOCH)
    }

    /// How long after `earlier` this is; nothing where it is not after.
    pub fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0).max(0))
    }

    /// The same instant for chrono.
    pub fn to_chrono(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).expect("1970 to 9999 is within chrono's range")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_chrono().to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl FromStr for Timestamp {
    type Err = BadTime;

    fn from_str(text: &str) -> Result<Self, BadTime> {
        Self::parse(text)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        if deserializer.is_human_readable() {
            Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
        } else {
            Self::from_micros(i64::deserialize(deserializer)?).map_err(D::Error::custom)
        }
    }
}

/// A length of time, in microseconds, from nothing to [`Span::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(
    // Invariant: 0..=MAX, except that `since` may span the whole range of instants.
    i64,
);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The least time that passes.
    pub const MICROSECOND: Self = Self(1);
    /// 36,500 days.
    pub const MAX: Self = Self::days(36_500);

    /// Whole milliseconds.
    pub const fn millis(count: i64) -> Self {
        Self(count * 1_000)
    }

    /// Whole seconds.
    pub const fn seconds(count: i64) -> Self {
        Self(count * 1_000_000)
    }

    /// Whole minutes.
    pub const fn minutes(count: i64) -> Self {
        Self::seconds(count * 60)
    }

    /// Whole hours.
    pub const fn hours(count: i64) -> Self {
        Self::minutes(count * 60)
    }

    /// Days of 24 hours.
    pub const fn days(count: i64) -> Self {
        Self::hours(count * 24)
    }

    /// Microseconds.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// So many times as long, at most [`Span::MAX`].
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self(self.0.saturating_mul(i64::from(count))).min(Self::MAX)
    }

    /// The same length for the standard library.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_micros(self.0.unsigned_abs())
    }

    /// A number of days of 24 hours, fractions allowed, rounded to the microsecond.
    pub fn from_days(days: f64) -> Result<Self, BadTime> {
        let micros = days * 86_400_000_000.0;
        if micros.is_nan() || micros < 0.0 {
            return Err(BadTime::Span);
        }
        // Printed and parsed, because a float has no checked conversion to an integer.
        let whole = format!("{:.0}", micros.round()).parse().map_err(|_| BadTime::SpanRange)?;
        if whole > Self::MAX.0 { Err(BadTime::SpanRange) } else { Ok(Self(whole)) }
    }

    /// Reads `2d3h` or `45m` (whole numbers of `w d h m s ms`, largest first, each at most once) or
    /// ISO 8601 `P3DT2H` with weeks, days, hours, minutes and seconds.
    pub fn parse(text: &str) -> Result<Self, BadTime> {
        let micros = match text.strip_prefix('P') {
            Some(iso) => parse_iso(iso)?,
            None => parse_units(text, &SHORT_UNITS)?,
        };
        if micros > Self::MAX.0 {
            return Err(BadTime::SpanRange);
        }
        Ok(Self(micros))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, micros) in SHORT_UNITS.iter().chain(&[("us", 1)]) {
            if rest >= *micros && *unit != "w" {
                write!(f, "{}{unit}", rest / micros)?;
                rest %= micros;
            }
        }
        Ok(())
    }
}

const SHORT_UNITS: [(&str, i64); 6] = [
    ("w", Span::days(7).0),
    ("d", Span::days(1).0),
    ("h", Span::hours(1).0),
    ("m", Span::minutes(1).0),
    ("s", Span::seconds(1).0),
    ("ms", Span::millis(1).0),
];

const ISO_DATE_UNITS: [(&str, i64); 2] = [("W", Span::days(7).0), ("D", Span::days(1).0)];

const ISO_TIME_UNITS: [(&str, i64); 3] =
    [("H", Span::hours(1).0), ("M", Span::minutes(1).0), ("S", Span::seconds(1).0)];

fn parse_iso(text: &str) -> Result<i64, BadTime> {
    let Some((date, time)) = text.split_once('T') else {
        return parse_units(text, &ISO_DATE_UNITS);
    };
    let days = if date.is_empty() { 0 } else { parse_units(date, &ISO_DATE_UNITS)? };
    days.checked_add(parse_units(time, &ISO_TIME_UNITS)?).ok_or(BadTime::SpanRange)
}

/// One or more `<digits><unit>`, units in the order of the table.
fn parse_units(text: &str, units: &[(&str, i64)]) -> Result<i64, BadTime> {
    let mut rest = text;
    let mut units = units.iter();
    let mut total = 0_i64;
    while !rest.is_empty() || total == 0 && rest.len() == text.len() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, tail) = tail.split_at(letters);
        let (_, micros) = units.by_ref().find(|(name, _)| *name == unit).ok_or(BadTime::Span)?;
        if number.is_empty() {
            return Err(BadTime::Span);
        }
        let count: i64 = number.parse().map_err(|_| BadTime::SpanRange)?;
        let part = count.checked_mul(*micros).ok_or(BadTime::SpanRange)?;
        total = total.checked_add(part).ok_or(BadTime::SpanRange)?;
        rest = tail;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_grammar_of_durations() {
        for (text, micros) in [
            ("2d3h", Span::hours(51)),
            ("45m", Span::minutes(45)),
            ("0s", Span::ZERO),
            ("1w", Span::days(7)),
            ("P30D", Span::days(30)),
            ("P3DT2H", Span::hours(74)),
            ("PT5M", Span::minutes(5)),
            ("250ms", Span::millis(250)),
        ] {
            assert_eq!(Span::parse(text), Ok(micros), "{text}");
        }
        for text in [
            "", "P", "PT", "P1DT", "1", "d", "3h2d", "1d1d", "P1Y", "P1M", "-1d", "1.5d", "1 d",
            "é",
        ] {
            assert_eq!(Span::parse(text), Err(BadTime::Span), "{text}");
        }
        assert_eq!(Span::parse("99999999999d"), Err(BadTime::SpanRange));
        assert_eq!(Span::parse("99999999999999999999d"), Err(BadTime::SpanRange));
    }

    #[test]
    fn days_may_have_fractions() {
        assert_eq!(Span::from_days(0.5), Ok(Span::hours(12)));
        assert_eq!(Span::from_days(-1.0), Err(BadTime::Span));
        assert_eq!(Span::from_days(f64::NAN), Err(BadTime::Span));
        assert_eq!(Span::from_days(1e300), Err(BadTime::SpanRange));
        assert_eq!(Span::from_days(40_000.0), Err(BadTime::SpanRange));
    }

    proptest! {
        #[test]
        fn an_instant_reads_back_as_printed(micros in 0..=Timestamp::MAX.micros()) {
            let instant = Timestamp::from_micros(micros).unwrap();
            prop_assert_eq!(Timestamp::parse(&instant.to_string()), Ok(instant));
        }

        #[test]
        fn any_text_is_a_span_or_an_error(text: String) {
            if let Ok(span) = Span::parse(&text) {
                prop_assert!(Span::ZERO <= span && span <= Span::MAX);
            }
        }
    }
}
