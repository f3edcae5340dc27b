//! How much and how fast: rates, times, sizes and connections, and what is said about them.

use std::time::{Duration, Instant};

use domain::Role;
use reqwest::Response;
use serde_json::json;
use testkit::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::SOON;
use crate::front::{ADMIN_KEY, Answer, Front};
use crate::socket::Socket;

/// Gets `path` as the admin, as a proxy would pass on a request from `client`.
async fn get_from(front: &Front, client: &str, credential: &str, path: &str) -> Response {
    let request = front
        .client
        .get(front.url(path))
        .bearer_auth(credential)
        .header("x-forwarded-for", client);
    request.send().await.unwrap()
}

fn header(response: &Response, name: &str) -> String {
    let value = response.headers().get(name);
    value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
}

/// Sends raw bytes on a connection of their own, and reads what is answered until it is closed.
async fn raw(front: &Front, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    // It may be refused before all was said.
    drop(stream.write_all(bytes).await);
    read(&mut stream).await
}

async fn read(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // A reset after the answer does not undo it.
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_caller_has_a_burst_is_told_how_it_stands_and_then_when_to_come_again() {
    let front = Front::start_with(|config| {
        config.limits.requests_per_second = Some(1);
        config.limits.burst = Some(3);
    })
    .await;
    front.create_key("pr_other", "default", &[Role::Read]).await;
    let get = |key| {
        front
            .client
            .get(front.url("/v1/notifications"))
            .bearer_auth(key)
            .send()
    };

    for left in ["r=2;t=1", "r=1;t=2", "r=0;t=3"] {
        let response = get(ADMIN_KEY).await.unwrap();
        assert_eq!(header(&response, "ratelimit-policy"), "\"caller\";q=3;w=3");
        assert_eq!(header(&response, "ratelimit"), format!("\"caller\";{left}"));
        assert_eq!(response.status(), 200);
    }
    let response = get(ADMIN_KEY).await.unwrap();

    assert_eq!(header(&response, "ratelimit"), "\"caller\";r=0;t=3");
    let refused = Answer::of(response).await;
    refused.expect_problem(429);
    assert_eq!(refused.retry_after.as_deref(), Some("1"));
    assert_eq!(
        get("pr_other").await.unwrap().status(),
        200,
        "another caller"
    );
    eventually(SOON, async || get(ADMIN_KEY).await.unwrap().status() == 200).await;
    let metrics = front.get("/metrics").await.text;
    assert!(metrics.contains("postrider_http_refused_total{reason=\"caller_rate\"}"));
    assert!(!metrics.contains("postrider_http_refused_total{reason=\"caller_rate\"} 0"));
}

#[tokio::test]
async fn without_limits_nothing_is_said_of_any() {
    let front = Front::start().await;

    let response = get_from(&front, "192.0.2.1", ADMIN_KEY, "/v1/notifications").await;

    assert_eq!(header(&response, "ratelimit"), "");
    assert_eq!(header(&response, "ratelimit-policy"), "");
}

#[tokio::test]
async fn an_address_is_limited_whoever_asks_and_is_the_clients_behind_a_trusted_proxy() {
    let front = Front::start_with(|config| {
        config.limits.requests_per_second_per_ip = Some(1);
        config.limits.burst_per_ip = Some(2);
        config.http.trusted_proxies = vec!["127.0.0.0/8".to_owned()];
    })
    .await;

    for _ in 0..2 {
        let answer = get_from(&front, "6.6.6.6, 192.0.2.1", "", "/v1/notifications").await;
        assert_eq!(answer.status(), 401);
    }
    let refused = get_from(&front, "7.7.7.7, 192.0.2.1", ADMIN_KEY, "/v1/notifications").await;
    assert_eq!(header(&refused, "ratelimit"), "\"address\";r=0;t=2");
    Answer::of(refused).await.expect_problem(429);

    let other = get_from(&front, "192.0.2.2", ADMIN_KEY, "/v1/notifications").await;
    assert_eq!(other.status(), 200);
    for _ in 0..5 {
        let health = get_from(&front, "192.0.2.1", "", "/health").await;
        assert_eq!(health.status(), 200, "a balancer asks as often as it likes");
    }
}

#[tokio::test]
async fn what_an_untrusted_peer_says_of_its_client_is_not_believed() {
    let front = Front::start_with(|config| {
        config.limits.requests_per_second_per_ip = Some(1);
    })
    .await;

    let first = get_from(&front, "192.0.2.1", ADMIN_KEY, "/v1/notifications").await;
    let second = get_from(&front, "192.0.2.2", ADMIN_KEY, "/v1/notifications").await;

    assert_eq!(
        (first.status().as_u16(), second.status().as_u16()),
        (200, 429)
    );
}

#[tokio::test]
async fn after_too_many_bad_credentials_an_address_may_only_come_with_one_that_is_known() {
    let front = Front::start_with(|config| {
        config.limits.failures_per_minute_per_ip = Some(3);
        config.http.trusted_proxies = vec!["127.0.0.1".to_owned()];
    })
    .await;
    let get =
        async |client: &str, key: &str| get_from(&front, client, key, "/v1/notifications").await;
    assert_eq!(get("192.0.2.1", ADMIN_KEY).await.status(), 200);

    for guess in ["pr_1", "pr_2", "a.b.c"] {
        assert_eq!(get("192.0.2.1", guess).await.status(), 401);
    }
    let refused = Answer::of(get("192.0.2.1", "pr_3").await).await;

    refused.expect_problem(429);
    let wait: u64 = refused.retry_after.unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    assert_eq!(get("192.0.2.1", ADMIN_KEY).await.status(), 200);
    assert_eq!(
        get("192.0.2.2", "pr_3").await.status(),
        401,
        "another address"
    );
}

#[tokio::test]
async fn a_handler_that_takes_too_long_is_503_and_what_was_handed_in_stays() {
    let front = Front::start_with(|config| {
        config.http.body_timeout = Duration::from_millis(200);
        config.http.request_timeout = Duration::from_millis(500);
    })
    .await;
    let mut locked = front.store.pool().begin().await.unwrap();
    sqlx::query("lock table events in access exclusive mode")
        .execute(&mut *locked)
        .await
        .unwrap();

    let answer = front
        .post("/v1/events", json!({"type": "a", "payload": {}}))
        .await;

    answer.expect_problem(503);
    assert_eq!(answer.json()["type"], "urn:postrider:problem:timed-out");
    assert!(answer.retry_after.is_some());
    locked.rollback().await.unwrap();
    eventually(SOON, async || front.count("events").await == 1).await;
}

#[tokio::test]
async fn headers_and_paths_over_their_limits_are_refused_by_name() {
    let front = Front::start().await;
    let asked = |headers: &str, path: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n")
    };
    let many = "x-one-of-many: 1\r\n".repeat(92);
    let large = format!("x-large: {}\r\n", "x".repeat(17_000));
    let long = format!("/v1/notifications?cursor={}", "x".repeat(9_000));

    for (request, status, kind) in [
        (
            asked(&many, "/v1/notifications"),
            "431",
            "headers-too-large",
        ),
        (
            asked(&large, "/v1/notifications"),
            "431",
            "headers-too-large",
        ),
        (asked("", &long), "414", "uri-too-long"),
    ] {
        let answer = raw(&front, request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains("application/problem+json"), "{answer}");
        assert!(answer.contains(kind), "{answer}");
    }
    let huge = format!("x-huge: {}\r\n", "x".repeat(100_000));
    let answer = raw(&front, asked(&huge, "/v1/notifications").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up_long_before_its_time_is_over() {
    let front = Front::start_with(|config| {
        config.http.body_timeout = Duration::from_secs(12);
    })
    .await;
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN_KEY}\r\n\
         content-type: application/json\r\ncontent-length: 500000\r\n\r\n{{"
    );
    let began = Instant::now();

    let answer = raw(&front, head.as_bytes()).await;

    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_a_closed_one_makes_room() {
    for is_per_ip in [false, true] {
        let front = Front::start_with(|config| {
            if is_per_ip {
                config.http.connections_per_ip_max = 2;
            } else {
                config.http.connections_max = 2;
            }
        })
        .await;
        // A socket of the feed stays a connection after its upgrade.
        let mut socket = Socket::open(&front, "u1", "").await;
        socket.hear().await;
        let idle = TcpStream::connect(front.address).await.unwrap();
        let asked = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

        let answer = raw(&front, asked).await;

        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
        assert!(answer.contains("retry-after: "), "{answer}");
        drop(idle);
        eventually(SOON, async || {
            raw(&front, asked).await.starts_with("HTTP/1.1 200 ")
        })
        .await;
    }
}

#[tokio::test]
async fn large_bodies_wait_for_room_and_get_503_while_small_ones_pass() {
    let front = Front::start_with(|config| {
        config.http.body_bytes_at_once = 1024 * 1024;
    })
    .await;
    let mut holder = TcpStream::connect(front.address).await.unwrap();
    let head = format!(
        "POST /v1/events/batch HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN_KEY}\r\n\
         content-type: application/json\r\ncontent-length: 900000\r\n\r\n"
    );
    holder.write_all(head.as_bytes()).await.unwrap();
    let padding = "x".repeat(800_000);
    let large = json!({"events": [{"type": "a", "payload": {"padding": padding}}]});

    let crowded = async || front.post("/v1/events/batch", large.clone()).await;
    // Until the holder's head has been read there is room.
    eventually(SOON, async || crowded().await.status == 503).await;
    let small = front
        .post("/v1/events", json!({"type": "a", "payload": {}}))
        .await;

    small.expect(202);
    drop(holder);
    eventually(SOON, async || crowded().await.status == 202).await;
}
