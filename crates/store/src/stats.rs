//! Counts of notifications and deliveries, kept up by the transactions that change them.
//!
//! A row counts what was planned within one minute and what became of it since: a delivery that
//! ends an hour later is counted where it was planned. So a window's counts are what counting the
//! rows of that window would say, at any time, and a retry or a settlement that is fenced off
//! changes none of them. Test sends are not counted.
//!
//! Several settlements count at once. Each adds to rows of its own session, by slot, and does so
//! last, in key order: none waits for another. [`fold`] adds them up into hours once a minute's
//! share is of no interest any more.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use domain::{Channel, Priority, RuleId, Status, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::StoreError;
use crate::error::{during, unknown_word};

/// Sessions that count side by side. More make more rows, fewer make settlements wait.
const SLOTS: i32 = 16;

/// Minutes are kept apart for this long. Any window that reaches further back begins with an hour.
const MINUTES_KEPT: TimeDelta = TimeDelta::hours(2);

/// Most rows that one call folds or removes.
const ROWS_MAX: i64 = 10_000;

/// Minutes that [`by_minute`] answers at most: more than are kept apart.
const MINUTES_SHOWN_MAX: i64 = 240;

/// Rows of tests that one window shows.
const SIDES_MAX: i64 = 10_000;

/// The word for what was planned, whatever became of it.
const PLANNED: &str = "planned";

/// Stands in for a channel where notifications are counted.
const NOTIFICATIONS: &str = "";

/// Stands in for a side of a test where all are counted.
const EVERYBODY: &str = "";

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    tenant_id: &'a str,
    bucket: DateTime<Utc>,
    /// Empty where all are counted.
    side: &'a str,
    channel: &'static str,
    priority: &'static str,
    status: &'static str,
}

/// What a transaction adds to the counts.
#[derive(Debug, Default)]
pub(crate) struct Counts<'a> {
    sums: BTreeMap<Key<'a>, i64>,
}

/// A delivery as the counts see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted<'a> {
    pub(crate) tenant_id: &'a TenantId,
    /// A `UUIDv7`: it tells when the delivery was planned.
    pub(crate) id: Uuid,
    pub(crate) channel: Channel,
    pub(crate) priority: Priority,
    /// The side of a test that its notification is on: `<rule id>/<action>/<variant>`.
    pub(crate) side: Option<&'a str>,
}

impl<'a> Counts<'a> {
    /// Counts a notification.
    pub(crate) fn notification(
        &mut self,
        tenant_id: &'a TenantId,
        id: Uuid,
        priority: Priority,
        side: Option<&'a str>,
    ) {
        let key = Key {
            tenant_id: tenant_id.as_str(),
            bucket: minute_of(id),
            side: EVERYBODY,
            channel: NOTIFICATIONS,
            priority: priority.as_str(),
            status: PLANNED,
        };
        self.add(key, side, 1);
    }

    /// Counts a delivery that was planned as `status`.
    pub(crate) fn planned(&mut self, delivery: &Counted<'a>, status: Status) {
        self.add(key(delivery, PLANNED), delivery.side, 1);
        self.rests(delivery, status, 1);
    }

    /// Counts a delivery that has come from one status to another.
    pub(crate) fn moved(&mut self, delivery: &Counted<'a>, from: Status, to: Status) {
        if from != to {
            self.rests(delivery, from, -1);
            self.rests(delivery, to, 1);
        }
    }

    /// What is still on its way is what was planned and rests nowhere.
    fn rests(&mut self, delivery: &Counted<'a>, status: Status, count: i64) {
        if is_counted(status) {
            self.add(key(delivery, status.as_str()), delivery.side, count);
        }
    }

    /// Adds to what all are counted by, and to the side of a test.
    fn add(&mut self, key: Key<'a>, side: Option<&'a str>, count: i64) {
        *self.sums.entry(key).or_default() += count;
        if let Some(side) = side {
            *self.sums.entry(Key { side, ..key }).or_default() += count;
        }
    }

