//! Digests in a settlement: items join, digests open, end at another time and close, and what was
//! told is marked.
//!
//! Joins, postponements and closings of a settlement become one row per key and one statement, in key order: two
//! rows of one key would be refused by `on conflict do update`, and two passes over the keys could
//! wait for each other in a circle. A join meets the open digest of its key or opens one, whatever
//! comes at the same moment: the partial unique index decides, and whoever loses waits for the
//! winner's commit and then looks again. So nothing joins a digest that has closed.
//!
//! A digest closes when its `batch_flush` says so, with the join that fills it, or with a join that
//! comes after its window has ended: then its `batch_flush` is late or lost, and nothing may wait for
//! it for ever. Joins of one settlement stay together, so that a digest may hold a few more than its
//! size.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use domain::{DigestId, DigestKey, NotificationId, Severity, Telling, TenantId, TraceStep, UserId};
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::fold::Trace;
use crate::digests::{StoredKey, stored_urgency, urgency_of};
use crate::effect::{DigestClose, DigestJoin, DigestPostpone};

const STEP: &str = "digest";

/// A digest that a settlement opened or closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestTurn {
    pub digest_id: DigestId,
    pub tenant_id: TenantId,
    pub user_id: UserId,
    pub closes_at: DateTime<Utc>,
    pub priority: domain::Priority,
}

/// The effects of a settlement on digests.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    pub(super) joins: Vec<&'a DigestJoin>,
    pub(super) closings: Vec<&'a DigestClose>,
    pub(super) postponed: Vec<&'a DigestPostpone>,
    /// Items, with the digests they leave.
    pub(super) left: Vec<(DigestId, Uuid)>,
    pub(super) told: Vec<(DigestId, Option<NotificationId>)>,
}

/// What became of them.
#[derive(Debug, Default)]
pub(super) struct Turned {
    /// Opened and still open, or open until another time.
    pub(super) opened: Vec<DigestTurn>,
    /// Closed here, and by nobody else.
    pub(super) closed: Vec<DigestTurn>,
    pub(super) steps: Vec<(Uuid, DateTime<Utc>, Vec<TraceStep>)>,
}

impl Turned {
    pub(super) fn traces(&self) -> impl Iterator<Item = Trace<'_>> {
        self.steps.iter().map(|(subject_id, at, steps)| Trace {
            subject_id: *subject_id,
            at: *at,
            steps,
        })
    }
}

/// All that a settlement wants of one key.
#[derive(Debug)]
struct Touch<'a> {
    key: &'a DigestKey,
    /// The id of the digest, should one be opened.
    proposed: DigestId,
    at: DateTime<Utc>,
    closes_at: DateTime<Utc>,
    size_max: Option<u32>,
    urgency: i16,
    severity: Option<i16>,
    /// How a digest that is opened is told; `None` where nothing joins.
    telling: Option<&'a Telling>,
    sources: BTreeSet<Uuid>,
}

impl<'a> Touch<'a> {
    /// Of a key that nothing joins.
    fn without_items(key: &'a DigestKey, at: DateTime<Utc>) -> Self {
        Self {
            key,
            proposed: DigestId::at(at),
            at,
            closes_at: at,
            size_max: None,
            urgency: stored_urgency(domain::Priority::Low),
            severity: None,
            telling: None,
            sources: BTreeSet::new(),
        }
    }
}

/// Joins, postpones and closes; answers what turned.
pub(super) async fn turn(
    connection: &mut PgConnection,
    wanted: &Wanted<'_>,
) -> Result<Turned, sqlx::Error> {
    let touches = by_key(wanted);
    if touches.is_empty() {
        return Ok(Turned::default());
    }
    let ends = ends(wanted);
    let met = meet(connection, &touches, wanted, &ends).await?;

    let mut turned = Turned::default();
    let mut filled = Vec::new();
    let mut empty = Vec::new();
    let mut ids = HashMap::with_capacity(met.len());
    for (key, touch) in &touches {
        let row = met.get(key).ok_or(sqlx::Error::RowNotFound)?;
        ids.insert(touch.key, (row.digest_id, row.closes_at));
        let is_opened = row.digest_id == touch.proposed;
        if is_opened && touch.sources.is_empty() {
            // There was nothing to close: a closing meets no open digest.
            empty.push(row.digest_id.as_uuid());
            continue;
        }
        let is_filled = is_opened && row.size_max.is_some_and(|size| row.count >= size);
        if is_filled {
            filled.push(row.digest_id.as_uuid());
        }
        let turn = DigestTurn {
            digest_id: row.digest_id,
            tenant_id: touch.key.tenant_id.clone(),
            user_id: touch.key.user_id.clone(),
            closes_at: row.closes_at,
            priority: urgency_of(row.urgency)?,
        };
        if is_filled || row.is_closed {
            turned.closed.push(turn);
        } else if is_opened || ends.contains_key(&row.digest_id.as_uuid()) {
            turned.opened.push(turn);
        }
    }
    close_filled(connection, &filled).await?;
    remove_empty(connection, &empty).await?;
    insert_items(connection, wanted, &ids).await?;
    turned.steps = steps(wanted, &ids);
    Ok(turned)
}

