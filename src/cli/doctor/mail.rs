//! Checks of the mail server: whether it is there and speaks as it was configured to. Nothing is
//! sent, and nobody is logged in.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use workers::providers::{SmtpConfig, SmtpTls};

use super::Report;
use crate::config::Config;

const CHECK: &str = "mail server";

/// How long the whole conversation may take: a server that greylists greets late.
const CONVERSATION: Duration = Duration::from_secs(10);

/// Lines of one answer, and bytes of one line, that are read.
const ANSWER_LINES_MAX: usize = 100;
const LINE_BYTES_MAX: u64 = 2048;

pub(super) async fn look(config: &Config, report: &mut Report) {
    let Some(url) = &config.smtp.url else {
        let carrier = if config.work.outbox {
            "the outbox keeps it"
        } else {
            "nobody carries it"
        };
        return report.ok(CHECK, format!("not set: {carrier}"));
    };
    // It has been checked, or the configuration would not be usable.
    let Ok(server) = SmtpConfig::parse(url.reveal()) else {
        return report.fail(CHECK, "smtp.url cannot be read", "mend it");
    };
    let hello = config.smtp.hello.as_deref().unwrap_or("localhost");
    let place = format!("{}:{}", server.host, server.port);
    match timeout(CONVERSATION, offers(&server, hello)).await {
        Err(_) => report.fail(
            CHECK,
            format!(
                "{place} does not answer within {} s",
                CONVERSATION.as_secs()
            ),
            "check SMTP_URL, and that a firewall lets us through to it",
        ),
        Ok(Err(error)) => report.fail(
            CHECK,
            format!("{place} cannot be spoken with: {error}"),
            "check SMTP_URL, and whether the server runs there",
        ),
        Ok(Ok(offered)) => judge(&server, offered, &place, report),
    }
}

/// What a server said that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offered {
    StartTls,
    NoTls,
    /// The conversation is encrypted from the first byte, and was not begun.
    Connected,
}

fn judge(server: &SmtpConfig, offered: Offered, place: &str, report: &mut Report) {
    match (server.tls, offered) {
        (_, Offered::Connected) => {
            report.ok(CHECK, format!("{place} can be reached; TLS was not tried"));
        }
        (SmtpTls::Required, Offered::NoTls) => report.fail(
            CHECK,
            format!("{place} does not offer STARTTLS, and tls=required"),
            "nothing is sent like this: ask the server's owner, or use smtps://",
        ),
        (SmtpTls::Opportunistic, Offered::NoTls) => report.warn(
            CHECK,
            format!("{place} does not offer STARTTLS, so mail goes in the clear"),
            "write tls=none if that is meant, or tls=required if it must not be",
        ),
        (SmtpTls::None, Offered::StartTls) => report.warn(
            CHECK,
            format!("{place} offers STARTTLS, and tls=none"),
            "leave tls=none out of SMTP_URL, unless it is meant",
        ),
        (_, Offered::StartTls) => report.ok(CHECK, format!("{place} offers STARTTLS")),
        (_, Offered::NoTls) => report.ok(CHECK, format!("{place} answers, in the clear")),
    }
}

/// Connects, listens to the greeting, says who we are, and hears what is offered.
async fn offers(server: &SmtpConfig, hello: &str) -> io::Result<Offered> {
    let stream = TcpStream::connect((server.host.as_str(), server.port)).await?;
    if server.tls == SmtpTls::Implicit {
        return Ok(Offered::Connected);
    }
    let mut stream = BufReader::new(stream);
    answer(&mut stream, "220").await?;
    stream
        .write_all(format!("EHLO {hello}\r\n").as_bytes())
        .await?;
    let lines = answer(&mut stream, "250").await?;
    stream.write_all(b"QUIT\r\n").await?;
    let has_tls = lines.iter().any(|line| {
        line.get(4..)
            .is_some_and(|it| it.eq_ignore_ascii_case("STARTTLS"))
    });
    Ok(if has_tls {
        Offered::StartTls
    } else {
        Offered::NoTls
    })
}

/// Reads an answer of one or more lines, which has to have this code.
async fn answer(stream: &mut BufReader<TcpStream>, code: &str) -> io::Result<Vec<String>> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut lines = Vec::new();
    while lines.len() < ANSWER_LINES_MAX {
        let mut line = String::new();
        let read = stream.take(LINE_BYTES_MAX).read_line(&mut line).await?;
        if read == 0 {
            return Err(wrong("it hung up"));
        }
        if !line.starts_with(code) {
            let first: String = line.chars().take(3).collect();
            return Err(wrong(&format!("it answered {first:?} instead of {code}")));
        }
        let is_last = line.get(3..4) != Some("-");
        lines.push(line.trim_end().to_owned());
        if is_last {
            return Ok(lines);
        }
    }
    Err(wrong("its answer does not end"))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::cli::doctor::Verdict;
    use crate::config::Secret;

    /// A server that says `greeting`, then `offer` to an EHLO.
    async fn server(greeting: &'static str, offer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio_util::task::TaskTracker::new().spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            stream.write_all(greeting.as_bytes()).await.unwrap();
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            if line == "EHLO us.example\r\n" {
                stream.write_all(offer.as_bytes()).await.unwrap();
                line.clear();
                stream.read_line(&mut line).await.unwrap();
                assert_eq!(line, "QUIT\r\n");
            }
        });
        format!("smtp://ada:hush@{address}")
    }

    async fn seen(url: String) -> (Verdict, String) {
        let mut config = Config::default();
        config.smtp.url = Some(Secret::new(url));
        config.smtp.hello = Some("us.example".to_owned());
        let mut report = Report::default();
        look(&config, &mut report).await;
        let finding = report.findings.pop().unwrap();
        assert!(!finding.seen.contains("hush"), "{}", finding.seen);
        (finding.verdict, finding.seen)
    }

    const HELLO: &str = "220-mail.example\r\n220 ready\r\n";
    const WITH_TLS: &str = "250-mail.example\r\n250-SIZE 100\r\n250 starttls\r\n";
    const WITHOUT: &str = "250 mail.example\r\n";

    #[tokio::test]
    async fn what_is_offered_is_held_against_what_is_wanted() {
        for (offer, wanted, verdict) in [
            (WITH_TLS, "", Verdict::Ok),
            (WITH_TLS, "?tls=required", Verdict::Ok),
            (WITH_TLS, "?tls=none", Verdict::Warn),
            (WITHOUT, "", Verdict::Warn),
            (WITHOUT, "?tls=required", Verdict::Fail),
            (WITHOUT, "?tls=none", Verdict::Ok),
        ] {
            let url = server(HELLO, offer).await + wanted;
            assert_eq!(seen(url).await.0, verdict, "{offer:?} {wanted}");
        }
    }

    #[tokio::test]
    async fn a_server_that_refuses_or_is_none_fails() {
        let (verdict, text) = seen(server("554 no service for you\r\n", "").await).await;
        assert_eq!(verdict, Verdict::Fail);
        assert!(
            text.contains("it answered \"554\" instead of 220"),
            "{text}"
        );

        assert_eq!(
            seen(server("", "").await.replace("127.0.0.1:", "127.0.0.1:1"))
                .await
                .0,
            Verdict::Fail
        );
        let endless = "220-x\r\n".repeat(ANSWER_LINES_MAX + 1).leak();
        assert_eq!(seen(server(endless, "").await).await.0, Verdict::Fail);
    }
}
