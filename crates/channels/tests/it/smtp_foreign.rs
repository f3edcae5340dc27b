//! What other people's programs make of our mail: a real server takes it, two readers read it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use channels::{Provider, Secret, SendError, SmtpConfig, SmtpCredentials, SmtpTls};
use domain::{Attachment, MailParts, Message};
use serde_json::{Value, json};
use std::io::Write as _;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::foreign;
use crate::mail::{Identity, config, mail_to, smtp};

/// aiosmtpd, and what it has printed.
struct Aiosmtpd {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    config: SmtpConfig,
}

impl Aiosmtpd {
    async fn start(arguments: &[&str]) -> Self {
        let mut command = foreign::python("mail_server.py");
        command.args(arguments);
        let mut child = foreign::start(command);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines
            .next_line()
            .await
            .unwrap()
            .expect("the server prints its port");
        let address = ([127, 0, 0, 1], port.parse::<u16>().unwrap()).into();
        Self {
            _child: child,
            lines,
            config: config(address),
        }
    }

    async fn mail(&mut self) -> Value {
        let line = self
            .lines
            .next_line()
            .await
            .unwrap()
            .expect("the server prints a mail");
        serde_json::from_str(&line).unwrap()
    }
}

fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::File::create(&path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    path.to_str().unwrap().to_owned()
}

/// A text as a reader shows it: how lines end, and how many empty ones follow, is the mail's.
fn words(text: &Value) -> String {
    text.as_str()
        .unwrap()
        .replace("\r\n", "\n")
        .trim_end()
        .to_owned()
}

#[tokio::test]
async fn a_mail_with_everything_is_read_alike_by_two_readers() {
    let mut server = Aiosmtpd::start(&[]).await;
    let photo: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let photo = BASE64.encode(photo);
    let subject =
        "Überfällig: Ihre Bestellung № 7 wurde ausgeführt – bitte prüfen Sie die Anlage 📎";
    let plain = "Привет,\r\n.\r\n..двойная\r\nваш заказ выполнен.";
    let html = format!("<p dir=\"rtl\">مرحبا</p>\n<p>{}</p>\n", "x".repeat(3000));
    let mut mail = mail_to("ada@example.com");
    mail.message = Message {
        subject: Some(subject.to_owned()),
        body: plain.to_owned(),
        body_html: Some(html.clone()),
        data: None,
        mail: Some(MailParts {
            reply_to: Some("desk@example.com".into()),
            cc: vec!["bob@пример.рф".into()],
            bcc: vec!["carl@example.com".into()],
            attachments: vec![
                Attachment {
                    filename: "Rechnung \"Größe\" №7; a=b.bin".into(),
                    content_type: "image/png".into(),
                    content: photo.clone(),
                },
                Attachment {
                    filename: "a.txt".into(),
                    content_type: "text/plain; charset=utf-8".into(),
                    content: BASE64.encode("ü\n.\n"),
                },
            ],
        }),
    };

    smtp(server.config.clone()).send(&mail).await.unwrap();
    let read = server.mail().await;

    assert_eq!(read["from"], "postrider@example.com");
    let to = [
        "ada@example.com",
        "bob@xn--e1afmkfd.xn--p1ai",
        "carl@example.com",
    ];
    assert_eq!(read["to"], json!(to));
    let by_email = &read["email"];
    assert_eq!(by_email["defects"], json!([]));
    assert_eq!(
        by_email["parts"],
        json!([
            "multipart/mixed",
            "multipart/alternative",
            "text/plain",
            "text/html",
            "image/png",
            "text/plain"
        ])
    );
    let headers = &by_email["headers"];
    assert_eq!(headers["subject"], subject);
    assert_eq!(headers["from"], "Postrider <postrider@example.com>");
    assert_eq!(headers["to"], "ada@example.com");
    assert_eq!(headers["cc"], "bob@xn--e1afmkfd.xn--p1ai");
    assert_eq!(headers["bcc"], Value::Null);
    assert_eq!(headers["reply-to"], "desk@example.com");
    assert_eq!(
        headers["message-id"],
        format!("<{}@example.com>", mail.delivery_id)
    );
    assert_eq!(headers["date"], "Fri, 15 Jan 2027 08:00:00 +0000");
    assert_eq!(words(&by_email["text"]), plain.replace("\r\n", "\n"));
    assert_eq!(words(&by_email["html"]), html.trim_end());
    let files = json!([
        {"name": "Rechnung \"Größe\" №7; a=b.bin", "type": "image/png", "content": photo},
        {"name": "a.txt", "type": "text/plain", "content": BASE64.encode("ü\n.\n")},
    ]);
    assert_eq!(by_email["files"], files);

    let by_mailparser = &read["mailparser"];
    assert_eq!(by_mailparser["subject"], subject);
    assert_eq!(by_mailparser["to"], json!(["ada@example.com"]));
    assert_eq!(by_mailparser["cc"], json!(["bob@xn--e1afmkfd.xn--p1ai"]));
    assert_eq!(by_mailparser["date"], "2027-01-15T08:00:00+00:00");
    assert_eq!(by_mailparser["defects"], json!([]));
    let text = by_mailparser["text"][0].as_str().unwrap();
    assert!(text.contains("двойная"), "{text}");
    let name = &by_mailparser["files"][0]["name"];
    assert_eq!(name, "Rechnung \"Größe\" №7; a=b.bin");
}

#[tokio::test]
async fn a_plain_mail_is_one_part_and_keeps_its_lines() {
    let mut server = Aiosmtpd::start(&[]).await;
    let mut mail = mail_to("ada@example.com");
    mail.message.body = format!("a\rb\n.\n..\n{}\nend", "long ".repeat(500));

    smtp(server.config.clone()).send(&mail).await.unwrap();
    let read = server.mail().await;

    assert_eq!(read["email"]["type"], "text/plain");
    let body = mail.message.body.replace('\r', "\n");
    assert_eq!(words(&read["email"]["text"]), body);
}

#[tokio::test]
async fn a_real_server_gets_our_password_under_encryption_alone() {
    let identity = Identity::fresh();
    let folder = tempfile::tempdir().unwrap();
    let certificate = file(&folder, "certificate.pem", &identity.certificate_pem);
    let key = file(&folder, "key.pem", &identity.key_pem);
    for tls in [SmtpTls::Required, SmtpTls::Implicit] {
        let mut arguments = vec!["--certificate", &*certificate, "--key", &*key];
        arguments.extend(["--user", "user", "--password", "hunter2"]);
        if tls == SmtpTls::Implicit {
            arguments.push("--implicit");
        }
        let mut server = Aiosmtpd::start(&arguments).await;
        let with = |password: &str| {
            smtp(SmtpConfig {
                tls,
                roots: vec![identity.certificate.clone()],
                credentials: Some(SmtpCredentials {
                    user: "user".to_owned(),
                    password: Secret::new(password),
                }),
                ..server.config.clone()
            })
        };

        let refused = with("wrong").send(&mail_to("ada@example.com")).await;
        let answer = with("hunter2").send(&mail_to("ada@example.com")).await;

        let Err(SendError::Transient { detail }) = refused else {
            panic!("{refused:?}");
        };
        assert!(detail.contains("our credentials: 535"), "{detail}");
        assert!(answer.is_ok(), "{tls:?}: {answer:?}");
        let read = server.mail().await;
        assert_eq!(read["login"], "user");
        assert_eq!(read["is_encrypted"], true);
    }
}
