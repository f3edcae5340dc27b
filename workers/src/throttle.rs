//! Throttle: rate limits, held in front of [`deliver`](crate::deliver) and answered by snoozing.
//!
//! The slots of a whole claim are taken in one short transaction before any of it is sent, the most
//! urgent first. A send without a slot is snoozed until the moment at which one is free; its delivery
//! stays as it was, and its next run asks again. A slot that was taken and not used is forfeited: so
//! a worker may die at any moment, and no window ever holds more than the limit. Sends that no limit
//! speaks of cost nothing here, not even a statement.
//!
//! When the slots cannot be counted, each limit says what becomes of its sends
//! ([`WhenUnavailable`]); the claim goes on either way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use domain::{Channel, Claim, Limit, Priority, Room, SendFacts, TraceStep, WhenUnavailable};
use queue::{Failure, LeaseInfo, Outcome};
use serde_json::json;
use store::prepare::ToDeliver;
use store::{Effect, Store};
use tokio::time::timeout;
use tracing::warn;

use crate::catalog::Shelf;
use crate::context::Context;
use crate::deliver::{self, Deliver};
use crate::loading;

/// How long the counting may take. It waits for other nodes that count the same, a moment each.
const COUNTING_MAX: Duration = Duration::from_secs(3);

/// How long a send waits that must not go out uncounted.
const UNCOUNTED_PAUSE: Duration = Duration::from_secs(30);

/// A send that waits looks again after this long: its limit may have been changed.
const WAIT_MAX: Duration = Duration::from_hours(24);

/// Waits of one job that are told in its trace. The first ones say it all, and some wait often.
const WAITS_TRACED: u16 = 10;

/// A delivery, and whether it may go out.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    pub(crate) row: Arc<ToDeliver>,
    pub(crate) pass: Pass,
}

/// What the limits say of a send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pass {
    /// None speaks of it.
    Free,
    /// It has its slots, and must begin before they are too old.
    Slot { until: DateTime<Utc> },
    /// The limit is full until then.
    Full {
        limit: Arc<Limit>,
        until: DateTime<Utc>,
    },
    /// Nobody can say, and it must not go out then.
    Uncounted,
}

/// Loads the deliveries of a claim and takes their slots.
pub(crate) async fn load(
    store: &Store,
    cx: &Context,
    jobs: &[Deliver],
) -> Result<Vec<Option<Arc<Admitted>>>, Failure> {
    let (rows, shelf) = loading::with_connection(store, async |db| {
        let rows = deliver::prepare(db, cx, jobs).await?;
        // The rows say how old the limits are, so that asking costs no statement of its own.
        let revision = rows.iter().flatten().map(|row| row.limits_revision).max();
        let shelf = match revision {
            Some(revision) if !cx.catalog.latest().has_limits_of(revision) => {
                cx.catalog.current(db).await?
            }
            _ => cx.catalog.latest(),
        };
        Ok((rows, shelf))
    })
    .await?;
    let passes = passes(store, cx, &shelf, &rows).await;
    let admitted = rows.into_iter().zip(passes).map(|(row, pass)| {
        let row = row?;
        Some(Arc::new(Admitted { row, pass }))
    });
    Ok(admitted.collect())
}

/// Sends what may go out, and puts the rest off.
pub(crate) async fn run(
    job: Deliver,
    loaded: Option<&Admitted>,
    cx: &Context,
    lease: LeaseInfo,
) -> Result<Outcome<Effect>, Failure> {
    let Some(admitted) = loaded else {
        return deliver::run(job, None, cx, lease).await;
    };
    let row = &*admitted.row;
    let now = cx.clock.now();
    // One that may have gone out already is not sent, so it need not wait to be told so.
    if deliver::is_heard_once(row.channel) && lease.is_uncertain() {
        return deliver::run(job, Some(row), cx, lease).await;
    }
    match &admitted.pass {
        Pass::Slot { until } if *until < now => Ok(Outcome::snoozed(now)),
        Pass::Free | Pass::Slot { .. } => deliver::run(job, Some(row), cx, lease).await,
        Pass::Full { limit, until } => Ok(held(row, limit, *until, now, lease)),
        Pass::Uncounted => Ok(Outcome::snoozed(within(row, now + UNCOUNTED_PAUSE, now))),
    }
}

