//! `onward verify`: does the directory hold what its log says?

use std::{path::Path, process::ExitCode};

use super::{Data, exit, exit::Failure, limits, say};
use crate::engine::{recover, verify::verify};

const DOUBTFUL: &str = "the projections are doubtful and were compared with nothing; the next start \
    of the engine makes them again from the log";

/// Replays the log into fresh state and compares every row, timer and counter.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    data: Data,
    /// Prints one JSON object: `doubtful`, `records`, `base`, `bases`, `rows`, `older_rows`, `timers`,
    /// `difference_count`, `differences`.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// What it works on.
    pub(super) fn path(&self) -> &Path {
        &self.data.data
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut live = recover::read(&args.data.data, &limits()?)?;
    let found = verify(&mut live)?;
    if args.json {
        say(serde_json::to_string(&found).map_err(Failure::refused)?)?;
    } else {
        found.differences.iter().try_for_each(say)?;
        let (records, rows, timers) = (found.records, found.rows, found.timers);
        if let Some(base) = found.base {
            say(format!("the log is trimmed up to record {base}; replayed from the base there"))?;
        }
        if found.older_rows > 0 {
            let older = found.older_rows;
            say(format!("{older} rows are older than that base, which keeps no copies of rows"))?;
        }
        if found.doubtful {
            say(DOUBTFUL)?;
        }
        say(format!(
            "{records} records replayed; {rows} rows and {timers} timers compared; {} differences",
            found.difference_count
        ))?;
    }
    let is_well = found.difference_count == 0 && !found.doubtful;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(exit::NOT_WELL) })
}
