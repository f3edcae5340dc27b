//! `/v1/admin/keys`: the API keys of the caller's tenant.
//!
//! A key is in the answer to the request that made it, and never again: what is kept for a repeat
//! with the same `Idempotency-Key` has null in its place. Nobody grants what they do not have: a
//! key that ends cannot make one that lasts longer.

use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::http::{Response, StatusCode};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{FieldError, Role};
use serde::Serialize;
use serde_json::{Map, Value};
use store::api_keys::{ApiKey, list_api_keys, lock_api_key};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::auth::Caller;
use super::body::Json;
use super::error::ApiError;
use super::once::{self, Begun, OnceHeader, PostBody};
use super::openapi::words::optional_moment;
use super::page::{Page, PageParams, PageQuery};
use super::path::path_id;
use super::query::Query;
use super::roles::Admin;
use super::view::Moment;
use crate::app::App;
use crate::keys::{self, Made, OVERLAP_DEFAULT, OVERLAP_MAX, Order, Signature};

/// Longest name of a key, in characters.
const NAME_CHARS_MAX: usize = 255;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show, remove))
        .routes(routes!(rotate))
        .routes(routes!(revoke))
}

/// A key to make.
#[derive(ToSchema)]
#[schema(example = json!({"name": "billing", "roles": ["send"]}))]
#[allow(dead_code, reason = "only described; `read_order` reads the real one")]
struct KeyBody {
    /// What it is for, in your words.
    #[schema(nullable, max_length = 255)]
    name: Option<String>,
    /// What it may do; `admin` includes the others.
    #[schema(min_items = 1)]
    roles: Vec<RoleWord>,
    /// When it ends; never, if this is left out.
    #[schema(schema_with = optional_moment)]
    expires_at: Option<Value>,
}

/// How a key is rotated. May be empty.
#[derive(ToSchema)]
#[schema(example = json!({"overlap": "24h"}))]
#[allow(
    dead_code,
    reason = "only described; `read_rotation` reads the real one"
)]
struct RotationBody {
    /// How long the old key is still accepted, up to 90 days.
    #[schema(nullable, default = "24h")]
    overlap: Option<String>,
    /// When the new key ends; after as long as the old one was made for, if this is left out.
    #[schema(schema_with = optional_moment)]
    expires_at: Option<Value>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(dead_code, reason = "only described; `Role` is the real one")]
enum RoleWord {
    Send,
    Read,
    Admin,
}

/// A key of a service, without its secret.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(super) struct KeyView {
    #[schema(value_type = String)]
    id: Uuid,
    /// The beginning of the key, to tell keys apart.
    prefix: String,
    name: String,
    #[schema(value_type = Vec<RoleWord>)]
    roles: Vec<&'static str>,
    /// `active`; `ending`, once another took over; `expired`; `revoked`.
    state: &'static str,
    created_at: Moment,
    #[schema(required)]
    expires_at: Option<Moment>,
    /// Up to a minute behind.
    #[schema(required)]
    last_used_at: Option<Moment>,
    #[schema(required)]
    revoked_at: Option<Moment>,
    /// The key that took over when this one was rotated.
    #[schema(required, value_type = Option<String>)]
    replaced_by: Option<Uuid>,
}

/// A key that was made.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = MadeApiKey)]
pub(super) struct MadeView {
    /// The key itself, shown this once. Null in the answer to a repeat.
    #[schema(required)]
    key: Option<String>,
    #[serde(flatten)]
    about: KeyView,
}

impl KeyView {
    fn of(key: &ApiKey, now: DateTime<Utc>) -> Self {
        Self {
            id: key.api_key_id,
            prefix: key.prefix.clone(),
            name: key.name.clone(),
            roles: key.roles.iter().map(|role| role.as_str()).collect(),
            state: keys::state_of(key, now),
            created_at: Moment(key.created_at),
            expires_at: key.expires_at.map(Moment),
            last_used_at: key.last_used_at.map(Moment),
            revoked_at: key.revoked_at.map(Moment),
            replaced_by: key.replaced_by,
        }
    }
}

