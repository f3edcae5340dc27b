//! `postrider doctor` before real servers, sound and unsound ones.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use testkit::{TestDatabase, eventually};
use tokio::process::Command;
use tokio::time::timeout;

use crate::crash::cluster::Cluster;
use crate::crash::fleet::{free_address, migrate, work};
use testkit::PgBouncer;

/// How long workers may take to start, on a machine that does other things as well.
const BUSY_MAX: Duration = Duration::from_secs(30);

/// Long enough to sign with.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What the doctor found.
struct Visit {
    code: Option<i32>,
    findings: Vec<Value>,
    text: String,
}

impl Visit {
    async fn pay(variables: &[(&str, &str)]) -> Self {
        let output = Command::new(env!("CARGO_BIN_EXE_postrider"))
            .args(["doctor", "--json"])
            .current_dir(std::env::temp_dir())
            .env_clear()
            .env("JWT_SECRET", SECRET)
            .env("POSTRIDER__HTTP__LISTEN", free_address().to_string())
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        assert!(output.stderr.is_empty(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        Self {
            code: output.status.code(),
            findings: serde_json::from_str(&text).unwrap(),
            text,
        }
    }

    fn find(&self, check: &str) -> (&str, &str) {
        let finding = self.findings.iter().find(|it| it["check"] == check);
        let finding = finding.unwrap_or_else(|| panic!("no line about {check} in {}", self.text));
        (
            finding["verdict"].as_str().unwrap(),
            finding["seen"].as_str().unwrap(),
        )
    }

    fn verdict(&self, check: &str) -> &str {
        self.find(check).0
    }

    /// Checks with this verdict.
    fn with(&self, verdict: &str) -> Vec<&str> {
        let findings = self.findings.iter();
        findings
            .filter(|finding| finding["verdict"] == verdict)
            .map(|finding| finding["check"].as_str().unwrap())
            .collect()
    }
}

/// Everything as it should be: nothing is complained of but what this machine may lack.
#[tokio::test]
async fn a_sound_installation_is_found_to_be_so() {
    let cluster = Cluster::start("doctor").await;
    migrate(cluster.url(), cluster.dir()).await;
    let mut worker = work("worker", cluster.url(), cluster.dir()).started();
    let pool = cluster.pool().await;
    eventually(BUSY_MAX, async || {
        let count = sqlx::query_scalar("select count(*) from queue.workers");
        let count: i64 = count.fetch_one(&pool).await.unwrap();
        count == 1
    })
    .await;

    let visit = Visit::pay(&[("DATABASE_URL", cluster.url())]).await;

    assert_eq!(visit.code, Some(0), "{}", visit.text);
    assert_eq!(visit.with("fail"), Vec::<&str>::new(), "{}", visit.text);
    for check in [
        "config",
        "token secret",
        "providers",
        "webhook networks",
        "templates",
        "http address",
        "data directory",
        "mail server",
        "pooler",
        "database",
        "postgres version",
        "durability",
        "autovacuum",
        "clocks",
        "migrations",
        "partitions",
        "wake-ups",
        "workers",
        "oldest job",
        "dead letters",
    ] {
        assert_eq!(visit.verdict(check), "ok", "{check}: {}", visit.text);
    }
    // The password is in its address.
    let password = cluster.url().split([':', '@']).nth(2).unwrap();
    assert!(!visit.text.contains(password), "{}", visit.text);
    worker.signal("TERM").await;
    assert_eq!(worker.ended(BUSY_MAX).await.code(), Some(0));
    pool.close().await;
    cluster.stop().await;
}

/// The server of the tests forgets everything in a crash, which is what the first line is about.
#[tokio::test]
async fn what_is_wrong_with_the_rows_is_found() {
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    for statement in [
        "do $$ begin execute format('drop table traces_%s', to_char(now(), 'YYYY_MM')); end $$",
        "insert into queue.workers (epoch, locked, pid, node, queues, heartbeat_at) \
         values (gen_random_uuid(), true, 7, 'lost', '{route}', now() - interval '1 hour')",
        "insert into queue.queues (queue, paused_at) values ('sms', now())",
        "insert into queue.jobs (job_id, run_at, queue, kind, payload) \
         values (gen_random_uuid(), now() - interval '2 minutes', 'email', 'deliver', '{}')",
        "insert into queue.dead_letters (job_id, enqueued_at, priority, lane, attempt, failures, \
         max_attempts, crashes, queue, kind, reason, payload, errors) \
         values (gen_random_uuid(), now(), 2, 0, 1, 1, 1, 0, 'email', 'deliver', 'x', '{}', '[]')",
    ] {
        sqlx::raw_sql(statement).execute(&pool).await.unwrap();
    }

    let visit = Visit::pay(&[("DATABASE_URL", database.url())]).await;

    assert_eq!(visit.code, Some(1));
    assert_eq!(visit.with("fail"), ["durability", "partitions"]);
    let (_, seen) = visit.find("durability");
    assert!(
        seen.contains("fsync = off, full_page_writes = off"),
        "{seen}"
    );
    for (check, part) in [
        ("workers", "none is alive"),
        ("silent workers", "`lost` (process 7)"),
        ("paused queues", "sms"),
        ("oldest job", "in `email`"),
        ("dead letters", "1"),
    ] {
        let (verdict, seen) = visit.find(check);
        assert_eq!(verdict, "warn", "{check}");
        assert!(seen.contains(part), "{check}: {seen}");
    }
}

#[tokio::test]
async fn a_database_without_our_schema_is_told_from_one_with_another() {
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    let visit = async || Visit::pay(&[("DATABASE_URL", database.url())]).await;

    let strange = "update _sqlx_migrations set checksum = 'x' where version = 2";
    sqlx::raw_sql(strange).execute(&pool).await.unwrap();
    let other = visit().await;
    let (verdict, seen) = other.find("migrations");
    assert_eq!(verdict, "fail");
    assert!(seen.contains("[2]"), "{seen}");

    let empty = "drop schema public, queue cascade; create schema public";
    sqlx::raw_sql(empty).execute(&pool).await.unwrap();
    let visit = visit().await;
    let (verdict, seen) = visit.find("migrations");
    assert_eq!(verdict, "fail");
    assert!(seen.starts_with("0 applied, [1, "), "{seen}");
    assert_eq!(visit.code, Some(1));
}

#[tokio::test]
async fn a_pooler_is_found_and_so_is_a_setting_that_claims_one() {
    const CLAIM: (&str, &str) = ("POSTRIDER__DATABASE__PGBOUNCER", "true");
    let database = TestDatabase::create().await;
    let bouncer = PgBouncer::start(&database).await;
    let pooled = ("DATABASE_URL", bouncer.url());
    let direct = ("DATABASE_DIRECT_URL", database.url());

    let untold = Visit::pay(&[pooled]).await;
    assert_eq!(untold.verdict("pooler"), "fail", "{}", untold.text);
    let told = Visit::pay(&[pooled, CLAIM]).await;
    assert_eq!(told.verdict("pooler"), "warn", "{}", told.text);
    assert_eq!(told.verdict("migrations"), "ok", "{}", told.text);
    let complete = Visit::pay(&[pooled, CLAIM, direct]).await;
    assert_eq!(complete.verdict("pooler"), "ok", "{}", complete.text);
    assert_eq!(complete.verdict("wake-ups"), "ok", "{}", complete.text);

    let claimed = Visit::pay(&[("DATABASE_URL", database.url()), CLAIM]).await;
    assert_eq!(claimed.verdict("pooler"), "warn", "{}", claimed.text);
    let astray = Visit::pay(&[pooled, CLAIM, ("DATABASE_DIRECT_URL", bouncer.url())]).await;
    assert_eq!(astray.verdict("wake-ups"), "fail", "{}", astray.text);
}

#[tokio::test]
async fn a_server_that_is_away_or_silent_ends_the_visit_in_time_and_keeps_the_password() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    for address in [free_address().to_string(), silent] {
        let url = format!("postgres://ada:hush@{address}/x");
        let visit = timeout(BUSY_MAX, Visit::pay(&[("DATABASE_URL", &url)])).await;
        let visit = visit.expect("the visit has an end");

        assert_eq!(visit.code, Some(1));
        assert_eq!(visit.with("fail"), ["database"]);
        assert!(!visit.text.contains("hush"), "{}", visit.text);
    }
}

#[tokio::test]
async fn a_configuration_that_is_not_usable_is_all_that_is_said() {
    let visit = Visit::pay(&[("POSTRIDER__HTPP__LISTEN", "x"), ("PORT", "y")]).await;

    assert_eq!(visit.code, Some(1));
    assert_eq!(visit.with("fail"), ["config", "config"]);
    assert_eq!(visit.findings.len(), 2);
}

/// For people: one line each, the verdict first.
#[tokio::test]
async fn the_report_can_be_read_line_by_line() {
    let output = Command::new(env!("CARGO_BIN_EXE_postrider"))
        .arg("doctor")
        .current_dir(Path::new("/"))
        .env_clear()
        .output()
        .await
        .unwrap();

    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    for line in text.lines() {
        let verdict = line.split_whitespace().next().unwrap();
        assert!(["ok", "warn", "fail"].contains(&verdict), "{line}");
    }
    let database = text.lines().find(|line| line.starts_with("fail  database"));
    assert!(database.unwrap().contains("-> set DATABASE_URL"), "{text}");
}
