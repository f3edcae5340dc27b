//! `bench deliver`: direct sends over an outside channel, until the far side has them all.
//!
//! Mails go where `SMTP_URL` says. Webhooks go to a server of ours on many loopback addresses, each
//! of them a destination of its own; some can be dead, and one can be slow with a backlog while
//! single sends to another are timed.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use domain::Channel;
use hyper::Method;
use serde::Serialize;
use serde_json::{Value, json};
use store::{Store, deliveries};
use tokio::time::{Instant, sleep, timeout};

use super::furnish;
use super::load::Client;
use super::percentiles::Percentiles;
use super::roles::{Role, free_address, wait_for};
use super::sink::{DeadHost, Sink};
use super::stage::Stage;
use crate::config::Config;

/// Sends per request.
const BATCH: u64 = 1000;

/// Time between two counts of what was accepted by the far side.
const WATCH: Duration = Duration::from_millis(100);

/// How long nothing may be delivered before a run is given up.
const STANDSTILL: Duration = Duration::from_mins(1);

/// What a slow host takes for one request.
const SLOW: Duration = Duration::from_secs(1);

/// Single sends that are timed, alone and beside a backlog.
const PROBES: u64 = 100;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct DeliverBenchArgs {
    /// `webhook`, or `email` to the server of `SMTP_URL`.
    #[arg(long, default_value = "webhook", value_parser = parse_channel)]
    pub channel: Channel,
    /// Sends to deliver.
    #[arg(long, default_value_t = 20_000)]
    pub count: u64,
    /// Hosts the webhooks, or domains the mails, go to in turn.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=250))]
    pub hosts: u64,
    /// How many of them take connections and never answer.
    #[arg(long, default_value_t = 0)]
    pub dead: u64,
    /// Route and render all of them first, and time only what is left: the sending.
    #[arg(long)]
    pub preload: bool,
    /// Webhooks that wait for one slow host while single ones to another are timed.
    #[arg(long, default_value_t = 0)]
    pub backlog: u64,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

fn parse_channel(text: &str) -> Result<Channel, String> {
    Channel::parse(text)
        .filter(|channel| matches!(channel, Channel::Email | Channel::Webhook))
        .ok_or_else(|| "must be email or webhook".to_owned())
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct DeliverFigures {
    /// Sends to hosts that live.
    pub delivered: u64,
    pub seconds: f64,
    pub per_s: f64,
    /// From a single send's 202 to its arrival, with nothing beside it.
    pub alone_ms: Option<Percentiles>,
    /// The same while a slow host has a backlog.
    pub beside_ms: Option<Percentiles>,
}

impl fmt::Display for DeliverFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "delivered {} in {:.1} s\ndeliveries            {:>8.0} /s",
            self.delivered, self.seconds, self.per_s
        )?;
        if let (Some(alone), Some(beside)) = (&self.alone_ms, &self.beside_ms) {
            write!(
                f,
                "\nalone                 {alone}\nbeside a backlog      {beside}"
            )?;
        }
        Ok(())
    }
}

/// Runs the benchmark in a scratch database.
pub async fn run(config: &Config, args: &DeliverBenchArgs) -> anyhow::Result<DeliverFigures> {
    ensure!(args.dead < args.hosts, "some host must live");
    let stage = Stage::set(config).await?;
    furnish::lift_mail_limits(&stage.store).await?;
    let figures = Box::pin(measure(&stage, args)).await;
    stage.strike().await?;
    figures
}

/// The far side of a run.
struct Hosts {
    sink: Sink,
    slow: Sink,
    dead: DeadHost,
}

async fn measure(stage: &Stage, args: &DeliverBenchArgs) -> anyhow::Result<DeliverFigures> {
    let hosts = Hosts {
        sink: Sink::start(Duration::ZERO)?,
        slow: Sink::start(SLOW)?,
        dead: DeadHost::start()?,
    };
    let address = free_address().await?;
    let api_key = format!("pr_bench_{}", std::process::id());
    let settings = [("POSTRIDER_BOOTSTRAP_API_KEY", api_key.clone())];
    let loopback = [("POSTRIDER__WEBHOOK__ALLOW_CIDRS", "127.0.0.0/8".to_owned())];
    let listen = address.to_string();
    let mut serve = Role::start("serve", &["--listen", &listen], stage.url(), &settings)?;
    let mut work = Role::start("work", &[], stage.url(), &loopback)?;
    wait_for(address, &api_key, &mut serve).await?;

    let flood = flood(stage, args, &hosts, address, &api_key, &mut work).await?;
    let (mut alone_ms, mut beside_ms) = (None, None);
    if args.backlog > 0 {
        let mut client = Client::connect(address, &api_key).await?;
        alone_ms = Some(probe(&mut client, &hosts.sink).await?);
        let slow = |n: u64| send(Channel::Webhook, n, &hosts.slow.url(0));
        submit(&mut client, args.backlog, slow).await?;
        hosts.slow.received.reaches(1).await;
        all_rendered(&stage.store, &mut work).await?;
        beside_ms = Some(probe(&mut client, &hosts.sink).await?);
    }
    serve.stop().await?;
    work.stop().await?;
    let (delivered, seconds) = flood;
    Ok(DeliverFigures {
        delivered,
        seconds,
        per_s: delivered as f64 / seconds,
        alone_ms,
        beside_ms,
    })
}

