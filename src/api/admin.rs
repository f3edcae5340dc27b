//! Admins, and the note of each change they make.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use domain::Role;
use serde_json::Value;
use store::audit::AuditEntry;

use crate::api::auth::Caller;
use crate::api::error::ApiError;
use crate::app::App;

/// A caller who may change what belongs to the tenant. Refused before the body is read.
#[derive(Debug)]
pub(super) struct Admin(pub(super) Caller);

impl FromRequestParts<App> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        if caller.may(Role::Admin) {
            return Ok(Self(caller));
        }
        Err(ApiError::forbidden("this needs the role `admin`"))
    }
}

/// A caller who may look at what belongs to the tenant.
#[derive(Debug)]
pub(super) struct Looker(pub(super) Caller);

impl FromRequestParts<App> for Looker {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        if caller.may(Role::Read) {
            return Ok(Self(caller));
        }
        Err(ApiError::forbidden("this needs the role `read`"))
    }
}

/// The note of a change, to be recorded in its transaction. No address, no content.
pub(super) fn noted(
    caller: &Caller,
    at: DateTime<Utc>,
    action: &str,
    subject: impl Into<String>,
    detail: Option<Value>,
) -> AuditEntry {
    AuditEntry {
        audit_id: queue::uuid_at(at),
        at,
        tenant_id: caller.tenant_id.clone(),
        actor: caller.actor(),
        action: action.to_owned(),
        subject: subject.into(),
        detail,
    }
}
