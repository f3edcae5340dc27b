//! Turns of a conversation: a command, its answer, and the time both may take.

use std::fmt::Display;

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::config::SmtpTimeouts;
use super::reply::{Reply, ReplyError};

/// The two kinds of connection, as far as a session cares.
pub(super) trait Line: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

/// The bounds around every wait: the stage's own, and what is left of the whole.
pub(super) struct Waits {
    pub(super) timeouts: SmtpTimeouts,
    pub(super) deadline: Instant,
}

impl Waits {
    pub(super) async fn write<S>(&self, line: &mut S, bytes: &[u8]) -> Result<(), ReplyError>
    where
        S: AsyncWrite + Unpin,
    {
        let limit = self.deadline.min(Instant::now() + self.timeouts.command);
        write_until(limit, line, bytes).await
    }

    pub(super) async fn reply<S>(&self, line: &mut S) -> Result<Reply, ReplyError>
    where
        S: AsyncBufRead + Unpin,
    {
        let limit = self.deadline.min(Instant::now() + self.timeouts.command);
        tokio::time::timeout_at(limit, Reply::read(line))
            .await
            .map_err(|_elapsed| ReplyError::Late)?
    }

    /// Sends a command and reads the answer.
    pub(super) async fn turn<S>(
        &self,
        line: &mut S,
        command: impl Display,
    ) -> Result<Reply, ReplyError>
    where
        S: AsyncBufRead + AsyncWrite + Unpin,
    {
        self.write(line, command.to_string().as_bytes()).await?;
        self.reply(line).await
    }
}

/// Writes all of `bytes`, or fails before the last of them has left.
pub(super) async fn write_until<S>(
    limit: Instant,
    line: &mut S,
    bytes: &[u8],
) -> Result<(), ReplyError>
where
    S: AsyncWrite + Unpin,
{
    let work = async {
        line.write_all(bytes).await?;
        line.flush().await
    };
    tokio::time::timeout_at(limit, work)
        .await
        .map_err(|_elapsed| ReplyError::Late)?
        .map_err(ReplyError::Broken)
}
