//! `bench pipeline`: batches of events over HTTP to in-app deliveries settled, by a `serve` and a
//! `work` process, as a user would have them.
//!
//! At `--rate max` the generator keeps a bounded number of events on their way, so that what is
//! measured is what the whole chain sustains, not how fast a backlog grows. Meanwhile single events
//! of a probe user are sent one at a time: from their 202 to their row in the feed is the latency.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use domain::{TenantId, UserId};
use hyper::Method;
use queue::gauge;
use serde::Serialize;
use serde_json::json;
use store::Store;
use store::inbox::{self, FeedTotals};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::TaskTracker;

use super::furnish;
use super::load::Client;
use super::percentiles::Percentiles;
use super::roles::{Role, free_address, wait_for};
use super::stage::Stage;
use crate::config::Config;

/// Events per request.
const BATCH: u64 = 200;

/// Connections that submit.
const SUBMITTERS: u64 = 2;

/// Users the events are spread over, as in the floor this is compared with.
const USERS: u64 = 10_000;

/// At `max`: events accepted but not delivered before the generator pauses.
const ON_THEIR_WAY_MAX: u64 = 6000;

/// Time between two counts of what was delivered: a count of all feeds costs 2 ms.
const WATCH: Duration = Duration::from_millis(100);

/// Pause between two probes.
const PROBE_PAUSE: Duration = Duration::from_millis(20);

/// Time before the clock starts, for plans and caches.
const WARM_UP: Duration = Duration::from_secs(3);

const PROBE_USER: &str = "probe";

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct PipelineBenchArgs {
    /// Seconds to measure.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Events per second, or `max`.
    #[arg(long, default_value = "max", value_parser = parse_rate)]
    pub rate: Rate,
    /// Rules in play, each of a type of its own, with a template, preferences of every user and a
    /// limit that counts every message. 0 leaves all of that out.
    #[arg(long, default_value_t = 100)]
    pub rules: u64,
    /// Leaves out the limit, to see what it costs.
    #[arg(long)]
    pub unlimited: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// How fast events are submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    Max,
    PerSecond(u64),
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate::Max);
    }
    let rate = text
        .parse()
        .map_err(|error| format!("`{text}` is neither `max` nor a number: {error}"))?;
    if rate < BATCH {
        return Err(format!(
            "the rate must be at least {BATCH}, the size of a batch"
        ));
    }
    Ok(Rate::PerSecond(rate))
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct PipelineFigures {
    pub seconds: f64,
    pub accepted: u64,
    pub delivered: u64,
    pub notifications_per_s: f64,
    pub accepted_to_delivered_ms: Percentiles,
    pub wal_bytes_per_notification: f64,
    /// The most memory the worker process had resident.
    pub worker_peak_bytes: Option<u64>,
    pub serve_peak_bytes: Option<u64>,
}

impl fmt::Display for PipelineFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "accepted {}, delivered {}",
            self.accepted, self.delivered
        )?;
        writeln!(
            f,
            "notifications         {:>8.0} /s",
            self.notifications_per_s
        )?;
        writeln!(f, "accepted to delivered {}", self.accepted_to_delivered_ms)?;
        writeln!(
            f,
            "WAL per notification  {:>8.0} B",
            self.wal_bytes_per_notification
        )?;
        let mebibytes = |bytes: Option<u64>| bytes.unwrap_or_default() / (1024 * 1024);
        write!(
            f,
            "memory at most        {:>8} MiB work, {} MiB serve",
            mebibytes(self.worker_peak_bytes),
            mebibytes(self.serve_peak_bytes)
        )
    }
}

/// Runs the benchmark in a scratch database.
pub async fn run(config: &Config, args: &PipelineBenchArgs) -> anyhow::Result<PipelineFigures> {
    let stage = Stage::set(config).await?;
    let figures = Box::pin(measure(&stage, args)).await;
    stage.strike().await?;
    figures
}

