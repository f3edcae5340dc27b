//! A rule being written, as the text that the rules file has for it.

use askama::Template;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::response::{IntoResponse, Redirect};
use domain::RuleSubmission;
use serde_json::Value;
use store::rules::{RuleSource, StoredRule};
use yaml_serde::Mapping;

use super::{PATH, change, document, found};
use crate::api::error::ApiError;
use crate::api::path::RulePath;
use crate::api::rules::save_new;
use crate::app::App;
use crate::console::form::{Fields, Form};
use crate::console::session::Operator;
use crate::console::shell::{self, Shell};
use crate::console::{links, text};

/// The keys that come first, in their order; the others follow by name.
const FIRST_KEYS: [&str; 12] = [
    "name",
    "description",
    "enabled",
    "event_type",
    "event_types",
    "domains",
    "conditions",
    "when",
    "schedule",
    "timezone",
    "valid_from",
    "valid_until",
];

/// What a new rule begins with.
const BEGINNING: &str = "name: \nevent_type: \nactions:\n  - type: notify\n    channels: [in_app]\n\
    \x20   recipients: {type: dynamic, expression: event.data.user_id}\n";

#[derive(Template)]
#[template(path = "rule_edit.html")]
struct EditPage {
    shell: Shell,
    /// What is edited, if it is there already.
    known: Option<Known>,
    source: String,
    problem: Option<String>,
    errors: Vec<(String, String)>,
}

struct Known {
    url: String,
    name: String,
    version: i64,
    is_enabled: bool,
    is_of_file: bool,
    created: String,
    updated: String,
}

impl Known {
    fn of(rule: &StoredRule) -> Self {
        Self {
            url: links::rule(&rule.rule_id.to_string()),
            name: rule.body["name"].as_str().unwrap_or_default().to_owned(),
            version: rule.version,
            is_enabled: rule.body["enabled"].as_bool().unwrap_or(true),
            is_of_file: rule.source == RuleSource::File,
            created: text::moment(rule.created_at),
            updated: text::moment(rule.updated_at),
        }
    }
}

/// `GET /console/rules/{id}`.
pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    RulePath(rule): RulePath,
    fields: Fields,
) -> Result<Response<Body>, ApiError> {
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let stored = found(&mut conn, &operator, &rule).await?;
    let notice = fields
        .raw("saved")
        .map(|_| "Saved. Events that are routed from now on heed it.");
    let page = EditPage {
        shell: Shell::new(&operator, PATH).noticing(notice),
        source: readable(&stored),
        known: Some(Known::of(&stored)),
        problem: None,
        errors: Vec::new(),
    };
    shell::html(StatusCode::OK, &page)
}

/// A rule as somebody would have written it: what it is called and what it heeds before what it does.
fn readable(stored: &StoredRule) -> String {
    let written = in_order(&stored.body).and_then(|rule| yaml_serde::to_string(&rule));
    written.unwrap_or_else(|_| text::pretty(&stored.body))
}

fn in_order(rule: &Value) -> Result<Mapping, yaml_serde::Error> {
    let mut ordered = Mapping::new();
    let keys = rule.as_object().into_iter().flat_map(|rule| rule.keys());
    let first = FIRST_KEYS
        .into_iter()
        .filter(|&key| rule.get(key).is_some());
    for key in first.chain(keys.map(String::as_str)) {
        if !ordered.contains_key(key) {
            ordered.insert(key.into(), yaml_serde::to_value(&rule[key])?);
        }
    }
    Ok(ordered)
}

/// `GET /console/drafts/rule`.
pub(super) async fn begin(operator: Operator) -> Result<Response<Body>, ApiError> {
    let page = EditPage {
        shell: Shell::new(&operator, PATH),
        known: None,
        source: BEGINNING.to_owned(),
        problem: None,
        errors: Vec::new(),
    };
    shell::html(StatusCode::OK, &page)
}

/// What was written into a form, and the rule that it is.
fn read(fields: &Fields) -> (String, Result<RuleSubmission, ApiError>) {
    let source = fields.raw("source").unwrap_or_default();
    let source = source.replace("\r\n", "\n");
    let said = document(&source)
        .map_err(|detail| ApiError::invalid_field("", detail))
        .and_then(|body| RuleSubmission::parse(body).map_err(ApiError::invalid));
    (source, said)
}

/// The form again, with what is wrong.
fn again(
    operator: &Operator,
    known: Option<Known>,
    source: String,
    error: ApiError,
) -> Result<Response<Body>, ApiError> {
    let is_theirs = matches!(
        error.status(),
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::CONFLICT | StatusCode::BAD_REQUEST
    );
    if !is_theirs {
        return Err(error);
    }
    let told = error.errors().iter();
    let page = EditPage {
        shell: Shell::new(operator, PATH),
        known,
        source,
        errors: told
            .map(|it| (it.pointer.clone(), it.detail.clone()))
            .collect(),
        problem: Some(error.detail().to_owned()),
    };
    shell::html(error.status(), &page)
}

/// `POST /console/drafts/rule`.
pub(super) async fn create(State(app): State<App>, form: Form) -> Result<Response<Body>, ApiError> {
    let (source, said) = read(&form.fields);
    let said = match said {
        Ok(said) => said,
        Err(error) => return again(&form.operator, None, source, error),
    };
    let saved = async {
        let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
        let (stored, _) = save_new(&app, &form.operator.caller, &mut tx, said).await?;
        tx.commit().await.map_err(ApiError::from_store)?;
        Ok(stored)
    };
    match saved.await {
        Ok(stored) => Ok(seen(&stored)),
        Err(error) => again(&form.operator, None, source, error),
    }
}

/// `POST /console/rules/{id}`.
pub(super) async fn save(
    State(app): State<App>,
    RulePath(rule): RulePath,
    form: Form,
) -> Result<Response<Body>, ApiError> {
    let base = form
        .fields
        .raw("version")
        .and_then(|text| text.parse().ok());
    let base: i64 = base
        .filter(|base| (0..i64::MAX).contains(base))
        .unwrap_or(0);
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let stored = found(&mut conn, &form.operator, &rule).await?;
    drop(conn);
    let known = || Known {
        // The text is still made from what it was made from, so that a conflict stays one.
        version: base,
        ..Known::of(&stored)
    };
    let (source, said) = read(&form.fields);
    let said = match said {
        Ok(said) => said,
        Err(error) => return again(&form.operator, Some(known()), source, error),
    };
    let saved = async {
        let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
        let stored = change(&app, &form, &mut tx, &rule, said, base).await?;
        tx.commit().await.map_err(ApiError::from_store)?;
        Ok(stored)
    };
    match saved.await {
        Ok(stored) => Ok(seen(&stored)),
        Err(error) => again(&form.operator, Some(known()), source, error),
    }
}

fn seen(stored: &StoredRule) -> Response<Body> {
    let url = links::rule(&stored.rule_id.to_string());
    Redirect::to(&format!("{url}?saved=1")).into_response()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_reads_from_its_name_to_what_it_does() {
        let rule = json!({"actions": [], "when": "true", "channels": ["sms"], "name": "Large",
            "event_type": "order.filled"});

        let written = yaml_serde::to_string(&in_order(&rule).unwrap()).unwrap();

        let keys: Vec<_> = written
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, _)| key)
            .collect();
        assert_eq!(keys, ["name", "event_type", "when", "actions", "channels"]);
    }
}
