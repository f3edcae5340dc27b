//! Dead letters of one tenant: the queue does not know whose a job is, so what each is about is
//! asked.
//!
//! A dead letter whose subject is gone, or whose payload names none, is the default tenant's: that
//! is who runs the installation, and nobody else may see it.

use std::collections::HashMap;

use domain::TenantId;
use queue::dead_letter::{
    self, DEAD_LETTERS_MAX, DeadLetter, DeadLetterFilter, Order, Passed, Place,
};
use store::Connection;
use store::subjects::list_owners;
use uuid::Uuid;

use crate::replay::ReplayError;
use crate::subject::{Subject, ids_of, nobodys};

/// Dead letters passed for one page at most. A tenant with few among many of others gets pages that
/// are not full, rather than an answer that takes for ever.
const PASSED_PER_PAGE_MAX: i64 = 20_000;

/// Dead letters counted at most.
const COUNTED_MAX: i64 = 1_000_000;

/// One page of dead letters, and where the next one begins; `None` after the last.
pub type Page = (Vec<DeadLetter>, Option<Place>);

/// Lists up to `limit` dead letters after a place; with a tenant, its own alone.
pub async fn list(
    db: &mut Connection,
    tenant_id: Option<&TenantId>,
    filter: &DeadLetterFilter,
    after: Option<Place>,
    order: Order,
    limit: usize,
) -> Result<Page, ReplayError> {
    let mut found: Vec<Place> = Vec::new();
    let mut place = after;
    let mut is_end = false;
    let mut passed = 0;
    while found.len() <= limit && !is_end && passed < PASSED_PER_PAGE_MAX {
        let rows = dead_letter::pass(db, filter, place, order, DEAD_LETTERS_MAX)
            .await
            .map_err(ReplayError::Queue)?;
        passed += DEAD_LETTERS_MAX;
        is_end = (rows.len() as i64) < DEAD_LETTERS_MAX;
        place = rows.last().map(Passed::place).or(place);
        let matching = rows.into_iter().filter(|row| row.is_match).collect();
        let own = own(db, tenant_id, matching).await?;
        found.extend(own.iter().map(Passed::place));
    }
    let next = if found.len() > limit {
        found.truncate(limit);
        found.last().copied()
    } else if is_end {
        None
    } else {
        place
    };
    let ids: Vec<_> = found.iter().map(|place| place.job_id).collect();
    let letters = dead_letter::find_all(db, &ids)
        .await
        .map_err(ReplayError::Queue)?;
    let mut by_id: HashMap<_, _> = letters
        .into_iter()
        .map(|letter| (letter.job_id, letter))
        .collect();
    // One that was replayed in between is left out.
    let letters = ids.iter().filter_map(|id| by_id.remove(id)).collect();
    Ok((letters, next))
}

/// How many dead letters are meant; with a tenant, of its own alone. Counts no further than a
/// million.
pub async fn count(
    db: &mut Connection,
    tenant_id: Option<&TenantId>,
    filter: &DeadLetterFilter,
) -> Result<i64, ReplayError> {
    let counted = count_within(db, tenant_id, filter, COUNTED_MAX).await?;
    Ok(counted.count)
}

/// Dead letters counted on a part of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    pub count: i64,
    /// Whether the way goes on, and there may be more.
    pub is_more: bool,
}

/// Counts like [`count`], but passes no more than about `most` dead letters: for a page that must
/// not wait for the rest.
pub async fn count_within(
    db: &mut Connection,
    tenant_id: Option<&TenantId>,
    filter: &DeadLetterFilter,
    most: i64,
) -> Result<Counted, ReplayError> {
    let Some(tenant_id) = tenant_id else {
        let count = dead_letter::count_matching(db, filter, most)
            .await
            .map_err(ReplayError::Queue)?;
        let is_more = count >= most;
        return Ok(Counted { count, is_more });
    };
    let mut place = None;
    let mut count = 0;
    let mut passed = 0;
    let mut is_more = true;
    while is_more && passed < most {
        let rows = dead_letter::pass(db, filter, place, Order::OldestFirst, DEAD_LETTERS_MAX)
            .await
            .map_err(ReplayError::Queue)?;
        is_more = (rows.len() as i64) >= DEAD_LETTERS_MAX;
        passed += DEAD_LETTERS_MAX;
        place = rows.last().map(Passed::place);
        let matching = rows.into_iter().filter(|row| row.is_match).collect();
        count += own(db, Some(tenant_id), matching).await?.len() as i64;
    }
    Ok(Counted { count, is_more })
}

/// Whether a dead letter is the tenant's.
pub async fn is_own(
    db: &mut Connection,
    tenant_id: &TenantId,
    letter: &DeadLetter,
) -> Result<bool, ReplayError> {
    let subject = Subject::of(&letter.kind, &letter.payload);
    let owners = list_owners(db, &ids_of(subject))
        .await
        .map_err(ReplayError::Store)?;
    Ok(owner(&owners, subject) == *tenant_id)
}

/// The tenant's among `rows`.
async fn own(
    db: &mut Connection,
    tenant_id: Option<&TenantId>,
    rows: Vec<Passed>,
) -> Result<Vec<Passed>, ReplayError> {
    let Some(tenant_id) = tenant_id else {
        return Ok(rows);
    };
    let subjects = rows
        .iter()
        .filter_map(|row| Subject::of(&row.kind, &row.payload));
    let owners = list_owners(db, &ids_of(subjects))
        .await
        .map_err(ReplayError::Store)?;
    Ok(rows
        .into_iter()
        .filter(|row| owner(&owners, Subject::of(&row.kind, &row.payload)) == *tenant_id)
        .collect())
}

/// Whose a subject is, by what [`list_owners`] found.
pub(crate) fn owner(owners: &HashMap<Uuid, TenantId>, subject: Option<Subject>) -> TenantId {
    subject
        .and_then(|subject| owners.get(&subject.id()))
        .cloned()
        .unwrap_or_else(nobodys)
}
