//! `bench queue`: preloads no-op jobs, burns them down through the whole apalis stack, then holds a
//! fixed rate and watches how long jobs wait.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use prometheus::Registry;
use queue::gauge::{self, HeldSnapshot};
use queue::{Bell, Clock, JOBS_AVAILABLE, JobId, LANES, Limits, Metrics, NewJob, QueueConfig};
use serde::Serialize;
use store::Store;
use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use workers::{Noop, Running, Tally};

use super::percentiles::Percentiles;
use super::stage::Stage;
use crate::config::Config;

/// Jobs per enqueuing transaction, and connections that enqueue at once.
const ENQUEUE_BATCH: u64 = 1000;
const ENQUEUERS: u64 = 2;

/// How long sessions may take to report their commits to the statistics.
const STATISTICS_DELAY: Duration = Duration::from_millis(1500);

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct QueueBenchArgs {
    /// Jobs to preload and burn down.
    #[arg(long, default_value_t = 200_000)]
    pub jobs: u64,
    /// Keep an old `repeatable read` transaction open meanwhile.
    #[arg(long)]
    pub hold_snapshot: bool,
    /// Jobs due in a week that lie beside.
    #[arg(long, default_value_t = 0)]
    pub scheduled: i64,
    /// Jobs per second of the steady state; 0 leaves it out.
    #[arg(long, default_value_t = 2000)]
    pub rate: u64,
    /// Seconds of the steady state.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct QueueFigures {
    pub jobs: u64,
    pub enqueue_per_s: f64,
    pub process_per_s: f64,
    pub wal_bytes_per_job: f64,
    pub commits_per_job: f64,
    /// From before the enqueue to the start of the handler, at the steady rate.
    pub enqueue_to_start_ms: Option<Percentiles>,
}

impl fmt::Display for QueueFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "jobs             {:>10}", self.jobs)?;
        writeln!(f, "enqueue          {:>10.0} /s", self.enqueue_per_s)?;
        writeln!(f, "process          {:>10.0} /s", self.process_per_s)?;
        writeln!(f, "WAL per job      {:>10.0} B", self.wal_bytes_per_job)?;
        write!(f, "commits per job  {:>10.4}", self.commits_per_job)?;
        if let Some(waits) = &self.enqueue_to_start_ms {
            write!(f, "\nenqueue to start {waits}")?;
        }
        Ok(())
    }
}

/// Runs the benchmark in a scratch database.
pub async fn run(config: &Config, args: &QueueBenchArgs) -> anyhow::Result<QueueFigures> {
    let stage = Stage::set(config).await?;
    let figures = measure(&stage, args).await;
    stage.strike().await?;
    figures
}

async fn measure(stage: &Stage, args: &QueueBenchArgs) -> anyhow::Result<QueueFigures> {
    let mut db = stage.store.acquire().await?;
    gauge::schedule_idle(&mut db, args.scheduled).await?;
    let snapshot = if args.hold_snapshot {
        Some(HeldSnapshot::take(&stage.database).await?)
    } else {
        None
    };

    let started = Instant::now();
    preload(&stage.store, args.jobs).await?;
    let enqueue_seconds = started.elapsed().as_secs_f64();
    gauge::analyze(&mut db).await?;

    let before = gauge::read(&mut db).await?;
    let bell = Bell::new();
    let tally = Arc::new(Tally::default());
    let started = Instant::now();
    let workers = start(stage, &bell, &tally)?;
    while tally.ran() < args.jobs || workers.held() > 0 {
        ensure!(
            started.elapsed() < Duration::from_mins(10),
            "the queue stands still"
        );
        sleep(Duration::from_millis(2)).await;
    }
    let process_seconds = started.elapsed().as_secs_f64();
    sleep(STATISTICS_DELAY).await;
    let after = gauge::read(&mut db).await?;

    let waits = steady(stage, args, &bell, &tally, &workers).await?;
    workers.stop(Duration::from_secs(5)).await;
    if let Some(snapshot) = snapshot {
        snapshot.release().await?;
    }
    let jobs = args.jobs as f64;
    Ok(QueueFigures {
        jobs: args.jobs,
        enqueue_per_s: jobs / enqueue_seconds,
        process_per_s: jobs / process_seconds,
        wal_bytes_per_job: (after.wal_bytes - before.wal_bytes) / jobs,
        commits_per_job: (after.commits - before.commits) as f64 / jobs,
        enqueue_to_start_ms: waits,
    })
}

