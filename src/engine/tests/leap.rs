//! A run that waits for the machine's clock, and a clock that leaps.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{full::FLOW, full::opening, *};
use crate::{
    base::{Clock, Timestamp},
    engine::job::{self, Files, Pace, Plan},
};

/// A clock that leaps by a year after the first look.
struct Leaping(AtomicBool);

impl Clock for Leaping {
    fn now(&self) -> Timestamp {
        let has_leapt = self.0.swap(true, Ordering::SeqCst);
        Timestamp::EPOCH.plus(if has_leapt { Span::days(365) } else { Span::ZERO })
    }
}

#[test]
fn a_run_that_waits_stops_where_the_clock_leaps() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let line = |time: &str| format!(r#"{{"name":"signup","customer":"ann","time":"{time}"}}"#);
    let events = format!("{}\n{}\n", line("2026-01-01T00:00:00Z"), line("2026-01-01T01:00:00Z"));
    let files = Files {
        definitions: vec![file("flow.json", FLOW)],
        customers: Some(file("customers", br#"{"id":"ann","email":"ann@x.example"}"#)),
        events: Some(file("events", events.as_bytes())),
    };
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (sender, receiver) = reports();
    let outbound: Outbound = Box::new(move |delivery: Delivery| {
        let outcome = Outcome::Sent { hash: crate::base::ContentHash::of(b"sent") };
        let report = Report { id: delivery.id, attempt: delivery.attempt, outcome };
        // A run that has stopped takes no reports.
        let _ = sender.send(report).is_ok();
        Ok(())
    });
    let owned = recover::own_store(&store, &opening()).unwrap();
    let runner = Runner::start(owned, outbound).unwrap();
    let plan = Plan::new(&files).unwrap();
    let first_event = plan.first_event_time().unwrap();
    let drive = Drive::over(runner, plan, first_event, receiver).unwrap();
    let clock = Arc::new(Leaping(AtomicBool::new(false)));
    let ran = drive.pace(Pace::Real(clock)).run(&mut |_| {});
    let Err(job::Error::Clock { clock, seen }) = ran else { panic!("{ran:?}") };
    assert_eq!((seen, clock), (Timestamp::EPOCH, Timestamp::EPOCH.plus(Span::days(365))));
}
