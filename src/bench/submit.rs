//! `bench submit`: how fast the door is. Events over HTTP to their 202, which is their commit, by a
//! `serve` process and nobody who works on them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use hyper::Method;
use queue::gauge;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::load::Client;
use super::percentiles::Percentiles;
use super::roles::{Role, free_address, wait_for};
use super::stage::Stage;
use crate::config::Config;

/// Time before the clock starts, for plans and caches.
const WARM_UP: Duration = Duration::from_secs(2);

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct SubmitBenchArgs {
    /// Seconds to measure.
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// Keep-alive connections, each with one request at a time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub connections: u64,
    /// Events per request; 1 posts single events.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=5000))]
    pub batch: u64,
    /// Give every event an `event_id`, to be kept for 30 days.
    #[arg(long)]
    pub event_ids: bool,
    /// Give every request an `Idempotency-Key`.
    #[arg(long)]
    pub keys: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct SubmitFigures {
    pub seconds: f64,
    pub accepted: u64,
    pub events_per_s: f64,
    /// From the first byte sent to the whole answer read.
    pub answer_ms: Percentiles,
    pub wal_bytes_per_event: f64,
    pub commits_per_event: f64,
    pub serve_peak_bytes: Option<u64>,
}

impl fmt::Display for SubmitFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "accepted         {:>8}", self.accepted)?;
        writeln!(f, "events           {:>8.0} /s", self.events_per_s)?;
        writeln!(f, "answer           {}", self.answer_ms)?;
        writeln!(f, "WAL per event    {:>8.0} B", self.wal_bytes_per_event)?;
        writeln!(f, "commits per event{:>8.4}", self.commits_per_event)?;
        let mebibytes = self.serve_peak_bytes.unwrap_or_default() / (1024 * 1024);
        write!(f, "memory at most   {mebibytes:>8} MiB")
    }
}

/// Runs the benchmark in a scratch database.
pub async fn run(config: &Config, args: &SubmitBenchArgs) -> anyhow::Result<SubmitFigures> {
    let stage = Stage::set(config).await?;
    let figures = Box::pin(measure(&stage, args)).await;
    stage.strike().await?;
    figures
}

async fn measure(stage: &Stage, args: &SubmitBenchArgs) -> anyhow::Result<SubmitFigures> {
    let address = free_address().await?;
    let api_key = format!("pr_bench_{}", std::process::id());
    let settings = [("POSTRIDER_BOOTSTRAP_API_KEY", api_key.clone())];
    let listen = address.to_string();
    let mut serve = Role::start("serve", &["--listen", &listen], stage.url(), &settings)?;
    wait_for(address, &api_key, &mut serve).await?;

    let started = Instant::now() + WARM_UP;
    let end = started + Duration::from_secs(args.seconds);
    let accepted = Arc::new(AtomicU64::new(0));
    let mut submitters = JoinSet::new();
    for part in 0..args.connections {
        let client = Client::connect(address, &api_key).await?;
        let submitter = Submitter {
            client,
            args: args.clone(),
            part,
            accepted: Arc::clone(&accepted),
        };
        submitters.spawn(submitter.run(started, end));
    }
    let mut db = stage.store.acquire().await?;
    sleep_until(started).await;
    let (before, first) = (
        gauge::read(&mut db).await?,
        accepted.load(Ordering::Acquire),
    );
    sleep_until(end).await;
    let last = accepted.load(Ordering::Acquire);
    let seconds = started.elapsed().as_secs_f64();
    let after = gauge::read(&mut db).await?;
    let mut waits = Vec::new();
    while let Some(submitter) = submitters.join_next().await {
        waits.extend(submitter.context("a submitter failed")??);
    }
    serve.check()?;
    let serve_peak_bytes = serve.peak_bytes();
    serve.stop().await?;
    let events = (last - first).max(1) as f64;
    Ok(SubmitFigures {
        seconds,
        accepted: last - first,
        events_per_s: events / seconds,
        answer_ms: Percentiles::of(waits),
        wal_bytes_per_event: (after.wal_bytes - before.wal_bytes) / events,
        commits_per_event: (after.commits - before.commits) as f64 / events,
        serve_peak_bytes,
    })
}

/// One connection, which submits request after request.
struct Submitter {
    client: Client,
    args: SubmitBenchArgs,
    part: u64,
    accepted: Arc<AtomicU64>,
}

impl Submitter {
    /// Answers how long each answer took, in microseconds, of the requests since `started`.
    async fn run(mut self, started: Instant, end: Instant) -> anyhow::Result<Vec<u32>> {
        let is_batch = self.args.batch > 1;
        let path = if is_batch {
            "/v1/events/batch"
        } else {
            "/v1/events"
        };
        let mut waits = Vec::new();
        for request in 0_u64.. {
            let sent = Instant::now();
            if sent >= end {
                break;
            }
            let body = self.body(request, is_batch);
            let key = format!("{}-{request}", self.part);
            let key = self.args.keys.then_some(key.as_str());
            self.client
                .send_with(Method::POST, path, body, key)
                .await
                .context("a submission was not accepted")?;
            self.accepted.fetch_add(self.args.batch, Ordering::AcqRel);
            if sent >= started {
                waits.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
        }
        Ok(waits)
    }

    fn body(&self, request: u64, is_batch: bool) -> String {
        let event = |number: u64| {
            let event_id = if self.args.event_ids {
                format!(r#""event_id":"{}-{request}-{number}","#, self.part)
            } else {
                String::new()
            };
            format!(
                r#"{{"type":"ORDER_FILLED",{event_id}"payload":{{"user_id":"user{}","order_id":"o{number}","symbol":"AAPL","quantity":100,"price":150.25}}}}"#,
                (request * self.args.batch + number) % 10_000
            )
        };
        if is_batch {
            let events: Vec<_> = (0..self.args.batch).map(event).collect();
            format!(r#"{{"events":[{}]}}"#, events.join(","))
        } else {
            event(0)
        }
    }
}
