//! A replay: how far it has come while it runs, what became of each dead letter, and stopping it.

use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::http::{Response, StatusCode};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{get, post};
use domain::{ReplayId, ReplayResult, ReplayState};
use store::Connection;
use store::replays::{Replay, ReplayItem};

use super::form::{Fields, Form};
use super::session::Operator;
use super::shell::{self, Shell};
use super::{dead_letters, live, text};
use crate::api::auth::Caller;
use crate::api::error::ApiError;
use crate::api::page::{Page, PageQuery};
use crate::api::path::path_id;
use crate::api::replays as api;
use crate::app::App;

/// Where the pages are, by id.
pub(super) const PATH: &str = "/console/replays";

/// How often an open page looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Replays shown with the dead letters.
const NEWEST: i64 = 5;

/// The routes of this file.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/replays/{id}", get(show))
        .route("/replays/{id}/cancel", post(cancel))
        .route("/live/replays/{id}", get(watch))
}

#[derive(Template)]
#[template(path = "replay.html")]
struct ReplayPage {
    shell: Shell,
    progress: Progress,
    items: Items,
}

/// The parts of the page that change.
#[derive(Template)]
#[template(path = "replay_progress_alone.html")]
struct ProgressPart {
    progress: Progress,
}

#[derive(Template)]
#[template(path = "replay_items_alone.html")]
struct ItemsPart {
    items: Items,
}

/// A page of what became of each dead letter.
struct Items {
    rows: Vec<Item>,
    /// The address of the next page.
    next: Option<String>,
}