fn start(stage: &Stage, bell: &Bell, tally: &Arc<Tally>) -> anyhow::Result<Running> {
    let metrics = Metrics::register(&Registry::new()).context("metrics")?;
    let limits = Limits::new(64, 2000);
    let config = QueueConfig::default();
    Ok(workers::start_noop(
        stage.database.clone(),
        config,
        limits,
        bell.clone(),
        metrics,
        tally,
    ))
}

/// Enqueues `jobs` in durable transactions, spread over all lanes.
async fn preload(store: &Store, jobs: u64) -> anyhow::Result<()> {
    let tracker = TaskTracker::new();
    let enqueuers: Vec<_> = (0..ENQUEUERS)
        .map(|part| {
            let store = store.clone();
            tracker.spawn(async move {
                let clock = Clock::system();
                let mut next = part * ENQUEUE_BATCH;
                while next < jobs {
                    let last = (next + ENQUEUE_BATCH).min(jobs);
                    let batch: Vec<NewJob> = (next..last)
                        .map(|id| job(&clock, Noop::new(id, 0)))
                        .collect();
                    enqueue(&store, &batch).await?;
                    next += ENQUEUERS * ENQUEUE_BATCH;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for enqueuer in enqueuers {
        enqueuer.await??;
    }
    Ok(())
}

fn job(clock: &Clock, noop: Noop) -> NewJob {
    let lane = (noop.id % u64::from(LANES)) as u8;
    NewJob::new(JobId::at(clock.now()), Noop::QUEUE, &noop).lane(lane)
}

async fn enqueue(store: &Store, jobs: &[NewJob]) -> anyhow::Result<()> {
    let mut tx = store.begin().await?;
    queue::enqueue(&mut tx, jobs, None).await?;
    tx.commit().await?;
    Ok(())
}

/// Enqueues at a fixed rate, every ten milliseconds, and answers how long jobs waited.
async fn steady(
    stage: &Stage,
    args: &QueueBenchArgs,
    bell: &Bell,
    tally: &Tally,
    workers: &Running,
) -> anyhow::Result<Option<Percentiles>> {
    if args.rate == 0 {
        return Ok(None);
    }
    let stop = CancellationToken::new();
    let ringing = TaskTracker::new().spawn(bell.clone().run(stage.database.clone(), stop.clone()));
    let clock = Clock::system();
    let mut ticks = interval(Duration::from_millis(10));
    let per_tick = (args.rate / 100).max(1);
    for tick in 0..args.seconds * 100 {
        ticks.tick().await;
        let sent_at_us = clock.now().timestamp_micros();
        let jobs: Vec<NewJob> = (0..per_tick)
            .map(|n| job(&clock, Noop::new(tick * per_tick + n, sent_at_us)))
            .collect();
        enqueue(&stage.store, &jobs).await?;
        bell.ring(JOBS_AVAILABLE, Noop::QUEUE);
    }
    let all = args.jobs + args.seconds * 100 * per_tick;
    let deadline = Instant::now() + Duration::from_secs(30);
    while tally.ran() < all || workers.held() > 0 {
        ensure!(
            Instant::now() < deadline,
            "the steady state was not steady: jobs are left"
        );
        sleep(Duration::from_millis(2)).await;
    }
    stop.cancel();
    ringing.await?;
    Ok(Some(Percentiles::of(tally.take_waits_us())))
}
