//! Keys of services. A key is shown once, when it is made; what is stored is its hash.

use chrono::{DateTime, Utc};
use domain::{Role, TenantId};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::StoreError;
use crate::error::{during, unknown_word};

/// Keys listed at most.
const KEYS_SHOWN_MAX: i64 = 1001;

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
    pub expires_at: Option<DateTime<Utc>>,
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
        // An operator may have chosen a short one: most of it stays hidden.
        let shown = PREFIX_CHARS.min(secret.chars().count() / 4);
        let prefix = secret.chars().take(shown).collect();
        let (hash, name) = (hash_of(secret), name.into());
        Self {
            api_key_id,
            tenant_id,
            hash,
            prefix,
            name,
            roles,
            created_at,
            expires_at: None,
        }
    }

    /// Lets the key end by itself.
    #[must_use]
    pub fn expiring(mut self, expires_at: Option<DateTime<Utc>>) -> Self {
        self.expires_at = expires_at;
        self
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
    pub expires_at: Option<DateTime<Utc>>,
    /// A minute behind at most.
    pub last_used_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    /// The key that took over.
    pub replaced_by: Option<Uuid>,
}

impl ApiKey {
    /// Whether it is accepted at `now`.
    pub fn is_valid(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| end > now)
    }
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
        insert into api_keys
            (api_key_id, tenant_id, hash, prefix, name, roles, created_at, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (hash) do nothing
        "#,
        key.api_key_id,
        key.tenant_id.as_str(),
        key.hash.as_slice(),
        key.prefix,
        key.name,
        &roles as &[&str],
        key.created_at,
        key.expires_at,
    )
    .execute(connection)
    .await
    .map_err(during("insert an API key"))?;
    Ok(inserted.rows_affected() == 1)
}

/// Finds the key with this hash, if it is valid at `now`.
pub async fn find_api_key(
    connection: &mut PgConnection,
    hash: &[u8; 32],
    now: DateTime<Utc>,
) -> Result<Option<ApiKey>, StoreError> {
    let row = sqlx::query_as!(
        Row,
        r#"
        select api_key_id, tenant_id, prefix, name, roles, created_at, expires_at, last_used_at,
               revoked_at, replaced_by
        from api_keys
        where hash = $1 and revoked_at is null and (expires_at is null or expires_at > $2)
        "#,
        hash.as_slice(),
        now,
    )
    .fetch_optional(connection)
    .await
    .map_err(during("find an API key"))?;
    row.map(ApiKey::try_from).transpose()
}

/// Finds a key by its id, valid or not, and keeps others from changing it until the end of the
/// transaction. `tenant_id` is whose it must be, where that matters.
pub async fn lock_api_key(
    connection: &mut PgConnection,
    tenant_id: Option<&TenantId>,
    api_key_id: Uuid,
) -> Result<Option<ApiKey>, StoreError> {
    let row = sqlx::query_as!(
        Row,
        r#"
        select api_key_id, tenant_id, prefix, name, roles, created_at, expires_at, last_used_at,
               revoked_at, replaced_by
        from api_keys
        where api_key_id = $1 and ($2::text is null or tenant_id = $2)
        for no key update
        "#,
        api_key_id,
        tenant_id.map(TenantId::as_str),
    )
    .fetch_optional(connection)
    .await
    .map_err(during("find an API key"))?;
    row.map(ApiKey::try_from).transpose()
}

/// Lists keys, of one tenant or of all, newest first from before `before` on; revoked ones too.
pub async fn list_api_keys(
    connection: &mut PgConnection,
    tenant_id: Option<&TenantId>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<ApiKey>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select api_key_id, tenant_id, prefix, name, roles, created_at, expires_at, last_used_at,
               revoked_at, replaced_by
        from api_keys
        where ($1::text is null or tenant_id = $1) and ($2::uuid is null or api_key_id < $2)
        order by api_key_id desc
        limit $3
        "#,
        tenant_id.map(TenantId::as_str),
        before,
        limit.clamp(0, KEYS_SHOWN_MAX),
    )
    .fetch_all(connection)
    .await
    .map_err(during("list API keys"))?;
    rows.into_iter().map(ApiKey::try_from).collect()
}

/// Says which key takes over from one, and when that one ends. It never ends later than it would
/// have anyway.
pub async fn replace_api_key(
    connection: &mut PgConnection,
    api_key_id: Uuid,
    replaced_by: Uuid,
    ends_at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        update api_keys
        set replaced_by = $2, expires_at = least(expires_at, $3)
        where api_key_id = $1
        "#,
        api_key_id,
        replaced_by,
        ends_at,
    )
    .execute(connection)
    .await
    .map_err(during("replace an API key"))?;
    Ok(())
}

/// Notes when keys were used, those that were noted within the last minute left out: however many
/// processes use a key, its row is written about once a minute.
pub async fn note_use(
    connection: &mut PgConnection,
    uses: &[(Uuid, DateTime<Utc>)],
) -> Result<(), StoreError> {
    let (ids, times): (Vec<_>, Vec<_>) = uses.iter().copied().unzip();
    sqlx::query!(
        r#"
        with due as (
            select key.api_key_id, used.at
            from unnest($1::uuid[], $2::timestamptz[]) as used (id, at)
            join api_keys as key on key.api_key_id = used.id
            where key.last_used_at is null or key.last_used_at < used.at - interval '50 seconds'
            order by key.api_key_id
            for no key update of key
        )
        update api_keys as key
        set last_used_at = due.at
        from due
        where key.api_key_id = due.api_key_id
        "#,
        &ids,
        &times,
    )
    .execute(connection)
    .await
    .map_err(during("note the use of API keys"))?;
    Ok(())
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
    expires_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    replaced_by: Option<Uuid>,
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
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
            revoked_at: row.revoked_at,
            replaced_by: row.replaced_by,
        })
    }
}
