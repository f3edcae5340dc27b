//! The order in which a settlement is written.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use domain::{AttemptStatus, Channel, DeliveryId, NotificationId, Status, TenantId, UserId};
use sqlx::PgConnection;

use super::count::{self, Known};
use super::digests::{self, DigestTurn};
use super::fold::{Deliveries, DeliveryRow, Moved, Rendered, Sorted};
use super::write::{self, Raised};
use crate::deliveries::PlannedRow;
use crate::effect::{Effect, InboxArrival, NewAttempt};
use crate::reading::{self, Overfull};
use crate::{deliveries, events, notifications, outbox, replays, traces};

/// What a settlement did that others should hear of once it is committed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// Users whose feed grew, sorted, each once.
    pub arrivals: Vec<(TenantId, UserId)>,
    /// Status changes of deliveries, in effect order.
    pub moves: Vec<StatusMove>,
    /// Attempts that were recorded.
    pub attempts: Vec<(Channel, AttemptStatus)>,
    /// Notifications whose deliveries were planned.
    pub routed: u64,
    /// Channels of deliveries that had nowhere to go when they were planned.
    pub hopeless: Vec<Channel>,
    /// Digests that were opened and wait for more.
    pub opened: Vec<DigestTurn>,
    /// Digests that were closed, each by this settlement alone.
    pub closed: Vec<DigestTurn>,
}

/// A delivery that has come to another status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusMove {
    pub delivery_id: DeliveryId,
    pub notification_id: NotificationId,
    pub channel: Channel,
    /// Where it stood before.
    pub from: Status,
    pub status: Status,
    pub at: DateTime<Utc>,
}

/// What a settlement keeps to, beside its effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries of a feed that may be unread. When one more arrives, the oldest counts as read; 0
    /// leaves it open.
    pub unread_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { unread_max: 1000 }
    }
}

/// Writes `effects` within the usual limits: see [`apply_within`].
pub async fn apply<'a>(
    connection: &mut PgConnection,
    effects: impl IntoIterator<Item = &'a Effect>,
) -> Result<Applied, sqlx::Error> {
    apply_within(connection, effects, Limits::default()).await
}

/// Writes `effects`, which may come from hundreds of jobs, in their order.
///
/// A change that the status lattice forbids is left out; an arrival left out takes no number from
/// its feed.
///
/// # Errors
///
/// What the driver said, unchanged: the settler tells a broken connection from a refused row by
/// it. `RowNotFound` means that an effect names a delivery that is not there.
pub async fn apply_within<'a>(
    connection: &mut PgConnection,
    effects: impl IntoIterator<Item = &'a Effect>,
    limits: Limits,
) -> Result<Applied, sqlx::Error> {
    let mut sorted = Sorted::from_effects(effects);

    let turned = digests::turn(connection, &sorted.digests).await?;
    events::insert_rows(connection, &sorted.events).await?;
    let mut added = deliveries::insert_new_rows(connection, &sorted.added).await?;
    sorted.added.retain(|row| added.remove(&row.id));

    let mut rows: Vec<_> = sorted
        .deliveries
        .iter()
        .map(|row| DeliveryRow::planned(row))
        .collect();
    let planned: HashSet<_> = rows.iter().map(|row| row.id).collect();
    let mut changed = sorted.changed_ids();
    changed.retain(|id| !planned.contains(id));
    rows.extend(write::lock_deliveries(connection, &changed).await?);
    let mut deliveries = Deliveries::new(rows);
    for change in &sorted.changes {
        deliveries.change(change)?;
    }
    let new = deliveries.statuses_of_new();
    notifications::insert_rows(connection, &sorted.notifications, &new).await?;
    let traces = sorted.traces.iter().copied().chain(turned.traces());
    traces::insert_rows(connection, &traces.collect::<Vec<_>>()).await?;
    // Late, for a feed that two settlements reach is locked from here to the commit.
    let arrivals = arrive(connection, &mut deliveries, limits).await?;
    let (of_new, mut rendered): (Vec<_>, Vec<_>) = sorted
        .rendered
        .iter()
        .copied()
        .partition(|row| planned.contains(&row.id));
    insert_planned(connection, &sorted, &deliveries, of_new).await?;
    digests::mark_told(connection, &sorted.digests.told).await?;
    let mut known = Known::planned(&sorted.notifications);
    for row in &mut sorted.routed {
        row.status = new.get(&row.id).copied().unwrap_or(row.status);
    }
    let routed = write::routed(connection, &mut sorted.routed).await?;
    let emitted: Vec<_> = sorted.emitted(&routed);
    known.learn(routed);
    write::rendered(connection, &mut rendered).await?;
    replays::end_running(connection, &sorted.ended_replays).await?;

    let moved: Vec<_> = deliveries.changed().filter(|row| !row.is_new).collect();
    write::moved(connection, &moved).await?;
    let arrival_attempts: Vec<_> = deliveries.arrivals.iter().map(|a| attempt_of(a)).collect();
    let attempts: Vec<_> = deliveries
        .attempts
        .iter()
        .copied()
        .chain(&arrival_attempts)
        .collect();
    deliveries::insert_attempts(connection, &attempts).await?;
    outbox::insert_rows(connection, &sorted.outbox).await?;

    let statuses = notification_statuses(connection, &deliveries, &new, &mut known).await?;
    write::counted(connection, &sorted.added).await?;
    known.learn(write::notification_statuses(connection, &statuses).await?);
    count::write(connection, known, &sorted, &emitted, &deliveries).await?;
    Ok(Applied {
        arrivals,
        moves: deliveries.moves.iter().map(status_move).collect(),
        attempts: attempts
            .iter()
            .filter_map(|attempt| {
                let row = deliveries.row(attempt.delivery_id)?;
                Some((row.channel, attempt.status))
            })
            .collect(),
        routed: emitted.len() as u64,
        hopeless: hopeless(&sorted),
        opened: turned.opened,
        closed: turned.closed,
    })
}

