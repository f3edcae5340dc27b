//! The listener: LISTEN on a direct connection, handed to whoever subscribed in this process.
//!
//! It reconnects for ever and loses what was sent meanwhile; subscribers therefore poll as well,
//! and after each reconnect everybody is told to look at everything.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::bell::{Bell, EVERYTHING};
use crate::database::Database;
use crate::fault::describe;

/// Longest pause between two tries to connect.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// After this much silence the connection is asked whether it lives: one whose other end has vanished
/// would be silent for ever.
const QUIET_MAX: Duration = Duration::from_secs(15);

/// How long it may take to say so.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Wake-ups kept for a subscriber that is busy; beyond them it is told to look at everything.
const KEPT: usize = 1024;

/// Passes notifications on.
#[derive(Debug, Default)]
pub struct Listener {
    subscribers: HashMap<&'static str, Vec<tokio::sync::broadcast::Sender<Arc<str>>>>,
    connected: watch::Sender<bool>,
}

impl Listener {
    pub fn new() -> Self {
        Self::default()
    }

    /// Wake-ups on `channel`: comma-separated tokens, or [`EVERYTHING`].
    ///
    /// A receiver that lags gets `Lagged`; treat it like [`EVERYTHING`].
    pub fn subscribe(
        &mut self,
        channel: &'static str,
    ) -> tokio::sync::broadcast::Receiver<Arc<str>> {
        let (sender, receiver) = tokio::sync::broadcast::channel(KEPT);
        self.subscribers.entry(channel).or_default().push(sender);
        receiver
    }

    /// Like [`subscribe`](Self::subscribe), and of what this process rings itself at once: a
    /// notification would come a few milliseconds later.
    pub fn subscribe_near(
        &mut self,
        channel: &'static str,
        bell: &Bell,
    ) -> tokio::sync::broadcast::Receiver<Arc<str>> {
        let receiver = self.subscribe(channel);
        if let Some(sender) = self.subscribers.get(channel).and_then(|all| all.last()) {
            bell.tell(channel, sender.clone());
        }
        receiver
    }

    /// Those who subscribed to `channel`, for whoever brings its wake-ups another way.
    pub fn subscribers(
        &self,
        channel: &'static str,
    ) -> Vec<tokio::sync::broadcast::Sender<Arc<str>>> {
        self.subscribers.get(channel).cloned().unwrap_or_default()
    }

    /// Whether the connection stands, for `/health/detailed` and the log.
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.connected.subscribe()
    }

    /// Listens until `stop`. Behind a transaction pooler without a direct URL there is nothing to
    /// listen on: it returns at once, and polling decides.
    pub async fn run(self, database: Database, stop: CancellationToken) {
        if database.is_lease_only {
            info!("no direct connection to the database: polling instead of listening");
            return;
        }
        let direct = database.direct;
        let mut pause = Duration::from_millis(50);
        while !stop.is_cancelled() {
            let listening = tokio::select! {
                () = stop.cancelled() => return,
                listening = self.listen(&direct) => listening,
            };
            match listening {
                Ok(mut listener) => {
                    pause = Duration::from_millis(50);
                    self.connected.send_replace(true);
                    info!("listening for wake-ups");
                    self.tell_all();
                    self.pass_on(&mut listener, &stop).await;
                    self.connected.send_replace(false);
                }
                Err(error) => warn!(error = describe(&error), "cannot listen for wake-ups"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
            }
        }
    }

    async fn listen(&self, direct: &PgConnectOptions) -> Result<PgListener, sqlx::Error> {
        // A pool of one, because that is what `PgListener` takes a connection from.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(direct.clone())
            .await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        // Reconnecting is ours: a silent reconnect would lose notifications without a word.
        listener.eager_reconnect(false);
        listener
            .listen_all(self.subscribers.keys().copied())
            .await?;
        Ok(listener)
    }

    async fn pass_on(&self, listener: &mut PgListener, stop: &CancellationToken) {
        loop {
            let received = tokio::select! {
                () = stop.cancelled() => return,
                received = timeout(QUIET_MAX, listener.try_recv()) => received,
            };
            let Ok(received) = received else {
                if let Err(error) = answers(listener).await {
                    warn!(error = describe(&error), "connection for wake-ups lost");
                    return;
                }
                continue;
            };
            match received {
                Ok(Some(notification)) => {
                    self.tell(notification.channel(), notification.payload());
                }
                Ok(None) => return,
                Err(error) => {
                    warn!(error = describe(&error), "connection for wake-ups lost");
                    return;
                }
            }
        }
    }

    fn tell_all(&self) {
        for channel in self.subscribers.keys() {
            self.tell(channel, EVERYTHING);
        }
    }

    fn tell(&self, channel: &str, payload: &str) {
        let payload: Arc<str> = Arc::from(payload);
        for sender in self.subscribers.get(channel).into_iter().flatten() {
            // An error means that the subscriber is gone, which is its own business.
            drop(sender.send(Arc::clone(&payload)));
        }
    }
}

/// Asks the server for a word. What it notifies of meanwhile is kept by the listener.
async fn answers(listener: &mut PgListener) -> Result<(), sqlx::Error> {
    let asking = listener.execute(sqlx::raw_sql(""));
    let answered = timeout(ANSWER_MAX, asking).await;
    answered.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map(drop)
}
