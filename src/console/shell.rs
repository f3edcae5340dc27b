//! What surrounds every page: the navigation, who is signed in, and the page as an answer.

use askama::Template;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use tracing::error;

use super::PAGES;
use super::session::Operator;
use crate::api::error::ApiError;

/// What the layout shows around a page.
#[derive(Debug)]
pub(super) struct Shell {
    pub(super) title: &'static str,
    pub(super) nav: Vec<NavItem>,
    /// Who is signed in, in the words of the audit.
    pub(super) actor: String,
    pub(super) tenant: String,
    /// What every form carries.
    pub(super) form_token: String,
    /// Where the page's changes come from, while it is open.
    pub(super) live: Option<String>,
    /// What was just done, in one sentence.
    pub(super) notice: Option<String>,
}

/// A page in the navigation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NavItem {
    pub(super) path: &'static str,
    pub(super) title: &'static str,
    pub(super) is_here: bool,
}

impl Shell {
    /// What surrounds the page of the navigation that lies at `path`, or one below it.
    pub(super) fn new(operator: &Operator, path: &str) -> Self {
        let pages = PAGES
            .iter()
            .filter(|page| operator.runs_installation() || !page.is_shared);
        let nav: Vec<_> = pages
            .map(|page| NavItem {
                path: page.path,
                title: page.title,
                is_here: page.path == path,
            })
            .collect();
        let here = nav.iter().find(|item| item.is_here);
        Self {
            title: here.map_or("Console", |item| item.title),
            nav,
            actor: operator.caller.actor(),
            tenant: operator.caller.tenant_id.to_string(),
            form_token: operator.form_token(),
            live: None,
            notice: None,
        }
    }

    /// Changes come from `path` while the page is open.
    pub(super) fn live(mut self, path: impl Into<String>) -> Self {
        self.live = Some(path.into());
        self
    }

    /// Says what was just done.
    pub(super) fn noticing(mut self, notice: Option<impl Into<String>>) -> Self {
        self.notice = notice.map(Into::into);
        self
    }
}

/// A page as an answer.
pub(super) fn html(status: StatusCode, page: &impl Template) -> Result<Response<Body>, ApiError> {
    let text = fragment(page)?;
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    Ok(response)
}

/// A part of a page.
pub(super) fn fragment(part: &impl Template) -> Result<String, ApiError> {
    part.render().map_err(|error| {
        error!(
            error = queue::describe(&error),
            "a page could not be written"
        );
        ApiError::internal()
    })
}
