//! A graceful stop: what runs may end, what does not is given back, nothing is charged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use queue::Limits;
use testkit::eventually;
use tokio::sync::Semaphore;

use crate::kit::{Journal, Kit, QUEUE, SOON, jobs, written};

/// Open jobs that are available, uncharged and without an error.
const UNHARMED: &str = "select count(*) from queue.jobs
    where state = 'available' and failures = 0 and crashes = 0 and errors is null";

#[tokio::test]
async fn what_runs_may_end_and_what_waits_is_given_back() {
    let kit = Kit::fresh().await;
    let (starts, release) = (Journal::default(), Arc::new(Semaphore::new(0)));
    let (noted, gate) = (starts.clone(), Arc::clone(&release));
    let node = kit
        .node()
        .queue(QUEUE, Limits::new(2, 100))
        .start(move |n, _| {
            noted.note(n);
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                written(n)
            }
        })
        .await;
    kit.enqueue(&jobs(0..60)).await;
    starts.reaches(2).await;
    eventually(SOON, async || node.held() == 52).await;

    let stopping = tokio::spawn(node.stop(SOON));
    // The epoch takes its time to hear of it; the handlers must not end before.
    tokio::time::sleep(Duration::from_millis(50)).await;
    release.add_permits(60);
    stopping.await.unwrap();

    assert_eq!(starts.entries().len(), 2);
    assert_eq!(kit.effects().await.len(), 2);
    assert_eq!(kit.count(UNHARMED).await, 58);
    assert_eq!(kit.count("select count(*) from queue.workers").await, 0);
}

#[tokio::test]
async fn what_outlives_the_deadline_is_dropped_uncharged() {
    let kit = Kit::fresh().await;
    let starts = Journal::default();
    let noted = starts.clone();
    let node = kit
        .node()
        .start(move |n, _| {
            noted.note(n);
            std::future::pending()
        })
        .await;
    kit.enqueue(&jobs(0..30)).await;
    starts.reaches(8).await;

    let began = Instant::now();
    node.stop(Duration::from_millis(300)).await;

    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(kit.count(UNHARMED).await, 30);
    let _next = kit.node().start(async |n, _| written(n)).await;
    kit.idle().await;
    assert_eq!(kit.effects().await.len(), 30);
}

/// Where an unknown first attempt must never be repeated unasked, being dropped counts.
#[tokio::test]
async fn a_careful_job_that_is_dropped_counts_as_failed() {
    let kit = Kit::fresh().await;
    let starts = Journal::default();
    let noted = starts.clone();
    let node = kit
        .node()
        .queue(QUEUE, Limits::careful(2))
        .start(move |n, _| {
            noted.note(n);
            std::future::pending()
        })
        .await;
    kit.enqueue(&jobs(0..5)).await;
    starts.reaches(2).await;

    node.stop(Duration::from_millis(100)).await;

    let failed = "select count(*) from queue.jobs where state = 'available' and failures = 1
                  and errors -> -1 ->> 'error' like 'dropped%'";
    assert_eq!(kit.count(failed).await, 2);
    assert_eq!(kit.count(UNHARMED).await, 3);
}
