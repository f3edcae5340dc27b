//! Templates: the list, and the versions of one.

mod draft;
mod edit;
mod preview;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use store::templates::{TemplateFilter, TemplateVersion, list_versions};

use super::diff::{self, Line};
use super::form::Fields;
use super::session::Operator;
use super::shell::{self, Shell};
use super::{links, text};
use crate::api::error::ApiError;
use crate::api::path::TemplatePath;
use crate::api::templates::outlines;
use crate::api::templates::save::{find, unknown};
use crate::api::templates::view::{OutlineView, SourceView};
use crate::app::App;

/// Where the page is.
pub(super) const PATH: &str = "/console/templates";

/// Templates that a page looks at.
const ROWS: i64 = 1000;

/// Versions shown of one.
const VERSIONS: i64 = 50;

/// The routes of this folder.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/templates", get(list))
        .route("/templates/{id}", get(edit::show).post(edit::save))
        .route("/templates/{id}/remove", post(edit::remove))
        .route("/templates/{id}/versions/{version}", get(version))
        .route("/drafts/template", get(edit::begin).post(edit::create))
        .route("/drafts/template/preview", post(preview::show))
        .route("/drafts/template/mail", post(preview::mail))
}

#[derive(Template)]
#[template(path = "templates.html")]
struct ListPage {
    shell: Shell,
    name: String,
    tag: String,
    source: &'static str,
    rows: Vec<Row>,
    more: Option<String>,
}

struct Row {
    url: String,
    name: String,
    description: Option<String>,
    category: Option<String>,
    channels: String,
    locales: String,
    tags: Vec<String>,
    is_enabled: bool,
    is_builtin: bool,
    version: u32,
    updated: Option<String>,
}

impl Row {
    fn of(view: OutlineView) -> Self {
        let channels: Vec<_> = view.channels.iter().map(|it| it.as_str()).collect();
        Self {
            url: links::template(&view.id),
            name: view.name,
            description: view.description,
            category: view.category,
            channels: channels.join(", "),
            // Its own texts are in the language that was named for none.
            locales: std::iter::once("default".to_owned())
                .chain(view.locales)
                .collect::<Vec<_>>()
                .join(", "),
            tags: view.tags,
            is_enabled: view.enabled,
            is_builtin: view.source == SourceView::Builtin,
            version: view.version,
            updated: view.updated_at.map(|at| text::moment(at.0)),
        }
    }
}

/// `GET /console/templates`.
async fn list(
    State(app): State<App>,
    operator: Operator,
    mut fields: Fields,
) -> Result<Response<Body>, ApiError> {
    let removed = fields.raw("removed");
    let query = fields.reading();
    let (name, tag) = (query.text("name"), query.text("tag"));
    let source = query.parsed("source", "must be own or builtin", |word| {
        ["own", "builtin"].into_iter().find(|known| *known == word)
    });
    let after = query.text("after");
    fields.finish()?;
    let filter = TemplateFilter {
        tag: tag.clone(),
        ..TemplateFilter::default()
    };
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let caller = &operator.caller;
    let found = outlines(&app, caller, &mut conn, &filter, after.as_deref(), ROWS).await?;
    let is_full = i64::try_from(found.len()).is_ok_and(|count| count >= ROWS);
    let last = found.last().map(OutlineView::key).filter(|_| is_full);
    let part = name.as_deref().unwrap_or_default().to_lowercase();
    let is_wanted = |view: &OutlineView| {
        let is_builtin = view.source == SourceView::Builtin;
        view.name.to_lowercase().contains(&part)
            && source.is_none_or(|source| (source == "builtin") == is_builtin)
    };
    let more = last.map(|after| {
        let source = source.map(str::to_owned);
        let kept = [
            ("name", name.clone()),
            ("tag", tag.clone()),
            ("source", source),
        ];
        links::with(PATH, kept.into_iter().chain([("after", Some(after))]))
    });
    let notice = removed.map(|name| format!("The template {name} is removed."));
    let page = ListPage {
        shell: Shell::new(&operator, PATH).noticing(notice),
        name: name.unwrap_or_default(),
        tag: tag.unwrap_or_default(),
        source: source.unwrap_or_default(),
        rows: found.into_iter().filter(is_wanted).map(Row::of).collect(),
        more,
    };
    shell::html(StatusCode::OK, &page)
}

/// A version in the list of versions.
struct VersionShown {
    number: u32,
    url: String,
    at: String,
    actor: String,
}

impl VersionShown {
    fn of(id: &str, version: &TemplateVersion) -> Self {
        Self {
            number: version.version,
            url: format!("{}/versions/{}", links::template(id), version.version),
            at: text::moment(version.created_at),
            actor: version.actor.clone(),
        }
    }
}

#[derive(Template)]
#[template(path = "template_version.html")]
struct VersionPage {
    shell: Shell,
    name: String,
    url: String,
    number: u32,
    at: String,
    actor: String,
    before: Option<u32>,
    lines: Vec<LineShown>,
    body: String,
}

/// A line of the difference.
struct LineShown {
    class: &'static str,
    sign: &'static str,
    text: String,
}

impl LineShown {
    fn of(line: Line<'_>) -> Self {
        let (class, sign, text) = match line {
            Line::Same(text) => ("same", " ", text.to_owned()),
            Line::Gone(text) => ("gone", "−", text.to_owned()),
            Line::New(text) => ("new", "+", text.to_owned()),
            Line::Skipped(count) => {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                let text = text::count(count, "line that stayed", "lines that stayed");
                ("skipped", " ", text)
            }
        };
        Self { class, sign, text }
    }
}

/// A body as lines in which texts keep their own lines.
fn readable(body: &serde_json::Value) -> String {
    yaml_serde::to_string(body).unwrap_or_else(|_| text::pretty(body))
}

/// `GET /console/templates/{id}/versions/{version}`.
async fn version(
    State(app): State<App>,
    operator: Operator,
    TemplatePath(template): TemplatePath,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response<Body>, ApiError> {
    let not_found = || ApiError::not_found("there is no such version");
    let params = params.map_err(|_rejected| not_found())?;
    let named = params.iter().find(|(name, _)| *name == "version");
    let number = named.and_then(|(_, number)| number.parse::<i32>().ok());
    let number = number.filter(|number| (1..i32::MAX).contains(number));
    let number = number.ok_or_else(not_found)? as u32;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let stored = find(&mut conn, &operator.caller, &template).await?;
    let head = stored.ok_or_else(unknown)?.head;
    let found = list_versions(&mut conn, head.template_id, Some(number + 1), 2)
        .await
        .map_err(ApiError::from_store)?;
    let mut found = found.into_iter();
    let this = found.next().filter(|it| it.version == number);
    let this = this.ok_or_else(not_found)?;
    let before = found.next();
    let body = readable(&this.body);
    let old = before.as_ref().map(|it| readable(&it.body));
    let lines = diff::lines(old.as_deref().unwrap_or_default(), &body);
    let page = VersionPage {
        shell: Shell::new(&operator, PATH),
        url: links::template(&head.template_id.to_string()),
        name: head.name,
        number,
        at: text::moment(this.created_at),
        actor: this.actor,
        before: before.map(|it| it.version),
        lines: lines.into_iter().map(LineShown::of).collect(),
        body,
    };
    shell::html(StatusCode::OK, &page)
}