/// List the API keys of the tenant, newest first.
///
/// Needs the role `admin`. Revoked ones are listed too.
#[utoipa::path(
    get, path = "/v1/admin/keys", tag = "Operate", operation_id = "list_keys",
    params(PageParams),
    responses((status = 200, description = "A page of keys.", body = Page<KeyView>)),
)]
async fn list(
    State(app): State<App>,
    Admin(caller): Admin,
    mut query: Query,
) -> Result<Json<Page<KeyView>>, ApiError> {
    let page = PageQuery::read(&mut query);
    query.finish()?;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let limit = i64::from(page.limit) + 1;
    let keys = list_api_keys(&mut conn, Some(&caller.tenant_id), page.after, limit)
        .await
        .map_err(ApiError::from_store)?;
    let now = app.clock.now();
    let page = Page::new(keys, page.limit, |key| key.api_key_id);
    Ok(Json(StatusCode::OK, page.map(|key| KeyView::of(&key, now))))
}

/// Make an API key.
///
/// Needs the role `admin`. The key is in the answer, this once.
#[utoipa::path(
    post, path = "/v1/admin/keys", tag = "Operate", operation_id = "create_key",
    request_body = KeyBody,
    responses((status = 201, description = "The key.", body = MadeView)),
)]
async fn create(
    State(app): State<App>,
    Admin(caller): Admin,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    let order = read_order(body.value, &caller, app.clock.now()).map_err(ApiError::invalid)?;
    if let Some(role) = order.roles.iter().find(|role| !caller.may(**role)) {
        let role = role.as_str();
        let detail = format!("nobody grants the role `{role}` who does not have it");
        return Err(ApiError::forbidden(detail));
    }
    let mut work = match once::begin(&app, &caller, body.once).await? {
        Begun::Fresh(work) => work,
        Begun::Repeat(response) => return Ok(response),
    };
    let signature = sign(&app, &caller);
    let made = keys::create(&mut work, order, &signature)
        .await
        .map_err(ApiError::from_store)?;
    answer(&app, work, &made).await
}

/// Show one API key.
///
/// Needs the role `admin`.
#[utoipa::path(
    get, path = "/v1/admin/keys/{id}", tag = "Operate", operation_id = "show_key",
    params(("id" = String, Path)),
    responses((status = 200, description = "The key, without its secret.", body = KeyView)),
)]
async fn show(
    State(app): State<App>,
    Admin(caller): Admin,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Json<KeyView>, ApiError> {
    // The row is locked for its changes, which a transaction for reading may not do.
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let key = find(&mut tx, &caller, params).await?;
    Ok(Json(StatusCode::OK, KeyView::of(&key, app.clock.now())))
}

/// Have an API key taken over by another one like it.
///
/// Needs the role `admin`. The old key is accepted until the overlap is over.
#[utoipa::path(
    post, path = "/v1/admin/keys/{id}/rotate", tag = "Operate", operation_id = "rotate_key",
    params(("id" = String, Path)),
    request_body = RotationBody,
    responses((status = 201, description = "The key that takes over.", body = MadeView)),
)]
async fn rotate(
    State(app): State<App>,
    Admin(caller): Admin,
    params: Result<RawPathParams, RawPathParamsRejection>,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    let now = app.clock.now();
    let (overlap, expires_at) =
        read_rotation(body.value, &caller, now).map_err(ApiError::invalid)?;
    let mut work = match once::begin(&app, &caller, body.once).await? {
        Begun::Fresh(work) => work,
        Begun::Repeat(response) => return Ok(response),
    };
    let old = find(&mut work, &caller, params).await?;
    let signature = sign(&app, &caller);
    let made = keys::rotate(
        &mut work,
        old,
        overlap,
        expires_at,
        end_max(&caller),
        &signature,
    )
    .await
    .map_err(ApiError::from_store)?
    .map_err(|why| ApiError::conflict(why.to_string()))?;
    answer(&app, work, &made).await
}

/// Revoke an API key.
///
/// Needs the role `admin`. It is refused from now on, by other processes within two seconds.
#[utoipa::path(
    post, path = "/v1/admin/keys/{id}/revoke", tag = "Operate", operation_id = "revoke_key",
    params(("id" = String, Path)),
    responses((status = 200, description = "The key as it is now.", body = KeyView)),
)]
async fn revoke(
    State(app): State<App>,
    Admin(caller): Admin,
    params: Result<RawPathParams, RawPathParamsRejection>,
    OnceHeader(once): OnceHeader,
) -> Result<Response<Body>, ApiError> {
    let mut work = match once::begin(&app, &caller, once).await? {
        Begun::Fresh(work) => work,
        Begun::Repeat(response) => return Ok(response),
    };
    let mut key = find(&mut work, &caller, params).await?;
    let signature = sign(&app, &caller);
    keys::revoke(&mut work, &key, &signature)
        .await
        .map_err(ApiError::from_store)?;
    key.revoked_at = key.revoked_at.or(Some(signature.at));
    let shown = KeyView::of(&key, signature.at);
    let response = work.answer(&app, StatusCode::OK, &shown).await?;
    app.keys.forget(key.api_key_id);
    Ok(response)
}

