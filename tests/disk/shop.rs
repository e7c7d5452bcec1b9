//! Two commands of the real program, what they need, and what they leave undisturbed.

use std::path::{Path, PathBuf};

use onward::{
    base::{Limits, Lsn, PartitionId},
    engine::{history::Logged, recover, verify::verify},
    store,
};

use crate::{
    place::{Place, Which},
    whole::Whole,
    workload::{self, Scale},
};

/// What two commands need and what they leave.
pub(crate) struct Shop {
    inputs: PathBuf,
    until: [String; 2],
    limits: &'static str,
    pub(crate) wholes: [(Which, Whole); 2],
}

impl Shop {
    pub(crate) fn new(inputs: &Path, seed: u64, (scale, limits): (Scale, &'static str)) -> Self {
        let until = workload::write(inputs, seed, scale);
        let dir = inputs.join("whole");
        std::fs::create_dir(&dir).unwrap();
        let inputs = inputs.to_owned();
        let place = Place { inputs: inputs.clone(), dir, limits: "", until: until.clone() };
        let wholes = [Which::First, Which::Second].map(|it| (it, Whole::of(&place, it)));
        Self { inputs, until, limits, wholes }
    }

    /// The commands over this directory.
    pub(crate) fn place(&self, dir: &Path) -> Place {
        let (inputs, dir, until) = (self.inputs.clone(), dir.to_owned(), self.until.clone());
        Place { inputs, dir, limits: self.limits, until }
    }
}

/// The log as `onward log --json` prints it, after `verify` found nothing.
pub(crate) fn read(data: &Path) -> store::Result<Vec<u8>> {
    let mut partition = recover::read(data, &Limits::default())?;
    let verified = verify(&mut partition)?;
    assert_eq!(verified.differences, Vec::<String>::new(), "verify");
    let mut log = Vec::new();
    partition.each_record(Lsn::ZERO, &mut |logged: Logged| {
        log.extend_from_slice(logged.json(PartitionId(0)).as_bytes());
        log.push(b'\n');
        Ok::<_, store::Error>(())
    })?;
    Ok(log)
}
