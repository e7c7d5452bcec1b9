//! `onward log`: the records, as they are.

use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{
    exit::Failure,
    limits, parse_lsn,
    print::{at_leisure, printable, tell},
};
use crate::{
    base::{Lsn, PartitionId},
    engine::{history, history::Logged, recover},
};

/// Prints the log, oldest record first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The data directory.
    #[arg(long, value_name = "DIR", required_unless_present = "export")]
    data: Option<PathBuf>,
    /// Prints what `onward trim --export` wrote instead.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    export: Option<PathBuf>,
    /// Begins at this record.
    #[arg(long, value_name = "LSN", default_value = "1", value_parser = parse_lsn)]
    from: Lsn,
    /// One JSON object a line: `lsn`, `time`, `record`, and the record's fields.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// What it works on.
    pub(super) fn path(&self) -> &Path {
        self.data.as_deref().or(self.export.as_deref()).unwrap_or_else(|| Path::new(""))
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut print = |partition: PartitionId, logged: &Logged| {
        let json = logged.json(partition);
        if args.json {
            return at_leisure(|| writeln!(out, "{}", printable(&json))).map_err(Failure::output);
        }
        let (lsn, time, name) = (logged.lsn, logged.time, logged.record.name());
        let fields = json.split_once(name).and_then(|(_, rest)| rest.strip_prefix("\","));
        let fields = fields.and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
        let fields = printable(fields);
        at_leisure(|| writeln!(out, "{lsn:>8} {time} {name:<17} {fields}")).map_err(Failure::output)
    };
    if let Some(path) = &args.export {
        history::each_exported(path, args.from, &mut print)?;
    }
    if let Some(dir) = &args.data {
        let partition = recover::read(dir, &limits()?)?;
        let begins = partition.start()?.at().next();
        if args.from < begins && Lsn(1) < begins {
            tell(format!("the records before {begins} are trimmed"));
        }
        let id = partition.id();
        partition.each_record(args.from, &mut |logged| print(id, &logged))?;
    }
    at_leisure(|| out.flush()).map_err(Failure::output)?;
    Ok(ExitCode::SUCCESS)
}
