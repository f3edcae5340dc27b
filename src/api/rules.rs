//! `/v1/rules`: who hears of which events, and how.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use chrono::{DateTime, Utc};
use domain::{FieldError, RuleId, RuleSubmission, TemplateNames};
use serde::Serialize;
use serde_json::{Map, Value, json};
use store::Tx;
use store::rules::{self, NewRule, RuleRef, Saved, StoredRule};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::body::{Json, JsonBody};
use super::error::ApiError;
use super::once::{self, Begun, PostBody};
use super::openapi::rules::RuleBody;
use super::page::{Page, PageParams, PageQuery};
use super::path::RulePath;
use super::query::Query;
use super::roles::{Admin, Looker};
use super::view::Moment;
use crate::app::App;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, replace, remove))
}

/// A rule as stored: the keys of the rules file, where what is as by default is left out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rule)]
struct RuleView {
    id: String,
    /// Rises by one with every change.
    version: i64,
    /// `api`, or `file` for what `postrider rules apply` keeps.
    #[schema(value_type = String)]
    source: &'static str,
    created_at: Moment,
    updated_at: Moment,
    /// What is no mistake and may be meant otherwise: a template that there is not yet. Only in the
    /// answer to whoever writes the rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<WarningView>,
    /// `name`, `enabled`, `actions` and what else was said.
    #[serde(flatten)]
    body: Map<String, Value>,
}

/// What a rule says and may not mean.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RuleWarning)]
struct WarningView {
    /// A JSON pointer into the rule as it is answered.
    pointer: String,
    detail: String,
}

impl RuleView {
    fn of(rule: StoredRule) -> Self {
        let body = match rule.body {
            Value::Object(body) => body,
            _ => Map::new(),
        };
        Self {
            id: rule.rule_id.to_string(),
            version: rule.version,
            source: rule.source.as_str(),
            created_at: Moment::at(rule.created_at),
            updated_at: Moment::at(rule.updated_at),
            warnings: Vec::new(),
            body,
        }
    }

    fn warning(self, missing: Vec<FieldError>) -> Self {
        let warnings = missing.into_iter().map(|error| WarningView {
            pointer: error.pointer,
            detail: error.detail,
        });
        Self {
            warnings: warnings.collect(),
            ..self
        }
    }
}

/// List rules, newest first.
///
/// Needs the role `read`.
#[utoipa::path(
    get, path = "/v1/rules", tag = "Rules", operation_id = "list_rules",
    params(PageParams),
    responses((status = 200, description = "A page.", body = Page<RuleView>)),
)]
async fn list(
    State(app): State<App>,
    Looker(caller): Looker,
    mut query: Query,
) -> Result<Json<Page<RuleView>>, ApiError> {
    let page = PageQuery::read(&mut query);
    query.finish()?;
    let limit = i64::from(page.limit) + 1;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let rows = rules::list_rules(&mut conn, &caller.tenant_id, page.after, limit)
        .await
        .map_err(ApiError::from_store)?;
    let page = Page::new(rows, page.limit, |row| row.rule_id.as_uuid());
    Ok(Json(StatusCode::OK, page.map(RuleView::of)))
}

/// Make a rule.
///
/// Needs the role `admin`. Events that are routed after the answer heed it.
#[utoipa::path(
    post, path = "/v1/rules", tag = "Rules", operation_id = "create_rule",
    request_body = RuleBody,
    responses((status = 201, description = "The rule.", body = RuleView)),
)]
async fn create(
    State(app): State<App>,
    Admin(caller): Admin,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    let said = RuleSubmission::parse(body.value).map_err(ApiError::invalid)?;
    let mut work = match once::begin(&app, &caller, body.once).await? {
        Begun::Fresh(work) => work,
        Begun::Repeat(response) => return Ok(response),
    };
    let (rule, missing) = save_new(&app, &caller, &mut work, said).await?;
    let answer = RuleView::of(rule).warning(missing);
    work.answer(&app, StatusCode::CREATED, &answer).await
}

/// Makes a rule; answers it with what it has to wait for.
pub(crate) async fn save_new(
    app: &App,
    caller: &Caller,
    tx: &mut Tx,
    said: RuleSubmission,
) -> Result<(StoredRule, Vec<FieldError>), ApiError> {
    let now = app.clock.now();
    let names = template_names(app, caller, tx).await?;
    let saved = rules::create_rule(tx, &caller.tenant_id, row(&said, app), now)
        .await
        .map_err(ApiError::from_store)?;
    let rule = done(saved)?;
    let missing = start(caller, tx, said, &rule, &names, now).await?;
    note(app, caller, tx, "rule.created", &rule).await?;
    Ok((rule, missing))
}

/// Show a rule.
///
/// Needs the role `read`.
#[utoipa::path(
    get, path = "/v1/rules/{id}", tag = "Rules", operation_id = "show_rule",
    params(("id" = String, Path, description = "Its id or its name.")),
    responses((status = 200, description = "The rule.", body = RuleView)),
)]
async fn show(
    State(app): State<App>,
    Looker(caller): Looker,
    RulePath(rule): RulePath,
) -> Result<Json<RuleView>, ApiError> {
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let rule = rules::find_rule(&mut conn, &caller.tenant_id, &rule)
        .await
        .map_err(ApiError::from_store)?
        .ok_or_else(unknown)?;
    Ok(Json(StatusCode::OK, RuleView::of(rule)))
}

