//! `/v1/consents`: who has agreed to be sent what, as a log that is only added to.

use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::http::{Response, StatusCode};
use domain::{ConsentSubmission, Role, UserId};
use serde::Serialize;
use serde_json::json;
use store::consents::{Consent, find_consent, list_consents, record_consent};
use store::{Connection, Tx};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::auth::Caller;
use super::body::{Json, JsonBody};
use super::error::ApiError;
use super::once::{self, Begun, PostBody};
use super::openapi::limits::{ConsentBody, ConsentChangeBody};
use super::openapi::words::ChannelWord;
use super::page::{Page, PageParams, PageQuery};
use super::path::path_id;
use super::query::Query;
use super::view::Moment;
use crate::app::App;

/// Where a withdrawal came from that was asked for by `DELETE`.
const REMOVED: &str = "api";

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, replace, remove))
}

/// A record of a consent, given or withdrawn.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Consent)]
pub(super) struct ConsentView {
    id: String,
    #[schema(value_type = String)]
    user_id: UserId,
    category: String,
    /// Null means every channel.
    #[schema(required, value_type = Option<ChannelWord>)]
    channel: Option<&'static str>,
    /// `false` where it was withdrawn.
    granted: bool,
    #[schema(required)]
    source: Option<String>,
    #[schema(required)]
    note: Option<String>,
    /// Who recorded it.
    #[schema(example = "user:ada")]
    actor: String,
    at: Moment,
    /// When a later record took its place; null of the one that stands.
    #[schema(required)]
    superseded_at: Option<Moment>,
}

impl ConsentView {
    pub(super) fn of(row: Consent) -> Self {
        Self {
            id: row.consent_id.to_string(),
            user_id: row.user_id,
            category: row.category,
            channel: row.channel.map(domain::Channel::as_str),
            granted: row.granted,
            source: row.source,
            note: row.note,
            actor: row.actor,
            at: Moment::at(row.at),
            superseded_at: row.superseded_at.map(Moment::at),
        }
    }
}

/// List the records of consents, newest first.
///
/// Services need the role `read`; a user sees their own.
#[utoipa::path(
    get, path = "/v1/consents", tag = "Consents", operation_id = "list_consents",
    params(
        ("user_id" = Option<String>, Query, description = "Of this user only."),
        ("category" = Option<String>, Query, description = "About this category only."),
        PageParams,
    ),
    responses((status = 200, description = "A page.", body = Page<ConsentView>)),
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<ConsentView>>, ApiError> {
    let asked_for = query.text("user_id").map(UserId::from);
    let category = query.text("category");
    let page = PageQuery::read(&mut query);
    query.finish()?;
    let user_id = caller.readable(asked_for)?;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let rows = list_consents(
        &mut conn,
        &caller.tenant_id,
        user_id.as_ref(),
        category.as_deref(),
        page.after,
        i64::from(page.limit) + 1,
    )
    .await
    .map_err(ApiError::from_store)?;
    let page = Page::new(rows, page.limit, |row| row.consent_id);
    Ok(Json(StatusCode::OK, page.map(ConsentView::of)))
}

/// Record that a user has agreed to be sent a category, or does so no longer.
///
/// Services need the role `admin`; a user speaks for themself. The record that stood of the same user,
/// category and channel stays in the log.
#[utoipa::path(
    post, path = "/v1/consents", tag = "Consents", operation_id = "record_consent",
    request_body = ConsentBody,
    responses((status = 201, description = "The record.", body = ConsentView)),
)]
async fn create(
    State(app): State<App>,
    caller: Caller,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    let said = ConsentSubmission::parse(body.value).map_err(ApiError::invalid)?;
    let user_id = caller.acting_for(said.user_id.clone())?;
    let mut work = match once::begin(&app, &caller, body.once).await? {
        Begun::Fresh(work) => work,
        Begun::Repeat(response) => return Ok(response),
    };
    let category = said.category.clone().unwrap_or_default();
    let consent = new(&app, &caller, user_id.clone(), category, said);
    write(&app, &caller, &mut work, &consent).await?;
    work.about(user_id)
        .answer(&app, StatusCode::CREATED, &ConsentView::of(consent))
        .await
}

