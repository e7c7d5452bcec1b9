//! `onward log`: the records, as they are.

use std::{
    io::{BufWriter, Write},
    process::ExitCode,
};

use super::{
    Data,
    exit::{Failure, tell},
    limits, parse_lsn,
};
use crate::{
    base::Lsn,
    engine::{history::Logged, recover},
};

/// Prints the log, oldest record first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    data: Data,
    /// Begins at this record.
    #[arg(long, value_name = "LSN", default_value = "1", value_parser = parse_lsn)]
    from: Lsn,
    /// One JSON object a line: `lsn`, `time`, `record`, and the record's fields.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let partition = recover::read(&args.data.data, &limits()?)?;
    let begins = partition.start()?.at().next();
    if args.from < begins && begins > Lsn(1) {
        tell(format!("the records before {begins} are trimmed"));
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    partition.each_record(args.from, &mut |logged: Logged| {
        let json = logged.json(partition.id());
        if args.json {
            return writeln!(out, "{json}").map_err(Failure::output);
        }
        let (lsn, time, name) = (logged.lsn, logged.time, logged.record.name());
        let fields = json.split_once(name).and_then(|(_, rest)| rest.strip_prefix("\","));
        let fields = fields.and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
        writeln!(out, "{lsn:>8} {time} {name:<17} {fields}").map_err(Failure::output)
    })?;
    out.flush().map_err(Failure::output)?;
    Ok(ExitCode::SUCCESS)
}
