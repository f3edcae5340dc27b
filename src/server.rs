//! Accepts connections and serves the API on them, until told to stop.
//!
//! HTTP/1.1 only: the live feed needs it, and a proxy that speaks HTTP/2 to the world speaks
//! HTTP/1.1 to us. A connection that sends no headers in time is closed.

use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use crate::api;
use crate::app::App;

/// Pause after a failed accept: out of file descriptors passes only when others close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `app` on `listener` until `lifetime.stopping`; each connection is a tracked task that
/// ends with the request it is at.
pub async fn run(app: App, listener: TcpListener) {
    let router = api::router(app.clone());
    let stopping = app.lifetime.stopping.clone();
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _peer)) => {
                let connection = serve(app.clone(), router.clone(), stream);
                app.lifetime.requests.spawn(connection);
            }
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

/// Serves one connection.
async fn serve(app: App, router: axum::Router, stream: TcpStream) {
    // Answers are small and written at once; waiting for more would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(
            error = queue::describe(&error),
            "TCP_NODELAY could not be set"
        );
    }
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.config.http.header_timeout)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = app.lifetime.stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        // Clients leave in many ways; none of them is ours to mend.
        debug!(error = queue::describe(&error), "a connection ended early");
    }
}