async fn measure(stage: &Stage, args: &PipelineBenchArgs) -> anyhow::Result<PipelineFigures> {
    if args.rules > 0 {
        let users: Vec<_> = (0..USERS).map(|n| format!("user{n}")).collect();
        furnish::furnish(&stage.store, args.rules, !args.unlimited, &users).await?;
    }
    let address = free_address().await?;
    let api_key = format!("pr_bench_{}", std::process::id());
    let settings = [("POSTRIDER_BOOTSTRAP_API_KEY", api_key.clone())];
    let listen = address.to_string();
    let mut serve = Role::start("serve", &["--listen", &listen], stage.url(), &settings)?;
    let mut work = Role::start("work", &[], stage.url(), &[])?;
    wait_for(address, &api_key, &mut serve).await?;

    let course = Arc::new(Course::default());
    let tracker = TaskTracker::new();
    for part in 0..SUBMITTERS {
        let course = Arc::clone(&course);
        let client = Client::connect(address, &api_key).await?;
        tracker.spawn(submit(client, course, args.clone(), part));
    }
    let probes = {
        let (course, store) = (Arc::clone(&course), stage.store.clone());
        let client = Client::connect(address, &api_key).await?;
        tracker.spawn(probe(client, store, course, args.rules))
    };
    let watched = watch(stage, args, &course, [&mut serve, &mut work]).await;
    course.is_over.store(true, Ordering::Release);
    tracker.close();
    let span = watched?;
    tracker.wait().await;
    let waits = probes.await??;
    ensure!(
        !course.has_failed.load(Ordering::Acquire),
        "a submission failed; see above"
    );
    let delivered = drain(&stage.store, &course).await?;
    let worker_peak_bytes = work.peak_bytes();
    let serve_peak_bytes = serve.peak_bytes();
    serve.stop().await?;
    work.stop().await?;
    Ok(PipelineFigures {
        seconds: span.seconds,
        accepted: course.accepted.load(Ordering::Acquire),
        delivered,
        notifications_per_s: span.delivered as f64 / span.seconds,
        accepted_to_delivered_ms: Percentiles::of(waits),
        wal_bytes_per_notification: span.wal_bytes / span.delivered.max(1) as f64,
        worker_peak_bytes,
        serve_peak_bytes,
    })
}

/// What submitters, probe and observer share.
#[derive(Debug, Default)]
struct Course {
    accepted: AtomicU64,
    delivered: AtomicU64,
    is_measuring: AtomicBool,
    is_over: AtomicBool,
    has_failed: AtomicBool,
}

/// What happened while the clock ran.
struct Span {
    seconds: f64,
    delivered: u64,
    wal_bytes: f64,
}

