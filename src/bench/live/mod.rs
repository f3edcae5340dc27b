//! `bench live`: thousands of sockets of as many users at one `serve`, with a `work` behind it, and
//! events that reach them.
//!
//! First the sockets only stand there, which shows what an idle one costs; then events are submitted
//! over HTTP, and each frame says when its event was handed in; then, while events go on, half of
//! the clients come back twice within some seconds, and the others are measured. `--nchan` does the
//! same with nginx and nchan, whose messages are kept nowhere.

mod clients;
mod process;
mod socket;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use hyper::Method;
use queue::Clock;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

pub use self::clients::{ClientsArgs, run as run_clients};
use self::clients::{Reins, Seen, user};
use self::process::Usage;
use super::load::Client;
use super::percentiles::Percentiles;
use super::roles::{Role, free_address, wait_for};
use super::stage::Stage;
use crate::config::Config;

/// Requests per second, so that a batch goes out every ten milliseconds.
const BATCHES_PER_SECOND: u64 = 100;

/// Connections that publish in turn, so that an answer that takes longer holds up no other batch.
const LANES: u64 = 4;

/// How long idle sockets are watched: one round of pings, and a little.
const IDLE: Duration = Duration::from_secs(35);

/// Events before anything is measured, for plans and caches.
const WARM_UP: Duration = Duration::from_secs(3);

/// How long the last frames may take.
const DRAIN: Duration = Duration::from_secs(2);

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct LiveBenchArgs {
    /// Sockets, each of a user of its own.
    #[arg(long, default_value_t = 10_000)]
    pub sockets: u64,
    /// Events per second, over all users.
    #[arg(long, default_value_t = 5000)]
    pub rate: u64,
    /// Seconds to measure.
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// Seconds in which half of the clients come back twice, so that there are as many greetings as
    /// sockets, while the others are measured; 0 for none.
    #[arg(long, default_value_t = 10)]
    pub storm: u64,
    /// Do not watch what idle sockets cost.
    #[arg(long)]
    pub busy_only: bool,
    /// Measure nginx with nchan at this address instead: POST to /pub/USER, subscribe to /sub/USER.
    #[arg(long, hide = true)]
    pub nchan: Option<SocketAddr>,
    /// Its worker process.
    #[arg(long, hide = true, requires = "nchan")]
    pub pid: Option<u32>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct LiveFigures {
    pub sockets: u64,
    pub delivered_per_s: f64,
    pub publish_to_client_ms: Percentiles,
    pub rss_bytes_per_socket: f64,
    pub cpu_us_per_socket_second: f64,
    /// Of the clients that stayed, while others came back.
    pub storm_publish_to_client_ms: Option<Percentiles>,
    /// Sockets that were opened again.
    pub came_back: u64,
    /// Numbers that came twice, or were left out.
    pub out_of_order: u64,
    /// The most memory the server had resident.
    pub peak_bytes: Option<u64>,
}

impl fmt::Display for LiveFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sockets               {:>8}", self.sockets)?;
        let memory = self.rss_bytes_per_socket / 1024.0;
        writeln!(f, "memory per socket     {memory:>8.1} KiB")?;
        let cpu = self.cpu_us_per_socket_second;
        writeln!(f, "CPU per idle socket   {cpu:>8.2} µs/s")?;
        writeln!(f, "delivered             {:>8.0} /s", self.delivered_per_s)?;
        writeln!(f, "publish to client     {}", self.publish_to_client_ms)?;
        if let Some(storm) = &self.storm_publish_to_client_ms {
            let back = self.came_back;
            writeln!(f, "while {back} came back {storm}")?;
        }
        write!(f, "out of order          {:>8}", self.out_of_order)
    }
}

/// Runs the benchmark, in a scratch database.
pub async fn run(config: &Config, args: &LiveBenchArgs) -> anyhow::Result<LiveFigures> {
    ensure!(args.sockets > 0, "there must be a socket");
    if let (Some(address), Some(pid)) = (args.nchan, args.pid) {
        let publisher = Publisher::connect(address, None).await?;
        return measure(args, publisher, address, None, pid).await;
    }
    let stage = Stage::set(config).await?;
    let figures = Box::pin(measure_ours(&stage, args)).await;
    stage.strike().await?;
    figures
}

async fn measure_ours(stage: &Stage, args: &LiveBenchArgs) -> anyhow::Result<LiveFigures> {
    let address = free_address().await?;
    let api_key = format!("pr_bench_{}", std::process::id());
    let secret = format!("secret of {api_key}");
    let settings = [
        ("POSTRIDER_BOOTSTRAP_API_KEY", api_key.clone()),
        ("JWT_SECRET", secret.clone()),
    ];
    let listen = address.to_string();
    let mut serve = Role::start("serve", &["--listen", &listen], stage.url(), &settings)?;
    let work = Role::start("work", &[], stage.url(), &[])?;
    wait_for(address, &api_key, &mut serve).await?;
    let publisher = Publisher::connect(address, Some(&api_key)).await?;
    let pid = serve.id().context("the server has ended")?;
    let figures = measure(args, publisher, address, Some(secret), pid).await?;
    serve.check()?;
    serve.stop().await?;
    work.stop().await?;
    Ok(figures)
}

