//! `/v1/notifications`: direct sends, and what became of notifications of either origin.

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::http::{Response, StatusCode};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    Channel, DeliveryId, FieldError, NotificationId, NotificationSubmission, Role, Status,
    TenantId, UserId,
};
use queue::JobId;
use serde::Serialize;
use serde_json::Value;
use store::StoreError;
use store::deliveries::{Attempt, Delivery};
use store::history::HistoryFilter;
use store::inbox::Entry;
use store::notifications::Notification;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::batch::{Batch, ItemError};
use super::body::{BATCH_BYTES_MAX, Json};
use super::error::ApiError;
use super::once::{OnceKey, PostBody};
use super::openapi::bodies::{NotificationBody, NotificationsBody};
use super::openapi::words::{ChannelWord, StatusWord};
use super::page::{Page, PageParams, PageQuery};
use super::path::path_id;
use super::query::Query;
use super::roles::Sender;
use super::submit;
use super::templates::named::NamedTemplates;
use super::view::{DeliveryView, NotificationView};
use crate::app::App;
use crate::intake::Row;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(submit_notification, list))
        .routes(routes!(submit_notifications))
        .routes(routes!(test_notification))
        .routes(routes!(show))
}

/// What became of one direct send.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NotificationSubmitted)]
pub(super) struct Submitted {
    #[schema(value_type = String)]
    id: NotificationId,
    /// `pending`, or `duplicate` of an earlier one: then nothing was written.
    status: &'static str,
}

/// What became of a bulk request. The id of a repeat is that of the send it repeats.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NotificationsSubmitted)]
pub(super) struct BulkSubmitted {
    #[schema(value_type = Vec<String>)]
    accepted: Vec<NotificationId>,
    errors: Vec<ItemError>,
}

/// Tell one user something.
///
/// Needs the role `send`.
#[utoipa::path(
    post, path = "/v1/notifications", tag = "Submit", operation_id = "submit_notification",
    request_body = NotificationBody,
    responses((status = 202, description = "Committed.", body = Submitted)),
)]
pub(super) async fn submit_notification(
    State(app): State<App>,
    Sender(caller): Sender,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    submit_one(&app, &caller, body, |row| row).await
}

async fn submit_one(
    app: &App,
    caller: &Caller,
    body: PostBody,
    change: impl FnOnce(Row) -> Row,
) -> Result<Response<Body>, ApiError> {
    let templates = NamedTemplates::look_up(app, &caller.tenant_id, &body.value).await?;
    let row = read(
        app,
        &caller.tenant_id,
        &templates,
        body.value,
        app.clock.now(),
    );
    let row = row.map_err(ApiError::invalid)?;
    hand_in(app, caller, change(row), body.once).await
}

/// Hands in one direct send and answers what became of it.
pub(super) async fn hand_in(
    app: &App,
    caller: &Caller,
    row: Row,
    once: Option<OnceKey>,
) -> Result<Response<Body>, ApiError> {
    submit::submit(app, caller, vec![row], once, |answers| {
        let (id, is_repeat) = submit::only(answers)?;
        let status = if is_repeat {
            "duplicate"
        } else {
            Status::Pending.as_str()
        };
        Ok(Submitted {
            id: id.into(),
            status,
        })
    })
    .await
}

/// Try a direct send out: whoever carries its channels, the outbox takes it.
///
/// Needs the role `send`. Everything happens as with a real one, but that nobody is sent anything:
/// in-app, too, it stays out of the feed. Shown as `is_test`, and not counted by `/v1/stats`.
#[utoipa::path(
    post, path = "/v1/notifications/test", tag = "Submit", operation_id = "test_notification",
    request_body = NotificationBody,
    responses((status = 202, description = "Committed.", body = Submitted)),
)]
pub(super) async fn test_notification(
    State(app): State<App>,
    Sender(caller): Sender,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    submit_one(&app, &caller, body, Row::into_test).await
}

