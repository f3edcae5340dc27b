//! Wake-ups of the live feed over NATS core, between the processes of one deployment.
//!
//! A wake-up says whose feed may have news, by a hash; it is not kept, and none is missed for longer
//! than a poll. While the connection is down the bell rings through Postgres instead, to which
//! everybody listens as well.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::{Client, ConnectOptions, Event, Message, ServerAddr, Subscriber};
use futures_util::StreamExt as _;
use queue::Carrier;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::config::Secret;

/// Where wake-ups of feeds are published.
const SUBJECT: &str = "postrider.wake.inbox";

/// Wake-ups that wait for the connection's writer; more go through Postgres.
const WAITING: usize = 64;

/// Wake-ups kept while this process is busy. Past them it looks at everything.
const KEPT: usize = 1024;

/// How often the server is asked whether it lives.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// How long a wake-up may take to be handed to the connection.
const PUBLISH_MAX: Duration = Duration::from_secs(1);

/// A connection that comes back by itself.
#[derive(Debug)]
pub(crate) struct Nats {
    client: Client,
    connected: watch::Receiver<bool>,
    /// Wake-ups came faster than they were read.
    missed: Arc<Notify>,
    waiting: mpsc::Receiver<String>,
    carrier: Arc<Outgoing>,
}

/// Takes wake-ups along while the connection stands.
#[derive(Debug)]
struct Outgoing {
    connected: watch::Receiver<bool>,
    waiting: mpsc::Sender<String>,
}

impl Carrier for Outgoing {
    fn carry(&self, payload: &str) -> bool {
        *self.connected.borrow() && self.waiting.try_send(payload.to_owned()).is_ok()
    }
}

impl Nats {
    /// Begins to connect; the server may come later.
    ///
    /// # Errors
    ///
    /// If `servers` cannot be read.
    pub(crate) async fn connect(servers: &Secret) -> anyhow::Result<Self> {
        let addresses = servers
            .reveal()
            .split(',')
            .map(|server| server.trim().parse::<ServerAddr>())
            // What was written there may hold a password.
            .collect::<Result<Vec<_>, _>>()
            .or_else(|_| anyhow::bail!("check NATS_URL: it is not like nats://host:4222"))?;
        let (told, connected) = watch::channel(false);
        let missed = Arc::new(Notify::new());
        let lagging = Arc::clone(&missed);
        let client = ConnectOptions::new()
            .name("postrider")
            // The bell tells this process itself.
            .no_echo()
            .retry_on_initial_connect()
            .ping_interval(PING_INTERVAL)
            .subscription_capacity(KEPT)
            .event_callback(move |event| {
                note(&event, &told, &lagging);
                std::future::ready(())
            })
            .connect(addresses)
            .await
            .context("could not begin to connect to NATS")?;
        let (sender, waiting) = mpsc::channel(WAITING);
        let carrier = Arc::new(Outgoing {
            connected: connected.clone(),
            waiting: sender,
        });
        Ok(Self {
            client,
            connected,
            missed,
            waiting,
            carrier,
        })
    }

    /// Takes this process's wake-ups along.
    pub(crate) fn carrier(&self) -> Arc<dyn Carrier> {
        Arc::clone(&self.carrier) as Arc<dyn Carrier>
    }

    /// Whether the connection stands, for `/health/detailed`.
    pub(crate) fn connected(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }

    /// Publishes wake-ups, and hands those of others to `subscribers`, until `stop`.
    pub(crate) async fn run(
        mut self,
        subscribers: Vec<broadcast::Sender<Arc<str>>>,
        stop: CancellationToken,
    ) {
        let tell = |payload: &str| {
            let payload: Arc<str> = Arc::from(payload);
            for subscriber in &subscribers {
                // An error means that nobody listens, which is their business.
                drop(subscriber.send(Arc::clone(&payload)));
            }
        };
        let mut coming = None;
        // Who only works rings and does not listen.
        if !subscribers.is_empty() {
            match self.client.subscribe(SUBJECT).await {
                Ok(subscriber) => coming = Some(subscriber),
                Err(error) => {
                    let error = queue::describe(&error);
                    warn!(error, "no wake-ups come over nats; polling goes on");
                }
            }
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(payload) = self.waiting.recv() => self.publish(payload).await,
                message = next_of(&mut coming) => match message {
                    Some(message) => match std::str::from_utf8(&message.payload) {
                        Ok(payload) => tell(payload),
                        Err(_) => tell(queue::EVERYTHING),
                    },
                    None => coming = None,
                },
                Ok(()) = self.connected.changed() => {
                    if *self.connected.borrow_and_update() {
                        // Nobody knows what was said meanwhile.
                        tell(queue::EVERYTHING);
                    }
                }
                () = self.missed.notified() => tell(queue::EVERYTHING),
            }
        }
        // What was rung last, so that nobody waits for a poll.
        while let Ok(payload) = self.waiting.try_recv() {
            self.publish(payload).await;
        }
        if timeout(PUBLISH_MAX, self.client.flush()).await.is_err() {
            debug!("the last wake-ups were not sent");
        }
    }

    async fn publish(&self, payload: String) {
        let publishing = self.client.publish(SUBJECT, payload.into());
        match timeout(PUBLISH_MAX, publishing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(error = queue::describe(&error), "wake-up was not sent"),
            Err(_elapsed) => debug!("nats takes too long; the wake-up was not sent"),
        }
    }
}

async fn next_of(coming: &mut Option<Subscriber>) -> Option<Message> {
    match coming {
        Some(coming) => coming.next().await,
        None => pending().await,
    }
}

fn note(event: &Event, told: &watch::Sender<bool>, missed: &Notify) {
    match event {
        Event::Connected => {
            info!("connected to nats");
            told.send_replace(true);
        }
        Event::Disconnected | Event::Closed => {
            warn!("connection to nats lost; wake-ups go through postgres");
            told.send_replace(false);
        }
        Event::SlowConsumer(_) => missed.notify_one(),
        Event::LameDuckMode | Event::Draining => {}
        Event::ServerError(error) => warn!(%error, "nats reports an error"),
        // Credentials that are refused are told in this way, too.
        Event::ClientError(error) => warn!(%error, "the nats client reports an error"),
    }
}
