//! One notification, from its event to its receipts: what it says, its way as a line of time, and
//! every attempt. It changes by itself while it is on its way.

use std::collections::HashMap;
use std::time::Duration;

use askama::Template;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::http::{Response, StatusCode};
use axum::response::{IntoResponse, Redirect};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{DeliveryId, NotificationId, Status};
use queue::dead_letter::DeadLetterFilter;
use store::Connection;
use store::deliveries::{Attempt, Delivery};
use store::events::list_events_by_id;
use store::inbox::Entry;
use store::notifications::{Notification, find_notification};

use super::{EventShown, PATH, class_of};
use crate::api::auth::Caller;
use crate::api::cancel::take_back;
use crate::api::error::ApiError;
use crate::api::notifications::Rows;
use crate::api::path::path_id;
use crate::api::trace::steps;
use crate::app::App;
use crate::console::form::{Fields, Form};
use crate::console::session::Operator;
use crate::console::shell::{self, Shell};
use crate::console::timeline::{self, Step};
use crate::console::{links, live, text};

/// How often an open page looks while something is on its way.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// How far the database's clock and ours may be apart where a dead letter is looked for.
const CLOCKS_APART: TimeDelta = TimeDelta::seconds(5);

/// Dead letters of that time that are looked at.
const DEAD_LETTERS_MAX: i64 = 200;

#[derive(Template)]
#[template(path = "notification.html")]
struct OnePage {
    shell: Shell,
    one: Story,
}

/// The part that changes.
#[derive(Template)]
#[template(path = "notification_part.html")]
struct Part {
    one: Story,
}

/// All there is to tell.
struct Story {
    form_token: String,
    id: String,
    kind: String,
    status: &'static str,
    class: &'static str,
    is_over: bool,
    can_cancel: bool,
    user_id: String,
    user_url: String,
    priority: &'static str,
    category: Option<String>,
    template: Option<Linked>,
    rule_url: Option<Linked>,
    variant: Option<String>,
    locale: Option<String>,
    created: String,
    send_at: Option<String>,
    expires_at: Option<String>,
    is_test: bool,
    bypasses: bool,
    subject: Option<String>,
    content: Option<String>,
    data: Option<String>,
    event: Option<EventShown>,
    entry: Option<EntryShown>,
    steps: Vec<Step>,
    deliveries: Vec<DeliveryShown>,
}

/// A name that leads to its page.
struct Linked {
    url: String,
    text: String,
}

