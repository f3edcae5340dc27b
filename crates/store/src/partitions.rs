//! Makes the monthly partitions before they are needed.
//!
//! A partition is a range of ids. Ids are `UUIDv7`, so a month's boundary is the id that begins
//! with its first millisecond and has zeros after it. There is no default partition: it would take
//! in whatever maintenance forgot, and then stand in the way of the partition it belongs to.

use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use crate::StoreError;
use crate::error::during;

/// Months made ahead of the current one, so that a month without maintenance harms nobody.
const MONTHS_AHEAD: u32 = 2;

/// The advisory lock that lets one process at a time make partitions: "part" in ASCII.
const LOCK_KEY: i64 = 0x7061_7274;

/// Each partitioned table with the fill factor of its partitions, in percent.
///
/// A notification is updated once within seconds and a delivery twice, by settlements that take
/// all rows of a page at once, and on no indexed column. If the page has room for the next version
/// of every row, the updates stay there (HOT), leave the indexes alone, and the next visit prunes
/// the old versions. With a 200-byte message, deliveries whose pages start a fifth full keep 92 %
/// of the updates on the page; half-full pages kept 57 %. The heap is a quarter larger for it, the
/// indexes half as large.
const TABLES: [(&str, u8); 6] = [
    ("events", 100),
    ("notifications", 50),
    ("deliveries", 20),
    ("attempts", 100),
    ("traces", 100),
    ("outbox", 100),
];

/// Pruning leaves vacuum little to do, so it comes rarely. Analysis comes early: a plan that was
/// made for an empty partition lasts until then.
const AUTOVACUUM: &str = "autovacuum_vacuum_threshold = 50000, \
     autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_insert_threshold = 200000, \
     autovacuum_analyze_threshold = 1000, autovacuum_analyze_scale_factor = 0.1";

/// Makes what is missing of the months around `now`: the one before, its own, and those ahead.
///
/// The month before takes ids made a moment before midnight, or by a clock that is slow. Writes in
/// a transaction of its own, or within the caller's.
pub async fn ensure(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<(), StoreError> {
    let wanted = wanted(now);
    if missing(connection, &wanted).await?.is_empty() {
        return Ok(());
    }

    let mut transaction = connection
        .begin()
        .await
        .map_err(during("begin a transaction"))?;
    sqlx::query_scalar!("select pg_advisory_xact_lock($1)::text", LOCK_KEY)
        .fetch_one(&mut *transaction)
        .await
        .map_err(during("lock the partitions"))?;
    for name in missing(&mut transaction, &wanted).await? {
        let Some(partition) = wanted.iter().find(|partition| partition.name == name) else {
            continue;
        };
        sqlx::raw_sql(AssertSqlSafe(partition.statement.as_str()))
            .execute(&mut *transaction)
            .await
            .map_err(during("make a partition"))?;
    }
    transaction
        .commit()
        .await
        .map_err(during("commit the partitions"))
}

/// The partitions that rows of this month and the next need and that are not there.
pub async fn missing_soon(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
) -> Result<Vec<String>, StoreError> {
    let month = |ahead: u32| {
        let first = now.date_naive().with_day(1).unwrap_or_default();
        (first + Months::new(ahead)).format("_%Y_%m").to_string()
    };
    let soon = [month(0), month(1)];
    let wanted: Vec<Partition> = wanted(now)
        .into_iter()
        .filter(|partition| soon.iter().any(|month| partition.name.ends_with(month)))
        .collect();
    missing(connection, &wanted).await
}

/// The statements that make the partitions for `now`: what a fresh database is given.
pub fn statements(now: DateTime<Utc>) -> Vec<String> {
    wanted(now)
        .into_iter()
        .map(|partition| partition.statement)
        .collect()
}

/// The smallest id that can be made at `moment`.
pub(crate) fn first_id(moment: DateTime<Utc>) -> Uuid {
    let millis = moment.timestamp_millis().max(0) as u128;
    Uuid::from_u128(millis << 80)
}

struct Partition {
    name: String,
    statement: String,
}

fn wanted(now: DateTime<Utc>) -> Vec<Partition> {
    let month = |ahead: i32| {
        let first = now.date_naive().with_day(1).unwrap_or_default();
        let shift = Months::new(ahead.unsigned_abs());
        if ahead < 0 {
            first - shift
        } else {
            first + shift
        }
    };
    let months = (-1..=MONTHS_AHEAD as i32).map(|ahead| (month(ahead), month(ahead + 1)));
    months
        .flat_map(|(from, to)| TABLES.map(|(table, fill)| partition(table, fill, from, to)))
        .collect()
}

/// Attaching, unlike `create table … partition of`, lets others go on reading and writing.
fn partition(table: &str, fill: u8, from: NaiveDate, to: NaiveDate) -> Partition {
    let name = format!("{table}_{}", from.format("%Y_%m"));
    let boundary = |day: NaiveDate| first_id(day.and_time(chrono::NaiveTime::MIN).and_utc());
    let (from, to) = (boundary(from), boundary(to));
    let statement = format!(
        "create table {name} (like {table} including defaults including constraints) \
         with (fillfactor = {fill}, {AUTOVACUUM});\n\
         alter table {table} attach partition {name} for values from ('{from}') to ('{to}');"
    );
    Partition { name, statement }
}

async fn missing(
    connection: &mut PgConnection,
    wanted: &[Partition],
) -> Result<Vec<String>, StoreError> {
    let names: Vec<_> = wanted
        .iter()
        .map(|partition| partition.name.clone())
        .collect();
    sqlx::query_scalar!(
        r#"
        select name as "name!"
        from unnest($1::text[]) as name
        where to_regclass(name) is null
        "#,
        &names,
    )
    .fetch_all(connection)
    .await
    .map_err(during("look for partitions"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn four_months_of_every_table_are_wanted_across_a_year_end() {
        let names: Vec<_> = wanted(at("2026-12-31T23:59:59Z"))
            .into_iter()
            .map(|partition| partition.name)
            .collect();

        assert_eq!(names.len(), 4 * TABLES.len());
        assert_eq!(names.first().unwrap(), "events_2026_11");
        assert_eq!(names.last().unwrap(), "outbox_2027_02");
    }

    #[test]
    fn a_boundary_lies_between_the_ids_of_two_months() {
        let midnight = at("2026-12-01T00:00:00Z");
        let before = domain::EventId::at(midnight - chrono::TimeDelta::milliseconds(1));
        let after = domain::EventId::at(midnight);

        assert!(before.as_uuid() < first_id(midnight));
        assert!(after.as_uuid() > first_id(midnight));
    }
}
