//! The bell: coalesced NOTIFY on a connection of its own, always after the commit.
//!
//! NOTIFY takes a database-wide lock at commit, so it is never part of a business transaction and
//! goes out at most once per [`PAUSE`] and process, with everything that was rung meanwhile. A
//! wake-up that is lost costs a poll interval: what is correct never depends on it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::database::{Database, EnginePool};
use crate::fault::describe;

/// Channel that says which queues have fresh jobs.
pub const JOBS_AVAILABLE: &str = "jobs_available";

/// Least time between two NOTIFYs of one process.
const PAUSE: Duration = Duration::from_millis(4);

/// How long a NOTIFY may take: a connection whose other end has vanished never answers, and this task
/// rings for everybody.
const NOTIFY_MAX: Duration = Duration::from_secs(5);

/// Postgres refuses payloads of 8000 bytes.
const PAYLOAD_BYTES_MAX: usize = 7900;

/// Means "more than fits here: look at everything".
pub const EVERYTHING: &str = "*";

/// Another way to other processes than NOTIFY.
pub trait Carrier: std::fmt::Debug + Send + Sync {
    /// Takes a payload along; `false` leaves it to NOTIFY. It does not wait.
    fn carry(&self, payload: &str) -> bool;
}

/// Rings other processes, and this one at once.
#[derive(Debug, Clone, Default)]
pub struct Bell {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    rung: Mutex<HashMap<&'static str, HashSet<String>>>,
    wake: Notify,
    /// Wakes the claim loop of this process without a detour over Postgres.
    local: Arc<Notify>,
    /// Others of this process who are told without that detour.
    nearby: Mutex<Vec<Neighbour>>,
    /// By channel, where there is another way.
    carriers: Mutex<HashMap<&'static str, Arc<dyn Carrier>>>,
}

/// A subscriber in this process, and the channel it listens on.
type Neighbour = (&'static str, broadcast::Sender<Arc<str>>);

impl Bell {
    /// A bell that wakes the claim loop of this process; [`run`](Self::run) carries it further.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notified whenever [`JOBS_AVAILABLE`] is rung in this process.
    pub(crate) fn local(&self) -> Arc<Notify> {
        Arc::clone(&self.shared.local)
    }

    /// Tells `sender` at once of what this process rings on `channel`.
    pub(crate) fn tell(&self, channel: &'static str, sender: broadcast::Sender<Arc<str>>) {
        locked(&self.shared.nearby).push((channel, sender));
    }

    /// Lets what is rung on `channel` be carried past Postgres, as far as `carrier` takes it.
    pub fn carry_by(&self, channel: &'static str, carrier: Arc<dyn Carrier>) {
        locked(&self.shared.carriers).insert(channel, carrier);
    }

    /// Notes that `token` has news on `channel`. Call it after the commit; it does not wait.
    pub fn ring(&self, channel: &'static str, token: &str) {
        self.ring_all(channel, vec![token.to_owned()]);
    }

    /// Like [`ring`](Self::ring), for everything one commit has brought.
    pub fn ring_all(&self, channel: &'static str, tokens: Vec<String>) {
        if tokens.is_empty() {
            return;
        }
        if channel == JOBS_AVAILABLE {
            self.shared.local.notify_one();
        }
        self.ring_nearby(channel, &tokens);
        locked(&self.shared.rung)
            .entry(channel)
            .or_default()
            .extend(tokens);
        self.shared.wake.notify_one();
    }

    fn ring_nearby(&self, channel: &'static str, tokens: &[String]) {
        let nearby = locked(&self.shared.nearby);
        let mut senders = nearby
            .iter()
            .filter(|(name, _)| *name == channel)
            .peekable();
        if senders.peek().is_none() {
            return;
        }
        let payload: Arc<str> = Arc::from(tokens.join(","));
        for (_, sender) in senders {
            // An error means that the subscriber is gone, which is its own business.
            drop(sender.send(Arc::clone(&payload)));
        }
    }

    /// Sends what was rung until `stop`; then once more, so that nobody waits for a poll.
    pub async fn run(self, database: Database, stop: CancellationToken) {
        let pool = database.pool(1);
        loop {
            let is_last = tokio::select! {
                () = self.shared.wake.notified() => false,
                () = stop.cancelled() => true,
            };
            let rung = std::mem::take(&mut *locked(&self.shared.rung));
            for (channel, tokens) in rung {
                let carrier = locked(&self.shared.carriers).get(channel).cloned();
                for payload in payloads(&tokens) {
                    if carrier.as_ref().is_some_and(|it| it.carry(&payload)) {
                        continue;
                    }
                    // Polling finds the jobs; the next ring tries the connection again.
                    match timeout(NOTIFY_MAX, notify(&pool, channel, &payload)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => {
                            debug!(error = describe(&error), "wake-up was not sent");
                        }
                        Err(_elapsed) => debug!("a wake-up took too long and was given up"),
                    }
                }
            }
            if is_last {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In one message where nothing stands between, in a transaction behind a pooler, which may change
/// the session between two messages. The commit is not waited for by the disk: it changes nothing,
/// and a wake-up that a crash forgets is one that is lost.
pub(crate) async fn notify(
    pool: &EnginePool,
    channel: &str,
    payload: &str,
) -> Result<(), sqlx::Error> {
    let ring = sqlx::query!(
        "select set_config('synchronous_commit', 'off', true) as quick, pg_notify($1, $2) as rung",
        channel,
        payload,
    );
    if let Some(plain) = pool.plain() {
        ring.fetch_one(plain).await?;
        return Ok(());
    }
    let mut tx = pool.begin().await?;
    ring.fetch_one(&mut *tx).await?;
    tx.commit().await
}

/// Joins tokens by commas into as few payloads as fit; beyond four, one that says everything.
fn payloads(tokens: &HashSet<String>) -> Vec<String> {
    let mut payloads = vec![String::new()];
    for token in tokens {
        let last = payloads.last_mut().expect("starts with one and only grows");
        if !last.is_empty() && last.len() + 1 + token.len() > PAYLOAD_BYTES_MAX {
            payloads.push(token.clone());
            continue;
        }
        if !last.is_empty() {
            last.push(',');
        }
        last.push_str(token);
    }
    if payloads.len() > 4 {
        vec![EVERYTHING.to_owned()]
    } else {
        payloads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_joined_and_split_below_the_limit_of_postgres() {
        let tokens: HashSet<String> = (0..2000).map(|n| format!("{n:08x}")).collect();

        let payloads = payloads(&tokens);

        assert_eq!(payloads.len(), 3);
        assert!(payloads.iter().all(|payload| payload.len() < 8000));
        assert_eq!(
            payloads
                .iter()
                .flat_map(|payload| payload.split(','))
                .count(),
            2000
        );
    }

    #[test]
    fn a_flood_becomes_one_call_to_look_at_everything() {
        let tokens: HashSet<String> = (0..20_000).map(|n| format!("{n:08x}")).collect();

        assert_eq!(payloads(&tokens), [EVERYTHING]);
    }
}
