//! What a run leaves that nobody disturbs, to hold the others against.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::place::{Place, TRIMMED, Which};

/// What an undisturbed run leaves behind each command.
pub(crate) struct Whole {
    summary: Value,
    pub(crate) log: Vec<u8>,
    pub(crate) messages: BTreeMap<String, Vec<u8>>,
    /// How many lines of the log there are before each message may leave, by its file's stem.
    requested: BTreeMap<String, usize>,
    /// How many lines of the log there are once each message must be there.
    sent: BTreeMap<String, usize>,
}

impl Whole {
    pub(crate) fn of(place: &Place, which: Which) -> Self {
        let summary = place.finish(which);
        let log = place.log();
        let mut whole = Self {
            summary,
            messages: place.messages(),
            requested: BTreeMap::new(),
            sent: BTreeMap::new(),
            log: Vec::new(),
        };
        for (line, count) in log.split_inclusive(|byte| *byte == b'\n').zip(1..) {
            let record: Value = serde_json::from_slice(line).unwrap();
            let stem = || {
                let enrollment = record["enrollment"].as_str().unwrap();
                let base = format!("{enrollment}.{}", record["at"]["visit"]);
                match record["subscription"].as_u64() {
                    None | Some(0) => base,
                    Some(number) => format!("{base}.{number}"),
                }
            };
            match record["record"].as_str().unwrap() {
                "DeliveryRequested" => drop(whole.requested.insert(stem(), count)),
                "DeliverySent" => drop(whole.sent.insert(stem(), count)),
                _ => {}
            }
        }
        whole.log = log;
        whole
    }

    /// What an interrupted run has left so far is a part of this, and nothing has left too early.
    pub(crate) fn holds(&self, limits: &str, log: &[u8], messages: &BTreeMap<String, Vec<u8>>) {
        let trimmed = self.trimmed(limits, log);
        assert!(
            self.log[trimmed..].starts_with(log),
            "the log of an interrupted run is a beginning of the whole, but for what is trimmed"
        );
        let records = lines(&self.log[..trimmed + log.len()]);
        for (name, bytes) in messages {
            assert_eq!(self.messages.get(name), Some(bytes), "{name}");
            let at = self.requested[stem(name)];
            assert!(at <= records, "{name} left before record {at} was there; {records} are");
        }
        let stems: Vec<&str> = messages.keys().map(|name| stem(name)).collect();
        for (sent, at) in &self.sent {
            let is_there = stems.contains(&sent.as_str());
            assert!(*at > records || is_there, "{sent} is recorded as sent and is not there");
        }
    }

    /// How many bytes of the whole log were there before `log`, which is what these limits left.
    pub(crate) fn trimmed(&self, limits: &str, log: &[u8]) -> usize {
        let mut before = self.log.split_inclusive(|byte| *byte == b'\n');
        let first = log.split_inclusive(|byte| *byte == b'\n').next();
        let trimmed = before.by_ref().take_while(|line| Some(*line) != first);
        let trimmed = trimmed.map(<[u8]>::len).sum();
        let is_trimmed = first.is_some() && trimmed > 0;
        assert!(limits == TRIMMED || !is_trimmed, "a whole log is not trimmed");
        if is_trimmed { trimmed } else { 0 }
    }

    pub(crate) fn equals(&self, place: &Place, summary: &Value) {
        assert_eq!(*summary, self.summary);
        let log = place.log();
        let rest = &self.log[self.trimmed(place.limits, &log)..];
        assert!(log == rest, "log --json is byte for byte that of the whole run");
        assert!(place.messages() == self.messages, "the outbox is that of the whole run");
        let names = place.outbox_names();
        assert!(names.iter().eq(self.messages.keys()), "nothing else is in the outbox");
    }
}

pub(crate) fn lines(log: &[u8]) -> usize {
    log.split_inclusive(|byte| *byte == b'\n').count()
}

fn stem(name: &str) -> &str {
    name.trim_end_matches(".eml").trim_end_matches(".push.json")
}
