//! Notifications: the list, newest first, by what an index can find; and the search for one.
//!
//! A page of the list looks at a bounded number of rows, as the API's does, and says so.

mod one;

use std::collections::HashMap;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{get, post};
use domain::{Channel, EventId, NotificationId, Status, UserId};
use store::Connection;
use store::deliveries::{Standing, list_standings};
use store::events::{Event, list_events_by_id};
use store::history::{self, HistoryFilter};
use store::keys::{find_dedupe_key, find_event_key};
use store::notifications::{Notification, find_notification};
use uuid::Uuid;

use super::form::Fields;
use super::session::Operator;
use super::shell::{self, Shell};
use super::{links, text};
use crate::api::auth::Caller;
use crate::api::error::ApiError;
use crate::app::App;

/// Where the page is.
pub(super) const PATH: &str = "/console/notifications";

/// Rows of a page.
const ROWS: usize = 50;

/// Notifications of one event that are shown.
const OF_EVENT_MAX: i64 = 200;

/// The routes of this folder.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/notifications", get(list))
        .route("/notifications/find", get(find))
        .route("/notifications/{id}", get(one::show))
        .route("/notifications/{id}/cancel", post(one::cancel))
        .route("/live/notifications/{id}", get(one::watch))
}

#[derive(Template)]
#[template(path = "notifications.html")]
struct ListPage {
    shell: Shell,
    filter: Shown,
    statuses: Vec<Choice>,
    channels: Vec<Choice>,
    rows: Vec<Row>,
    older: Option<String>,
    /// The address of the first page, where this is another.
    newest: Option<String>,
    /// Why a search found nothing.
    not_found: Option<&'static str>,
    /// The event that was searched for.
    event: Option<EventShown>,
}

/// What the form is filled with.
#[derive(Default)]
struct Shown {
    user_id: String,
    category: String,
    since: String,
    until: String,
}

/// A word to choose.
pub(super) struct Choice {
    pub(super) word: &'static str,
    pub(super) is_chosen: bool,
}

/// A notification in the list.
struct Row {
    url: String,
    at: String,
    machine: String,
    kind: String,
    subject: Option<String>,
    user_id: String,
    user_url: String,
    status: &'static str,
    class: &'static str,
    priority: &'static str,
    category: Option<String>,
    is_test: bool,
    channels: Vec<ChannelShown>,
}

/// How a channel stands.
struct ChannelShown {
    channel: &'static str,
    status: &'static str,
    class: &'static str,
}

/// An event, with what came with it.
pub(super) struct EventShown {
    pub(super) id: String,
    pub(super) event_id: String,
    pub(super) producer: String,
    pub(super) kind: String,
    pub(super) severity: Option<&'static str>,
    pub(super) at: String,
    pub(super) payload: String,
}

impl EventShown {
    pub(super) fn of(event: Event) -> Self {
        Self {
            id: event.id.to_string(),
            event_id: event.event_id,
            producer: event.producer,
            kind: event.kind,
            severity: event.severity.map(domain::Severity::as_str),
            at: text::moment(event.created_at),
            payload: text::pretty(&event.payload),
        }
    }
}

/// The shape and the colour of a status.
pub(super) fn class_of(status: Status) -> &'static str {
    match status {
        Status::Sent | Status::Delivered => "good",
        Status::Failed => "bad",
        Status::Retrying | Status::Cancelled | Status::Suppressed | Status::Expired => "warn",
        Status::Pending | Status::Queued | Status::Sending => "idle",
    }
}

fn rows(found: Vec<Notification>, standings: Vec<Standing>) -> Vec<Row> {
    let mut by_id: HashMap<NotificationId, Vec<ChannelShown>> = HashMap::new();
    for standing in standings {
        let shown = ChannelShown {
            channel: standing.channel.as_str(),
            status: standing.status.as_str(),
            class: class_of(standing.status),
        };
        by_id
            .entry(standing.notification_id)
            .or_default()
            .push(shown);
    }
    let rows = found.into_iter().map(|row| Row {
        url: links::notification(row.id),
        at: text::moment(row.created_at),
        machine: text::machine(row.created_at),
        user_url: links::user(row.user_id.as_str()),
        user_id: row.user_id.into_string(),
        status: row.status.as_str(),
        class: class_of(row.status),
        priority: row.priority.as_str(),
        subject: row.subject,
        kind: row.kind,
        category: row.category,
        is_test: row.is_test,
        channels: by_id.remove(&row.id).unwrap_or_default(),
    });
    rows.collect()
}

async fn table(conn: &mut Connection, found: Vec<Notification>) -> Result<Vec<Row>, ApiError> {
    let ids: Vec<_> = found.iter().map(|row| row.id).collect();
    let standings = list_standings(conn, &ids)
        .await
        .map_err(ApiError::from_store)?;
    Ok(rows(found, standings))
}

/// Every status or channel, and which one was chosen.
pub(super) fn choices<T: Copy + PartialEq>(
    all: impl IntoIterator<Item = T>,
    chosen: Option<T>,
    word: impl Fn(T) -> &'static str,
) -> Vec<Choice> {
    let choices = all.into_iter().map(|each| Choice {
        word: word(each),
        is_chosen: chosen == Some(each),
    });
    choices.collect()
}

