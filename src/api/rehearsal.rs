//! `POST /v1/rules/test`: what an event would lead to, by the functions that decide in earnest.

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use domain::{Channel, Priority, RehearsalSubmission, Status, TraceStep, UserId};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use workers::{Rehearsal, Rehearsed, rehearse};

use super::error::ApiError;
use super::once::{self, Begun, PostBody};
use super::openapi::rules::RehearsalBody;
use super::openapi::words::{ChannelWord, PriorityWord, StatusWord};
use super::roles::Looker;
use super::view::Moment;
use crate::app::App;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(test))
}

/// What an event would lead to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rehearsal)]
pub(crate) struct RehearsalView {
    /// Every decision, in order, in the words of `GET /v1/notifications/{id}/trace`.
    trace: Vec<StepView>,
    /// What users would be told; of an audience of hundreds the first ones.
    notifications: Vec<RehearsedView>,
    /// Whether there is more than is shown.
    has_more: bool,
}

/// A decision that would be taken.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RehearsedStep)]
struct StepView {
    step: String,
    decision: String,
    reason: String,
    detail: Value,
}

/// What one user would be told.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RehearsedNotification)]
struct RehearsedView {
    #[schema(value_type = String)]
    user_id: UserId,
    /// The rule's name; null where none speaks of the event.
    #[schema(required)]
    rule: Option<String>,
    /// The side of the rule's test that the user is on.
    #[schema(required)]
    variant: Option<String>,
    #[schema(required)]
    template: Option<String>,
    /// 0 ships with the binary.
    #[schema(required)]
    template_version: Option<u32>,
    #[schema(required)]
    category: Option<String>,
    #[schema(value_type = PriorityWord)]
    priority: Priority,
    #[schema(required)]
    locale: Option<String>,
    #[schema(required)]
    expires_at: Option<Moment>,
    /// Whether it would be told together with others, when the digest closes.
    is_gathered: bool,
    deliveries: Vec<DeliveryView>,
}

/// What would become of one channel.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RehearsedDelivery)]
struct DeliveryView {
    #[schema(value_type = ChannelWord)]
    channel: Channel,
    #[schema(value_type = StatusWord)]
    status: Status,
    /// When it would be sent; null if it would not.
    #[schema(required)]
    due_at: Option<Moment>,
    /// Why it would not be sent.
    #[schema(required)]
    error: Option<String>,
}

impl RehearsalView {
    pub(crate) fn of(rehearsal: Rehearsal) -> Self {
        Self {
            trace: rehearsal.trace.into_iter().map(StepView::of).collect(),
            notifications: rehearsal
                .notifications
                .into_iter()
                .map(RehearsedView::of)
                .collect(),
            has_more: rehearsal.has_more,
        }
    }
}

impl StepView {
    fn of(step: TraceStep) -> Self {
        Self {
            step: step.step.into_owned(),
            decision: step.decision.into_owned(),
            reason: step.reason.into_owned(),
            detail: step.detail,
        }
    }
}

impl RehearsedView {
    fn of(told: Rehearsed) -> Self {
        let deliveries = told.deliveries.into_iter().map(|delivery| DeliveryView {
            channel: delivery.channel,
            status: delivery.status,
            due_at: delivery.due_at.map(Moment::at),
            error: delivery.error,
        });
        Self {
            user_id: told.user_id,
            rule: told.rule,
            variant: told.variant,
            template: told.template,
            template_version: told.template_version,
            category: told.category,
            priority: told.priority,
            locale: told.locale,
            expires_at: told.expires_at.map(Moment::at),
            is_gathered: told.is_gathered,
            deliveries: deliveries.collect(),
        }
    }
}

/// Try the rules on an event.
///
/// Needs the role `read`. The decision as it would be at `at`, by the functions that decide in
/// earnest; nothing is written and nothing is sent. How far rate limits will be used up by then is
/// not known and left out.
#[utoipa::path(
    post, path = "/v1/rules/test", tag = "Rules", operation_id = "test_rules",
    request_body = RehearsalBody,
    responses((status = 200, description = "What it would lead to.", body = RehearsalView)),
)]
async fn test(
    State(app): State<App>,
    Looker(caller): Looker,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    let asked = RehearsalSubmission::parse(body.value).map_err(ApiError::invalid)?;
    let mut work = match once::begin(&app, &caller, body.once).await? {
        Begun::Fresh(work) => work,
        Begun::Repeat(response) => return Ok(response),
    };
    let at = asked.at.unwrap_or_else(|| app.clock.now());
    let shelf = app.catalog.current(&mut work);
    let shelf = shelf.await.map_err(ApiError::from_store)?;
    let rehearsal = rehearse(&mut work, &shelf, &caller.tenant_id, asked.event, at)
        .await
        .map_err(ApiError::from_store)?;
    work.answer(&app, StatusCode::OK, &RehearsalView::of(rehearsal))
        .await
}