/// Counts deliveries while the run lasts.
async fn watch(
    stage: &Stage,
    args: &PipelineBenchArgs,
    course: &Course,
    mut roles: [&mut Role; 2],
) -> anyhow::Result<Span> {
    let mut db = stage.store.acquire().await?;
    let warm = Instant::now() + WARM_UP;
    while Instant::now() < warm {
        course
            .delivered
            .store(totals(&mut db).await?.arrived, Ordering::Release);
        sleep(WATCH).await;
    }
    let (before, first) = (gauge::read(&mut db).await?, totals(&mut db).await?.arrived);
    let started = Instant::now();
    course.is_measuring.store(true, Ordering::Release);
    let end = started + Duration::from_secs(args.seconds);
    let mut last = first;
    while Instant::now() < end && !course.has_failed.load(Ordering::Acquire) {
        for role in &mut roles {
            role.check()?;
        }
        last = totals(&mut db).await?.arrived;
        course.delivered.store(last, Ordering::Release);
        sleep(WATCH).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    let after = gauge::read(&mut db).await?;
    Ok(Span {
        seconds,
        delivered: last - first,
        wal_bytes: after.wal_bytes - before.wal_bytes,
    })
}

async fn totals(db: &mut store::Connection) -> anyhow::Result<FeedTotals> {
    inbox::totals(db).await.context("could not count the feeds")
}

/// Waits until everything accepted has been delivered, and answers how much that was.
async fn drain(store: &Store, course: &Course) -> anyhow::Result<u64> {
    let accepted = course.accepted.load(Ordering::Acquire);
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut db = store.acquire().await?;
    loop {
        let delivered = totals(&mut db).await?.arrived;
        if delivered >= accepted {
            return Ok(delivered);
        }
        ensure!(
            Instant::now() < deadline,
            "{delivered} of {accepted} were delivered"
        );
        sleep(WATCH).await;
    }
}

/// Submits batches until the run is over.
async fn submit(mut client: Client, course: Arc<Course>, args: PipelineBenchArgs, part: u64) {
    let started = Instant::now();
    let mut batches = 0_u64;
    while !course.is_over.load(Ordering::Acquire) {
        match args.rate {
            Rate::PerSecond(rate) => {
                let seconds = batches as f64 * (BATCH * SUBMITTERS) as f64 / rate as f64;
                sleep_until(started + Duration::from_secs_f64(seconds)).await;
            }
            Rate::Max => {
                while on_their_way(&course) > ON_THEIR_WAY_MAX {
                    if course.is_over.load(Ordering::Acquire) {
                        return;
                    }
                    sleep(Duration::from_millis(5)).await;
                }
            }
        }
        let first = (batches * SUBMITTERS + part) * BATCH;
        let events = (first..first + BATCH).map(|n| event(&user(n), n, args.rules));
        let events: Vec<_> = events.collect();
        let body = json!({ "events": events }).to_string();
        if let Err(error) = client.send(Method::POST, "/v1/events/batch", body).await {
            tracing::error!(error = format!("{error:#}"), "a batch was not accepted");
            course.has_failed.store(true, Ordering::Release);
            return;
        }
        course.accepted.fetch_add(BATCH, Ordering::AcqRel);
        batches += 1;
    }
}

fn on_their_way(course: &Course) -> u64 {
    let accepted = course.accepted.load(Ordering::Acquire);
    accepted.saturating_sub(course.delivered.load(Ordering::Acquire))
}

fn user(n: u64) -> String {
    // Scattered, so that neighbours in a batch do not share a feed.
    format!("user{}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % USERS)
}

fn event(user: &str, n: u64, rules: u64) -> serde_json::Value {
    let kind = match rules {
        0 => "ORDER_FILLED".to_owned(),
        rules => furnish::event_type(n % rules),
    };
    json!({
        "type": kind,
        "event_id": format!("{user}-{n}"),
        "payload": {
            "user_id": user, "order_id": format!("o{n}"), "symbol": "AAPL", "quantity": 100,
            "price": 150.25,
        },
    })
}

/// Sends events of the probe user, one at a time, and measures from each 202 to the feed.
async fn probe(
    mut client: Client,
    store: Store,
    course: Arc<Course>,
    rules: u64,
) -> anyhow::Result<Vec<u32>> {
    let (tenant, user) = (TenantId::default(), UserId::from(PROBE_USER));
    let mut db = store.acquire().await?;
    let mut waits = Vec::new();
    let mut sent = 0_i64;
    while !course.is_over.load(Ordering::Acquire) {
        let body = event(PROBE_USER, sent as u64, rules).to_string();
        client
            .send(Method::POST, "/v1/events", body)
            .await
            .context("a probe was not accepted")?;
        let accepted = Instant::now();
        course.accepted.fetch_add(1, Ordering::AcqRel);
        sent += 1;
        while inbox::head(&mut db, &tenant, &user).await?.seq < sent {
            ensure!(
                accepted.elapsed() < Duration::from_mins(1),
                "a probe was not delivered"
            );
            sleep(Duration::from_millis(1)).await;
        }
        if course.is_measuring.load(Ordering::Acquire) {
            waits.push(u32::try_from(accepted.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
        sleep(PROBE_PAUSE).await;
    }
    Ok(waits)
}