/// One entry per key, in the order in which every settlement locks them.
fn by_key<'a>(wanted: &Wanted<'a>) -> BTreeMap<StoredKey<'a>, Touch<'a>> {
    let mut touches: BTreeMap<StoredKey<'a>, Touch<'a>> = BTreeMap::new();
    for join in &wanted.joins {
        let severity = join.severity.map(|severity| severity as i16);
        let urgency = stored_urgency(join.priority);
        let touch = touches
            .entry(StoredKey::of(&join.key))
            .or_insert_with(|| Touch {
                key: &join.key,
                proposed: join.digest_id,
                at: join.at,
                closes_at: join.closes_at,
                size_max: join.size_max,
                urgency,
                severity,
                telling: Some(&join.telling),
                sources: BTreeSet::new(),
            });
        touch.at = touch.at.max(join.at);
        touch.closes_at = touch.closes_at.min(join.closes_at);
        touch.urgency = touch.urgency.min(urgency);
        touch.severity = touch.severity.max(severity);
        touch.sources.insert(join.source_id);
    }
    for close in &wanted.closings {
        let touch = touches
            .entry(StoredKey::of(&close.key))
            .or_insert_with(|| Touch::without_items(&close.key, close.at));
        touch.at = touch.at.max(close.at);
    }
    for postpone in &wanted.postponed {
        let touch = touches
            .entry(StoredKey::of(&postpone.key))
            .or_insert_with(|| Touch::without_items(&postpone.key, postpone.at));
        touch.at = touch.at.max(postpone.at);
    }
    touches
}

/// The digest that a key has met: the open one, or one that was opened.
#[derive(Debug)]
struct Met {
    digest_id: DigestId,
    is_closed: bool,
    closes_at: DateTime<Utc>,
    count: i32,
    size_max: Option<i32>,
    urgency: i16,
}

