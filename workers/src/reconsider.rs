//! Reconsider: sends that wait for a rate limit ask again once it lets more through.
//!
//! A send that found its limit full is snoozed until a slot is free ([`throttle`](crate::throttle)),
//! which may be long after somebody has raised the limit. Whoever does so has the sends that wait
//! looked at again: page by page in the order of their moments, each page in a transaction of its
//! own, so that neither a statement nor a lock grows with what waits. One that finds its limit full
//! is told another moment. If the process dies in between, the rest ask again when they were told
//! to, within [`WAIT_MAX`].

use std::collections::{HashMap, HashSet};

use domain::{Channel, DeliveryId, TenantId};
use queue::control::{self, Waiting};
use queue::{Bell, Clock, JOBS_AVAILABLE, Job, JobId};
use serde::Deserialize;
use store::deliveries::list_own_deliveries;
use store::{Connection, Store, StoreError};
use uuid::Uuid;

use crate::deliver::Deliver;
use crate::queues;
use crate::throttle::WAIT_MAX;

/// Jobs of a page.
const PAGE: i64 = 500;

/// Pages of a channel. Some jobs may come twice: those that have asked again and wait once more.
const PAGES_MAX: usize = 2000;

/// Makes what a tenant's sends over `channels` wait for due now. Answers how many do.
pub async fn reconsider(
    store: &Store,
    bell: &Bell,
    clock: &Clock,
    tenant_id: &TenantId,
    channels: &[Channel],
) -> Result<u64, StoreError> {
    let now = clock.now();
    let mut count = 0;
    for &channel in channels {
        let queue = queues::of(channel);
        let mut after = (now, JobId(Uuid::max()));
        for _ in 0..PAGES_MAX {
            let mut tx = store.begin().await?;
            let page =
                control::list_waiting(&mut tx, queue, Deliver::KIND, after, now + WAIT_MAX, PAGE)
                    .await
                    .map_err(during)?;
            let Some(last) = page.last() else {
                break;
            };
            after = (last.run_at, last.job_id);
            let own = own(&mut tx, tenant_id, &page).await?;
            control::hasten(&mut tx, &own, Deliver::KIND)
                .await
                .map_err(during)?;
            tx.commit().await?;
            if !own.is_empty() {
                bell.ring(JOBS_AVAILABLE, queue);
            }
            count += own.len() as u64;
        }
    }
    Ok(count)
}

/// The jobs of a page that are about a tenant's deliveries.
async fn own(
    db: &mut Connection,
    tenant_id: &TenantId,
    page: &[Waiting],
) -> Result<Vec<JobId>, StoreError> {
    let deliveries: HashMap<JobId, DeliveryId> = page
        .iter()
        .filter_map(|job| {
            let about = Deliver::deserialize(&job.payload).ok()?;
            Some((job.job_id, about.delivery_id))
        })
        .collect();
    let ids: Vec<_> = deliveries.values().copied().collect();
    let own: HashSet<_> = list_own_deliveries(db, tenant_id, &ids)
        .await?
        .into_iter()
        .collect();
    let own = deliveries.into_iter().filter(|(_, id)| own.contains(id));
    Ok(own.map(|(job_id, _)| job_id).collect())
}

fn during(source: queue::DatabaseError) -> StoreError {
    StoreError::Database {
        operation: "have waiting sends ask again",
        source,
    }
}
