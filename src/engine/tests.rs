//! Random small jobs over the store in memory, cut off at random writes: what the log says does
//! not depend on it, and replaying it gives the live state.

mod crash;
pub(super) mod full;
mod hang;
mod leap;
mod workload;

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    Opening, Partition,
    history::Logged,
    job::Drive,
    recover,
    runner::{Outbound, Report, Runner, reports},
    verify::verify,
};
use crate::{
    base::{Limits, Lsn, Span, limits::DEDUP_WINDOW},
    machine::{
        delivery::{Delivery, Outcome},
        row::{Phase, Row},
    },
    store::{self, MemoryStore, Store},
};
use crash::{Crash, Tapped};
use workload::Job;

/// How far a run came.
#[derive(Debug, PartialEq, Eq)]
enum Ran {
    ToTheEnd,
    ToTheCrash,
}

/// Runs one of the job's parts over `store`, until it is done or the store has been tapped.
fn run(store: &Arc<Tapped>, limits: &Limits, job: &Job, part: usize) -> Ran {
    let files = job.write(part);
    let plan = files.plan();
    let instance = job.write(0).plan().instance();
    let opening = Opening::new(instance, limits.clone());
    let (sender, receiver) = reports();
    let seed = job.seed;
    let outbound: Outbound = Box::new(move |delivery| {
        let report = Report {
            id: delivery.id,
            attempt: delivery.attempt,
            outcome: outcome(&delivery, seed),
        };
        // A run that was cut off takes no reports.
        let _ = sender.send(report).is_ok();
        Ok(())
    });
    let first_event = plan.first_event_time().unwrap();
    let shared: Arc<dyn Store> = Arc::<Tapped>::clone(store);
    let owned = recover::own_store(&shared, &opening).unwrap();
    let runner = Runner::start(owned, outbound).unwrap();
    let drive = Drive::over(runner, plan, first_event, receiver).unwrap();
    let mut drive = drive.until(job.until(part));
    while !store.is_tapped() && drive.step().unwrap() {}
    if store.is_tapped() {
        return Ran::ToTheCrash;
    }
    drive.run(&mut |_| {}).unwrap();
    // A crash may come as late as in the last checkpoint.
    if store.is_tapped() { Ran::ToTheCrash } else { Ran::ToTheEnd }
}

/// How an attempt ends, as its delivery, the attempt and the seed say.
fn outcome(delivery: &Delivery, seed: u64) -> Outcome {
    let content = match delivery.content.render(&delivery.values) {
        Ok(content) => format!("{content:?}"),
        Err(error) => return Outcome::TemplateError { error },
    };
    let text = format!("{seed}/{}#{}", delivery.id, delivery.attempt);
    let error = format!("as {text} says");
    match xxhash_rust::xxh3::xxh3_64(text.as_bytes()) % 10 {
        0..=5 => Outcome::Sent { hash: crate::base::ContentHash::of(content.as_bytes()) },
        6..=7 => Outcome::Deferred { error },
        8 => Outcome::Rejected { error },
        _ => Outcome::TemplateError { error },
    }
}

/// Every record, and what `verify` and the sums find.
fn look(store: &MemoryStore, limits: &Limits) -> (Vec<Logged>, Vec<String>) {
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    let format = store::DirectoryFormat::load(store).unwrap().unwrap();
    let mut partition =
        recover::replay(&shared, (format.instance, crate::base::PartitionId::default()), limits)
            .unwrap();
    let mut records = Vec::new();
    let read = partition.each_record(Lsn(1), &mut |logged| {
        records.push(logged);
        Ok::<(), store::Error>(())
    });
    read.unwrap();
    let mut differences = verify(&mut partition).unwrap().differences;
    differences.extend(sums(&mut partition));
    (records, differences)
}

