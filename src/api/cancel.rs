//! `POST /v1/notifications/{id}/cancel`: a notification is taken back before it goes out.

use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::http::{Response, StatusCode};
use domain::{DeliveryId, NotificationId};
use tokio::time::{Instant, sleep};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use workers::Withdrawn;

use super::auth::Caller;
use super::error::ApiError;
use super::notifications::whole;
use super::once::{self, Begun, OnceHeader, OnceKey};
use super::path::path_id;
use super::roles::Sender;
use super::view::NotificationView;
use crate::app::App;

/// How long a job that runs is waited for, before the notification counts as being sent: routing
/// and rendering take a moment.
const PATIENCE: Duration = Duration::from_secs(1);

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(cancel))
}

/// Take a notification back.
///
/// Needs the role `send`. What still waits is cancelled; what has been sent on another channel
/// stays so. 409 once nothing waits any more, and while something is `sending`: then nothing has
/// changed. Repeating it changes nothing.
#[utoipa::path(
    post, path = "/v1/notifications/{id}/cancel", tag = "Submit",
    operation_id = "cancel_notification",
    params(("id" = String, Path, description = "The notification.")),
    responses((status = 200, description = "As it stands now.", body = NotificationView)),
)]
pub(super) async fn cancel(
    State(app): State<App>,
    Sender(caller): Sender,
    params: Result<RawPathParams, RawPathParamsRejection>,
    OnceHeader(once): OnceHeader,
) -> Result<Response<Body>, ApiError> {
    let id: NotificationId = path_id(params).ok_or_else(unknown)?;
    let mut work = match withdraw(&app, &caller, id, once).await? {
        Begun::Fresh(work) => work,
        Begun::Repeat(response) => return Ok(response),
    };
    let read = async {
        let tenant_id = &caller.tenant_id;
        let found = store::notifications::find_notification(&mut work, tenant_id, id).await?;
        let deliveries = store::deliveries::list_deliveries(&mut work, &[id]).await?;
        let ids: Vec<DeliveryId> = deliveries.iter().map(|delivery| delivery.id).collect();
        let attempts = store::deliveries::list_attempts(&mut work, &ids).await?;
        Ok(found.map(|notification| whole(notification, deliveries, attempts)))
    };
    let view = read.await.map_err(ApiError::from_store)?;
    let view = view.ok_or_else(unknown)?;
    work.answer(&app, StatusCode::OK, &view).await
}

/// Takes a notification back, and commits.
pub(crate) async fn take_back(
    app: &App,
    caller: &Caller,
    id: NotificationId,
) -> Result<(), ApiError> {
    match withdraw(app, caller, id, None).await? {
        Begun::Fresh(work) => work.commit().await,
        Begun::Repeat(_) => Ok(()),
    }
}

/// Takes a notification back, as far as nothing of it is being sent.
async fn withdraw(
    app: &App,
    caller: &Caller,
    id: NotificationId,
    once: Option<OnceKey>,
) -> Result<Begun, ApiError> {
    let patience = Instant::now() + PATIENCE;
    let (mut work, withdrawn) = loop {
        let mut work = match once::begin(app, caller, once.clone()).await? {
            Begun::Fresh(work) => work,
            repeat @ Begun::Repeat(_) => return Ok(repeat),
        };
        let now = app.clock.now();
        let withdrawn = workers::withdraw(&mut work, &caller.tenant_id, id, now)
            .await
            .map_err(|error| ApiError::from_store(error.into()))?;
        if withdrawn != Withdrawn::Sending || Instant::now() >= patience {
            break (work, withdrawn);
        }
        // Whoever cancels what they have just sent meets the job that routes it.
        drop(work);
        sleep(PAUSE).await;
    };
    match withdrawn {
        Withdrawn::Done => {
            caller
                .sign(
                    app,
                    &mut work,
                    "notification.cancelled",
                    &id.to_string(),
                    None,
                )
                .await?;
        }
        Withdrawn::Already => {}
        Withdrawn::Sending => {
            return Err(ApiError::conflict("the notification is being sent"));
        }
        Withdrawn::TooLate(status) => {
            let detail = format!("nothing of the notification waits any more: it is {status}");
            return Err(ApiError::conflict(detail));
        }
        Withdrawn::Absent => return Err(unknown()),
    }
    Ok(Begun::Fresh(work))
}

fn unknown() -> ApiError {
    ApiError::not_found("there is no such notification")
}
