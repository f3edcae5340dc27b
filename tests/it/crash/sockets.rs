//! Ten thousand sockets come and go, and nothing is left of them.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::Utc;
use domain::{TenantId, UserId};
use futures_util::StreamExt;
use futures_util::future::join_all;
use postrider::api::token::issue_token;
use postrider::config::Secret;
use testkit::eventually;
use tokio_tungstenite::connect_async;

use super::cluster::Cluster;
use super::fleet::{API_KEY, JWT_SECRET, Role, free_address, healthy, migrate, serve};

/// Sockets open at once.
const WAVE: usize = 500;

/// Waves by which it is seen what the process has at rest: caches, pools and threads have what they
/// need then, and the allocator what it keeps back. The most of it counts: it differs by a tenth from
/// one wave to the next.
const WARM_UP: usize = 8;

/// Waves after that.
const WAVES: usize = 20;

/// How long the last of a wave may take to be gone.
const GONE_MAX: Duration = Duration::from_secs(30);

/// What a process has resident, in bytes.
fn resident(role: &Role) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", role.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kibibytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kibibytes.parse::<u64>().unwrap() * 1024
}

/// Opens a wave of sockets, each of a user of its own, hears their hello, and lets go of them: half
/// of them with a goodbye.
async fn wave(address: SocketAddr) {
    let opened = (0..WAVE).map(|number| async move {
        let user = UserId::from(format!("user-{number}"));
        let secret = Secret::new(JWT_SECRET);
        let hour = Duration::from_hours(1);
        let token = issue_token(&secret, &TenantId::default(), &user, Utc::now(), hour).unwrap();
        let url = format!("ws://{address}/v1/ws?token={token}");
        let (mut socket, _) = connect_async(url).await.unwrap();
        let hello = socket.next().await.unwrap().unwrap();
        assert!(hello.to_text().unwrap().contains("hello"));
        socket
    });
    for (number, mut socket) in join_all(opened).await.into_iter().enumerate() {
        if number % 2 == 0 {
            socket.close(None).await.unwrap();
        }
    }
}

/// Waits until the process serves no socket and no connection but the one that asks.
async fn all_gone(address: SocketAddr, client: &reqwest::Client) {
    let url = format!("http://{address}/metrics");
    eventually(GONE_MAX, async || {
        let asked = client.get(&url).bearer_auth(API_KEY).send().await.unwrap();
        let text = asked.text().await.unwrap();
        let has = |line: &str| text.lines().any(|each| each == line);
        has("notification_websocket_connections 0") && has("postrider_http_connections 1")
    })
    .await;
}

#[tokio::test]
async fn ten_thousand_sockets_come_and_go_and_leave_no_memory_and_no_connection() {
    let cluster = Cluster::start("sockets").await;
    let (url, dir, address) = (cluster.url(), cluster.dir(), free_address());
    migrate(url, dir).await;
    let mut front = serve(url, address, dir).started();
    healthy(address).await;
    let client = reqwest::Client::new();

    let mut before = 0;
    for _ in 0..WARM_UP {
        wave(address).await;
        all_gone(address, &client).await;
        before = before.max(resident(&front));
    }
    for _ in 0..WAVES {
        wave(address).await;
    }
    all_gone(address, &client).await;

    // Memory that was freed goes back to the system a moment later.
    let most = before + before / 10;
    eventually(GONE_MAX, async || resident(&front) <= most).await;
    front.assert_runs();
}
