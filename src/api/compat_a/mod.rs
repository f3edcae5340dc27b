//! `/api/v1/…`: the paths of system A, answered in A's shapes.
//!
//! The same data under the same rules as `/v1`, for programs written against A: lists are bare
//! arrays paged by `limit` and `offset`, a notification shows one channel as its `type`, and its
//! variables are `metadata`. Refusals are problem documents here, too. A template shows one
//! channel as its `type`, too, with that channel's `subject` and `content`.

mod notifications;
mod offset;
mod preferences;
mod stats;
mod submit;
mod templates;
mod view;

use utoipa_axum::router::OpenApiRouter;

use crate::app::App;

/// The tag of every route here.
const TAG: &str = "System A";

/// The routes of this folder.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(submit::routes())
        .merge(notifications::routes())
        .merge(preferences::routes())
        .merge(templates::routes())
        .merge(stats::routes())
}
