//! `batch_flush`: the window of a digest should have ended; closes it.
//!
//! | | |
//! | --- | --- |
//! | Enqueued by | the settlement that opens the digest or moves its end, due then; a change of wishes |
//! | Queue | `batch_flush` |
//! | Attempts | 8 within about four minutes, then dead |
//! | Idempotency | a digest closes once, and only that settlement enqueues its telling |
//!
//! It decides on no item: others may be joining at this moment. The settlement closes the digest,
//! and whoever tells it reads a set that does not change any more
//! ([`route::tell`](crate::route::tell)). A digest that its size has closed needs nothing.
//!
//! What quiet hours gather is looked at by the wishes that hold by now. While all of it still waits
//! the digest stays open and its window ends when the quiet hours do, earlier or later than before;
//! it closes as soon as anything is to be sent, or is not wanted any more. A change of wishes
//! enqueues a job of its own for each such digest ([`wake_quiet`]) and moves none: one that runs at
//! that moment may have read the old wishes, and then the new one still comes after it. So a digest
//! may have several jobs. The first that finds it over closes it, and the others find it closed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use domain::{Channel, DigestId, QuietMode, Recipient, TenantId, TraceStep, UserId};
use queue::{Failure, Job, JobId, LeaseInfo, NewJob, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::digests::{About, Digest, DigestStatus, list_held_kinds, list_quiet_digests};
use store::recipients::list_recipients;
use store::settlement::DigestTurn;
use store::{Connection, Effect, StoreError};

use crate::context::Context;
use crate::delivery::urgency;
use crate::loading::lined_up;
use crate::queues;
use crate::wishes::{self, Wish};

const STEP: &str = "batch_flush";

/// Payload of a `batch_flush` job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchFlush {
    /// The digest whose window ends.
    pub digest_id: DigestId,
}

impl Job for BatchFlush {
    // Stored in the table. Renaming it orphans every waiting row.
    const KIND: &'static str = "batch_flush";
}

/// The job that ends the window of a digest that was opened, or that ends at another time. One for
/// each end, however often it is decided.
pub(crate) fn job(opened: &DigestTurn, now: DateTime<Utc>) -> NewJob {
    let flush = BatchFlush {
        digest_id: opened.digest_id,
    };
    let end = opened
        .closes_at
        .to_rfc3339_opts(SecondsFormat::Micros, true);
    NewJob::new(JobId::at(now), queues::BATCH_FLUSH, &flush)
        .priority(urgency(opened.priority))
        .lane(lane(&opened.tenant_id, &opened.user_id))
        .unique_key(format!("{}/{end}", opened.digest_id))
        .run_at(Some(opened.closes_at))
}

/// Digests of one user take turns with those of others.
pub(crate) fn lane(tenant_id: &TenantId, user_id: &UserId) -> u8 {
    queue::lane_of(&[tenant_id.as_str(), "digest", user_id.as_str()])
}

/// Has what quiet hours gather for a user looked at at once, in the transaction that changes their
/// wishes.
pub(crate) async fn wake_quiet(
    db: &mut Connection,
    tenant_id: &TenantId,
    user_id: &UserId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let open = list_quiet_digests(db, tenant_id, user_id).await?;
    let jobs: Vec<_> = open
        .into_iter()
        .map(|(digest_id, priority)| {
            NewJob::new(
                JobId::at(now),
                queues::BATCH_FLUSH,
                &BatchFlush { digest_id },
            )
            .priority(urgency(priority))
            .lane(lane(tenant_id, user_id))
        })
        .collect();
    queue::enqueue(db, &jobs, None)
        .await
        .map_err(|refused| StoreError::Database {
            operation: "look at what quiet hours gather",
            source: refused.source,
        })
}

/// A digest, and what is decided on if quiet hours gather it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Flush {
    pub(crate) digest: Digest,
    /// The kinds of deliveries that it holds.
    pub(crate) held: Vec<About>,
    /// What is known of its user.
    pub(crate) recipient: Option<Arc<Recipient>>,
}

