//! Rules: who hears of what; the list, and turning one on and off.

mod edit;
mod rehearse;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{get, post};
use domain::RuleSubmission;
use serde_json::Value;
use store::rules::{RuleRef, RuleSource, StoredRule, find_rule, list_rules};
use store::{Connection, Tx};
use uuid::Uuid;

use super::form::{Fields, Form};
use super::session::Operator;
use super::shell::{self, Shell};
use super::{links, text};
use crate::api::error::ApiError;
use crate::api::path::RulePath;
use crate::api::rules::{save, take_away, unknown};
use crate::app::App;

/// Where the page is.
pub(super) const PATH: &str = "/console/rules";

/// Rows of a page.
const ROWS: usize = 100;

/// The routes of this folder.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/rules", get(list))
        .route("/rules/{id}", get(edit::show).post(edit::save))
        .route("/rules/{id}/enable", post(enable))
        .route("/rules/{id}/disable", post(disable))
        .route("/rules/{id}/remove", post(remove))
        .route("/drafts/rule", get(edit::begin).post(edit::create))
        .route("/rehearsal", get(rehearse::begin).post(rehearse::show))
}

#[derive(Template)]
#[template(path = "rules.html")]
struct ListPage {
    shell: Shell,
    rows: Vec<Row>,
    more: Option<String>,
    newest: bool,
}

struct Row {
    url: String,
    name: String,
    description: Option<String>,
    matched: Vec<String>,
    told: Vec<String>,
    is_enabled: bool,
    version: i64,
    is_of_file: bool,
    updated: String,
}

impl Row {
    fn of(rule: StoredRule) -> Self {
        let body = &rule.body;
        Self {
            url: links::rule(&rule.rule_id.to_string()),
            name: text_of(&body["name"]).unwrap_or_default(),
            description: text_of(&body["description"]),
            matched: matched(body),
            told: told(body),
            is_enabled: body["enabled"].as_bool().unwrap_or(true),
            version: rule.version,
            is_of_file: rule.source == RuleSource::File,
            updated: text::moment(rule.updated_at),
        }
    }
}

