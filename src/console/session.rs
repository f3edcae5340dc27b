//! Who is signed in: the cookie, the row behind it, and the question every page asks first.
//!
//! A session is found by the hash of its cookie and remembered for as long as a key is, so one that
//! is over, or whose key is revoked, ends within that time in every process.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Response, header};
use axum::response::{IntoResponse, Redirect};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{Role, TenantId};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;
use store::console::{ConsoleSession, NewSession};
use store::{Store, StoreError};

use super::text;
use crate::api::auth::Caller;
use crate::api::error::ApiError;
use crate::app::App;
use crate::config::Secret;
use crate::edge::Visit;

/// The name of the cookie.
pub(super) const COOKIE: &str = "postrider_console";

/// The longest that a session lasts: a working day.
const LASTS_MAX: TimeDelta = TimeDelta::hours(12);

/// How long a session is trusted without asking the database again.
const TRUSTED: Duration = Duration::from_secs(2);

/// Sessions remembered at once. More operators than that ask the database each time.
const REMEMBERED_MAX: usize = 1024;

/// What the token of a form is made of, beside the session.
const FORM_CONTEXT: &[u8] = b"a form of the console";

/// An operator who is signed in: an admin of their tenant.
#[derive(Clone)]
pub(super) struct Operator {
    pub(super) caller: Caller,
    cookie: Secret,
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Operator")
            .field(&self.caller.actor())
            .finish()
    }
}

impl Operator {
    /// The token that every form of this session carries. No other page can know it.
    pub(super) fn form_token(&self) -> String {
        text::hex(&self.form_mac().finalize().into_bytes())
    }

    /// Whether `token` is that of this session. Takes as long whether it is or not.
    pub(super) fn is_form_token(&self, token: &str) -> bool {
        let mut tag = [0; 32];
        let digits = token.as_bytes();
        if digits.len() != 2 * tag.len() {
            return false;
        }
        for (byte, pair) in tag.iter_mut().zip(digits.chunks(2)) {
            let digit = |place: usize| pair.get(place).map(|&digit| char::from(digit));
            let value = |place| digit(place)?.to_digit(16);
            let (Some(high), Some(low)) = (value(0), value(1)) else {
                return false;
            };
            *byte = (high << 4 | low) as u8;
        }
        self.form_mac().verify_slice(&tag).is_ok()
    }

    fn form_mac(&self) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(self.cookie.reveal().as_bytes());
        let mac = mac.expect("a key of any length will do");
        mac.chain_update(FORM_CONTEXT)
    }

    /// Whether it is an operator of the tenant that runs the installation.
    pub(super) fn runs_installation(&self) -> bool {
        self.caller.tenant_id == TenantId::default()
    }

    /// Refuses operators of other tenants where something concerns all.
    pub(super) fn must_run_installation(&self) -> Result<(), ApiError> {
        if self.runs_installation() {
            return Ok(());
        }
        Err(ApiError::forbidden(
            "this concerns all tenants and needs an admin of the tenant `default`",
        ))
    }

    /// Whether the session still goes on.
    pub(super) async fn is_still_there(&self, app: &App) -> Result<bool, ApiError> {
        let found = app.console.sessions.find(app, &self.cookie).await?;
        Ok(found.is_some())
    }

    pub(super) fn session_hash(&self) -> [u8; 32] {
        hash_of(&self.cookie)
    }
}

/// Why somebody does not see a page.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Nobody is signed in. With where to go on afterwards.
    SignIn(Option<String>),
    Api(ApiError),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        match self {
            Self::Api(error) => error.into_response(),
            Self::SignIn(None) => Redirect::to("/console/sign-in").into_response(),
            Self::SignIn(Some(next)) => {
                let next = utf8_percent_encode(&next, NON_ALPHANUMERIC);
                Redirect::to(&format!("/console/sign-in?next={next}")).into_response()
            }
        }
    }
}

impl FromRequestParts<App> for Operator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let next = || {
            // Below a nest the path has lost its beginning.
            let path = format!("/console{}", parts.uri.path_and_query()?.as_str());
            (parts.method == Method::GET && path != "/console/").then_some(path)
        };
        let cookie = cookie_of(&parts.headers).ok_or_else(|| Refusal::SignIn(next()))?;
        let found = app.console.sessions.find(app, &cookie).await?;
        let caller = found.ok_or_else(|| Refusal::SignIn(next()))?;
        app.edge.spend(&Visit::of(parts), &caller.rate_key())?;
        Ok(Self { caller, cookie })
    }
}

/// The session's cookie among those of a request.
pub(super) fn cookie_of(headers: &HeaderMap) -> Option<Secret> {
    let lines = headers.get_all(header::COOKIE).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .find_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == COOKIE && !value.is_empty()).then(|| Secret::new(value))
        })
}

fn hash_of(cookie: &Secret) -> [u8; 32] {
    store::api_keys::hash_of(cookie.reveal())
}

