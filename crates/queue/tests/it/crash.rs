//! The promise of the README, with the timing of production: a killed node's jobs run elsewhere
//! within five seconds.

use std::time::{Duration, Instant};

use queue::QueueConfig;

use crate::kit::{Journal, Kit, jobs, written};

#[tokio::test]
async fn a_killed_node_is_replaced_within_five_seconds() {
    let kit = Kit::fresh().await;
    let node = || {
        kit.node()
            .configured(|config| *config = QueueConfig::default())
    };
    let started = Journal::default();
    let noted = started.clone();
    let doomed = node()
        .start_mortal(move |n, _| {
            noted.note(n);
            std::future::pending()
        })
        .await;
    kit.enqueue(&jobs(0..20)).await;
    started.reaches(8).await;
    let restarted = Journal::default();
    let noted = restarted.clone();
    let _survivor = node()
        .start(move |n, _| {
            noted.note(n);
            async move { written(n) }
        })
        .await;

    doomed.kill();
    let killed = Instant::now();
    restarted.reaches(20).await;

    let elapsed = killed.elapsed();
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
}
