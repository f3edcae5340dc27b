//! The promise of five seconds, of processes as they are deployed.

use std::time::{Duration, Instant};

use sqlx::PgPool;
use testkit::eventually;
use uuid::Uuid;

use super::books::{all_delivered, assert_balanced, assert_histories_are_whole};
use super::cluster::Cluster;
use super::fleet::{Role, free_address, healthy, migrate, serve, work};
use super::load::Load;

/// From a worker's death until all it held has been claimed by somebody else.
const TAKEOVER_MAX: Duration = Duration::from_secs(5);

/// How long workers may take to start and claim, on a machine that does other things as well.
const BUSY_MAX: Duration = Duration::from_secs(30);

/// Jobs a worker must hold before its death is worth looking at.
const HELD_MIN: i64 = 100;

/// What a process holds, and at which attempts.
#[derive(sqlx::FromRow)]
pub(super) struct Holding {
    pub(super) epoch: Uuid,
    job_ids: Vec<Uuid>,
    attempts: Vec<i16>,
}

/// The running jobs of the process `pid`, if it holds any.
pub(super) async fn holding(pool: &PgPool, pid: i32) -> Option<Holding> {
    let statement = "select epoch, array_agg(job_id) as job_ids, array_agg(attempt) as attempts
         from queue.jobs join queue.workers using (epoch)
         where pid = $1 group by epoch";
    let found = sqlx::query_as(statement).bind(pid).fetch_optional(pool);
    found.await.unwrap()
}

/// Whether any of `held` is still as its owner left it: an attempt rises with every claim, and only
/// then.
pub(super) async fn is_left_behind(pool: &PgPool, held: &Holding) -> bool {
    let statement = "select exists (select from queue.jobs where epoch = $1)
             or exists (
                 select from unnest($2::uuid[], $3::smallint[]) as held (job_id, attempt)
                 join queue.jobs as job using (job_id)
                 where job.attempt = held.attempt
             )";
    let left = sqlx::query_scalar(statement)
        .bind(held.epoch)
        .bind(&held.job_ids)
        .bind(&held.attempts);
    left.fetch_one(pool).await.unwrap()
}

/// Waits until a worker is in the middle of its work.
pub(super) async fn holds_enough(pool: &PgPool, role: &Role) {
    eventually(BUSY_MAX, async || {
        let held = holding(pool, role.pid()).await;
        held.is_some_and(|held| held.job_ids.len() as i64 >= HELD_MIN)
    })
    .await;
}

/// A backlog is there before the workers are, so that the victim holds jobs of every kind, and its
/// peer has enough to do.
#[tokio::test]
async fn a_killed_workers_jobs_run_elsewhere_within_five_seconds() {
    let cluster = Cluster::start("takeover").await;
    let (url, dir, address) = (cluster.url(), cluster.dir(), free_address());
    migrate(url, dir).await;
    let pool = cluster.pool().await;
    let _serve = serve(url, address, dir).started();
    healthy(address).await;
    let load = Load {
        events: 6000,
        users: 31,
        pace: Duration::ZERO,
    };
    let mut sending = load.start(address);
    sending.finish().await;
    let mut victim = work("victim", url, dir).started();
    let mut peer = work("peer", url, dir).started();
    for role in [&victim, &peer] {
        holds_enough(&pool, role).await;
    }

    let pid = victim.pid();
    victim.kill().await;
    let killed = Instant::now();
    // What the victim had sent before it died still takes effect; what it holds now, it keeps.
    let held = holding(&pool, pid).await.expect("it died at work");
    eventually(TAKEOVER_MAX, async || !is_left_behind(&pool, &held).await).await;
    let elapsed = killed.elapsed();

    assert!(
        elapsed < TAKEOVER_MAX,
        "{elapsed:?} for {} jobs",
        held.job_ids.len()
    );
    assert_histories_are_whole(&pool).await;
    all_delivered(&pool, sending.load()).await;
    assert_balanced(&pool, sending.load()).await;
    peer.assert_runs();
}
