//! `/v1/users/{user_id}/quiet-hours`: whether it is quiet for a user, and until when.

use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use domain::{Channel, WallClock};
use serde::Serialize;
use store::preferences::find_preferences;
use store::users::find_user;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::body::Json;
use super::error::ApiError;
use super::path::UserPath;
use super::query::Query;
use crate::app::App;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show))
}

/// Whether it is quiet for a user at a moment, and why.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuietHoursAt)]
pub(super) struct QuietHoursView {
    at: DateTime<Utc>,
    /// Whether `at` lies in the window of quiet hours that are on.
    quiet: bool,
    /// The first moment that is not quiet.
    #[schema(required)]
    until: Option<DateTime<Utc>>,
    enabled: bool,
    /// The IANA time zone on whose walls the window is read.
    zone: &'static str,
    window: WindowView,
    /// What is held back while it is quiet.
    #[schema(value_type = Vec<String>)]
    channels: Vec<Channel>,
    /// Whether what is critical comes through.
    allow_critical: bool,
    /// The next time it becomes quiet, after this one.
    #[schema(required)]
    next: Option<SpanView>,
}

/// Times of the day.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuietWindow)]
struct WindowView {
    #[schema(value_type = String)]
    start: WallClock,
    #[schema(value_type = String)]
    end: WallClock,
}

/// Moments: from the first that is quiet to the first that is not.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuietSpan)]
struct SpanView {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
}

/// Explain a user's quiet hours.
///
/// For admins, and for the user. By the same functions that hold messages back.
#[utoipa::path(
    get, path = "/v1/users/{user_id}/quiet-hours", tag = "Preferences",
    operation_id = "show_quiet_hours",
    params(
        ("user_id" = String, Path, description = "Whose."),
        ("at" = Option<DateTime<Utc>>, Query, description = "The moment; now if left out."),
    ),
    responses((status = 200, description = "What holds then.", body = QuietHoursView)),
)]
async fn show(
    State(app): State<App>,
    caller: Caller,
    UserPath(user_id): UserPath,
    mut query: Query,
) -> Result<Json<QuietHoursView>, ApiError> {
    let user_id = caller.acting_for(Some(user_id))?;
    let at = query.time("at").unwrap_or_else(|| app.clock.now());
    query.finish()?;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let said = find_preferences(&mut conn, &caller.tenant_id, &user_id)
        .await
        .map_err(ApiError::from_store)?
        .unwrap_or_default();
    let user = find_user(&mut conn, &caller.tenant_id, &user_id)
        .await
        .map_err(ApiError::from_store)?;
    let timezone = user.and_then(|user| user.timezone);
    let timezone = timezone.as_deref();

    let window = said.quiet_window(timezone);
    let until = window.and_then(|window| window.quiet_until(at));
    let next = window.map(|window| {
        let start = window.next_change(until.unwrap_or(at));
        let end = window.next_change(start);
        SpanView { start, end }
    });
    let quiet_hours = &said.quiet_hours;
    Ok(Json(
        StatusCode::OK,
        QuietHoursView {
            at,
            quiet: until.is_some(),
            until,
            enabled: quiet_hours.enabled,
            zone: said.quiet_zone(timezone).name(),
            window: WindowView {
                start: quiet_hours.start,
                end: quiet_hours.end,
            },
            channels: quiet_hours.held(),
            allow_critical: quiet_hours.allow_critical,
            next,
        },
    ))
}
