//! People who can be notified, and where they are reached.

use chrono::{DateTime, Utc};
use domain::{Addresses, TenantId, UserId};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, QueryBuilder};

use crate::StoreError;
use crate::error::during;
use crate::json::Document;

/// A row of `users`, but for its times.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    pub tenant_id: TenantId,
    pub user_id: UserId,
    pub addresses: Addresses,
    pub locale: Option<String>,
    /// An IANA name, such as `Europe/Berlin`.
    pub timezone: Option<String>,
    pub roles: Vec<String>,
    pub groups: Vec<String>,
    /// An object; templates see it as `user.data`.
    pub data: Value,
}

/// Users on one page at most, and one more that says whether there is another page.
const PAGE_ROWS_MAX: i64 = 1001;

/// Which users a page shows; what is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserFilter {
    /// The list begins here: with this id, or with the next.
    pub from: Option<UserId>,
    pub role: Option<String>,
    pub group: Option<String>,
}

/// Inserts a user, or replaces everything known of one.
pub async fn upsert_user(
    connection: &mut PgConnection,
    user: &User,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        insert into users (
            tenant_id, user_id, addresses, locale, timezone, roles, groups, data, created_at,
            updated_at
        )
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
        on conflict (tenant_id, user_id) do update
        set addresses = excluded.addresses,
            locale = excluded.locale,
            timezone = excluded.timezone,
            roles = excluded.roles,
            groups = excluded.groups,
            data = excluded.data,
            updated_at = excluded.updated_at
        "#,
        user.tenant_id.as_str(),
        user.user_id.as_str(),
        Json(&user.addresses) as _,
        user.locale,
        user.timezone,
        &user.roles,
        &user.groups,
        user.data,
        now,
    )
    .execute(connection)
    .await
    .map_err(during("write a user"))?;
    Ok(())
}

/// Reads where a user is reached and keeps others from changing it until the transaction ends. Who
/// has no row is given one.
pub async fn lock_addresses(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
    now: DateTime<Utc>,
) -> Result<Addresses, StoreError> {
    // The update of a conflict changes nothing, but locks the row and answers it.
    let addresses = sqlx::query_scalar!(
        r#"
        insert into users as known (tenant_id, user_id, created_at, updated_at)
        values ($1, $2, $3, $3)
        on conflict (tenant_id, user_id) do update
        set updated_at = known.updated_at
        returning addresses as "addresses: Json<Addresses>"
        "#,
        tenant_id.as_str(),
        user_id.as_str(),
        now,
    )
    .fetch_one(connection)
    .await
    .map_err(during("lock a user"))?;
    Ok(addresses.0)
}

/// Replaces where a user is reached, whose row the caller holds.
pub async fn write_addresses(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
    addresses: &Addresses,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        update users set addresses = $3, updated_at = $4
        where tenant_id = $1 and user_id = $2
        "#,
        tenant_id.as_str(),
        user_id.as_str(),
        Json(addresses) as _,
        now,
    )
    .execute(connection)
    .await
    .map_err(during("write a user's addresses"))?;
    Ok(())
}

/// Finds a user.
pub async fn find_user(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
) -> Result<Option<User>, StoreError> {
    let users = list_users_by_id(connection, &[(tenant_id, user_id)]).await?;
    Ok(users.into_iter().next())
}

/// Finds users by id, for a whole batch of jobs. Those without a row are left out.
pub async fn list_users_by_id(
    connection: &mut PgConnection,
    ids: &[(&TenantId, &UserId)],
) -> Result<Vec<User>, StoreError> {
    let tenants: Vec<_> = ids.iter().map(|(tenant, _)| tenant.as_str()).collect();
    let users: Vec<_> = ids.iter().map(|(_, user)| user.as_str()).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"
        select tenant_id, user_id, addresses as "addresses: Json<Addresses>", locale, timezone,
               roles, groups, data as "data: Document<Value>"
        from users
        join unnest($1::text[], $2::text[]) as wanted (tenant_id, user_id)
            using (tenant_id, user_id)
        "#,
        &tenants as &[&str],
        &users as &[&str],
    )
    .fetch_all(connection)
    .await
    .map_err(during("read users"))?;
    Ok(rows.into_iter().map(User::from).collect())
}

/// Lists a tenant's users by id, after the user `after`.
pub async fn list_users(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    filter: &UserFilter,
    after: Option<&UserId>,
    limit: i64,
) -> Result<Vec<User>, StoreError> {
    // A statement for each set of filters: one plan for all would use the index of none.
    let mut query = QueryBuilder::<Postgres>::new(
        "select tenant_id, user_id, addresses, locale, timezone, roles, groups, data \
         from users where tenant_id = ",
    );
    query.push_bind(tenant_id.as_str());
    for (column, name) in [("roles", &filter.role), ("groups", &filter.group)] {
        if let Some(name) = name {
            query.push(format_args!(" and {column} @> array["));
            query.push_bind(name).push("]");
        }
    }
    if let Some(from) = &filter.from {
        query.push(" and user_id >= ").push_bind(from.as_str());
    }
    if let Some(after) = after {
        query.push(" and user_id > ").push_bind(after.as_str());
    }
    query
        .push(" order by user_id limit ")
        .push_bind(limit.clamp(0, PAGE_ROWS_MAX));
    let rows = query
        .build_query_as::<Row>()
        .fetch_all(connection)
        .await
        .map_err(during("list users"))?;
    Ok(rows.into_iter().map(User::from).collect())
}

#[derive(Debug, sqlx::FromRow)]
struct Row {
    tenant_id: String,
    user_id: String,
    addresses: Json<Addresses>,
    locale: Option<String>,
    timezone: Option<String>,
    roles: Vec<String>,
    groups: Vec<String>,
    data: Document<Value>,
}

impl From<Row> for User {
    fn from(row: Row) -> Self {
        Self {
            tenant_id: row.tenant_id.into(),
            user_id: row.user_id.into(),
            addresses: row.addresses.0,
            locale: row.locale,
            timezone: row.timezone,
            roles: row.roles,
            groups: row.groups,
            data: row.data.0,
        }
    }
}
