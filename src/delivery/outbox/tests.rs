//! The outbox: messages read back by another library, and the directory after mishaps.

use std::fs;

use mail_parser::MessageParser;

use super::super::tests::{email, mailbox, message, push, subscription};
use super::*;
use crate::base::ContentHash;
use crate::machine::delivery::{Content, Delivery, Recipient};

/// An outbox in a new directory, with what it answers and what lies there.
struct Trial {
    dir: tempfile::TempDir,
    outbox: Outbox,
}

impl Trial {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(&dir.path().join("a/b")).unwrap();
        Self { dir, outbox }
    }

    /// Another outbox in the same directory, after the end of this one.
    fn reopened(self) -> Self {
        let Self { dir, outbox } = self;
        drop(outbox);
        let outbox = Outbox::open(&dir.path().join("a/b")).unwrap();
        Self { dir, outbox }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("a/b").join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    async fn send(&self, id: &str, recipient: Recipient, content: Content) -> Outcome {
        self.outbox.send(message(id, recipient, content)).await
    }
}

fn with_subject(subject: &str) -> Content {
    let Content::Email { from, reply_to, text, html, .. } = email() else { panic!() };
    Content::Email { from, reply_to, subject: subject.to_owned(), text, html }
}

fn built(recipient: &str, content: Content) -> Result<String, Outcome> {
    let recipient = Recipient::Email(recipient.into());
    let bytes = eml::build(&message("e0-1234.3", recipient, content))?;
    assert!(bytes.split(|byte| *byte == b'\n').all(|line| line.len() <= 999), "a long line");
    Ok(String::from_utf8(bytes).unwrap())
}

#[tokio::test]
async fn an_email_is_a_standard_message_in_a_file_of_its_id() {
    let trial = Trial::new();
    let content = Content::Email {
        from: Some("\"Zoë, of the shop\" <zoe@shop.example>".to_owned()),
        reply_to: Some("Zoë <help@shop.example>".to_owned()),
        subject: "Grüße — 你好".to_owned(),
        text: Some("Línea 1\n.\nFrom here on\r\nlast".to_owned()),
        html: Some("<p>Línea 1</p>\n".repeat(100)),
    };
    let outcome = trial.send("e0-1234.3", mailbox(), content).await;
    let bytes = fs::read(trial.path("e0-1234.3.eml")).unwrap();
    assert_eq!(outcome, Outcome::Sent { hash: ContentHash::of(&bytes) });
    assert_eq!(trial.names(), ["e0-1234.3.eml"]);

    let mail = MessageParser::new().parse(&bytes).unwrap();
    let from = mail.from().unwrap().first().unwrap();
    assert_eq!(from.name(), Some("Zoë, of the shop"));
    assert_eq!(from.address(), Some("zoe@shop.example"));
    assert_eq!(mail.reply_to().unwrap().first().unwrap().address(), Some("help@shop.example"));
    assert_eq!(mail.to().unwrap().first().unwrap().address(), Some("customer-1@example.com"));
    assert_eq!(mail.subject(), Some("Grüße — 你好"));
    let id = "e0-1234.3@abababababababababababababababab.onward";
    assert_eq!(mail.message_id(), Some(id));
    assert_eq!(mail.date().unwrap().to_rfc3339(), "2011-03-04T05:06:07Z");
    assert_eq!(mail.header_raw("MIME-Version").map(str::trim), Some("1.0"));
    assert_eq!(mail.parts.len(), 3, "alternative, text and html");
    let text = mail.body_text(0).unwrap();
    assert_eq!(text.trim_end(), "Línea 1\r\n.\r\nFrom here on\r\nlast");
    let html = mail.body_html(0).unwrap();
    assert_eq!(html.trim_end().replace("\r\n", "\n"), "<p>Línea 1</p>\n".repeat(100).trim_end());
}

#[test]
fn a_subject_stays_one_header_and_reads_back_as_written() {
    let ascii = "x".repeat(1_000);
    let words = "word ".repeat(200) + "end";
    let wide = "好".repeat(1_000);
    for (written, read) in [
        ("plain", "plain"),
        ("a\r\nBcc: eve@example.org\n\nbody", "a  Bcc: eve@example.org  body"),
        ("tab\tnull\0end", "tab null end"),
        ("=?utf-8?Q?looks=20encoded?=", "=?utf-8?Q?looks=20encoded?="),
        ("_=?_ two  spaces é", "_=?_ two  spaces é"),
        (&ascii, &ascii),
        (&words, &words),
        (&wide, &wide),
    ] {
        let eml = built("a@example.com", with_subject(written)).unwrap();
        let mail = MessageParser::new().parse(eml.as_bytes()).unwrap();
        assert_eq!(mail.subject(), Some(read));
        assert!(mail.bcc().is_none());
        // From, To, Subject, Message-ID, Date, MIME-Version, Content-Type, its encoding.
        assert_eq!(eml_headers(&eml), 8, "{eml}");
        assert_eq!(mail.body_text(0).unwrap().trim_end(), "Thank you.");
    }
}

