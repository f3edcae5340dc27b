//! Who is asking: API keys of services, tokens of users ([`token`](super::token)).
//!
//! 401 when there is no credential or it is bad, 403 when it is good but not enough. Neither ever
//! says whether the thing asked for exists. A key is looked up by its hash and remembered for a
//! few seconds, so a revoked one stops working within that time, in every process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, header, request::Parts};
use chrono::{DateTime, Utc};
use domain::{Role, TenantId, UserId};
use serde_json::Value;
use store::Connection;
use store::audit::{AuditEntry, record};
use uuid::Uuid;

use crate::api::error::ApiError;
use crate::api::token::TokenError;
use crate::app::App;
use crate::edge::{CallerKey, Visit};

/// How long a key is trusted without asking the database again.
const KEY_TRUSTED: Duration = Duration::from_secs(2);

/// Keys remembered at once. More than that many active services ask the database each time.
const KEYS_REMEMBERED_MAX: usize = 4096;

/// Longest credential that is looked at: a JWT with a few claims is a tenth of it.
const CREDENTIAL_BYTES_MAX: usize = 8192;

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    pub tenant_id: TenantId,
    /// The signed-in user; `None` for a service.
    pub user_id: Option<UserId>,
    /// The id of a service's key.
    pub key_id: Option<Uuid>,
    /// The readable beginning of a service's key.
    pub key_prefix: Option<String>,
    pub roles: Vec<Role>,
    /// When the token or the key ends.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Caller {
    /// Who it is, in the words of the audit.
    pub(crate) fn actor(&self) -> String {
        match (&self.user_id, &self.key_prefix) {
            (Some(user_id), _) => format!("user:{user_id}"),
            (None, Some(prefix)) => format!("key:{prefix}"),
            (None, None) => "key:".to_owned(),
        }
    }

    /// The note of a change. No address and no content goes into it.
    pub(crate) fn note(
        &self,
        at: DateTime<Utc>,
        action: &str,
        subject: &str,
        detail: Option<Value>,
    ) -> AuditEntry {
        AuditEntry {
            audit_id: queue::uuid_at(at),
            at,
            tenant_id: self.tenant_id.clone(),
            actor: self.actor(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            detail,
        }
    }

    /// Notes a change in its transaction.
    pub(crate) async fn sign(
        &self,
        app: &App,
        tx: &mut Connection,
        action: &str,
        subject: &str,
        detail: Option<Value>,
    ) -> Result<(), ApiError> {
        let entry = self.note(app.clock.now(), action, subject, detail);
        record(tx, &[entry]).await.map_err(ApiError::from_store)
    }

    /// With whom its requests are counted.
    pub(crate) fn rate_key(&self) -> CallerKey {
        match (&self.key_id, &self.user_id) {
            (Some(key_id), _) => CallerKey::Service(*key_id),
            (None, user_id) => {
                let user_id = user_id.clone().unwrap_or_else(|| UserId::from(""));
                CallerKey::User(self.tenant_id.clone(), user_id)
            }
        }
    }

    pub(crate) fn may(&self, needed: Role) -> bool {
        self.roles.iter().any(|role| role.includes(needed))
    }

    /// Whose notifications may be read: `None` means everybody's of the tenant.
    ///
    /// A user without the role `read` reads their own and may not name another.
    pub fn readable(&self, asked_for: Option<UserId>) -> Result<Option<UserId>, ApiError> {
        if self.may(Role::Read) {
            return Ok(asked_for);
        }
        match (&self.user_id, asked_for) {
            (Some(own), None) => Ok(Some(own.clone())),
            (Some(own), Some(asked_for)) if *own == asked_for => Ok(Some(asked_for)),
            _ => Err(ApiError::forbidden("reading others needs the role `read`")),
        }
    }

    /// The user whose feed is meant: the signed-in one, or the one an admin key names.
    pub fn acting_for(&self, asked_for: Option<UserId>) -> Result<UserId, ApiError> {
        match (&self.user_id, asked_for) {
            (Some(own), None) => Ok(own.clone()),
            (Some(own), Some(asked_for)) if *own == asked_for => Ok(asked_for),
            (_, Some(asked_for)) if self.may(Role::Admin) => Ok(asked_for),
            (_, None) if self.may(Role::Admin) => Err(ApiError::invalid_field(
                "/user_id",
                "a service names the user",
            )),
            _ => Err(ApiError::forbidden(
                "acting for a user needs their token or an admin key",
            )),
        }
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let credential = credential_of(&parts.headers)
            .ok_or_else(|| ApiError::unauthorized("send an API key or a user token"))?;
        app.authenticate(&Visit::of(parts), credential).await
    }
}

/// The credential of a request: `Authorization: Bearer …`, else `X-Api-Key`.
pub(crate) fn credential_of(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, credential) = value.to_str().ok()?.split_once(' ')?;
        return scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| credential.trim());
    }
    headers.get("x-api-key")?.to_str().ok().map(str::trim)
}

