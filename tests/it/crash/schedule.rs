//! A rule that fires by the clock, with three processes that may fire it, one of which is killed in
//! the middle of it.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use testkit::eventually;

use super::cluster::Cluster;
use super::fleet::{API_KEY, Role, free_address, healthy, migrate, serve, work};

/// How long processes may take to start and take over, on a machine that does other things as well.
const BUSY_MAX: Duration = Duration::from_secs(30);

async fn fired(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("select event_id from events order by id")
        .fetch_all(pool)
        .await
        .unwrap()
}

/// The process that is firing at this moment.
async fn firing(pool: &PgPool) -> Option<i32> {
    sqlx::query_scalar(
        "select worker.pid from queue.jobs as job
         join queue.workers as worker using (epoch) where job.kind = 'schedule'",
    )
    .fetch_optional(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_rule_fires_once_for_each_time_whoever_dies_while_firing_it() {
    let cluster = Cluster::start("schedule").await;
    let (url, dir, address) = (cluster.url(), cluster.dir(), free_address());
    migrate(url, dir).await;
    let pool = cluster.pool().await;
    let _serve = serve(url, address, dir).started();
    healthy(address).await;
    let mut nodes: Vec<Role> = ["one", "two", "three"]
        .map(|name| work(name, url, dir).started())
        .into();
    eventually(BUSY_MAX, async || {
        let working: i64 = sqlx::query_scalar("select count(*) from queue.workers")
            .fetch_one(&pool)
            .await
            .unwrap();
        working == 3
    })
    .await;
    let client = reqwest::Client::new();
    let rules = format!("http://{address}/v1/rules");
    let rule = json!({"name": "tick", "schedule": "* * * * * *", "recipients": ["ada"],
                      "channels": ["in_app"]});
    let made = client.post(&rules).bearer_auth(API_KEY).json(&rule).send();
    assert_eq!(made.await.unwrap().status(), 201);
    eventually(BUSY_MAX, async || fired(&pool).await.len() >= 3).await;

    // Its settlement waits for the table when it dies.
    let mut table = pool.begin().await.unwrap();
    sqlx::query("lock table events in share mode")
        .execute(&mut *table)
        .await
        .unwrap();
    let before = fired(&pool).await.len();
    eventually(BUSY_MAX, async || firing(&pool).await.is_some()).await;
    let pid = firing(&pool).await.unwrap();
    let victim = nodes.iter().position(|node| node.pid() == pid);
    let mut victim = nodes.remove(victim.expect("one of the three fires"));
    victim.kill().await;
    table.rollback().await.unwrap();

    eventually(BUSY_MAX, async || fired(&pool).await.len() >= before + 3).await;
    let off = json!({"name": "tick", "schedule": "* * * * * *", "recipients": ["ada"],
                     "channels": ["in_app"], "enabled": false});
    let tick = format!("{rules}/tick");
    let changed = client.put(tick).bearer_auth(API_KEY).json(&off).send();
    assert_eq!(changed.await.unwrap().status(), 200);
    eventually(BUSY_MAX, async || {
        let open: i64 = sqlx::query_scalar("select count(*) from queue.jobs")
            .fetch_one(&pool)
            .await
            .unwrap();
        open == 0
    })
    .await;

    let fired = fired(&pool).await;
    let distinct: HashSet<_> = fired.iter().collect();
    assert_eq!(distinct.len(), fired.len(), "{fired:?}");
    let told: i64 = sqlx::query_scalar("select count(*) from inbox")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(told, fired.len() as i64);
    for node in &mut nodes {
        node.assert_runs();
    }
}
