//! What each minute of the last day looked like: for the charts of the console.
//!
//! Every process adds what it did since it last did so, and whoever finds that nobody has looked at
//! the queues lately says what it saw. A minute costs a handful of small statements per process,
//! and nothing here reads the history.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::StoreError;
use crate::error::during;

/// How long minutes are kept: the charts show an hour, and yesterday can be asked for by hand.
pub const KEPT: TimeDelta = TimeDelta::hours(25);

/// Minutes that one call reads at most: a day and some.
const MINUTES_MAX: i64 = 1500;

/// Labels that one call reads at most.
const LABELS_MAX: i64 = 1000;

/// Rows that one call removes at most.
const PRUNED_MAX: i64 = 5000;

/// What is counted by label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// Attempts that did not go out, by `<channel>/<outcome>`.
    Failures,
    /// Jobs that were done, by queue.
    Finished,
}

impl What {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::Finished => "finished",
        }
    }
}

/// One minute.
#[derive(Debug, Clone, PartialEq)]
pub struct Minute {
    pub minute: DateTime<Utc>,
    /// Open jobs, due or running, when most there were. `None` if nobody looked.
    pub waiting: Option<i64>,
    /// How long the oldest due job had waited, when that was longest.
    pub oldest_seconds: Option<f64>,
    /// Deliveries that went out, by the bounds of their latency.
    pub went_out: Vec<i64>,
}

/// Adds what a process did to `minute`: deliveries that went out, and counts by label, each label
/// once.
pub async fn add(
    connection: &mut PgConnection,
    minute: DateTime<Utc>,
    went_out: &[i64],
    counts: &[(What, String, i64)],
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        insert into pulse as known (minute, went_out) values ($1, $2)
        on conflict (minute) do update
        set went_out = array(
            select coalesce(ours.count, 0) + coalesce(theirs.count, 0)
            from unnest(known.went_out) with ordinality as ours (count, place)
            full join unnest(excluded.went_out) with ordinality as theirs (count, place)
                using (place)
            order by place
        )
        "#,
        minute,
        went_out,
    )
    .execute(&mut *connection)
    .await
    .map_err(during("add to the pulse"))?;
    if counts.is_empty() {
        return Ok(());
    }
    let mut sorted: Vec<_> = counts.iter().collect();
    // In key order, so that no two processes wait for each other.
    sorted.sort_unstable_by_key(|(what, label, _)| (what.as_str(), label.as_str()));
    let whats: Vec<_> = sorted.iter().map(|(what, _, _)| what.as_str()).collect();
    let labels: Vec<_> = sorted.iter().map(|(_, label, _)| label.as_str()).collect();
    let counts: Vec<_> = sorted.iter().map(|(_, _, count)| *count).collect();
    sqlx::query!(
        r#"
        insert into pulse_counts as known (minute, what, label, count)
        select $1, what, label, count
        from unnest($2::text[], $3::text[], $4::bigint[]) as added (what, label, count)
        on conflict (minute, what, label) do update
        set count = known.count + excluded.count
        "#,
        minute,
        &whats as &[&str],
        &labels as &[&str],
        &counts,
    )
    .execute(connection)
    .await
    .map_err(during("add to the counts of a minute"))?;
    Ok(())
}

/// Whether somebody has looked at the queues after `since`.
pub async fn was_looked(
    connection: &mut PgConnection,
    since: DateTime<Utc>,
) -> Result<bool, StoreError> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select from pulse where minute > $1::timestamptz - interval '2 minutes' and looked_at > $1
        ) as "was_looked!"
        "#,
        since,
    )
    .fetch_one(connection)
    .await
    .map_err(during("see who looked at the queues"))
}

/// Says what the queues looked like at `now`. Of several looks in a minute the worst counts.
pub async fn look(
    connection: &mut PgConnection,
    minute: DateTime<Utc>,
    now: DateTime<Utc>,
    waiting: i64,
    oldest_seconds: f64,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        insert into pulse as known (minute, looked_at, waiting, oldest_seconds)
        values ($1, $2, $3, $4)
        on conflict (minute) do update
        set looked_at = excluded.looked_at,
            waiting = greatest(known.waiting, excluded.waiting),
            oldest_seconds = greatest(known.oldest_seconds, excluded.oldest_seconds)
        "#,
        minute,
        now,
        waiting,
        oldest_seconds,
    )
    .execute(connection)
    .await
    .map_err(during("note what the queues look like"))?;
    Ok(())
}

/// Lists the minutes from `since` on, in their order. A minute of which nobody knows is left out.
pub async fn list_minutes(
    connection: &mut PgConnection,
    since: DateTime<Utc>,
) -> Result<Vec<Minute>, StoreError> {
    sqlx::query_as!(
        Minute,
        r#"
        select minute, waiting, oldest_seconds, went_out
        from pulse
        where minute >= $1
        order by minute
        limit $2
        "#,
        since,
        MINUTES_MAX,
    )
    .fetch_all(connection)
    .await
    .map_err(during("read the pulse"))
}

/// Sums what was counted from `since` on, by label.
pub async fn sums(
    connection: &mut PgConnection,
    what: What,
    since: DateTime<Utc>,
) -> Result<Vec<(String, i64)>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select label, sum(count)::bigint as "count!"
        from pulse_counts
        where minute >= $1 and what = $2
        group by label
        order by label
        limit $3
        "#,
        since,
        what.as_str(),
        LABELS_MAX,
    )
    .fetch_all(connection)
    .await
    .map_err(during("sum the counts of minutes"))?;
    Ok(rows.into_iter().map(|row| (row.label, row.count)).collect())
}

/// Removes minutes before `cutoff`, and answers how many rows. Ask again while it answers any.
pub async fn prune(
    connection: &mut PgConnection,
    cutoff: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let minutes = sqlx::query!(
        "with past as materialized (
             select minute from pulse
             where minute < $1 order by minute limit $2 for update skip locked
         )
         delete from pulse as known using past where known.minute = past.minute",
        cutoff,
        PRUNED_MAX,
    )
    .execute(&mut *connection)
    .await
    .map_err(during("prune the pulse"))?;
    let counts = sqlx::query!(
        "with past as materialized (
             select minute, what, label from pulse_counts
             where minute < $1 order by minute, what, label limit $2 for update skip locked
         )
         delete from pulse_counts as known using past
         where known.minute = past.minute and known.what = past.what and known.label = past.label",
        cutoff,
        PRUNED_MAX,
    )
    .execute(connection)
    .await
    .map_err(during("prune the counts of minutes"))?;
    Ok(minutes.rows_affected() + counts.rows_affected())
}