/// Where the counters do not add up with each other or with the rows.
fn sums(partition: &mut Partition) -> Vec<String> {
    let store = Arc::clone(&partition.store);
    let rows = partition.state.table.scan(&*store, &[], None, 1_000_000).unwrap();
    let enrollments = || {
        rows.iter().filter_map(|(_, row)| {
            let Row::Enrollment(enrollment) = row else { return None };
            Some(enrollment)
        })
    };
    let waiting = enrollments().filter(|it| matches!(it.phase, Phase::Waiting { .. })).count();
    let active = enrollments().filter(|it| it.is_active()).count();
    let customers = rows.iter().filter(|(_, row)| matches!(row, Row::Customer(_))).count();
    let letters = rows.iter().filter(|(_, row)| matches!(row, Row::DeadLetter(_))).count();
    let counters = &partition.memory().counters;
    let flows = || counters.flows.values();
    let steps = || flows().flat_map(|flow| flow.steps.values());
    let campaigns = || counters.campaigns.values();
    let enrolled: u64 = flows().map(|flow| flow.enrolled).sum();
    let exited: u64 = flows().flat_map(|flow| flow.exited.values()).sum();
    let count = |rows: usize| u64::try_from(rows).unwrap();
    let equal = [
        ("enrolled", enrolled, count(enrollments().count())),
        ("active", flows().map(|flow| flow.active).sum(), count(active)),
        ("active and exited", enrolled, count(active) + exited),
        ("waiting", steps().map(|step| step.waiting).sum(), count(waiting)),
        ("failed", steps().map(|step| step.failed).sum(), count(letters)),
        ("dead letters", counters.dead_letters, count(letters)),
        ("customers", counters.customers, count(customers)),
        ("enrolled by campaign", campaigns().map(|it| it.enrolled).sum(), enrolled),
        ("exited by campaign", campaigns().map(|it| it.exited).sum(), exited),
        (
            "sent by campaign",
            campaigns().map(|it| it.sent).sum(),
            steps().map(|step| step.sent).sum(),
        ),
    ];
    let wrong = equal.into_iter().filter(|(_, left, right)| left != right);
    wrong.map(|(name, left, right)| format!("{name}: {left} counted, {right}")).collect()
}

fn limits() -> impl Strategy<Value = Limits> {
    let bytes = (1..20_000_usize, 1..3_usize, 1..40_u64, 200..4_000_usize);
    let keep =
        prop::option::of((Just(DEDUP_WINDOW), prop::sample::select(vec![0, 2_000, 1 << 20])));
    (bytes, 0..7_200_i64, 1..4_usize, keep).prop_map(|(bytes, seconds, deliveries, keep)| {
        let (cache_bytes, cache_pages, checkpoint_records, chunk_bytes) = bytes;
        let timer_span = Span::seconds(seconds);
        let inbox_inputs = 1;
        let (keep_log, base_copy_bytes) = keep.unzip();
        let base_copy_bytes = base_copy_bytes.unwrap_or(0);
        Limits {
            cache_bytes,
            cache_pages,
            checkpoint_records,
            keep_log,
            base_copy_bytes,
            chunk_bytes,
            timer_span,
            inbox_inputs,
            deliveries,
            ..Limits::default()
        }
    })
}

fn crashes() -> impl Strategy<Value = Vec<Crash>> {
    prop::collection::vec((1..120_u64, any::<bool>()).prop_map(Crash::from), 0..6)
}

/// The whole job, cut off at each of `crashes` and taken up again.
fn work(job: &Job, limits: &Limits, crashes: &[Crash]) -> (MemoryStore, usize) {
    let mut crashes = crashes.iter();
    let mut store = MemoryStore::new();
    let mut crashed = 0;
    for part in 0..job.parts() {
        loop {
            let tapped = Arc::new(Tapped::new(store.clone(), crashes.next().copied()));
            match run(&tapped, limits, job, part) {
                Ran::ToTheEnd => break,
                Ran::ToTheCrash => store = tapped.left(),
            }
            crashed += 1;
        }
    }
    (store, crashed)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_job_cut_off_anywhere_ends_with_the_same_records(
        job in workload::job(),
        limits in limits(),
        crashes in crashes(),
    ) {
        let (whole, _) = work(&job, &Limits::default(), &[]);
        let (expected, differences) = look(&whole, &Limits::default());
        prop_assert_eq!(differences, Vec::<String>::new(), "uninterrupted");
        let (cut, _) = work(&job, &limits, &crashes);
        let (records, differences) = look(&cut, &limits);
        prop_assert_eq!(differences, Vec::<String>::new(), "cut off");
        prop_assert!(expected.len() > 3);
        let lsns: Vec<u64> = expected.iter().map(|record| record.lsn.0).collect();
        prop_assert_eq!(lsns, (1..=u64::try_from(expected.len()).unwrap()).collect::<Vec<_>>());
        // What is left of a trimmed log is its end, and as young as may be.
        let trimmed = expected.len() - records.len();
        prop_assert!(limits.keep_log.is_some() || trimmed == 0);
        prop_assert_eq!(&records, &expected[trimmed..]);
        let young = expected.last().unwrap().time.minus(DEDUP_WINDOW);
        prop_assert!(expected[..trimmed].iter().all(|record| record.time <= young));
    }

    #[test]
    fn a_finished_job_adds_nothing_when_run_again(job in workload::job(), limits in limits()) {
        let (store, _) = work(&job, &limits, &[]);
        let (before, _) = look(&store, &limits);
        let tapped = Arc::new(Tapped::new(store.clone(), None));
        run(&tapped, &limits, &job, job.parts() - 1);
        prop_assert_eq!(look(&store, &limits), (before, Vec::new()));
    }
}
