//! Pure: what a mail server's refusal means for the message and for the address.
//!
//! The enhanced status code decides (RFC 3463), else the basic one (RFC 5321). One rule stands
//! above the table: an address is given up only when the server says that nobody is there, in its
//! answer to that recipient. What is said about our own server, sender or password is for the
//! operator to mend, and no message dies of it.

use super::reply::Reply;
use crate::SendError;

/// What was asked of the server when it refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The session itself: greeting, EHLO, STARTTLS, AUTH.
    Session,
    /// MAIL: who it is from.
    Sender,
    /// RCPT: whom it is for.
    Recipient,
    /// DATA, and the message.
    Content,
}

/// What follows from a refusal.
pub(super) fn verdict(stage: Stage, reply: &Reply) -> SendError {
    let detail = reply.text();
    if is_about_credentials(reply) {
        let detail = format!("the server does not accept our credentials: {detail}");
        return SendError::Transient { detail };
    }
    if stage == Stage::Session {
        let detail = format!("the server does not let us in: {detail}");
        return SendError::Transient { detail };
    }
    // 503: the server lost count of the conversation, which says nothing about the mail.
    if reply.code < 500 || reply.code == 503 {
        return SendError::Transient { detail };
    }
    match (stage, reply.enhanced(), reply.code) {
        // No such mailbox, no such domain, not an address, moved away, a domain without mail.
        // Without an enhanced code 550 and 551 to a recipient say that nobody is there.
        (Stage::Recipient, Some((1, 1 | 2 | 3 | 6 | 10)), _)
        | (Stage::Recipient, None, 550 | 551) => SendError::AddressDead { detail },
        // The mailbox is full, and somebody may yet clear it. Without an enhanced code 552 to a
        // recipient means what 452 does (RFC 5321, 4.5.3.1.10).
        (_, Some((2, 2)), _) | (Stage::Recipient, None, 552) => SendError::Transient { detail },
        _ => SendError::Rejected { detail },
    }
}

/// Whether the server complains of a missing or wrong password. The operator's to mend: mail must
/// not die while a password is being changed.
fn is_about_credentials(reply: &Reply) -> bool {
    matches!(reply.code, 530 | 534 | 535 | 538)
        || (reply.code >= 500 && reply.enhanced() == Some((7, 8)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSIENT: &str = "transient";
    const REJECTED: &str = "rejected";
    const DEAD: &str = "dead";

    fn word(stage: Stage, said: &str) -> &'static str {
        let (code, text) = said.split_at(3);
        let reply = Reply {
            code: code.parse().unwrap(),
            lines: vec![text.trim_start().to_owned()],
        };
        match verdict(stage, &reply) {
            SendError::Transient { .. } => TRANSIENT,
            SendError::Rejected { .. } => REJECTED,
            SendError::AddressDead { .. } => DEAD,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_recipient_is_dead_only_when_nobody_is_there() {
        for (said, means) in [
            ("550 5.1.1 user unknown", DEAD),
            ("550 5.1.2 no such domain", DEAD),
            ("501 5.1.3 bad syntax", DEAD),
            ("551 5.1.6 has moved", DEAD),
            ("556 5.1.10 null MX", DEAD),
            ("550 no such user", DEAD),
            ("551 user not local", DEAD),
            ("550 5.1.0 other", REJECTED),
            ("550 5.1.4 ambiguous", REJECTED),
            ("550 5.2.1 disabled", REJECTED),
            ("552 5.2.2 mailbox full", TRANSIENT),
            ("552 storage exceeded", TRANSIENT),
            ("552 5.2.3 too long for the mailbox", REJECTED),
            ("550 5.7.1 relaying denied", REJECTED),
            ("553 5.7.1 sorry, not in my list of hosts", REJECTED),
            ("553 mailbox name not allowed", REJECTED),
            ("554 transaction failed", REJECTED),
            ("450 4.2.0 greylisted", TRANSIENT),
            ("451 4.7.1 greylisting in action", TRANSIENT),
            ("450 mailbox busy", TRANSIENT),
            ("452 4.5.3 too many recipients", TRANSIENT),
            ("421 4.3.2 shutting down", TRANSIENT),
            ("550 4.1.1 confused", DEAD),
        ] {
            assert_eq!(word(Stage::Recipient, said), means, "{said}");
        }
    }

    #[test]
    fn what_is_said_of_the_sender_or_the_content_kills_no_address() {
        for (stage, said, means) in [
            (Stage::Sender, "550 5.1.7 bad sender address", REJECTED),
            (Stage::Sender, "550 5.1.1 sender unknown", REJECTED),
            (Stage::Sender, "550 sender refused", REJECTED),
            (Stage::Sender, "552 5.3.4 too big", REJECTED),
            (Stage::Content, "552 5.3.4 too big", REJECTED),
            (Stage::Content, "552 too big", REJECTED),
            (Stage::Content, "554 5.7.1 spam", REJECTED),
            (Stage::Content, "550 5.1.1 no valid recipients", REJECTED),
            (Stage::Content, "451 4.3.0 out of disk", TRANSIENT),
            (Stage::Content, "552 5.2.2 mailbox full", TRANSIENT),
        ] {
            assert_eq!(word(stage, said), means, "{said}");
        }
    }

    #[test]
    fn no_message_dies_of_our_own_configuration() {
        for (stage, said) in [
            (Stage::Session, "535 5.7.8 authentication failed"),
            (Stage::Session, "554 5.7.1 your address is on a list"),
            (Stage::Session, "502 command not implemented"),
            (Stage::Sender, "530 5.7.0 authentication required"),
            (Stage::Sender, "503 5.5.1 nested MAIL command"),
            (Stage::Sender, "530 must issue STARTTLS first"),
            (Stage::Recipient, "534 5.7.9 mechanism too weak"),
            (Stage::Recipient, "550 5.7.8 who are you"),
        ] {
            assert_eq!(word(stage, said), TRANSIENT, "{said}");
        }
    }
}