/// Submit up to 5 000 direct sends.
///
/// Needs the role `send`. Good items land even when others are bad.
#[utoipa::path(
    post, path = "/v1/notifications/bulk", tag = "Submit", operation_id = "submit_notifications",
    request_body = NotificationsBody,
    responses((status = 202, description = "The good items are committed.", body = BulkSubmitted)),
)]
pub(super) async fn submit_notifications(
    State(app): State<App>,
    Sender(caller): Sender,
    body: PostBody<BATCH_BYTES_MAX>,
) -> Result<Response<Body>, ApiError> {
    let now = app.clock.now();
    let templates = NamedTemplates::look_up(&app, &caller.tenant_id, &body.value).await?;
    let read = |item| read(&app, &caller.tenant_id, &templates, item, now);
    hand_in_bulk(&app, &caller, body.value, body.once, read).await
}

/// Hands in what `read` takes of a bulk body and answers what became of each item.
pub(super) async fn hand_in_bulk(
    app: &App,
    caller: &Caller,
    body: Value,
    once: Option<OnceKey>,
    read: impl Fn(Value) -> Result<Row, Vec<FieldError>>,
) -> Result<Response<Body>, ApiError> {
    let (rows, batch) = Batch::read(body, "notifications", read)?;
    submit::submit(app, caller, rows, once, move |answers| {
        let outcome = batch.outcome(answers);
        Ok(BulkSubmitted {
            accepted: outcome
                .landed
                .into_iter()
                .map(NotificationId::from)
                .collect(),
            errors: outcome.errors,
        })
    })
    .await
}

/// Reads one direct send.
pub(super) fn read(
    app: &App,
    tenant_id: &TenantId,
    templates: &NamedTemplates,
    body: Value,
    now: DateTime<Utc>,
) -> Result<Row, Vec<FieldError>> {
    let retention = TimeDelta::from_std(app.config.intake.retention).unwrap_or(TimeDelta::MAX);
    let sent = NotificationSubmission::parse(body, now, retention)?;
    templates.check(&sent)?;
    Ok(Row::of_notification(
        tenant_id,
        sent,
        app.intake.windows(),
        now,
    ))
}

/// List notifications, newest first.
///
/// A user sees their own, without what they archived; the role `read` sees the tenant's. A page
/// looks at 10 000 notifications at most: with filters it may have fewer items than `limit`, or
/// none, and still a `next_cursor`.
#[utoipa::path(
    get, path = "/v1/notifications", tag = "Look up", operation_id = "list_notifications",
    params(
        ("user_id" = Option<String>, Query, description = "Whose."),
        ("status" = Option<StatusWord>, Query),
        ("channel" = Option<ChannelWord>, Query, description = "Those with a delivery over it."),
        ("category" = Option<String>, Query),
        ("unread" = Option<bool>, Query, description = "Only what waits unread in the feed."),
        ("archived" = Option<bool>, Query,
         description = "Only what was archived, or only the rest: for users the default."),
        ("since" = Option<String>, Query, format = DateTime, description = "Created then or later."),
        ("until" = Option<String>, Query, format = DateTime, description = "Created before then."),
        PageParams,
    ),
    responses((status = 200, description = "A page.", body = Page<NotificationView>)),
)]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<NotificationView>>, ApiError> {
    let page = PageQuery::read(&mut query);
    let asked_for = query.text("user_id").map(UserId::from);
    let flag = |text: &str| text.parse().ok();
    // A service looks at what happened, a user at what is there.
    let archived_default = (!caller.may(Role::Read)).then_some(false);
    let filter = HistoryFilter {
        user_id: caller.readable(asked_for)?,
        status: query.parsed(
            "status",
            "must be a status such as delivered",
            Status::parse,
        ),
        channel: query.parsed("channel", "must be a channel such as email", Channel::parse),
        category: query.text("category"),
        is_unread: query
            .parsed("unread", "must be true or false", flag)
            .unwrap_or(false),
        is_archived: query
            .parsed("archived", "must be true or false", flag)
            .or(archived_default),
        since: query.time("since"),
        until: query.time("until"),
    };
    query.finish()?;
    let before = page.after.map(NotificationId::from);
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let tenant_id = &caller.tenant_id;
    let found = store::history::list(&mut conn, tenant_id, &filter, before, page.limit as usize)
        .await
        .map_err(ApiError::from_store)?;
    let ids: Vec<_> = found.items.iter().map(|row| row.id).collect();
    let mut entries = entries(&mut conn, &ids).await?;
    let items = found.items.into_iter().map(|row| {
        let entry = entries.remove(&row.id);
        NotificationView::of(row).with_entry(entry)
    });
    let page = Page::until(items.collect(), found.next.map(NotificationId::as_uuid));
    Ok(Json(StatusCode::OK, page))
}