async fn measure(
    args: &LiveBenchArgs,
    mut publisher: Publisher,
    address: SocketAddr,
    secret: Option<String>,
    pid: u32,
) -> anyhow::Result<LiveFigures> {
    // What the first event costs is not the sockets'.
    publisher.publish_one().await?;
    sleep(DRAIN).await;
    let before = Usage::of(pid)?;
    let sockets = args.sockets;
    let mut clients = Reins::take(&ClientsArgs {
        address,
        sockets,
        secret,
    })
    .await?;
    sleep(DRAIN).await;
    let connected = Usage::of(pid)?;
    let rss_bytes = connected.rss_bytes.saturating_sub(before.rss_bytes);
    let mut cpu_us_per_socket_second = 0.0;
    if !args.busy_only {
        sleep(IDLE).await;
        let spent = Usage::of(pid)?.cpu.saturating_sub(connected.cpu);
        cpu_us_per_socket_second = spent.as_micros() as f64 / sockets as f64 / IDLE.as_secs_f64();
    }
    publisher.run(args, WARM_UP).await?;
    sleep(DRAIN).await;
    clients.say("begin").await?;
    let span = Duration::from_secs(args.seconds);
    let started = Instant::now();
    let published = publisher.run(args, span).await?;
    let took = started.elapsed().max(span);
    sleep(DRAIN).await;
    let calm = clients.report().await?;
    ensure_all(published, &calm)?;
    let mut storm = None;
    if args.storm > 0 {
        clients.say("begin").await?;
        clients.say(&format!("storm {}", args.storm)).await?;
        let span = Duration::from_secs(args.storm);
        publisher.run(args, span).await?;
        sleep(DRAIN).await;
        storm = Some(clients.report().await?);
    }
    let peak_bytes = Usage::of(pid)?.peak_bytes;
    clients.stop().await?;
    let last = storm.as_ref().unwrap_or(&calm);
    Ok(LiveFigures {
        sockets,
        delivered_per_s: calm.received as f64 / took.as_secs_f64(),
        publish_to_client_ms: calm.latency_ms,
        rss_bytes_per_socket: rss_bytes as f64 / sockets as f64,
        cpu_us_per_socket_second,
        came_back: last.came_back,
        out_of_order: last.out_of_order,
        storm_publish_to_client_ms: storm.map(|seen| seen.latency_ms),
        peak_bytes: Some(peak_bytes),
    })
}

fn ensure_all(published: u64, seen: &Seen) -> anyhow::Result<()> {
    let received = seen.received;
    ensure!(
        received == published,
        "{published} were published and {received} received"
    );
    Ok(())
}

/// Those who hand events in.
struct Publisher {
    lanes: Vec<Lane>,
}

/// One connection to hand them in at.
enum Lane {
    Ours(Client),
    Nchan(Client),
}

impl Publisher {
    /// Connects to ours, or without a key to nchan.
    async fn connect(address: SocketAddr, api_key: Option<&str>) -> anyhow::Result<Self> {
        let lanes = try_join_all((0..LANES).map(async |_| match api_key {
            Some(api_key) => Ok(Lane::Ours(Client::connect(address, api_key).await?)),
            None => Client::connect(address, "").await.map(Lane::Nchan),
        }));
        Ok(Self {
            lanes: lanes.await?,
        })
    }

    /// Publishes one event, for what the first one costs.
    async fn publish_one(&mut self) -> anyhow::Result<()> {
        let first = self.lanes.first_mut().context("there is a lane")?;
        first.publish(0..1).await
    }

    /// Publishes at the wanted rate for some time; answers how many.
    async fn run(&mut self, args: &LiveBenchArgs, span: Duration) -> anyhow::Result<u64> {
        let started = Instant::now();
        let lanes = self.lanes.iter_mut().zip(0..);
        let published = lanes.map(|(lane, first)| lane.run(args, started, span, first));
        Ok(try_join_all(published).await?.iter().sum())
    }
}

impl Lane {
    /// Publishes every [`LANES`]th batch.
    async fn run(
        &mut self,
        args: &LiveBenchArgs,
        started: Instant,
        span: Duration,
        first: u64,
    ) -> anyhow::Result<u64> {
        let batch = (args.rate / BATCHES_PER_SECOND).max(1);
        let mut published = 0;
        for turn in (first..).step_by(LANES as usize) {
            let due = Duration::from_secs_f64((turn * batch) as f64 / args.rate as f64);
            // Measured by what is due, so that all of it is published, however late.
            if due >= span {
                break;
            }
            sleep_until(started + due).await;
            // Scattered over the users, in another order every time.
            let numbers = (turn * batch..(turn + 1) * batch)
                .map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % args.sockets);
            self.publish(numbers).await?;
            published += batch;
        }
        Ok(published)
    }

    /// Publishes one event to each of these users.
    async fn publish(&mut self, numbers: impl Iterator<Item = u64>) -> anyhow::Result<()> {
        match self {
            Self::Ours(client) => {
                let events: Vec<_> = numbers
                    .map(|number| json!({"type": "ORDER_FILLED", "payload": payload(number)}))
                    .collect();
                let body = json!({ "events": events }).to_string();
                client.send(Method::POST, "/v1/events/batch", body).await?;
            }
            // It takes one message per request.
            Self::Nchan(client) => {
                for number in numbers {
                    let path = format!("/pub/{}", user(number));
                    let body = json!({"type": "ORDER_FILLED", "data": payload(number)});
                    client.send(Method::POST, &path, body.to_string()).await?;
                }
            }
        }
        Ok(())
    }
}

/// What is told to a user, with the time it is handed in.
fn payload(number: u64) -> Value {
    json!({
        "user_id": user(number), "sent_us": Clock::system().now().timestamp_micros(),
        "symbol": "AAPL", "quantity": 100, "price": 150.25,
    })
}
