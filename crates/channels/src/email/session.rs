//! One session with a mail server, used for many mails. [`opening`](super::opening) makes it.
//!
//! Commands, credentials and addresses are lettre's; the conversation is here. lettre's own
//! connection reads lines of any length, has no timeouts once connected, keeps what was read
//! before STARTTLS, and waits for every answer before the next command.
//!
//! # Cost
//!
//! To a server that offers PIPELINING a mail to one recipient takes two round trips instead of
//! four: MAIL, RCPT and DATA together, then the message. To others it takes four.

use std::time::Duration;

use lettre::transport::smtp::commands::{Data, Mail, Noop, Quit, Rcpt, Rset};
use lettre::transport::smtp::extension::{MailBodyParameter, MailParameter};
use tokio::io::BufReader;
use tokio::time::Instant;

use super::classify::{Stage, verdict};
use super::compose::Composed;
use super::config::SmtpTimeouts;
use super::reply::{Extensions, Reply, ReplyError};
use super::turns::{Line, Waits, write_until};
use crate::SendError;

/// How long a server may take to say goodbye. Nothing depends on it.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

/// An open session. Dropping it ends the connection, and with it a mail that is not complete.
pub(super) struct Session {
    line: BufReader<Box<dyn Line>>,
    extensions: Extensions,
    timeouts: SmtpTimeouts,
    /// The last mail left a transaction open.
    needs_reset: bool,
    pub(super) opened_at: Instant,
    pub(super) used_at: Instant,
    pub(super) mails: u32,
}

/// What a server did with a mail.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) reply: Reply,
    /// The answers to the copies that were refused.
    pub(super) refused_copies: Vec<Reply>,
}

/// Why a mail was not handed over, and what is left of the session.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: SendError,
    /// The session ended before the server asked for the message, for a reason that lies in the
    /// session: on another one the same mail may go through.
    pub(super) is_session_lost: bool,
    /// The session can carry the next mail.
    pub(super) is_usable: bool,
}

impl Failure {
    /// The server refused, and the conversation can go on.
    fn refused(stage: Stage, reply: &Reply) -> Self {
        Self {
            error: verdict(stage, reply),
            is_session_lost: reply.is_goodbye(),
            is_usable: !reply.is_goodbye(),
        }
    }

    /// The conversation broke off while nothing had been sent.
    fn cut(error: &ReplyError) -> Self {
        Self {
            error: transient(format!("{error} before it took the message")),
            is_session_lost: true,
            is_usable: false,
        }
    }

    /// The session is over, but not for a reason that another one would mend.
    fn over(error: SendError) -> Self {
        Self {
            error,
            is_session_lost: false,
            is_usable: false,
        }
    }
}

impl Session {
    /// A session over an open line.
    pub(super) fn over(
        line: BufReader<Box<dyn Line>>,
        extensions: Extensions,
        timeouts: SmtpTimeouts,
    ) -> Self {
        let now = Instant::now();
        Self {
            line,
            extensions,
            timeouts,
            needs_reset: false,
            opened_at: now,
            used_at: now,
            mails: 0,
        }
    }

    /// Hands over one mail. Until `deadline` the server has to have asked for the message.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: drop the session, its conversation is somewhere in the middle.
    pub(super) async fn transact(
        &mut self,
        mail: &Composed,
        deadline: Instant,
    ) -> Result<Accepted, Failure> {
        let waits = Waits {
            timeouts: self.timeouts,
            deadline,
        };
        let parameters = self.parameters(mail)?;
        self.mails += 1;
        let mut commands = Vec::with_capacity(mail.recipients.len() + 3);
        if self.needs_reset {
            commands.push(Rset.to_string());
        }
        commands.push(Mail::new(Some(mail.sender.clone()), parameters).to_string());
        for recipient in &mail.recipients {
            commands.push(Rcpt::new(recipient.clone(), Vec::new()).to_string());
        }
        // With one recipient there is nothing to decide between its answer and DATA.
        let asks_at_once = self.extensions.pipelining && mail.recipients.len() == 1;
        if asks_at_once {
            commands.push(Data.to_string());
        }
        // Without the sender or whom the mail is for there is nothing more to ask.
        let decisive = usize::from(self.needs_reset) + 2;
        let replies = self.exchange(&commands, decisive, &waits).await?;

        let mut replies = replies.into_iter();
        if self.needs_reset && !replies.next().is_some_and(|reset| reset.is_positive()) {
            return Err(Failure::cut(&ReplyError::Malformed));
        }
        self.needs_reset = true;
        let sender = replies
            .next()
            .ok_or_else(|| Failure::cut(&ReplyError::Malformed))?;
        let recipients: Vec<_> = replies.by_ref().take(mail.recipients.len()).collect();
        let asked = replies.next();
        let is_asked = asked.as_ref().is_some_and(|reply| reply.code == 354);
        let refusal = if sender.is_positive() {
            let to = recipients.first();
            to.filter(|to| !to.is_positive())
                .map(|to| (Stage::Recipient, to))
        } else {
            Some((Stage::Sender, &sender))
        };
        if let Some((stage, reply)) = refusal {
            let failure = Failure::refused(stage, reply);
            return Err(Failure {
                // A server that asks for a message to nobody waits for one.
                is_usable: failure.is_usable && !is_asked,
                ..failure
            });
        }
        if let Some(goodbye) = recipients.iter().find(|reply| reply.is_goodbye()) {
            return Err(Failure::refused(Stage::Recipient, goodbye));
        }
        let asked = match asked {
            Some(asked) => asked,
            None => waits
                .turn(&mut self.line, Data)
                .await
                .map_err(|error| Failure::cut(&error))?,
        };
        if asked.code != 354 {
            return Err(Failure::refused(Stage::Content, &asked));
        }
        let reply = self.hand_over(&mail.content).await?;
        self.needs_reset = false;
        self.used_at = Instant::now();
        Ok(Accepted {
            reply,
            refused_copies: recipients
                .into_iter()
                .filter(|it| !it.is_positive())
                .collect(),
        })
    }