/// Show a record.
///
/// Services need the role `read`; a user sees their own.
#[utoipa::path(
    get, path = "/v1/consents/{id}", tag = "Consents", operation_id = "show_consent",
    params(("id" = String, Path, description = "Its id.")),
    responses((status = 200, description = "The record.", body = ConsentView)),
)]
async fn show(
    State(app): State<App>,
    caller: Caller,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Json<ConsentView>, ApiError> {
    let whose = caller.readable(None)?;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let consent = find(&mut conn, &caller, whose.as_ref(), path_id(params)).await?;
    Ok(Json(StatusCode::OK, ConsentView::of(consent)))
}

/// Record another state of a consent.
///
/// Services need the role `admin`; a user changes their own. The answer is a new record of the same user,
/// category and channel.
#[utoipa::path(
    put, path = "/v1/consents/{id}", tag = "Consents", operation_id = "change_consent",
    params(("id" = String, Path, description = "The id of any of its records.")),
    request_body = ConsentChangeBody,
    responses((status = 200, description = "The new record.", body = ConsentView)),
)]
async fn replace(
    State(app): State<App>,
    caller: Caller,
    params: Result<RawPathParams, RawPathParamsRejection>,
    JsonBody(body): JsonBody,
) -> Result<Json<ConsentView>, ApiError> {
    let whose = changeable(&caller)?;
    let said = ConsentSubmission::parse_change(body).map_err(ApiError::invalid)?;
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let before = find(&mut tx, &caller, whose.as_ref(), path_id(params)).await?;
    let is_kept = [
        (
            "/user_id",
            said.user_id.as_ref().is_none_or(|it| *it == before.user_id),
        ),
        (
            "/category",
            said.category
                .as_ref()
                .is_none_or(|it| *it == before.category),
        ),
        (
            "/channel",
            said.channel.is_none() || said.channel == before.channel,
        ),
    ];
    if let Some((pointer, _)) = is_kept.into_iter().find(|(_, is_kept)| !is_kept) {
        return Err(ApiError::invalid_field(
            pointer,
            "cannot be changed; record another consent",
        ));
    }
    let consent = Consent {
        channel: before.channel,
        ..new(&app, &caller, before.user_id, before.category, said)
    };
    write(&app, &caller, &mut tx, &consent).await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    Ok(Json(StatusCode::OK, ConsentView::of(consent)))
}

/// Withdraw a consent. The log stays.
///
/// Services need the role `admin`; a user withdraws their own.
#[utoipa::path(
    delete, path = "/v1/consents/{id}", tag = "Consents", operation_id = "withdraw_consent",
    params(("id" = String, Path, description = "The id of any of its records.")),
    responses((status = 204, description = "It is withdrawn.")),
)]
async fn remove(
    State(app): State<App>,
    caller: Caller,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<StatusCode, ApiError> {
    let whose = changeable(&caller)?;
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let before = find(&mut tx, &caller, whose.as_ref(), path_id(params)).await?;
    let now = app.clock.now();
    let consent = Consent {
        consent_id: queue::uuid_at(now),
        at: now,
        superseded_at: None,
        granted: false,
        source: Some(REMOVED.to_owned()),
        note: None,
        actor: caller.actor(),
        ..before
    };
    write(&app, &caller, &mut tx, &consent).await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whose consents may be changed: `None` means everybody's of the tenant.
fn changeable(caller: &Caller) -> Result<Option<UserId>, ApiError> {
    match &caller.user_id {
        _ if caller.may(Role::Admin) => Ok(None),
        Some(own) => Ok(Some(own.clone())),
        None => Err(ApiError::forbidden("this needs the role `admin`")),
    }
}

/// Finds a record, of `whose` if that is said: what is another's is not there.
async fn find(
    connection: &mut Connection,
    caller: &Caller,
    whose: Option<&UserId>,
    id: Option<Uuid>,
) -> Result<Consent, ApiError> {
    let unknown = || ApiError::not_found("there is no such consent");
    let id = id.ok_or_else(unknown)?;
    let found = find_consent(connection, &caller.tenant_id, id)
        .await
        .map_err(ApiError::from_store)?;
    found
        .filter(|row| whose.is_none_or(|own| row.user_id == *own))
        .ok_or_else(unknown)
}

fn new(
    app: &App,
    caller: &Caller,
    user_id: UserId,
    category: String,
    said: ConsentSubmission,
) -> Consent {
    let now = app.clock.now();
    Consent {
        consent_id: queue::uuid_at(now),
        at: now,
        superseded_at: None,
        user_id,
        category,
        channel: said.channel,
        granted: said.granted,
        source: said.source,
        note: said.note,
        actor: caller.actor(),
    }
}

/// Adds a record, and notes who did. Where it came from is in the record.
async fn write(app: &App, caller: &Caller, tx: &mut Tx, consent: &Consent) -> Result<(), ApiError> {
    record_consent(tx, &caller.tenant_id, consent)
        .await
        .map_err(ApiError::from_store)?;
    let detail = json!({
        "category": consent.category, "channel": consent.channel, "granted": consent.granted,
    });
    let subject = consent.user_id.as_str();
    let detail = Some(detail);
    caller
        .sign(app, tx, "consent.recorded", subject, detail)
        .await
}