impl App {
    /// Finds out who holds `credential`, and counts the request for them, or the failure.
    pub(crate) async fn authenticate(
        &self,
        visit: &Visit,
        credential: &str,
    ) -> Result<Caller, ApiError> {
        match self.holder(visit, credential).await? {
            Held::By(caller) => {
                self.edge.spend(visit, &caller.rate_key())?;
                if let Some(key_id) = caller.key_id {
                    self.key_use.note(key_id, self.clock.now());
                }
                Ok(caller)
            }
            // Well signed, so nobody's guess.
            Held::TooLong => Err(ApiError::unauthorized("the token has expired")),
            Held::ByNobody => {
                self.edge.failed(visit);
                Err(ApiError::unauthorized("the credential is not valid"))
            }
        }
    }

    async fn holder(&self, visit: &Visit, credential: &str) -> Result<Held, ApiError> {
        if credential.is_empty() || credential.len() > CREDENTIAL_BYTES_MAX {
            return Ok(Held::ByNobody);
        }
        let now = self.clock.now();
        // A JWT has three parts; an operator may have chosen a bootstrap key that looks like one.
        if credential.split('.').count() == 3 {
            match self.tokens.verify(credential, now).await {
                Ok(caller) => return Ok(Held::By(caller)),
                Err(TokenError::Expired) => return Ok(Held::TooLong),
                Err(TokenError::Bad | TokenError::UnknownKey) => {}
            }
        }
        let hash = store::api_keys::hash_of(credential);
        let caller = match self.keys.recall(&hash, now) {
            Recalled::Now(caller) => Some(caller),
            Recalled::Once => self.keys.find(&self.store, hash, now).await?,
            Recalled::Never => {
                self.edge.may_try(visit)?;
                self.keys.find(&self.store, hash, now).await?
            }
        };
        Ok(caller.map_or(Held::ByNobody, Held::By))
    }
}

/// Who holds a credential.
enum Held {
    By(Caller),
    ByNobody,
    TooLong,
}

/// What is remembered of a key.
enum Recalled {
    Now(Caller),
    /// That it was good, some time ago.
    Once,
    Never,
}

/// Finds API keys, remembering each for [`KEY_TRUSTED`].
#[derive(Debug, Default)]
pub(crate) struct ApiKeys {
    remembered: Mutex<HashMap<[u8; 32], (Instant, Caller)>>,
}

impl ApiKeys {
    async fn find(
        &self,
        store: &store::Store,
        hash: [u8; 32],
        now: DateTime<Utc>,
    ) -> Result<Option<Caller>, ApiError> {
        let mut conn = store.acquire().await.map_err(ApiError::from_store)?;
        let found = store::api_keys::find_api_key(&mut conn, &hash, now)
            .await
            .map_err(ApiError::from_store)?;
        drop(conn);
        let caller = found.map(|key| Caller {
            tenant_id: key.tenant_id,
            user_id: None,
            key_id: Some(key.api_key_id),
            key_prefix: Some(key.prefix),
            roles: key.roles,
            expires_at: key.expires_at,
        });
        match &caller {
            Some(caller) => self.remember(hash, caller.clone()),
            None => drop(self.lock().remove(&hash)),
        }
        Ok(caller)
    }

    fn recall(&self, hash: &[u8; 32], now: DateTime<Utc>) -> Recalled {
        match self.lock().get(hash) {
            None => Recalled::Never,
            Some((since, caller)) => {
                let is_valid = caller.expires_at.is_none_or(|end| end > now);
                if is_valid && since.elapsed() < KEY_TRUSTED {
                    Recalled::Now(caller.clone())
                } else {
                    Recalled::Once
                }
            }
        }
    }

    fn remember(&self, hash: [u8; 32], caller: Caller) {
        let mut remembered = self.lock();
        if remembered.len() >= KEYS_REMEMBERED_MAX {
            remembered.retain(|_, (since, _)| since.elapsed() < KEY_TRUSTED);
        }
        if remembered.len() < KEYS_REMEMBERED_MAX {
            remembered.insert(hash, (Instant::now(), caller));
        }
    }

    /// Forgets a key that was revoked here: others find out within [`KEY_TRUSTED`].
    pub(super) fn forget(&self, key_id: Uuid) {
        self.lock()
            .retain(|_, (_, caller)| caller.key_id != Some(key_id));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], (Instant, Caller)>> {
        let remembered = self.remembered.lock();
        remembered.expect("nothing panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_reads_only_their_own_notifications() {
        let user = Caller {
            tenant_id: TenantId::default(),
            user_id: Some(UserId::from("u1")),
            key_id: None,
            key_prefix: None,
            roles: Vec::new(),
            expires_at: None,
        };
        let sender = Caller {
            user_id: None,
            roles: vec![Role::Send],
            ..user.clone()
        };
        let admin = Caller {
            user_id: None,
            roles: vec![Role::Admin],
            ..user.clone()
        };
        let other = || Some(UserId::from("u2"));

        assert_eq!(user.readable(None), Ok(Some(UserId::from("u1"))));
        assert!(user.readable(other()).is_err());
        assert!(user.acting_for(other()).is_err());
        assert!(sender.readable(other()).is_err());
        assert!(sender.acting_for(other()).is_err());
        assert_eq!(admin.readable(None), Ok(None));
        assert_eq!(admin.acting_for(other()), Ok(UserId::from("u2")));
    }
}