/// Loads the digests of a claim, without their items, and what the users want of whom quiet hours
/// hold something back.
pub(crate) async fn prepare(
    connection: &mut Connection,
    cx: &Context,
    jobs: &[BatchFlush],
) -> Result<Vec<Option<Arc<Flush>>>, StoreError> {
    let ids: Vec<_> = jobs.iter().map(|job| job.digest_id).collect();
    let rows = store::digests::list_digests(connection, &ids).await?;
    let quiet = || rows.iter().filter(|row| is_quiet(row));
    let asked: Vec<_> = quiet().map(|row| row.id).collect();
    let mut held = list_held_kinds(connection, &asked).await?;
    let users: BTreeSet<_> = quiet()
        .map(|row| (&row.key.tenant_id, &row.key.user_id))
        .collect();
    let users: Vec<_> = users.into_iter().collect();
    let shelf = cx.catalog.latest();
    let people = list_recipients(connection, &users, shelf.consent()).await?;
    let people: BTreeMap<_, _> = people
        .into_iter()
        .map(|known| {
            let user_id = known.recipient.user_id.clone();
            ((known.tenant_id, user_id), Arc::new(known.recipient))
        })
        .collect();
    let flushes = rows.into_iter().map(|digest| {
        let user = (digest.key.tenant_id.clone(), digest.key.user_id.clone());
        Flush {
            held: held.remove(&digest.id).unwrap_or_default(),
            recipient: people.get(&user).map(Arc::clone),
            digest,
        }
    });
    Ok(lined_up(&ids, flushes.collect(), |flush: &Flush| {
        flush.digest.id
    }))
}

/// Whether quiet hours gather it.
fn is_quiet(digest: &Digest) -> bool {
    digest.key.rule_id.is_none() && digest.status == DigestStatus::Open
}

pub(crate) async fn run(
    job: BatchFlush,
    loaded: Option<&Flush>,
    cx: &Context,
    _lease: LeaseInfo,
) -> Result<Outcome<Effect>, Failure> {
    let Some(flush) = loaded else {
        tracing::warn!(digest.id = %job.digest_id, "nothing to flush, the row is gone");
        return Ok(Outcome::cancelled());
    };
    let (digest, now) = (&flush.digest, cx.clock.now());
    Ok(match digest.status {
        DigestStatus::Open => match waits_until(flush, now) {
            Some(until) => postponed(digest, until, now),
            None => Outcome::completed().with(digest.close(now)),
        },
        DigestStatus::Closed | DigestStatus::Told | DigestStatus::Cancelled => Outcome::completed(),
    })
}

/// When what it holds may be told, if all of it is to wait for that and for each other.
fn waits_until(flush: &Flush, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if !is_quiet(&flush.digest) {
        return None;
    }
    let channel = Channel::parse(&flush.digest.key.batch_key)?;
    let recipient = flush.recipient.as_deref();
    let mut ends = Vec::with_capacity(flush.held.len());
    for about in &flush.held {
        match wishes::of_held(about, channel, recipient, STEP, now) {
            Wish::Later(quiet) if quiet.mode == QuietMode::Digest => ends.push(quiet.until),
            Wish::Later(_) | Wish::Now | Wish::Never(..) => return None,
        }
    }
    ends.into_iter().min()
}

/// Leaves a digest open until then. It is said again where nothing has changed, so that a look at
/// that moment is planned whatever became of the last one.
fn postponed(digest: &Digest, until: DateTime<Utc>, now: DateTime<Utc>) -> Outcome<Effect> {
    let outcome = Outcome::completed().with(digest.postpone(until, now));
    if until == digest.closes_at {
        return outcome;
    }
    let reason = "the quiet hours end at another time by now";
    let step = TraceStep::new(STEP, "postponed", reason)
        .with_detail(json!({"digest_id": digest.id, "closes_at": until}));
    outcome.with(Effect::Traced {
        subject_id: digest.id.as_uuid(),
        at: now,
        steps: vec![step],
    })
}
