//! Replays: what an operator asked for, how far it has come, and what became of each dead letter.

use chrono::{DateTime, Utc};
use domain::{ReplayId, ReplayResult, ReplayState, TenantId};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::StoreError;
use crate::error::{during, unknown_word};

/// Replays, or results of one, that are listed at most.
pub const REPLAYS_SHOWN_MAX: i64 = 1001;

/// Results removed by one statement at most, so that a transaction stays short.
const PRUNED_MAX: i64 = 5000;

/// A place among the dead letters: when one died, and its job.
pub type Cursor = (DateTime<Utc>, Uuid);

/// A replay that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewReplay {
    pub replay_id: ReplayId,
    /// Whose dead letters are meant; `None` means everybody's.
    pub tenant_id: Option<TenantId>,
    /// Who asked for it, such as `key:pr_1a2b` or `cli:root`.
    pub actor: String,
    /// As it was asked for.
    pub filter: Value,
    /// At most so many a second.
    pub rate: Option<u32>,
    pub include_expired: bool,
    pub matched: i64,
}

/// A replay as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    pub replay_id: ReplayId,
    pub tenant_id: Option<TenantId>,
    pub actor: String,
    pub filter: Value,
    pub rate: Option<u32>,
    pub include_expired: bool,
    pub state: ReplayState,
    pub matched: i64,
    pub counts: Counts,
    pub died_before: DateTime<Utc>,
    /// The last dead letter that was looked at.
    pub cursor: Option<Cursor>,
    /// The next batch is not taken before this moment.
    pub due_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// How many dead letters came to which result, in the order of [`ReplayResult::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts([i64; ReplayResult::ALL.len()]);

impl Counts {
    /// Counts one more.
    pub fn add(&mut self, result: ReplayResult) {
        let place = ReplayResult::ALL.iter().position(|each| *each == result);
        if let Some(count) = place.and_then(|place| self.0.get_mut(place)) {
            *count += 1;
        }
    }

    pub fn of(&self, result: ReplayResult) -> i64 {
        self.iter()
            .find_map(|(each, count)| (each == result).then_some(count))
            .unwrap_or_default()
    }

    pub fn iter(&self) -> impl Iterator<Item = (ReplayResult, i64)> {
        ReplayResult::ALL.into_iter().zip(self.0)
    }

    pub fn total(&self) -> i64 {
        self.0.iter().sum()
    }
}

/// What a replay did with one dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayItem {
    pub job_id: Uuid,
    pub result: ReplayResult,
    pub at: DateTime<Utc>,
}

/// Inserts a replay that begins. `now` is `None` in production: the database clock decides which
/// dead letters were there before it.
pub async fn insert_replay(
    connection: &mut PgConnection,
    replay: &NewReplay,
    now: Option<DateTime<Utc>>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into replays (replay_id, created_at, updated_at, died_before, matched, rate,
                              include_expired, tenant_id, actor, filter)
         values ($1, coalesce($2, now()), coalesce($2, now()), coalesce($2, now()), $3, $4, $5, $6,
                 $7, $8)",
        replay.replay_id.as_uuid(),
        now,
        replay.matched,
        replay.rate.map(u32::cast_signed),
        replay.include_expired,
        replay.tenant_id.as_ref().map(TenantId::as_str),
        replay.actor,
        replay.filter,
    )
    .execute(connection)
    .await
    .map_err(during("insert a replay"))?;
    Ok(())
}

/// A replay under its lock, and the time by the clock that judges it.
#[derive(Debug, Clone, PartialEq)]
pub struct Locked {
    pub replay: Replay,
    pub now: DateTime<Utc>,
}

