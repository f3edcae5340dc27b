//! What is logged tells nothing about anybody, least of all when things go wrong.
//!
//! Marked words go in wherever a stranger's data does, through everything that can become of them,
//! and must not be found where operators look.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::Utc;
use domain::{TenantId, UserId};
use postrider::api::token::issue_token;
use postrider::config::Secret;
use serde_json::{Value, json};
use sqlx::PgPool;
use testkit::eventually;

use super::books::count;
use super::cluster::Cluster;
use super::fleet::{JWT_SECRET, Role, free_address, healthy, migrate, serve, work};
use crate::socket::Socket;

const EMAIL: &str = "marked-email@example.org";
const PHONE: &str = "+4915550099887";
const TITLE: &str = "marked-title";
const CONTENT: &str = "marked-content";
const PAYLOAD: &str = "marked-payload";
const API_KEY: &str = "pr_marked-api-key";
const FORGED_KEY: &str = "pr_marked-forged-key";

/// What the tables refuse below, as they would a row that no check of ours foresees.
const REFUSED: &str = "marked-payload-refused-later";
const REFUSED_AT_ONCE: &str = "marked-payload-refused-at-once";

/// More than a message may have, less than a request may.
const TOO_LONG: usize = 600 * 1024;

/// How long everything may take to end, on a machine that does other things as well.
const DONE_MAX: Duration = Duration::from_mins(1);

/// A client that says marked words.
struct Stranger {
    http: reqwest::Client,
    url: String,
}

impl Stranger {
    async fn post_as(&self, credential: &str, path: &str, body: impl Into<reqwest::Body>) -> u16 {
        let request = self
            .http
            .post(format!("{}{path}", self.url))
            .bearer_auth(credential)
            .header("content-type", "application/json")
            .body(body);
        let answer = request.send().await.unwrap();
        answer.status().as_u16()
    }

    async fn post(&self, path: &str, body: Value) -> u16 {
        self.post_as(API_KEY, path, body.to_string()).await
    }

    async fn get_as(&self, credential: &str, path: &str) -> u16 {
        let request = self.http.get(format!("{}{path}", self.url));
        let answer = request.bearer_auth(credential).send().await.unwrap();
        answer.status().as_u16()
    }

    /// What is accepted; all of it ends, some of it badly.
    async fn send_what_is_accepted(&self) {
        let event = |payload: Value| json!({"type": "order.filled", "payload": payload});
        let too_long = PAYLOAD.repeat(TOO_LONG / PAYLOAD.len());
        for payload in [
            json!({"user_id": "u1", "symbol": PAYLOAD, PAYLOAD: EMAIL}),
            json!({"user_id": "u1", "symbol": too_long}),
            json!({"user_id": "u1", "symbol": REFUSED}),
            json!({"note": PAYLOAD}),
        ] {
            assert_eq!(self.post("/events", event(payload)).await, 202);
        }
        let sent = json!({
            "user_id": "u1", "channels": ["in_app", "email", "sms"], "subject": TITLE,
            "content": CONTENT, "data": {"email": EMAIL, "phone": PHONE, "note": PAYLOAD},
        });
        let bulk = json!({"notifications": [sent, {"content": CONTENT}]});
        for (path, body) in [("/notifications", sent), ("/notifications/bulk", bulk)] {
            assert_eq!(self.post(path, body).await, 202, "{path}");
        }
    }

    /// What is refused, each for another reason.
    async fn send_what_is_refused(&self) {
        let event = |payload: Value| json!({"type": "x", "payload": payload}).to_string();
        let deep = format!("{}\"{PAYLOAD}\"{}", "[".repeat(5000), "]".repeat(5000));
        let unknown_field = json!({"type": "x", "payload": {}, PAYLOAD: EMAIL});
        for (body, status) in [
            (format!("{{\"type\": \"{PAYLOAD}\""), 400),
            (format!("{{\"type\": \"x\", \"payload\": {deep}}}"), 400),
            (PAYLOAD.repeat(200_000), 413),
            (event(json!(PAYLOAD)), 422),
            (event(json!({"note": format!("{PAYLOAD}\0")})), 422),
            (unknown_field.to_string(), 422),
        ] {
            assert_eq!(self.post_as(API_KEY, "/events", body).await, status);
        }
        let wrong = json!({"user_id": "u1", "subject": format!("{TITLE}\nx"), "content": CONTENT,
            "channels": ["email"], "data": {"email": format!("{EMAIL}\n")}});
        assert_eq!(self.post("/notifications", wrong).await, 422);
        let at_once = json!({"type": "x", "payload": {"note": REFUSED_AT_ONCE}});
        assert_eq!(self.post("/events", at_once).await, 422);
    }

