//! Commands as a shell runs them.

use std::process::{Output, Stdio};

use serde_json::Value;
use testkit::TestDatabase;
use tokio::process::Command;

pub(crate) async fn run(database: &TestDatabase, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_postrider"))
        .args(arguments)
        .env("DATABASE_URL", database.url())
        .env("JWT_SECRET", "s")
        .env("POSTRIDER__LOG__FILTER", "error")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap()
}

pub(crate) fn stdout(output: &Output) -> &str {
    assert!(output.status.success(), "{output:?}");
    std::str::from_utf8(&output.stdout).unwrap().trim()
}

#[tokio::test]
async fn an_event_is_sent_from_the_shell_once() {
    let database = TestDatabase::create().await;
    stdout(&run(&database, &["migrate"]).await);
    let send = [
        "send",
        "--user",
        "u1",
        "--type",
        "order.filled",
        "--data",
        r#"{"order":7}"#,
        "--event-id",
        "e1",
        "--json",
    ];

    let first: Value = serde_json::from_str(stdout(&run(&database, &send).await)).unwrap();
    let again: Value = serde_json::from_str(stdout(&run(&database, &send).await)).unwrap();

    assert_eq!(
        (&first["status"], &again["status"]),
        (&"accepted".into(), &"duplicate".into())
    );
    let payload: Value = sqlx::query_scalar("select payload from events")
        .fetch_one(&database.pool().await)
        .await
        .unwrap();
    assert_eq!(payload, serde_json::json!({"order": 7, "user_id": "u1"}));
}

#[tokio::test]
async fn keys_are_created_listed_and_revoked() {
    let database = TestDatabase::create().await;
    let create = [
        "keys",
        "create",
        "--tenant",
        "t1",
        "--role",
        "send,read",
        "--json",
    ];
    let created: Value = serde_json::from_str(stdout(&run(&database, &create).await)).unwrap();
    let id = created["id"].as_str().unwrap();

    let table = run(&database, &["keys", "list"]).await;
    let table = stdout(&table);
    assert!(table.contains(id) && table.contains("send,read") && table.contains("active"));
    assert!(!table.contains(created["key"].as_str().unwrap()));

    stdout(&run(&database, &["keys", "revoke", id]).await);
    let list = run(&database, &["keys", "list", "--tenant", "t1", "--json"]).await;
    let list: Value = serde_json::from_str(stdout(&list)).unwrap();
    assert!(list[0]["revoked_at"].is_string());
    let again = run(&database, &["keys", "revoke", id]).await;
    assert_eq!(again.status.code(), Some(1));
}

#[tokio::test]
async fn an_error_is_one_line_that_says_what_to_do_and_usage_exits_with_2() {
    let database = TestDatabase::create().await;

    let output = run(
        &database,
        &["send", "--user", "u", "--type", "t", "--data", "[]"],
    )
    .await;
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.starts_with("error: --data is not a JSON object"),
        "{text}"
    );

    assert_eq!(run(&database, &["dance"]).await.status.code(), Some(2));
    assert_eq!(
        run(&database, &["keys", "create"]).await.status.code(),
        Some(2)
    );
    assert_eq!(
        run(&database, &["send", "--help"]).await.status.code(),
        Some(0)
    );
}

#[tokio::test]
async fn a_database_without_tables_is_told_from_a_broken_one() {
    let database = TestDatabase::create().await;
    sqlx::raw_sql("drop schema queue cascade; drop table api_keys cascade")
        .execute(&database.pool().await)
        .await
        .unwrap();

    for command in [["queues", "--json"], ["keys", "list"]] {
        let output = run(&database, &command).await;

        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.trim_end().ends_with("; run `postrider migrate` first"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_token_is_printed_for_a_user() {
    let database = TestDatabase::create().await;

    let token = run(&database, &["token", "--user", "u1", "--ttl", "10m"]).await;

    assert_eq!(stdout(&token).split('.').count(), 3);
}

/// A dead letter as the queue leaves it.
pub(crate) async fn bury(pool: &sqlx::PgPool, queue: &str, error: &str) -> String {
    sqlx::query_scalar(
        "insert into queue.dead_letters \
             (job_id, enqueued_at, priority, lane, attempt, failures, max_attempts, crashes, queue, kind, \
              reason, payload, errors) \
         values (gen_random_uuid(), now(), 2, 0, 8, 8, 8, 0, $1, 'deliver', 'attempts_exhausted', \
                 '{}', jsonb_build_array(jsonb_build_object('attempt', 8, 'at', now(), \
                                                            'error', $2::text))) \
         returning job_id::text",
    )
    .bind(queue)
    .bind(error)
    .fetch_one(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn dead_letters_are_listed_shown_and_replayed() {
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    let first = bury(&pool, "email", "Mailbox full").await;
    bury(&pool, "sms", "no credit").await;
    bury(&pool, "sms", "mailbox unknown").await;
    let open = async || -> i64 {
        let count = sqlx::query_scalar("select count(*) from queue.jobs");
        count.fetch_one(&pool).await.unwrap()
    };

    let list = run(
        &database,
        &["dead-letters", "list", "--error", "mailbox", "--json"],
    )
    .await;
    let list: Value = serde_json::from_str(stdout(&list)).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 2);
    let shown = run(&database, &["dead-letters", "show", &first]).await;
    assert!(stdout(&shown).contains("Mailbox full"));

    let dry = ["dead-letters", "replay", "--queue", "sms", "--dry-run"];
    assert_eq!(stdout(&run(&database, &dry).await), "2 would be replayed");
    assert_eq!(open().await, 0);
    let replay = [
        "dead-letters",
        "replay",
        "--queue",
        "sms",
        "--rate",
        "100/s",
    ];
    assert_eq!(stdout(&run(&database, &replay).await), "2 of 2 replayed");
    assert_eq!(
        stdout(&run(&database, &["dead-letters", "replay", &first]).await),
        "1 of 1 replayed"
    );
    assert_eq!(open().await, 3);

    let gone = run(&database, &["dead-letters", "replay", &first]).await;
    assert_eq!(gone.status.code(), Some(1));
    let usage = run(&database, &["dead-letters", "replay", "--rate", "fast"]).await;
    assert_eq!(usage.status.code(), Some(2));
}

#[tokio::test]
async fn a_queue_is_paused_and_resumed_by_name() {
    let database = TestDatabase::create().await;
    let row_of = async |queue: &str| -> String {
        let table = run(&database, &["queues"]).await;
        let row = stdout(&table).lines().find(|line| line.starts_with(queue));
        row.unwrap().to_owned()
    };

    assert!(row_of("email").await.ends_with("runs"));
    stdout(&run(&database, &["queues", "pause", "email"]).await);
    assert!(row_of("email").await.contains("paused"));
    stdout(&run(&database, &["queues", "resume", "email"]).await);
    assert!(row_of("email").await.ends_with("runs"));

    let unknown = run(&database, &["queues", "pause", "emial"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        String::from_utf8(unknown.stderr)
            .unwrap()
            .contains("there is no queue `emial`")
    );
}
