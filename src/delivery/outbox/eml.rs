//! An e-mail as a standard message (RFC 5322, MIME), the same bytes each time.

use std::time::SystemTime;

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::{Address, address::Envelope};

use super::mismatch;
use crate::base::{DeliveryId, Timestamp, limits::MAILBOX_BYTES_MAX};
use crate::delivery::Message;
use crate::machine::delivery::{Content, Outcome, Recipient};

/// The sender of messages that name none.
const FROM: &str = "Onward <onward@localhost>";
/// Bytes of a word that may stand in a header as it is.
const WORD_BYTES_MAX: usize = 200;
/// Bytes of an encoded word within its frame; with it the standard allows 75.
const ENCODED_BYTES_MAX: usize = 60;

/// A recipient that is no address is rejected; a sender that is none is the template's fault.
pub(super) fn build(message: &Message) -> Result<Vec<u8>, Outcome> {
    let Recipient::Email(to) = &message.recipient else { return Err(mismatch()) };
    let Content::Email { from, reply_to, subject, text, html } = &message.content else {
        return Err(mismatch());
    };
    let to = address(to)?;
    let from = mailbox(from.as_deref().unwrap_or(FROM))?;
    let envelope = Envelope::new(Some(from.email.clone()), vec![to.clone()])
        .map_err(|error| template_error(format!("the message has no envelope: {error}")))?;
    let mut builder = lettre::Message::builder()
        .envelope(envelope)
        .from(from)
        .to(Mailbox::new(None, to))
        .raw_header(subject_header(subject))
        .message_id(Some(format!("<{}>", message.message_id())))
        .date(system_time(message.time));
    if let Some(reply_to) = reply_to {
        builder = builder.reply_to(mailbox(reply_to)?);
    }
    let built = match (text.clone(), html.clone()) {
        (Some(text), Some(html)) => builder.multipart(
            MultiPart::alternative()
                .boundary(boundary(message.id, &text, &html))
                .singlepart(SinglePart::plain(text))
                .singlepart(SinglePart::html(html)),
        ),
        (Some(text), None) => builder.singlepart(SinglePart::plain(text)),
        (None, Some(html)) => builder.singlepart(SinglePart::html(html)),
        (None, None) => return Err(template_error("an e-mail has a text, an html part or both")),
    };
    let built = built.map_err(|error| template_error(format!("no standard message: {error}")))?;
    Ok(built.formatted())
}

fn template_error(error: impl Into<String>) -> Outcome {
    Outcome::TemplateError { error: error.into() }
}

fn address(text: &str) -> Result<Address, Outcome> {
    parse(text).map_err(|error| Outcome::Rejected {
        error: format!("{text:?} is not an address that e-mail can go to: {error}"),
    })
}

fn mailbox(text: &str) -> Result<Mailbox, Outcome> {
    parse(text).map_err(|error| {
        template_error(format!("{text:?} is not a mailbox like 'Name <name@example.com>': {error}"))
    })
}

/// What lettre accepts, without anything that could end a header line.
fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    if text.len() > MAILBOX_BYTES_MAX {
        return Err(format!("it has over {MAILBOX_BYTES_MAX} bytes"));
    }
    if text.contains(char::is_control) {
        return Err("it has control characters".to_owned());
    }
    text.parse().map_err(|error: T::Err| error.to_string().to_lowercase())
}

fn system_time(time: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + time.since(Timestamp::EPOCH).to_std()
}

/// The subject, in encoded words of our own where lettre would write a line that is too long, lose
/// a space, or let a text through that only looks encoded.
fn subject_header(subject: &str) -> HeaderValue {
    let name = HeaderName::new_from_ascii_str("Subject");
    let line = subject.replace(char::is_control, " ");
    let tame = !line.contains("=?")
        && !line.contains("  ")
        && line.trim_matches(' ') == line
        && line.split(' ').all(|word| word.len() <= WORD_BYTES_MAX);
    if tame {
        return HeaderValue::new(name, line);
    }
    let encoded = encoded_words(&line);
    HeaderValue::dangerous_new_pre_encoded(name, line, encoded)
}

/// RFC 2047, the Q encoding, one word a line; no character is split over two words.
fn encoded_words(text: &str) -> String {
    let mut words = vec![String::new()];
    for character in text.chars() {
        let mut buffer = [0; 4];
        let encoded: String = character.encode_utf8(&mut buffer).bytes().map(q_encoded).collect();
        match words.last_mut() {
            Some(word) if word.len() + encoded.len() <= ENCODED_BYTES_MAX => {
                word.push_str(&encoded);
            }
            Some(_) | None => words.push(encoded),
        }
    }
    let framed: Vec<_> = words.iter().map(|word| format!("=?utf-8?Q?{word}?=")).collect();
    framed.join("\r\n ")
}

fn q_encoded(byte: u8) -> String {
    match byte {
        b' ' => "_".to_owned(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("={byte:02X}"),
    }
}

/// A line that neither part contains, the same each time.
fn boundary(id: DeliveryId, text: &str, html: &str) -> String {
    (0_u32..)
        .map(|number| format!("onward-{id}-{number}"))
        .find(|line| !text.contains(line) && !html.contains(line))
        .expect("a part is shorter than all the lines it would have to contain")
}
