//! `postrider jobs`: one job shown wherever it is, and cancelled while it waits.

use std::time::Duration;

use queue::control::Cancelled;
use serde_json::{Value, json};
use sqlx::PgPool;
use testkit::{TestDatabase, eventually};

use crate::cli::{bury, run, stdout};
use crate::crash::cluster::Scratch;
use crate::crash::fleet::work;
use crate::front::Front;

/// How long a worker may take to get that far, on a machine that does other things as well.
const BUSY_MAX: Duration = Duration::from_secs(30);

async fn text(pool: &PgPool, statement: &'static str) -> Option<String> {
    sqlx::query_scalar(statement)
        .fetch_optional(pool)
        .await
        .unwrap()
}

async fn send(database: &TestDatabase) {
    stdout(
        &run(
            database,
            &["send", "--user", "u1", "--type", "order.filled"],
        )
        .await,
    );
}

async fn shown(database: &TestDatabase, id: &str) -> Value {
    let output = run(database, &["jobs", "show", id, "--json"]).await;
    serde_json::from_str(stdout(&output)).unwrap()
}

/// Runs a command that has to fail, and answers its one line.
async fn refused(database: &TestDatabase, arguments: &[&str]) -> String {
    let output = run(database, arguments).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

/// Lets a worker bring the delivery of one event up to its paused queue, and answers its job.
async fn waiting_delivery(database: &TestDatabase, pool: &PgPool, name: &str) -> String {
    stdout(&run(database, &["queues", "pause", "in_app"]).await);
    send(database).await;
    let scratch = Scratch::new(name);
    let mut worker = work("worker", database.url(), scratch.path()).started();
    let id = eventually(BUSY_MAX, async || {
        text(
            pool,
            "select job_id::text from queue.jobs where queue = 'in_app' and state = 'available'",
        )
        .await
    })
    .await;
    worker.signal("TERM").await;
    assert_eq!(worker.ended(BUSY_MAX).await.code(), Some(0));
    id
}

#[tokio::test]
async fn a_waiting_job_is_cancelled_with_its_delivery_and_leaves_a_trace() {
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    let id = waiting_delivery(&database, &pool, "jobs-cancel").await;
    assert_eq!(shown(&database, &id).await["state"], "available");

    stdout(&run(&database, &["jobs", "cancel", &id]).await);

    assert_eq!(
        text(&pool, "select job_id::text from queue.jobs").await,
        None
    );
    for statement in [
        "select status from deliveries",
        "select status from notifications",
    ] {
        let status = text(&pool, statement).await;
        assert_eq!(status.as_deref(), Some("cancelled"), "{statement}");
    }
    let step: Value = sqlx::query_scalar(
        "select steps -> -1 from traces join notifications on id = subject_id \
         order by at desc limit 1",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(
        (&step["step"], &step["decision"]),
        (&json!("deliver"), &json!("cancelled"))
    );
    assert_eq!(step["detail"]["channel"], "in_app");
    // The feed's numbers have no hole where it would have been.
    assert_eq!(text(&pool, "select seq::text from inbox_heads").await, None);

    for command in ["show", "cancel"] {
        let error = refused(&database, &["jobs", command, &id]).await;
        assert!(error.contains("leaves no row"), "{error}");
    }
}

#[tokio::test]
async fn an_event_that_is_cancelled_before_it_was_routed_says_so_in_its_trace() {
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    send(&database).await;
    let id = text(&pool, "select job_id::text from queue.jobs")
        .await
        .unwrap();

    let answer = run(&database, &["jobs", "cancel", &id, "--json"]).await;

    let answer: Value = serde_json::from_str(stdout(&answer)).unwrap();
    assert_eq!(answer, json!({"id": id, "status": "cancelled"}));
    let steps = "select steps::text from traces join events on id = subject_id";
    let steps = text(&pool, steps).await.unwrap();
    assert!(steps.contains("an operator cancelled the job"), "{steps}");
    assert_eq!(
        text(&pool, "select id::text from notifications").await,
        None
    );
}

/// What a running job sends cannot be taken back, so nothing is touched.
#[tokio::test]
async fn a_running_job_names_its_holder_and_is_not_cancelled() {
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    send(&database).await;
    let id = text(&pool, "select job_id::text from queue.jobs")
        .await
        .unwrap();
    sqlx::raw_sql(
        "insert into queue.workers (epoch, locked, pid, node, queues) \
         values ('00000000-0000-7000-8000-000000000001', true, 4711, 'mail-3', '{route}'); \
         update queue.jobs set state = 'running', attempt = 2, claimed_at = now(), \
             epoch = '00000000-0000-7000-8000-000000000001'",
    )
    .execute(&pool)
    .await
    .unwrap();

    let table = run(&database, &["jobs", "show", &id]).await;
    let error = refused(&database, &["jobs", "cancel", &id]).await;

    assert!(stdout(&table).contains("held by   `mail-3` (process 4711) since "));
    assert!(error.contains("runs at this moment"), "{error}");
    assert_eq!(shown(&database, &id).await["attempt"], 2);
    sqlx::raw_sql("delete from queue.workers")
        .execute(&pool)
        .await
        .unwrap();
    let table = run(&database, &["jobs", "show", &id]).await;
    assert!(stdout(&table).contains("another one is taking over"));
}

#[tokio::test]
async fn a_dead_letter_is_shown_as_one_and_has_nothing_to_cancel() {
    let database = TestDatabase::create().await;
    let id = bury(&database.pool().await, "email", "Mailbox full").await;

    let shown = shown(&database, &id).await;
    let error = refused(&database, &["jobs", "cancel", &id]).await;

    assert_eq!(
        (&shown["state"], &shown["reason"]),
        (&json!("dead"), &json!("attempts_exhausted"))
    );
    assert!(error.contains("is a dead letter"), "{error}");
    let table = run(&database, &["jobs", "show", &id]).await;
    assert!(stdout(&table).contains("Mailbox full"));
    let usage = run(&database, &["jobs", "show", "7"]).await;
    assert_eq!(usage.status.code(), Some(2));
}

/// Nothing but the direct send itself can be cancelled yet: it has no delivery.
#[tokio::test]
async fn a_direct_send_that_was_not_routed_is_cancelled_itself() {
    let front = Front::start().await;
    let body = json!({"user_id": "u1", "channels": ["email"], "content": "x",
                      "data": {"email": "ada@example.com"}});
    let sent = front.post("/v1/notifications", body).await.expect(202);
    let id: String = sqlx::query_scalar("select job_id::text from queue.jobs")
        .fetch_one(front.store.pool())
        .await
        .unwrap();

    let cancel = async || {
        let mut tx = front.store.begin().await.unwrap();
        let cancelled = workers::cancel(&mut tx, id.parse().unwrap(), chrono::Utc::now()).await;
        tx.commit().await.unwrap();
        cancelled.unwrap()
    };
    let cancelled = cancel().await;

    assert_eq!(cancelled, Cancelled::Done);
    assert_eq!(front.count("queue.jobs").await, 0);
    let path = format!("/v1/notifications/{}", sent["id"].as_str().unwrap());
    let shown = front.get(&path).await.expect(200);
    assert_eq!(shown["status"], "cancelled");
    assert_eq!(cancel().await, Cancelled::Absent);
}