/// Revoke an API key.
///
/// The same as a POST to its `/revoke`. The key stays in the list.
#[utoipa::path(
    delete, path = "/v1/admin/keys/{id}", tag = "Operate", operation_id = "delete_key",
    params(("id" = String, Path)),
    responses((status = 204, description = "It is refused from now on.")),
)]
async fn remove(
    State(app): State<App>,
    Admin(caller): Admin,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<StatusCode, ApiError> {
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let key = find(&mut tx, &caller, params).await?;
    let signature = sign(&app, &caller);
    keys::revoke(&mut tx, &key, &signature)
        .await
        .map_err(ApiError::from_store)?;
    tx.commit().await.map_err(ApiError::from_store)?;
    app.keys.forget(key.api_key_id);
    Ok(StatusCode::NO_CONTENT)
}

fn sign(app: &App, caller: &Caller) -> Signature {
    Signature {
        actor: caller.actor(),
        at: app.clock.now(),
    }
}

/// The latest that a key may end which this caller makes. A user's token ends within the hour, and
/// says nothing about that.
fn end_max(caller: &Caller) -> Option<DateTime<Utc>> {
    caller.expires_at.filter(|_| caller.user_id.is_none())
}

/// Commits, and shows the key; kept is the answer without it.
async fn answer(app: &App, work: once::Work, made: &Made) -> Result<Response<Body>, ApiError> {
    let shown = MadeView {
        key: Some(made.secret.reveal().to_owned()),
        about: KeyView::of(&made.key, made.key.created_at),
    };
    let kept = MadeView {
        key: None,
        ..shown.clone()
    };
    work.answer_kept_as(app, StatusCode::CREATED, &shown, &kept)
        .await
}

/// The key that the path names, if it is the tenant's.
async fn find(
    conn: &mut store::Connection,
    caller: &Caller,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<ApiKey, ApiError> {
    let not_found = || ApiError::not_found("there is no such key");
    let id: Uuid = path_id(params).ok_or_else(not_found)?;
    lock_api_key(conn, Some(&caller.tenant_id), id)
        .await
        .map_err(ApiError::from_store)?
        .ok_or_else(not_found)
}

/// Reads a [`KeyBody`].
fn read_order(body: Value, caller: &Caller, now: DateTime<Utc>) -> Result<Order, Vec<FieldError>> {
    let mut fields = Fields::of(body)?;
    let name = fields.take("name", |value| {
        let name = value.as_str().ok_or("must be a text")?;
        if name.chars().count() > NAME_CHARS_MAX || name.contains(char::is_control) {
            return Err("has at most 255 characters, and no control characters");
        }
        Ok(name.to_owned())
    });
    let roles = fields.take("roles", |value| {
        let words = value.as_array().filter(|words| !words.is_empty());
        let roles = words.and_then(|words| {
            let role = |word: &Value| Role::parse(word.as_str()?);
            words.iter().map(role).collect::<Option<Vec<_>>>()
        });
        let mut roles = roles.ok_or("must be a list of send, read and admin")?;
        roles.sort_unstable();
        roles.dedup();
        Ok(roles)
    });
    let expires_at = fields.end(caller, now);
    if roles.is_none() {
        fields.miss("roles");
    }
    fields.finish()?;
    Ok(Order {
        tenant_id: caller.tenant_id.clone(),
        name: name.unwrap_or_default(),
        roles: roles.unwrap_or_default(),
        expires_at: expires_at.or(end_max(caller)),
    })
}

/// Reads a [`RotationBody`].
fn read_rotation(
    body: Value,
    caller: &Caller,
    now: DateTime<Utc>,
) -> Result<(TimeDelta, Option<DateTime<Utc>>), Vec<FieldError>> {
    let mut fields = Fields::of(body)?;
    let overlap = fields.take("overlap", |value| {
        let overlap = value.as_str().and_then(|text| {
            let overlap = humantime::parse_duration(text).ok()?;
            TimeDelta::from_std(overlap).ok()
        });
        overlap
            .filter(|overlap| *overlap <= OVERLAP_MAX)
            .ok_or("must be a duration of at most 90 days, such as 24h")
    });
    let expires_at = fields.end(caller, now);
    fields.finish()?;
    Ok((overlap.unwrap_or(OVERLAP_DEFAULT), expires_at))
}

/// The fields of a body, and what was wrong with those taken so far.
struct Fields {
    fields: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    fn of(body: Value) -> Result<Self, Vec<FieldError>> {
        match body {
            Value::Object(fields) => Ok(Self {
                fields,
                errors: Vec::new(),
            }),
            _ => Err(vec![FieldError::new("", "must be an object")]),
        }
    }

    fn take<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Value) -> Result<T, &'static str>,
    ) -> Option<T> {
        let value = self.fields.remove(name).filter(|value| !value.is_null())?;
        let refuse = |detail: &'static str| {
            let error = FieldError::new(format!("/{name}"), detail);
            self.errors.push(error);
        };
        read(&value).map_err(refuse).ok()
    }

    /// `expires_at`: in the future, and not after the caller's own end.
    fn end(&mut self, caller: &Caller, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.take("expires_at", |value| {
            let moment = value.as_str().and_then(|text| {
                let moment = DateTime::parse_from_rfc3339(text).ok()?;
                Some(moment.with_timezone(&Utc))
            });
            let end = moment.ok_or("must be an RFC 3339 time such as 2026-01-31T09:00:00Z")?;
            if end <= now {
                return Err("must be in the future");
            }
            if end_max(caller).is_some_and(|end_max| end > end_max) {
                return Err("must not be after the end of the key that asks");
            }
            Ok(end)
        })
    }

    fn miss(&mut self, name: &str) {
        let pointer = format!("/{name}");
        if self.errors.iter().all(|error| error.pointer != pointer) {
            self.errors.push(FieldError::new(pointer, "is required"));
        }
    }

    fn finish(mut self) -> Result<(), Vec<FieldError>> {
        self.errors.extend(self.fields.keys().map(|name| {
            let name = name.replace('~', "~0").replace('/', "~1");
            FieldError::new(format!("/{name}"), "is not a known field")
        }));
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(self.errors)
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::TenantId;
    use serde_json::json;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn caller(expires_at: Option<DateTime<Utc>>) -> Caller {
        Caller {
            tenant_id: TenantId::default(),
            user_id: None,
            key_id: Some(Uuid::from_u128(1)),
            key_prefix: None,
            roles: vec![Role::Admin],
            expires_at,
        }
    }

    #[test]
    fn a_bad_order_names_its_fields() {
        for (body, pointers) in [
            (json!([]), vec![""]),
            (json!({}), vec!["/roles"]),
            (json!({"roles": []}), vec!["/roles"]),
            (json!({"roles": ["owner"]}), vec!["/roles"]),
            (
                json!({"roles": ["send"], "name": 7, "more": 1}),
                vec!["/name", "/more"],
            ),
            (
                json!({"roles": ["send"], "expires_at": "soon"}),
                vec!["/expires_at"],
            ),
            (
                json!({"roles": ["send"], "expires_at": "2001-01-01T00:00:00Z"}),
                vec!["/expires_at"],
            ),
        ] {
            let errors = read_order(body.clone(), &caller(None), now()).unwrap_err();
            let found: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
            assert_eq!(found, pointers, "{body}");
        }
    }

    #[test]
    fn a_key_that_ends_makes_none_that_lasts_longer() {
        let end = now() + TimeDelta::days(1);
        let read = |body: Value| read_order(body, &caller(Some(end)), now());

        assert_eq!(
            read(json!({"roles": ["send"]})).unwrap().expires_at,
            Some(end)
        );
        let later = json!({"roles": ["send"], "expires_at": end + TimeDelta::seconds(1)});
        assert_eq!(read(later).unwrap_err()[0].pointer, "/expires_at");
    }

    #[test]
    fn an_overlap_is_a_duration_of_at_most_ninety_days() {
        let read = |overlap: &str| read_rotation(json!({"overlap": overlap}), &caller(None), now());

        assert_eq!(read("90days").unwrap().0, OVERLAP_MAX);
        assert_eq!(read("0s").unwrap().0, TimeDelta::zero());
        for bad in ["91days", "-1h", "soon", ""] {
            assert_eq!(read(bad).unwrap_err()[0].pointer, "/overlap", "{bad}");
        }
        assert_eq!(
            read_rotation(json!({}), &caller(None), now()).unwrap().0,
            OVERLAP_DEFAULT
        );
    }
}
