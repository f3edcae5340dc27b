//! `/v1/admin/dead-letters`: jobs that gave up, why, and their second chance.
//!
//! A tenant's admin sees and replays the dead letters of its own tenant. One of which nobody can
//! tell whose it is belongs to the tenant `default`, which runs the installation.

use axum::body::Body;
use axum::extract::RawPathParams;
use axum::extract::State;
use axum::extract::rejection::RawPathParamsRejection;
use axum::http::{Response, StatusCode};
use chrono::DateTime;
use domain::{DeliveryId, ReplayId, ReplaySubmission};
use queue::dead_letter::{self, DeadLetter, DeadLetterFilter, Order, Place};
use queue::{JOBS_AVAILABLE, JobId};
use serde::Serialize;
use store::Connection;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;
use workers::replay::{Request, begin};
use workers::{ReplayError, Subject};

use super::admin_view::{DeadLetterView, SubjectView, WholeDeadLetterView};
use super::auth::Caller;
use super::body::Json;
use super::error::ApiError;
use super::once::{self, Begun, OnceKey, PostBody};
use super::openapi::bodies::{ReplayBody, ShortReplayBody};
use super::page::{self, Page, PageParams};
use super::path::path_id;
use super::query::Query;
use super::queues;
use super::roles::Admin;
use super::view::DeliveryView;
use crate::app::App;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(replay))
        .routes(routes!(show))
        .routes(routes!(list_short))
        .routes(routes!(replay_short))
        .route("/admin/dlq", axum::routing::get(list_short))
        .route("/admin/dlq/replay", axum::routing::post(replay_short))
}

/// What was asked for, and how many dead letters match.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplayBegun)]
pub(super) struct BegunView {
    /// Null for a dry run.
    #[schema(value_type = Option<String>, required)]
    replay_id: Option<ReplayId>,
    matched: i64,
}

/// List dead letters, the latest first.
///
/// Needs the role `admin`. A page may be short although more follow: only a `next_cursor` of null
/// is the end.
#[utoipa::path(
    get, path = "/v1/admin/dead-letters", tag = "Operate", operation_id = "list_dead_letters",
    params(
        ("queue" = Option<String>, Query, description = "Of this queue."),
        ("kind" = Option<String>, Query, description = "Of this kind of job."),
        ("error" = Option<String>, Query, description = "Part of the last error, in any case."),
        ("since" = Option<String>, Query, description = "Died at this moment or later."),
        ("until" = Option<String>, Query, description = "Died before this moment."),
        ("order" = Option<String>, Query, description = "`newest` (if nothing is said) or `oldest` first."),
        PageParams,
    ),
    responses((status = 200, description = "A page.", body = Page<DeadLetterView>)),
)]
pub(super) async fn list(
    State(app): State<App>,
    Admin(caller): Admin,
    mut query: Query,
) -> Result<Json<Page<DeadLetterView>>, ApiError> {
    let limit = page::limit(&mut query);
    let after = query.parsed(
        "cursor",
        "must be a next_cursor from an earlier page",
        read_cursor,
    );
    let order = query.parsed("order", "must be newest or oldest", |word| match word {
        "newest" => Some(Order::NewestFirst),
        "oldest" => Some(Order::OldestFirst),
        _ => None,
    });
    let filter = DeadLetterFilter {
        ids: None,
        queue: query.parsed("queue", QUEUE_EXPECTED, |name| {
            queues::known(name).map(str::to_owned)
        }),
        kind: query.text("kind"),
        error: query.text("error"),
        since: query.time("since"),
        until: query.time("until"),
    };
    query.finish()?;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let (letters, next) = workers::dead_letters::list(
        &mut conn,
        Some(&caller.tenant_id),
        &filter,
        after,
        order.unwrap_or(Order::NewestFirst),
        limit as usize,
    )
    .await
    .map_err(ApiError::from_replay)?;
    let page = Page {
        items: letters.into_iter().map(DeadLetterView::of).collect(),
        next_cursor: next.map(write_cursor),
    };
    Ok(Json(StatusCode::OK, page))
}

/// List dead letters (short form).
///
/// The same as `/v1/admin/dead-letters`, also outside `/v1`.
#[utoipa::path(
    get, path = "/v1/admin/dlq", tag = "Operate", operation_id = "list_dlq",
    params(
        ("queue" = Option<String>, Query, description = "Of this queue."),
        PageParams,
    ),
    responses((status = 200, description = "A page.", body = Page<DeadLetterView>)),
)]
pub(super) async fn list_short(
    app: State<App>,
    admin: Admin,
    query: Query,
) -> Result<Json<Page<DeadLetterView>>, ApiError> {
    list(app, admin, query).await
}

