//! Wake-ups shorten the wait, and nothing depends on them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use queue::{Bell, Database, JOBS_AVAILABLE, Listener, QueueConfig};
use sqlx::postgres::PgListener;
use testkit::eventually;
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::kit::{Kit, QUEUE, SOON, job, jobs, written};
use crate::nodes::TestNode;

/// Polls so seldom that only a wake-up finds a job within a test.
fn drowsy(config: &mut QueueConfig) {
    config.poll_min = Duration::from_hours(1);
    config.poll_max = Duration::from_hours(1);
}

/// A node without an open job, which has gone to sleep.
async fn asleep(kit: &Kit, bell: &Bell, heard: &broadcast::Sender<Arc<str>>) -> TestNode {
    kit.enqueue(&[job(0)]).await;
    let node = kit
        .node()
        .configured(drowsy)
        .wired(bell, heard)
        .start(async |n, _| written(n))
        .await;
    bell.ring(JOBS_AVAILABLE, QUEUE);
    kit.idle().await;
    node
}

/// What another process has: a bell of its own that carries as far as Postgres.
fn bell_elsewhere(kit: &Kit) -> (Bell, DropGuard) {
    let (bell, stop) = (Bell::new(), CancellationToken::new());
    let database = Database::parse(kit.database.url(), None, false).unwrap();
    tokio::spawn(bell.clone().run(database, stop.clone()));
    (bell, stop.drop_guard())
}

/// Listens, and passes on what is heard.
async fn listening(kit: &Kit) -> (broadcast::Sender<Arc<str>>, DropGuard) {
    let mut listener = Listener::new();
    let mut received = listener.subscribe(JOBS_AVAILABLE);
    let mut connected = listener.connected();
    let stop = CancellationToken::new();
    let database = Database::parse(kit.database.url(), None, false).unwrap();
    let listen_until = stop.clone();
    tokio::spawn(async move { listener.run(database, listen_until).await });
    connected.wait_for(|connected| *connected).await.unwrap();
    let heard = broadcast::Sender::new(64);
    let passing_on = heard.clone();
    tokio::spawn(async move {
        while let Ok(token) = received.recv().await {
            drop(passing_on.send(token));
        }
    });
    (heard, stop.drop_guard())
}

#[tokio::test]
async fn the_bell_of_this_process_wakes_without_a_detour() {
    let kit = Kit::fresh().await;
    let bell = Bell::new();
    let _node = asleep(&kit, &bell, &broadcast::Sender::new(1)).await;

    kit.enqueue(&jobs(1..10)).await;
    bell.ring(JOBS_AVAILABLE, QUEUE);
    kit.idle().await;

    assert_eq!(kit.effects().await.len(), 10);
}

#[tokio::test]
async fn the_bell_of_another_process_wakes_through_postgres() {
    let kit = Kit::fresh().await;
    let (heard, _listening) = listening(&kit).await;
    let _node = asleep(&kit, &Bell::new(), &heard).await;
    let (bell, _ringing) = bell_elsewhere(&kit);

    kit.enqueue(&jobs(1..10)).await;
    bell.ring(JOBS_AVAILABLE, QUEUE);
    kit.idle().await;

    assert_eq!(kit.effects().await.len(), 10);
}

/// What was rung while the listener was away is lost; it says so by telling everybody to look.
#[tokio::test]
async fn a_listener_that_was_cut_off_tells_everybody_to_look() {
    let kit = Kit::fresh().await;
    let (heard, _listening) = listening(&kit).await;
    let _node = asleep(&kit, &Bell::new(), &heard).await;

    kit.enqueue(&jobs(1..10)).await;
    assert_eq!(kit.terminate("LISTEN%").await, 1);
    kit.idle().await;

    assert_eq!(kit.effects().await.len(), 10);
}

#[tokio::test]
async fn a_job_nobody_rings_for_is_found_by_polling() {
    let kit = Kit::fresh().await;
    let _node = kit.node().start(async |n, _| written(n)).await;

    for n in 0..5 {
        kit.enqueue(&[job(n)]).await;
        kit.idle().await;
    }

    assert_eq!(kit.effects().await.len(), 5);
}

/// NOTIFY takes a lock that all commits of the server share: two thousand rings may not become two
/// thousand of them.
#[tokio::test]
async fn many_rings_become_few_notifications_and_none_is_lost() {
    let kit = Kit::fresh().await;
    let mut listener = PgListener::connect(kit.database.url()).await.unwrap();
    listener.listen(JOBS_AVAILABLE).await.unwrap();
    let (bell, _ringing) = bell_elsewhere(&kit);

    let began = Instant::now();
    for n in 0..2000 {
        bell.ring(JOBS_AVAILABLE, &format!("queue{n}"));
        if n % 20 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    let (mut notifications, mut tokens) = (0, BTreeSet::new());
    while tokens.len() < 2000 {
        let received = tokio::time::timeout(SOON, listener.recv()).await;
        let notification = received.expect("no token is lost").unwrap();
        notifications += 1;
        tokens.extend(notification.payload().split(',').map(str::to_owned));
    }

    // One in four milliseconds, and those that were under way.
    let most = began.elapsed().as_millis() / 4 + 4;
    assert!(notifications <= most, "{notifications}, at most {most}");
    eventually(SOON, async || tokens.len() == 2000).await;
}
