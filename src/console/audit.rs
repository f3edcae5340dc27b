//! The audit: who changed what, newest first.

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::routing::get;
use serde_json::Value;
use store::audit::{AuditEntry, AuditFilter};

use super::form::Fields;
use super::session::Operator;
use super::shell::{self, Shell};
use super::text;
use crate::api::error::ApiError;
use crate::api::page::{Page, PageQuery};
use crate::app::App;

/// Where the page is.
pub(super) const PATH: &str = "/console/audit";

/// What may be asked for, in the order of the address.
const CRITERIA: [&str; 5] = ["actor", "action", "subject", "since", "until"];

/// The routes of this file.
pub(super) fn routes() -> Router<App> {
    Router::new().route("/audit", get(list))
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    shell: Shell,
    /// The criteria as they were written, in their order.
    written: [String; 5],
    is_filtered: bool,
    rows: Vec<Row>,
    next: Option<String>,
}

struct Row {
    at: String,
    actor: String,
    action: String,
    subject: String,
    detail: Option<String>,
}

impl Row {
    fn of(entry: AuditEntry) -> Self {
        let detail = entry.detail.filter(|detail| *detail != Value::Null);
        Self {
            at: text::moment(entry.at),
            actor: entry.actor,
            action: entry.action,
            subject: entry.subject,
            detail: detail.map(|detail| detail.to_string()),
        }
    }
}

/// `GET /console/audit`.
async fn list(
    State(app): State<App>,
    operator: Operator,
    mut fields: Fields,
) -> Result<Response<Body>, ApiError> {
    let page = PageQuery::read(fields.reading());
    let filter = AuditFilter {
        actor: fields.reading().text("actor"),
        action: fields.reading().text("action"),
        subject: fields.reading().text("subject"),
        since: fields.time("since"),
        until: fields.time("until"),
    };
    let written = CRITERIA.map(|name| fields.raw(name).unwrap_or_default());
    fields.finish()?;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let tenant_id = &operator.caller.tenant_id;
    let limit = i64::from(page.limit) + 1;
    let entries = store::audit::list(&mut conn, tenant_id, &filter, page.after, limit)
        .await
        .map_err(ApiError::from_store)?;
    drop(conn);
    let entries = Page::new(entries, page.limit, |entry: &AuditEntry| entry.audit_id);
    let mut address = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in CRITERIA.into_iter().zip(&written) {
        if !value.is_empty() {
            address.append_pair(name, value);
        }
    }
    if let Some(cursor) = &entries.next_cursor {
        address.append_pair("cursor", cursor);
    }
    let address = address.finish();
    let page = AuditPage {
        shell: Shell::new(&operator, PATH),
        is_filtered: filter != AuditFilter::default(),
        written,
        next: entries
            .next_cursor
            .is_some()
            .then(|| format!("{PATH}?{address}")),
        rows: entries.items.into_iter().map(Row::of).collect(),
    };
    shell::html(StatusCode::OK, &page)
}
