//! What each kind of step does when an enrollment enters it, and what its message says: the one
//! file here that a new kind touches.

use std::sync::Arc;

use super::{
    catalog::Published,
    delivery::{Content, Recipient, Render},
    memory::index,
    reason::Skip,
};
use crate::{
    base::Timestamp,
    model::{Action, After, Customer, Fields, SendEmail, SendPush, Step, Template},
};

/// What follows from entering a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entered {
    /// Time passes.
    Wait {
        /// Until then.
        due: Timestamp,
    },
    /// Messages are to be sent; one at least.
    Deliver(Vec<Recipient>),
    /// Nothing is sent.
    Skip(Skip),
    /// The enrollment ends.
    Exit(Arc<str>),
}

/// Enters a step at `now`.
pub(super) fn enter(action: &Action, customer: &Customer, now: Timestamp) -> Entered {
    match action {
        Action::Wait(wait) => Entered::Wait { due: now.plus(wait.span) },
        Action::Exit(exit) => Entered::Exit(Arc::clone(&exit.reason)),
        Action::SendEmail(_) => match &customer.email {
            Some(email) => Entered::Deliver(vec![Recipient::Email(Arc::clone(email))]),
            None => Entered::Skip(Skip::NoAddress),
        },
        Action::SendPush(_) if customer.push.is_empty() => Entered::Skip(Skip::NoSubscription),
        Action::SendPush(_) => {
            Entered::Deliver(customer.push.iter().cloned().map(Recipient::Push).collect())
        }
    }
}

/// What an enrollment does after a step that sent nothing.
pub(super) const fn on_skip(action: &Action) -> After {
    match action {
        Action::SendEmail(email) => email.on_skip,
        Action::SendPush(push) => push.on_skip,
        Action::Wait(_) | Action::Exit(_) => After::Continue,
    }
}

/// What an enrollment does after a step whose messages all failed.
pub(super) const fn on_failure(action: &Action) -> After {
    match action {
        Action::SendEmail(email) => email.on_failure,
        Action::SendPush(push) => push.on_failure,
        Action::Wait(_) | Action::Exit(_) => After::Continue,
    }
}

/// The message of a step of a flow version, before its values are filled in.
#[derive(Debug)]
pub struct StepMessage {
    /// The flow version.
    pub published: Arc<Published>,
    /// The step's position in it.
    pub step: u32,
}

impl Render for StepMessage {
    fn render(&self, values: &Fields) -> Result<Content, String> {
        let step: Option<&Step> = self.published.flow.steps.get(index(self.step));
        match step.map(|step| &step.action) {
            Some(Action::SendEmail(email)) => render_email(email, values),
            Some(Action::SendPush(push)) => render_push(push, values),
            Some(Action::Wait(_) | Action::Exit(_)) | None => {
                Err("this step has no message".to_owned())
            }
        }
    }
}

fn render_email(email: &SendEmail, values: &Fields) -> Result<Content, String> {
    Ok(Content::Email {
        from: optional(email.from.as_ref(), values)?,
        reply_to: optional(email.reply_to.as_ref(), values)?,
        subject: render(&email.subject, values)?,
        text: optional(email.text.as_ref(), values)?,
        html: optional(email.html.as_ref(), values)?,
    })
}

fn render_push(push: &SendPush, values: &Fields) -> Result<Content, String> {
    Ok(Content::Push {
        title: render(&push.title, values)?,
        body: render(&push.body, values)?,
        url: optional(push.url.as_ref(), values)?,
        icon: optional(push.icon.as_ref(), values)?,
        ttl: push.ttl,
        urgency: push.urgency.map(|urgency| urgency.as_str().to_owned()),
    })
}

fn optional(template: Option<&Template>, values: &Fields) -> Result<Option<String>, String> {
    template.map(|template| render(template, values)).transpose()
}

fn render(template: &Template, values: &Fields) -> Result<String, String> {
    template.render(values).map_err(|error| error.to_string())
}
