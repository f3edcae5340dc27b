//! `Idempotency-Key`: a POST that is repeated is carried out once and answered the same way twice.
//!
//! A key means one request: who asks (a user, or the services of a tenant), the method and the
//! path. The same query and body get the first answer again; another body is refused with 422.
//! While the first is still at work a repeat waits for its answer, then gets 409. Only answers of
//! success are kept, in the transaction of the work, so that a mended request may use its key.
//!
//! Submissions have a way of their own, because many of them share a transaction:
//! [`submit`](super::submit).

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{Response, StatusCode};
use domain::UserId;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use store::Tx;
use store::idempotency::{self, FirstAnswer, RequestKey};

use crate::api::auth::Caller;
use crate::api::body::{self, BODY_BYTES_MAX};
use crate::api::error::ApiError;
use crate::app::App;

/// How long a repeat waits for the first to end.
pub(super) const WAIT: Duration = Duration::from_secs(5);

/// Longest key, in characters.
const KEY_CHARS_MAX: usize = 255;

/// The header's name.
const HEADER: &str = "idempotency-key";

/// A request that names an `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OnceKey {
    key: String,
    /// Method and path.
    operation: String,
    /// SHA-256 over the query and the body.
    fingerprint: [u8; 32],
}

impl OnceKey {
    /// Reads the header; `body` is what the request carries beside it.
    pub(super) fn read(parts: &Parts, body: &[u8]) -> Result<Option<Self>, ApiError> {
        let mut values = parts.headers.get_all(HEADER).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let key = value.to_str().ok().filter(|key| {
            let is_visible = key
                .chars()
                .all(|letter| letter.is_ascii_graphic() || letter == ' ');
            is_visible && (1..=KEY_CHARS_MAX).contains(&key.len()) && values.next().is_none()
        });
        let Some(key) = key else {
            let detail = "Idempotency-Key must be one value of 1 to 255 visible ASCII characters";
            return Err(ApiError::malformed("", detail));
        };
        let query = parts.uri.query().unwrap_or_default();
        Ok(Some(Self {
            key: key.to_owned(),
            operation: format!("{} {}", parts.method, parts.uri.path()),
            fingerprint: digest(&[query.as_bytes(), body]),
        }))
    }

    /// What stands for the request in the table.
    pub(super) fn request(&self, caller: &Caller) -> RequestKey {
        // All services of a tenant share their keys, so that a repeat may come with a rotated
        // credential; users do not.
        let whom = caller
            .user_id
            .as_ref()
            .map_or_else(String::new, |user| format!("user:{user}"));
        RequestKey {
            tenant_id: caller.tenant_id.clone(),
            request: digest(&[
                whom.as_bytes(),
                self.operation.as_bytes(),
                self.key.as_bytes(),
            ]),
        }
    }

    pub(super) fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }
}

/// SHA-256 over `parts`, each with its length before it.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// The `Idempotency-Key` of a POST without a body.
#[derive(Debug)]
pub(super) struct OnceHeader(pub(super) Option<OnceKey>);

impl FromRequestParts<App> for OnceHeader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, ApiError> {
        OnceKey::read(parts, b"").map(Self)
    }
}

/// The JSON body of a POST, of at most `BYTES_MAX` bytes, and its `Idempotency-Key`.
#[derive(Debug)]
pub(super) struct PostBody<const BYTES_MAX: usize = BODY_BYTES_MAX> {
    pub(super) value: Value,
    pub(super) once: Option<OnceKey>,
}

impl<const BYTES_MAX: usize> FromRequest<App> for PostBody<BYTES_MAX> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = body::read_json(&parts, body, BYTES_MAX, app).await?;
        let once = OnceKey::read(&parts, &bytes)?;
        let value = body::parse_json(&bytes)?;
        Ok(Self { value, once })
    }
}