/// Inserts the deliveries planned here, as what they have come to.
async fn insert_planned(
    connection: &mut PgConnection,
    sorted: &Sorted<'_>,
    deliveries: &Deliveries<'_>,
    rendered: Vec<Rendered<'_>>,
) -> Result<(), sqlx::Error> {
    let rendered: HashMap<_, _> = rendered.into_iter().map(|row| (row.id, row)).collect();
    let planned = sorted.deliveries.iter().map(|row| {
        let rendered = rendered.get(&row.id);
        let now = deliveries.row(row.id);
        PlannedRow {
            row,
            status: now.map_or(row.status, |now| now.status),
            job_id: match (now, rendered) {
                (Some(now), _) if now.is_moved => now.job_id,
                (_, Some(rendered)) => rendered.job_id,
                _ => row.job_id,
            },
            attempts: now.map_or(0, |now| now.attempts),
            seq: now.and_then(|now| now.seq),
            provider: now.and_then(|now| now.provider),
            error: now.map_or(row.error.as_deref(), |now| now.error),
            updated_at: now.and_then(|now| now.changed_at).unwrap_or(row.created_at),
            message: rendered.map(|it| it.message),
            template: rendered.and_then(|it| it.template),
            locale: rendered.and_then(|it| it.locale),
        }
    });
    deliveries::insert_rows(connection, &planned.collect::<Vec<_>>()).await
}

/// Channels of deliveries that had nowhere to go.
fn hopeless(sorted: &Sorted<'_>) -> Vec<Channel> {
    let planned = sorted.deliveries.iter();
    planned
        .filter(|delivery| delivery.status == Status::Failed)
        .map(|delivery| delivery.channel)
        .collect()
}

fn status_move(moved: &Moved) -> StatusMove {
    StatusMove {
        delivery_id: moved.delivery_id,
        notification_id: moved.notification_id,
        channel: moved.channel,
        from: moved.from,
        status: moved.status,
        at: moved.at,
    }
}

