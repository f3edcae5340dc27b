//! Making, rotating and revoking API keys: what the API and the command line do alike.
//!
//! A key's secret exists in the answer to whoever made it, and nowhere else. A rotation makes a key
//! like the old one, which goes on being accepted until an agreed moment, so that services can
//! change over one by one. Every change is noted in the audit, in its transaction.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Role, TenantId};
use serde_json::json;
use store::api_keys::{self, ApiKey, NewApiKey};
use store::audit::{self, AuditEntry};
use store::{Connection, StoreError};

use crate::config::Secret;

/// Tells our keys from those of others, for people and for scanners of leaked secrets.
pub(crate) const KEY_PREFIX: &str = "pr_";

/// How long a key that was rotated is still accepted, when nobody says.
pub(crate) const OVERLAP_DEFAULT: TimeDelta = TimeDelta::hours(24);

/// The longest that anybody may say.
pub(crate) const OVERLAP_MAX: TimeDelta = TimeDelta::days(90);

/// A key to make.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) tenant_id: TenantId,
    pub(crate) name: String,
    /// Not empty.
    pub(crate) roles: Vec<Role>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

/// A key that was made. Its secret is shown once.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) secret: Secret,
    pub(crate) key: ApiKey,
}

/// Why a key cannot be rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotRotated {
    #[error("the key is not valid any more")]
    Over,
    #[error("the key was rotated already; rotate the one that took over")]
    Again,
}

/// Who makes a change, and when.
#[derive(Debug, Clone)]
pub(crate) struct Signature {
    pub(crate) actor: String,
    pub(crate) at: DateTime<Utc>,
}

impl Signature {
    async fn sign(
        &self,
        connection: &mut Connection,
        action: &str,
        key: &ApiKey,
        detail: serde_json::Value,
    ) -> Result<(), StoreError> {
        let entry = AuditEntry {
            audit_id: queue::uuid_at(self.at),
            at: self.at,
            tenant_id: key.tenant_id.clone(),
            actor: self.actor.clone(),
            action: action.to_owned(),
            subject: key.api_key_id.to_string(),
            detail: Some(detail),
        };
        audit::record(connection, &[entry]).await
    }
}

/// Makes a key.
pub(crate) async fn create(
    connection: &mut Connection,
    order: Order,
    signature: &Signature,
) -> Result<Made, StoreError> {
    let made = insert(connection, order, signature.at).await?;
    let roles: Vec<_> = made.key.roles.iter().map(|role| role.as_str()).collect();
    let detail = json!({"roles": roles, "expires_at": made.key.expires_at});
    signature
        .sign(connection, "api_key.created", &made.key, detail)
        .await?;
    Ok(made)
}

/// Has a key taken over by another one like it. The old one ends after `overlap`, or when it would
/// have ended anyway. A key that was made for a time is followed by one for as long, unless
/// `expires_at` says otherwise; `end_max` is the latest that the caller may choose.
pub(crate) async fn rotate(
    connection: &mut Connection,
    old: ApiKey,
    overlap: TimeDelta,
    expires_at: Option<DateTime<Utc>>,
    end_max: Option<DateTime<Utc>>,
    signature: &Signature,
) -> Result<Result<Made, NotRotated>, StoreError> {
    let now = signature.at;
    if !old.is_valid(now) {
        return Ok(Err(NotRotated::Over));
    }
    if old.replaced_by.is_some() {
        return Ok(Err(NotRotated::Again));
    }
    let as_long = old.expires_at.map(|end| now + (end - old.created_at));
    let order = Order {
        tenant_id: old.tenant_id.clone(),
        name: old.name.clone(),
        roles: old.roles.clone(),
        expires_at: expires_at.or(as_long).map_or(end_max, |end| {
            Some(end_max.map_or(end, |end_max| end.min(end_max)))
        }),
    };
    let made = insert(connection, order, now).await?;
    let ends_at = now + overlap;
    api_keys::replace_api_key(connection, old.api_key_id, made.key.api_key_id, ends_at).await?;
    let detail = json!({"replaced_by": made.key.api_key_id, "ends_at": ends_at});
    signature
        .sign(connection, "api_key.rotated", &old, detail)
        .await?;
    Ok(Ok(made))
}

/// Revokes a key; answers whether it was not revoked already.
pub(crate) async fn revoke(
    connection: &mut Connection,
    key: &ApiKey,
    signature: &Signature,
) -> Result<bool, StoreError> {
    let is_new = api_keys::revoke_api_key(connection, key.api_key_id, signature.at).await?;
    if is_new {
        signature
            .sign(connection, "api_key.revoked", key, json!({}))
            .await?;
    }
    Ok(is_new)
}

async fn insert(
    connection: &mut Connection,
    order: Order,
    now: DateTime<Utc>,
) -> Result<Made, StoreError> {
    let secret = Secret::random(KEY_PREFIX);
    let Order {
        tenant_id,
        name,
        roles,
        expires_at,
    } = order;
    let key = NewApiKey::of_secret(
        queue::uuid_at(now),
        tenant_id,
        secret.reveal(),
        name,
        roles,
        now,
    )
    .expiring(expires_at);
    api_keys::insert_api_key(connection, &key).await?;
    Ok(Made {
        secret,
        key: ApiKey {
            api_key_id: key.api_key_id,
            tenant_id: key.tenant_id,
            prefix: key.prefix,
            name: key.name,
            roles: key.roles,
            created_at: now,
            expires_at,
            last_used_at: None,
            revoked_at: None,
            replaced_by: None,
        },
    })
}

/// What becomes of a key, in one word.
pub(crate) fn state_of(key: &ApiKey, now: DateTime<Utc>) -> &'static str {
    if key.revoked_at.is_some() {
        "revoked"
    } else if !key.is_valid(now) {
        "expired"
    } else if key.replaced_by.is_some() {
        "ending"
    } else {
        "active"
    }
}
