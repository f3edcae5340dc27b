//! Users: the list by id, the page of one, and erasing and exporting them.

mod day;
mod one;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::routing::get;
use domain::UserId;
use store::users::{User, UserFilter, list_users};

use super::form::Fields;
use super::session::Operator;
use super::shell::{self, Shell};
use super::{links, text};
use crate::api::error::ApiError;
use crate::app::App;

/// Where the page is.
pub(super) const PATH: &str = "/console/users";

/// Rows of a page.
const ROWS: usize = 50;

/// The routes of this folder.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/users", get(list))
        .route("/users/{user_id}", get(one::show))
        .route("/users/{user_id}/export", get(one::export))
        .route("/users/{user_id}/erase", get(one::ask).post(one::erase))
}

#[derive(Template)]
#[template(path = "users.html")]
struct ListPage {
    shell: Shell,
    from: String,
    role: String,
    group: String,
    /// The page of whoever has exactly the id that was asked for.
    exact: Option<String>,
    rows: Vec<Row>,
    more: Option<String>,
    first: bool,
}

struct Row {
    url: String,
    user_id: String,
    channels: String,
    locale: Option<String>,
    timezone: Option<String>,
    roles: String,
    groups: String,
}

impl Row {
    fn of(user: User) -> Self {
        let reached = domain::Channel::ALL
            .into_iter()
            .filter(|&channel| !user.addresses.on(channel).is_empty());
        let reached: Vec<_> = reached.map(domain::Channel::as_str).collect();
        Self {
            url: links::user(user.user_id.as_str()),
            user_id: user.user_id.into_string(),
            channels: reached.join(", "),
            locale: user.locale,
            timezone: user.timezone,
            roles: text::cut(&user.roles.join(", "), 80),
            groups: text::cut(&user.groups.join(", "), 80),
        }
    }
}

/// `GET /console/users`.
async fn list(
    State(app): State<App>,
    operator: Operator,
    mut fields: Fields,
) -> Result<Response<Body>, ApiError> {
    let erased = fields.raw("erased");
    let query = fields.reading();
    let (from, after) = (query.text("from"), query.text("after"));
    let (role, group) = (query.text("role"), query.text("group"));
    fields.finish()?;
    let filter = UserFilter {
        from: from.clone().map(UserId::from),
        role: role.clone(),
        group: group.clone(),
    };
    let last = after.clone().map(UserId::from);
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let tenant_id = &operator.caller.tenant_id;
    let mut found = list_users(
        &mut conn,
        tenant_id,
        &filter,
        last.as_ref(),
        ROWS as i64 + 1,
    )
    .await
    .map_err(ApiError::from_store)?;
    let is_meant = |user: &User| {
        let begins = |from: &String| user.user_id.as_str().starts_with(from.as_str());
        from.as_ref().is_none_or(begins)
    };
    let has_more = found.len() > ROWS && found.last().is_some_and(is_meant);
    found.truncate(ROWS);
    let last = found.last().filter(|_| has_more);
    let last = last.map(|user| user.user_id.as_str().to_owned());
    found.retain(is_meant);
    let more = last.map(|after| {
        links::with(
            PATH,
            [
                ("from", from.clone()),
                ("role", role.clone()),
                ("group", group.clone()),
                ("after", Some(after)),
            ],
        )
    });
    let notice = erased.map(|user_id| format!("Nothing is known of {user_id} any more."));
    let page = ListPage {
        shell: Shell::new(&operator, PATH).noticing(notice),
        exact: from.as_deref().map(links::user),
        from: from.unwrap_or_default(),
        role: role.unwrap_or_default(),
        group: group.unwrap_or_default(),
        rows: found.into_iter().map(Row::of).collect(),
        more,
        first: after.is_none(),
    };
    shell::html(StatusCode::OK, &page)
}