    /// Whether the server still listens.
    pub(super) async fn is_alive(&mut self, timeout: Duration) -> bool {
        let waits = Waits {
            timeouts: self.timeouts,
            deadline: Instant::now() + timeout,
        };
        let answer = waits.turn(&mut self.line, Noop).await;
        answer.is_ok_and(|reply| reply.is_positive())
    }

    /// Says goodbye, so that the server need not wait.
    pub(super) async fn quit(mut self) {
        let waits = Waits {
            timeouts: self.timeouts,
            deadline: Instant::now() + QUIT_TIMEOUT,
        };
        if let Err(error) = waits.turn(&mut self.line, Quit).await {
            tracing::debug!(%error, "a mail session ended without goodbye");
        }
    }

    /// The parameters of MAIL, or why this server cannot take this mail.
    fn parameters(&self, mail: &Composed) -> Result<Vec<MailParameter>, Failure> {
        let refuse = |detail: String| Failure {
            error: SendError::Rejected { detail },
            is_session_lost: false,
            is_usable: true,
        };
        let mut parameters = Vec::new();
        if let Some(limit) = self.extensions.size_max
            && mail.size as u64 > limit
        {
            let size = mail.size;
            return Err(refuse(format!(
                "the mail has {size} bytes, the server takes at most {limit}"
            )));
        }
        if self.extensions.size {
            parameters.push(MailParameter::Size(mail.size));
        }
        if mail.needs_smtputf8 {
            if !self.extensions.smtputf8 {
                return Err(refuse(
                    "the server takes no addresses outside ASCII".to_owned(),
                ));
            }
            parameters.push(MailParameter::SmtpUtfEight);
            if self.extensions.eight_bit {
                parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
            }
        }
        Ok(parameters)
    }

    /// Sends commands and reads their answers: all at once if the server lets us, else one by one
    /// up to a refusal among the first `decisive`.
    async fn exchange(
        &mut self,
        commands: &[String],
        decisive: usize,
        waits: &Waits,
    ) -> Result<Vec<Reply>, Failure> {
        let mut replies = Vec::with_capacity(commands.len());
        if self.extensions.pipelining {
            waits
                .write(&mut self.line, commands.concat().as_bytes())
                .await
                .map_err(|error| Failure::cut(&error))?;
            for _ in commands {
                let reply = waits.reply(&mut self.line).await;
                let reply = reply.map_err(|error| Failure::cut(&error))?;
                let is_over = reply.is_goodbye();
                replies.push(reply);
                // Whatever else was asked will not be answered.
                if is_over {
                    break;
                }
            }
            return Ok(replies);
        }
        for (index, command) in commands.iter().enumerate() {
            let reply = waits.turn(&mut self.line, command).await;
            let reply = reply.map_err(|error| Failure::cut(&error))?;
            let is_over = reply.is_goodbye() || (!reply.is_positive() && index < decisive);
            replies.push(reply);
            if is_over {
                break;
            }
        }
        Ok(replies)
    }

    /// Sends the message and reads what became of it.
    async fn hand_over(&mut self, content: &[u8]) -> Result<Reply, Failure> {
        let limit = Instant::now() + self.timeouts.transfer;
        // The end of the message is in this one write. If it fails, the server has not seen it.
        if let Err(error) = write_until(limit, &mut self.line, content).await {
            // A server that has heard enough says so before it hangs up.
            let parting = tokio::time::timeout(QUIT_TIMEOUT, Reply::read(&mut self.line)).await;
            return Err(Failure::over(match parting {
                Ok(Ok(reply)) if reply.code >= 400 => verdict(Stage::Content, &reply),
                _ => transient(format!("{error} before the end of the message")),
            }));
        }
        let answer = tokio::time::timeout(self.timeouts.answer, Reply::read(&mut self.line)).await;
        match answer {
            Ok(Ok(reply)) if (200..300).contains(&reply.code) => Ok(reply),
            Ok(Ok(reply)) if reply.code >= 400 => Err(Failure {
                // It was this message that the server did not want, not only this session.
                is_session_lost: false,
                ..Failure::refused(Stage::Content, &reply)
            }),
            Ok(Ok(reply)) => Err(Failure::over(unknown(format!(
                "the server answered the message with {}",
                reply.text()
            )))),
            Ok(Err(error)) => Err(Failure::over(unknown(format!(
                "{error} after it was given the message"
            )))),
            Err(_elapsed) => Err(Failure::over(unknown(format!(
                "no answer to the message within {:?}",
                self.timeouts.answer
            )))),
        }
    }
}

fn transient(detail: String) -> SendError {
    SendError::Transient { detail }
}

fn unknown(detail: String) -> SendError {
    SendError::Unknown { detail }
}
