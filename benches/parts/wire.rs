//! Formats and the disk: records, chunks, and appending them. The baselines copy or check the same
//! bytes, and write them to a plain file with an fdatasync.

use std::{fs::File, hint::black_box, io::Write, path::Path, sync::Arc};

use criterion::{Criterion, Throughput};
use onward::{
    base::{InstanceId, PartitionId, Timestamp},
    machine::record::Record,
    store::{ChunkBuilder, Directory, Fold, Group, Inserted, LocalLog, Log, Store, chunk},
};

const PARTITION: PartitionId = PartitionId(0);

pub(super) fn bench(criterion: &mut Criterion, parent: &Path) {
    let records = super::flow::records();
    let bodies: Vec<Body> =
        records.iter().map(|it| (it.kind(), it.version(), it.encode())).collect();
    codec(criterion, &records, &bodies);
    chunks(criterion, &bodies);
    appends(criterion, &bodies, parent);
}

type Body = (u16, u8, Vec<u8>);

fn codec(criterion: &mut Criterion, records: &[Record], bodies: &[Body]) {
    let mut group = criterion.benchmark_group("record codec");
    group.throughput(elements(records.len()));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| records.iter().map(|it| it.encode().len()).sum::<usize>());
    });
    group.bench_function("decode", |bencher| {
        let decode = |(kind, version, body): &Body| Record::decode(*kind, *version, body);
        bencher.iter(|| bodies.iter().filter(|it| decode(it).is_ok()).count());
    });
    group.bench_function("baseline: copy the bytes", |bencher| {
        bencher.iter(|| {
            bodies.iter().map(|(_, _, body)| black_box(body.clone()).len()).sum::<usize>()
        });
    });
    group.finish();
}

fn chunks(criterion: &mut Criterion, bodies: &[Body]) {
    let sealed = owner().seal(builder(bodies), Group::Ends).1;
    assert_eq!(chunk::decode(&sealed).map(|it| it.records.len()), Ok(bodies.len()));
    let mut group = criterion.benchmark_group("chunk");
    group.throughput(elements(bodies.len()));
    group.bench_function("build", |bencher| {
        let fold = owner();
        bencher.iter(|| fold.clone().seal(builder(bodies), Group::Ends));
    });
    group.bench_function("decode", |bencher| bencher.iter(|| chunk::decode(black_box(&sealed))));
    group.bench_function("baseline: copy and checksum the bytes", |bencher| {
        bencher.iter(|| {
            let copy = black_box(&sealed).clone();
            (crc32c::crc32c(&copy), copy)
        });
    });
    group.finish();
}

/// One chunk at a time, each synced: the slowest way, and the latency of a commit.
fn appends(criterion: &mut Criterion, bodies: &[Body], parent: &Path) {
    let dir = tempfile::tempdir_in(parent).expect("the directory takes files");
    let mut group = criterion.benchmark_group("append a chunk, fdatasync");
    group.throughput(elements(bodies.len())).sample_size(20);
    group.bench_function("sled", |bencher| {
        let store: Arc<dyn Store> =
            Directory::open(&dir.path().join("sled")).expect("a store opens").store();
        let log = LocalLog::new(store, PARTITION);
        let mut fold = owner();
        // Criterion comes here several times.
        let mut at = log.tail().expect("the log is read");
        bencher.iter(|| {
            let (_, bytes) = fold.seal(builder(bodies), Group::Ends);
            let inserted = log.submit(at, &bytes).expect("the store takes a chunk");
            assert_eq!(inserted, Inserted::Stored, "the place is free");
            log.sync().expect("the store syncs");
            at += 1;
        });
    });
    group.bench_function("baseline: a plain file", |bencher| {
        let mut file = File::create(dir.path().join("raw")).expect("a file opens");
        let mut fold = owner();
        bencher.iter(|| {
            let (_, bytes) = fold.seal(builder(bodies), Group::Ends);
            file.write_all(&bytes).and_then(|()| file.sync_data()).expect("the file takes bytes");
        });
    });
    group.finish();
}

fn elements(count: usize) -> Throughput {
    Throughput::Elements(u64::try_from(count).expect("a bench is small"))
}

fn builder(bodies: &[Body]) -> ChunkBuilder {
    let mut chunk = ChunkBuilder::new(Timestamp::EPOCH);
    for (kind, version, body) in bodies {
        chunk.push(Timestamp::EPOCH, *kind, *version, body);
    }
    chunk
}

/// A fold whose owner has fenced.
fn owner() -> Fold {
    let mut fold = Fold::new(InstanceId([0; 16]), PARTITION);
    let fence = fold.new_fence(0, Timestamp::EPOCH);
    let fence = chunk::decode(&fence).expect("our own fence decodes");
    fold.offer(0, fence).expect("a log may begin with a fence");
    fold
}
