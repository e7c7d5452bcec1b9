//! The channel `outbox`: every message becomes a file of a directory, for a mail server or a push
//! gateway to fetch: `<delivery id>.eml` or `<delivery id>.push.json`, with the identity behind the
//! id where the data directory has another one than it was created with.
//!
//! A message counts as sent only when its file and the directory's entry are on disk. The same
//! delivery gives the same bytes, so an attempt that is repeated after a crash finds its own file
//! and leaves it as it is. A file with other bytes is of another data directory: it is never
//! overwritten, and the channel is broken until the two have an outbox each.

mod eml;
mod push;
mod spool;

use std::{io, path::Path, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use super::{Channel, Message, Sending};
use crate::base::limits::OUTBOX_BATCH;
use crate::machine::delivery::{ChannelKind, Outcome};
use spool::{File, Request, Spool};

/// A directory that takes e-mails and pushes.
#[derive(Debug, Clone)]
pub struct Outbox {
    requests: mpsc::Sender<Request>,
}

impl Outbox {
    /// Creates the directory where it is missing, locks it, removes what a crash left half-written,
    /// and starts the thread that writes. It has the lock until the last of this outbox is dropped
    /// and all it was given is written.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`]: another outbox uses the directory.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let spool = Spool::open(dir)?;
        let (requests, received) = mpsc::channel(OUTBOX_BATCH);
        std::thread::Builder::new().name("outbox".to_owned()).spawn(move || spool.run(received))?;
        Ok(Self { requests })
    }
}

impl Channel for Outbox {
    fn name(&self) -> &'static str {
        "outbox"
    }

    fn send(&self, message: Arc<Message>) -> Sending<'_> {
        Box::pin(async move {
            let file = match file(&message) {
                Ok(file) => file,
                Err(outcome) => return outcome,
            };
            let (answer, answered) = oneshot::channel();
            let ended = || Outcome::Broken { error: "the outbox's thread has ended".to_owned() };
            match self.requests.send(Request { file, answer }).await {
                Ok(()) => answered.await.unwrap_or_else(|_| ended()),
                Err(_) => ended(),
            }
        })
    }
}

fn file(message: &Message) -> Result<File, Outcome> {
    let (extension, bytes) = match message.recipient.channel() {
        ChannelKind::Email => ("eml", eml::build(message)?),
        ChannelKind::Push => ("push.json", push::build(message)?),
    };
    Ok(File { name: format!("{}.{extension}", message.name()), bytes })
}

fn mismatch() -> Outcome {
    let error = "an e-mail goes to a mailbox and a push to a subscription".to_owned();
    Outcome::TemplateError { error }
}

#[cfg(test)]
mod tests;
