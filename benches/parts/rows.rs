//! Projections: the page table and the timers. The baselines are the plain collections.

use std::{
    collections::{BTreeMap, BTreeSet},
    hint::black_box,
};

use criterion::{BatchSize, Criterion, Throughput};
use onward::{
    base::{Lsn, Span, Timestamp, id::customer_hash},
    machine::{
        key::{self, Key},
        row::{Entry, Row},
    },
    store::{MemoryStore, Table, Timer, Timers},
};

use super::flow::customer;

const COUNT: u64 = 10_000;

pub(super) fn bench(criterion: &mut Criterion) {
    table(criterion);
    timers(criterion);
}

fn rows() -> Vec<(Key, Row)> {
    let row = |n| {
        let entry = Entry { started_at: Timestamp::EPOCH, latest: Lsn(n), count: 1 };
        (key::entry(&customer(n), 0, None), Row::Entry(entry))
    };
    (0..COUNT).map(row).collect()
}

fn table(criterion: &mut Criterion) {
    let rows = rows();
    let store = MemoryStore::new();
    let mut group = criterion.benchmark_group("page table");
    group.throughput(Throughput::Elements(COUNT)).sample_size(20);
    group.bench_function("insert, pages split", |bencher| {
        let fill = |table: &mut Table<Row>| {
            for ((key, row), lsn) in rows.iter().zip(1..) {
                table.fetch(&store, [key]).expect("memory does not fail");
                table.update(Lsn(lsn), key, |it| *it = Some(row.clone()));
            }
        };
        bencher.iter_batched_ref(Table::new, fill, BatchSize::LargeInput);
    });
    group.bench_function("update in place", |bencher| {
        let mut table = Table::new();
        let mut lsn = 0;
        bencher.iter(|| {
            for (key, row) in &rows {
                lsn += 1;
                table.fetch(&store, [key]).expect("memory does not fail");
                table.update(Lsn(lsn), key, |it| *it = Some(row.clone()));
            }
        });
    });
    group.bench_function("baseline: insert into a BTreeMap", |bencher| {
        bencher.iter(|| {
            let mut map = BTreeMap::new();
            for (key, row) in &rows {
                map.insert(key.clone(), row.clone());
            }
            black_box(map)
        });
    });
    group.finish();
}

fn timers(criterion: &mut Criterion) {
    let due = |n: u64| {
        let spread = i64::try_from(customer_hash(&customer(n)) % 3_600).expect("below 3,600");
        Timestamp::EPOCH.plus(Span::seconds(spread))
    };
    let timer = |n| Timer { due: due(n), enrollment: Lsn(n), set: Lsn(n + 2), place: n };
    let all: Vec<Timer> = (0..COUNT).map(timer).collect();
    let store = MemoryStore::new();
    let end = Timestamp::EPOCH.plus(Span::hours(2));
    let mut group = criterion.benchmark_group("timers");
    group.throughput(Throughput::Elements(COUNT)).sample_size(20);
    group.bench_function("set, then peek and clear each", |bencher| {
        bencher.iter(|| {
            let mut timers = Timers::new(Span::hours(24));
            all.iter().for_each(|timer| timers.set(*timer));
            let mut fired = 0;
            while let Some(timer) = timers.peek(&store, end).expect("memory does not fail") {
                timers.clear(&timer);
                fired += 1;
            }
            assert_eq!(fired, COUNT, "every timer fires");
        });
    });
    group.bench_function("baseline: a BTreeSet", |bencher| {
        bencher.iter(|| {
            let mut timers = BTreeSet::new();
            for timer in &all {
                timers.insert(*timer);
            }
            while let Some(timer) = timers.pop_first() {
                black_box(timer);
            }
        });
    });
    group.finish();
}
