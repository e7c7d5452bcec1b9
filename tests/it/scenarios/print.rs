//! A log as the lower part of a scenario shows it: what matters of each record, by instant.

use std::{collections::BTreeMap, fmt::Write};

use onward::{
    base::{DeliveryId, EnrollmentId, Lsn, Timestamp},
    engine::{Partition, history::Logged},
    machine::{
        delivery::Recipient,
        record::{At, CustomerChanged, DeliveryRequested, Enrolled, EventReceived, Record},
    },
    model::LineCode,
};

use super::Messages;

/// The whole log.
pub(super) fn log(partition: &Partition, messages: &Messages) -> String {
    let mut printer = Printer {
        partition,
        messages,
        enrollments: BTreeMap::new(),
        now: None,
        out: String::new(),
    };
    let visited = partition.each_record(Lsn::ZERO, &mut |logged| {
        printer.record(&logged);
        Ok::<(), onward::store::Error>(())
    });
    visited.unwrap();
    printer.out
}

/// Where two texts part, with what was expected and what there is.
pub(super) fn difference(expected: &str, found: &str) -> String {
    let mut out = String::new();
    let (mut wanted, mut lines) = (expected.lines(), found.lines());
    loop {
        match (wanted.next(), lines.next()) {
            (None, None) => return out,
            (wanted, line) if wanted == line => writeln!(out, "  {}", line.unwrap()).unwrap(),
            (wanted, line) => {
                wanted.iter().for_each(|it| writeln!(out, "- {it}").unwrap());
                line.iter().for_each(|it| writeln!(out, "+ {it}").unwrap());
            }
        }
    }
}

struct Printer<'a> {
    partition: &'a Partition,
    messages: &'a Messages,
    /// Which is the first, the second, ...
    enrollments: BTreeMap<Lsn, usize>,
    now: Option<Timestamp>,
    out: String,
}

impl Printer<'_> {
    fn record(&mut self, logged: &Logged) {
        if let Record::Enrolled(_) = &logged.record {
            self.enrollments.insert(logged.lsn, self.enrollments.len() + 1);
        }
        let Some(line) = self.line(logged) else { return };
        if self.now != Some(logged.time) {
            self.now = Some(logged.time);
            writeln!(self.out, "{}", logged.time).unwrap();
        }
        writeln!(self.out, "  {line}").unwrap();
    }

    /// What is said of a record; nothing of those that only carry documents and files.
    fn line(&self, logged: &Logged) -> Option<String> {
        let (id, lsn) = (self.partition.id(), logged.lsn);
        Some(match &logged.record {
            Record::InputOpened(_) | Record::DocumentPart(_) => return None,
            Record::LineRead(it) => format!("line {}", it.line),
            Record::LineRejected(it) => {
                format!("line rejected {}", LineCode::from_number(it.code).unwrap())
            }
            Record::LossAccepted(it) => format!("loss accepted {} {}", it.ends, it.acknowledged),
            Record::Restored(it) => format!("restored as {}", it.instance),
            Record::SegmentChanged(it) => format!("segment {}", it.segment),
            Record::FlowPublished(it) => format!("flow {} v{}", it.flow, it.version),
            Record::CampaignChanged(it) => format!("campaign {}", it.campaign),
            Record::CustomerChanged(it) => customer(it),
            Record::EventReceived(it) => event(it),
            Record::EntriesRefused(it) => {
                let one = |(flow, reason): &(u32, _)| format!("{} {reason}", self.flow(*flow));
                format!("refused {}", it.refused.iter().map(one).collect::<Vec<_>>().join(", "))
            }
            Record::Enrolled(it) => self.enrolled(lsn, it),
            Record::WaitStarted(it) => self.step(lsn, &it.at, &format!("waits until {}", it.due)),
            Record::WaitEnded(it) => self.step(lsn, &it.at, "ended"),
            Record::Exited(it) => {
                format!("#{} exited {}", self.number(it.at.enrollment(lsn, id)), it.reason)
            }
            Record::DeliveryRequested(it) => {
                let message = self.message(lsn, &it.at, it.subscription, 1);
                self.step(lsn, &it.at, &format!("requested{}{message}", requested(it)))
            }
            Record::DeliveryAttempted(it) => {
                let message = self.message(lsn, &it.at, it.subscription, it.attempt);
                let which = which(it.subscription);
                self.step(lsn, &it.at, &format!("attempt {}{which}{message}", it.attempt))
            }
            Record::DeliverySent(it) => {
                self.step(lsn, &it.at, &format!("sent{}", which(it.subscription)))
            }
            Record::DeliveryDeferred(it) => {
                let which = which(it.subscription);
                let text = format!("deferred{which} until {}: {}", it.until, it.error);
                self.step(lsn, &it.at, &text)
            }
            Record::DeliveryFailed(it) => {
                let text = format!("failed{} {}: {}", which(it.subscription), it.reason, it.error);
                self.step(lsn, &it.at, &text)
            }
            Record::DeliverySkipped(it) => {
                let which = it.requested.map(which).unwrap_or_default();
                self.step(lsn, &it.at, &format!("skipped{which} {}", it.reason))
            }
        })
    }

    fn number(&self, id: EnrollmentId) -> usize {
        self.enrollments[&id.lsn]
    }

    fn flow(&self, number: u32) -> String {
        self.partition.memory().flow(number).unwrap().id.to_string()
    }

    fn step(&self, lsn: Lsn, at: &At, text: &str) -> String {
        let version = self.partition.catalog().version(at.flow, at.version).unwrap();
        let step = &version.flow.steps[usize::try_from(at.step).unwrap()];
        let number = self.number(at.enrollment(lsn, self.partition.id()));
        format!("#{number} {} {text}", step.id)
    }

    fn message(&self, lsn: Lsn, at: &At, subscription: u16, attempt: u32) -> String {
        let enrollment = at.enrollment(lsn, self.partition.id());
        let id = DeliveryId { enrollment, visit: at.visit, subscription };
        let message = self.messages.get(&(id, attempt));
        message.map_or_else(String::new, |message| format!("\n    -> {message}"))
    }

    fn enrolled(&self, lsn: Lsn, it: &Enrolled) -> String {
        let id = EnrollmentId { partition: self.partition.id(), lsn };
        let mut text =
            format!("#{} enrolled {} v{}", self.number(id), self.flow(it.flow), it.version);
        write!(text, " {}", it.customer).unwrap();
        if let Some(key) = &it.key {
            write!(text, " key={}", short(key)).unwrap();
        }
        if let Some(campaign) = it.campaign {
            let campaign = self.partition.memory().campaign(campaign).unwrap();
            write!(text, " campaign={}", campaign.id).unwrap();
        }
        text
    }
}

