//! Months that are over: which may be dropped, what still leads into them, and the drop itself.
//!
//! A month is taken off its table first and dropped then. Taking it off needs a lock that keeps
//! everybody else out, so it waits for that a moment only: whoever asks behind it must not wait for
//! somebody's long query in front of it. What does not succeed is tried again another day.

use std::fmt;

use chrono::{DateTime, Datelike, Months, NaiveDate, TimeDelta, Utc};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::StoreError;
use crate::error::during;

/// The advisory lock that lets one process at a time look after the tables: "keep" in ASCII.
const LOCK_KEY: i64 = 0x6b65_6570;

/// How long taking off or dropping a month waits for its lock, and everybody else behind it.
const LOCK_WAIT: &str = "set local lock_timeout = '100ms'";

/// What Postgres says when that time is over.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// The month before the present one is never dropped: it still takes late ids.
const MONTHS_NEVER_DROPPED: u32 = 1;

/// Months that one digest is taken to have gathered over; ids are not to be trusted with more.
const MONTHS_GATHERED_MAX: usize = 120;

/// A calendar month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    first: NaiveDate,
}

impl Month {
    /// The month that `moment` lies in.
    pub fn of(moment: DateTime<Utc>) -> Self {
        let day = moment.date_naive();
        Self {
            first: day.with_day(1).unwrap_or(day),
        }
    }

    /// The month that an id was made in, which is that of its partition.
    pub fn of_id(id: Uuid) -> Self {
        let millis = (id.as_u128() >> 80) as i64;
        Self::of(DateTime::from_timestamp_millis(millis).unwrap_or_default())
    }

    fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('_')?;
        let first = NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, 1)?;
        Some(Self { first })
    }

    /// The moment after its last.
    fn end(self) -> DateTime<Utc> {
        let next = self.first + Months::new(1);
        next.and_time(chrono::NaiveTime::MIN).and_utc()
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.format("%Y-%m").fmt(f)
    }
}

/// For how long the rows of one partitioned table are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    pub table: &'static str,
    pub age: TimeDelta,
}

/// A partition whose youngest row is older than its table keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub table: &'static str,
    pub month: Month,
    name: String,
    is_attached: bool,
}

/// Whether this transaction is the one that looks after the tables; no other is until it ends.
pub async fn try_lock(connection: &mut PgConnection) -> Result<bool, StoreError> {
    sqlx::query_scalar!(
        r#"select pg_try_advisory_xact_lock($1) as "is_ours!""#,
        LOCK_KEY
    )
    .fetch_one(connection)
    .await
    .map_err(during("lock the upkeep"))
}

/// Lists the partitions that are over, oldest first.
pub async fn due(
    connection: &mut PgConnection,
    kept: &[Kept],
    now: DateTime<Utc>,
) -> Result<Vec<Due>, StoreError> {
    let tables: Vec<_> = kept.iter().map(|kept| kept.table).collect();
    // One that was taken off and not dropped yet has lost its parent, not its name.
    let rows = sqlx::query!(
        r#"
        select kept.name as "table!", partition.relname::text as "name!",
               partition.relispartition as "is_attached!"
        from unnest($1::text[]) as kept (name)
        join pg_class as partition
            on partition.relname ~ ('^' || kept.name || '_[0-9]{4}_[0-9]{2}$')
        where partition.relkind = 'r'
          and partition.relnamespace = current_schema()::regnamespace
        order by partition.relname
        "#,
        &tables as &[&str],
    )
    .fetch_all(connection)
    .await
    .map_err(during("list the months"))?;

    let recent = Month::of(now).first - Months::new(MONTHS_NEVER_DROPPED);
    let due = rows.into_iter().filter_map(|row| {
        let kept = kept.iter().find(|kept| kept.table == row.table)?;
        let month = Month::parse(row.name.strip_prefix(kept.table)?.strip_prefix('_')?)?;
        let is_over = month.end() + kept.age <= now && month.first < recent;
        is_over.then_some(Due {
            table: kept.table,
            month,
            name: row.name,
            is_attached: row.is_attached,
        })
    });
    let mut due: Vec<_> = due.collect();
    due.sort_by_key(|due| due.month);
    Ok(due)
}

/// Lets a transaction see the tables as they are at its first look. Call it before that.
pub async fn freeze(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::raw_sql("set transaction isolation level repeatable read, read only")
        .execute(connection)
        .await
        .map_err(during("freeze a transaction"))?;
    Ok(())
}