/// Gives every accepted arrival the next number of its feed, in the order of the effects.
async fn arrive(
    connection: &mut PgConnection,
    deliveries: &mut Deliveries<'_>,
    limits: Limits,
) -> Result<Vec<(TenantId, UserId)>, sqlx::Error> {
    if deliveries.arrivals.is_empty() {
        return Ok(Vec::new());
    }
    let mut feeds: BTreeMap<(&TenantId, &UserId), i64> = BTreeMap::new();
    for arrival in &deliveries.arrivals {
        *feeds
            .entry((&arrival.tenant_id, &arrival.user_id))
            .or_default() += 1;
    }
    let raised = write::raise_feeds(connection, &feeds).await?;

    let mut next: BTreeMap<_, _> = raised
        .iter()
        .map(|(key, feed)| (*key, feed.first))
        .collect();
    let mut numbered: Vec<(i64, &InboxArrival)> = Vec::with_capacity(deliveries.arrivals.len());
    for arrival in &deliveries.arrivals {
        let feed = next
            .get_mut(&(arrival.tenant_id.as_str(), arrival.user_id.as_str()))
            .ok_or(sqlx::Error::RowNotFound)?;
        numbered.push((*feed, arrival));
        *feed += 1;
    }
    let reached = feeds
        .into_keys()
        .map(|(tenant, user)| (tenant.clone(), user.clone()))
        .collect();

    write::inbox(connection, &numbered).await?;
    if let Some(at) = deliveries.arrivals.iter().map(|arrival| arrival.at).max() {
        reading::trim(connection, &overfull(&raised, limits, at)).await?;
    }
    for (seq, arrival) in numbered {
        deliveries.number(arrival.delivery_id, seq);
    }
    Ok(reached)
}

/// The feeds among these that have more unread entries than they may.
fn overfull<'a>(
    raised: &BTreeMap<(&'a str, &'a str), Raised>,
    limits: Limits,
    at: DateTime<Utc>,
) -> Vec<Overfull<'a>> {
    if limits.unread_max == 0 {
        return Vec::new();
    }
    let feeds = raised.iter().map(|((tenant_id, user_id), feed)| Overfull {
        tenant_id,
        user_id,
        excess: feed.unread - i64::from(limits.unread_max),
        read_seq: feed.read_seq,
        at,
    });
    feeds.filter(|feed| feed.excess > 0).collect()
}

/// The attempt that an arrival was: our own feed took it at once.
fn attempt_of(arrival: &InboxArrival) -> NewAttempt {
    NewAttempt {
        delivery_id: arrival.delivery_id,
        number: arrival.attempt,
        provider: domain::Channel::InApp.as_str().to_owned(),
        status: domain::AttemptStatus::Delivered,
        error: None,
        provider_message_id: None,
        response: None,
        started_at: arrival.started_at,
        finished_at: arrival.at,
    }
}

/// What the notifications of moved deliveries become.
///
/// A sole delivery's status is its notification's. Others are summed up over their siblings, under
/// the notification's lock: of two settlements that move siblings at once, the second waits here
/// and then sees what the first has committed. Those that are `new` have been written already.
async fn notification_statuses(
    connection: &mut PgConnection,
    deliveries: &Deliveries<'_>,
    new: &HashMap<NotificationId, Status>,
    known: &mut Known,
) -> Result<BTreeMap<NotificationId, (Status, DateTime<Utc>)>, sqlx::Error> {
    let mut statuses = BTreeMap::new();
    let mut shared = BTreeMap::new();
    let moves = deliveries.moves.iter();
    for moved in moves.filter(|moved| !new.contains_key(&moved.notification_id)) {
        if moved.is_sole {
            statuses.insert(moved.notification_id, (moved.status, moved.at));
        } else {
            shared.insert(moved.notification_id, moved.at);
        }
    }
    if shared.is_empty() {
        return Ok(statuses);
    }

    let ids: Vec<_> = shared.keys().copied().collect();
    known.learn(write::lock_notifications(connection, &ids).await?);
    for (id, siblings) in write::sibling_statuses(connection, &ids).await? {
        let at = shared.get(&id).copied().ok_or(sqlx::Error::RowNotFound)?;
        statuses.insert(id, (Status::aggregate(siblings), at));
    }
    Ok(statuses)
}