    /// Writes the counts: the last statement before a commit, because others may count on.
    pub(crate) async fn write(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let sums: Vec<_> = self.sums.iter().filter(|(_, count)| **count != 0).collect();
        if sums.is_empty() {
            return Ok(());
        }
        let tenants: Vec<_> = sums.iter().map(|(key, _)| key.tenant_id).collect();
        let buckets: Vec<_> = sums.iter().map(|(key, _)| key.bucket).collect();
        let sides: Vec<_> = sums.iter().map(|(key, _)| key.side).collect();
        let channels: Vec<_> = sums.iter().map(|(key, _)| key.channel).collect();
        let priorities: Vec<_> = sums.iter().map(|(key, _)| key.priority).collect();
        let statuses: Vec<_> = sums.iter().map(|(key, _)| key.status).collect();
        let counts: Vec<_> = sums.iter().map(|(_, count)| **count).collect();
        sqlx::query!(
            r#"
            insert into stats as known
                (tenant_id, bucket, side, channel, priority, status, count, slot)
            select tenant_id, bucket, side, channel, priority, status, count,
                   (pg_backend_pid() % $8)::smallint
            from unnest(
                $1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[],
                $7::bigint[]
            ) as added (tenant_id, bucket, side, channel, priority, status, count)
            on conflict (tenant_id, bucket, side, channel, priority, status, slot) do update
            set count = known.count + excluded.count
            "#,
            &tenants as &[&str],
            &buckets,
            &sides as &[&str],
            &channels as &[&str],
            &priorities as &[&str],
            &statuses as &[&str],
            &counts,
            SLOTS,
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

fn key<'a>(delivery: &Counted<'a>, status: &'static str) -> Key<'a> {
    Key {
        tenant_id: delivery.tenant_id.as_str(),
        bucket: minute_of(delivery.id),
        side: EVERYBODY,
        channel: delivery.channel.as_str(),
        priority: delivery.priority.as_str(),
        status,
    }
}

/// Whether deliveries are counted by this status, not as what is still on its way.
fn is_counted(status: Status) -> bool {
    status.is_final() || status == Status::Sent
}

/// The minute that an id was made in.
fn minute_of(id: Uuid) -> DateTime<Utc> {
    let millis = (id.as_u128() >> 80) as i64;
    let at = DateTime::from_timestamp_millis(millis).unwrap_or_default();
    at.duration_trunc(TimeDelta::minutes(1)).unwrap_or(at)
}

/// Takes deliveries out of those that ended as they did: an operator's replay has reopened them,
/// and they are queued. Like every counting, the last statement of its transaction.
pub(crate) async fn reopened(
    connection: &mut PgConnection,
    ended: &[(Uuid, Status)],
) -> Result<(), StoreError> {
    let statuses: HashMap<Uuid, Status> = ended.iter().copied().collect();
    let ids: Vec<Uuid> = ended.iter().map(|(id, _)| *id).collect();
    let rows = sqlx::query!(
        r#"
        select delivery.id, delivery.tenant_id, delivery.channel, notification.priority,
               notification.rule_id || '/' || notification.action || '/' || notification.variant
                   as side
        from unnest($1::uuid[]) as reopened (id)
        join deliveries as delivery on delivery.id = reopened.id
        join notifications as notification on notification.id = delivery.notification_id
        where not notification.is_test
        "#,
        &ids,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(during("read what was reopened"))?;
    let deliveries = rows
        .into_iter()
        .map(|row| {
            let unknown = |word: &str| unknown_word("deliveries", word);
            Ok((
                TenantId::from(row.tenant_id),
                row.id,
                Channel::parse(&row.channel).ok_or_else(|| unknown(&row.channel))?,
                Priority::parse(&row.priority).ok_or_else(|| unknown(&row.priority))?,
                row.side,
            ))
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    let mut counts = Counts::default();
    for (tenant_id, id, channel, priority, side) in &deliveries {
        let delivery = Counted {
            tenant_id,
            id: *id,
            channel: *channel,
            priority: *priority,
            side: side.as_deref(),
        };
        let was = statuses.get(id).copied().unwrap_or(Status::Failed);
        counts.moved(&delivery, was, Status::Queued);
    }
    counts
        .write(connection)
        .await
        .map_err(during("count what was reopened"))
}

/// What is asked of the counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// `None` counts the whole installation.
    pub tenant_id: Option<TenantId>,
    pub since: DateTime<Utc>,
    /// Up to this moment, without it.
    pub until: DateTime<Utc>,
}

impl Window {
    /// The window as it can be answered: from the beginning of the minute that `since` lies in,
    /// or of the hour where minutes are not kept apart any more; `until` likewise, to the end.
    #[must_use]
    pub fn aligned(self, now: DateTime<Utc>) -> Self {
        let step = |moment: DateTime<Utc>| {
            if moment < now - MINUTES_KEPT {
                TimeDelta::hours(1)
            } else {
                TimeDelta::minutes(1)
            }
        };
        let floor = |moment: DateTime<Utc>| moment.duration_trunc(step(moment)).unwrap_or(moment);
        let ceiling = |moment: DateTime<Utc>| {
            let floor = floor(moment);
            if floor == moment {
                moment
            } else {
                floor + step(moment)
            }
        };
        Self {
            since: floor(self.since),
            until: ceiling(self.until),
            tenant_id: self.tenant_id,
        }
    }
}

/// Deliveries counted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// `None` counts notifications.
    pub channel: Option<Channel>,
    pub priority: Priority,
    /// `None` counts what was planned, whatever became of it.
    pub status: Option<Status>,
    pub count: i64,
}

/// Reads the counts of a window, which [`Window::aligned`] has made answerable. Few rows come back:
/// one per channel, priority and status.
pub async fn counts(
    connection: &mut PgConnection,
    window: &Window,
) -> Result<Vec<Count>, StoreError> {
    let tenant_id = window.tenant_id.as_ref();
    let tenants = tenant_id.map(|tenant_id| vec![tenant_id.as_str().to_owned()]);
    let rows = sqlx::query!(
        r#"
        select channel, priority, status, sum(count)::bigint as "count!"
        from stats
        where tenant_id = any(coalesce($1::text[], array(select tenant_id from tenants)))
          and bucket >= $2
          and bucket < $3
          and side = ''
        group by channel, priority, status
        having sum(count) <> 0
        order by channel, priority, status
        "#,
        tenants.as_deref(),
        window.since,
        window.until,
    )
    .fetch_all(connection)
    .await
    .map_err(during("read the counts"))?;
    rows.into_iter()
        .map(|row| count_of(&row.channel, &row.priority, &row.status, row.count))
        .collect()
}

/// What was planned within one minute, and what has gone out of it since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinuteCount {
    pub minute: DateTime<Utc>,
    pub notifications: i64,
    /// Deliveries that were sent or delivered.
    pub went_out: i64,
}

/// Counts by minute from `since` on, in their order; `None` counts the whole installation. `since`
/// must lie where minutes are kept apart. Minutes in which nothing was planned are left out.
pub async fn by_minute(
    connection: &mut PgConnection,
    tenant_id: Option<&TenantId>,
    since: DateTime<Utc>,
) -> Result<Vec<MinuteCount>, StoreError> {
    let tenants = tenant_id.map(|tenant_id| vec![tenant_id.as_str().to_owned()]);
    sqlx::query_as!(
        MinuteCount,
        r#"
        select bucket as minute,
               coalesce(sum(count) filter (where channel = '' and status = 'planned'), 0)::bigint
                   as "notifications!",
               coalesce(sum(count) filter (where channel <> '' and status in ('sent', 'delivered')),
                        0)::bigint as "went_out!"
        from stats
        where tenant_id = any(coalesce($1::text[], array(select tenant_id from tenants)))
          and bucket >= $2
          and side = ''
          and slot >= 0
        group by bucket
        order by bucket
        limit $3
        "#,
        tenants.as_deref(),
        since,
        MINUTES_SHOWN_MAX,
    )
    .fetch_all(connection)
    .await
    .map_err(during("read the counts by minute"))
}

/// Deliveries of one side of a test, counted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideCount {
    pub rule_id: RuleId,
    /// Which of the rule's actions, from 0.
    pub action: u16,
    pub variant: String,
    pub count: Count,
}

/// Reads the counts of the sides of tests in a window: one row per side, channel, priority and
/// status, by rule.
pub async fn side_counts(
    connection: &mut PgConnection,
    window: &Window,
) -> Result<Vec<SideCount>, StoreError> {
    let tenant_id = window.tenant_id.as_ref();
    let tenants = tenant_id.map(|tenant_id| vec![tenant_id.as_str().to_owned()]);
    let rows = sqlx::query!(
        r#"
        select side, channel, priority, status, sum(count)::bigint as "count!"
        from stats
        where tenant_id = any(coalesce($1::text[], array(select tenant_id from tenants)))
          and bucket >= $2
          and bucket < $3
          and side > ''
        group by side, channel, priority, status
        having sum(count) <> 0
        order by side, channel, priority, status
        limit $4
        "#,
        tenants.as_deref(),
        window.since,
        window.until,
        SIDES_MAX,
    )
    .fetch_all(connection)
    .await
    .map_err(during("read the counts of tests"))?;
    rows.into_iter()
        .map(|row| {
            let side = || unknown_word("stats", &row.side);
            let mut parts = row.side.splitn(3, '/');
            let mut part = || parts.next().ok_or_else(side);
            let (rule_id, action, variant) = (part()?, part()?, part()?);
            Ok(SideCount {
                rule_id: rule_id.parse().ok().ok_or_else(side)?,
                action: action.parse().ok().ok_or_else(side)?,
                variant: variant.to_owned(),
                count: count_of(&row.channel, &row.priority, &row.status, row.count)?,
            })
        })
        .collect()
}

/// Reads the words of a row.
fn count_of(channel: &str, priority: &str, status: &str, count: i64) -> Result<Count, StoreError> {
    let unknown = |word: &str| unknown_word("stats", word);
    let known =
        (channel != NOTIFICATIONS).then(|| Channel::parse(channel).ok_or_else(|| unknown(channel)));
    let come_to = (status != PLANNED).then(|| Status::parse(status).ok_or_else(|| unknown(status)));
    Ok(Count {
        channel: known.transpose()?,
        priority: Priority::parse(priority).ok_or_else(|| unknown(priority))?,
        status: come_to.transpose()?,
        count,
    })
}

/// Adds up rows of minutes that are past into rows of hours, and answers how many were taken. Ask
/// again while it answers any.
pub async fn fold(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<u64, StoreError> {
    let taken = sqlx::query_scalar!(
        r#"
        with past as materialized (
            select tenant_id, bucket, side, channel, priority, status, slot
            from stats
            where slot >= 0 and bucket < $1
            order by tenant_id, bucket, side, channel, priority, status, slot
            limit $2
            for update
        ), taken as (
            delete from stats as known
            using past
            where known.tenant_id = past.tenant_id and known.bucket = past.bucket
              and known.side = past.side and known.channel = past.channel
              and known.priority = past.priority and known.status = past.status
              and known.slot = past.slot
            returning known.tenant_id, known.bucket, known.side, known.channel, known.priority,
                      known.status, known.count
        ), folded as (
            insert into stats as known
                (tenant_id, bucket, side, channel, priority, status, count, slot)
            select tenant_id, date_trunc('hour', bucket, 'UTC'), side, channel, priority, status,
                   sum(count), -1
            from taken
            group by 1, 2, 3, 4, 5, 6
            on conflict (tenant_id, bucket, side, channel, priority, status, slot) do update
            set count = known.count + excluded.count
        )
        select count(*) as "count!" from taken
        "#,
        // A whole hour, so that its minutes are folded together.
        (now - MINUTES_KEPT)
            .duration_trunc(TimeDelta::hours(1))
            .unwrap_or(now),
        ROWS_MAX,
    )
    .fetch_one(connection)
    .await
    .map_err(during("fold the counts"))?;
    Ok(taken.cast_unsigned())
}

/// Removes the counts of hours before `cutoff`, and answers how many rows. Ask again while it
/// answers any.
pub async fn prune(
    connection: &mut PgConnection,
    cutoff: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let pruned = sqlx::query!(
        "with past as materialized (
             select tenant_id, bucket, side, channel, priority, status, slot from stats
             where slot < 0 and bucket < $1 order by bucket limit $2 for update skip locked
         )
         delete from stats as known using past
         where known.tenant_id = past.tenant_id and known.bucket = past.bucket
           and known.side = past.side and known.channel = past.channel
           and known.priority = past.priority and known.status = past.status
           and known.slot = past.slot",
        cutoff,
        ROWS_MAX,
    )
    .execute(connection)
    .await
    .map_err(during("prune the counts"))?;
    Ok(pruned.rows_affected())
}