/// Locks a replay: whoever else runs it waits, and then sees how far it has come.
pub async fn lock_replay(
    connection: &mut PgConnection,
    id: ReplayId,
    now: Option<DateTime<Utc>>,
) -> Result<Option<Locked>, StoreError> {
    // A statement of its own: one that waited for the lock would still know the time before.
    let locked = sqlx::query_scalar!(
        "select replay_id from replays where replay_id = $1 for update",
        id.as_uuid()
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(during("lock a replay"))?;
    if locked.is_none() {
        return Ok(None);
    }
    let now = sqlx::query_scalar!(
        r#"select coalesce($1::timestamptz, clock_timestamp()) as "now!""#,
        now
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(during("read the time"))?;
    let replay = find_replay(connection, id).await?;
    Ok(replay.map(|replay| Locked { replay, now }))
}

/// Finds a replay.
pub async fn find_replay(
    connection: &mut PgConnection,
    id: ReplayId,
) -> Result<Option<Replay>, StoreError> {
    let rows = list(connection, None, Some(id), None, 1).await?;
    Ok(rows.into_iter().next())
}

/// Lists replays, newest first, from `before` on; with a tenant, those of its dead letters alone.
/// Those of everybody's are shown to the tenant `default`, which runs the installation.
pub async fn list_replays(
    connection: &mut PgConnection,
    tenant_id: Option<&TenantId>,
    before: Option<ReplayId>,
    limit: i64,
) -> Result<Vec<Replay>, StoreError> {
    list(connection, tenant_id, None, before, limit).await
}

async fn list(
    connection: &mut PgConnection,
    tenant_id: Option<&TenantId>,
    id: Option<ReplayId>,
    before: Option<ReplayId>,
    limit: i64,
) -> Result<Vec<Replay>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select replay_id, created_at, updated_at, finished_at, died_before, cursor_died_at,
               cursor_job_id, due_at, matched, replayed, skipped_delivered, skipped_cancelled,
               skipped_expired, skipped_gone, skipped_conflict, rate, include_expired, tenant_id,
               actor, state, filter
        from replays
        where ($1::text is null or coalesce(tenant_id, 'default') = $1)
          and ($2::uuid is null or replay_id = $2)
          and ($3::uuid is null or replay_id < $3)
        order by replay_id desc
        limit $4
        "#,
        tenant_id.map(TenantId::as_str),
        id.map(ReplayId::as_uuid),
        before.map(ReplayId::as_uuid),
        limit.clamp(0, REPLAYS_SHOWN_MAX),
    )
    .fetch_all(connection)
    .await
    .map_err(during("read replays"))?;
    rows.into_iter()
        .map(|row| {
            let state = ReplayState::parse(&row.state);
            Ok(Replay {
                replay_id: row.replay_id.into(),
                tenant_id: row.tenant_id.map(TenantId::from),
                actor: row.actor,
                filter: row.filter,
                rate: row.rate.map(i32::cast_unsigned),
                include_expired: row.include_expired,
                state: state.ok_or_else(|| unknown_word("replays", &row.state))?,
                matched: row.matched,
                counts: Counts([
                    row.replayed,
                    row.skipped_delivered,
                    row.skipped_cancelled,
                    row.skipped_expired,
                    row.skipped_gone,
                    row.skipped_conflict,
                ]),
                died_before: row.died_before,
                cursor: row.cursor_died_at.zip(row.cursor_job_id),
                due_at: row.due_at,
                created_at: row.created_at,
                updated_at: row.updated_at,
                finished_at: row.finished_at,
            })
        })
        .collect()
}

