//! A replay of many dead letters whose runners are killed one after the other.

use std::time::Duration;

use domain::{Channel, Limit, LimitBook, TenantId};
use sqlx::{Connection, PgPool};
use store::limits::{lock_limits, upsert_limit};
use store::{Store, StoreOptions};
use testkit::{TestDatabase, eventually};
use uuid::Uuid;

use super::books::count;
use super::cluster::Scratch;
use super::fleet::{Role, work};

/// Dead letters.
const LETTERS: i64 = 20_000;

/// What each runner writes last before it is killed: by the name of the table, which is held until
/// the runner waits for it. By then it has moved a batch of dead letters and not said so.
const BLOWS: [&str; 6] = [
    "replay_items",
    "traces",
    "deliveries",
    "replay_items",
    "notifications",
    "traces",
];

/// How long a runner may take to get so far, a takeover included, on a machine that does other
/// things as well.
const PART_MAX: Duration = Duration::from_mins(1);

/// Failed mails and their dead `deliver` jobs. Ids are those of this moment: the partitions exist.
async fn bury(pool: &PgPool, letters: i64) {
    sqlx::query(
        "with planned as (
             select n, now() - make_interval(secs => 1 + n / 100) as at,
                    made || lpad(to_hex(3 * n), 12, '0') as notification_id,
                    made || lpad(to_hex(3 * n + 1), 12, '0') as id,
                    made || lpad(to_hex(3 * n + 2), 12, '0') as job_id
             from generate_series(1, $1) as n,
                  (select regexp_replace(
                       lpad(to_hex((extract(epoch from now()) * 1000)::bigint), 12, '0'),
                       '(.{8})(.{4})', '\\1-\\2-7000-8000-') as made) as prefix
         ), notification as (
             insert into notifications (id, created_at, tenant_id, user_id, type, status,
                                        delivery_count)
             select notification_id::uuid, at, 'default', 'u' || n % 97, 'notification', 'failed', 1
             from planned
         ), delivery as (
             insert into deliveries (id, notification_id, created_at, tenant_id, user_id, channel,
                                     status, address, error, message)
             select id::uuid, notification_id::uuid, at, 'default', 'u' || n % 97, 'email', 'failed',
                    'ada@example.com', 'refused', '{\"body\": \"Moin\"}'
             from planned
         )
         insert into queue.dead_letters (job_id, enqueued_at, died_at, priority, lane, attempt,
             failures, max_attempts, crashes, queue, kind, reason, payload, errors)
         select job_id::uuid, at, at, 2, n % 32, 1, 1, 8, 0, 'email', 'deliver', 'permanent',
                jsonb_build_object('delivery_id', id), '[]'
         from planned",
    )
    .bind(letters)
    .execute(pool)
    .await
    .unwrap();
}

/// More mails go out here than the limits that ship give an hour for.
async fn lift_mail_limits(store: &Store) {
    let tenant = TenantId::default();
    let mut tx = store.begin().await.unwrap();
    let limits = lock_limits(&mut tx, &tenant).await.unwrap();
    let limits = LimitBook::with_defaults(limits).into_iter();
    for limit in limits.filter(|limit| limit.of.channel == Some(Channel::Email)) {
        let lifted = Limit {
            id: Uuid::now_v7(),
            enabled: false,
            ..limit
        };
        upsert_limit(&mut tx, &tenant, &lifted).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// Kills `runner` in the middle of a batch, when it is about to write to `table`.
async fn kill_before(runner: &mut Role, table: &str, database: &TestDatabase, pool: &PgPool) {
    let mut holder = database.connection().await;
    let mut tx = holder.begin().await.unwrap();
    let lock = format!("lock table {table} in share mode");
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock))
        .execute(&mut *tx)
        .await
        .unwrap();
    let waiting = format!(
        "select count(*) from pg_locks where not granted and relation = '{table}'::regclass"
    );
    eventually(PART_MAX, async || count(pool, &waiting).await > 0).await;
    runner.kill().await;
    tx.rollback().await.unwrap();
}

/// Waits until so many are replayed, and the replay still runs.
async fn replayed(pool: &PgPool, letters: i64) {
    eventually(PART_MAX, async || {
        count(
            pool,
            "select coalesce(sum(replayed), 0)::bigint from replays",
        )
        .await
            >= letters
    })
    .await;
    let running = count(pool, "select count(*) from replays where state = 'running'").await;
    assert_eq!(running, 1, "it was over before the blow");
}

#[tokio::test]
async fn every_letter_is_replayed_once_whoever_dies_meanwhile() {
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    let store = Store::connect(database.url(), &StoreOptions::default()).await;
    let store = store.unwrap();
    store.migrate(chrono::Utc::now()).await.unwrap();
    lift_mail_limits(&store).await;
    bury(&pool, LETTERS).await;
    let scratch = Scratch::new("replay");
    let dir = scratch.path();
    let retries = ["work", "--queues", "retry"];
    let mut runners: Vec<Role> = vec![Role::new("operator", &["dead-letters", "replay"], dir)];
    runners.extend((0..BLOWS.len()).map(|n| Role::new(&format!("worker-{n}"), &retries, dir)));

    // The first is a command line without workers, the others are workers that have to take over.
    for (n, runner) in runners.into_iter().enumerate() {
        let mut runner = runner.set("DATABASE_URL", database.url()).started();
        if let Some(table) = BLOWS.get(n) {
            replayed(&pool, n as i64 * LETTERS / (BLOWS.len() as i64 + 1) + 1).await;
            kill_before(&mut runner, table, &database, &pool).await;
            continue;
        }
        eventually(PART_MAX, async || {
            count(&pool, "select count(*) from replays where state = 'done'").await == 1
        })
        .await;
        runner.signal("TERM").await;
        assert_eq!(runner.ended(PART_MAX).await.code(), Some(0));
    }

    for (what, expected, statement) in [
        ("left dead", 0, "select count(*) from queue.dead_letters"),
        (
            "open",
            LETTERS,
            "select count(*) from queue.jobs where queue = 'email'",
        ),
        (
            "other jobs",
            0,
            "select count(*) from queue.jobs where queue <> 'email'",
        ),
        ("counted", LETTERS, "select replayed from replays"),
        (
            "recorded",
            LETTERS,
            "select count(*) from replay_items where result = 'replayed'",
        ),
        (
            "replayed once, as their traces say",
            LETTERS,
            "select count(*) from (select subject_id from traces group by 1 having count(*) = 1) as x",
        ),
        (
            "opened for their job",
            LETTERS,
            "select count(*) from deliveries join queue.jobs using (job_id)
             where status = 'queued' and attempt = 1",
        ),
    ] {
        assert_eq!(count(&pool, statement).await, expected, "{what}");
    }

    let outbox = work("outbox", database.url(), dir).set("POSTRIDER__WORK__OUTBOX", "true");
    let mut outbox = outbox.started();
    eventually(PART_MAX, async || {
        count(&pool, "select count(*) from queue.jobs").await == 0
    })
    .await;
    let sent = "select count(*) from attempts where status = 'sent' and number = 1";
    assert_eq!(count(&pool, sent).await, LETTERS);
    assert_eq!(count(&pool, "select count(*) from attempts").await, LETTERS);
    outbox.assert_runs();
}