/// What the user has of it in the feed.
struct EntryShown {
    seq: i64,
    title: Option<String>,
    message: String,
    reading: Vec<(&'static str, String)>,
}

struct DeliveryShown {
    id: String,
    channel: &'static str,
    status: &'static str,
    class: &'static str,
    provider: Option<String>,
    address: Option<String>,
    error: Option<String>,
    updated: String,
    subject: Option<String>,
    body: Option<String>,
    html_url: Option<String>,
    dead_letter: Option<String>,
    attempts: Vec<AttemptShown>,
}

struct AttemptShown {
    number: u16,
    provider: String,
    status: &'static str,
    class: &'static str,
    said: Option<String>,
    provider_id: Option<String>,
    at: String,
    took: String,
}

impl Story {
    async fn read(
        app: &App,
        operator: &Operator,
        id: Option<NotificationId>,
    ) -> Result<Self, ApiError> {
        let unknown = || ApiError::not_found("there is no such notification");
        let id = id.ok_or_else(unknown)?;
        let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
        let caller = &operator.caller;
        let found = find_notification(&mut conn, &caller.tenant_id, id)
            .await
            .map_err(ApiError::from_store)?
            .ok_or_else(unknown)?;
        let rows = Rows::read(&mut conn, id).await?;
        let steps = steps(&mut conn, &found, &rows.deliveries, &rows.attempts).await?;
        let event = event_of(&mut conn, caller, &found).await?;
        let mut dead = HashMap::new();
        if operator.runs_installation() {
            dead = dead_letters(&mut conn, &rows.deliveries).await?;
        }
        let steps = steps.into_iter().map(|entry| (Some(entry.at), entry.step));
        let waits = |status| matches!(status, Status::Pending | Status::Queued | Status::Retrying);
        let told = found.template.clone().map(|name| {
            let version = found.decided.template_version;
            let version = version.map_or_else(String::new, |number| match number {
                0 => " (ships with Postrider)".to_owned(),
                number => format!(" (version {number})"),
            });
            Linked {
                url: links::template(&name),
                text: format!("{name}{version}"),
            }
        });
        Ok(Self {
            form_token: operator.form_token(),
            status: found.status.as_str(),
            class: class_of(found.status),
            is_over: is_over(&found, &rows.deliveries),
            can_cancel: waits(found.status)
                || rows
                    .deliveries
                    .iter()
                    .any(|delivery| waits(delivery.status)),
            user_url: links::user(found.user_id.as_str()),
            user_id: found.user_id.into_string(),
            priority: found.priority.as_str(),
            category: found.category,
            template: told,
            rule_url: found.decided.rule.map(|(rule_id, _)| Linked {
                url: links::rule(&rule_id.to_string()),
                text: rule_id.to_string(),
            }),
            variant: found.decided.variant,
            locale: found.locale,
            created: text::moment(found.created_at),
            send_at: found.send_at.map(text::moment),
            expires_at: found.expires_at.map(text::moment),
            is_test: found.is_test,
            bypasses: found.bypass_quiet_hours,
            subject: found.subject,
            content: found.content,
            data: found.data.as_ref().map(text::pretty),
            id: found.id.to_string(),
            kind: found.kind,
            event,
            entry: rows.entry.map(EntryShown::of),
            steps: timeline::told(steps),
            deliveries: deliveries(rows.deliveries, rows.attempts, &mut dead),
        })
    }
}

/// Whether nothing of it moves any more by itself.
fn is_over(found: &Notification, deliveries: &[Delivery]) -> bool {
    let rests = |status: Status| status.is_final() || status == Status::Sent;
    rests(found.status) && deliveries.iter().all(|delivery| rests(delivery.status))
}

async fn event_of(
    conn: &mut Connection,
    caller: &Caller,
    found: &Notification,
) -> Result<Option<EventShown>, ApiError> {
    let Some(event_id) = found.event_id else {
        return Ok(None);
    };
    let mut events = list_events_by_id(conn, &[event_id])
        .await
        .map_err(ApiError::from_store)?;
    events.retain(|event| event.tenant_id == caller.tenant_id);
    Ok(events.pop().map(EventShown::of))
}

/// The dead letters of deliveries that have failed, by delivery.
///
/// They are found by the moment: a delivery fails in the transaction that buries its job. Nothing
/// indexes what a job was about.
async fn dead_letters(
    conn: &mut Connection,
    deliveries: &[Delivery],
) -> Result<HashMap<DeliveryId, String>, ApiError> {
    let failed = deliveries
        .iter()
        .filter(|delivery| delivery.status == Status::Failed);
    let times: Vec<_> = failed.map(|delivery| delivery.updated_at).collect();
    let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else {
        return Ok(HashMap::new());
    };
    let filter = DeadLetterFilter {
        since: Some(*first - CLOCKS_APART),
        until: Some(*last + CLOCKS_APART),
        ..DeadLetterFilter::default()
    };
    let dead = queue::dead_letter::list(conn, &filter, None, DEAD_LETTERS_MAX)
        .await
        .map_err(|source| ApiError::from_queue("look for dead letters", source))?;
    let named = dead.into_iter().filter_map(|letter| {
        let id = letter.payload["delivery_id"].as_str()?.parse().ok()?;
        Some((id, format!("/console/dead-letters/{}", letter.job_id)))
    });
    Ok(named.collect())
}

fn deliveries(
    rows: Vec<Delivery>,
    attempts: Vec<Attempt>,
    dead: &mut HashMap<DeliveryId, String>,
) -> Vec<DeliveryShown> {
    let mut by_delivery: HashMap<DeliveryId, Vec<AttemptShown>> = HashMap::new();
    for attempt in attempts {
        let id = attempt.delivery_id;
        let shown = AttemptShown::of(attempt);
        by_delivery.entry(id).or_default().push(shown);
    }
    let shown = rows.into_iter().map(|row| {
        let has_html = row
            .message
            .as_ref()
            .is_some_and(|message| message.body_html.is_some());
        let (subject, body) = row.message.map_or((None, None), |message| {
            (message.subject, Some(message.body))
        });
        DeliveryShown {
            id: row.id.to_string(),
            channel: row.channel.as_str(),
            status: row.status.as_str(),
            class: class_of(row.status),
            provider: row.provider,
            address: row.address,
            error: row.error,
            updated: text::moment(row.updated_at),
            subject,
            body,
            html_url: has_html.then(|| format!("/console/mails/{}", row.id)),
            dead_letter: dead.remove(&row.id),
            attempts: by_delivery.remove(&row.id).unwrap_or_default(),
        }
    });
    shown.collect()
}

impl AttemptShown {
    fn of(attempt: Attempt) -> Self {
        let took = attempt.finished_at - attempt.started_at;
        Self {
            number: attempt.number,
            provider: attempt.provider,
            status: attempt.status.as_str(),
            class: timeline::class(attempt.status.as_str()),
            said: attempt.error.or(attempt.response),
            provider_id: attempt.provider_message_id,
            at: text::moment(attempt.started_at),
            took: text::seconds(took.as_seconds_f64()),
        }
    }
}

impl EntryShown {
    fn of(entry: Entry) -> Self {
        let reading = entry.reading;
        let did = |what, at: Option<DateTime<Utc>>| Some((what, text::moment(at?)));
        let did = [
            did("seen", reading.seen_at),
            did("read", reading.read_at),
            did("archived", reading.archived_at),
        ];
        Self {
            seq: entry.seq,
            title: entry.title,
            message: entry.message,
            reading: did.into_iter().flatten().collect(),
        }
    }
}

/// `GET /console/notifications/{id}`.
pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    params: Result<RawPathParams, RawPathParamsRejection>,
    fields: Fields,
) -> Result<Response<Body>, ApiError> {
    let one = Story::read(&app, &operator, path_id(params)).await?;
    let notice = fields
        .raw("cancelled")
        .map(|_| "What had not been sent yet is cancelled.");
    let mut shell = Shell::new(&operator, PATH).noticing(notice);
    if !one.is_over {
        shell = shell.live(format!("/console/live/notifications/{}", one.id));
    }
    shell::html(StatusCode::OK, &OnePage { shell, one })
}

/// `GET /console/live/notifications/{id}`.
pub(super) async fn watch(
    State(app): State<App>,
    operator: Operator,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response<Body>, ApiError> {
    let id: Option<NotificationId> = path_id(params);
    // So that a page of nothing is refused before its stream begins.
    Story::read(&app, &operator, id).await?;
    live::stream(
        &app,
        operator,
        LOOK_INTERVAL,
        move |app, operator| async move {
            let one = Story::read(&app, &operator, id).await?;
            Ok(vec![shell::fragment(&Part { one })?])
        },
    )
}

/// `POST /console/notifications/{id}/cancel`.
pub(super) async fn cancel(
    State(app): State<App>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    form: Form,
) -> Result<Response<Body>, ApiError> {
    let id: Option<NotificationId> = path_id(params);
    let id = id.ok_or_else(|| ApiError::not_found("there is no such notification"))?;
    take_back(&app, &form.operator.caller, id).await?;
    let url = format!("{}?cancelled=1", links::notification(id));
    Ok(Redirect::to(&url).into_response())
}
