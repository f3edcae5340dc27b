//! How submissions are handed in and answered: many requests share a transaction, and each has an
//! answer of its own, which a repeat with the same `Idempotency-Key` gets again.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde::Serialize;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::auth::Caller;
use super::body::{json_response, to_json};
use super::error::ApiError;
use super::once::{self, OnceKey};
use crate::app::App;
use crate::intake::{Answer, Landing, Once, Row};

/// Pause before looking again whether the first request with a key has ended.
const PAUSE: Duration = Duration::from_millis(50);

/// What became of the one row of a request: its id, and whether it repeats an earlier one.
pub(super) fn only(answers: &[Answer]) -> Result<(Uuid, bool), ApiError> {
    match answers {
        [Answer::Accepted { id }] => Ok((*id, false)),
        [Answer::Duplicate { id }] => Ok((*id, true)),
        [Answer::Refused { detail }] => Err(ApiError::invalid_field("", detail)),
        _ => Err(ApiError::unavailable()),
    }
}

/// Hands in `rows` and answers 202 with what `view` makes of what became of them.
pub(super) async fn submit<T: Serialize>(
    app: &App,
    caller: &Caller,
    rows: Vec<Row>,
    key: Option<OnceKey>,
    view: impl Fn(&[Answer]) -> Result<T, ApiError> + Send + Sync + 'static,
) -> Result<Response<Body>, ApiError> {
    let rows: Arc<[Row]> = rows.into();
    let compose = Arc::new(move |answers: &[Answer]| to_json(&view(answers)?));
    let once = key.as_ref().map(|key| {
        let compose = Arc::clone(&compose);
        Once {
            request: key.request(caller),
            fingerprint: key.fingerprint(),
            compose: Arc::new(move |answers| {
                let body = compose(answers).ok()?;
                Some((StatusCode::ACCEPTED.as_u16(), body))
            }),
        }
    });
    let patience = Instant::now() + once::WAIT;
    loop {
        let landing = app.intake.submit(Arc::clone(&rows), once.clone()).await?;
        match (landing, &key) {
            (Landing::Landed(answers), _) => {
                let body = compose(&answers)?;
                return Ok(json_response(StatusCode::ACCEPTED, body.into()));
            }
            (Landing::Before(first), Some(key)) => return once::repeat(first, key),
            _ if Instant::now() >= patience => return Err(ApiError::still_running()),
            _ => sleep(PAUSE).await,
        }
    }
}
