//! `/v1/notifications`: direct sends, and what became of notifications of either origin.

use std::collections::HashMap;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    Channel, DeliveryId, FieldError, NotificationId, NotificationSubmission, Status, TenantId,
    UserId,
};
use queue::JobId;
use serde::Serialize;
use serde_json::Value;
use store::StoreError;
use store::deliveries::{Attempt, Delivery};
use store::notifications::{Notification, NotificationFilter};

use super::auth::{Caller, Sender};
use super::batch::{Batch, ItemError};
use super::body::{BATCH_BYTES_MAX, Json, JsonBody};
use super::error::ApiError;
use super::page::{Page, PageQuery};
use super::query::Query;
use super::view::{DeliveryView, NotificationView, TraceView};
use crate::app::App;
use crate::intake::{Answer, Row};

/// What became of one direct send.
#[derive(Debug, Serialize)]
pub(super) struct Submitted {
    id: NotificationId,
    status: &'static str,
}

/// What became of a bulk request. The id of a repeat is that of the send it repeats.
#[derive(Debug, Serialize)]
pub(super) struct BulkSubmitted {
    accepted: Vec<NotificationId>,
    errors: Vec<ItemError>,
}

pub(super) async fn submit(
    State(app): State<App>,
    Sender(caller): Sender,
    JsonBody(body): JsonBody,
) -> Result<Json<Submitted>, ApiError> {
    let row = read(&app, &caller.tenant_id, body, app.clock.now()).map_err(ApiError::invalid)?;
    let (id, status) = match app.intake.submit_one(row).await? {
        Answer::Accepted { id } => (id, Status::Pending.as_str()),
        Answer::Duplicate { id } => (id, "duplicate"),
        Answer::Refused { detail } => return Err(ApiError::invalid_field("", detail)),
    };
    Ok(Json(
        StatusCode::ACCEPTED,
        Submitted {
            id: id.into(),
            status,
        },
    ))
}

pub(super) async fn submit_bulk(
    State(app): State<App>,
    Sender(caller): Sender,
    JsonBody(body): JsonBody<BATCH_BYTES_MAX>,
) -> Result<Json<BulkSubmitted>, ApiError> {
    let now = app.clock.now();
    let batch = Batch::read(body, "notifications", |item| {
        read(&app, &caller.tenant_id, item, now)
    })?;
    let outcome = batch.submit(&app.intake).await?;
    let accepted = outcome
        .landed
        .into_iter()
        .map(NotificationId::from)
        .collect();
    Ok(Json(
        StatusCode::ACCEPTED,
        BulkSubmitted {
            accepted,
            errors: outcome.errors,
        },
    ))
}

/// Reads one direct send. A template that does not exist would only fail later, out of sight.
fn read(
    app: &App,
    tenant_id: &TenantId,
    body: Value,
    now: DateTime<Utc>,
) -> Result<Row, Vec<FieldError>> {
    let retention = TimeDelta::from_std(app.config.intake.retention).unwrap_or(TimeDelta::MAX);
    let sent = NotificationSubmission::parse(body, now, retention)?;
    if let Some(template) = &sent.template
        && app.templates.find(template).is_none()
    {
        return Err(vec![FieldError::new(
            "/template",
            "there is no such template",
        )]);
    }
    Ok(Row::of_notification(tenant_id, sent, now))
}

pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<NotificationView>>, ApiError> {
    let page = PageQuery::read(&mut query);
    let asked_for = query.text("user_id").map(UserId::from);
    let filter = NotificationFilter {
        user_id: caller.readable(asked_for)?,
        status: query.parsed(
            "status",
            "must be a status such as delivered",
            Status::parse,
        ),
        channel: query.parsed("channel", "must be a channel such as email", Channel::parse),
        category: query.text("category"),
        is_unread: query
            .parsed("unread", "must be true or false", |text| text.parse().ok())
            .unwrap_or(false),
        since: query.time("since"),
        until: query.time("until"),
    };
    query.finish()?;
    let before = page.after.map(NotificationId::from);
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let rows = store::notifications::list_notifications(
        &mut conn,
        &caller.tenant_id,
        &filter,
        before,
        i64::from(page.limit) + 1,
    )
    .await
    .map_err(ApiError::from_store)?;
    let page = Page::new(rows, page.limit, |row| row.id.as_uuid());
    Ok(Json(StatusCode::OK, page.map(NotificationView::of)))
}

pub(super) async fn show(
    State(app): State<App>,
    caller: Caller,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Json<NotificationView>, ApiError> {
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let notification = find(&mut conn, &caller, params).await?;
    let id = notification.id;
    let mut deliveries = store::deliveries::list_deliveries(&mut conn, &[id])
        .await
        .map_err(ApiError::from_store)?;
    show_sending(&mut conn, &mut deliveries)
        .await
        .map_err(ApiError::from_store)?;
    let delivery_ids: Vec<DeliveryId> = deliveries.iter().map(|delivery| delivery.id).collect();
    let attempts = store::deliveries::list_attempts(&mut conn, &delivery_ids)
        .await
        .map_err(ApiError::from_store)?;
    Ok(Json(
        StatusCode::OK,
        whole(notification, deliveries, attempts),
    ))
}

/// Every decision about a notification, in order.
pub(super) async fn trace(
    State(app): State<App>,
    caller: Caller,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Json<Vec<TraceView>>, ApiError> {
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let notification = find(&mut conn, &caller, params).await?;
    let entries = store::traces::list_trace(&mut conn, notification.id)
        .await
        .map_err(ApiError::from_store)?;
    let shown = entries.into_iter().map(TraceView::of).collect();
    Ok(Json(StatusCode::OK, shown))
}

/// The notification that the path names, if the caller may read it.
async fn find(
    conn: &mut store::Connection,
    caller: &Caller,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Notification, ApiError> {
    let readable = caller.readable(None)?;
    let not_found = || ApiError::not_found("there is no such notification");
    let params = params.map_err(|_not_utf8| not_found())?;
    let id: NotificationId = params
        .iter()
        .find_map(|(name, value)| (name == "id").then(|| value.parse().ok()))
        .flatten()
        .ok_or_else(not_found)?;
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
fn whole(
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
