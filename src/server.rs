//! Accepts connections and serves requests on them, until told to stop.
//!
//! HTTP/1.1 only: the live feed needs it, and a proxy that speaks HTTP/2 to the world speaks
//! HTTP/1.1 to us. A connection that sends no headers in time is closed, one that takes no answer is
//! cut, and one too many is told so ([`edge::connections`](crate::edge::connections)).

use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::IntGauge;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;
use tracing::{debug, warn};

use crate::api;
use crate::app::App;
use crate::config::HttpConfig;
use crate::edge::client::Peer;
use crate::edge::connections::{Connections, Place, Placed};
use crate::edge::impatient::Impatient;
use crate::metrics::Refused;
use crate::shutdown::Lifetime;

/// Pause after a failed accept: out of file descriptors passes only when others close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes of a request's header and first line that are read at all. Past it there is a 431 without
/// a body; below, the edge has limits of its own and says which.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Connections that watch a process which only works.
const WATCHERS_MAX: usize = 64;

/// Serves `app` on `listener` until `lifetime.stopping`; each connection is a tracked task that
/// ends with the request it is at.
pub async fn run(app: App, listener: TcpListener) {
    let connections = Connections::new(&app.config.http);
    let door = Door {
        router: api::router(app.clone()),
        lifetime: app.lifetime.clone(),
        header_timeout: app.config.http.header_timeout,
        write_timeout: app.config.http.write_timeout,
        open: Some(app.metrics.http_connections.clone()),
    };
    loop {
        let Some((stream, peer)) = accept(&listener, &door.lifetime).await else {
            return;
        };
        if let Some(place) = connections.take(peer.0) {
            let serving = door.clone().serve(stream, peer, place);
            app.lifetime.requests.spawn(serving);
        } else {
            app.metrics.refused(Refused::Connections);
            let connections = connections.clone();
            let telling = async move { connections.turn_away(stream).await };
            app.lifetime.requests.spawn(telling);
        }
    }
}

/// Serves what is told about a process that only works, on `listener`, until `lifetime.stopping`.
pub(crate) fn watch(
    router: Router,
    config: &HttpConfig,
    lifetime: &Lifetime,
    listener: TcpListener,
) -> impl Future<Output = ()> + use<> {
    // A scraper and a balancer need few.
    let connections = Connections::new(&HttpConfig {
        connections_max: WATCHERS_MAX,
        ..HttpConfig::default()
    });
    let door = Door {
        router,
        lifetime: lifetime.clone(),
        header_timeout: config.header_timeout,
        write_timeout: config.write_timeout,
        open: None,
    };
    async move {
        while let Some((stream, peer)) = accept(&listener, &door.lifetime).await {
            if let Some(place) = connections.take(peer.0) {
                let serving = door.clone().serve(stream, peer, place);
                door.lifetime.requests.spawn(serving);
            }
        }
    }
}

/// Waits for a connection; `None` once the process stops.
async fn accept(listener: &TcpListener, lifetime: &Lifetime) -> Option<(TcpStream, Peer)> {
    loop {
        let accepted = tokio::select! {
            () = lifetime.stopping.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => return Some((stream, Peer(peer.ip()))),
            Err(error) => {
                warn!(
                    error = queue::describe(&error),
                    "a connection was not accepted"
                );
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What every connection is served with.
#[derive(Clone)]
struct Door {
    router: Router,
    lifetime: Lifetime,
    header_timeout: Duration,
    write_timeout: Duration,
    /// Counts the connections.
    open: Option<IntGauge>,
}

impl Door {
    /// Serves one connection.
    async fn serve(self, stream: TcpStream, peer: Peer, place: Place) {
        // Answers are small and written at once; waiting for more would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(
                error = queue::describe(&error),
                "TCP_NODELAY could not be set"
            );
        }
        let router = self.router;
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            router.clone().oneshot(request)
        });
        let placed = Placed::new(place, self.open);
        let stream = Impatient::new(stream, self.write_timeout, placed);
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_header_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = self.lifetime.stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            // Clients leave in many ways; none of them is ours to mend.
            debug!(error = queue::describe(&error), "a connection ended early");
        }
    }
}
