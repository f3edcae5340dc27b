//! Stopping `up` in the middle of its work, as a person or a supervisor does.

use std::net::SocketAddr;
use std::time::Duration;

use sqlx::PgPool;
use testkit::eventually;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::crash::books::{all_delivered, assert_balanced, count};
use crate::crash::cluster::{Cluster, Scratch, pool};
use crate::crash::fleet::{API_KEY, Role, free_address, healthy};
use crate::crash::load::Load;

/// What is promised of the first signal.
const STOP_MAX: Duration = Duration::from_secs(10);

/// How long it may take to get going, on a machine that does other things as well.
const BUSY_MAX: Duration = Duration::from_secs(30);

/// Far below the grace that the first signal leaves.
const AT_ONCE: Duration = Duration::from_secs(3);

/// `up` on `address`, with its data in `scratch`; not started yet.
fn up(scratch: &Scratch, address: SocketAddr) -> Role {
    let dir = scratch.path();
    let (listen, data_dir) = (address.to_string(), dir.to_str().unwrap());
    let arguments = ["up", "--listen", &listen, "--data-dir", data_dir];
    Role::new("up", &arguments, dir)
}

/// Waits for an exit with 0 after `signal`.
async fn stops_well(up: &mut Role, signal: &str) {
    up.signal(signal).await;
    assert_eq!(up.ended(STOP_MAX).await.code(), Some(0));
}

/// The database of a running `up`.
async fn database_of(scratch: &Scratch) -> PgPool {
    let url = std::fs::read_to_string(scratch.path().join("database_url")).unwrap();
    pool(url.trim()).await
}

/// Waits until things are delivered and more is to come.
async fn is_at_work(scratch: &Scratch) {
    let pool = database_of(scratch).await;
    eventually(BUSY_MAX, async || {
        count(&pool, "select count(*) from inbox").await >= 200
    })
    .await;
    pool.close().await;
}

/// The tables of an `up` that has stopped: work was left, and all of it as if never touched.
async fn assert_given_back(cluster: &Cluster, accepted: usize) {
    let pool = cluster.pool().await;
    assert!(count(&pool, "select count(*) from events").await >= accepted as i64);
    assert!(count(&pool, "select count(*) from queue.jobs").await > 0);
    let touched = "select count(*) from queue.jobs
         where state = 'running' or failures > 0 or crashes > 0 or errors is not null";
    assert_eq!(
        count(&pool, touched).await,
        0,
        "jobs charged or not given back"
    );
    for table in ["queue.workers", "queue.dead_letters"] {
        let rows = count(&pool, &format!("select count(*) from {table}")).await;
        assert_eq!(rows, 0, "rows of {table}");
    }
    pool.close().await;
}

/// Stops under load, looks at what is left, and starts again on the same data.
async fn loses_nothing(name: &str, signal: &str) {
    let scratch = Scratch::new(name);
    let address = free_address();
    let mut first = up(&scratch, address).started();
    healthy(address).await;
    let load = Load {
        events: 5000,
        users: 13,
        pace: Duration::ZERO,
    };
    let mut sending = load.start(address);
    is_at_work(&scratch).await;

    stops_well(&mut first, signal).await;
    let cluster = Cluster::start_in(scratch).await;
    assert_given_back(&cluster, sending.accepted()).await;
    let scratch = cluster.stop().await;

    let mut second = up(&scratch, address).started();
    sending.finish().await;
    let pool = database_of(&scratch).await;
    all_delivered(&pool, sending.load()).await;
    assert_balanced(&pool, sending.load()).await;
    pool.close().await;
    stops_well(&mut second, signal).await;
}

#[tokio::test]
async fn ctrl_c_under_load_loses_nothing_and_charges_no_attempt() {
    loses_nothing("interrupt", "INT").await;
}

#[tokio::test]
async fn a_supervisor_that_terminates_it_is_served_the_same() {
    loses_nothing("terminate", "TERM").await;
}

/// A request that never ends would hold up the stop for the whole grace.
#[tokio::test]
async fn a_second_signal_exits_at_once() {
    let scratch = Scratch::new("second-signal");
    let address = free_address();
    let mut up = up(&scratch, address)
        .set("POSTRIDER__SHUTDOWN__GRACE", "60s")
        .started();
    healthy(address).await;
    let mut request = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {API_KEY}\r\n\
         content-type: application/json\r\ncontent-length: 1000\r\n\r\n"
    );
    request.write_all(head.as_bytes()).await.unwrap();
    // The head has been read once a second request on another connection is through.
    healthy(address).await;

    up.signal("INT").await;
    eventually(STOP_MAX, async || {
        TcpStream::connect(address).await.is_err()
    })
    .await;
    // A moment after the first it is taken for its echo, so it is sent until it counts.
    let status = eventually(AT_ONCE, async || {
        let ended = up.has_ended();
        if ended.is_none() {
            up.signal("INT").await;
        }
        ended
    })
    .await;

    assert_eq!(status.code(), Some(130));
}