/// Show one dead letter: every error it met, and what it was about.
///
/// Needs the role `admin`.
#[utoipa::path(
    get, path = "/v1/admin/dead-letters/{id}", tag = "Operate", operation_id = "show_dead_letter",
    params(("id" = String, Path, description = "The id of the job.")),
    responses((status = 200, description = "It.", body = WholeDeadLetterView)),
)]
pub(super) async fn show(
    State(app): State<App>,
    Admin(caller): Admin,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Json<WholeDeadLetterView>, ApiError> {
    let id: JobId = path_id(params).ok_or_else(not_found)?;
    let view = whole(&app, &caller, id).await?;
    Ok(Json(StatusCode::OK, view))
}

fn not_found() -> ApiError {
    ApiError::not_found("there is no such dead letter")
}

/// One of the caller's dead letters, with all that is known of it.
pub(crate) async fn whole(
    app: &App,
    caller: &Caller,
    id: JobId,
) -> Result<WholeDeadLetterView, ApiError> {
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let letter = dead_letter::find(&mut conn, id)
        .await
        .map_err(|source| ApiError::from_replay(ReplayError::Queue(source)))?
        .ok_or_else(not_found)?;
    let is_own = workers::dead_letters::is_own(&mut conn, &caller.tenant_id, &letter)
        .await
        .map_err(ApiError::from_replay)?;
    if !is_own {
        return Err(not_found());
    }
    let subject = subject(&mut conn, &letter)
        .await
        .map_err(ApiError::from_store)?;
    Ok(WholeDeadLetterView::of(letter, subject))
}

/// What a dead letter was about, with what its providers answered.
async fn subject(
    conn: &mut store::Connection,
    letter: &DeadLetter,
) -> Result<SubjectView, store::StoreError> {
    let id = match Subject::of(&letter.kind, &letter.payload) {
        Some(Subject::Delivery(id)) => id,
        Some(Subject::Notification(id)) => return Ok(SubjectView::of_notification(id)),
        Some(Subject::Event(id)) => return Ok(SubjectView::of_event(id)),
        Some(Subject::Digest(id)) => return Ok(SubjectView::of_digest(id)),
        Some(Subject::Replay(_)) | None => return Ok(SubjectView::default()),
    };
    let Some(notification_id) = notification_of(conn, id).await? else {
        return Ok(SubjectView::default());
    };
    let deliveries = store::deliveries::list_deliveries(conn, &[notification_id]).await?;
    let Some(mut delivery) = deliveries.into_iter().find(|delivery| delivery.id == id) else {
        return Ok(SubjectView::default());
    };
    let attempts = store::deliveries::list_attempts(conn, &[id]).await?;
    let message = delivery.message.take();
    let view = DeliveryView::of(delivery, attempts);
    Ok(SubjectView::of_delivery(notification_id, view, message))
}

async fn notification_of(
    conn: &mut store::Connection,
    id: DeliveryId,
) -> Result<Option<domain::NotificationId>, store::StoreError> {
    let rows = store::prepare::load_for_deliver(conn, &[id], None).await?;
    Ok(rows.first().map(|row| row.notification_id))
}

/// Let dead letters run again.
///
/// Needs the role `admin`. Without any criterion it is all of the tenant's. What was delivered or
/// cancelled meanwhile is skipped, and what has expired unless `include_expired` says otherwise;
/// the replay tells which. With `dry_run` they are only counted, and `replay_id` is null.
#[utoipa::path(
    post, path = "/v1/admin/dead-letters/replay", tag = "Operate",
    operation_id = "replay_dead_letters",
    request_body = ReplayBody,
    responses((status = 202, description = "It has begun.", body = BegunView)),
)]
pub(super) async fn replay(
    State(app): State<App>,
    Admin(caller): Admin,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    let asked = ReplaySubmission::parse(body.value).map_err(ApiError::invalid)?;
    start(&app, &caller, asked, body.once, false).await
}

/// Let one dead letter run again (short form).
///
/// Needs the role `admin`. Also outside `/v1`.
#[utoipa::path(
    post, path = "/v1/admin/dlq/replay", tag = "Operate", operation_id = "replay_dlq",
    request_body = ShortReplayBody,
    responses(
        (status = 202, description = "It has begun.", body = BegunView),
        (status = 404, description = "There is no such dead letter."),
    ),
)]
pub(super) async fn replay_short(
    State(app): State<App>,
    Admin(caller): Admin,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    let id = ReplaySubmission::parse_short(body.value).map_err(ApiError::invalid)?;
    let asked = ReplaySubmission {
        ids: Some(vec![id]),
        ..ReplaySubmission::default()
    };
    start(&app, &caller, asked, body.once, true).await
}

