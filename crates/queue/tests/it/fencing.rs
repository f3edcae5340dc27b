//! Who holds what: a node that only seems dead keeps its jobs, and one that is cut off lets go of
//! them before another may take them.

use std::sync::Arc;
use std::time::Duration;

use testkit::eventually;
use tokio::sync::Semaphore;

use crate::kit::{Journal, Kit, SOON, jobs, written};
use crate::nodes::swift;

/// Ends the sessions that hold the locks of node `a`'s epochs.
const UNLOCK_A: &str = "
    select count(pg_terminate_backend(held.pid))
    from pg_locks as held
    join queue.workers as worker
      on (held.classid::bigint << 32) | held.objid::bigint
         = ('x' || right(replace(worker.epoch::text, '-', ''), 16))::bit(64)::bigint
    where held.locktype = 'advisory' and worker.node = 'a'";

/// Longer than the silence after which `b` takes over, `a` loses its lock session again and again.
#[tokio::test]
async fn a_node_that_only_lost_its_lock_keeps_its_jobs() {
    let kit = Kit::fresh().await;
    let (runs, release) = (Journal::default(), Arc::new(Semaphore::new(0)));
    let node = |name: &str| {
        let (runs, release, name) = (runs.clone(), Arc::clone(&release), name.to_owned());
        kit.node()
            .configured(|config| {
                config.node.clone_from(&name);
                config.silence = Duration::from_secs(2);
            })
            .start(move |n, lease| {
                let (runs, release) = (runs.clone(), Arc::clone(&release));
                runs.note((name.clone(), n, lease.crashes));
                async move {
                    release.acquire().await.unwrap().forget();
                    written(n)
                }
            })
    };
    let a = node("a").await;
    kit.enqueue(&jobs(0..5)).await;
    runs.reaches(5).await;
    let _b = node("b").await;

    let mut ended = 0;
    for _ in 0..12 {
        ended += kit.count(UNLOCK_A).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    release.add_permits(5);
    kit.idle().await;

    assert!(ended >= 3, "the lock was taken again: {ended}");
    let expected: Vec<_> = (0..5).map(|n| ("a".to_owned(), n, 0)).collect();
    let mut entries = runs.entries();
    entries.sort();
    assert_eq!(entries, expected, "nothing ran twice");
    assert_eq!(kit.effects().await.len(), 5);
    assert_eq!(a.counter("postrider_leases_lost_total"), 0);
}

/// Says when its handler is dropped without having ended.
struct Running(Journal<&'static str>, &'static str);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}

/// Nothing passes the proxy and nothing is closed: the lock of `a` stays held, and only the lease
/// tells. Job 1 is dropped by the fence; job 2 ends in time, but its settlement comes too late.
#[tokio::test]
async fn a_node_that_is_cut_off_lets_go_before_another_takes_over() {
    let kit = Kit::fresh().await;
    let proxy = kit.proxy().await;
    let (events, release) = (Journal::default(), Arc::new(Semaphore::new(0)));
    let leases = |config: &mut queue::QueueConfig| {
        config.fence_after = Duration::from_millis(1500);
        config.lease_ttl = Duration::from_secs(5);
    };
    let (noted, gate) = (events.clone(), Arc::clone(&release));
    let a = kit
        .node()
        .through(&proxy)
        .configured(leases)
        .start(move |n, _| {
            let (noted, gate) = (noted.clone(), Arc::clone(&gate));
            async move {
                if n == 1 {
                    noted.note("a starts 1");
                    let _running = Running(noted.clone(), "a drops 1");
                    std::future::pending::<()>().await;
                }
                gate.acquire().await.unwrap().forget();
                noted.note("a ends 2");
                written(n)
            }
        })
        .await;
    kit.enqueue(&jobs(1..3)).await;
    eventually(SOON, async || a.held() == 2 && events.entries().len() == 1).await;

    proxy.stall();
    release.add_permits(1);
    let noted = events.clone();
    let _b = kit
        .node()
        .configured(leases)
        .start(move |n, lease| {
            assert_eq!((lease.failures, lease.crashes), (0, 1));
            noted.note(if n == 1 { "b runs 1" } else { "b runs 2" });
            async move { written(n) }
        })
        .await;
    kit.idle().await;
    proxy.flow();
    eventually(SOON, async || a.held() == 0).await;

    let order = events.entries();
    assert_eq!(order[..3], ["a starts 1", "a ends 2", "a drops 1"]);
    assert_eq!(order.len(), 5, "then b ran both: {order:?}");
    assert_eq!(
        kit.effects().await,
        [(1, "done".to_owned()), (2, "done".to_owned())],
        "what a had to say came too late"
    );
    assert_eq!(a.counter("postrider_leases_lost_total"), 2);
}

/// What was claimed and not started when the heartbeat stopped is not started then: a peer may have
/// it already.
#[tokio::test]
async fn a_node_without_a_heartbeat_starts_nothing_more() {
    let kit = Kit::fresh().await;
    let proxy = kit.proxy().await;
    let (runs, release) = (Journal::default(), Arc::new(Semaphore::new(0)));
    let (noted, gate) = (runs.clone(), Arc::clone(&release));
    let node = kit
        .node()
        .queue("work", queue::Limits::new(1, 20))
        .through(&proxy)
        .start(move |n, _| {
            noted.note(n);
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                written(n)
            }
        })
        .await;
    kit.enqueue(&jobs(0..10)).await;
    runs.reaches(1).await;
    eventually(SOON, async || node.held() == 10).await;

    proxy.stall();
    // Three missed heartbeats make it unhealthy. Then its handler ends, and the next could start.
    tokio::time::sleep(swift().heartbeat * 5).await;
    release.add_permits(100);
    tokio::time::sleep(swift().heartbeat * 2).await;
    let started = runs.entries().len();
    proxy.flow();
    kit.idle().await;

    assert_eq!(started, 1);
    assert_eq!(kit.effects().await.len(), 10);
    assert_eq!(kit.dead_letters().await, 0);
}
