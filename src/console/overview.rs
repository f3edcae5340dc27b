//! The first page: is all well, and what is going on.

use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::routing::get;
use domain::Channel;

use super::chart::{Chart, Series, Subject};
use super::floor::{self, Floor};
use super::hour::{Hour, Values};
use super::session::Operator;
use super::shell::{self, Shell};
use super::verdict::{self, Facts, Verdict};
use super::{live, text};
use crate::api::error::ApiError;
use crate::app::App;
use crate::health::{LATE_SECONDS, State as Health};

/// Where the page is.
pub(super) const PATH: &str = "/console";

/// How often an open page looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// The routes of this file.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(show))
        .route("/live/overview", get(watch))
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    shell: Shell,
    parts: Parts,
}

/// What the page shows, part by part.
struct Parts {
    verdict: Verdict,
    numbers: Vec<Number>,
    charts: Vec<Chart>,
    failures: Vec<Failure>,
    dead: Vec<Dead>,
    /// Whether it is the whole installation, or one tenant.
    is_all: bool,
}

#[derive(Template)]
#[template(path = "overview_verdict.html")]
struct VerdictPart<'a> {
    parts: &'a Parts,
}

#[derive(Template)]
#[template(path = "overview_numbers.html")]
struct NumbersPart<'a> {
    parts: &'a Parts,
}

#[derive(Template)]
#[template(path = "overview_charts.html")]
struct ChartsPart<'a> {
    parts: &'a Parts,
}

#[derive(Template)]
#[template(path = "overview_troubles.html")]
struct TroublesPart<'a> {
    parts: &'a Parts,
}

/// One number, as of now.
struct Number {
    id: &'static str,
    name: &'static str,
    value: String,
    unit: &'static str,
    class: &'static str,
    link: Option<&'static str>,
}

/// What failed on one channel.
struct Failure {
    channel: String,
    /// How many, and of what kind.
    counts: String,
    /// The last one, by provider.
    last: Vec<(String, String, String)>,
}

/// A job that gave up.
struct Dead {
    id: String,
    at: String,
    queue: String,
    kind: String,
    error: String,
}

/// `GET /console`.
async fn show(State(app): State<App>, operator: Operator) -> Result<Response<Body>, ApiError> {
    let page = OverviewPage {
        shell: Shell::new(&operator, PATH).live("/console/live/overview"),
        parts: Parts::look(&app, &operator).await?,
    };
    shell::html(StatusCode::OK, &page)
}

/// `GET /console/live/overview`.
async fn watch(State(app): State<App>, operator: Operator) -> Result<Response<Body>, ApiError> {
    live::stream(&app, operator, LOOK_INTERVAL, async |app, operator| {
        let parts = &Parts::look(&app, &operator).await?;
        Ok(vec![
            shell::fragment(&VerdictPart { parts })?,
            shell::fragment(&NumbersPart { parts })?,
            shell::fragment(&ChartsPart { parts })?,
            shell::fragment(&TroublesPart { parts })?,
        ])
    })
}

impl Parts {
    async fn look(app: &App, operator: &Operator) -> Result<Self, ApiError> {
        let hour = Hour::look(app, &operator.caller.tenant_id).await?;
        let facts = facts(app, &hour).await;
        Ok(Self {
            verdict: verdict::judge(&facts),
            numbers: numbers(app, &hour),
            charts: charts(&hour),
            failures: failures(&hour),
            dead: hour.dead.iter().map(dead).collect(),
            is_all: hour.floor.is_some(),
        })
    }
}

async fn facts(app: &App, hour: &Hour) -> Facts {
    let facts = Facts {
        dead: hour.dead_count,
        is_more_dead: hour.is_more_dead,
        ..Facts::default()
    };
    let Some(floor) = &hour.floor else {
        return facts;
    };
    let report = app.examiner.report().await;
    let names = |is_meant: &dyn Fn(&queue::inspect::QueueDepth) -> bool| {
        let queues = floor.queues.iter().filter(|queue| is_meant(queue));
        queues.map(|queue| queue.queue.clone()).collect::<Vec<_>>()
    };
    let runs = |queue: &queue::inspect::QueueDepth| queue.paused_at.is_none();
    let late = floor
        .queues
        .iter()
        .filter(|queue| runs(queue) && queue.oldest_available_seconds > LATE_SECONDS);
    Facts {
        workers: Some(alive(floor)),
        unserved: names(&|queue| {
            runs(queue) && queue.available > 0 && floor.serving(&queue.queue) == 0
        }),
        late: late
            .map(|queue| (queue.queue.clone(), queue.oldest_available_seconds))
            .collect(),
        paused: names(&|queue| !runs(queue)),
        migrations_missing: report.database.migrations_missing.unwrap_or_default(),
        wakes_are_late: report.wake_ups.status != Health::Ok,
        ..facts
    }
}

fn alive(floor: &Floor) -> usize {
    let workers = floor.workers.iter();
    workers.filter(|worker| floor::is_alive(worker)).count()
}

