//! The kinds of step: the one file here that a new kind touches.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    parse::{At, Object, Report, whole},
    template::{Form, Template},
};
use crate::base::{Span, StepId, time::BadTime};

/// One step of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its identifier, unique within the flow.
    pub id: StepId,
    /// What it does.
    pub action: Action,
    /// The variables that its templates use.
    pub variables: Arc<[Arc<str>]>,
    /// The place of the step that follows in the flow's list; none: the end, which exits
    /// `completed`.
    pub next: Option<usize>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Sends an e-mail.
    SendEmail(SendEmail),
    /// Sends a push message to every subscription.
    SendPush(SendPush),
    /// Lets time pass.
    Wait(Wait),
    /// Ends the enrollment.
    Exit(Exit),
}

/// An e-mail; at least one of `text` and `html` is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendEmail {
    /// The subject line.
    pub subject: Template,
    /// The plain body.
    pub text: Option<Template>,
    /// The HTML body.
    pub html: Option<Template>,
    /// The sender, where it is not the channel's own.
    pub from: Option<Template>,
    /// Where answers go.
    pub reply_to: Option<Template>,
    /// What follows when nothing is sent.
    pub on_skip: After,
    /// What follows when sending fails for good.
    pub on_failure: After,
}

/// A push message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendPush {
    /// Its title.
    pub title: Template,
    /// Its text.
    pub body: Template,
    /// Where a click leads.
    pub url: Option<Template>,
    /// The address of a picture.
    pub icon: Option<Template>,
    /// Seconds a push service keeps it for a device that is away.
    pub ttl: Option<u32>,
    /// How soon a device should show it.
    pub urgency: Option<Urgency>,
    /// What follows when nothing is sent.
    pub on_skip: After,
    /// What follows when sending fails for good.
    pub on_failure: After,
}

/// How soon a device should show a push message, as in RFC 8030.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// `very-low`: on power and wifi.
    VeryLow,
    /// `low`: on either power or wifi.
    Low,
    /// `normal`: on neither.
    Normal,
    /// `high`: with a low battery too.
    High,
}

impl Urgency {
    /// Every value.
    pub const ALL: [Self; 4] = [Self::VeryLow, Self::Low, Self::Normal, Self::High];

    /// As the header and the documents write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VeryLow => "very-low",
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

/// What an enrollment does after a message that was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum After {
    /// Goes on to the next step.
    #[default]
    Continue,
    /// Ends.
    Exit,
}

impl After {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Continue, Self::Exit];

    /// As the documents write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Exit => "exit",
        }
    }
}

/// A wait of fixed length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// How long, from the moment the step begins.
    pub span: Span,
}

/// The end of an enrollment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Why, `completed` unless the document says otherwise.
    pub reason: Arc<str>,
}

impl Action {
    /// The names of all kinds, as documents write them in `step_type`.
    pub const TYPES: [&'static str; 4] = ["SEND_EMAIL", "SEND_PUSH", "WAIT", "EXIT"];

    /// The name of this kind.
    pub const fn step_type(&self) -> &'static str {
        match self {
            Self::SendEmail(_) => "SEND_EMAIL",
            Self::SendPush(_) => "SEND_PUSH",
            Self::Wait(_) => "WAIT",
            Self::Exit(_) => "EXIT",
        }
    }