/// Whether a request is still to be carried out.
#[derive(Debug)]
pub(super) enum Begun {
    /// Do it, within this.
    Fresh(Work),
    /// It was done before: this is the answer.
    Repeat(Response<Body>),
}

/// A request that is being carried out: a transaction, and the key that its answer is kept under.
/// Dropping it undoes everything.
#[derive(Debug)]
#[must_use = "work that is not answered is undone"]
pub(super) struct Work {
    tx: Tx,
    claim: Option<(RequestKey, [u8; 32])>,
    /// Whom the answer tells something of.
    user_id: Option<UserId>,
}

/// Begins the transaction of a request, unless its answer is there already.
pub(super) async fn begin(
    app: &App,
    caller: &Caller,
    once: Option<OnceKey>,
) -> Result<Begun, ApiError> {
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let Some(once) = once else {
        return Ok(Begun::Fresh(Work {
            tx,
            claim: None,
            user_id: None,
        }));
    };
    let request = once.request(caller);
    let is_ours = idempotency::lock(&mut tx, &request, WAIT)
        .await
        .map_err(ApiError::from_store)?;
    if !is_ours {
        return Err(ApiError::still_running());
    }
    let mut known = idempotency::find(&mut tx, &[&request], app.clock.now())
        .await
        .map_err(ApiError::from_store)?;
    match known.remove(&request) {
        None => Ok(Begun::Fresh(Work {
            tx,
            claim: Some((request, once.fingerprint)),
            user_id: None,
        })),
        Some(first) => repeat(first, &once).map(Begun::Repeat),
    }
}

/// The answer to a repeat: the first one again, if it asks for the same.
pub(super) fn repeat(first: FirstAnswer, once: &OnceKey) -> Result<Response<Body>, ApiError> {
    if first.fingerprint != once.fingerprint {
        return Err(ApiError::key_reused());
    }
    let status = StatusCode::from_u16(first.status).unwrap_or(StatusCode::OK);
    Ok(body::json_response(status, Bytes::from(first.body)))
}

impl Work {
    /// Says whom the answer tells something of, so that it is erased with them.
    pub(super) fn about(mut self, user_id: UserId) -> Self {
        self.user_id = Some(user_id);
        self
    }

    /// Commits work that nobody asked for by a key.
    pub(super) async fn commit(self) -> Result<(), ApiError> {
        self.tx.commit().await.map_err(ApiError::from_store)
    }

    /// Keeps the answer, commits, and gives the answer out.
    pub(super) async fn answer<T: Serialize>(
        self,
        app: &App,
        status: StatusCode,
        view: &T,
    ) -> Result<Response<Body>, ApiError> {
        self.answer_kept_as(app, status, view, view).await
    }

    /// Commits and gives an answer out of which only `kept` is stored: for what is shown once.
    pub(super) async fn answer_kept_as<T: Serialize>(
        mut self,
        app: &App,
        status: StatusCode,
        view: &T,
        kept: &T,
    ) -> Result<Response<Body>, ApiError> {
        let body = body::to_json(view)?;
        if let Some((request, fingerprint)) = &self.claim {
            let first = FirstAnswer {
                fingerprint: *fingerprint,
                status: status.as_u16(),
                body: body::to_json(kept)?,
            };
            idempotency::keep(&mut self.tx, &[(request, first)], app.clock.now())
                .await
                .map_err(ApiError::from_store)?;
            if let Some(user_id) = &self.user_id {
                idempotency::note_user(&mut self.tx, request, user_id)
                    .await
                    .map_err(ApiError::from_store)?;
            }
        }
        self.tx.commit().await.map_err(ApiError::from_store)?;
        Ok(body::json_response(status, Bytes::from(body)))
    }
}

impl Deref for Work {
    type Target = Tx;

    fn deref(&self) -> &Tx {
        &self.tx
    }
}

impl DerefMut for Work {
    fn deref_mut(&mut self) -> &mut Tx {
        &mut self.tx
    }
}
