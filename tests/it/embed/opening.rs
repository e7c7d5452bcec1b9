//! When a directory opens and when it does not.

use std::sync::Arc;

use onward::{
    Error, Onward, Options,
    base::{Clock, Span},
    delivery::Channels,
    engine::ClockCheck,
    store,
};
use serde_json::json;

use super::{Manual, START, channels, open_at, sent, upsert};

#[test]
fn a_second_engine_on_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (channels, _attempts) = channels(|_| Some(sent()));
    let onward = Onward::open(dir.path(), &channels).unwrap();
    let second = Onward::open(dir.path(), &channels);
    let Err(Error::Store(error @ store::Error::InUse { .. })) = second else {
        panic!("{second:?}")
    };
    assert!(error.to_string().contains("is in use"), "{error}");
    onward.close().unwrap();
    Onward::open(dir.path(), &channels).unwrap().close().unwrap();
}

fn open(
    dir: &std::path::Path,
    channels: &Channels,
    time: &str,
    clock_check: ClockCheck,
) -> Result<Onward, Error> {
    let clock: Arc<dyn Clock> = Manual::at(time);
    Onward::open_with(dir, channels, &Options { clock, clock_check, ..Options::default() })
}

#[test]
fn a_clock_that_cannot_be_right_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (channels, _attempts) = channels(|_| Some(sent()));
    // The clock of a new directory may say anything.
    let onward = open_at(dir.path(), &channels, &Manual::at(START));
    let _ = upsert(&onward, &json!({ "id": "ann" })).wait().unwrap();
    onward.close().unwrap();
    for wrong in ["2026-01-02T00:00:01Z", "2025-12-31T23:54:59Z"] {
        let refused = open(dir.path(), &channels, wrong, ClockCheck::Strict);
        let Err(error @ Error::Clock { .. }) = refused else { panic!("{wrong}: {refused:?}") };
        let text = error.to_string();
        assert!(text.contains(wrong) && text.contains(START), "{text}");
    }
    for right in ["2026-01-02T00:00:00Z", "2025-12-31T23:55:00Z"] {
        open(dir.path(), &channels, right, ClockCheck::Strict).expect(right).close().unwrap();
    }
    let late = open(dir.path(), &channels, "2027-01-01T00:00:00Z", ClockCheck::Trust).unwrap();
    late.close().unwrap();
}

#[test]
fn time_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (channels, _attempts) = channels(|_| Some(sent()));
    let clock = Manual::at(START);
    let onward = open_at(dir.path(), &channels, &clock);
    let _ = upsert(&onward, &json!({ "id": "ann" })).wait().unwrap();
    clock.advance(Span::hours(-3));
    let _ = upsert(&onward, &json!({ "id": "bob" })).wait().unwrap();
    let now =
        onward.engine().query(|partition| Ok(partition.recorded_time())).unwrap().wait().unwrap();
    assert_eq!(now.to_string(), START);
}
