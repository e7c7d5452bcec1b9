//! The kinds of step: the one file here that a new kind touches.

use std::collections::BTreeSet;

use super::template::Template;
use crate::base::{Span, StepId};

/// One step of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its identifier, unique within the flow.
    pub id: StepId,
    /// What it does.
    pub action: Action,
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
    pub reason: String,
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
    pub fn variables(&self) -> BTreeSet<String> {
        let all = self.templates().into_iter().flat_map(Template::variables);
        all.cloned().collect()
    }

    fn templates(&self) -> Vec<&Template> {
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
