//! The queues: what waits where, who works on it, and the switch of each.

use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::http::{Response, StatusCode};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{get, post};
use queue::JOBS_AVAILABLE;
use queue::inspect::QueueDepth;

use super::floor::Floor;
use super::form::{Fields, Form};
use super::session::Operator;
use super::shell::{self, Shell};
use super::{floor, live, text};
use crate::api;
use crate::api::error::ApiError;
use crate::app::App;
use crate::health::LATE_SECONDS;

/// Where the page is.
pub(super) const PATH: &str = "/console/queues";

/// How often an open page looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// The routes of this file.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/queues", get(show))
        .route("/queues/{name}/pause", post(pause))
        .route("/queues/{name}/resume", post(resume))
        .route("/live/queues", get(watch))
}

#[derive(Template)]
#[template(path = "queues.html")]
struct QueuesPage {
    shell: Shell,
    table: Table,
}

/// The part of the page that changes.
#[derive(Template)]
#[template(path = "queues_table.html")]
struct Table {
    form_token: String,
    rows: Vec<Row>,
    nodes: Vec<Node>,
}

struct Row {
    name: String,
    state: &'static str,
    state_class: &'static str,
    /// By whom and since when it is paused.
    paused: Option<String>,
    available: String,
    scheduled: String,
    running: String,
    oldest: String,
    /// Attempts that ended, a minute.
    rate: String,
    workers: usize,
    is_paused: bool,
}

/// A process that works.
struct Node {
    name: String,
    pid: i32,
    queues: String,
    since: String,
    is_alive: bool,
    silent: String,
}

impl Table {
    async fn look(app: &App, operator: &Operator) -> Result<Self, ApiError> {
        let floor = Floor::look(app).await?;
        let nodes = floor.workers.iter().map(|worker| Node {
            name: worker.node.clone(),
            pid: worker.pid,
            queues: worker.queues.join(", "),
            since: text::moment(worker.started_at),
            is_alive: floor::is_alive(worker),
            silent: text::seconds(worker.silent_seconds),
        });
        Ok(Self {
            form_token: operator.form_token(),
            rows: floor
                .queues
                .iter()
                .map(|queue| row(&floor, queue))
                .collect(),
            nodes: nodes.collect(),
        })
    }
}

fn row(floor: &Floor, queue: &QueueDepth) -> Row {
    let workers = floor.serving(&queue.queue);
    let (state, state_class) = match queue.paused_at {
        Some(_) => ("paused", "warn"),
        None if queue.available > 0 && workers == 0 => ("nobody works", "bad"),
        None if queue.oldest_available_seconds > LATE_SECONDS => ("late", "bad"),
        None if queue.available + queue.running > 0 => ("working", "good"),
        None => ("idle", "idle"),
    };
    let paused = queue.paused_at.map(|at| {
        let since = text::moment(at);
        match floor.paused_by.get(&queue.queue) {
            Some(actor) => format!("by {actor} since {since}"),
            None => format!("since {since}"),
        }
    });
    Row {
        name: queue.queue.clone(),
        state,
        state_class,
        paused,
        available: text::number(queue.available),
        scheduled: text::number(queue.scheduled),
        running: text::number(queue.running),
        oldest: if queue.available > 0 {
            text::seconds(queue.oldest_available_seconds)
        } else {
            "–".to_owned()
        },
        rate: text::rough(floor.rates.get(&queue.queue).copied().unwrap_or_default()),
        workers,
        is_paused: queue.paused_at.is_some(),
    }
}

/// `GET /console/queues`.
async fn show(
    State(app): State<App>,
    operator: Operator,
    fields: Fields,
) -> Result<Response<Body>, ApiError> {
    operator.must_run_installation()?;
    let done = |word: &str, rest: &str| {
        let name = fields.raw(word)?;
        let name = api::queues::known(&name)?;
        Some(format!("The queue {name} {rest}"))
    };
    let notice = done(
        "paused",
        "is paused: what runs goes on, nothing new is begun.",
    )
    .or_else(|| done("resumed", "runs again."));
    let page = QueuesPage {
        shell: Shell::new(&operator, PATH)
            .live("/console/live/queues")
            .noticing(notice),
        table: Table::look(&app, &operator).await?,
    };
    shell::html(StatusCode::OK, &page)
}

/// `GET /console/live/queues`.
async fn watch(State(app): State<App>, operator: Operator) -> Result<Response<Body>, ApiError> {
    operator.must_run_installation()?;
    live::stream(&app, operator, LOOK_INTERVAL, async |app, operator| {
        let table = Table::look(&app, &operator).await?;
        Ok(vec![shell::fragment(&table)?])
    })
}

/// `POST /console/queues/{name}/pause`.
async fn pause(
    State(app): State<App>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    form: Form,
) -> Result<Response<Body>, ApiError> {
    turn(&app, params, &form, true).await
}

/// `POST /console/queues/{name}/resume`.
async fn resume(
    State(app): State<App>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    form: Form,
) -> Result<Response<Body>, ApiError> {
    turn(&app, params, &form, false).await
}

async fn turn(
    app: &App,
    params: Result<RawPathParams, RawPathParamsRejection>,
    form: &Form,
    is_paused: bool,
) -> Result<Response<Body>, ApiError> {
    form.operator.must_run_installation()?;
    let name = api::queues::queue_name(params)
        .ok_or_else(|| ApiError::not_found("there is no such queue"))?;
    let caller = &form.operator.caller;
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    api::queues::turn(app, caller, &mut tx, name, is_paused).await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    app.console.floor.forget().await;
    if is_paused {
        return Ok(Redirect::to(&format!("{PATH}?paused={name}")).into_response());
    }
    app.bell.ring(JOBS_AVAILABLE, name);
    Ok(Redirect::to(&format!("{PATH}?resumed={name}")).into_response())
}
