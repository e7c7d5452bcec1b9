//! Scenarios as text: definitions, customers and events in, records and messages out.
//!
//! A file of `scenarios/` has lines of `#` that say what it shows, then sections that each begin
//! with a line of their own: `definitions` (JSON), `customers` and `events` (lines), `outcomes`
//! (`<recipient> <attempt or *> deferred|rejected|broken <words>`, the rest is sent) and
//! `until <time>`. `again` begins another run over the same directory; `last <lines>` shows only the
//! end of the log. A line `*3 <text>` stands
//! for three with `$n` and `$nn` as their number, `$(300 x)` for 300 times x. After `----` comes
//! what must happen, by instant; `#1` is the first enrollment of the file.
//!
//! `UPDATE_EXPECT=1 cargo test --test it` writes what does happen.

mod print;
mod script;

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, sync::Mutex};

use onward::{
    base::{ContentHash, DeliveryId, Limits},
    delivery::Message,
    engine::{
        Opening,
        job::{Drive, Files, Plan},
        recover,
        runner::{Outbound, Report, reports},
        verify::verify,
    },
    machine::delivery::{Content, Delivery, Outcome, Recipient},
};

use script::{Run, Scenario};

/// What a worker would have sent, by delivery and attempt.
type Messages = BTreeMap<(DeliveryId, u32), String>;

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*

        /// A file that no test reads would be no promise.
        #[test]
        fn every_file_has_its_test() {
            let mut files: Vec<String> = fs::read_dir(folder())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|it| it == "txt"))
                .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
                .collect();
            files.sort();
            let mut tests = [$(stringify!($name).to_owned()),*];
            tests.sort();
            assert_eq!(files, tests);
        }
    };
}

scenarios! {
    activity_functions
    activity_limits
    activity_names
    already_active
    bad_lines
    campaign_of_enrollment
    condition_variables
    dedup
    durations
    edit_a_live_flow
    entry_after
    entry_every_time
    entry_key
    key_memory
    large_lines
    entry_memory
    entry_once
    event_beats_timer
    event_time
    exit_reason
    missing_data
    next_step_id
    numbers_mix
    on_failure
    order_within_one_event
    recipient_and_content_fixed
    refused_entries
    same_command_again
    segment_membership
    send_email
    send_push
    settling_rounds
    step_begins_when_settled
    step_budget
    template_error
    template_variables
    timers_by_due_and_enrollment
    trigger_filter
    two_events_with_one_key
    unknown_customer_created
    until
    upsert_merges
    wait_duration
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/scenarios"))
}

fn check(name: &str) {
    let path = folder().join(format!("{name}.txt"));
    let text = fs::read_to_string(&path).unwrap();
    let (input, expected) = text.split_once("\n----\n").expect("a scenario has a line of ----");
    let found = play(&script::parse(input));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, format!("{input}\n----\n{found}")).unwrap();
    } else if found != expected {
        panic!("{name}.txt:\n{}", print::difference(expected, &found));
    }
}

/// Runs the scenario in a directory of its own and prints its log.
fn play(scenario: &Scenario) -> String {
    let dir = tempfile::tempdir().unwrap();
    let messages = Arc::new(Mutex::new(Messages::new()));
    let mut errors = String::new();
    for (run, number) in scenario.runs.iter().zip(1..) {
        if let Err(error) = play_run(dir.path(), run, &messages) {
            errors.push_str(&format!("run {number}: {error}\n"));
        }
    }
    let mut partition = recover::read(&dir.path().join("data"), &Limits::default()).unwrap();
    let verified = verify(&mut partition).unwrap();
    assert_eq!(verified.differences, Vec::<String>::new(), "replayed state is live state");
    let log = print::log(&partition, &messages.lock().unwrap()) + &errors;
    let Some(last) = scenario.last else { return log };
    let lines: Vec<&str> = log.lines().collect();
    let (before, end) = lines.split_at(lines.len().saturating_sub(last));
    format!("{} lines, then\n{}\n", before.len(), end.join("\n"))
}

fn play_run(
    dir: &Path,
    run: &Run,
    messages: &Arc<Mutex<Messages>>,
) -> Result<(), onward::engine::job::Error> {
    let mut files = Files::default();
    let file = |name: &str, content: &Option<String>| {
        let content = content.as_ref()?;
        let path = dir.join(name);
        fs::write(&path, content).unwrap();
        Some(path)
    };
    files.definitions = file("definitions.json", &run.definitions).into_iter().collect();
    files.customers = file("customers.ndjson", &run.customers);
    files.events = file("events.ndjson", &run.events);
    let plan = Plan::new(&files)?;
    let opening = Opening::new(plan.instance(), Limits::default());
    let (sender, receiver) = reports();
    let (script, messages) = (run.outcomes.clone(), Arc::clone(messages));
    let outbound: Outbound = Box::new(move |delivery: Delivery| {
        let (text, outcome) = attempt(&delivery, &script);
        messages.lock().unwrap().insert((delivery.id, delivery.attempt), text);
        let report = Report { id: delivery.id, attempt: delivery.attempt, outcome };
        sender.send(report).expect("the job outlives its deliveries");
        Ok(())
    });
    let drive = Drive::open(&dir.join("data"), &opening, plan, || Ok((outbound, receiver)))?;
    drive.until(run.until).run(&mut |_| {}).map(|_| ())
}

/// What a channel would say to this attempt: the script, or that it is sent.
fn attempt(delivery: &Delivery, script: &script::Outcomes) -> (String, Outcome) {
    let message = match Message::render(delivery) {
        Ok(message) => message,
        Err(outcome) => return (format!("no message: {}", words(&outcome)), outcome),
    };
    let (kind, address) = match &message.recipient {
        Recipient::Email(address) => ("e-mail", &**address),
        Recipient::Push(subscription) => ("push", &*subscription.endpoint),
    };
    let text = match &message.content {
        Content::Email { subject, text, html, .. } => {
            let body = text.iter().chain(html).find(|body| *body != "-");
            [Some(subject), body].into_iter().flatten().map(|it| format!("{it:?}")).collect()
        }
        Content::Push { title, body, .. } => vec![format!("{title:?}"), format!("{body:?}")],
    };
    let text = format!("{kind} to {address}: {}", text.join(" "));
    let scripted = [Some(delivery.attempt), None].into_iter();
    let scripted = scripted.filter_map(|attempt| script.get(&(address.to_owned(), attempt))).next();
    let sent = Outcome::Sent { hash: ContentHash::of(text.as_bytes()) };
    (text, scripted.cloned().unwrap_or(sent))
}

fn words(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Sent { .. } => "",
        Outcome::Deferred { error }
        | Outcome::Broken { error }
        | Outcome::Rejected { error }
        | Outcome::TemplateError { error } => error,
    }
}