/// `GET /console/notifications`.
async fn list(
    State(app): State<App>,
    operator: Operator,
    mut fields: Fields,
) -> Result<Response<Body>, ApiError> {
    let kept = |name: &str| fields.raw(name);
    let parameters = ["user_id", "status", "channel", "category", "since", "until"]
        .map(|name| (name, kept(name)));
    let shown = Shown {
        user_id: kept("user_id").unwrap_or_default(),
        category: kept("category").unwrap_or_default(),
        since: kept("since").unwrap_or_default(),
        until: kept("until").unwrap_or_default(),
    };
    let (since, until) = (fields.time("since"), fields.time("until"));
    let query = fields.reading();
    let filter = HistoryFilter {
        user_id: query.text("user_id").map(UserId::from),
        status: query.parsed("status", "must be a status such as failed", Status::parse),
        channel: query.parsed("channel", "must be a channel such as email", Channel::parse),
        category: query.text("category"),
        since,
        until,
        ..HistoryFilter::default()
    };
    let cursor = "must come from another page of the list";
    let before = query.parsed("cursor", cursor, |text| Uuid::parse_str(text).ok());
    fields.finish()?;

    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let tenant_id = &operator.caller.tenant_id;
    let before = before.map(NotificationId::from);
    let found = history::list(&mut conn, tenant_id, &filter, before, ROWS)
        .await
        .map_err(ApiError::from_store)?;
    let older = found.next.map(|next| {
        let cursor = ("cursor", Some(next.as_uuid().simple().to_string()));
        links::with(PATH, parameters.clone().into_iter().chain([cursor]))
    });
    let page = ListPage {
        shell: Shell::new(&operator, PATH),
        filter: shown,
        statuses: choices(Status::ALL, filter.status, Status::as_str),
        channels: choices(Channel::ALL, filter.channel, Channel::as_str),
        rows: table(&mut conn, found.items).await?,
        older,
        newest: before.map(|_| links::with(PATH, parameters)),
        not_found: None,
        event: None,
    };
    shell::html(StatusCode::OK, &page)
}

/// What a search is for.
enum Sought {
    Notification(NotificationId),
    Event(Event),
    Nothing(&'static str),
}

/// `GET /console/notifications/find`: one, or those of one event.
async fn find(
    State(app): State<App>,
    operator: Operator,
    mut fields: Fields,
) -> Result<Response<Body>, ApiError> {
    let query = fields.reading();
    let id = query.text("id");
    let (event_id, producer) = (query.text("event_id"), query.text("producer"));
    let (dedupe_key, kind) = (query.text("dedupe_key"), query.text("type"));
    fields.finish()?;
    let caller = &operator.caller;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let tenant_id = &caller.tenant_id;
    let sought = if let Some(id) = id {
        match Uuid::parse_str(id.trim()) {
            Ok(id) => meant(&mut conn, caller, Some(id)).await?,
            Err(_) => Sought::Nothing("This is not an id: ids have the form of a UUID."),
        }
    } else if let Some(event_id) = event_id {
        let producer = producer.unwrap_or_default();
        let found = find_event_key(&mut conn, tenant_id, &producer, &event_id);
        let found = found.await.map_err(ApiError::from_store)?;
        meant(&mut conn, caller, found).await?
    } else if let Some(dedupe_key) = dedupe_key {
        let kind = kind.unwrap_or_default();
        let found = find_dedupe_key(&mut conn, tenant_id, &kind, &dedupe_key);
        let found = found.await.map_err(ApiError::from_store)?;
        meant(&mut conn, caller, found).await?
    } else {
        return Ok(Redirect::to(PATH).into_response());
    };
    let (not_found, event) = match sought {
        Sought::Notification(id) => {
            return Ok(Redirect::to(&links::notification(id)).into_response());
        }
        Sought::Event(event) => (None, Some(event)),
        Sought::Nothing(why) => (Some(why), None),
    };
    let found = match &event {
        Some(event) => {
            let since = event.created_at;
            history::list_of_event(&mut conn, tenant_id, event.id, since, OF_EVENT_MAX)
                .await
                .map_err(ApiError::from_store)?
        }
        None => Vec::new(),
    };
    let page = ListPage {
        shell: Shell::new(&operator, PATH),
        filter: Shown::default(),
        statuses: choices(Status::ALL, None, Status::as_str),
        channels: choices(Channel::ALL, None, Channel::as_str),
        rows: table(&mut conn, found).await?,
        older: None,
        newest: Some(PATH.to_owned()),
        not_found,
        event: event.map(EventShown::of),
    };
    shell::html(StatusCode::OK, &page)
}

/// The notification or the event that has `id`.
async fn meant(
    conn: &mut Connection,
    caller: &Caller,
    id: Option<Uuid>,
) -> Result<Sought, ApiError> {
    let Some(id) = id else {
        return Ok(Sought::Nothing("Nothing has this key, or not any more."));
    };
    let notification_id = NotificationId::from(id);
    let found = find_notification(conn, &caller.tenant_id, notification_id)
        .await
        .map_err(ApiError::from_store)?;
    if found.is_some() {
        return Ok(Sought::Notification(notification_id));
    }
    let mut events = list_events_by_id(conn, &[EventId::from(id)])
        .await
        .map_err(ApiError::from_store)?;
    events.retain(|event| event.tenant_id == caller.tenant_id);
    Ok(match events.pop() {
        Some(event) => Sought::Event(event),
        None => Sought::Nothing("No notification and no event has this id."),
    })
}