    /// The variables that its templates use.
    pub(super) fn variables(&self) -> Arc<[Arc<str>]> {
        let all = self.templates().into_iter().flat_map(Template::variables);
        all.cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// How long it waits at least.
    pub(super) const fn least_wait(&self) -> Span {
        match self {
            Self::Wait(wait) => wait.span,
            Self::SendEmail(_) | Self::SendPush(_) | Self::Exit(_) => Span::ZERO,
        }
    }

    /// Reads the `config` of a step.
    pub(super) fn read(kind: &At<'_>, config: Object<'_>, report: &mut Report) -> Option<Self> {
        match kind.text(report)? {
            "SEND_EMAIL" => SendEmail::read(config, report).map(Self::SendEmail),
            "SEND_PUSH" => SendPush::read(config, report).map(Self::SendPush),
            "WAIT" => Wait::read(config, report).map(Self::Wait),
            "EXIT" => Exit::read(config, report).map(Self::Exit),
            _ => {
                let help = format!("there are {}", Self::TYPES.join(", "));
                report.error(&kind.spot, "unknown_step_type", "no kind of step", help);
                None
            }
        }
    }

    /// All of its templates.
    pub(super) fn templates(&self) -> Vec<&Template> {
        match self {
            Self::SendEmail(email) => {
                let optional = [&email.text, &email.html, &email.from, &email.reply_to];
                let optional = optional.into_iter().flatten();
                std::iter::once(&email.subject).chain(optional).collect()
            }
            Self::SendPush(push) => {
                let optional = [&push.url, &push.icon].into_iter().flatten();
                [&push.title, &push.body].into_iter().chain(optional).collect()
            }
            Self::Wait(_) | Self::Exit(_) => Vec::new(),
        }
    }
}

impl SendEmail {
    fn read(mut config: Object<'_>, report: &mut Report) -> Option<Self> {
        let subject = config.require("subject", report);
        let subject = subject.and_then(|at| at.template(report, Form::Text));
        let text = template(&mut config, "text", Form::Text, report);
        let html = template(&mut config, "html", Form::Html, report);
        if text.is_none() && html.is_none() {
            let help = "add \"text\", \"html\" or both";
            report.error(&config.spot, "missing_field", "an e-mail without a body", help);
        }
        let from = template(&mut config, "from", Form::Text, report);
        let reply_to = template(&mut config, "reply_to", Form::Text, report);
        let on_skip = after(&mut config, "on_skip", report);
        let on_failure = after(&mut config, "on_failure", report);
        config.finish(report);
        Some(Self {
            subject: subject?,
            text: whole(text)?,
            html: whole(html)?,
            from: whole(from)?,
            reply_to: whole(reply_to)?,
            on_skip: on_skip?,
            on_failure: on_failure?,
        })
    }
}

impl SendPush {
    fn read(mut config: Object<'_>, report: &mut Report) -> Option<Self> {
        let title = config.require("title", report);
        let title = title.and_then(|at| at.template(report, Form::Text));
        let body = config.require("body", report);
        let body = body.and_then(|at| at.template(report, Form::Text));
        let url = template(&mut config, "url", Form::Text, report);
        let icon = template(&mut config, "icon", Form::Text, report);
        let ttl = config.take("ttl").map(|at| {
            at.number(report, "bad_value", |text| {
                text.parse().map_err(|_| "write whole seconds, such as 86400")
            })
        });
        let urgency = config.take("urgency");
        let urgency = urgency.map(|at| at.choice(report, &Urgency::ALL, Urgency::as_str));
        let on_skip = after(&mut config, "on_skip", report);
        let on_failure = after(&mut config, "on_failure", report);
        config.finish(report);
        Some(Self {
            title: title?,
            body: body?,
            url: whole(url)?,
            icon: whole(icon)?,
            ttl: whole(ttl)?,
            urgency: whole(urgency)?,
            on_skip: on_skip?,
            on_failure: on_failure?,
        })
    }
}

impl Wait {
    fn read(mut config: Object<'_>, report: &mut Report) -> Option<Self> {
        let (days, duration) = (config.take("duration_days"), config.take("duration"));
        let spot = config.spot.clone();
        config.finish(report);
        let span = match (days, duration) {
            (Some(days), None) => days.number(report, "bad_duration", |text| {
                text.parse().map_err(|_| BadTime::Span).and_then(Span::from_days)
            }),
            (None, Some(duration)) => duration.parse(report, "bad_duration", Span::parse),
            (Some(days), Some(_)) => {
                let help = "keep `duration_days` or `duration`";
                report.error(&days.spot, "conflicting_fields", "two durations", help);
                None
            }
            (None, None) => {
                let help = "add \"duration_days\": 2 or \"duration\": \"2d3h\"";
                report.error(&spot, "missing_field", "a wait without a duration", help);
                None
            }
        };
        span.map(|span| Self { span })
    }
}

impl Exit {
    fn read(mut config: Object<'_>, report: &mut Report) -> Option<Self> {
        let reason = config.take("reason").map(|at| at.name(report));
        config.finish(report);
        let reason = whole(reason)?.unwrap_or_else(|| "completed".to_owned());
        Some(Self { reason: reason.into() })
    }
}

fn template(
    config: &mut Object<'_>,
    name: &'static str,
    form: Form,
    report: &mut Report,
) -> Option<Option<Template>> {
    config.take(name).map(|at| at.template(report, form))
}

fn after(config: &mut Object<'_>, name: &'static str, report: &mut Report) -> Option<After> {
    let read = config.take(name).map(|at| at.choice(report, &After::ALL, After::as_str));
    whole(read).map(Option::unwrap_or_default)
}
