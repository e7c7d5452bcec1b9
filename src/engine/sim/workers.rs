//! The workers: they take deliveries, and report late, in any order, twice, wrongly, or never.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{rng::Rng, swarm::Swarm};
use crate::{
    base::{ContentHash, DeliveryId, InstanceId},
    engine::runner::{Outbound, Report},
    machine::delivery::{Delivery, Outcome},
};

/// What workers have truly reported: the text of each attempt's end.
#[derive(Debug, Default)]
pub(super) struct Reported(BTreeMap<(DeliveryId, u32), String>);

impl Reported {
    pub(super) fn said(&self, id: DeliveryId, attempt: u32) -> Option<String> {
        self.0.get(&(id, attempt)).cloned()
    }
}

/// What a worker has taken.
#[derive(Debug)]
struct Taken {
    id: DeliveryId,
    attempt: u32,
    /// What the channel got.
    content: Result<String, String>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Workers {
    seed: u64,
    arrived: Arc<Mutex<VecDeque<Delivery>>>,
    /// There is no room once in so many times.
    pub(super) refusals: Arc<AtomicU64>,
    taken: Vec<Taken>,
    /// Whether one of them will never report to this engine.
    pub(super) is_silent: bool,
    /// Messages by what receivers tell them apart by, as channels saw them first.
    messages: BTreeMap<(DeliveryId, InstanceId), String>,
    pub(super) reported: Reported,
    pub(super) deliveries: u64,
}

impl Workers {
    pub(super) fn new(seed: u64, refusals: u64) -> Self {
        Self {
            seed,
            arrived: Arc::default(),
            refusals: Arc::new(AtomicU64::new(refusals)),
            taken: Vec::new(),
            is_silent: false,
            messages: BTreeMap::new(),
            reported: Reported::default(),
            deliveries: 0,
        }
    }

    /// There is no room once in so many times.
    pub(super) fn refuse(&self, rate: u64) {
        self.refusals.store(rate, Ordering::Relaxed);
    }

    /// Where a new engine hands its deliveries.
    pub(super) fn outbound(&mut self, mut rng: Rng) -> Outbound {
        // A worker that reports to an engine that is gone talks to nobody.
        self.taken.clear();
        self.is_silent = false;
        self.arrived = Arc::default();
        let (arrived, refusals) = (Arc::clone(&self.arrived), Arc::clone(&self.refusals));
        Box::new(move |delivery| {
            if rng.one_in(refusals.load(Ordering::Relaxed)) {
                return Err(Box::new(delivery));
            }
            arrived.lock().unwrap().push_back(delivery);
            Ok(())
        })
    }

    /// The next delivery that was handed out and not looked at: its id and attempt.
    pub(super) fn look(&mut self) -> Option<(DeliveryId, u32)> {
        let delivery = self.arrived.lock().unwrap().pop_front()?;
        let (id, attempt) = (delivery.id, delivery.attempt);
        let rendered = delivery.content.render(&delivery.values);
        let recipient = &delivery.recipient;
        let message = format!("{recipient:?} at {}: {rendered:?}", delivery.time);
        let name = (id, delivery.instance);
        let first = self.messages.entry(name).or_insert_with(|| message.clone());
        assert_eq!(*first, message, "{id} says something else at attempt {attempt}");
        let content = rendered.map(|_| message);
        self.taken.push(Taken { id, attempt, content });
        self.deliveries += 1;
        Some((id, attempt))
    }

    /// How many deliveries have no report yet.
    pub(super) fn under_way(&self) -> usize {
        self.taken.len()
    }

    /// One of them reports, or keeps silent, or lies.
    pub(super) fn report(&mut self, rng: &mut Rng, swarm: &Swarm) -> Vec<Report> {
        if self.taken.is_empty() {
            return if rng.one_in(swarm.lies) { vec![self.lie(rng, None)] } else { Vec::new() };
        }
        let index = rng.index(self.taken.len());
        let mut reports = Vec::new();
        if rng.one_in(swarm.lies) {
            let about = (self.taken[index].id, self.taken[index].attempt);
            reports.push(self.lie(rng, Some(about)));
        }
        let taken = self.taken.swap_remove(index);
        if rng.one_in(swarm.silent) {
            self.is_silent = true;
            return reports;
        }
        let report = self.end(&taken, swarm.outcomes);
        if rng.one_in(swarm.lies) {
            reports.push(report.clone());
        }
        reports.push(report);
        reports
    }

    /// The report on one of them, in good faith.
    pub(super) fn report_honestly(&mut self, outcomes: [u64; 5]) -> Option<Report> {
        let taken = self.taken.pop()?;
        Some(self.end(&taken, outcomes))
    }

    fn end(&mut self, taken: &Taken, outcomes: [u64; 5]) -> Report {
        let outcome = self.outcome(taken, outcomes);
        let said = match &outcome {
            Outcome::Sent { hash } => format!("sent {hash}"),
            Outcome::Deferred { error }
            | Outcome::Broken { error }
            | Outcome::Rejected { error }
            | Outcome::TemplateError { error } => error.clone(),
        };
        self.reported.0.insert((taken.id, taken.attempt), said);
        Report { id: taken.id, attempt: taken.attempt, outcome }
    }

    /// How an attempt ends, as its delivery, the attempt and the seed say.
    fn outcome(&self, taken: &Taken, outcomes: [u64; 5]) -> Outcome {
        let content = match &taken.content {
            Ok(content) => content,
            Err(error) => return Outcome::TemplateError { error: error.clone() },
        };
        let text = format!("{}/{}#{}", self.seed, taken.id, taken.attempt);
        let mut rng = Rng::new(xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
        let kinds: Vec<(usize, u64)> = outcomes.into_iter().enumerate().collect();
        match rng.weighted(&kinds) {
            0 => Outcome::Sent { hash: ContentHash::of(content.as_bytes()) },
            1 => Outcome::Deferred { error: format!("deferred {text}") },
            2 => Outcome::Broken { error: format!("broken {text}") },
            3 => Outcome::Rejected { error: format!("rejected {text}") },
            _ => Outcome::TemplateError { error: format!("template {text}") },
        }
    }

    /// A report on an attempt that nobody made.
    fn lie(&self, rng: &mut Rng, about: Option<(DeliveryId, u32)>) -> Report {
        let error = String::from("a lie");
        let outcome = match rng.below(4) {
            0 => Outcome::Sent { hash: ContentHash::of(b"a lie") },
            1 => Outcome::Deferred { error },
            2 => Outcome::Rejected { error },
            _ => Outcome::TemplateError { error },
        };
        let settled = |id: &DeliveryId| !self.taken.iter().any(|it| it.id == *id);
        let known = self.messages.keys().map(|(id, _)| *id);
        let old: Vec<DeliveryId> = known.filter(settled).collect();
        let (id, attempt) = match (about, rng.below(3)) {
            (Some((id, attempt)), 0) => (id, attempt - 1),
            (Some((id, attempt)), 1) => (id, attempt + 1),
            (Some((mut id, attempt)), _) => {
                id.enrollment.lsn.0 += 1_000_000;
                (id, attempt)
            }
            // One that was settled long ago, or that a worker kept silent about: the attempt after.
            (None, _) if !old.is_empty() => (rng.pick(&old), 99),
            (None, _) => ("e0-999999.1".parse().unwrap(), 1),
        };
        Report { id, attempt, outcome }
    }
}
