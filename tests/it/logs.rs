//! What is logged: one line for each turn in a delivery's life, and nothing that is anybody's
//! business.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{TestDatabase, eventually};

use crate::SOON;
use crate::crash::fleet::{API_KEY, JWT_SECRET, Role, free_addresses, healthy, serve, work};
use crate::far_side::{FarSide, Reply};
use crate::mail::MailServer;

/// In every address, content, subject and value that is sent through.
const MARK: &str = "xyzzy";

const MOVED: &str = "delivery moved";

/// A deployment of two processes that log all they can, and the far side of its channels.
struct Deployment {
    url: String,
    /// Where the workers are watched.
    watched: SocketAddr,
    serve: Role,
    work: Role,
    mail: MailServer,
    hook: FarSide,
    pool: sqlx::PgPool,
    _folder: TempDir,
    _database: TestDatabase,
}

impl Deployment {
    async fn start() -> Self {
        let database = TestDatabase::create().await;
        let folder = TempDir::new().unwrap();
        let [address, watched] = free_addresses();
        let mail = MailServer::start().await;
        let refusal = Reply::Status(400, "", "xyzzy of xyzzy@example.com is refused");
        let hook = FarSide::start(&[], refusal).await;
        let serve = serve(database.url(), address, folder.path())
            .set("POSTRIDER__LOG__FILTER", "trace")
            .started();
        let work = work("work", database.url(), folder.path())
            .set("POSTRIDER__LOG__FILTER", "trace")
            .set("SMTP_URL", &format!("smtp://127.0.0.1:{}", mail.port))
            .set("POSTRIDER__WEBHOOK__ALLOW_CIDRS", "127.0.0.0/8")
            .set("POSTRIDER__WORK__OUTBOX", "true")
            .set("POSTRIDER__WORK__METRICS_LISTEN", &watched.to_string())
            .started();
        healthy(address).await;
        Self {
            url: format!("http://{address}/v1"),
            watched,
            serve,
            work,
            mail,
            hook,
            pool: sqlx::PgPool::connect(database.url()).await.unwrap(),
            _folder: folder,
            _database: database,
        }
    }

    async fn post(&self, path: &str, body: Value) -> StatusCode {
        let request = reqwest::Client::new()
            .post(format!("{}{path}", self.url))
            .bearer_auth(API_KEY)
            .json(&body);
        request.send().await.unwrap().status()
    }

    async fn send(&self, channel: &str, address: Value) {
        let body = json!({
            "user_id": format!("user-{channel}"), "channels": [channel],
            "subject": format!("{MARK} in the subject"), "content": format!("{MARK} inside"),
            "data": address,
        });
        assert_eq!(self.post("/notifications", body).await, 202);
    }

    /// Statuses by delivery.
    async fn statuses(&self) -> BTreeMap<String, String> {
        sqlx::query_as("select id::text, status from deliveries")
            .fetch_all(&self.pool)
            .await
            .unwrap()
            .into_iter()
            .collect()
    }
}

#[tokio::test]
async fn every_turn_of_a_delivery_is_one_line_and_no_line_tells_on_anybody() {
    let house = Deployment::start().await;
    house
        .send("email", json!({"email": format!("{MARK}@example.com")}))
        .await;
    house
        .send(
            "email",
            json!({"email": format!("nobody.{MARK}@example.com")}),
        )
        .await;
    house
        .send(
            "webhook",
            json!({"webhook": format!("{}/{MARK}", house.hook.url())}),
        )
        .await;
    house
        .send("sms", json!({"phone": "+15550123456", "about": MARK}))
        .await;
    house.send("in_app", json!({"about": MARK})).await;
    let event = json!({"type": "order.filled", "payload": {"user_id": "u", "symbol": MARK}});
    assert_eq!(house.post("/events", event).await, 202);
    let bad = json!({"user_id": "u", "channels": ["email"], "content": MARK,
                     "data": {"email": format!("{MARK} {MARK}")}});
    assert_eq!(house.post("/notifications", bad).await, 422);

    eventually(SOON, async || {
        let statuses = house.statuses().await;
        let is_over = |status: &String| ["sent", "delivered", "failed"].contains(&status.as_str());
        // A line is written once its turn is committed.
        let told = house.work.logged().matches(MOVED).count();
        statuses.len() == 6 && statuses.values().all(is_over) && told >= 6
    })
    .await;

    let statuses = house.statuses().await;
    let mut words: Vec<&str> = statuses.values().map(String::as_str).collect();
    words.sort_unstable();
    assert_eq!(
        words,
        ["delivered", "delivered", "failed", "failed", "sent", "sent"]
    );
    let lines: Vec<Value> = house
        .work
        .logged()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        lines.iter().filter(|line| line["message"] == MOVED).count(),
        6
    );
    for (id, status) in &statuses {
        let told: Vec<&Value> = lines
            .iter()
            .filter(|line| line["message"] == MOVED && line["delivery.id"] == **id)
            .collect();
        assert_eq!(told.len(), 1, "{id} is {status}: {told:?}");
        assert_eq!(
            (&told[0]["status"], &told[0]["level"]),
            (&json!(status), &json!("INFO"))
        );
        assert!(told[0]["channel"].is_string() && told[0]["notification.id"].is_string());
    }
    assert_eq!(house.mail.taken().len(), 1);
    for logged in [house.work.logged(), house.serve.logged()] {
        let hook = house.hook.url();
        let host = hook.split('/').nth(2).unwrap();
        for secret in [MARK, "15550123456", API_KEY, JWT_SECRET, host] {
            let told = logged.lines().find(|line| line.contains(secret));
            assert_eq!(told, None, "{secret}");
        }
    }
}