/// Meets every key's open digest or opens one, adds to its count, and closes it if it is time.
async fn meet<'a>(
    connection: &mut PgConnection,
    touches: &BTreeMap<StoredKey<'a>, Touch<'a>>,
    wanted: &Wanted<'_>,
    ends: &BTreeMap<Uuid, DateTime<Utc>>,
) -> Result<HashMap<StoredKey<'a>, Met>, sqlx::Error> {
    let nothing = Telling::default();
    let rows = touches.values();
    let ids: Vec<_> = rows.clone().map(|row| row.proposed.as_uuid()).collect();
    let times: Vec<_> = rows.clone().map(|row| row.at).collect();
    let window_ends: Vec<_> = rows.clone().map(|row| row.closes_at).collect();
    let sizes: Vec<_> = rows
        .clone()
        .map(|row| {
            row.size_max
                .map(|size| size.clamp(1, i32::MAX as u32) as i32)
        })
        .collect();
    let counts: Vec<_> = rows.clone().map(|row| row.sources.len() as i32).collect();
    let urgencies: Vec<_> = rows.clone().map(|row| row.urgency).collect();
    let severities: Vec<_> = rows.clone().map(|row| row.severity).collect();
    let keys: Vec<_> = rows.clone().map(|row| row.key.batch_key.as_str()).collect();
    let tellings: Vec<_> = rows
        .map(|row| Json(row.telling.unwrap_or(&nothing)))
        .collect();
    let tenants: Vec<_> = touches.keys().map(|key| key.tenant_id).collect();
    let users: Vec<_> = touches.keys().map(|key| key.user_id).collect();
    let rules: Vec<_> = touches.keys().map(|key| key.rule_id).collect();
    let actions: Vec<_> = touches.keys().map(|key| key.action).collect();
    let hashes: Vec<_> = touches.keys().map(|key| key.hash.to_vec()).collect();
    let closing: Vec<_> = wanted
        .closings
        .iter()
        .map(|close| close.digest_id.as_uuid())
        .collect();
    let (postponed, until): (Vec<_>, Vec<_>) = ends.iter().unzip();
    let met = sqlx::query!(
        r#"
        insert into digests as digest (
            digest_id, opened_at, closes_at, rule_id, size_max, count, action, urgency, severity,
            tenant_id, user_id, key_hash, batch_key, telling
        )
        select *
        from unnest(
            $1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::uuid[], $5::integer[],
            $6::integer[], $7::smallint[], $8::smallint[], $9::smallint[], $10::text[],
            $11::text[], $12::bytea[], $13::text[], $14::jsonb[]
        )
        on conflict (tenant_id, user_id, rule_id, action, key_hash) where status = 'open'
        do update
        set count = digest.count + excluded.count,
            closes_at = coalesce(
                (
                    select postponed.closes_at
                    from unnest($16::uuid[], $17::timestamptz[])
                        as postponed (digest_id, closes_at)
                    where postponed.digest_id = digest.digest_id
                ),
                digest.closes_at
            ),
            urgency = least(digest.urgency, excluded.urgency),
            severity = greatest(digest.severity, excluded.severity),
            (status, closed_at) = (
                select case when is_over then 'closed' else 'open' end,
                       case when is_over then excluded.opened_at end
                from (
                    select digest.digest_id = any($15::uuid[])
                        or excluded.count > 0
                           and (digest.count + excluded.count >= digest.size_max is true
                                or digest.closes_at <= excluded.opened_at
                                   and digest.digest_id = any($16::uuid[]) is not true)
                           as is_over
                ) as judged
            )
        returning digest_id, tenant_id, user_id, rule_id, action, key_hash, status, closes_at,
                  count, size_max, urgency
        "#,
        &ids,
        &times,
        &window_ends,
        &rules,
        &sizes as &[Option<i32>],
        &counts,
        &actions,
        &urgencies,
        &severities as &[Option<i16>],
        &tenants as &[&str],
        &users as &[&str],
        &hashes,
        &keys as &[&str],
        &tellings as &[Json<&Telling>],
        &closing,
        &postponed,
        &until,
    )
    .fetch_all(connection)
    .await?;
    let met = met
        .into_iter()
        .map(|row| {
            let key = (
                row.tenant_id,
                row.user_id,
                row.rule_id,
                row.action,
                row.key_hash,
            );
            let met = Met {
                digest_id: row.digest_id.into(),
                is_closed: row.status != "open",
                closes_at: row.closes_at,
                count: row.count,
                size_max: row.size_max,
                urgency: row.urgency,
            };
            (key, met)
        })
        .collect();
    each(touches, met)
}

/// What every key has met. A key that has met nothing is an error: the statement answers each.
fn each<'a>(
    touches: &BTreeMap<StoredKey<'a>, Touch<'a>>,
    mut met: HashMap<(String, String, Uuid, i16, Vec<u8>), Met>,
) -> Result<HashMap<StoredKey<'a>, Met>, sqlx::Error> {
    touches
        .keys()
        .map(|key| {
            let row = met.remove(&(
                key.tenant_id.to_owned(),
                key.user_id.to_owned(),
                key.rule_id,
                key.action,
                key.hash.to_vec(),
            ));
            Ok((*key, row.ok_or(sqlx::Error::RowNotFound)?))
        })
        .collect()
}

/// The digests whose windows end at another time, and when. Of two that say so the earlier counts:
/// one of them may have seen old wishes, and a look too early moves the end again.
fn ends(wanted: &Wanted<'_>) -> BTreeMap<Uuid, DateTime<Utc>> {
    let mut ends = BTreeMap::new();
    for postpone in &wanted.postponed {
        let end = ends
            .entry(postpone.digest_id.as_uuid())
            .or_insert(postpone.closes_at);
        *end = postpone.closes_at.min(*end);
    }
    ends
}

/// Closes digests that were opened here with all they may hold. They were inserted open, or they
/// would have passed by an open one of their key. Nobody else knows these rows yet.
async fn close_filled(connection: &mut PgConnection, ids: &[Uuid]) -> Result<(), sqlx::Error> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "update digests
         set status = 'closed', closed_at = opened_at
         where digest_id = any($1)",
        ids,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes what a closing opened where nothing was open. Nobody else has seen these rows.
