//! A look through many dead letters: what is passed is what it costs.

use queue::dead_letter::{self, DeadLetterFilter, Order, Passed};
use sqlx::{Connection, PgConnection};

use crate::kit::Kit;

/// Mails that died a second apart, ten text messages among them, and one rare error.
const LETTERS: &str = "
    insert into queue.dead_letters (job_id, enqueued_at, died_at, priority, lane, attempt, failures,
        max_attempts, crashes, queue, kind, reason, payload, errors)
    select gen_random_uuid(), now(), now() - make_interval(secs => n), 2, 0, 1, 1, 8, 0,
           case when n % 2000 = 0 then 'sms' else 'email' end, 'deliver', 'permanent', '{}',
           jsonb_build_array(jsonb_build_object('error',
               case when n = 15000 then 'Mailbox full' else '550 no such user' end))
    from generate_series(1, 20000) as n";

/// How many rows of the dead letters a look has read so far, by index and otherwise.
async fn reads(db: &mut PgConnection) -> (i64, i64) {
    sqlx::query_as(
        "select idx_tup_fetch, seq_tup_read from pg_stat_xact_user_tables
         where relid = 'queue.dead_letters'::regclass",
    )
    .fetch_one(db)
    .await
    .unwrap()
}

async fn look(filter: DeadLetterFilter, order: Order, limit: i64) -> (Vec<Passed>, (i64, i64)) {
    let kit = Kit::fresh().await;
    kit.execute(LETTERS).await;
    let mut db = kit.database.connection().await;
    sqlx::raw_sql(queue::SESSION)
        .execute(&mut db)
        .await
        .unwrap();
    let mut tx = db.begin().await.unwrap();
    let passed = dead_letter::pass(&mut tx, &filter, None, order, limit)
        .await
        .unwrap();
    let reads = reads(&mut tx).await;
    (passed, reads)
}

#[tokio::test]
async fn a_queue_with_few_is_found_without_passing_the_others() {
    let filter = DeadLetterFilter {
        queue: Some("sms".to_owned()),
        ..DeadLetterFilter::default()
    };

    let (passed, (fetched, scanned)) = look(filter, Order::OldestFirst, 100).await;

    assert_eq!((passed.len(), scanned), (10, 0));
    assert!(passed.is_sorted_by_key(Passed::place));
    assert!(fetched <= 10, "{fetched}");
}

#[tokio::test]
async fn a_rare_error_costs_what_is_passed_and_no_more() {
    let filter = DeadLetterFilter {
        error: Some("MAILBOX FULL".to_owned()),
        ..DeadLetterFilter::default()
    };

    let (passed, (fetched, scanned)) = look(filter, Order::OldestFirst, 1000).await;

    assert_eq!((passed.len(), scanned), (1000, 0));
    assert!(passed.iter().all(|letter| !letter.is_match));
    assert!(fetched <= 1000, "{fetched}");
}

#[tokio::test]
async fn the_latest_come_first_when_asked() {
    let (passed, (fetched, _)) = look(DeadLetterFilter::default(), Order::NewestFirst, 5).await;

    assert_eq!(passed.len(), 5);
    assert!(passed.is_sorted_by(|one, next| one.place() > next.place()));
    assert!(passed.iter().all(|letter| letter.is_match));
    assert!(fetched <= 5, "{fetched}");
}
