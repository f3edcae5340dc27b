//! Connections that break, hang, or answer no more, while Postgres goes on.

use std::time::Duration;

use testkit::eventually;

use crate::kit::{Kit, SOON, jobs, written};

/// Two nodes lose all their sessions, again and again, in the middle of what they are doing.
#[tokio::test]
async fn sessions_that_are_terminated_under_load_cost_nothing_and_double_nothing() {
    let kit = Kit::fresh().await;
    let _nodes = [
        kit.node().start(async |n, _| written(n)).await,
        kit.node().start(async |n, _| written(n)).await,
    ];

    let mut ended = 0;
    for round in 0..20 {
        kit.enqueue(&jobs(round * 150..(round + 1) * 150)).await;
        tokio::time::sleep(Duration::from_millis(round as u64 * 7 % 40)).await;
        ended += kit.terminate("%").await;
    }
    kit.idle().await;

    assert!(ended >= 20, "{ended} sessions were terminated");
    let expected: Vec<_> = (0..3000).map(|n| (n, "done".to_owned())).collect();
    assert_eq!(kit.effects().await, expected);
    assert_eq!(kit.dead_letters().await, 0);
}

/// The claim is committed, and its answer never comes: jobs run that nobody knows of, under an epoch
/// that lives.
#[tokio::test]
async fn a_claim_whose_commit_was_not_answered_is_not_forgotten() {
    let kit = Kit::fresh().await;
    let proxy = kit.proxy().await;
    let _node = kit
        .node()
        .through(&proxy)
        .start(async |n, _| written(n))
        .await;

    proxy.lose_commit_after("claimed_at = coalesce");
    kit.enqueue(&jobs(0..50)).await;
    eventually(SOON, async || proxy.faults() == 1).await;
    kit.idle().await;

    let expected: Vec<_> = (0..50).map(|n| (n, "done".to_owned())).collect();
    assert_eq!(kit.effects().await, expected);
    assert_eq!(
        kit.count("select count(*) from queue.workers").await,
        1,
        "the epoch of the lost claim is gone"
    );
}

/// A host that vanished answers nothing, not even that it is gone. What hangs is given up after a
/// lease and goes on over connections that work, where Postgres must have let go of the rows that the
/// first connection locked in its transaction.
#[tokio::test]
async fn connections_that_hang_are_replaced() {
    let kit = Kit::fresh().await;
    let proxy = kit.proxy().await;
    let _node = kit
        .node()
        .through(&proxy)
        .configured(|config| config.lease_ttl = Duration::from_secs(2))
        .start(async |n, _| written(n))
        .await;

    proxy.hang_commit_after("delete from queue.jobs");
    kit.enqueue(&jobs(0..500)).await;
    eventually(SOON, async || proxy.faults() == 1).await;
    proxy.stall_present();
    kit.enqueue(&jobs(500..1000)).await;
    kit.idle_within(SOON * 2).await;

    let expected: Vec<_> = (0..1000).map(|n| (n, "done".to_owned())).collect();
    assert_eq!(kit.effects().await, expected);
    assert_eq!(kit.dead_letters().await, 0);
}
