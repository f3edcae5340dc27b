//! The open sessions with one mail server, and the bound on how many there are.
//!
//! A server may end an idle session at any time and need not say so. So a session that has rested
//! is tried before it is trusted, and a mail that meets a dead session, before anything was sent,
//! goes once more over a fresh one. A mail whose message was handed over is never repeated here.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::compose::Composed;
use super::config::SmtpConfig;
use super::opening::open;
use super::session::{Accepted, Session};
use crate::SendError;

/// A session used this recently is still there, as far as one can tell for free.
const TRUSTED_FOR: Duration = Duration::from_secs(3);

/// How long a rested session may take to show that it lives.
const TEST_TIMEOUT: Duration = Duration::from_secs(2);

/// A session idle for longer is ended: it holds a place at the server that nobody needs.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// A session older than this is not used again, so that a change of the server's address is
/// noticed while mail flows.
const AGE_MAX: Duration = Duration::from_mins(10);

/// Mails over one session. Servers commonly allow 100 to 1000.
const MAILS_MAX: u32 = 500;

/// How long a mail waits for a session, before it says that all are taken.
const BUSY_MAX: Duration = Duration::from_secs(1);

/// Sessions with one server.
pub(super) struct Pool {
    config: SmtpConfig,
    tls: TlsConnector,
    /// The one used last is on top, so that in quiet times the others age and are ended.
    idle: Mutex<Vec<Session>>,
    free: Semaphore,
}

impl Pool {
    pub(super) fn new(config: SmtpConfig, tls: TlsConnector) -> Self {
        Self {
            free: Semaphore::new(config.connections_max.max(1)),
            idle: Mutex::new(Vec::new()),
            config,
            tls,
        }
    }

    /// Hands one mail over, on an open session if there is one.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the mail may have gone out. The session that carried it is closed.
    pub(super) async fn send(&self, mail: &Composed) -> Result<Accepted, SendError> {
        let Ok(Ok(_place)) = timeout(BUSY_MAX, self.free.acquire()).await else {
            return Err(SendError::Busy {
                after: BUSY_MAX,
                detail: "all sessions with the mail server are taken",
            });
        };
        let deadline = Instant::now() + self.config.timeouts.before;
        if let Some(mut session) = self.rested().await {
            match session.transact(mail, deadline).await {
                Ok(accepted) => {
                    self.keep(session);
                    return Ok(accepted);
                }
                Err(failure) if failure.is_session_lost => {
                    tracing::debug!(reason = %failure.error, "a mail session had ended");
                }
                Err(failure) => {
                    if failure.is_usable {
                        self.keep(session);
                    }
                    return Err(failure.error);
                }
            }
        }
        let mut session = open(&self.config, &self.tls, deadline).await?;
        let answer = session.transact(mail, deadline).await;
        if answer
            .as_ref()
            .map_or_else(|failure| failure.is_usable, |_| true)
        {
            self.keep(session);
        }
        answer.map_err(|failure| failure.error)
    }

    /// An open session that has been shown to live, if there is one.
    async fn rested(&self) -> Option<Session> {
        let mut session = self.pop()?;
        let now = Instant::now();
        let has_served = session.mails >= MAILS_MAX || now - session.opened_at >= AGE_MAX;
        if has_served {
            session.quit().await;
            return None;
        }
        if now - session.used_at < TRUSTED_FOR || session.is_alive(TEST_TIMEOUT).await {
            return Some(session);
        }
        // Those below have rested longer.
        self.lock().clear();
        None
    }

    fn pop(&self) -> Option<Session> {
        self.lock().pop()
    }

    /// Puts a session back for the next mail, and ends those that have rested too long.
    fn keep(&self, mut session: Session) {
        session.used_at = Instant::now();
        let oldest = session.used_at;
        let mut idle = self.lock();
        idle.retain(|other| oldest - other.used_at < IDLE_MAX);
        idle.push(session);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
