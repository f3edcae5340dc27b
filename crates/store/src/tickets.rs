//! One-time tickets to the live feed: given to whoever has a token, used once by whoever has none.
//!
//! Only a ticket's hash is stored. Issued and redeemed in batches: after a restart everybody comes
//! back within seconds. The table is unlogged and its commits are not waited for, since a ticket that
//! a crash forgets costs its holder one more request.

use chrono::{DateTime, Utc};
use domain::{TenantId, UserId};
use sqlx::PgConnection;

use crate::StoreError;
use crate::error::during;

/// A ticket on its way into the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTicket {
    pub hash: [u8; 32],
    pub tenant_id: TenantId,
    pub user_id: UserId,
    pub expires_at: DateTime<Utc>,
    /// When the credential ends that it was given for; `None` if it does not.
    pub session_ends_at: Option<DateTime<Utc>>,
}

/// What a ticket admits to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redeemed {
    pub hash: [u8; 32],
    pub tenant_id: TenantId,
    pub user_id: UserId,
    pub session_ends_at: Option<DateTime<Utc>>,
}

/// Stores tickets. Call it in a transaction of their own.
pub async fn issue(connection: &mut PgConnection, tickets: &[NewTicket]) -> Result<(), StoreError> {
    let hashes: Vec<_> = tickets.iter().map(|ticket| ticket.hash.to_vec()).collect();
    let tenants: Vec<_> = tickets.iter().map(|it| it.tenant_id.as_str()).collect();
    let users: Vec<_> = tickets.iter().map(|it| it.user_id.as_str()).collect();
    let ends: Vec<_> = tickets.iter().map(|ticket| ticket.expires_at).collect();
    let session_ends: Vec<_> = tickets.iter().map(|it| it.session_ends_at).collect();
    forget_on_crash(connection).await?;
    sqlx::query!(
        r#"
        insert into live_tickets (hash, tenant_id, user_id, expires_at, session_ends_at)
        select hash, tenant_id, user_id, expires_at, session_ends_at
        from unnest($1::bytea[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[])
            as ticket (hash, tenant_id, user_id, expires_at, session_ends_at)
        "#,
        &hashes,
        &tenants as &[&str],
        &users as &[&str],
        &ends,
        &session_ends as &[Option<DateTime<Utc>>],
    )
    .execute(connection)
    .await
    .map_err(during("issue tickets"))?;
    Ok(())
}

/// Takes tickets out of the table: each is answered to one caller at most, in whatever process.
/// Call it in a transaction of their own.
pub async fn redeem(
    connection: &mut PgConnection,
    hashes: &[[u8; 32]],
    now: DateTime<Utc>,
) -> Result<Vec<Redeemed>, StoreError> {
    let hashes: Vec<_> = hashes.iter().map(|hash| hash.to_vec()).collect();
    forget_on_crash(connection).await?;
    let rows = sqlx::query!(
        r#"
        -- In the order of their keys, so that two batches with the same tickets wait for each other
        -- at most.
        with held as materialized (
            select hash from live_tickets where hash = any($1) order by hash for update
        )
        delete from live_tickets as ticket
        using held
        where ticket.hash = held.hash
        returning ticket.hash, ticket.tenant_id, ticket.user_id, ticket.expires_at,
                  ticket.session_ends_at
        "#,
        &hashes,
    )
    .fetch_all(connection)
    .await
    .map_err(during("redeem tickets"))?;
    let valid = rows.into_iter().filter(|row| row.expires_at > now);
    let redeemed = valid.filter_map(|row| {
        Some(Redeemed {
            // Its length is checked by the table.
            hash: row.hash.try_into().ok()?,
            tenant_id: row.tenant_id.into(),
            user_id: row.user_id.into(),
            session_ends_at: row.session_ends_at,
        })
    });
    Ok(redeemed.collect())
}

/// Tickets removed by one call of [`prune`].
const PRUNED_MAX: i64 = 5000;

/// Removes some of the tickets that nobody used in time, and answers how many.
pub async fn prune(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<u64, StoreError> {
    let done = sqlx::query!(
        r#"
        delete from live_tickets
        where hash in (
            select hash from live_tickets
            where expires_at <= $1
            order by expires_at
            limit $2
            for update skip locked
        )
        "#,
        now,
        PRUNED_MAX,
    )
    .execute(connection)
    .await
    .map_err(during("remove old tickets"))?;
    Ok(done.rows_affected())
}

async fn forget_on_crash(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!("select set_config('synchronous_commit', 'off', true) as done")
        .fetch_one(connection)
        .await
        .map_err(during("prepare for tickets"))?;
    Ok(())
}