/// Change a rule.
///
/// Needs the role `admin`. One that came from a file is the API's from then on, and
/// `postrider rules apply --prune` leaves it alone.
#[utoipa::path(
    put, path = "/v1/rules/{id}", tag = "Rules", operation_id = "replace_rule",
    params(("id" = String, Path, description = "Its id or its name.")),
    request_body = RuleBody,
    responses(
        (status = 200, description = "As stored.", body = RuleView),
        (status = 409, description = "Another rule has this name."),
    ),
)]
async fn replace(
    State(app): State<App>,
    Admin(caller): Admin,
    RulePath(rule): RulePath,
    JsonBody(body): JsonBody,
) -> Result<Json<RuleView>, ApiError> {
    let said = RuleSubmission::parse(body).map_err(ApiError::invalid)?;
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let (rule, missing) = save(&app, &caller, &mut tx, &rule, said).await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    let answer = RuleView::of(rule).warning(missing);
    Ok(Json(StatusCode::OK, answer))
}

/// Changes a rule; answers it with what it has to wait for.
pub(crate) async fn save(
    app: &App,
    caller: &Caller,
    tx: &mut Tx,
    rule: &RuleRef,
    said: RuleSubmission,
) -> Result<(StoredRule, Vec<FieldError>), ApiError> {
    let now = app.clock.now();
    let names = template_names(app, caller, tx).await?;
    let saved = rules::replace_rule(tx, &caller.tenant_id, rule, row(&said, app), now)
        .await
        .map_err(ApiError::from_store)?
        .ok_or_else(unknown)?;
    let rule = done(saved)?;
    let missing = start(caller, tx, said, &rule, &names, now).await?;
    note(app, caller, tx, "rule.replaced", &rule).await?;
    Ok((rule, missing))
}

/// Remove a rule.
///
/// Needs the role `admin`. What it has planned already is still sent.
#[utoipa::path(
    delete, path = "/v1/rules/{id}", tag = "Rules", operation_id = "remove_rule",
    params(("id" = String, Path, description = "Its id or its name.")),
    responses((status = 204, description = "It is gone.")),
)]
async fn remove(
    State(app): State<App>,
    Admin(caller): Admin,
    RulePath(rule): RulePath,
) -> Result<StatusCode, ApiError> {
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    take_away(&app, &caller, &mut tx, &rule).await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a rule.
pub(crate) async fn take_away(
    app: &App,
    caller: &Caller,
    tx: &mut Tx,
    rule: &RuleRef,
) -> Result<(), ApiError> {
    let (id, name) = rules::remove_rule(tx, &caller.tenant_id, rule)
        .await
        .map_err(ApiError::from_store)?
        .ok_or_else(unknown)?;
    let detail = Some(json!({"name": name}));
    caller
        .sign(app, tx, "rule.removed", &id.to_string(), detail)
        .await
}

fn row(said: &RuleSubmission, app: &App) -> NewRule {
    NewRule {
        rule_id: RuleId::at(app.clock.now()),
        name: said.name().to_owned(),
        enabled: said.is_enabled(),
        body: said.to_value(),
    }
}

fn done(saved: Saved) -> Result<StoredRule, ApiError> {
    match saved {
        Saved::Done(rule) => Ok(*rule),
        Saved::NameTaken => Err(ApiError::conflict("another rule has this name")),
        Saved::TooMany => Err(ApiError::conflict(
            "the tenant has as many rules as it may have",
        )),
    }
}

/// The templates there are. Asked before the rule is written: what a transaction has changed and
/// may still take back must not be kept by the catalog.
async fn template_names(
    app: &App,
    caller: &Caller,
    tx: &mut Tx,
) -> Result<Arc<TemplateNames>, ApiError> {
    let shelf = app.catalog.current(tx).await;
    let shelf = shelf.map_err(ApiError::from_store)?;
    Ok(shelf.template_names(&caller.tenant_id))
}

/// Plans when the rule fires, if it has a schedule, and answers which templates it has to wait for.
async fn start(
    caller: &Caller,
    tx: &mut Tx,
    said: RuleSubmission,
    stored: &StoredRule,
    names: &TemplateNames,
    now: DateTime<Utc>,
) -> Result<Vec<FieldError>, ApiError> {
    let rule = said.into_rule(stored.rule_id, stored.version);
    workers::start_schedules(tx, [(&caller.tenant_id, &rule)], now)
        .await
        .map_err(ApiError::from_store)?;
    Ok(names.missing(&rule))
}

async fn note(
    app: &App,
    caller: &Caller,
    tx: &mut Tx,
    action: &str,
    rule: &StoredRule,
) -> Result<(), ApiError> {
    let detail = json!({"name": rule.body["name"], "version": rule.version});
    let subject = rule.rule_id.to_string();
    caller.sign(app, tx, action, &subject, Some(detail)).await
}

pub(crate) fn unknown() -> ApiError {
    ApiError::not_found("there is no such rule")
}
