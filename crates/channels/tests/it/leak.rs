//! Whether anything that is a person's, or secret, comes out in a log line.

use std::io::Write;
use std::sync::{Arc, Mutex};

use channels::{Channels, Outgoing, Secret, SmtpConfig, SmtpCredentials, WebhookConfig};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::mail::{config as mail_config, mail_to};
use crate::mail_server::{Answer, MailServer};
use crate::web_server::{Act, WebServer};
use crate::webhook::{config as webhook_config, webhook_to};

/// Everything, but for libraries that name the hosts they connect to.
const FILTER: &str = "trace,reqwest=info,hyper_util=info,rustls=info";

/// Is in every address, content, password and answer.
const MARK: &str = "marked";

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Sends, and adds what came of it to `shown`.
async fn send(channels: &Channels, outgoing: &Outgoing, shown: &mut Vec<String>) {
    let provider = channels.provider(outgoing.channel).unwrap();
    let answer = channels.send(provider, outgoing).await;
    shown.push(format!("{outgoing:?} {answer:?}"));
}

#[tokio::test]
async fn no_address_content_or_password_is_logged_or_answered() {
    let captured = Captured::default();
    let writer = captured.clone();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(FILTER))
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let mail_server = MailServer::start(&["AUTH PLAIN"], |asked| match asked.command {
        "RCPT TO:<gone.marked@example.com>" => {
            Answer::Say("550 5.1.1 <gone.marked@example.com>: user unknown")
        }
        "." if asked.mails == 1 => Answer::Cut,
        _ => Answer::Usual,
    })
    .await;
    let web_server = WebServer::start(|number, request| match number {
        1 => Act::Answer(200, "", format!("thanks for {}", request.header("host"))),
        2 => Act::Cut,
        _ => Act::Answer(404, "", "ask desk.marked@example.com".to_owned()),
    })
    .await;
    let port = web_server.address.port();
    let channels = Channels::new()
        .with_smtp(SmtpConfig {
            credentials: Some(SmtpCredentials {
                user: "user-marked".to_owned(),
                password: Secret::new("password-marked"),
            }),
            ..mail_config(mail_server.address)
        })
        .unwrap()
        .with_webhook(WebhookConfig {
            secrets: vec![Secret::new("whsec_markedmarkedmarkedmarkedmarked++")],
            bearer: Some(Secret::new("token-marked")),
            ..webhook_config()
        })
        .unwrap();

    let mut shown = Vec::new();
    for to in [
        "ada.marked@example.com",
        "gone.marked@example.com",
        "bob.marked@example.com",
    ] {
        let mut mail = mail_to(to);
        mail.message.body = "content-marked".to_owned();
        send(&channels, &mail, &mut shown).await;
    }
    for path in ["a", "b", "c"] {
        let url = format!("http://127.0.0.1:{port}/{path}-marked?token=marked");
        send(&channels, &webhook_to(&url), &mut shown).await;
    }
    for url in [
        "http://marked.invalid/",
        "http://10.0.0.1/marked",
        "http://marked@x/",
    ] {
        send(&channels, &webhook_to(url), &mut shown).await;
    }

    assert_eq!(
        (mail_server.arrived().len(), web_server.requests().len()),
        (2, 3)
    );
    let logged = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    assert!(
        logged.contains("provider.send"),
        "the log was captured: {logged}"
    );
    let shown = shown.iter().map(String::as_str);
    let line = logged.lines().chain(shown).find(|line| line.contains(MARK));
    assert_eq!(line, None);
}