fn text_of(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// What a rule speaks of, as it says so.
fn matched(body: &Value) -> Vec<String> {
    let mut matched = Vec::new();
    for name in ["event_type", "event_types", "domains"] {
        match &body[name] {
            Value::String(word) => matched.push(word.clone()),
            Value::Array(words) => matched.extend(words.iter().filter_map(text_of)),
            _ => {}
        }
    }
    for name in ["when", "event_pattern"] {
        matched.extend(text_of(&body[name]).map(|pattern| format!("when {pattern}")));
    }
    let schedule = &body["schedule"];
    if !schedule.is_null() {
        let schedule = text_of(schedule).unwrap_or_else(|| schedule.to_string());
        matched.push(format!("on schedule {schedule}"));
    }
    matched
}

/// Over what it tells whom, one line for each action.
fn told(body: &Value) -> Vec<String> {
    let actions = body["actions"].as_array().into_iter().flatten();
    let line = |action: &Value| {
        let channels = action["channels"].as_array().into_iter().flatten();
        let channels: Vec<_> = channels.filter_map(Value::as_str).collect();
        let channels = if channels.is_empty() {
            "in_app".to_owned()
        } else {
            channels.join(", ")
        };
        match text_of(&action["template"]) {
            Some(template) => format!("{channels}: {template}"),
            None => channels,
        }
    };
    actions.map(line).collect()
}

/// `GET /console/rules`.
async fn list(
    State(app): State<App>,
    operator: Operator,
    mut fields: Fields,
) -> Result<Response<Body>, ApiError> {
    let removed = fields.raw("removed");
    let cursor = "must come from another page of the list";
    let query = fields.reading();
    let before = query.parsed("cursor", cursor, |text| Uuid::parse_str(text).ok());
    fields.finish()?;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let tenant_id = &operator.caller.tenant_id;
    let mut found = list_rules(&mut conn, tenant_id, before, ROWS as i64 + 1)
        .await
        .map_err(ApiError::from_store)?;
    let has_more = found.len() > ROWS;
    found.truncate(ROWS);
    let last = found.last().filter(|_| has_more);
    let more = last.map(|rule| {
        let cursor = rule.rule_id.as_uuid().simple().to_string();
        links::with(PATH, [("cursor", Some(cursor))])
    });
    let notice = removed.map(|name| format!("The rule {name} is removed."));
    let page = ListPage {
        shell: Shell::new(&operator, PATH).noticing(notice),
        rows: found.into_iter().map(Row::of).collect(),
        more,
        newest: before.is_some(),
    };
    shell::html(StatusCode::OK, &page)
}

async fn found(
    conn: &mut Connection,
    operator: &Operator,
    rule: &RuleRef,
) -> Result<StoredRule, ApiError> {
    find_rule(conn, &operator.caller.tenant_id, rule)
        .await
        .map_err(ApiError::from_store)?
        .ok_or_else(unknown)
}

/// `POST /console/rules/{id}/enable`.
async fn enable(
    State(app): State<App>,
    RulePath(rule): RulePath,
    form: Form,
) -> Result<Response<Body>, ApiError> {
    turn(&app, &rule, &form, true).await
}

/// `POST /console/rules/{id}/disable`.
async fn disable(
    State(app): State<App>,
    RulePath(rule): RulePath,
    form: Form,
) -> Result<Response<Body>, ApiError> {
    turn(&app, &rule, &form, false).await
}

async fn turn(
    app: &App,
    rule: &RuleRef,
    form: &Form,
    is_enabled: bool,
) -> Result<Response<Body>, ApiError> {
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let stored = found(&mut tx, &form.operator, rule).await?;
    let mut body = stored.body;
    if let Value::Object(fields) = &mut body {
        fields.insert("enabled".to_owned(), is_enabled.into());
    }
    let said = RuleSubmission::parse(body).map_err(ApiError::invalid)?;
    change(app, form, &mut tx, rule, said, stored.version).await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    let url = links::rule(&stored.rule_id.to_string());
    Ok(Redirect::to(&format!("{url}?saved=1")).into_response())
}

/// Changes a rule that was read at the version `base`.
async fn change(
    app: &App,
    form: &Form,
    tx: &mut Tx,
    rule: &RuleRef,
    said: RuleSubmission,
    base: i64,
) -> Result<StoredRule, ApiError> {
    let (stored, _) = save(app, &form.operator.caller, tx, rule, said).await?;
    // The row is ours from here on; if another change came in between, this one is undone.
    if stored.version == base + 1 {
        return Ok(stored);
    }
    Err(ApiError::conflict(
        "somebody else has changed this rule since you opened it; nothing was saved. Open it again \
         and make your change there",
    ))
}

/// `POST /console/rules/{id}/remove`.
async fn remove(
    State(app): State<App>,
    RulePath(rule): RulePath,
    form: Form,
) -> Result<Response<Body>, ApiError> {
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let stored = found(&mut tx, &form.operator, &rule).await?;
    take_away(&app, &form.operator.caller, &mut tx, &rule).await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    let name = text_of(&stored.body["name"]);
    let url = links::with(PATH, [("removed", name)]);
    Ok(Redirect::to(&url).into_response())
}

/// A document as an operator writes it: YAML, of which JSON is a part.
fn document(written: &str) -> Result<Value, String> {
    let read: Result<yaml_serde::Value, _> = yaml_serde::from_str(written);
    let mut read = read.map_err(|error| format!("cannot be read as YAML: {error}"))?;
    read.apply_merge()
        .map_err(|error| format!("cannot be read as YAML: {error}"))?;
    serde_json::to_value(&read).map_err(|error| format!("cannot be read as JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_says_what_it_speaks_of_and_how_it_tells() {
        let body = json!({"event_types": ["a", "b"], "when": "event.data.x > 1",
            "actions": [{"channels": ["email", "sms"], "template": "t"}, {}]});

        assert_eq!(matched(&body), ["a", "b", "when event.data.x > 1"]);
        assert_eq!(told(&body), ["email, sms: t", "in_app"]);
    }

    #[test]
    fn a_document_is_yaml_or_json_and_never_too_much() {
        assert_eq!(document("a: 1"), Ok(json!({"a": 1})));
        assert_eq!(document("{\"a\": [1, null]}"), Ok(json!({"a": [1, null]})));
        let bomb = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, level| {
            let before = level - 1;
            format!("{text}a{level}: &a{level} [*a{before}, *a{before}, *a{before}]\n")
        });
        let deep = "[".repeat(100_000);
        for wrong in [": :", "a: 1\na: 2", &bomb, &deep] {
            assert!(document(wrong).is_err());
        }
    }
}