/// The months that a job needs which names these ids: their own, that of a delivery's notification,
/// that of a notification's event, and those of all that a digest gathered.
pub async fn months_behind(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<Vec<Month>, StoreError> {
    let led_to = sqlx::query_scalar!(
        r#"
        with named as (
            select id from unnest($1::uuid[]) as named (id)
        ), notified as (
            select id from named
            union
            select delivery.notification_id
            from named
            join deliveries as delivery on delivery.id = named.id
        )
        select id as "id!" from notified
        union
        select notification.event_id
        from notified
        join notifications as notification on notification.id = notified.id
        where notification.event_id is not null
        "#,
        ids,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(during("see what jobs lead to"))?;
    let mut months: Vec<_> = led_to.into_iter().map(Month::of_id).collect();
    months.extend(months_gathered(connection, ids).await?);
    months.sort_unstable();
    months.dedup();
    Ok(months)
}

/// The months that the digests need which are named, or which a named delivery or notification
/// tells: from their first item, and what led to it, to their last.
async fn months_gathered(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<Vec<Month>, StoreError> {
    let spans = sqlx::query!(
        r#"
        with named as (
            select id from unnest($1::uuid[]) as named (id)
        ), notified as (
            select id from named
            union
            select delivery.notification_id
            from named
            join deliveries as delivery on delivery.id = named.id
        ), gathered as (
            select id as digest_id from named
            union
            select notification.digest_id
            from notified
            join notifications as notification on notification.id = notified.id
            where notification.digest_id is not null
        )
        select least(earliest.source_id, sent.id, sent.event_id) as "first!",
               latest.source_id as "last!"
        from gathered
        cross join lateral (
            select source_id
            from digest_items as item
            where item.digest_id = gathered.digest_id
            order by source_id
            limit 1
        ) as earliest
        cross join lateral (
            select source_id
            from digest_items as item
            where item.digest_id = gathered.digest_id
            order by source_id desc
            limit 1
        ) as latest
        left join deliveries as held on held.id = earliest.source_id
        left join notifications as sent on sent.id = held.notification_id
        "#,
        ids,
    )
    .fetch_all(connection)
    .await
    .map_err(during("see what digests gathered"))?;
    let months = spans.into_iter().flat_map(|span| {
        let last = Month::of_id(span.last);
        let next = |month: &Month| Some(Month::of(month.end()));
        std::iter::successors(Some(Month::of_id(span.first)), next)
            .take_while(move |month| *month <= last)
            .take(MONTHS_GATHERED_MAX)
    });
    Ok(months.collect())
}

/// Takes a month off its table. False if somebody was using it: try again another day.
pub async fn take_off(connection: &mut PgConnection, due: &Due) -> Result<bool, StoreError> {
    if !due.is_attached {
        return Ok(true);
    }
    // Names of tables cannot be parameters; these came from the catalogue, of our own pattern.
    let statement = format!("alter table {} detach partition {}", due.table, due.name);
    alter(connection, &statement, "take a month off its table").await
}

/// Drops a month that was taken off. False if somebody was using it.
pub async fn drop_month(connection: &mut PgConnection, due: &Due) -> Result<bool, StoreError> {
    let statement = format!("drop table if exists {}", due.name);
    alter(connection, &statement, "drop a month").await
}

/// Runs a statement that needs a table alone, waiting for it a moment.
async fn alter(
    connection: &mut PgConnection,
    statement: &str,
    operation: &'static str,
) -> Result<bool, StoreError> {
    sqlx::raw_sql(LOCK_WAIT)
        .execute(&mut *connection)
        .await
        .map_err(during(operation))?;
    match sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await
    {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(error))
            if error.code().as_deref() == Some(LOCK_NOT_AVAILABLE) =>
        {
            Ok(false)
        }
        Err(error) => Err(during(operation)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_known_by_a_moment_an_id_and_the_name_of_a_partition() {
        let last: DateTime<Utc> = "2026-11-30T23:59:59.999Z".parse().unwrap();
        let november = Month::of(last);

        assert_eq!(Month::parse("2026_11"), Some(november));
        assert_eq!(Month::of_id(crate::partitions::first_id(last)), november);
        let midnight = november.end();
        assert_eq!(midnight.to_rfc3339(), "2026-12-01T00:00:00+00:00");
        assert!(Month::of_id(crate::partitions::first_id(midnight)) > november);
        assert_eq!(Month::parse("2026_13"), None);
    }
}
