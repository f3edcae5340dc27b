//! The far side of webhooks: a server that answers at once or late, and one that never does.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Notify;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;

/// A server on every loopback address, on one port.
pub(super) struct Sink {
    port: u16,
    pub(super) received: Arc<Received>,
    _accepting: AbortOnDropHandle<()>,
}

/// What a sink was given.
#[derive(Debug, Default)]
pub(super) struct Received {
    count: AtomicU64,
    news: Notify,
}

impl Received {
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until there are `count`.
    pub(super) async fn reaches(&self, count: u64) {
        loop {
            let news = self.news.notified();
            if self.count() >= count {
                return;
            }
            news.await;
        }
    }

    fn note(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.news.notify_waiters();
    }
}

impl Sink {
    /// Answers every request with 204 after `delay`.
    pub(super) fn start(delay: Duration) -> anyhow::Result<Self> {
        let listener = listen()?;
        let port = listener.local_addr()?.port();
        let received = Arc::new(Received::default());
        let noted = Arc::clone(&received);
        let accepting = TaskTracker::new().spawn(async move {
            let connections = TaskTracker::new();
            while let Ok((stream, _)) = listener.accept().await {
                // Only speed is lost without it.
                drop(stream.set_nodelay(true));
                let noted = Arc::clone(&noted);
                let service = service_fn(move |request: Request<Incoming>| {
                    let noted = Arc::clone(&noted);
                    async move {
                        drop(request.into_body().collect().await);
                        tokio::time::sleep(delay).await;
                        noted.note();
                        let mut answer = Response::new(Empty::<Bytes>::new());
                        *answer.status_mut() = hyper::StatusCode::NO_CONTENT;
                        Ok::<_, Infallible>(answer)
                    }
                });
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // A client that goes away is no error here.
                connections.spawn(async move { drop(connection.await) });
            }
        });
        Ok(Self {
            port,
            received,
            _accepting: AbortOnDropHandle::new(accepting),
        })
    }

    /// The URL of host number `host`, of which there are 250.
    pub(super) fn url(&self, host: u64) -> String {
        format!("http://127.0.1.{}:{}/hook", host % 250 + 1, self.port)
    }
}

/// A host that takes connections and never answers.
pub(super) struct DeadHost(TcpListener);

impl DeadHost {
    pub(super) fn start() -> anyhow::Result<Self> {
        Ok(Self(listen()?))
    }

    pub(super) fn url(&self) -> anyhow::Result<String> {
        Ok(format!(
            "http://127.0.2.1:{}/hook",
            self.0.local_addr()?.port()
        ))
    }
}

fn listen() -> anyhow::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
    socket.listen(BACKLOG).context("could not listen")
}