/// A session that begins.
pub(super) struct Begun {
    pub(super) cookie: Secret,
    pub(super) session: NewSession,
}

/// Makes a session for `caller`, which ends with its credential at the latest.
pub(super) fn begin(caller: &Caller, now: DateTime<Utc>) -> Begun {
    let cookie = Secret::random("");
    let end = now + LASTS_MAX;
    let session = NewSession {
        session_hash: hash_of(&cookie),
        tenant_id: caller.tenant_id.clone(),
        api_key_id: caller.key_id,
        user_id: caller.user_id.clone(),
        created_at: now,
        expires_at: caller.expires_at.map_or(end, |expires| expires.min(end)),
    };
    Begun { cookie, session }
}

/// Finds sessions, remembering each for [`TRUSTED`].
#[derive(Debug, Default)]
pub(super) struct Sessions {
    remembered: Mutex<HashMap<[u8; 32], (Instant, Caller)>>,
}

impl Sessions {
    /// Who has this cookie.
    async fn find(&self, app: &App, cookie: &Secret) -> Result<Option<Caller>, ApiError> {
        let (hash, now) = (hash_of(cookie), app.clock.now());
        if let Some(caller) = self.recall(&hash, now) {
            return Ok(Some(caller));
        }
        let found = look_up(&app.store, &hash, now)
            .await
            .map_err(ApiError::from_store)?;
        let caller = found.map(caller_of);
        match &caller {
            Some(caller) => self.remember(hash, caller.clone()),
            None => self.forget(&hash),
        }
        Ok(caller)
    }

    fn recall(&self, hash: &[u8; 32], now: DateTime<Utc>) -> Option<Caller> {
        let remembered = self.lock();
        let (since, caller) = remembered.get(hash)?;
        let is_valid = caller.expires_at.is_some_and(|end| end > now);
        (is_valid && since.elapsed() < TRUSTED).then(|| caller.clone())
    }

    fn remember(&self, hash: [u8; 32], caller: Caller) {
        let mut remembered = self.lock();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, (since, _)| since.elapsed() < TRUSTED);
        }
        if remembered.len() < REMEMBERED_MAX {
            remembered.insert(hash, (Instant::now(), caller));
        }
    }

    /// Forgets one that ended here: others find out within [`TRUSTED`].
    pub(super) fn forget(&self, hash: &[u8; 32]) {
        self.lock().remove(hash);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], (Instant, Caller)>> {
        let remembered = self.remembered.lock();
        remembered.expect("nothing panics while it holds this lock")
    }
}

async fn look_up(
    store: &Store,
    hash: &[u8; 32],
    now: DateTime<Utc>,
) -> Result<Option<ConsoleSession>, StoreError> {
    let mut tx = store.begin().await?;
    let found = store::console::find_session(&mut tx, hash, now).await?;
    tx.commit().await?;
    Ok(found)
}

/// Only admins get a session, and their key keeps its roles.
fn caller_of(session: ConsoleSession) -> Caller {
    Caller {
        tenant_id: session.tenant_id,
        user_id: session.user_id,
        key_id: session.api_key_id,
        key_prefix: session.key_prefix,
        roles: vec![Role::Admin],
        expires_at: Some(session.expires_at),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn operator(cookie: &str) -> Operator {
        Operator {
            caller: caller_of(ConsoleSession {
                tenant_id: TenantId::default(),
                api_key_id: None,
                key_prefix: None,
                user_id: Some("u1".into()),
                expires_at: DateTime::UNIX_EPOCH,
            }),
            cookie: Secret::new(cookie),
        }
    }

    #[test]
    fn the_token_of_a_form_belongs_to_one_session() {
        let (own, other) = (operator("one"), operator("two"));
        let token = own.form_token();

        assert!(own.is_form_token(&token));
        assert!(!other.is_form_token(&token));
        let longer = format!("{token}0");
        for wrong in ["", "00", &longer, &"ä".repeat(32), &"z".repeat(64)] {
            assert!(!own.is_form_token(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1; b=2"));
        assert!(cookie_of(&headers).is_none());
        let line = "x=postrider_console=no; postrider_console=yes; c=3";
        headers.append(header::COOKIE, HeaderValue::from_static(line));

        assert_eq!(cookie_of(&headers).unwrap().reveal(), "yes");
    }

    #[test]
    fn a_session_ends_with_its_credential_at_the_latest() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let lasting = |expires_at| {
            let caller = Caller {
                expires_at,
                ..operator("").caller
            };
            begin(&caller, now).session.expires_at - now
        };

        let hour = TimeDelta::hours(1);
        assert_eq!(lasting(Some(now + hour)), hour);
        assert_eq!(lasting(Some(now + hour * 24)), LASTS_MAX);
        assert_eq!(lasting(None), LASTS_MAX);
    }
}
