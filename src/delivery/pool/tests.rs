//! The pool against channels that are slow, panic, or never answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::tests::{delivery, email, mailbox, push, subscription};
use super::super::{Log, Sending};
use super::*;
use crate::base::limits::ERROR_BYTES_MAX;
use tokio::sync::Semaphore;

const PATIENCE: Duration = Duration::from_secs(30);

type Report = (DeliveryId, u32, Outcome);

/// A pool and what it reports.
fn pool(channels: &Channels, workers: usize) -> (Pool, Receiver<Report>) {
    let (reports, reported) = crossbeam_channel::unbounded();
    let report = move |id, attempt, outcome| reports.send((id, attempt, outcome)).unwrap();
    (Pool::start(channels, workers, report).unwrap(), reported)
}

fn mail(number: usize) -> Delivery {
    delivery(&format!("e0-{number}.1"), mailbox(), email())
}

fn note(number: usize) -> Delivery {
    delivery(&format!("e0-{number}.1.1"), subscription(), push())
}

/// Sends only as often as the test permits, and keeps the largest number of sends at once.
#[derive(Clone)]
struct Gated {
    gate: Arc<Semaphore>,
    entered: Arc<Semaphore>,
    at_once: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Gated {
    fn closed() -> Self {
        Self {
            gate: Arc::new(Semaphore::new(0)),
            entered: Arc::new(Semaphore::new(0)),
            at_once: Arc::default(),
            most: Arc::default(),
        }
    }
}

impl Channel for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn send(&self, message: Arc<Message>) -> Sending<'_> {
        Box::pin(async move {
            let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            self.entered.add_permits(1);
            self.gate.acquire().await.unwrap().forget();
            self.at_once.fetch_sub(1, Ordering::SeqCst);
            Log.send(message).await
        })
    }
}

/// Fails in the way the subject of the message says.
struct Broken;

impl Channel for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn send(&self, message: Arc<Message>) -> Sending<'_> {
        Box::pin(async move {
            match message.attempt {
                1 => panic!("the {} th of May", 4),
                2 => panic!("a plain text"),
                3 => Outcome::Rejected { error: "é".repeat(ERROR_BYTES_MAX) },
                _ => std::future::pending().await,
            }
        })
    }
}

#[test]
fn a_full_channel_refuses_and_holds_up_no_other() {
    let gated = Gated::closed();
    let channels = Channels { email: Arc::new(gated.clone()), push: Arc::new(Log) };
    let (pool, reported) = pool(&channels, 3);
    let mut taken = 0;
    let refused = loop {
        match pool.offer(mail(taken + 1)) {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.id, mail(taken + 1).id);
    assert!((CHANNEL_QUEUE..=CHANNEL_QUEUE + 3).contains(&taken), "{taken}");

    pool.offer(note(1)).unwrap();
    let (id, attempt, outcome) = reported.recv_timeout(PATIENCE).unwrap();
    assert_eq!((id, attempt), (note(1).id, 1));
    assert!(matches!(outcome, Outcome::Sent { .. }));
    assert!(reported.is_empty());

    gated.gate.add_permits(taken);
    pool.stop();
    let mut ids: Vec<_> = reported.try_iter().map(|(id, ..)| id).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=taken).map(|number| mail(number).id).collect::<Vec<_>>());
    assert_eq!(gated.most.load(Ordering::SeqCst), 3);
}

#[test]
fn a_panic_and_a_long_error_come_back_as_outcomes_and_the_worker_goes_on() {
    let (pool, reported) = pool(&Channels::all(Broken), 1);
    let outcomes: Vec<_> = (1..=3)
        .map(|attempt| {
            pool.offer(Delivery { attempt, ..mail(1) }).unwrap();
            let (_, reported, outcome) = reported.recv_timeout(PATIENCE).unwrap();
            assert_eq!(reported, attempt);
            outcome
        })
        .collect();
    let broken = |error: &str| Outcome::Broken { error: error.to_owned() };
    assert_eq!(
        outcomes,
        [
            broken("channel broken panicked: the 4 th of May"),
            broken("channel broken panicked: a plain text"),
            Outcome::Rejected { error: "é".repeat(ERROR_BYTES_MAX / 2) },
        ]
    );
}

#[tokio::test]
async fn a_send_without_answer_is_deferred() {
    let silent = Delivery { attempt: 4, ..mail(1) };
    let outcome = Attempt::new(Arc::new(Broken), silent).answer_within(Duration::ZERO).await;
    let error = "channel broken gave no answer within 0 s".to_owned();
    assert_eq!(outcome, Outcome::Broken { error });
}

#[tokio::test]
async fn inside_a_runtime_a_pool_starts_stops_and_drops() {
    let (first, reported) = pool(&Channels::all(Log), 2);
    first.offer(mail(1)).unwrap();
    first.stop();
    assert_eq!(reported.len(), 1);
    let gated = Gated::closed();
    let (second, reported) = pool(&Channels::all(gated.clone()), 2);
    second.offer(mail(2)).unwrap();
    gated.entered.acquire().await.unwrap().forget();
    drop(second);
    assert!(reported.is_empty());
}

#[test]
fn outside_a_runtime_a_pool_with_work_under_way_drops() {
    let gated = Gated::closed();
    let (pool, reported) = pool(&Channels::all(gated), 1);
    pool.offer(mail(1)).unwrap();
    drop(pool);
    assert!(reported.is_empty());
}