fn customer(it: &CustomerChanged) -> String {
    let mut text = format!("customer {}", it.customer);
    if it.created {
        text.push_str(" created");
    }
    let email = it.email.as_ref().map(Option::as_deref);
    let (timezone, locale) = (&it.timezone, &it.locale);
    let [timezone, locale] = [timezone, locale].map(|it| it.as_ref().map(Option::as_deref));
    for (name, field) in [("email", email), ("timezone", timezone), ("locale", locale)] {
        if let Some(value) = field {
            write!(text, " {name}={}", value.unwrap_or("null")).unwrap();
        }
    }
    for (name, value) in &it.attributes {
        let value = value.as_ref().map_or("null", |value| value.as_str());
        write!(text, " {name}={}", short(value)).unwrap();
    }
    if let Some(push) = &it.push {
        write!(text, " push={}", push.len()).unwrap();
    }
    text
}

fn event(it: &EventReceived) -> String {
    let mut text = format!("event {} {}", it.name, it.customer);
    if let Some(id) = &it.id {
        write!(text, " {id}").unwrap();
    }
    let marks = [(it.created, "created"), (it.too_old, "too_old"), (!it.counted, "uncounted")];
    for (_, mark) in marks.iter().filter(|(holds, _)| *holds) {
        write!(text, " {mark}").unwrap();
    }
    text
}

fn requested(it: &DeliveryRequested) -> String {
    match &it.recipient {
        Recipient::Email(_) => String::new(),
        Recipient::Push(_) => format!(" {}/{}", it.subscription, it.subscriptions),
    }
}

/// Which of a customer's subscriptions, where it is a push.
fn which(subscription: u16) -> String {
    if subscription == 0 { String::new() } else { format!(" {subscription}") }
}

fn short(text: &str) -> String {
    if text.len() < 100 { text.to_owned() } else { format!("<{} bytes>", text.len()) }
}
