//! The `smtp` provider against a mail server that misbehaves as told.

use std::sync::Arc;
use std::time::Duration;

use channels::Secret;
use channels::{Provider, ReceiptStatus, SendError, Smtp, SmtpConfig, SmtpCredentials, SmtpTls};
use domain::MailParts;
use tokio::task::JoinSet;

use crate::mail::{Identity, config, crowded_server, hasty, mail_to, silent_server, smtp};
use crate::mail_server::{Answer, MailServer};

const PLAIN: &[&str] = &["8BITMIME"];
const PIPELINED: &[&str] = &["PIPELINING", "8BITMIME"];

fn usual(_: &crate::mail_server::Asked<'_>) -> Answer {
    Answer::Usual
}

fn detail(error: &SendError) -> &str {
    match error {
        SendError::Busy { detail, .. } => detail,
        SendError::Transient { detail }
        | SendError::Throttled { detail, .. }
        | SendError::Rejected { detail }
        | SendError::AddressDead { detail }
        | SendError::Unknown { detail } => detail,
    }
}

async fn transient(smtp: &Smtp) -> String {
    match smtp.send(&mail_to("ada@example.com")).await {
        Err(error @ SendError::Transient { .. }) => detail(&error).to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_written() {
    for extensions in [PLAIN, PIPELINED] {
        let server = MailServer::start(extensions, usual).await;
        let mail = mail_to("ada@example.com");

        let receipt = smtp(config(server.address)).send(&mail).await.unwrap();

        assert_eq!(receipt.status, ReceiptStatus::Sent);
        assert_eq!(receipt.response.as_deref(), Some("250 2.0.0 queued"));
        let id = format!("{}@example.com", mail.delivery_id);
        assert_eq!(receipt.provider_message_id, Some(id));
        let [arrived] = &server.arrived()[..] else {
            panic!()
        };
        assert_eq!(arrived.from, "MAIL FROM:<postrider@example.com>");
        assert_eq!(arrived.to, ["RCPT TO:<ada@example.com>"]);
        let body = "\r\n\r\nDear Ada,\r\n.\r\nyour order was filled.\r\n";
        assert!(arrived.content.ends_with(body), "{}", arrived.content);
        assert_eq!(server.pipelined() > 0, extensions == PIPELINED);
    }
}

#[tokio::test]
async fn many_mails_share_few_sessions() {
    let server = MailServer::start(PIPELINED, usual).await;
    let smtp = Arc::new(smtp(SmtpConfig {
        connections_max: 3,
        ..config(server.address)
    }));

    let mut sends = JoinSet::new();
    for number in 0..60 {
        let smtp = Arc::clone(&smtp);
        sends.spawn(async move { smtp.send(&mail_to(&format!("u{number}@example.com"))).await });
    }
    while let Some(sent) = sends.join_next().await {
        sent.unwrap().unwrap();
    }

    assert_eq!(server.arrived().len(), 60);
    assert!(server.connections() <= 3, "{}", server.connections());
}

/// The server hangs up after every mail, without a word, as servers do with idle sessions.
#[tokio::test]
async fn a_mail_that_meets_a_dead_session_goes_over_a_fresh_one() {
    for extensions in [PLAIN, PIPELINED] {
        let server = MailServer::start(extensions, |asked| match asked.command {
            "." => Answer::SayAndCut("250 2.0.0 queued"),
            _ => Answer::Usual,
        })
        .await;
        let smtp = smtp(config(server.address));

        for _ in 0..3 {
            smtp.send(&mail_to("ada@example.com")).await.unwrap();
        }

        assert_eq!(server.arrived().len(), 3);
        assert_eq!(server.connections(), 3);
    }
}

#[tokio::test]
async fn a_mail_refused_because_the_session_is_used_up_goes_over_a_fresh_one() {
    for extensions in [PLAIN, PIPELINED] {
        let server = MailServer::start(extensions, |asked| {
            if asked.mails == 2 && asked.command.starts_with("MAIL") {
                Answer::SayAndCut("421 4.7.0 too many mails")
            } else {
                Answer::Usual
            }
        })
        .await;
        let smtp = smtp(config(server.address));

        for _ in 0..5 {
            smtp.send(&mail_to("ada@example.com")).await.unwrap();
        }

        assert_eq!(server.arrived().len(), 5);
        assert_eq!(server.connections(), 3);
    }
}

#[tokio::test]
async fn a_session_that_has_rested_is_tried_before_it_is_trusted() {
    let server = MailServer::start(PIPELINED, usual).await;
    let smtp = smtp(config(server.address));

    smtp.send(&mail_to("ada@example.com")).await.unwrap();
    smtp.send(&mail_to("ada@example.com")).await.unwrap();
    let has_tried = |server: &MailServer| server.commands().iter().any(|it| it == "NOOP");
    assert!(!has_tried(&server), "a session in use is trusted");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(10)).await;
    tokio::time::resume();
    smtp.send(&mail_to("ada@example.com")).await.unwrap();

    assert!(has_tried(&server));
    assert_eq!(server.connections(), 1);
}

/// Nobody can tell whether the server keeps it. To send it again here would be a guess.
#[tokio::test]
async fn a_mail_that_was_handed_over_without_an_answer_is_unknown_and_not_repeated() {
    for extensions in [PLAIN, PIPELINED] {
        for cuts in [true, false] {
            let server = MailServer::start(extensions, move |asked| match asked.command {
                "." if asked.mails == 1 && cuts => Answer::Cut,
                "." if asked.mails == 1 => Answer::Hang,
                _ => Answer::Usual,
            })
            .await;
            let smtp = smtp(hasty(server.address));
            smtp.send(&mail_to("ada@example.com")).await.unwrap();

            let answer = smtp.send(&mail_to("ada@example.com")).await;

            assert!(
                matches!(answer, Err(SendError::Unknown { .. })),
                "{answer:?}"
            );
            assert_eq!(server.arrived().len(), 2);
            assert_eq!(server.connections(), 1);
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_or_says_nothing_is_transient() {
    let server = MailServer::start(PLAIN, usual).await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    assert!(
        transient(&smtp(config(nobody)))
            .await
            .contains("could not connect")
    );
    drop(server);

    for silent_at in ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA"] {
        let server = MailServer::start(PLAIN, move |asked| {
            if asked.command.starts_with(silent_at) {
                Answer::Hang
            } else {
                Answer::Usual
            }
        })
        .await;
        let said = transient(&smtp(hasty(server.address))).await;
        assert!(said.contains("in time"), "{silent_at}: {said}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_let_us_in_is_asked_once_and_later() {
    for greeting in [
        "421 4.3.2 shutting down",
        "554 5.7.1 you are on a list",
        "SSH-2.0-x",
    ] {
        let server = MailServer::start(PLAIN, move |asked| match asked.command {
            "CONNECT" => Answer::SayAndCut(greeting),
            _ => Answer::Usual,
        })
        .await;
        transient(&smtp(config(server.address))).await;
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn a_refused_recipient_leaves_the_session_fit_for_the_next_mail() {
    for extensions in [PLAIN, PIPELINED] {
        let server = MailServer::start(extensions, |asked| match asked.command {
            "RCPT TO:<gone@example.com>" => Answer::Say("550 5.1.1 <gone@example.com>: unknown"),
            "RCPT TO:<full@example.com>" => Answer::Say("452 4.2.2 mailbox full"),
            _ => Answer::Usual,
        })
        .await;
        let smtp = smtp(config(server.address));

        let gone = smtp.send(&mail_to("gone@example.com")).await;
        let full = smtp.send(&mail_to("full@example.com")).await;
        let sent = smtp.send(&mail_to("ada@example.com")).await;

        assert!(
            matches!(gone, Err(SendError::AddressDead { .. })),
            "{gone:?}"
        );
        assert!(matches!(full, Err(SendError::Transient { .. })), "{full:?}");
        assert!(sent.is_ok(), "{sent:?}");
        assert_eq!(server.connections(), 1);
        let [arrived] = &server.arrived()[..] else {
            panic!()
        };
        assert_eq!(arrived.to, ["RCPT TO:<ada@example.com>"]);
    }
}

/// RFC 2920, 3.1: such a server waits for a message to nobody. The session is given up.
#[tokio::test]
async fn a_server_that_asks_for_a_message_to_nobody_gets_none() {
    let server = MailServer::start(PIPELINED, |asked| match asked.command {
        "RCPT TO:<gone@example.com>" => Answer::Say("550 5.1.1 unknown"),
        "DATA" if asked.connection == 1 => Answer::Say("354 go on"),
        _ => Answer::Usual,
    })
    .await;
    let smtp = smtp(config(server.address));

    let gone = smtp.send(&mail_to("gone@example.com")).await;
    smtp.send(&mail_to("ada@example.com")).await.unwrap();

    assert!(
        matches!(gone, Err(SendError::AddressDead { .. })),
        "{gone:?}"
    );
    let [arrived] = &server.arrived()[..] else {
        panic!()
    };
    assert_eq!((arrived.connection, arrived.to.len()), (2, 1));
}

#[tokio::test]
async fn a_refused_copy_does_not_hold_up_the_rest() {
    for extensions in [PLAIN, PIPELINED] {
        let server = MailServer::start(extensions, |asked| match asked.command {
            "RCPT TO:<bob@example.com>" => Answer::Say("550 5.1.1 no bob here"),
            "RCPT TO:<gone@example.com>" => Answer::Say("550 5.1.1 nobody here"),
            _ => Answer::Usual,
        })
        .await;
        let smtp = smtp(config(server.address));
        let mut mail = mail_to("ada@example.com");
        mail.message.mail = Some(MailParts {
            cc: vec!["bob@example.com".into()],
            bcc: vec!["carl@example.com".into()],
            ..MailParts::default()
        });

        let receipt = smtp.send(&mail).await.unwrap();

        let response = "250 2.0.0 queued; 1 copies refused, the first: 550 5.1.1 no bob here";
        assert_eq!(receipt.response.as_deref(), Some(response));
        let [arrived] = &server.arrived()[..] else {
            panic!()
        };
        assert_eq!(
            arrived.to,
            ["RCPT TO:<ada@example.com>", "RCPT TO:<carl@example.com>"]
        );

        // Whom the mail is for decides: copies alone are not sent.
        mail.address = Some("gone@example.com".into());
        let gone = smtp.send(&mail).await;
        assert!(
            matches!(gone, Err(SendError::AddressDead { .. })),
            "{gone:?}"
        );
        assert_eq!(server.arrived().len(), 1);
    }
}

#[tokio::test]
async fn a_message_the_server_does_not_want_is_rejected_or_tried_later() {
    for (said, is_final) in [("554 5.7.1 spam", true), ("451 4.3.0 disk full", false)] {
        let server = MailServer::start(PIPELINED, move |asked| match asked.command {
            "." => Answer::Say(said),
            _ => Answer::Usual,
        })
        .await;
        let answer = smtp(config(server.address))
            .send(&mail_to("ada@example.com"))
            .await;
        match answer {
            Err(SendError::Rejected { detail }) if is_final => assert_eq!(detail, said),
            Err(SendError::Transient { detail }) if !is_final => assert_eq!(detail, said),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_mail_too_big_for_the_server_is_not_begun() {
    let server = MailServer::start(&["SIZE 100"], usual).await;
    let answer = smtp(config(server.address))
        .send(&mail_to("ada@example.com"))
        .await;
    let Err(SendError::Rejected { detail }) = answer else {
        panic!("{answer:?}")
    };
    assert!(detail.contains("at most 100"), "{detail}");
    assert!(!server.commands().iter().any(|it| it.starts_with("MAIL")));
}

#[tokio::test]
async fn an_address_outside_ascii_needs_a_server_that_takes_it() {
    let server = MailServer::start(&["SMTPUTF8", "8BITMIME"], usual).await;
    smtp(config(server.address))
        .send(&mail_to("юлия@example.com"))
        .await
        .unwrap();
    let [arrived] = &server.arrived()[..] else {
        panic!()
    };
    assert!(arrived.from.contains(" SMTPUTF8"), "{}", arrived.from);

    let server = MailServer::start(PLAIN, usual).await;
    let answer = smtp(config(server.address))
        .send(&mail_to("юлия@example.com"))
        .await;
    assert!(
        matches!(answer, Err(SendError::Rejected { .. })),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_session_is_encrypted_as_configured_and_never_less() {
    let identity = Identity::fresh();
    let start = |is_implicit| {
        MailServer::start_with(&["STARTTLS"], Some(identity.acceptor()), is_implicit, usual)
    };
    for tls in [SmtpTls::Opportunistic, SmtpTls::Required, SmtpTls::Implicit] {
        let server = start(tls == SmtpTls::Implicit).await;
        let trusting = SmtpConfig {
            tls,
            roots: vec![identity.certificate.clone()],
            ..config(server.address)
        };
        smtp(trusting)
            .send(&mail_to("ada@example.com"))
            .await
            .unwrap();
        assert_eq!(server.arrived().len(), 1);

        // A certificate that nobody vouches for: no session, and nothing in the clear.
        let server = start(tls == SmtpTls::Implicit).await;
        let wary = SmtpConfig {
            tls,
            ..config(server.address)
        };
        let said = transient(&smtp(wary)).await;
        assert!(said.contains("TLS handshake"), "{said}");
        assert!(!server.commands().iter().any(|it| it.starts_with("MAIL")));
    }
}

#[tokio::test]
async fn a_server_without_starttls_is_refused_where_it_is_required() {
    let server = MailServer::start(PLAIN, usual).await;
    let required = SmtpConfig {
        tls: SmtpTls::Required,
        ..config(server.address)
    };
    assert!(transient(&smtp(required)).await.contains("STARTTLS"));
    assert!(!server.commands().iter().any(|it| it.starts_with("MAIL")));
}

/// Anybody on the way can append to the server's last words in the clear. They must not be read
/// as its first words under encryption.
#[tokio::test]
async fn what_was_said_before_encryption_is_not_believed_after_it() {
    let identity = Identity::fresh();
    let server =
        MailServer::start_with(
            &["STARTTLS"],
            Some(identity.acceptor()),
            false,
            |asked| match asked.command {
                "STARTTLS" => Answer::Say("220 go on\r\n250-test\r\n250 AUTH PLAIN"),
                _ => Answer::Usual,
            },
        )
        .await;
    let trusting = SmtpConfig {
        roots: vec![identity.certificate.clone()],
        ..config(server.address)
    };
    let said = transient(&smtp(trusting)).await;
    assert!(said.contains("between STARTTLS and TLS"), "{said}");
}

fn with_password(server: &MailServer) -> Smtp {
    smtp(SmtpConfig {
        credentials: Some(SmtpCredentials {
            user: "user".to_owned(),
            password: Secret::new("hunter2"),
        }),
        ..config(server.address)
    })
}

#[tokio::test]
async fn the_password_is_told_by_either_mechanism() {
    let server = MailServer::start(&["AUTH LOGIN PLAIN"], usual).await;
    with_password(&server)
        .send(&mail_to("ada@example.com"))
        .await
        .unwrap();
    assert!(
        server
            .commands()
            .contains(&"AUTH PLAIN AHVzZXIAaHVudGVyMg==".to_owned())
    );

    let server = MailServer::start(&["AUTH LOGIN"], |asked| match asked.command {
        "AUTH LOGIN" => Answer::Say("334 VXNlcm5hbWU6"),
        "dXNlcg==" => Answer::Say("334 UGFzc3dvcmQ6"),
        "aHVudGVyMg==" => Answer::Say("235 2.7.0 welcome"),
        _ => Answer::Usual,
    })
    .await;
    with_password(&server)
        .send(&mail_to("ada@example.com"))
        .await
        .unwrap();
    assert!(server.commands().contains(&"aHVudGVyMg==".to_owned()));
}

#[tokio::test]
async fn mail_waits_while_the_password_is_wrong() {
    let server = MailServer::start(&["AUTH PLAIN"], |asked| {
        if asked.command.starts_with("AUTH") {
            Answer::Say("535 5.7.8 bad credentials for hunter2? no")
        } else {
            Answer::Usual
        }
    })
    .await;
    let said = transient(&with_password(&server)).await;
    assert!(said.contains("does not accept our credentials"), "{said}");

    let server = MailServer::start(&["AUTH CRAM-MD5"], usual).await;
    let said = transient(&with_password(&server)).await;
    assert!(said.contains("neither AUTH PLAIN nor AUTH LOGIN"), "{said}");

    let server = MailServer::start(&["AUTH LOGIN"], |asked| {
        if asked.command.starts_with("AUTH") || asked.command.ends_with('=') {
            Answer::Say("334 VXNlcm5hbWU6")
        } else {
            Answer::Usual
        }
    })
    .await;
    let said = transient(&with_password(&server)).await;
    assert!(said.contains("without end"), "{said}");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_in_time_was_sent_nothing() {
    let (_listener, _crowd, crowded) = crowded_server().await;
    assert!(
        transient(&smtp(hasty(crowded)))
            .await
            .contains("could not connect in time")
    );
    let (_listener, silent) = silent_server().await;
    let under_tls = SmtpConfig {
        tls: SmtpTls::Implicit,
        ..hasty(silent)
    };
    assert!(
        transient(&smtp(under_tls))
            .await
            .contains("could not connect in time")
    );
}
