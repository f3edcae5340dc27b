//! The hot statements read indexes, whatever the planner believes about the table.
//!
//! Statistics are stale when it matters: after a bulk of jobs has arrived in an empty table. The
//! statements are explained as the engine's sessions plan them.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::kit::Kit;

/// Statements by file name, with arguments to plan them for.
const STATEMENTS: [(&str, &str, &str); 7] = [
    (
        "claim",
        include_str!("../../sql/claim.sql"),
        "'{work}', '{2}', '{0}', '{500}', gen_random_uuid(), null",
    ),
    (
        "claim_suspect",
        include_str!("../../sql/claim_suspect.sql"),
        "'{work}', gen_random_uuid(), null, 64",
    ),
    (
        "look_ahead",
        include_str!("../../sql/look_ahead.sql"),
        "'{work,elsewhere}', null",
    ),
    (
        "list_waiting",
        include_str!("../../sql/list_waiting.sql"),
        "'work', 'work', now(), gen_random_uuid(), now() + interval '2 d', 500",
    ),
    (
        "finish_delete",
        include_str!("../../sql/finish_delete.sql"),
        "array[gen_random_uuid()], '{1}', array[gen_random_uuid()]",
    ),
    (
        "finish_return",
        include_str!("../../sql/finish_return.sql"),
        "array[gen_random_uuid()], '{1}', array[gen_random_uuid()], '{0}', '{1}', '{x}', '{null}',
         null",
    ),
    (
        "finish_bury",
        include_str!("../../sql/finish_bury.sql"),
        "array[gen_random_uuid()], '{1}', array[gen_random_uuid()], '{x}', '{x}', null",
    ),
];

/// The index each of them must read the jobs by.
const INDEXES: [(&str, &str); 7] = [
    ("claim", "jobs_available_idx"),
    ("claim_suspect", "jobs_suspect_idx"),
    ("look_ahead", "jobs_available_idx"),
    ("list_waiting", "jobs_available_idx"),
    ("finish_delete", "jobs_pkey"),
    ("finish_return", "jobs_pkey"),
    ("finish_bury", "jobs_pkey"),
];

/// 100 000 jobs for another day, a thousand that run and a thousand that are due.
const JOBS: &str = "
    alter table queue.jobs set (autovacuum_enabled = false);
    insert into queue.jobs (job_id, run_at, lane, queue, kind, payload)
    select gen_random_uuid(), now() + interval '1 day', n % 32, 'work', 'work', '{\"n\": 1}'
    from generate_series(1, 100000) as n;
    insert into queue.jobs (job_id, lane, queue, kind, payload)
    select gen_random_uuid(), n % 32, 'work', 'work', '{\"n\": 1}'
    from generate_series(1, 1000) as n;
    insert into queue.jobs (job_id, lane, queue, kind, payload, state, epoch, attempt)
    select gen_random_uuid(), n % 32, 'work', 'work', '{\"n\": 1}', 'running',
           '01890000-0000-7000-8000-000000000001', 1
    from generate_series(1, 1000) as n;";

async fn explain(db: &mut PgConnection, name: &str, statement: &str, arguments: &str) -> String {
    let prepare = format!("deallocate all; prepare {name} as {statement}");
    sqlx::raw_sql(AssertSqlSafe(prepare))
        .execute(&mut *db)
        .await
        .unwrap();
    let explain = format!("explain (costs off) execute {name}({arguments})");
    let lines: Vec<String> = sqlx::query_scalar(AssertSqlSafe(explain))
        .persistent(false)
        .fetch_all(db)
        .await
        .unwrap();
    lines.join("\n")
}

/// The plans of all statements in a session with `settings`.
async fn check(kit: &Kit, settings: &'static str) {
    let mut db = kit.database.connection().await;
    sqlx::raw_sql(settings).execute(&mut db).await.unwrap();
    for (name, statement, arguments) in STATEMENTS {
        let plan = explain(&mut db, name, statement, arguments).await;
        let (_, index) = INDEXES.iter().find(|(of, _)| *of == name).unwrap();
        assert!(
            plan.contains(index),
            "{name} does not read {index}:\n{plan}"
        );
        assert!(!plan.contains("Seq Scan on jobs"), "{name}:\n{plan}");
        let is_ending = name.starts_with("finish");
        assert!(
            !is_ending || !plan.contains("jobs_running_idx"),
            "{name} compares each row with each:\n{plan}"
        );
        assert!(
            name != "claim" || plan.contains("Tid Scan on jobs"),
            "{name} looks its rows up again:\n{plan}"
        );
    }
    db.close().await.unwrap();
}

#[tokio::test]
async fn plans_are_right_when_statistics_say_that_the_table_is_empty() {
    let kit = Kit::fresh().await;
    kit.execute("analyze queue.jobs").await;
    kit.execute(JOBS).await;

    check(&kit, queue::SESSION).await;
}

#[tokio::test]
async fn plans_are_right_when_statistics_are_fresh() {
    let kit = Kit::fresh().await;
    kit.execute(JOBS).await;
    kit.execute("analyze queue.jobs").await;

    check(&kit, queue::SESSION).await;
}
