//! `/console`: what an operator looks at, and the few things that can be done there.
//!
//! Pages are made on the server and work without a script; the one small script brings what changes
//! while a page is open. Everything done here goes the way of the API: the same functions, the same
//! roles, the same notes in the audit. Nothing on a page is trusted: what is shown is escaped by the
//! templates, and what is sent comes with a token of its session from a page of ours.
//!
//! # Reading order
//!
//! [`session`] (who is signed in), [`sign_in`], [`form`] (what may change something), [`shell`] (what
//! surrounds a page), [`dress`](mod@dress) (headers, and errors as pages), [`live`], then the pages.

mod assets;
mod audit;
mod chart;
mod dead_letters;
mod diff;
mod dress;
mod floor;
mod form;
mod fresh;
mod hour;
mod inert;
mod links;
mod live;
mod mailbox;
mod notifications;
mod overview;
mod queues;
mod replays;
mod rules;
mod session;
mod shell;
mod sign_in;
mod templates;
mod text;
mod timeline;
mod users;
mod verdict;

use axum::Router;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use axum::{body::Body, http::Response};

use self::floor::Floor;
use self::fresh::Fresh;
use self::hour::Hours;
use self::live::Streams;
use self::session::Sessions;
use crate::api::error::ApiError;
use crate::app::App;

pub(crate) use self::dress::dress;

/// A page that the navigation leads to.
struct Entry {
    path: &'static str,
    title: &'static str,
    /// Whether it shows what all tenants share, for the tenant that runs the installation alone.
    is_shared: bool,
}

/// The pages, in the order of the navigation.
const PAGES: &[Entry] = &[
    Entry {
        path: overview::PATH,
        title: "Overview",
        is_shared: false,
    },
    Entry {
        path: notifications::PATH,
        title: "Notifications",
        is_shared: false,
    },
    Entry {
        path: queues::PATH,
        title: "Queues",
        is_shared: true,
    },
    Entry {
        path: dead_letters::PATH,
        title: "Dead letters",
        is_shared: false,
    },
    Entry {
        path: mailbox::PATH,
        title: "Mailbox",
        is_shared: false,
    },
    Entry {
        path: templates::PATH,
        title: "Templates",
        is_shared: false,
    },
    Entry {
        path: rules::PATH,
        title: "Rules",
        is_shared: false,
    },
    Entry {
        path: users::PATH,
        title: "Users",
        is_shared: false,
    },
    Entry {
        path: audit::PATH,
        title: "Audit",
        is_shared: false,
    },
];

/// What the console of one process remembers.
#[derive(Debug, Default)]
pub(crate) struct Console {
    sessions: Sessions,
    streams: Streams,
    floor: Fresh<Floor>,
    hours: Hours,
}

/// Every route below `/console`.
pub(crate) fn router() -> Router<App> {
    Router::new()
        .merge(sign_in::routes())
        .merge(overview::routes())
        .merge(queues::routes())
        .merge(notifications::routes())
        .merge(mailbox::routes())
        .merge(templates::routes())
        .merge(rules::routes())
        .merge(users::routes())
        .merge(dead_letters::routes())
        .merge(replays::routes())
        .merge(audit::routes())
        .route("/assets/{name}", get(assets::file))
        .fallback(no_such_page)
        .method_not_allowed_fallback(no_such_method)
}

/// `GET /` and `/console/`: a browser is led to the console; to a program there is nothing here.
pub(crate) async fn enter(headers: HeaderMap) -> Response<Body> {
    let accepts = headers.get(header::ACCEPT);
    let is_browser = accepts
        .and_then(|accepts| accepts.to_str().ok())
        .is_some_and(|accepts| accepts.contains("text/html"));
    if is_browser {
        Redirect::to("/console").into_response()
    } else {
        ApiError::not_found("there is nothing at this path").into_response()
    }
}

async fn no_such_page() -> ApiError {
    ApiError::not_found("there is no such page")
}

async fn no_such_method() -> ApiError {
    ApiError::method_not_allowed()
}