fn numbers(app: &App, hour: &Hour) -> Vec<Number> {
    let rate = |id, name, per_second: f64| {
        let (value, unit) = if per_second >= 1.0 {
            (per_second, "a second")
        } else {
            ((per_second * 60.0).round(), "a minute")
        };
        Number {
            id,
            name,
            value: text::rough(value),
            unit,
            class: "",
            link: None,
        }
    };
    let mut numbers = vec![
        rate("accepted", "Accepted", hour.accepted_rate),
        rate("went-out", "Delivered", hour.went_out_rate),
    ];
    if let Some(floor) = &hour.floor {
        let waiting = floor.queues.iter().map(|queue| queue.available).sum();
        let running = floor
            .queues
            .iter()
            .filter(|queue| queue.paused_at.is_none());
        let oldest = running.map(|queue| queue.oldest_available_seconds);
        let oldest = oldest.fold(0.0, f64::max);
        numbers.push(Number {
            id: "waiting",
            name: "Waiting",
            value: text::number(waiting),
            unit: if waiting == 1 {
                "job is due"
            } else {
                "jobs are due"
            },
            class: "",
            link: Some("/console/queues"),
        });
        numbers.push(Number {
            id: "oldest",
            name: "Longest wait",
            value: text::seconds(oldest),
            unit: "of a job that is due",
            class: if oldest > LATE_SECONDS { "bad" } else { "" },
            link: Some("/console/queues"),
        });
    }
    let more = if hour.is_more_dead { "+" } else { "" };
    numbers.push(Number {
        id: "dead",
        name: "Gave up",
        value: format!("{}{more}", text::number(hour.dead_count)),
        unit: "in the last hour",
        class: if hour.dead_count > 0 { "warn" } else { "" },
        link: Some("/console/dead-letters"),
    });
    if hour.floor.is_some() {
        let sockets = app.metrics.websocket_connections.get() + app.metrics.live_streams.get();
        numbers.push(Number {
            id: "sockets",
            name: "Open inboxes",
            value: text::number(sockets),
            unit: "at this server",
            class: "",
            link: None,
        });
    }
    numbers
}

const THROUGHPUT: Subject = Subject {
    id: "chart-throughput",
    title: "Throughput",
    about: "Notifications accepted and deliveries that went out, a minute",
    write: text::rough,
    top_min: 5.0,
};

const LATENCY: Subject = Subject {
    id: "chart-latency",
    title: "Latency",
    about: "From accepted to delivered, of those that went out in the minute",
    write: text::seconds,
    top_min: 0.05,
};

const WAITING: Subject = Subject {
    id: "chart-waiting",
    title: "Queue depth",
    about: "Jobs due or running, the most of each minute",
    write: text::rough,
    top_min: 5.0,
};

const OLDEST: Subject = Subject {
    id: "chart-oldest",
    title: "Oldest job",
    about: "How long the oldest due job waited, the longest of each minute",
    write: text::seconds,
    top_min: 1.0,
};

fn charts(hour: &Hour) -> Vec<Chart> {
    let line = |name, class, values: &Values| Series {
        name,
        class,
        values: values.clone(),
    };
    let draw = |subject, series| {
        let ends = format!("{} (now)", text::clock(hour.ends));
        Chart::draw(subject, series, text::clock(hour.begins), ends)
    };
    let throughput = vec![
        line("accepted", "one", &hour.accepted),
        line("delivered", "two", &hour.went_out),
    ];
    let mut charts = vec![draw(&THROUGHPUT, throughput)];
    if hour.floor.is_some() {
        let latency = vec![
            line("half within", "one", &hour.latency_median),
            line("95% within", "two", &hour.latency_high),
        ];
        charts.push(draw(&LATENCY, latency));
        charts.push(draw(&WAITING, vec![line("jobs", "one", &hour.waiting)]));
        charts.push(draw(&OLDEST, vec![line("waits", "one", &hour.oldest)]));
    }
    charts
}

/// By channel: how many failed, and the last error of each provider.
fn failures(hour: &Hour) -> Vec<Failure> {
    let channels = Channel::ALL.into_iter().map(Channel::as_str);
    let failure = |channel: &str| {
        let counts: Vec<_> = hour
            .failures
            .iter()
            .filter_map(|(label, count)| {
                let (of, outcome) = label.split_once('/')?;
                (of == channel).then(|| format!("{} {outcome}", text::number(*count)))
            })
            .collect();
        let last = hour.last_failures.iter();
        let last: Vec<_> = last
            .filter(|last| last.channel.as_str() == channel)
            .map(|last| {
                let error = last.error.clone();
                let error = error.unwrap_or_else(|| last.status.as_str().to_owned());
                (last.provider.clone(), error, text::moment(last.at))
            })
            .collect();
        let is_any = !counts.is_empty() || !last.is_empty();
        is_any.then(|| Failure {
            channel: channel.to_owned(),
            counts: if counts.is_empty() {
                "some".to_owned()
            } else {
                counts.join(", ")
            },
            last,
        })
    };
    channels.filter_map(failure).collect()
}

fn dead(letter: &queue::dead_letter::DeadLetter) -> Dead {
    Dead {
        id: letter.job_id.to_string(),
        at: text::moment(letter.died_at),
        queue: letter.queue.clone(),
        kind: letter.kind.clone(),
        error: letter.last_error().to_owned(),
    }
}
