//! Random small jobs: few customers, ids, keys and times, so that they collide.

use std::{fmt::Write, fs};

use proptest::prelude::*;
use tempfile::TempDir;

use crate::{
    base::Timestamp,
    engine::job::{Files, Plan},
};

const FIRST: &str = include_str!("first.json");
const SECOND: &str = include_str!("second.json");

/// Input files in one or two parts that come one after the other.
#[derive(Debug, Clone)]
pub(super) struct Job {
    parts: Vec<Part>,
    /// Decides how attempts end.
    pub(super) seed: u64,
}

#[derive(Debug, Clone)]
struct Part {
    definitions: Option<&'static str>,
    customers: Option<String>,
    events: String,
    until: Option<Timestamp>,
}

/// The files of a part, as long as they are needed.
#[derive(Debug)]
pub(super) struct Written {
    files: Files,
    _dir: TempDir,
}

impl Written {
    pub(super) fn plan(&self) -> Plan {
        Plan::new(&self.files).unwrap()
    }
}

impl Job {
    pub(super) const fn parts(&self) -> usize {
        self.parts.len()
    }

    pub(super) fn until(&self, part: usize) -> Option<Timestamp> {
        self.parts[part].until
    }

    pub(super) fn write(&self, part: usize) -> Written {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = dir.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let part = &self.parts[part];
        let files = Files {
            definitions: part.definitions.iter().map(|it| file("definitions", it)).collect(),
            customers: part.customers.as_ref().map(|it| file("customers", it)),
            events: Some(file("events", &part.events)),
        };
        Written { files, _dir: dir }
    }
}

pub(super) fn job() -> impl Strategy<Value = Job> {
    let second = prop::option::of(part(prop::option::of(Just(SECOND)).boxed()));
    (part(Just(Some(FIRST)).boxed()), second, any::<u64>()).prop_map(|(first, second, seed)| {
        let mut parts = vec![first];
        parts.extend(second);
        Job { parts, seed }
    })
}

fn part(definitions: BoxedStrategy<Option<&'static str>>) -> impl Strategy<Value = Part> {
    let customers = prop::option::of(prop::collection::vec(customer(), 0..6));
    let events = prop::collection::vec(event(), 0..40);
    let hours = prop::option::of(0..100_i64);
    (definitions, customers, events, hours).prop_map(|(definitions, customers, events, hours)| {
        let mut text = String::new();
        let mut micros = 1_800_000_000_000_000_i64;
        for (passed, event) in events {
            micros += passed * 1_000_000;
            let time = Timestamp::from_micros(micros).unwrap();
            writeln!(text, "{}", event.replace("TIME", &time.to_string())).unwrap();
        }
        let until = hours.map(|hours| micros + hours * 3_600_000_000);
        let until = until.map(|micros| Timestamp::from_micros(micros).unwrap());
        Part { definitions, customers: customers.map(|it| it.concat()), events: text, until }
    })
}

fn customer() -> impl Strategy<Value = String> {
    let email = prop::option::of(0..3_u8);
    // Long values make pages split.
    (0..4_u8, email, 0..4_usize, 0..3_000_usize).prop_map(|(id, email, push, pad)| {
        let mut line = format!(r#"{{"id":"c{id}","attributes":{{"pad":"{}""#, "x".repeat(pad));
        if id == 1 {
            line.push_str(r#","vip":true"#);
        }
        line.push('}');
        if let Some(email) = email {
            write!(line, r#","email":"{email}@x.example""#).unwrap();
        }
        let subscription = |n| {
            format!(r#"{{"endpoint":"https://p.example/{n}","keys":{{"p256dh":"k","auth":"a"}}}}"#)
        };
        let push: Vec<String> = (0..push).map(subscription).collect();
        write!(line, r#","push":[{}]}}"#, push.join(",")).unwrap();
        line.push('\n');
        line
    })
}

/// An event and the seconds since the one before.
fn event() -> impl Strategy<Value = (i64, String)> {
    let passed = prop_oneof![
        4 => Just(0),
        2 => Just(1),
        2 => Just(30),
        2 => Just(60),
        2 => Just(3_600),
        1 => Just(90_000),
        1 => Just(300_000),
        1 => Just(-3_600),
        1 => Just(-300_000),
    ];
    let name = prop_oneof![Just("a"), Just("b"), Just("c")];
    let id = prop::option::of(0..8_u8);
    let properties = prop_oneof![
        Just(String::new()),
        (0..3_u8).prop_map(|k| format!(r#","properties":{{"k":{k}}}"#)),
        (0..3_u8).prop_map(|k| format!(r#","properties":{{"k":"{k}","n":3}}"#)),
        (0..2_000_usize)
            .prop_map(|n| format!(r#","properties":{{"k":true,"long":"{}"}}"#, "y".repeat(n))),
    ];
    let good = (passed, name, 0..5_u8, id, properties, any::<bool>()).prop_map(
        |(passed, name, customer, id, properties, timed)| {
            let id = id.map_or_else(String::new, |id| format!(r#""id":"e{id}","#));
            let time = if timed { r#","time":"TIME""# } else { "" };
            let line =
                format!(r#"{{{id}"name":"{name}","customer":"c{customer}"{time}{properties}}}"#);
            (passed, line)
        },
    );
    let bad = prop_oneof![Just(""), Just("{"), Just(r#"{"name":"a"}"#)];
    prop_oneof![9 => good, 1 => bad.prop_map(|line| (0, line.to_owned()))]
}