/// What notifications have in their users' feeds.
async fn entries(
    conn: &mut store::Connection,
    ids: &[NotificationId],
) -> Result<HashMap<NotificationId, Entry>, ApiError> {
    let entries = store::inbox::list_entries(conn, ids)
        .await
        .map_err(ApiError::from_store)?;
    Ok(entries
        .into_iter()
        .map(|entry| (entry.notification_id, entry))
        .collect())
}

/// Show a notification with its deliveries and their attempts.
#[utoipa::path(
    get, path = "/v1/notifications/{id}", tag = "Look up", operation_id = "show_notification",
    params(("id" = String, Path, description = "The notification's id.")),
    responses((status = 200, description = "The notification.", body = NotificationView)),
)]
pub(super) async fn show(
    State(app): State<App>,
    caller: Caller,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Json<NotificationView>, ApiError> {
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let notification = find(&mut conn, &caller, params).await?;
    let rows = Rows::read(&mut conn, notification.id).await?;
    let shown = whole(notification, rows.deliveries, rows.attempts).with_entry(rows.entry);
    Ok(Json(StatusCode::OK, shown))
}

/// What became of one notification.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) attempts: Vec<Attempt>,
    /// What its user has of it in the feed.
    pub(crate) entry: Option<Entry>,
}

impl Rows {
    pub(crate) async fn read(
        conn: &mut store::Connection,
        id: NotificationId,
    ) -> Result<Self, ApiError> {
        let entry = entries(conn, &[id]).await?.remove(&id);
        let mut deliveries = store::deliveries::list_deliveries(conn, &[id])
            .await
            .map_err(ApiError::from_store)?;
        show_sending(conn, &mut deliveries)
            .await
            .map_err(ApiError::from_store)?;
        let ids: Vec<DeliveryId> = deliveries.iter().map(|delivery| delivery.id).collect();
        let attempts = store::deliveries::list_attempts(conn, &ids)
            .await
            .map_err(ApiError::from_store)?;
        Ok(Self {
            deliveries,
            attempts,
            entry,
        })
    }
}

/// The notification that the path names, if the caller may read it.
pub(super) async fn find(
    conn: &mut store::Connection,
    caller: &Caller,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Notification, ApiError> {
    let readable = caller.readable(None)?;
    let not_found = || ApiError::not_found("there is no such notification");
    let id = path_id(params).ok_or_else(not_found)?;
    store::notifications::find_notification(conn, &caller.tenant_id, id)
        .await
        .map_err(ApiError::from_store)?
        // Another user's looks exactly like one that never was.
        .filter(|found| readable.is_none_or(|user_id| user_id == found.user_id))
        .ok_or_else(not_found)
}

/// Shows `sending` where a delivery's job runs. It is not stored: a row per attempt would be
/// written only to be overwritten.
async fn show_sending(
    conn: &mut store::Connection,
    deliveries: &mut [Delivery],
) -> Result<(), StoreError> {
    let jobs: Vec<JobId> = deliveries
        .iter()
        .filter_map(|delivery| delivery.job_id.map(JobId))
        .collect();
    if jobs.is_empty() {
        return Ok(());
    }
    let running = queue::control::running(conn, &jobs)
        .await
        .map_err(|source| StoreError::Database {
            operation: "see which jobs run",
            source,
        })?;
    for delivery in deliveries {
        if delivery
            .job_id
            .is_some_and(|job| running.contains(&JobId(job)))
        {
            delivery.status = Status::Sending;
        }
    }
    Ok(())
}

/// A notification with its deliveries and their attempts.
pub(super) fn whole(
    notification: Notification,
    deliveries: Vec<Delivery>,
    attempts: Vec<Attempt>,
) -> NotificationView {
    let mut by_delivery: HashMap<DeliveryId, Vec<Attempt>> = HashMap::new();
    for attempt in attempts {
        by_delivery
            .entry(attempt.delivery_id)
            .or_default()
            .push(attempt);
    }
    let deliveries = deliveries.into_iter().map(|delivery| {
        let attempts = by_delivery.remove(&delivery.id).unwrap_or_default();
        DeliveryView::of(delivery, attempts)
    });
    NotificationView::of(notification).with_deliveries(deliveries.collect())
}
