//! Tries a wake-up: whether a notification that is sent arrives where it is listened for.

use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::{Instant, timeout};

use crate::bell::notify;
use crate::database::Database;

/// The channel of the trial. Nothing else listens on it.
const CHANNEL: &str = "wakeup_tried";

/// Why a wake-up did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Behind a transaction pooler without a direct URL there is nothing to listen on: polling
    /// finds the jobs.
    #[error("there is no direct connection to listen on")]
    NoDirectWay,

    /// Listening or notifying failed.
    #[error("could not {operation}")]
    Database {
        operation: &'static str,
        #[source]
        source: sqlx::Error,
    },

    /// Both worked, and nothing arrived.
    #[error("a notification that was sent did not arrive")]
    Silent,
}

/// Listens on the direct connection, notifies on the other, and answers how long it took.
/// `token` tells this trial from another one at the same time.
pub async fn wakeup(
    database: &Database,
    token: &str,
    patience: Duration,
) -> Result<Duration, ProbeError> {
    if database.is_lease_only {
        return Err(ProbeError::NoDirectWay);
    }
    let during = |operation| move |source| ProbeError::Database { operation, source };
    // A pool of one, because that is what `PgListener` takes a connection from.
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(patience)
        .connect_with(database.direct.clone())
        .await
        .map_err(during("connect to listen"))?;
    let mut listener = PgListener::connect_with(&pool)
        .await
        .map_err(during("connect to listen"))?;
    listener
        .listen(CHANNEL)
        .await
        .map_err(during("listen for wake-ups"))?;

    let started = Instant::now();
    let sender = database.pool(1);
    let sent = timeout(patience, notify(&sender, CHANNEL, token)).await;
    sent.map_err(|_late| ProbeError::Silent)?
        .map_err(during("send a wake-up"))?;
    let heard = async {
        loop {
            let notification = listener.recv().await.map_err(during("hear a wake-up"))?;
            if notification.payload() == token {
                return Ok(started.elapsed());
            }
        }
    };
    let heard = timeout(patience, heard).await;
    sender.close().await;
    heard.unwrap_or(Err(ProbeError::Silent))
}
