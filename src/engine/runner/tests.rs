//! When checkpoints are due.

use super::*;
use crate::{
    base::{InstanceId, Limits},
    engine::recover::AcceptLoss,
    machine::record::Source,
    model::CustomerUpdate,
    store::{SledStore, Store},
};

fn open(dir: &Path) -> Runner {
    let limits = Limits { checkpoint_records: 10, ..Limits::default() };
    let opening = Opening { instance: InstanceId([7; 16]), limits, accept_loss: AcceptLoss::No };
    Runner::open(dir, &opening, Box::new(|delivery| Err(Box::new(delivery)))).unwrap()
}

/// Writes so many records and goes away as a killed process does: no checkpoint at the end.
fn write(dir: &Path, start: u64, count: u64) {
    let mut runner = open(dir);
    for number in start..start + count {
        let line = format!(r#"{{"id":"c{number}"}}"#);
        let update = CustomerUpdate::parse(line.as_bytes()).unwrap();
        let input = Input::Customer { source: Source::Api, update };
        runner.decide(Timestamp::EPOCH, &input).unwrap().unwrap();
        runner.drain().unwrap();
    }
    while runner.checkpointing {
        runner.wait_commit().unwrap();
    }
}

fn checkpoint_at(dir: &Path) -> Option<Lsn> {
    let store: Arc<dyn Store> = Arc::new(SledStore::open_existing(dir).unwrap());
    checkpoint::load(&*store).unwrap().map(|(state, _)| state.at)
}

#[test]
fn records_of_processes_that_were_killed_count_towards_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0, 6);
    assert_eq!(checkpoint_at(dir.path()), None);
    write(dir.path(), 6, 6);
    assert_eq!(checkpoint_at(dir.path()), Some(Lsn(10)));
    write(dir.path(), 12, 6);
    assert_eq!(checkpoint_at(dir.path()), Some(Lsn(10)));
    // A clean end of a process that wrote nothing itself checkpoints what it replayed.
    open(dir.path()).finish().unwrap();
    assert_eq!(checkpoint_at(dir.path()), Some(Lsn(18)));
}
