//! A dry run: what an event would lead to, by the functions that decide in earnest.

use askama::Template;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use domain::RehearsalSubmission;
use serde_json::json;
use workers::{Rehearsal, Rehearsed, rehearse};

use super::{PATH, document};
use crate::api::error::ApiError;
use crate::app::App;
use crate::console::form::{Fields, Form};
use crate::console::notifications::class_of;
use crate::console::session::Operator;
use crate::console::shell::{self, Shell};
use crate::console::timeline::{self, Step};
use crate::console::{links, text};

/// What the page begins with.
const BEGINNING: &str = "{\n  \"type\": \"order.filled\",\n  \"payload\": {\n    \
    \"user_id\": \"user-1\"\n  }\n}";

#[derive(Template)]
#[template(path = "rehearsal.html")]
struct RehearsalPage {
    shell: Shell,
    source: String,
    at: String,
    problem: Option<String>,
    errors: Vec<(String, String)>,
    outcome: Option<Outcome>,
}

/// What it would lead to.
struct Outcome {
    steps: Vec<Step>,
    told: Vec<Told>,
    has_more: bool,
}

/// What one user would be told.
struct Told {
    user_id: String,
    user_url: String,
    rule: Option<String>,
    variant: Option<String>,
    template: Option<String>,
    category: Option<String>,
    priority: &'static str,
    locale: Option<String>,
    is_gathered: bool,
    deliveries: Vec<DeliveryShown>,
}

struct DeliveryShown {
    channel: &'static str,
    status: &'static str,
    class: &'static str,
    due: Option<String>,
    error: Option<String>,
}

impl Outcome {
    fn of(rehearsal: Rehearsal) -> Self {
        let steps = rehearsal.trace.into_iter().map(|step| (None, step));
        Self {
            steps: timeline::told(steps),
            told: rehearsal.notifications.into_iter().map(Told::of).collect(),
            has_more: rehearsal.has_more,
        }
    }
}

impl Told {
    fn of(told: Rehearsed) -> Self {
        let deliveries = told.deliveries.into_iter().map(|delivery| DeliveryShown {
            channel: delivery.channel.as_str(),
            status: delivery.status.as_str(),
            class: class_of(delivery.status),
            due: delivery.due_at.map(text::moment),
            error: delivery.error,
        });
        Self {
            user_url: links::user(told.user_id.as_str()),
            user_id: told.user_id.into_string(),
            rule: told.rule,
            variant: told.variant,
            template: told.template,
            category: told.category,
            priority: told.priority.as_str(),
            locale: told.locale,
            is_gathered: told.is_gathered,
            deliveries: deliveries.collect(),
        }
    }
}

/// `GET /console/rehearsal`.
pub(super) async fn begin(operator: Operator) -> Result<Response<Body>, ApiError> {
    let page = RehearsalPage {
        shell: Shell::new(&operator, PATH),
        source: BEGINNING.to_owned(),
        at: String::new(),
        problem: None,
        errors: Vec::new(),
        outcome: None,
    };
    shell::html(StatusCode::OK, &page)
}

/// `POST /console/rehearsal`.
pub(super) async fn show(State(app): State<App>, form: Form) -> Result<Response<Body>, ApiError> {
    let Form { operator, fields } = form;
    let source = fields.raw("event").unwrap_or_default();
    let mut page = RehearsalPage {
        shell: Shell::new(&operator, PATH),
        source: source.replace("\r\n", "\n"),
        at: fields.raw("at").unwrap_or_default(),
        problem: None,
        errors: Vec::new(),
        outcome: None,
    };
    let asked = match read(&fields, &page.source) {
        Ok(asked) => asked,
        Err(error) => {
            let told = error.errors().iter();
            page.errors = told
                .map(|it| (it.pointer.clone(), it.detail.clone()))
                .collect();
            page.problem = Some(error.detail().to_owned());
            return shell::html(error.status(), &page);
        }
    };
    // Only read, and never committed.
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let at = asked.at.unwrap_or_else(|| app.clock.now());
    let shelf = app.catalog.current(&mut tx);
    let shelf = shelf.await.map_err(ApiError::from_store)?;
    let rehearsal = rehearse(&mut tx, &shelf, &operator.caller.tenant_id, asked.event, at)
        .await
        .map_err(ApiError::from_store)?;
    page.outcome = Some(Outcome::of(rehearsal));
    shell::html(StatusCode::OK, &page)
}

fn read(fields: &Fields, source: &str) -> Result<RehearsalSubmission, ApiError> {
    let event = document(source).map_err(|detail| ApiError::invalid_field("/event", detail))?;
    let mut body = json!({"event": event});
    if let Some(at) = fields.raw("at") {
        // A browser's field has no zone, and often no seconds.
        let at = match at.len() {
            16 => format!("{at}:00Z"),
            19 => format!("{at}Z"),
            _ => at,
        };
        body["at"] = at.into();
    }
    RehearsalSubmission::parse(body).map_err(ApiError::invalid)
}