/// Submits everything at once, and answers how much was accepted by living hosts, in how many
/// seconds.
async fn flood(
    stage: &Stage,
    args: &DeliverBenchArgs,
    hosts: &Hosts,
    address: SocketAddr,
    api_key: &str,
    work: &mut Role,
) -> anyhow::Result<(u64, f64)> {
    let dead = hosts.dead.url()?;
    let address_of = |n: u64| match args.channel {
        Channel::Email => format!("user{n}@host{}.example", n % args.hosts),
        _ if n % args.hosts < args.dead => dead.clone(),
        _ => hosts.sink.url(n % args.hosts),
    };
    let expected = match args.channel {
        Channel::Email => args.count,
        _ => (0..args.count)
            .filter(|n| n % args.hosts >= args.dead)
            .count() as u64,
    };
    let mut client = Client::connect(address, api_key).await?;
    let mut db = stage.store.acquire().await?;
    let queue = args.channel.as_str();
    if args.preload {
        queue::control::pause(&mut db, queue, None).await?;
    }
    let mut started = Instant::now();
    submit(&mut client, args.count, |n| {
        send(args.channel, n, &address_of(n))
    })
    .await?;
    if args.preload {
        all_wait(&mut db, queue, args.count, work).await?;
        queue::control::resume(&mut db, queue).await?;
        started = Instant::now();
    }
    let (mut accepted, mut moved_at) = (0, Instant::now());
    while accepted < expected {
        work.check()?;
        sleep(WATCH).await;
        let now = deliveries::accepted_total(&mut db).await? as u64;
        if now > accepted {
            (accepted, moved_at) = (now, Instant::now());
        }
        ensure!(
            moved_at.elapsed() < STANDSTILL,
            "{accepted} of {expected} were delivered, and then no more"
        );
    }
    Ok((expected, started.elapsed().as_secs_f64()))
}

/// Waits until `count` jobs wait in `queue`.
async fn all_wait(
    db: &mut store::Connection,
    queue: &str,
    count: u64,
    work: &mut Role,
) -> anyhow::Result<()> {
    let waited = async {
        loop {
            work.check()?;
            let depths = queue::inspect::depths(db, None).await?;
            let waiting = depths.iter().find(|depth| depth.queue == queue);
            if waiting.is_some_and(|depth| depth.available as u64 >= count) {
                return anyhow::Ok(());
            }
            sleep(WATCH).await;
        }
    };
    timeout(STANDSTILL, waited)
        .await
        .context("the sends were not rendered in time")?
}

/// Waits until nothing is left to route or render: what is left is the sending.
async fn all_rendered(store: &Store, work: &mut Role) -> anyhow::Result<()> {
    let mut db = store.acquire().await?;
    let before = [workers::queues::ROUTE, workers::queues::RENDER];
    let rendered = async {
        loop {
            work.check()?;
            let depths = queue::inspect::depths(&mut db, None).await?;
            if depths
                .iter()
                .all(|depth| !before.contains(&depth.queue.as_str()))
            {
                return anyhow::Ok(());
            }
            sleep(WATCH).await;
        }
    };
    timeout(STANDSTILL, rendered)
        .await
        .context("the backlog was not rendered in time")?
}

/// Submits `count` sends in bulk.
async fn submit(
    client: &mut Client,
    count: u64,
    send: impl Fn(u64) -> Value,
) -> anyhow::Result<()> {
    let mut first = 0;
    while first < count {
        let last = count.min(first + BATCH);
        let sends: Vec<Value> = (first..last).map(&send).collect();
        let body = json!({ "notifications": sends }).to_string();
        let path = "/v1/notifications/bulk";
        client.send(Method::POST, path, body).await?;
        first = last;
    }
    Ok(())
}

fn send(channel: Channel, n: u64, address: &str) -> Value {
    let key = channel.address_key().unwrap_or_default();
    json!({
        "user_id": format!("user{n}"),
        "channels": [channel],
        "subject": "Order filled",
        "content": format!("Your order {n} for 100 AAPL was filled at 150.25."),
        "data": {key: address},
    })
}

/// Times single sends to one host, one after the other.
async fn probe(client: &mut Client, sink: &Sink) -> anyhow::Result<Percentiles> {
    let mut waits = Vec::new();
    for n in 0..PROBES {
        let before = sink.received.count();
        let body = send(Channel::Webhook, n, &sink.url(200)).to_string();
        client.send(Method::POST, "/v1/notifications", body).await?;
        let accepted = Instant::now();
        timeout(STANDSTILL, sink.received.reaches(before + 1))
            .await
            .context("a single send did not arrive")?;
        waits.push(u32::try_from(accepted.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(Percentiles::of(waits))
}
