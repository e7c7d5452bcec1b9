//! A log that is kept for a time only, and rows that stay as they are for a reader, while the engine
//! runs.

use std::sync::Arc;

use onward::{
    Error, Onward, Options,
    base::{Clock, Limits, Lsn, Span, Timestamp},
    machine::row::Row as Stored,
    store::{
        Row,
        image::{Digest, StoredPages},
    },
};

use super::{Manual, PATIENCE, START, channels, email, enrollments, enter, publish, sent};

/// The rows of the engine as a program of its own would read them.
#[derive(Debug, Clone, PartialEq)]
struct Read(Stored);

impl Row for Read {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(bytes: &[u8]) -> Result<Self, onward::base::Malformed> {
        Stored::decode(bytes).map(Self)
    }

    fn is_expired(&self, now: Timestamp) -> bool {
        self.0.is_expired(now)
    }
}

fn open(dir: &std::path::Path, clock: &Arc<Manual>) -> Onward {
    let (channels, _attempts) = channels(|_| Some(sent()));
    let clock: Arc<dyn Clock> = Arc::<Manual>::clone(clock);
    let limits = Limits {
        checkpoint_records: 4,
        keep_log: Some(Span::hours(72)),
        base_copy_bytes: 0,
        ..Limits::default()
    };
    Onward::open_with(dir, &channels, &Options { clock, limits, ..Options::default() }).unwrap()
}

/// Up to which record the log is trimmed.
fn trimmed(onward: &Onward) -> Lsn {
    onward.engine().query(|it| Ok(it.start()?.at())).unwrap().wait().unwrap()
}

#[test]
fn a_running_engine_trims_its_log_and_says_what_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Manual::at(START);
    let onward = open(dir.path(), &clock);
    publish(&onward, &[email(1, "Hello")]);
    let first = enter(&onward, "c0");
    assert!(!onward.history(first).unwrap().wait().unwrap().is_empty());
    let pause = std::time::Duration::from_millis(5);
    let mut day = 0;
    // A checkpoint comes when it comes, and trimming after it.
    while trimmed(&onward) < first.lsn {
        assert!(day < PATIENCE.as_millis() / pause.as_millis(), "nothing is trimmed");
        day += 1;
        clock.advance(Span::days(1));
        enter(&onward, &format!("c{day}"));
        let _ = crossbeam_channel::never::<()>().recv_timeout(pause);
    }
    for gone in [onward.enrollment(first).unwrap().wait().map(drop), {
        onward.history(first).unwrap().wait().map(drop)
    }] {
        let Err(Error::Trimmed { lsn, begins }) = gone else { panic!("{gone:?}") };
        assert!(lsn == first.lsn && first.lsn < begins, "{lsn} {begins}");
    }
    // The engine goes on, and the rows are all there.
    assert_eq!(enrollments(&onward, "c0")[0].0, first);
    let last = enter(&onward, "last");
    assert!(!onward.history(last).unwrap().wait().unwrap().is_empty());
    let found = onward.engine().query(move |it| Ok(it.search_enrollment(first)?));
    assert!(found.unwrap().wait().unwrap().is_some());
    onward.close().unwrap();
    open(dir.path(), &clock).close().unwrap();
}

#[test]
fn frozen_rows_stay_as_they_are_while_events_come_in() {
    let dir = tempfile::tempdir().unwrap();
    let onward = open(dir.path(), &Manual::at(START));
    publish(&onward, &[email(1, "Hello")]);
    enter(&onward, "early");
    let frozen = onward.engine().freeze().unwrap().wait().unwrap();
    let at = frozen.checkpoint().at;
    let digest = || {
        let mut digest = Digest::new(frozen.checkpoint().time);
        let mut pages = StoredPages::default();
        while let Some(stored) = pages.next::<Read>(&**frozen.store()).unwrap() {
            digest.add_page(&stored.page).unwrap();
        }
        digest.finish()
    };
    let before = digest();
    assert!(before.0 > 3 && at > Lsn::ZERO);
    for number in 0..20 {
        enter(&onward, &format!("c{number}"));
        assert_eq!(digest(), before);
    }
    frozen.check().unwrap();
    drop(frozen);
    let again = onward.engine().freeze().unwrap().wait().unwrap();
    assert!(at < again.checkpoint().at);
    onward.close().unwrap();
    assert!(again.check().is_err(), "a stop waits for no reader");
}
