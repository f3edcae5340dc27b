//! The edge: what surrounds every request, before and after the handler that it is for.
//!
//! Outermost is [`cors`], so that a browser can read refusals too. Then [`watch`] looks at the
//! request's shape and its client's rate, gives the rest a bounded time, and counts the answer.
//! What a handler spends on the way (its caller's rate, room for its body) is noted in the
//! [`Visit`] that travels with the request.
//!
//! [`connections`] stands before all of this: what is over its limits never becomes a request.

mod budget;
pub(crate) mod client;
pub(crate) mod connections;
pub(crate) mod cors;
pub(crate) mod impatient;
mod rates;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response};
use axum::middleware::Next;
use axum::response::IntoResponse;
use domain::{TenantId, UserId};
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::budget::{BodyBudget, Room};
use self::client::{Peer, Proxies};
use self::cors::Pages;
use self::rates::{Rate, Rates, Standing, Verdict};
use crate::api::error::ApiError;
use crate::app::App;
use crate::config::Config;
use crate::metrics::Refused;

/// Header fields of one request. Browsers send twenty, proxies add another twenty; hyper itself
/// stops at a hundred, with an answer that has no body.
const HEADERS_MAX: usize = 90;

/// Bytes of all header fields together: what common servers take.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a path with its query: what common servers take.
const URI_BYTES_MAX: usize = 8 * 1024;

/// How often what is remembered of clients that have gone is let go.
const PRUNE_INTERVAL: Duration = Duration::from_secs(30);

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum CallerKey {
    Service(Uuid),
    User(TenantId, UserId),
}

/// What the edge of one process remembers.
pub(crate) struct Edge {
    proxies: Proxies,
    rates: Rates,
    bodies: BodyBudget,
    /// Whose pages may connect.
    pub(crate) pages: Pages,
}

impl Edge {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            proxies: Proxies::new(&config.http),
            rates: Rates::new(&config.limits),
            bodies: BodyBudget::new(config.http.body_bytes_at_once),
            pages: Pages::new(&config.cors),
        }
    }

    /// Lets go of clients that have been quiet, until `stop`.
    pub(crate) async fn keep_small(app: App, stop: CancellationToken) {
        let mut ticks = interval(PRUNE_INTERVAL);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => app.edge.rates.prune(),
            }
        }
    }

    /// Whether a credential that nobody remembers may be looked up.
    pub(crate) fn may_try(&self, visit: &Visit) -> Result<(), ApiError> {
        let Some(wait) = self.rates.barred_for(visit.0.ip) else {
            return Ok(());
        };
        visit.refuse(Refused::Failures);
        let why = "too many bad credentials came from this address";
        Err(ApiError::too_many(wait, why))
    }

    /// Counts a credential that was bad.
    pub(crate) fn failed(&self, visit: &Visit) {
        self.rates.count_failure(visit.0.ip);
    }

    /// Counts a request of `caller`, once however often it is asked.
    pub(crate) fn spend(&self, visit: &Visit, caller: &CallerKey) -> Result<(), ApiError> {
        if visit.is_spent() {
            return Ok(());
        }
        let Some(verdict) = self.rates.spend(Rate::Caller, caller) else {
            return Ok(());
        };
        visit
            .note(verdict)
            .inspect_err(|_| visit.refuse(Refused::Caller))
    }

    /// Waits for room for a body of `bytes`, which is held until the request is answered.
    pub(crate) async fn hold_room(&self, visit: &Visit, bytes: usize) -> Result<(), ApiError> {
        let Some(room) = self.bodies.room(bytes).await else {
            visit.refuse(Refused::Bodies);
            return Err(ApiError::crowded());
        };
        visit.lock().room = Some(room);
        Ok(())
    }
}

/// One request on its way, as the layers around it know it. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Visit(Arc<VisitParts>);

#[derive(Debug)]
struct VisitParts {
    ip: IpAddr,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    room: Option<Room>,
    /// How its clients stand, by rate.
    standings: Vec<Standing>,
    refused: Option<Refused>,
}

impl Visit {
    fn from(ip: IpAddr) -> Self {
        let noted = Mutex::default();
        Self(Arc::new(VisitParts { ip, noted }))
    }

    /// The visit of a request that came past [`watch`]; any other is nobody's.
    pub(crate) fn of(parts: &Parts) -> Self {
        let known = parts.extensions.get::<Self>().cloned();
        known.unwrap_or_else(|| Self::from(Peer::default().0))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Noted> {
        let noted = self.0.noted.lock();
        noted.expect("nothing panics while it holds this lock")
    }

    /// Whether its caller was counted.
    fn is_spent(&self) -> bool {
        let noted = self.lock();
        noted
            .standings
            .iter()
            .any(|standing| standing.rate == Rate::Caller)
    }

    fn note(&self, verdict: Verdict) -> Result<(), ApiError> {
        self.lock().standings.push(verdict.standing);
        match verdict.wait {
            None => Ok(()),
            Some(wait) => Err(ApiError::too_many(wait, verdict.standing.rate.excess())),
        }
    }

    fn refuse(&self, why: Refused) {
        self.lock().refused = Some(why);
    }

    /// Tells the client how it stands, as the IETF's draft of the rate limit headers has it.
    fn sign(&self, headers: &mut HeaderMap) {
        let noted = self.lock();
        if noted.standings.is_empty() {
            return;
        }
        let list = |item: fn(&Standing) -> String| {
            let items: Vec<String> = noted.standings.iter().map(item).collect();
            HeaderValue::from_str(&items.join(", "))
        };
        if let (Ok(policy), Ok(state)) = (list(Standing::policy), list(Standing::state)) {
            headers.insert("ratelimit-policy", policy);
            headers.insert("ratelimit", state);
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}

/// Refuses what is too big or too much, gives the rest its time, and counts the answer.
pub(crate) async fn watch(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    let started = Instant::now();
    let peer = request
        .extensions()
        .get::<Peer>()
        .copied()
        .unwrap_or_default();
    let ip = app.edge.proxies.client_of(peer, request.headers());
    let visit = Visit::from(ip);
    let mut response = if let Err(error) = admit(&app, &request, &visit) {
        error.into_response()
    } else {
        request.extensions_mut().insert(visit.clone());
        let answered = timeout(app.config.http.request_timeout, next.run(request)).await;
        answered.unwrap_or_else(|_elapsed| {
            visit.refuse(Refused::Time);
            ApiError::timed_out().into_response()
        })
    };
    visit.sign(response.headers_mut());
    let refused = visit.lock().refused;
    app.metrics
        .answered(response.status(), refused, started.elapsed());
    response
}

/// What can be judged before anybody has looked at what the request is for.
fn admit(app: &App, request: &Request, visit: &Visit) -> Result<(), ApiError> {
    let headers = request.headers();
    let bytes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum::<usize>();
    if headers.len() > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
        visit.refuse(Refused::Shape);
        return Err(ApiError::headers_too_large(HEADERS_MAX, HEADER_BYTES_MAX));
    }
    let uri = request.uri();
    if uri.path().len() + uri.query().map_or(0, str::len) > URI_BYTES_MAX {
        visit.refuse(Refused::Shape);
        return Err(ApiError::uri_too_long(URI_BYTES_MAX));
    }
    // A balancer must not take a process for dead because others ask much.
    if uri.path() == "/health" {
        return Ok(());
    }
    let Some(verdict) = app.edge.rates.spend_address(visit.0.ip) else {
        return Ok(());
    };
    visit
        .note(verdict)
        .inspect_err(|_| visit.refuse(Refused::Address))
}