/// Lists what a replay did with each dead letter, by job, after `after`.
pub async fn list_items(
    connection: &mut PgConnection,
    id: ReplayId,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<ReplayItem>, StoreError> {
    let rows = sqlx::query!(
        "select job_id, result, at from replay_items
         where replay_id = $1 and ($2::uuid is null or job_id > $2)
         order by job_id
         limit $3",
        id.as_uuid(),
        after,
        limit.clamp(0, REPLAYS_SHOWN_MAX),
    )
    .fetch_all(connection)
    .await
    .map_err(during("read the results of a replay"))?;
    rows.into_iter()
        .map(|row| {
            let result = ReplayResult::parse(&row.result);
            Ok(ReplayItem {
                job_id: row.job_id,
                result: result.ok_or_else(|| unknown_word("replay_items", &row.result))?,
                at: row.at,
            })
        })
        .collect()
}

/// Records results. A dead letter that a replay meets again, because it died again in the same
/// moment, keeps its first result.
pub async fn insert_items(
    connection: &mut PgConnection,
    id: ReplayId,
    items: &[(Uuid, ReplayResult)],
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    if items.is_empty() {
        return Ok(());
    }
    let jobs: Vec<_> = items.iter().map(|(job_id, _)| *job_id).collect();
    let results: Vec<_> = items.iter().map(|(_, result)| result.as_str()).collect();
    sqlx::query!(
        "insert into replay_items (replay_id, job_id, at, result)
         select $1, item.job_id, $2, item.result
         from unnest($3::uuid[], $4::text[]) as item (job_id, result)
         on conflict (replay_id, job_id) do nothing",
        id.as_uuid(),
        at,
        &jobs,
        &results as &[&str],
    )
    .execute(connection)
    .await
    .map_err(during("record the results of a replay"))?;
    Ok(())
}

/// Writes how far a locked replay has come: its state, cursor and counts.
pub async fn update_progress(
    connection: &mut PgConnection,
    replay: &Replay,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let count = |result| replay.counts.of(result);
    sqlx::query!(
        "update replays
         set state = $2, cursor_died_at = $3, cursor_job_id = $4, due_at = $5, replayed = $6,
             skipped_delivered = $7, skipped_cancelled = $8, skipped_expired = $9,
             skipped_gone = $10, skipped_conflict = $11, updated_at = $12::timestamptz,
             finished_at = case when $2 <> 'running' then coalesce(finished_at, $12::timestamptz) end
         where replay_id = $1",
        replay.replay_id.as_uuid(),
        replay.state.as_str(),
        replay.cursor.map(|(died_at, _)| died_at),
        replay.cursor.map(|(_, job_id)| job_id),
        replay.due_at,
        count(ReplayResult::Replayed),
        count(ReplayResult::SkippedDelivered),
        count(ReplayResult::SkippedCancelled),
        count(ReplayResult::SkippedExpired),
        count(ReplayResult::SkippedGone),
        count(ReplayResult::SkippedConflict),
        now,
    )
    .execute(connection)
    .await
    .map_err(during("record the progress of a replay"))?;
    Ok(())
}

/// Ends replays that nobody runs any more, unless they have ended otherwise.
pub(crate) async fn end_running(
    connection: &mut PgConnection,
    ended: &[(ReplayId, ReplayState, DateTime<Utc>)],
) -> Result<(), sqlx::Error> {
    if ended.is_empty() {
        return Ok(());
    }
    let mut ended = ended.to_vec();
    ended.sort_unstable_by_key(|(id, _, _)| *id);
    let ids: Vec<_> = ended.iter().map(|(id, _, _)| id.as_uuid()).collect();
    let states: Vec<_> = ended.iter().map(|(_, state, _)| state.as_str()).collect();
    let times: Vec<_> = ended.iter().map(|(_, _, at)| *at).collect();
    sqlx::query!(
        "update replays as replay
         set state = ended.state, updated_at = ended.at, finished_at = ended.at
         from unnest($1::uuid[], $2::text[], $3::timestamptz[]) as ended (id, state, at)
         where replay.replay_id = ended.id and replay.state = 'running'",
        &ids,
        &states as &[&str],
        &times,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Lets replays that have failed go on, in the transaction that replays their jobs.
pub async fn reopen_replays(
    connection: &mut PgConnection,
    ids: &[ReplayId],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    sqlx::query!(
        "update replays set state = 'running', updated_at = $2, finished_at = null
         where replay_id = any($1) and state = 'failed'",
        &ids,
        now,
    )
    .execute(connection)
    .await
    .map_err(during("reopen replays"))?;
    Ok(())
}

/// Removes what is known of replays that ended before `cutoff`, results first; answers how many
/// rows went. Call it until none do.
pub async fn prune(
    connection: &mut PgConnection,
    cutoff: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let items = sqlx::query!(
        "delete from replay_items as item
         using (
             select replay_id, job_id
             from replays as replay
             join replay_items using (replay_id)
             where replay.finished_at < $1
             limit $2
         ) as over
         where item.replay_id = over.replay_id and item.job_id = over.job_id",
        cutoff,
        PRUNED_MAX,
    )
    .execute(&mut *connection)
    .await
    .map_err(during("prune the results of replays"))?
    .rows_affected();
    let replays = sqlx::query!(
        "delete from replays as replay
         where replay.finished_at < $1
           and not exists (select from replay_items as item
                           where item.replay_id = replay.replay_id)",
        cutoff,
    )
    .execute(connection)
    .await
    .map_err(during("prune replays"))?
    .rows_affected();
    Ok(items + replays)
}