/// One answer for each row, in their order.
async fn passes(
    store: &Store,
    cx: &Context,
    shelf: &Shelf,
    rows: &[Option<Arc<ToDeliver>>],
) -> Vec<Pass> {
    let now = cx.clock.now();
    let mut passes = vec![Pass::Free; rows.len()];
    let limited = rows.iter().enumerate().filter_map(|(place, row)| {
        let row = row.as_deref()?;
        let claims = claims(row, cx, shelf, now);
        (!claims.is_empty()).then_some((place, row, claims))
    });
    let mut limited: Vec<_> = limited.collect();
    limited.sort_by_key(|(_, row, _)| row.id);
    let asking = limited.iter_mut().map(|(_, row, claims)| Asking {
        priority: row.priority,
        claims: std::mem::take(claims),
    });
    let asking: Vec<_> = asking.collect();
    let admissions = admit(store, cx, &asking, COUNTING_MAX).await;
    let mut admissions = admissions.map(Vec::into_iter);
    for ((place, row, _), asking) in limited.into_iter().zip(&asking) {
        passes[place] = match admissions.as_mut().and_then(Iterator::next) {
            Some(Admission::Slot { until }) => Pass::Slot { until },
            Some(Admission::Full { limit, until }) => {
                if let Some(metrics) = &cx.metrics {
                    metrics.rate_limited(row.channel, limit.scope);
                }
                Pass::Full { limit, until }
            }
            None => match Claim::when_unavailable(&asking.claims, row.channel) {
                WhenUnavailable::Allow => Pass::Free,
                WhenUnavailable::Defer => Pass::Uncounted,
            },
        };
    }
    passes
}

/// A send that limits speak of.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) priority: Priority,
    pub(crate) claims: Vec<Claim>,
}

/// What it is told.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It has its slots, and must begin before they are too old.
    Slot { until: DateTime<Utc> },
    /// The limit is full until then.
    Full {
        limit: Arc<Limit>,
        until: DateTime<Utc>,
    },
}

/// One answer for each send, in their order; `None` if the slots could not be counted within
/// `patience`. What is most urgent has the first slots, then what was named first.
pub(crate) async fn admit(
    store: &Store,
    cx: &Context,
    asking: &[Asking],
    patience: Duration,
) -> Option<Vec<Admission>> {
    if asking.is_empty() {
        return Some(Vec::new());
    }
    let now = cx.clock.now();
    let mut order: Vec<_> = (0..asking.len()).collect();
    order.sort_by_key(|&place| std::cmp::Reverse(asking[place].priority.to_severity()));
    let sends = order.iter().map(|&place| asking[place].claims.clone());
    let sends: Vec<_> = sends.collect();
    let counting = store::limits::reserve(store, cx.clock.fixed(), &sends);
    let rooms = match timeout(patience, counting).await {
        Ok(Ok(rooms)) => Some(rooms),
        Ok(Err(error)) => {
            warn!(
                error = queue::describe(&error),
                "rate limits could not be counted"
            );
            None
        }
        Err(_elapsed) => {
            warn!("counting rate limits took too long");
            None
        }
    };
    if rooms.is_none()
        && let Some(metrics) = &cx.metrics
    {
        metrics.uncounted();
    }
    let rooms: BTreeMap<_, _> = order.into_iter().zip(rooms?).collect();
    let admissions = rooms.into_iter().map(|(place, room)| match room {
        Room::Taken => {
            let claims = asking[place].claims.iter();
            let soonest = claims.map(|claim| claim.limit.use_within()).min();
            Admission::Slot {
                until: now + soonest.unwrap_or_default(),
            }
        }
        Room::Full { limit, until } => Admission::Full { limit, until },
    });
    Some(admissions.collect())
}

/// The limits of a send. A test reaches nobody, and what is over or too late is not sent.
fn claims(row: &ToDeliver, cx: &Context, shelf: &Shelf, now: DateTime<Utc>) -> Vec<Claim> {
    let delivery = deliver::facts(row);
    if row.is_test || delivery.is_over() || delivery.has_expired(now) {
        return Vec::new();
    }
    let provider = match row.channel {
        Channel::InApp => None,
        channel => cx.channels.provider(channel),
    };
    shelf.limits(&row.tenant_id).of(&SendFacts {
        tenant_id: &row.tenant_id,
        user_id: &row.user_id,
        channel: row.channel,
        category: row.category.as_deref(),
        event_type: &row.kind,
        provider: provider.map(channels::Provider::name),
        address: row.address.as_deref(),
    })
}

/// Puts a send off until there is a slot. Nothing was tried, so the delivery stays as it is.
fn held(
    row: &ToDeliver,
    limit: &Limit,
    until: DateTime<Utc>,
    now: DateTime<Utc>,
    lease: LeaseInfo,
) -> Outcome<Effect> {
    let due = within(row, until, now);
    let outcome = Outcome::snoozed(due);
    if lease.attempt > WAITS_TRACED {
        return outcome;
    }
    let window = limit.window.as_secs();
    let reason = format!(
        "the limit `{}` of {} in {window} s is full",
        limit.name, limit.max
    );
    let step = TraceStep::new(deliver::STEP, "rate_limited", reason).with_detail(json!({
        "delivery_id": row.id, "channel": row.channel, "limit": limit.name, "max": limit.max,
        "window_s": window, "until": until.to_rfc3339_opts(SecondsFormat::Micros, true),
    }));
    outcome.with(Effect::Traced {
        subject_id: row.notification_id.as_uuid(),
        at: now,
        steps: vec![step],
    })
}

/// When a send that waits looks again: no later than it expires, so that it is told in time.
fn within(row: &ToDeliver, until: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    let latest = row.expires_at.unwrap_or(DateTime::<Utc>::MAX_UTC);
    until.min(now + WAIT_MAX).min(latest)
}
