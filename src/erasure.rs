//! Erasure: forgets a person, in the queue and in our tables.
//!
//! What waits for them is cancelled, with its jobs. What is being sent or routed at that very
//! moment may still be settled afterwards, for it was loaded before; erasing once more takes that
//! too.

use domain::{NotificationId, TenantId, UserId};
use queue::JobId;
use store::audit::{self, AuditEntry};
use store::erase::{self, ErasedPage};
use store::{Connection, Store, StoreError};

/// Who is to be forgotten, and who says so.
#[derive(Debug, Clone)]
pub(crate) struct Erasure {
    pub(crate) tenant_id: TenantId,
    pub(crate) user_id: UserId,
    pub(crate) audit: AuditEntry,
}

impl Erasure {
    /// Forgets the person; answers whether anything was known of them.
    ///
    /// Bounded by what was there when it began. Each page of their notifications is a transaction;
    /// the last one, often the only one, takes the rest with it and notes who did this.
    pub(crate) async fn run(self, store: &Store) -> Result<bool, StoreError> {
        let Self {
            tenant_id,
            user_id,
            audit,
        } = self;
        let now = audit.at;
        let until = NotificationId::at(now);
        let mut after = None;
        loop {
            let mut tx = store.begin().await?;
            let mut page = erase::find_page(&mut tx, &tenant_id, &user_id, after, until).await?;
            discard_jobs(&mut tx, &page).await?;
            let is_last = (page.notifications.len() as i64) < erase::PAGE_ROWS;
            let had_digests =
                is_last && forget_digests(&mut tx, &tenant_id, &user_id, &mut page).await?;
            erase::blank(&mut tx, &page, now).await?;
            if is_last {
                let was_known = erase::forget(&mut tx, &tenant_id, &user_id).await?;
                let was_told = after.is_some() || !page.notifications.is_empty() || had_digests;
                if was_known || was_told {
                    audit::record(&mut tx, &[audit]).await?;
                }
                tx.commit().await?;
                return Ok(was_known || was_told);
            }
            after = page.notifications.last().copied();
            tx.commit().await?;
        }
    }
}

/// Deletes the person's digests, and dead letters about them. Answers whether there were any.
async fn forget_digests(
    connection: &mut Connection,
    tenant_id: &TenantId,
    user_id: &UserId,
    page: &mut ErasedPage,
) -> Result<bool, StoreError> {
    let digests = erase::forget_digests(connection, tenant_id, user_id, page).await?;
    let ids: Vec<_> = digests.iter().map(ToString::to_string).collect();
    queue::discard::dead(connection, "digest_id", &ids)
        .await
        .map_err(|source| StoreError::Database {
            operation: "discard the jobs of a user",
            source,
        })?;
    Ok(!digests.is_empty())
}

/// Takes the jobs of a page away: those that wait, and those that died and quote an error.
async fn discard_jobs(connection: &mut Connection, page: &ErasedPage) -> Result<(), StoreError> {
    let jobs: Vec<_> = page
        .deliveries
        .iter()
        .filter_map(|delivery| delivery.job_id.map(JobId))
        .collect();
    let failed = |source| StoreError::Database {
        operation: "discard the jobs of a user",
        source,
    };
    queue::discard::waiting(connection, &jobs)
        .await
        .map_err(failed)?;
    let texts = |ids: &mut dyn Iterator<Item = String>| ids.collect::<Vec<_>>();
    let deliveries = texts(&mut page.deliveries.iter().map(|it| it.id.to_string()));
    let notifications = texts(&mut page.notifications.iter().map(ToString::to_string));
    let events = texts(&mut page.events.iter().map(ToString::to_string));
    for (field, ids) in [
        ("delivery_id", deliveries),
        ("notification_id", notifications),
        ("event_id", events),
    ] {
        queue::discard::dead(connection, field, &ids)
            .await
            .map_err(failed)?;
    }
    Ok(())
}