proptest::proptest! {
    #[test]
    fn any_subject_reads_back_with_spaces_for_its_control_characters(subject: String) {
        let eml = built("a@example.com", with_subject(&subject)).unwrap();
        let mail = MessageParser::new().parse(eml.as_bytes()).unwrap();
        let line = subject.replace(char::is_control, " ");
        proptest::prop_assert_eq!(mail.subject().unwrap_or_default(), line);
        let text = mail.body_text(0).unwrap();
        proptest::prop_assert_eq!(text.trim_end(), "Thank you.");
    }

    #[test]
    fn any_text_reads_back_from_either_part(text in "[^\\p{Cc}]*", html in "[^\\p{Cc}]*") {
        let content = Content::Email {
            from: None,
            reply_to: None,
            subject: "Hi".to_owned(),
            text: Some(text.clone()),
            html: Some(html.clone()),
        };
        let eml = built("a@example.com", content).unwrap();
        let mail = MessageParser::new().parse(eml.as_bytes()).unwrap();
        let part = |number| mail.part(number).unwrap().text_contents().unwrap().trim_end();
        proptest::prop_assert_eq!(part(1), text.trim_end());
        proptest::prop_assert_eq!(part(2), html.trim_end());
    }
}

/// Lines before the first empty one that do not continue another.
fn eml_headers(eml: &str) -> usize {
    eml.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with(' ')).count()
}

#[test]
fn an_address_that_is_none_is_rejected_and_a_sender_that_is_none_is_the_templates_fault() {
    for to in [
        "",
        "a",
        "a@",
        "@b.example",
        "a b@c.example",
        "a@c.example\r\nBcc: eve@example.org",
        "a@c.example, eve@example.org",
        "a@c.example\u{85}",
    ] {
        let outcome = built(to, email()).unwrap_err();
        assert!(matches!(outcome, Outcome::Rejected { .. }), "{to:?}: {outcome:?}");
    }
    for from in ["", "no one", "x <a@b.example>\r\nBcc: eve@example.org", &"x".repeat(600)] {
        let content = Content::Email {
            from: Some(from.to_owned()),
            reply_to: None,
            subject: String::new(),
            text: Some(String::new()),
            html: None,
        };
        let outcome = built("a@example.com", content).unwrap_err();
        assert!(matches!(outcome, Outcome::TemplateError { .. }), "{from:?}: {outcome:?}");
    }
}

#[test]
fn a_text_that_knows_the_boundary_cannot_end_its_part() {
    let content = Content::Email {
        from: None,
        reply_to: None,
        subject: "Hi".to_owned(),
        text: Some("a\r\n--onward-e0-1234.3-0--\r\nb".to_owned()),
        html: Some("--onward-e0-1234.3-1\r\n".to_owned()),
    };
    let eml = built("a@example.com", content).unwrap();
    let mail = MessageParser::new().parse(eml.as_bytes()).unwrap();
    assert_eq!(mail.parts.len(), 3);
    assert_eq!(mail.body_text(0).unwrap().trim_end(), "a\r\n--onward-e0-1234.3-0--\r\nb");
    assert_eq!(mail.from().unwrap().first().unwrap().address(), Some("onward@localhost"));
}

#[tokio::test]
async fn a_push_is_one_json_object() {
    let trial = Trial::new();
    let outcome = trial.send("e0-7.2.1", subscription(), push()).await;
    let bytes = fs::read(trial.path("e0-7.2.1.push.json")).unwrap();
    assert_eq!(outcome, Outcome::Sent { hash: ContentHash::of(&bytes) });
    let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "id": "e0-7.2.1",
            "message_id": "e0-7.2.1@abababababababababababababababab.onward",
            "time": "2011-03-04T05:06:07.891Z",
            "customer": "1",
            "endpoint": "https://push.example.net/s/1",
            "keys": {"p256dh": "key", "auth": "secret"},
            "title": "A tip",
            "body": "Try this.",
            "url": "https://shop.example.com/",
            "ttl": 3600,
        })
    );
}

#[tokio::test]
async fn a_message_for_the_other_kind_of_recipient_is_not_written() {
    let trial = Trial::new();
    for outcome in [
        trial.send("e0-1.1", mailbox(), push()).await,
        trial.send("e0-1.1.1", subscription(), email()).await,
    ] {
        assert_eq!(outcome, mismatch());
    }
    assert!(trial.names().is_empty());
}

#[tokio::test]
async fn a_repeated_attempt_finds_its_file_and_another_message_never_overwrites_it() {
    let trial = Trial::new();
    let both = Content::Email {
        from: None,
        reply_to: None,
        subject: "Hi".to_owned(),
        text: Some("a".to_owned()),
        html: Some("b".to_owned()),
    };
    let first = trial.send("e0-1.1", mailbox(), both.clone()).await;
    let bytes = fs::read(trial.path("e0-1.1.eml")).unwrap();
    assert_eq!(trial.send("e0-1.1", mailbox(), both).await, first);
    let other = trial.send("e0-1.1", mailbox(), email()).await;
    let Outcome::Broken { error } = other else { panic!("{other:?}") };
    assert!(error.contains("e0-1.1.eml exists with another content and is kept: "), "{error}");
    assert_eq!(fs::read(trial.path("e0-1.1.eml")).unwrap(), bytes);
    assert_eq!(trial.names(), ["e0-1.1.eml"]);
}