/// What a caller sends that is nobody else's business, each with the mark in it.
fn marked_requests(url: &str) -> Vec<reqwest::RequestBuilder> {
    let client = reqwest::Client::new();
    let claims = json!({"sub": MARK, "exp": 4_000_000_000_u64, "tenant": MARK});
    let header = jsonwebtoken::Header {
        kid: Some(MARK.to_owned()),
        ..jsonwebtoken::Header::default()
    };
    let key = jsonwebtoken::EncodingKey::from_secret(b"another secret");
    let forged = jsonwebtoken::encode(&header, &claims, &key).unwrap();
    let get = |path: &str| client.get(format!("{url}{path}"));
    vec![
        get("/notifications").bearer_auth(format!("pr_{MARK}")),
        get("/notifications").header("x-api-key", MARK),
        get("/notifications").header("authorization", format!("Basic {MARK}")),
        get("/notifications").bearer_auth(&forged),
        get(&format!("/notifications?user_id={MARK}&cursor={MARK}")).bearer_auth(API_KEY),
        get(&format!("/{MARK}/{MARK}?{MARK}={MARK}")).bearer_auth(API_KEY),
        get(&format!("/ws?token={MARK}.{MARK}.{MARK}"))
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        get("/notifications")
            .bearer_auth(API_KEY)
            .header("cookie", MARK)
            .header("user-agent", MARK)
            .header("referer", format!("https://{MARK}.example/"))
            .header("x-forwarded-for", MARK)
            .header(format!("x-{MARK}"), MARK),
        client
            .post(format!("{url}/events"))
            .bearer_auth(API_KEY)
            .header("idempotency-key", MARK)
            .json(&json!({"type": MARK, "payload": {MARK: MARK}, "event_id": MARK})),
        client
            .post(format!("{url}/events"))
            .bearer_auth(API_KEY)
            .json(&json!({"type": "a", "payload": {}, MARK: MARK})),
        client
            .post(format!("{url}/admin/keys"))
            .bearer_auth(API_KEY)
            .json(&json!({"name": MARK, "roles": ["read"]})),
    ]
}

#[tokio::test]
async fn what_one_caller_sends_is_in_no_log_no_metric_and_no_answer_to_another() {
    let house = Deployment::start().await;
    let mut secrets = vec![MARK.to_owned(), API_KEY.to_owned(), JWT_SECRET.to_owned()];
    for request in marked_requests(&house.url) {
        let answer = request.send().await.unwrap();
        assert_ne!(answer.status().as_u16() / 100, 5);
        if answer.status() == StatusCode::CREATED {
            let made: Value = answer.json().await.unwrap();
            secrets.push(made["key"].as_str().unwrap().to_owned());
        }
    }
    // The event has been worked on, whatever became of it.
    eventually(SOON, async || {
        let open: i64 = sqlx::query_scalar("select count(*) from queue.jobs")
            .fetch_one(&house.pool)
            .await
            .unwrap();
        open == 0
    })
    .await;
    let client = reqwest::Client::new();
    let host = house.url.trim_end_matches("/v1");
    let mut told = vec![house.work.logged(), house.serve.logged()];
    for (url, key) in [
        (format!("{}/notifications", house.url), "pr_other"),
        (format!("{}/notifications?limit=0", house.url), API_KEY),
        (format!("{}/nowhere", house.url), API_KEY),
        (format!("{host}/metrics"), ""),
        (format!("{host}/health/detailed"), ""),
        (format!("http://{}/metrics", house.watched), ""),
        (format!("http://{}/health/detailed", house.watched), ""),
    ] {
        let answer = client.get(url).bearer_auth(key).send().await.unwrap();
        told.push(answer.text().await.unwrap());
    }

    for secret in &secrets {
        for text in &told {
            let line = text.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(line, None, "{secret}");
        }
    }
}

#[tokio::test]
async fn away_from_a_terminal_every_line_is_one_json_object() {
    let database = TestDatabase::create().await;
    let folder = TempDir::new().unwrap();
    let [address, _] = free_addresses();
    let serve = serve(database.url(), address, folder.path())
        .set("POSTRIDER__LOG__FORMAT", "auto")
        .started();
    healthy(address).await;

    eventually(SOON, async || serve.logged().contains("serving")).await;
    for line in serve.logged().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(
            line["message"].is_string() && line["level"].is_string(),
            "{line}"
        );
    }
}
