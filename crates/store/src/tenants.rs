//! Who owns what.

use chrono::{DateTime, Utc};
use domain::TenantId;
use sqlx::PgConnection;

use crate::StoreError;
use crate::error::during;

/// Tenants listed at most.
const TENANTS_SHOWN_MAX: i64 = 1000;

/// An owner of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    pub tenant_id: TenantId,
    pub name: String,
    pub created_at: DateTime<Utc>,
}

/// Inserts a tenant; answers whether it was not there yet.
pub async fn insert_tenant(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    name: &str,
) -> Result<bool, StoreError> {
    let inserted = sqlx::query!(
        "insert into tenants (tenant_id, name) values ($1, $2) on conflict (tenant_id) do nothing",
        tenant_id.as_str(),
        name,
    )
    .execute(connection)
    .await
    .map_err(during("insert a tenant"))?;
    Ok(inserted.rows_affected() == 1)
}

/// Lists tenants by name.
pub async fn list_tenants(connection: &mut PgConnection) -> Result<Vec<Tenant>, StoreError> {
    sqlx::query_as!(
        Tenant,
        "select tenant_id, name, created_at from tenants order by tenant_id limit $1",
        TENANTS_SHOWN_MAX,
    )
    .fetch_all(connection)
    .await
    .map_err(during("list tenants"))
}