struct Progress {
    id: String,
    form_token: String,
    state: &'static str,
    state_class: &'static str,
    sentence: String,
    looked_at: i64,
    matched: i64,
    results: Vec<(&'static str, String)>,
    facts: Vec<(&'static str, String)>,
    can_be_stopped: bool,
}

/// A replay among others.
pub(super) struct ReplayRow {
    pub(super) id: String,
    pub(super) begun: String,
    pub(super) state: &'static str,
    pub(super) state_class: &'static str,
    pub(super) progress: String,
    pub(super) actor: String,
}

struct Item {
    job_id: String,
    result: &'static str,
    at: String,
}

/// The newest replays of the caller's tenant.
pub(super) async fn newest(
    conn: &mut Connection,
    caller: &Caller,
) -> Result<Vec<ReplayRow>, ApiError> {
    let replays = store::replays::list_replays(conn, Some(&caller.tenant_id), None, NEWEST)
        .await
        .map_err(ApiError::from_store)?;
    let row = |replay: &Replay| {
        let (state, state_class) = state_of(replay.state);
        ReplayRow {
            id: replay.replay_id.to_string(),
            begun: text::moment(replay.created_at),
            state,
            state_class,
            progress: format!(
                "{} of {}",
                text::number(replay.counts.total()),
                text::number(replay.matched)
            ),
            actor: replay.actor.clone(),
        }
    };
    Ok(replays.iter().map(row).collect())
}

/// What a result means, in a few words.
fn meaning(result: ReplayResult) -> &'static str {
    match result {
        ReplayResult::Replayed => "runs again",
        ReplayResult::SkippedDelivered => "skipped: was delivered meanwhile",
        ReplayResult::SkippedCancelled => "skipped: nobody wants it any more",
        ReplayResult::SkippedExpired => "skipped: has expired",
        ReplayResult::SkippedGone => "skipped: is not there any more",
        ReplayResult::SkippedConflict => "skipped: another job for it is open",
    }
}

fn state_of(state: ReplayState) -> (&'static str, &'static str) {
    match state {
        ReplayState::Running => ("running", "warn"),
        ReplayState::Done => ("done", "good"),
        ReplayState::Cancelled => ("stopped", "idle"),
        ReplayState::Failed => ("failed", "bad"),
    }
}

impl Progress {
    fn of(replay: &Replay, operator: &Operator) -> Self {
        let (state, state_class) = state_of(replay.state);
        let looked_at = replay.counts.total();
        let again = replay.counts.of(ReplayResult::Replayed);
        let (looked, matched) = (text::number(looked_at), text::number(replay.matched));
        let sentence = match replay.state {
            ReplayState::Running => format!("{looked} of {matched} looked at so far."),
            ReplayState::Done => format!("Done: {} of {looked} run again.", text::number(again)),
            ReplayState::Cancelled => {
                format!("Stopped after {looked} of {matched}; what was replayed stays so.")
            }
            ReplayState::Failed => format!("Failed after {looked} of {matched}."),
        };
        let results = replay.counts.iter().filter(|(_, count)| *count > 0);
        let mut facts = vec![
            ("Asked for by", replay.actor.clone()),
            ("Begun", text::moment(replay.created_at)),
        ];
        if let Some(at) = replay.finished_at {
            facts.push(("Ended", text::moment(at)));
        }
        if let Some(rate) = replay.rate {
            facts.push(("At most", format!("{rate} a second")));
        }
        if replay.include_expired {
            facts.push(("Expired ones", "are sent too".to_owned()));
        }
        Self {
            id: replay.replay_id.to_string(),
            form_token: operator.form_token(),
            state,
            state_class,
            sentence,
            looked_at,
            matched: replay.matched.max(looked_at).max(1),
            results: results
                .map(|(result, count)| (meaning(result), text::number(count)))
                .collect(),
            facts,
            can_be_stopped: matches!(replay.state, ReplayState::Running | ReplayState::Failed),
        }
    }
}

impl Items {
    async fn read(conn: &mut Connection, id: ReplayId, page: PageQuery) -> Result<Self, ApiError> {
        let limit = i64::from(page.limit) + 1;
        let items = store::replays::list_items(conn, id, page.after, limit)
            .await
            .map_err(ApiError::from_store)?;
        let items = Page::new(items, page.limit, |item: &ReplayItem| item.job_id);
        let row = |item: &ReplayItem| Item {
            job_id: item.job_id.to_string(),
            result: meaning(item.result),
            at: text::moment(item.at),
        };
        let next = items.next_cursor.as_ref();
        Ok(Self {
            rows: items.items.iter().map(row).collect(),
            next: next.map(|cursor| format!("{PATH}/{id}?cursor={cursor}")),
        })
    }
}

fn not_found() -> ApiError {
    ApiError::not_found("there is no such replay")
}

/// `GET /console/replays/{id}`.
async fn show(
    State(app): State<App>,
    operator: Operator,
    params: Result<RawPathParams, RawPathParamsRejection>,
    mut fields: Fields,
) -> Result<Response<Body>, ApiError> {
    let id: ReplayId = path_id(params).ok_or_else(not_found)?;
    let page = PageQuery::read(fields.reading());
    fields.finish()?;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let replay = api::find(&mut conn, &operator.caller, id).await?;
    let items = Items::read(&mut conn, id, page).await?;
    drop(conn);
    let mut shell = Shell::new(&operator, dead_letters::PATH);
    // A later page stays what it is.
    if replay.state == ReplayState::Running && page.after.is_none() {
        shell = shell.live(format!("/console/live/replays/{id}"));
    }
    let page = ReplayPage {
        shell,
        progress: Progress::of(&replay, &operator),
        items,
    };
    shell::html(StatusCode::OK, &page)
}

/// `GET /console/live/replays/{id}`.
async fn watch(
    State(app): State<App>,
    operator: Operator,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response<Body>, ApiError> {
    let id: ReplayId = path_id(params).ok_or_else(not_found)?;
    let parts = move |app: App, operator: Operator| async move {
        let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
        let replay = api::find(&mut conn, &operator.caller, id).await?;
        let items = Items::read(&mut conn, id, PageQuery::first()).await?;
        let progress = Progress::of(&replay, &operator);
        Ok(vec![
            shell::fragment(&ProgressPart { progress })?,
            shell::fragment(&ItemsPart { items })?,
        ])
    };
    live::stream(&app, operator, LOOK_INTERVAL, parts)
}

/// `POST /console/replays/{id}/cancel`.
async fn cancel(
    State(app): State<App>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    form: Form,
) -> Result<Response<Body>, ApiError> {
    let id: ReplayId = path_id(params).ok_or_else(not_found)?;
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    api::stop(&app, &form.operator.caller, &mut tx, id).await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    Ok(Redirect::to(&format!("{PATH}/{id}")).into_response())
}
