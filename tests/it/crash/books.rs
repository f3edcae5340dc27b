//! What must be in the tables once everything is delivered.

use std::time::Duration;

use sqlx::{FromRow, PgPool};
use testkit::eventually;

use super::load::Load;

/// How long what is accepted may take to be delivered, on a machine that does other things as well.
const DELIVERY_MAX: Duration = Duration::from_secs(90);

/// How long the row of a dead worker may be seen.
const FORGET_MAX: Duration = Duration::from_secs(15);

/// A feed: the rows of one user, and what its head says.
#[derive(Debug, PartialEq, Eq, FromRow)]
struct Feed {
    user_id: String,
    rows: i64,
    first: i64,
    last: i64,
    deliveries: i64,
    head: i64,
    unread: i64,
}

/// Waits until all of `load` is delivered, and nothing is left to do.
pub(crate) async fn all_delivered(pool: &PgPool, load: &Load) {
    eventually(DELIVERY_MAX, async || {
        assert_histories_are_whole(pool).await;
        let open = count(pool, "select count(*) from queue.jobs").await;
        open == 0 && count(pool, "select count(*) from inbox").await >= load.events as i64
    })
    .await;
}

/// Every event has exactly one notification, one delivery, one attempt and one place in its user's
/// feed, and nothing gave up.
pub(crate) async fn assert_balanced(pool: &PgPool, load: &Load) {
    let events = load.events as i64;
    for (table, rows) in [
        ("queue.jobs", 0),
        ("queue.dead_letters", 0),
        ("events", events),
        ("notifications", events),
        ("deliveries", events),
        ("attempts", events),
        ("inbox", events),
    ] {
        let found = count(pool, &format!("select count(*) from {table}")).await;
        assert_eq!(found, rows, "rows of {table}");
    }
    for (what, statement) in [
        (
            "event ids",
            "select count(*) from (select event_id from events group by 1 having count(*) > 1) as x",
        ),
        (
            "events without their one notification",
            "select count(*) from events as event
             full join (select event_id, count(*) as found from notifications group by 1) as its
                 on its.event_id = event.id
             where event.id is null or its.found is distinct from 1",
        ),
        (
            "notifications without their one delivery",
            "select count(*) from notifications as notification
             full join (select notification_id, count(*) as found from deliveries group by 1) as its
                 on its.notification_id = notification.id
             where notification.id is null or its.found is distinct from 1",
        ),
        (
            "deliveries without their one attempt",
            "select count(*) from deliveries as delivery
             full join (select delivery_id, count(*) as found from attempts
                        where status = 'delivered' and number = 1 group by 1) as its
                 on its.delivery_id = delivery.id
             where delivery.id is null or its.found is distinct from 1 or delivery.attempts <> 1",
        ),
        (
            "deliveries whose seq is not that of the feed",
            "select count(*) from deliveries as delivery
             full join inbox on inbox.delivery_id = delivery.id
             where delivery.seq is distinct from inbox.seq
                or delivery.user_id is distinct from inbox.user_id",
        ),
        (
            "counts that differ from the rows",
            "with real as (select channel, priority, deliveries.status from deliveries
                           join notifications on notifications.id = notification_id),
                  found as (
                      select channel, priority, status, count(*) from real group by 1, 2, 3
                      union all
                      select channel, priority, 'planned', count(*) from real group by 1, 2
                      union all
                      select '', priority, 'planned', count(*) from notifications group by 2),
                  counted as (
                      select channel, priority, status, sum(count) as count from stats
                      group by 1, 2, 3 having sum(count) <> 0)
             select count(*) from found full join counted using (channel, priority, status)
             where found.count is distinct from counted.count",
        ),
        (
            "what did not end as delivered",
            "select (select count(*) from notifications where status <> 'delivered')
                  + (select count(*) from deliveries where status <> 'delivered')",
        ),
    ] {
        assert_eq!(count(pool, statement).await, 0, "{what}");
    }
    assert_eq!(feeds(pool).await, feeds_of(load));
}

/// Waits until `queue.workers` names the processes `pids` and nobody else.
pub(crate) async fn only_these_work(pool: &PgPool, pids: &[i32]) {
    let mut expected = pids.to_vec();
    expected.sort_unstable();
    eventually(FORGET_MAX, async || {
        let statement = "select pid from queue.workers order by pid";
        let found: Vec<i32> = sqlx::query_scalar(statement).fetch_all(pool).await.unwrap();
        found == expected
    })
    .await;
}

/// A job that saw workers die or attempts fail remembers each of them.
pub(crate) async fn assert_histories_are_whole(pool: &PgPool) {
    let forgetful = count(
        pool,
        "select count(*) from queue.jobs
         where jsonb_array_length(coalesce(errors, '[]')) < crashes + failures",
    )
    .await;
    assert_eq!(forgetful, 0, "jobs whose errors lost track");
}

/// The number that a statement answers.
pub(crate) async fn count(pool: &PgPool, statement: &str) -> i64 {
    let statement = sqlx::AssertSqlSafe(statement.to_owned());
    sqlx::query_scalar(statement).fetch_one(pool).await.unwrap()
}

async fn feeds(pool: &PgPool) -> Vec<Feed> {
    sqlx::query_as(
        "select user_id, count(*) as rows, min(inbox.seq) as first, max(inbox.seq) as last,
                count(distinct delivery_id) as deliveries, head.seq as head, head.unread
         from inbox join inbox_heads as head using (tenant_id, user_id)
         group by user_id, head.seq, head.unread
         order by length(user_id), user_id",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

/// As they should be. A seq is unique per user, so first, last and count leave no room for a gap.
fn feeds_of(load: &Load) -> Vec<Feed> {
    (0..load.users)
        .map(|user| {
            let n = load.events_of(user) as i64;
            Feed {
                user_id: format!("u-{user}"),
                rows: n,
                first: 1,
                last: n,
                deliveries: n,
                head: n,
                unread: n,
            }
        })
        .collect()
}
