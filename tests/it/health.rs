//! What a process says of its health, shortly and at length, and while it stops.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{TestDatabase, eventually};

use crate::SOON;
use crate::crash::fleet::{
    API_KEY, JWT_SECRET, free_address, free_addresses, healthy, serve, work,
};
use crate::front::{Answer, Front};
use crate::house::House;
use crate::intake::{server_address, through_proxy, use_proxy};

async fn open(front: &Front, path: &str) -> Answer {
    Answer::of(front.client.get(front.url(path)).send().await.unwrap()).await
}

#[tokio::test]
async fn each_part_is_told_of_and_a_whole_house_is_ok() {
    let house = House::with_outbox().await;
    let id = house
        .send(json!({"user_id": "u1", "channels": ["in_app"], "content": "c"}))
        .await;
    house.comes_to(&id, "delivered").await;

    eventually(SOON, async || {
        open(&house.front, "/health/detailed").await.json()["status"] == "ok"
    })
    .await;
    let report = open(&house.front, "/health/detailed").await.expect(200);

    assert!(report["database"]["latency_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(report["database"]["migrations_missing"], 0);
    assert_eq!(report["wake_ups"]["listening"], true);
    let node = &report["workers"]["nodes"][0];
    assert!(node["queues"].as_array().unwrap().contains(&json!("email")));
    assert!(node["heartbeat_age_seconds"].as_f64().unwrap() < 10.0);
    assert_eq!(report["channels"]["in_app"], json!({"provider": "feed"}));
    assert_eq!(report["channels"]["voice"], json!({"provider": null}));
}

#[tokio::test]
async fn work_that_waits_for_nobody_is_degraded_and_named() {
    let front = Front::start().await;
    front
        .post(
            "/v1/events",
            json!({"type": "a", "payload": {"user_id": "u1"}}),
        )
        .await
        .expect(202);

    // A report is a second old at most.
    eventually(SOON, async || {
        let report = open(&front, "/health/detailed").await.expect(200);
        report["workers"]["unserved"] == json!(["route"])
    })
    .await;
    let report = open(&front, "/health/detailed").await.expect(200);
    assert_eq!(report["status"], "degraded");
    let route: Vec<&Value> = report["queues"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&route[0]["queue"], &route[0]["available"]),
        (&json!("route"), &json!(1))
    );
}

#[tokio::test]
async fn without_postgres_it_is_down_and_says_so_in_time() {
    let server = server_address();
    let proxy = through_proxy(&server).await;
    let front = Front::start_with(|config| use_proxy(config, &proxy)).await;
    open(&front, "/health").await.expect(200);

    proxy.cut();

    eventually(SOON, async || {
        open(&front, "/health/detailed").await.status == 503
    })
    .await;
    let report = open(&front, "/health/detailed").await;
    assert_eq!(report.json()["database"]["status"], "down");
    open(&front, "/health").await.expect_problem(503);
}

#[tokio::test]
async fn a_process_that_stops_is_not_ready_while_it_still_answers() {
    let front = Front::start().await;

    front.lifetime.draining.cancel();

    open(&front, "/health").await.expect_problem(503);
    let report = open(&front, "/health/detailed").await;
    assert_eq!(
        (report.status.as_u16(), &report.json()["stopping"]),
        (503, &json!(true))
    );
    front
        .post("/v1/events", json!({"type": "a", "payload": {}}))
        .await
        .expect(202);
}

#[tokio::test]
async fn sigterm_is_announced_for_as_long_as_is_configured_before_the_door_closes() {
    let database = TestDatabase::create().await;
    let folder = TempDir::new().unwrap();
    let address = free_address();
    let mut role = serve(database.url(), address, folder.path())
        .set("POSTRIDER__SHUTDOWN__DRAIN", "2s")
        .started();
    healthy(address).await;
    let client = reqwest::Client::new();
    let health = async || client.get(format!("http://{address}/health")).send().await;

    role.signal("TERM").await;

    eventually(SOON, async || {
        health().await.is_ok_and(|answer| answer.status() == 503)
    })
    .await;
    let posted = client
        .post(format!("http://{address}/v1/events"))
        .bearer_auth(API_KEY)
        .json(&json!({"type": "a", "payload": {}}));
    assert_eq!(posted.send().await.unwrap().status(), 202);
    assert!(role.ended(Duration::from_secs(10)).await.success());
}

#[tokio::test]
async fn a_process_that_only_works_answers_where_it_is_told_to_and_nowhere_else() {
    let database = TestDatabase::create().await;
    let folder = TempDir::new().unwrap();
    let [told, port] = free_addresses();
    let port = port.port();
    let _work = work("work", database.url(), folder.path())
        // Meant for the API, which may run beside it.
        .set("PORT", &port.to_string())
        .set("POSTRIDER__WORK__METRICS_LISTEN", &told.to_string())
        .started();
    healthy(told).await;
    let get = async |path: &str| reqwest::get(format!("http://{told}{path}")).await.unwrap();

    let report: Value = get("/health/detailed").await.json().await.unwrap();
    assert_eq!(report["database"]["status"], "ok");
    let problem = Answer::of(get("/v1/events").await).await;
    problem.expect_problem(404);
    assert!(std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok());
}

#[tokio::test]
async fn no_answer_about_health_names_a_host_or_a_secret() {
    let database = TestDatabase::create().await;
    let folder = TempDir::new().unwrap();
    let address = free_address();
    let _serve = serve(database.url(), address, folder.path())
        .set(
            "SMTP_URL",
            "smtp://ada:hush@mail.internal.example:2525?tls=none",
        )
        .set("WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        .started();
    healthy(address).await;

    let text = reqwest::get(format!("http://{address}/health/detailed"))
        .await
        .unwrap();
    let text = text.text().await.unwrap();

    let server = database
        .url()
        .split('@')
        .next_back()
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    for secret in [
        "hush",
        "ada",
        "mail.internal",
        "whsec_",
        API_KEY,
        JWT_SECRET,
        server,
    ] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["channels"]["email"], json!({"provider": "smtp"}));
}