/// What a name of a queue has to be: one that is misspelt must not look like one without dead
/// letters.
const QUEUE_EXPECTED: &str = "must be a queue, as /v1/admin/queues lists them";

/// Refuses a queue that is not there.
pub(crate) fn check_queue(asked: &ReplaySubmission) -> Result<(), ApiError> {
    let name = asked.queue.as_deref();
    if name.is_some_and(|name| queues::known(name).is_none()) {
        return Err(ApiError::invalid_field("/queue", QUEUE_EXPECTED));
    }
    Ok(())
}

/// Which dead letters are asked for.
pub(crate) fn filter(asked: &ReplaySubmission) -> DeadLetterFilter {
    let ids = asked.ids.as_ref();
    DeadLetterFilter {
        ids: ids.map(|ids| ids.iter().copied().map(JobId).collect()),
        queue: asked.queue.clone(),
        kind: asked.kind.clone(),
        error: asked.error.clone(),
        since: asked.since,
        until: asked.until,
    }
}

/// Begins a replay within `tx`, and notes it. Once it is committed, [`ring`] its bell.
pub(crate) async fn begin_replay(
    app: &App,
    caller: &Caller,
    tx: &mut Connection,
    asked: &ReplaySubmission,
) -> Result<workers::replay::Begun, ApiError> {
    let request = Request {
        filter: filter(asked),
        tenant_id: Some(caller.tenant_id.clone()),
        rate: asked.rate,
        include_expired: asked.include_expired,
        actor: caller.actor(),
    };
    let begun = begin(tx, &request, &app.clock)
        .await
        .map_err(ApiError::from_replay)?;
    let detail = request.audited(begun.matched);
    let subject = begun.replay_id.to_string();
    let action = "dead_letters.replayed";
    caller.sign(app, tx, action, &subject, Some(detail)).await?;
    Ok(begun)
}

/// Wakes whoever runs replays.
pub(crate) fn ring(app: &App) {
    app.bell.ring(JOBS_AVAILABLE, workers::queues::RETRY);
}

/// Begins a replay, and answers with its id. One that `must_match` is refused if nothing does.
async fn start(
    app: &App,
    caller: &Caller,
    asked: ReplaySubmission,
    once: Option<OnceKey>,
    must_match: bool,
) -> Result<Response<Body>, ApiError> {
    check_queue(&asked)?;
    let mut work = match once::begin(app, caller, once).await? {
        Begun::Fresh(work) => work,
        Begun::Repeat(response) => return Ok(response),
    };
    if asked.is_dry_run {
        let filter = filter(&asked);
        let matched =
            workers::dead_letters::count(&mut work, Some(&caller.tenant_id), &filter).await;
        let view = BegunView {
            replay_id: None,
            matched: matched.map_err(ApiError::from_replay)?,
        };
        return work.answer(app, StatusCode::ACCEPTED, &view).await;
    }
    let begun = begin_replay(app, caller, &mut work, &asked).await?;
    if must_match && begun.matched == 0 {
        return Err(not_found());
    }
    let view = BegunView {
        replay_id: Some(begun.replay_id),
        matched: begun.matched,
    };
    let response = work.answer(app, StatusCode::ACCEPTED, &view).await?;
    ring(app);
    Ok(response)
}

/// A place in the order of deaths as a cursor: microseconds since 1970, and the job.
pub(crate) fn write_cursor(place: Place) -> String {
    let micros = place.died_at.timestamp_micros();
    format!("{micros:016x}{}", place.job_id.as_uuid().simple())
}

pub(crate) fn read_cursor(text: &str) -> Option<Place> {
    let (micros, job_id) = text.split_at_checked(16)?;
    let micros = i64::from_str_radix(micros, 16).ok()?;
    Some(Place {
        died_at: DateTime::from_timestamp_micros(micros)?,
        job_id: JobId(Uuid::try_parse(job_id).ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let place = Place {
            died_at: DateTime::from_timestamp_micros(1_800_000_000_000_007).unwrap(),
            job_id: JobId(Uuid::from_u128(42)),
        };

        assert_eq!(read_cursor(&write_cursor(place)), Some(place));
        let cursor = write_cursor(place);
        for text in [
            "",
            "7",
            "ä7ä7ä7ä7ä7ä7ä7ä7ä7",
            cursor.trim_start_matches('0'),
        ] {
            assert_eq!(read_cursor(text), None, "{text}");
        }
    }
}
