//! Everything dies under load, and at the end the books balance.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use sqlx::PgPool;
use testkit::eventually;

use super::books::{all_delivered, assert_balanced, only_these_work};
use super::cluster::Cluster;
use super::fleet::{Role, free_address, healthy, migrate, serve, work};
use super::load::{Load, Sending};

/// Chooses the order of the blows and their victims. Another one is another storm.
const SEED: u64 = 20_251_121;

/// Workers killed.
const WORKER_BLOWS: usize = 6;

/// How long a worker may take until it holds jobs, while there are some.
const BUSY_MAX: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Blow {
    Worker,
    Front,
    Postgres,
}

/// Two workers and a front, as a Procfile runner keeps them: what is killed is started again.
struct Storm {
    cluster: Cluster,
    pool: PgPool,
    serve: Role,
    workers: [Role; 2],
    rng: StdRng,
}

impl Storm {
    async fn strike(&mut self, blow: Blow, sending: &Sending) {
        match blow {
            Blow::Worker => {
                let victim = self.rng.random_range(0..self.workers.len());
                let victim = &mut self.workers[victim];
                is_busy(&self.pool, victim.pid()).await;
                victim.kill().await;
                victim.start();
            }
            Blow::Front => {
                let retries = sending.retries();
                self.serve.kill().await;
                // A process starts faster than the next batch is due: somebody has to miss it.
                eventually(BUSY_MAX, async || sending.retries() > retries).await;
                self.serve.start();
            }
            Blow::Postgres => {
                self.cluster.stop_at_once().await;
                self.cluster.start_again().await;
            }
        }
    }
}

/// Waits until the worker of process `pid` holds jobs, so that its death leaves something behind.
async fn is_busy(pool: &PgPool, pid: i32) {
    eventually(BUSY_MAX, async || {
        let holds = sqlx::query_scalar::<_, bool>(
            "select exists (select from queue.jobs join queue.workers using (epoch) where pid = $1)",
        );
        holds.bind(pid).fetch_one(pool).await.unwrap()
    })
    .await;
}

/// Blows in random order, evenly spread over the stream, which goes on all the while.
async fn rage(storm: &mut Storm, sending: &Sending) {
    let mut blows = vec![Blow::Worker; WORKER_BLOWS];
    blows.extend([Blow::Front, Blow::Postgres]);
    blows.shuffle(&mut storm.rng);
    let apart = sending.load().events / (blows.len() + 1);
    for (n, blow) in (1..).zip(blows) {
        sending.reaches(n * apart).await;
        storm.strike(blow, sending).await;
    }
}

#[tokio::test]
async fn every_event_is_delivered_once_whoever_dies_meanwhile() {
    let cluster = Cluster::start("storm").await;
    let (url, dir, address) = (cluster.url(), cluster.dir(), free_address());
    migrate(url, dir).await;
    let mut storm = Storm {
        pool: cluster.pool().await,
        serve: serve(url, address, dir).started(),
        workers: ["one", "two"].map(|name| work(name, url, dir).started()),
        rng: StdRng::seed_from_u64(SEED),
        cluster,
    };
    healthy(address).await;

    let load = Load {
        events: 20_000,
        users: 97,
        pace: Duration::from_millis(100),
    };
    let mut sending = load.start(address);
    rage(&mut storm, &sending).await;
    sending.finish().await;

    all_delivered(&storm.pool, sending.load()).await;
    assert_balanced(&storm.pool, sending.load()).await;
    storm.serve.assert_runs();
    for worker in &mut storm.workers {
        worker.assert_runs();
    }
    only_these_work(&storm.pool, &storm.workers.each_ref().map(Role::pid)).await;
}
