//! `onward show`: an enrollment with its history, a customer, or a flow with its counts.

use std::{path::Path, process::ExitCode};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{Data, exit::Failure, limits, say};
use crate::{
    base::{CustomerId, DeliveryId, EnrollmentId, FlowId, limits::DEAD_LETTERS_SHOWN},
    engine::{Error, Partition, history::Logged, recover},
    machine::row::{Enrollment, Phase},
};

/// Shows one thing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What kind of thing.
    #[arg(value_enum)]
    kind: Kind,
    /// Its id; dead letters need none.
    #[arg(default_value = "", required_if_eq_any = [
        ("kind", "enrollment"), ("kind", "customer"), ("kind", "flow"),
    ])]
    id: String,
    #[command(flatten)]
    data: Data,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// An enrollment, such as `e0-1234`: its state and every record of it.
    Enrollment,
    /// A customer: what is known, and the enrollments.
    Customer,
    /// A flow: its versions and what happened in each step.
    Flow,
    /// The deliveries that failed for good, oldest first.
    DeadLetters,
}

impl Args {
    /// What it works on.
    pub(super) fn path(&self) -> &Path {
        &self.data.data
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut partition = recover::read(&args.data.data, &limits()?)?;
    let shown = match args.kind {
        Kind::Enrollment => enrollment(&mut partition, &args.id)?,
        Kind::Customer => customer(&mut partition, &args.id)?,
        Kind::Flow => flow(&partition, &args.id)?,
        Kind::DeadLetters => dead_letters(&mut partition)?,
    };
    if args.json {
        say(shown)?;
    } else {
        serde_json::to_string_pretty(&shown)
            .map_err(Failure::refused)?
            .lines()
            .try_for_each(say)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn none(kind: &str, id: &str) -> Failure {
    Failure::refused(format!("there is no {kind} `{id}` in this directory"))
}

fn enrollment(partition: &mut Partition, text: &str) -> Result<Value, Failure> {
    let id: EnrollmentId = text.parse().map_err(Failure::usage)?;
    let found = match partition.enrollment(id) {
        // Its first record led to it. Nothing else goes on here, so every row may be looked at.
        Err(Error::Trimmed { .. }) => partition.search_enrollment(id)?,
        other => other?,
    };
    let enrollment = found.ok_or_else(|| none("enrollment", text))?;
    let history = partition.history_of(&enrollment)?;
    let begins = partition.start()?.at().next();
    let mut shown = describe(partition, id, &enrollment);
    let records = history.iter().map(|logged| record(partition, logged));
    if let Some(object) = shown.as_object_mut() {
        object.insert("history".to_owned(), records.collect());
        if enrollment.event < begins {
            object.insert("trimmed_before".to_owned(), json!(begins));
        }
    }
    Ok(shown)
}

fn record(partition: &Partition, logged: &Logged) -> Value {
    crate::model::json::read(&logged.json(partition.id())).unwrap_or(Value::Null)
}

fn describe(partition: &Partition, id: EnrollmentId, it: &Enrollment) -> Value {
    let flow = partition.memory().flow(it.flow).map(|flow| flow.id.to_string());
    let campaign = it.campaign.and_then(|number| partition.memory().campaign(number));
    let version = partition.catalog().version(it.flow, it.version);
    let step_id = |step: u32| {
        let steps = version.map(|published| &published.flow.steps);
        let step = usize::try_from(step).ok().and_then(|index| steps?.get(index));
        step.map(|step| step.id.to_string())
    };
    let (phase, step, detail) = match &it.phase {
        Phase::Entering => ("entering", None, Value::Null),
        Phase::Waiting { step, due, .. } => ("waiting", step_id(*step), json!({ "due": due })),
        Phase::Sending { step, deliveries, .. } => {
            ("sending", step_id(*step), json!({ "deliveries": deliveries.len() }))
        }
        Phase::Ended { reason, at } => ("ended", None, json!({ "reason": reason, "at": at })),
    };
    json!({
        "enrollment": id, "customer": it.customer, "flow": flow, "version": it.version,
        "key": it.key, "campaign": campaign.map(|campaign| campaign.id.to_string()),
        "started_at": it.started_at, "steps_entered": it.visits,
        "phase": phase, "step": step, "detail": detail,
    })
}

fn customer(partition: &mut Partition, text: &str) -> Result<Value, Failure> {
    let id = CustomerId::new(text).map_err(Failure::usage)?;
    let view = partition.customer(&id)?.ok_or_else(|| none("customer", text))?;
    let enrollments: Vec<Value> =
        view.enrollments.iter().map(|(id, it)| describe(partition, *id, it)).collect();
    Ok(json!({ "customer": view.customer.customer, "enrollments": enrollments }))
}

fn dead_letters(partition: &mut Partition) -> Result<Value, Failure> {
    let letters = partition.dead_letters(DEAD_LETTERS_SHOWN)?;
    let id = partition.id();
    let letters = letters.into_iter().map(|(lsn, it)| {
        let enrollment = EnrollmentId { partition: id, lsn: it.enrollment };
        let (visit, subscription) = (it.visit, it.subscription);
        let delivery = DeliveryId { enrollment, visit, subscription };
        json!({
            "delivery": delivery, "enrollment": enrollment, "record": lsn,
            "attempts": it.attempts, "error": it.error, "at": it.at,
        })
    });
    Ok(letters.collect())
}

fn flow(partition: &Partition, text: &str) -> Result<Value, Failure> {
    let id = FlowId::new(text).map_err(Failure::usage)?;
    let number = partition.memory().flow_number(&id).ok_or_else(|| none("flow", text))?;
    let state = partition.memory().flow(number).ok_or_else(|| none("flow", text))?;
    let (counts, steps) = partition.flow_counts(number);
    Ok(json!({
        "flow": id, "segment": state.segment, "versions": state.versions.len(),
        "enrolled": counts.enrolled, "active": counts.active, "exited": counts.exited,
        "refused": counts.refused, "steps": steps,
        "forgotten_keys": partition.memory().forgotten_keys.get(&number).unwrap_or(&0),
    }))
}