async fn remove_empty(connection: &mut PgConnection, ids: &[Uuid]) -> Result<(), sqlx::Error> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!("delete from digests where digest_id = any($1)", ids)
        .execute(connection)
        .await?;
    Ok(())
}

/// Adds what joined to the digests it met. What is there already stays as it is.
async fn insert_items(
    connection: &mut PgConnection,
    wanted: &Wanted<'_>,
    ids: &HashMap<&DigestKey, (DigestId, DateTime<Utc>)>,
) -> Result<(), sqlx::Error> {
    if wanted.joins.is_empty() {
        return Ok(());
    }
    let items: BTreeMap<_, _> = wanted
        .joins
        .iter()
        .filter_map(|join| {
            let digest_id = ids.get(&join.key)?.0.as_uuid();
            Some(((digest_id, join.source_id), join.at))
        })
        .collect();
    let digests: Vec<_> = items.keys().map(|(digest_id, _)| *digest_id).collect();
    let sources: Vec<_> = items.keys().map(|(_, source_id)| *source_id).collect();
    let times: Vec<_> = items.into_values().collect();
    sqlx::query!(
        "insert into digest_items (digest_id, source_id, joined_at)
         select * from unnest($1::uuid[], $2::uuid[], $3::timestamptz[])
         on conflict (digest_id, source_id) do nothing",
        &digests,
        &sources,
        &times,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Says of each item where it has gone. The key stays out of it: it may be a person's data.
fn steps(
    wanted: &Wanted<'_>,
    ids: &HashMap<&DigestKey, (DigestId, DateTime<Utc>)>,
) -> Vec<(Uuid, DateTime<Utc>, Vec<TraceStep>)> {
    let step = |join: &&DigestJoin| {
        let (digest_id, closes_at) = ids.get(&join.key).copied().unzip();
        let detail = json!({
            "digest_id": digest_id,
            "rule_id": join.key.rule_id,
            "action": join.key.action,
            "closes_at": closes_at,
        });
        (join.subject_id, join.at, vec![joined(detail)])
    };
    wanted.joins.iter().map(step).collect()
}

/// The decision that something has joined a digest, in the words of a dry run, too.
pub fn joined(detail: Value) -> TraceStep {
    let reason = "it is told together with others of its key";
    TraceStep::new(STEP, "joined", reason).with_detail(detail)
}

/// Marks digests as told. Each has one job that does this, so nobody else wants these rows.
pub(super) async fn mark_told(
    connection: &mut PgConnection,
    told: &[(DigestId, Option<NotificationId>)],
) -> Result<(), sqlx::Error> {
    if told.is_empty() {
        return Ok(());
    }
    let mut told = told.to_vec();
    told.sort_unstable();
    let digests: Vec<_> = told
        .iter()
        .map(|(digest_id, _)| digest_id.as_uuid())
        .collect();
    let notifications: Vec<_> = told
        .iter()
        .map(|(_, id)| id.map(NotificationId::as_uuid))
        .collect();
    sqlx::query!(
        "update digests as digest
         set status = 'told', notification_id = told.notification_id
         from unnest($1::uuid[], $2::uuid[]) as told (digest_id, notification_id)
         where digest.digest_id = told.digest_id and digest.status = 'closed'",
        &digests,
        &notifications as &[Option<Uuid>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes items out of digests that have closed. Each has one job that does this, so nobody else
/// wants these rows.
pub(super) async fn remove_left(
    connection: &mut PgConnection,
    left: &[(DigestId, Uuid)],
) -> Result<(), sqlx::Error> {
    if left.is_empty() {
        return Ok(());
    }
    let mut left = left.to_vec();
    left.sort_unstable();
    let digests: Vec<_> = left.iter().map(|(id, _)| id.as_uuid()).collect();
    let sources: Vec<_> = left.iter().map(|(_, source_id)| *source_id).collect();
    sqlx::query!(
        "delete from digest_items as item
         using unnest($1::uuid[], $2::uuid[]) as gone (digest_id, source_id)
         where item.digest_id = gone.digest_id and item.source_id = gone.source_id",
        &digests,
        &sources,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The severity that a row holds.
pub(crate) fn severity_of(stored: Option<i16>) -> Option<Severity> {
    Severity::ALL
        .into_iter()
        .find(|severity| Some(*severity as i16) == stored)
}
