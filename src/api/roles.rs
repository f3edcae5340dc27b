//! Who may: callers by the role that a route needs. Refused before the body is read.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use domain::{Role, TenantId};

use crate::api::auth::Caller;
use crate::api::error::ApiError;
use crate::app::App;

/// A caller with a role, or the refusal that names it.
macro_rules! roles {
    ($($(#[$doc:meta])* $name:ident: $role:expr, $refusal:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $name(pub(super) Caller);

        impl FromRequestParts<App> for $name {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
                let caller = Caller::from_request_parts(parts, app).await?;
                if caller.may($role) {
                    return Ok(Self(caller));
                }
                Err(ApiError::forbidden($refusal))
            }
        }
    )+};
}

roles! {
    /// A caller who may submit.
    Sender: Role::Send, "submitting needs the role `send`";
    /// A caller who may look at what belongs to the tenant.
    Looker: Role::Read, "this needs the role `read`";
    /// A caller who may change what belongs to the tenant.
    Admin: Role::Admin, "this needs the role `admin`";
}

/// A caller who may touch what all tenants share: an admin of the tenant that runs the installation.
#[derive(Debug)]
pub(super) struct Operator(pub(super) Caller);

impl FromRequestParts<App> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Admin(caller) = Admin::from_request_parts(parts, app).await?;
        if caller.tenant_id == TenantId::default() {
            return Ok(Self(caller));
        }
        Err(ApiError::forbidden(
            "this concerns all tenants and needs an admin of the tenant `default`",
        ))
    }
}
