//! Keys of services. A key is shown once, when it is made; what is stored is its hash.

use chrono::{DateTime, Utc};
use domain::{Role, TenantId};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::StoreError;
use crate::error::{during, unknown_word};

/// Keys listed at most.
const KEYS_SHOWN_MAX: i64 = 1000;

/// Characters of a key that stay readable, to tell keys apart in a list.
const PREFIX_CHARS: usize = 8;

/// A key to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiKey {
    pub api_key_id: Uuid,
    pub tenant_id: TenantId,
    pub hash: [u8; 32],
    pub prefix: String,
    /// What it is for, in its maker's words.
    pub name: String,
    /// Not empty.
    pub roles: Vec<Role>,
    pub created_at: DateTime<Utc>,
}

impl NewApiKey {
    /// Describes the key that consists of `secret`.
    pub fn of_secret(
        api_key_id: Uuid,
        tenant_id: TenantId,
        secret: &str,
        name: impl Into<String>,
        roles: Vec<Role>,
        created_at: DateTime<Utc>,
    ) -> Self {
        let prefix = secret.chars().take(PREFIX_CHARS).collect();
        let (hash, name) = (hash_of(secret), name.into());
        Self {
            api_key_id,
            tenant_id,
            hash,
            prefix,
            name,
            roles,
            created_at,
        }
    }
}

/// A key as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub api_key_id: Uuid,
    pub tenant_id: TenantId,
    pub prefix: String,
    pub name: String,
    pub roles: Vec<Role>,
    pub created_at: DateTime<Utc>,
    pub revoked_at: Option<DateTime<Utc>>,
}

/// What of a key is stored.
///
/// A fast hash is enough: the key has 256 random bits, so nobody guesses it.
pub fn hash_of(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Inserts a key; answers whether it was not there yet.
pub async fn insert_api_key(
    connection: &mut PgConnection,
    key: &NewApiKey,
) -> Result<bool, StoreError> {
    let roles: Vec<_> = key.roles.iter().map(|role| role.as_str()).collect();
    let inserted = sqlx::query!(
        r#"
        insert into api_keys (api_key_id, tenant_id, hash, prefix, name, roles, created_at)
        values ($1, $2, $3, $4, $5, $6, $7)
        on conflict (hash) do nothing
        "#,
        key.api_key_id,
        key.tenant_id.as_str(),
        key.hash.as_slice(),
        key.prefix,
        key.name,
        &roles as &[&str],
        key.created_at,
    )
    .execute(connection)
    .await
    .map_err(during("insert an API key"))?;
    Ok(inserted.rows_affected() == 1)
}

/// Finds the key with this hash, unless it was revoked.
pub async fn find_api_key(
    connection: &mut PgConnection,
    hash: &[u8; 32],
) -> Result<Option<ApiKey>, StoreError> {
    let row = sqlx::query_as!(
        Row,
        r#"
        select api_key_id, tenant_id, prefix, name, roles, created_at, revoked_at
        from api_keys
        where hash = $1 and revoked_at is null
        "#,
        hash.as_slice(),
    )
    .fetch_optional(connection)
    .await
    .map_err(during("find an API key"))?;
    row.map(ApiKey::try_from).transpose()
}

/// Lists keys, of one tenant or of all, oldest first; revoked ones too.
pub async fn list_api_keys(
    connection: &mut PgConnection,
    tenant_id: Option<&TenantId>,
) -> Result<Vec<ApiKey>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select api_key_id, tenant_id, prefix, name, roles, created_at, revoked_at
        from api_keys
        where $1::text is null or tenant_id = $1
        order by api_key_id
        limit $2
        "#,
        tenant_id.map(TenantId::as_str),
        KEYS_SHOWN_MAX,
    )
    .fetch_all(connection)
    .await
    .map_err(during("list API keys"))?;
    rows.into_iter().map(ApiKey::try_from).collect()
}

/// Revokes a key; answers whether there was one that was not revoked already.
pub async fn revoke_api_key(
    connection: &mut PgConnection,
    api_key_id: Uuid,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let revoked = sqlx::query!(
        "update api_keys set revoked_at = $2 where api_key_id = $1 and revoked_at is null",
        api_key_id,
        now,
    )
    .execute(connection)
    .await
    .map_err(during("revoke an API key"))?;
    Ok(revoked.rows_affected() == 1)
}

#[derive(Debug)]
struct Row {
    api_key_id: Uuid,
    tenant_id: String,
    prefix: String,
    name: String,
    roles: Vec<String>,
    created_at: DateTime<Utc>,
    revoked_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for ApiKey {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let role = |word: &String| Role::parse(word).ok_or_else(|| unknown_word("api_keys", word));
        Ok(Self {
            api_key_id: row.api_key_id,
            tenant_id: row.tenant_id.into(),
            prefix: row.prefix,
            name: row.name,
            roles: row.roles.iter().map(role).collect::<Result<_, _>>()?,
            created_at: row.created_at,
            revoked_at: row.revoked_at,
        })
    }
}
