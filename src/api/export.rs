//! `GET /v1/users/{user_id}/export`: everything that is held of a user, as one document.
//!
//! Written while it is read, a page of notifications at a time, so that a long history needs no
//! more memory than a short one. A document that breaks off is one that failed: the connection ends
//! without the last chunk.

use std::collections::HashMap;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, Response, header};
use chrono::{DateTime, Utc};
use domain::{DeliveryId, EventId, Message, NotificationId, Preferences, TenantId, UserId};
use futures_util::stream;
use serde::Serialize;
use serde_json::{Value, json};
use store::consents::list_consents;
use store::deliveries::{Attempt, list_attempts, list_deliveries};
use store::events::{Event, list_events_by_id};
use store::history::{self, HistoryFilter};
use store::notifications::Notification;
use store::preferences::find_preferences;
use store::topics::list_topics_of;
use store::users::find_user;
use store::{Connection, StoreError};
use tracing::warn;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::consents::ConsentView;
use super::error::ApiError;
use super::openapi::people::PreferencesBody;
use super::path::UserPath;
use super::roles::Admin;
use super::users::{UserView, unknown};
use super::view::{DeliveryView, Moment, NotificationView};
use crate::app::App;

/// Notifications read at once: with contents they can be large.
const PAGE_ROWS: usize = 200;

/// Records of consents shown, as many as topics.
const CONSENTS_MAX: i64 = 1001;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(export))
}

/// All that is held of a user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserExport)]
struct Held {
    #[schema(value_type = String)]
    user_id: UserId,
    exported_at: Moment,
    user: Option<UserView>,
    #[schema(value_type = Option<PreferencesBody>)]
    preferences: Option<Preferences>,
    /// By name; at most 1 001.
    topics: Vec<String>,
    /// What they agreed to and withdrew, newest first; at most 1 001.
    consents: Vec<ConsentView>,
    /// Of the in-app feed: the last number and how many are unread.
    feed: FeedHeld,
    /// All of them, newest first.
    notifications: Vec<NotificationHeld>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserExportFeed)]
struct FeedHeld {
    seq: i64,
    unread: i64,
}

/// A notification with what was sent, and why.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserExportNotification)]
struct NotificationHeld {
    #[serde(flatten)]
    notification: NotificationView,
    deliveries: Vec<DeliveryHeld>,
    /// What it was made from, if an event led to it.
    event: Option<EventHeld>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserExportDelivery)]
struct DeliveryHeld {
    #[serde(flatten)]
    delivery: DeliveryView,
    address: Option<String>,
    #[schema(value_type = Option<Object>)]
    message: Option<Message>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = UserExportEvent)]
struct EventHeld {
    event_id: String,
    #[serde(rename = "type")]
    kind: String,
    #[schema(value_type = Object)]
    payload: Value,
}

/// Export everything that is held of a user.
///
/// Needs the role `admin`. One JSON document, written while it is read.
#[utoipa::path(
    get, path = "/v1/users/{user_id}/export", tag = "Users", operation_id = "export_user",
    params(("user_id" = String, Path, description = "The user's id.")),
    responses((status = 200, description = "All of it.", body = Held)),
)]
async fn export(
    State(app): State<App>,
    Admin(caller): Admin,
    UserPath(user_id): UserPath,
) -> Result<Response<Body>, ApiError> {
    document(app, caller.tenant_id, user_id).await
}

/// The document, as it is written.
pub(crate) async fn document(
    app: App,
    tenant_id: TenantId,
    user_id: UserId,
) -> Result<Response<Body>, ApiError> {
    let mut export = Export {
        filter: HistoryFilter {
            user_id: Some(user_id),
            ..HistoryFilter::default()
        },
        tenant_id,
        before: None,
        app,
    };
    let opening = export.opening().await?;
    let pages = stream::try_unfold(Some((export, Some(opening))), async |state| {
        let Some((mut export, opening)) = state else {
            return Ok(None);
        };
        if let Some(opening) = opening {
            return Ok(Some((opening, Some((export, None)))));
        }
        match export.next_page().await {
            Ok((bytes, is_last)) => Ok(Some((bytes, (!is_last).then_some((export, None))))),
            Err(error) => {
                warn!(error = queue::describe(&error), "an export broke off");
                Err(error)
            }
        }
    });
    let mut response = Response::new(Body::from_stream(pages));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    Ok(response)
}

/// An export on its way.
struct Export {
    app: App,
    tenant_id: TenantId,
    filter: HistoryFilter,
    /// The last notification written.
    before: Option<NotificationId>,
}

