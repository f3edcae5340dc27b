//! A worker that lives, but cannot reach Postgres: others do its work, and it knows.

use std::time::Duration;

use sqlx::PgPool;
use testkit::eventually;
use uuid::Uuid;

use super::books::{all_delivered, assert_balanced, only_these_work};
use super::cluster::Cluster;
use super::fleet::{free_address, healthy, migrate, serve, work};
use super::load::Load;
use super::takeover::{holding, holds_enough, is_left_behind};
use super::valve::Valve;

/// Its session still has the lock, so its peer waits for a whole lease, and then takes over.
const TAKEOVER_MAX: Duration = Duration::from_secs(20);

/// How long the worker may take to notice that the network is back.
const RECOVERY_MAX: Duration = Duration::from_secs(30);

/// The epochs of a process, by what Postgres knows.
async fn epochs(pool: &PgPool, pid: i32) -> Vec<Uuid> {
    let statement = "select epoch from queue.workers where pid = $1";
    let epochs = sqlx::query_scalar(statement).bind(pid).fetch_all(pool);
    epochs.await.unwrap()
}

/// The worker is stopped in mid-sentence: a settlement is usually under way, whose next statement
/// or COMMIT arrives long after its jobs were taken over.
#[tokio::test]
async fn a_worker_that_was_cut_off_acts_on_nothing_that_was_taken_from_it() {
    let cluster = Cluster::start("cut-off").await;
    let (url, dir, address) = (cluster.url(), cluster.dir(), free_address());
    migrate(url, dir).await;
    let pool = cluster.pool().await;
    let _serve = serve(url, address, dir).started();
    healthy(address).await;
    let part = Load {
        events: 4000,
        users: 31,
        pace: Duration::ZERO,
    };
    let mut sending = part.start(address);
    sending.finish().await;
    let valve = Valve::start(cluster.address()).await;
    let mut cut_off = work("cut-off", &valve.url(url), dir).started();
    let mut peer = work("peer", url, dir).started();
    holds_enough(&pool, &cut_off).await;

    valve.close();
    let held = holding(&pool, cut_off.pid()).await.expect("it was at work");
    eventually(TAKEOVER_MAX, async || !is_left_behind(&pool, &held).await).await;
    all_delivered(&pool, sending.load()).await;
    assert!(!epochs(&pool, cut_off.pid()).await.contains(&held.epoch));

    valve.open();
    eventually(RECOVERY_MAX, async || {
        let epochs = epochs(&pool, cut_off.pid()).await;
        !epochs.is_empty() && !epochs.contains(&held.epoch)
    })
    .await;
    assert_balanced(&pool, sending.load()).await;

    // From now on it works alone. The stream is the same, only longer: its start is duplicates.
    peer.kill().await;
    let whole = Load {
        events: 5000,
        ..*sending.load()
    };
    let mut sending = whole.start(address);
    sending.finish().await;
    all_delivered(&pool, sending.load()).await;
    assert_balanced(&pool, sending.load()).await;
    cut_off.assert_runs();
    only_these_work(&pool, &[cut_off.pid()]).await;
}
