//! What others wrote stays text, and what a browser is made to ask is refused politely.

use std::time::Duration;

use tokio::time::timeout;

use super::{Visitor, headers::PATHS, insert_dead_letter};
use crate::SOON;
use crate::front::Front;

/// What a page must never contain as it is.
const HOSTILE: &str = r#"'"><img src=x onerror=alert(1)><script>alert(2)</script>{{7*7}}&amp;"#;

/// Every text that a page shows is hostile here.
async fn front_with_hostile_rows() -> Front {
    let front = Front::start().await;
    insert_dead_letter(&front, HOSTILE).await;
    for statement in [
        "update queue.dead_letters set reason = $1, kind = $1,
             payload = jsonb_build_object($1::text, $1::text)",
        "insert into queue.workers (epoch, locked, pid, node, queues)
             values (gen_random_uuid(), true, 7, $1, array['email', $1])",
        "insert into queue.queues (queue, paused_at) values ('email', now()), ($1, now())",
        "insert into queue.jobs (job_id, queue, kind, payload)
             values (gen_random_uuid(), $1, 'noop', '{}')",
        "insert into audit (audit_id, at, tenant_id, actor, action, subject, detail) values
             ('0199e0b2-7c6f-7c3a-9c1e-5d2f0a4b6c8d', now(), 'default', $1, 'queue.paused',
              'email', jsonb_build_object('x', $1::text)),
             ('0199e0b2-7c6f-7c3a-9c1e-5d2f0a4b6c8e', now(), 'default', $1, $1, $1, null)",
        "insert into replays (replay_id, died_before, matched, actor, filter, tenant_id)
             values ('0199e0b2-7c6f-7c3a-9c1e-5d2f0a4b6c8f', now(), 1, $1, '{}', 'default')",
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(HOSTILE)
            .execute(front.store.pool())
            .await
            .unwrap();
    }
    front
}

#[tokio::test]
async fn what_others_wrote_stays_text_on_every_page() {
    let front = front_with_hostile_rows().await;
    let visitor = Visitor::admin(&front).await;
    let id: String = sqlx::query_scalar("select job_id::text from queue.dead_letters")
        .fetch_one(front.store.pool())
        .await
        .unwrap();
    let encoded: String = url::form_urlencoded::byte_serialize(HOSTILE.as_bytes()).collect();

    for path in [
        "/console".to_owned(),
        "/console/queues".to_owned(),
        "/console/dead-letters".to_owned(),
        format!("/console/dead-letters?kind={encoded}&error={encoded}"),
        format!("/console/dead-letters/{id}"),
        format!("/console/dead-letters/replay?id={id}"),
        format!("/console/dead-letters/replay?kind={encoded}"),
        "/console/replays/0199e0b2-7c6f-7c3a-9c1e-5d2f0a4b6c8f".to_owned(),
        "/console/audit".to_owned(),
        format!("/console/audit?actor={encoded}&action={encoded}&subject={encoded}"),
        format!("/console/sign-in?next={encoded}"),
    ] {
        let page = visitor.get(&path).await;
        if path.contains("sign-in") {
            assert_eq!(page.led_to(), "/console");
            continue;
        }
        let html = page.shown();
        assert!(html.contains("onerror=alert(1)"), "{path} shows it: {html}");
        assert!(!html.contains("<img"), "{path}: {html}");
        assert!(!html.contains("<script>"), "{path}: {html}");
        assert!(!html.contains(HOSTILE), "{path}: {html}");
    }
}

#[tokio::test]
async fn what_comes_live_stays_text_too() {
    let front = front_with_hostile_rows().await;
    let visitor = Visitor::admin(&front).await;

    for path in [
        "/console/live/overview",
        "/console/live/queues",
        "/console/live/replays/0199e0b2-7c6f-7c3a-9c1e-5d2f0a4b6c8f",
    ] {
        let text = read_stream(&visitor, path, "onerror=alert(1)").await;
        assert!(!text.contains("<img"), "{path}: {text}");
        assert!(!text.contains("<script>"), "{path}: {text}");
    }
}

/// Reads a stream until it has said `word`.
async fn read_stream(visitor: &Visitor<'_>, path: &str, word: &str) -> String {
    let request = visitor.request(reqwest::Method::GET, path);
    let mut response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    let reading = async {
        while !text.contains(word) {
            let more = response.chunk().await.unwrap().unwrap();
            text.push_str(&String::from_utf8_lossy(&more));
        }
    };
    timeout(SOON, reading).await.unwrap();
    text
}

#[tokio::test]
async fn a_hostile_address_gets_a_page_and_never_a_failure() {
    let front = front_with_hostile_rows().await;
    let visitor = Visitor::admin(&front).await;
    let long = "x".repeat(5000);
    let queries = [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "cursor=x",
        "cursor=%00",
        "since=yesterday",
        "until=%FF%FE",
        "queue=nowhere",
        "kind=%00",
        "error=%25%27%5c",
        "id=7",
        "rate=9999999999999999999",
        "paused=%3Cscript%3E",
        "&&&===%%%",
        &long,
        "actor=%00",
    ];

    for path in PATHS.into_iter().chain([
        "/console/dead-letters/replay",
        "/console/dead-letters/x",
        "/console/dead-letters/%00",
        "/console/replays/%FF",
        "/console/replays/0199e0b2-7c6f-7c3a-9c1e-5d2f0a4b6c8f",
        "/console/live/replays/x",
        "/console/assets/..%2F..%2Fetc%2Fpasswd",
    ]) {
        for query in queries {
            let page = visitor.get(&format!("{path}?{query}")).await;
            assert!(page.status.as_u16() < 500, "{path}?{query}: {page:?}");
            assert!(!page.text.contains("<script>"), "{path}?{query}: {page:?}");
        }
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_session_and_with_the_process() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    let request = visitor.request(reqwest::Method::GET, "/console/live/queues");
    let by_session = request.send().await.unwrap();
    let other = Visitor::admin(&front).await;
    let request = other.request(reqwest::Method::GET, "/console/live/queues");
    let by_process = request.send().await.unwrap();

    visitor
        .submit("/console", "/console/sign-out", &[])
        .await
        .led_to();
    let said = timeout(SOON, by_session.text()).await.unwrap().unwrap();
    assert!(said.contains("event: over"), "{said}");
    front.lifetime.stopping.cancel();

    let said = timeout(Duration::from_secs(5), by_process.text()).await;
    assert!(said.unwrap().unwrap().contains("event: part"));
}