#[tokio::test]
async fn what_a_crash_left_half_written_goes_and_the_rest_stays() {
    let trial = Trial::new();
    fs::write(trial.path(".tmp-e0-1.1.eml"), "half").unwrap();
    fs::write(trial.path("e0-2.1.eml"), "whole").unwrap();
    let trial = trial.reopened();
    assert_eq!(trial.names(), ["e0-2.1.eml"]);

    // A temporary file of the same attempt that an I/O error left behind is no obstacle either.
    fs::write(trial.path(".tmp-e0-1.1.eml"), "half".repeat(1_000)).unwrap();
    let outcome = trial.send("e0-1.1", mailbox(), email()).await;
    assert!(matches!(outcome, Outcome::Sent { .. }), "{outcome:?}");
    assert_eq!(trial.names(), ["e0-1.1.eml", "e0-2.1.eml"]);
    assert!(fs::read_to_string(trial.path("e0-1.1.eml")).unwrap().starts_with("From: "));
}

#[tokio::test]
async fn what_a_directory_sends_under_another_identity_lies_beside_what_it_sent_before() {
    let trial = Trial::new();
    let before = super::super::tests::delivery("e0-1.1", mailbox(), email());
    let content = Arc::new(super::super::tests::Fixed(with_subject("Another")));
    let after = Delivery { is_renamed: true, content, ..before.clone() };
    for delivery in [before, after] {
        let message = Arc::new(Message::render(&delivery).unwrap());
        let outcome = trial.outbox.send(message).await;
        assert!(matches!(outcome, Outcome::Sent { .. }), "{outcome:?}");
    }
    let name = "e0-1.1@abababababababababababababababab.eml";
    assert_eq!(trial.names(), ["e0-1.1.eml", name]);
}

#[tokio::test]
async fn a_directory_with_an_outbox_is_refused_to_another_and_stays_as_it_is() {
    let trial = Trial::new();
    fs::write(trial.path(".tmp-e0-1.1.eml"), "being written").unwrap();
    let refused = Outbox::open(&trial.path("")).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
    assert_eq!(trial.names(), [".tmp-e0-1.1.eml"]);
    // The one that has it goes on, and so does the next after its end.
    let outcome = trial.send("e0-1.1", mailbox(), email()).await;
    assert!(matches!(outcome, Outcome::Sent { .. }), "{outcome:?}");
    assert_eq!(trial.reopened().names(), ["e0-1.1.eml"]);
}

#[tokio::test]
async fn without_its_directory_it_defers_and_with_it_goes_on() {
    let trial = Trial::new();
    fs::remove_dir(trial.path("")).unwrap();
    let outcome = trial.send("e0-1.1", mailbox(), email()).await;
    let Outcome::Broken { error } = outcome else { panic!("{outcome:?}") };
    assert!(error.contains("e0-1.1.eml: "), "{error}");
    fs::create_dir(trial.path("")).unwrap();
    let outcome = trial.send("e0-1.1", mailbox(), email()).await;
    assert!(matches!(outcome, Outcome::Sent { .. }), "{outcome:?}");
}

#[test]
fn a_batch_answers_each_file_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let file =
        |name: &str, text: &str| File { name: name.to_owned(), bytes: text.as_bytes().to_vec() };
    let files = [file("a", "1"), file("b", "2"), file("a", "1"), file("a", "3"), file("x/y", "4")];
    let outcomes = spool::write(dir.path(), &files);
    let sent = |text: &str| Outcome::Sent { hash: ContentHash::of(text.as_bytes()) };
    let [first, second, repeated, other, nowhere] = outcomes.as_slice() else { panic!() };
    assert_eq!([first, second, repeated], [&sent("1"), &sent("2"), &sent("1")]);
    assert!(matches!(other, Outcome::Broken { .. }), "{other:?}");
    assert!(matches!(nowhere, Outcome::Broken { .. }), "{nowhere:?}");
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"1");
}

#[tokio::test]
async fn many_attempts_at_once_are_all_written() {
    let trial = Trial::new();
    let tasks: Vec<_> = (1..=300)
        .map(|number| {
            let outbox = trial.outbox.clone();
            tokio::spawn(async move {
                outbox.send(message(&format!("e0-{number}.1"), mailbox(), email())).await
            })
        })
        .collect();
    for task in tasks {
        let outcome = task.await.unwrap();
        assert!(matches!(outcome, Outcome::Sent { .. }), "{outcome:?}");
    }
    assert_eq!(trial.names().len(), 300);
}
