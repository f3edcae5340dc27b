//! Behind PgBouncer in transaction mode, without a direct URL: no session lock, no LISTEN, no session
//! settings and no prepared statements. Polling and leases decide.

use std::time::Duration;

use queue::QueueConfig;
use testkit::PgBouncer;

use crate::kit::{Journal, Kit, SOON, jobs, written};

#[tokio::test]
async fn jobs_run_through_a_pooler_that_mixes_the_sessions_of_two_nodes() {
    let kit = Kit::fresh().await;
    let bouncer = PgBouncer::start(&kit.database).await;
    let node = || kit.node().pooled(bouncer.url().to_owned());
    let nodes = [
        node().start(async |n, _| written(n)).await,
        node().start(async |n, _| written(n)).await,
    ];

    for round in 0..10 {
        kit.enqueue(&jobs(round * 50..(round + 1) * 50)).await;
    }
    kit.idle().await;

    let expected: Vec<_> = (0..500).map(|n| (n, "done".to_owned())).collect();
    assert_eq!(kit.effects().await, expected);
    assert_eq!(kit.dead_letters().await, 0);
    let leased = "select count(*) from queue.workers where not locked";
    assert_eq!(kit.count(leased).await, 2);
    for node in nodes {
        node.stop(SOON).await;
    }
    assert_eq!(kit.count(leased).await, 0, "both signed off");
}

#[tokio::test]
async fn without_a_lock_a_dead_node_is_taken_over_after_its_lease() {
    let kit = Kit::fresh().await;
    let bouncer = PgBouncer::start(&kit.database).await;
    let node = || {
        kit.node()
            .pooled(bouncer.url().to_owned())
            .configured(|config: &mut QueueConfig| {
                config.fence_after = Duration::from_millis(1500);
                config.lease_ttl = Duration::from_secs(3);
            })
    };
    let starts = Journal::default();
    let noted = starts.clone();
    let doomed = node()
        .start_mortal(move |n, _| {
            noted.note(n);
            std::future::pending()
        })
        .await;
    kit.enqueue(&jobs(0..20)).await;
    starts.reaches(8).await;
    let leases = Journal::default();
    let noted = leases.clone();
    let _survivor = node()
        .start(move |n, lease| {
            noted.note((lease.failures, lease.crashes));
            async move { written(n) }
        })
        .await;

    doomed.kill();
    kit.idle().await;

    assert_eq!(leases.entries(), [(0, 1); 20]);
    assert_eq!(kit.effects().await.len(), 20);
}