impl Export {
    /// Everything but the notifications, up to where those begin.
    async fn opening(&mut self) -> Result<Bytes, ApiError> {
        let now = self.app.clock.now();
        let held = self.held(now).await.map_err(ApiError::from_store)?;
        let held = held.ok_or_else(unknown)?;
        let mut bytes = super::body::to_json(&held)?;
        // `notifications` is the last field and empty so far.
        bytes.truncate(bytes.len() - "]}".len());
        Ok(bytes.into())
    }

    async fn held(&self, now: DateTime<Utc>) -> Result<Option<Held>, StoreError> {
        let Some(user_id) = self.filter.user_id.clone() else {
            return Ok(None);
        };
        let mut conn = self.app.store.acquire().await?;
        let tenant_id = &self.tenant_id;
        let user = find_user(&mut conn, tenant_id, &user_id).await?;
        let preferences = find_preferences(&mut conn, tenant_id, &user_id).await?;
        let topics = list_topics_of(&mut conn, tenant_id, &user_id).await?;
        let consents = list_consents(
            &mut conn,
            tenant_id,
            Some(&user_id),
            None,
            None,
            CONSENTS_MAX,
        )
        .await?;
        let head = store::inbox::head(&mut conn, tenant_id, &user_id).await?;
        let first = history::list(&mut conn, tenant_id, &self.filter, None, 1).await?;
        let has_said = preferences.is_some() || !consents.is_empty();
        let is_known = user.is_some() || has_said || !topics.is_empty();
        if !is_known && first.items.is_empty() {
            return Ok(None);
        }
        Ok(Some(Held {
            user_id,
            exported_at: Moment::at(now),
            user: user.map(UserView::of),
            preferences,
            topics,
            consents: consents.into_iter().map(ConsentView::of).collect(),
            feed: FeedHeld {
                seq: head.seq,
                unread: head.unread,
            },
            notifications: Vec::new(),
        }))
    }

    /// The next notifications, and whether they are the last.
    async fn next_page(&mut self) -> Result<(Bytes, bool), StoreError> {
        let mut conn = self.app.store.acquire().await?;
        let page = history::list(
            &mut conn,
            &self.tenant_id,
            &self.filter,
            self.before,
            PAGE_ROWS,
        )
        .await?;
        let is_first = self.before.is_none();
        let is_last = page.next.is_none();
        self.before = page.next.or(self.before);
        let mut text = String::new();
        for (index, notification) in whole(&mut conn, page.items).await?.into_iter().enumerate() {
            if !(is_first && index == 0) {
                text.push(',');
            }
            text.push_str(&json!(notification).to_string());
        }
        if is_last {
            text.push_str("]}");
        }
        Ok((text.into(), is_last))
    }
}

/// Notifications with all that belongs to them, in three statements.
async fn whole(
    connection: &mut Connection,
    rows: Vec<Notification>,
) -> Result<Vec<NotificationHeld>, StoreError> {
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let event_ids: Vec<_> = rows.iter().filter_map(|row| row.event_id).collect();
    let deliveries = list_deliveries(connection, &ids).await?;
    let delivery_ids: Vec<_> = deliveries.iter().map(|row| row.id).collect();
    let mut attempts: HashMap<DeliveryId, Vec<Attempt>> = HashMap::new();
    for attempt in list_attempts(connection, &delivery_ids).await? {
        attempts
            .entry(attempt.delivery_id)
            .or_default()
            .push(attempt);
    }
    let mut by_notification: HashMap<NotificationId, Vec<DeliveryHeld>> = HashMap::new();
    for mut delivery in deliveries {
        let tried = attempts.remove(&delivery.id).unwrap_or_default();
        let held = by_notification.entry(delivery.notification_id).or_default();
        held.push(DeliveryHeld {
            address: delivery.address.take(),
            message: delivery.message.take(),
            delivery: DeliveryView::of(delivery, tried),
        });
    }
    let events = list_events_by_id(connection, &event_ids).await?;
    let events: HashMap<EventId, EventHeld> = events.into_iter().map(held_event).collect();
    let held = rows.into_iter().map(|row| NotificationHeld {
        deliveries: by_notification.remove(&row.id).unwrap_or_default(),
        event: row.event_id.and_then(|id| events.get(&id).cloned()),
        notification: NotificationView::of(row),
    });
    Ok(held.collect())
}

fn held_event(event: Event) -> (EventId, EventHeld) {
    let held = EventHeld {
        event_id: event.event_id,
        kind: event.kind,
        payload: event.payload,
    };
    (event.id, held)
}