    /// Credentials where they do not open anything, and words where a number belongs.
    async fn knock(&self, good: &str, forged: &str) {
        for credential in [forged, FORGED_KEY] {
            assert_eq!(self.post_as(credential, "/events", "{}").await, 401);
            assert_eq!(self.get_as(credential, "/notifications").await, 401);
        }
        for path in [
            format!("/notifications?cursor={PAYLOAD}"),
            format!("/ws?token={good}"),
            format!("/ws?token={forged}"),
        ] {
            let status = self.get_as(good, &path).await;
            assert!((400..500).contains(&status), "{status}");
        }
    }
}

/// A token of `u1`, signed with `secret`.
fn token(secret: &str) -> String {
    let (tenant, user) = (TenantId::default(), UserId::from("u1"));
    let ttl = Duration::from_mins(10);
    issue_token(&Secret::new(secret), &tenant, &user, Utc::now(), ttl).unwrap()
}

/// The part of a token that makes it one.
fn signature_of(token: &str) -> &str {
    token.rsplit_once('.').unwrap().1
}

fn password_of(url: &str) -> &str {
    let (user, _) = url.rsplit_once('@').unwrap();
    user.rsplit_once(':').unwrap().1
}

/// Lets the tables refuse one event when it comes in, and one message when it is rendered.
async fn make_tables_picky(pool: &PgPool) {
    for statement in [
        format!("alter table deliveries add check (message::text not like '%{REFUSED}%')"),
        format!("alter table events add check (payload::text not like '%{REFUSED_AT_ONCE}%')"),
    ] {
        let statement = sqlx::AssertSqlSafe(statement);
        sqlx::raw_sql(statement).execute(pool).await.unwrap();
    }
}

/// What was logged and stored for operators.
async fn what_operators_see(pool: &PgPool, address: SocketAddr, roles: &[&Role]) -> Vec<String> {
    let metrics = reqwest::get(format!("http://{address}/metrics"))
        .await
        .unwrap();
    let dead: Vec<String> = sqlx::query_scalar("select dead::text from queue.dead_letters as dead")
        .fetch_all(pool)
        .await
        .unwrap();
    let mut seen: Vec<String> = roles.iter().map(|role| role.logged()).collect();
    seen.push(metrics.text().await.unwrap());
    seen.extend(dead);
    seen
}

#[tokio::test]
async fn no_log_metric_or_dead_letter_tells_anything_about_anybody() {
    let mut cluster = Cluster::start("leak").await;
    let (url, dir, address) = (cluster.url().to_owned(), cluster.dir(), free_address());
    migrate(&url, dir).await;
    let pool = cluster.pool().await;
    make_tables_picky(&pool).await;
    let talkative = |role: Role| {
        role.set("POSTRIDER__LOG__FILTER", "debug")
            .set("POSTRIDER_BOOTSTRAP_API_KEY", API_KEY)
            .started()
    };
    let mut serve = talkative(serve(&url, address, dir));
    // Logs for programs and logs for people are written by different code.
    let mut work = talkative(work("work", &url, dir).set("POSTRIDER__LOG__FORMAT", "human"));
    healthy(address).await;
    let stranger = Stranger {
        http: reqwest::Client::new(),
        url: format!("http://{address}/v1"),
    };
    let (good, forged) = (token(JWT_SECRET), token("somebody else's secret"));

    let feed = format!("ws://{address}/v1/ws");
    let mut socket = Socket::open_at(&feed, &good).await;
    assert_eq!(socket.hear().await["type"], "hello");
    stranger.send_what_is_accepted().await;
    stranger.send_what_is_refused().await;
    stranger.knock(&good, &forged).await;
    socket.say(json!({"type": PAYLOAD})).await;
    // Errors of the database carry statements; there are most of them when it dies.
    let dying = async {
        cluster.stop_at_once().await;
        cluster.start_again().await;
    };
    let sent = json!({"type": "x", "payload": {"user_id": "u1", "note": PAYLOAD}});
    let (answer, ()) = tokio::join!(stranger.post("/events", sent), dying);
    assert!(matches!(answer, 202 | 503), "{answer}");
    eventually(DONE_MAX, async || {
        count(&pool, "select count(*) from queue.jobs").await == 0
    })
    .await;

    let seen = what_operators_see(&pool, address, &[&serve, &work]).await;
    serve.assert_runs();
    work.assert_runs();
    // The search would find nothing either if nothing had happened.
    for happened in ["DEBUG", "settlement refused", "refused by", "no_provider"] {
        let has_happened = seen.iter().any(|text| text.contains(happened));
        assert!(has_happened, "{happened}");
    }
    let stated = [EMAIL, PHONE, TITLE, CONTENT, PAYLOAD];
    let secret = [API_KEY, FORGED_KEY, JWT_SECRET, password_of(&url)];
    let signatures = [signature_of(&good), signature_of(&forged)];
    for mark in stated.into_iter().chain(secret).chain(signatures) {
        for line in seen.iter().flat_map(|text| text.lines()) {
            assert!(!line.contains(mark), "`{mark}` is in: {line}");
        }
    }
}
