//! The load generator's HTTP client: one keep-alive connection, one request at a time.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// A connection to the API.
pub(super) struct Client {
    requests: SendRequest<Full<Bytes>>,
    address: SocketAddr,
    api_key: String,
    _connection: AbortOnDropHandle<()>,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr, api_key: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (requests, connection) = handshake(TokioIo::new(stream)).await?;
        let connection = TaskTracker::new().spawn(async move {
            // Its end shows at the next request.
            drop(connection.await);
        });
        Ok(Self {
            requests,
            address,
            api_key: api_key.to_owned(),
            _connection: AbortOnDropHandle::new(connection),
        })
    }

    /// Sends one request and answers the body, which must come with a 2xx.
    pub(super) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: String,
    ) -> anyhow::Result<Bytes> {
        self.send_with(method, path, body, None).await
    }

    /// The same with an `Idempotency-Key`.
    pub(super) async fn send_with(
        &mut self,
        method: Method,
        path: &str,
        body: String,
        key: Option<&str>,
    ) -> anyhow::Result<Bytes> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, format!("Bearer {}", self.api_key));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        self.requests
            .ready()
            .await
            .context("the server closed the connection")?;
        let response = self.requests.send_request(request).await?;
        let status: StatusCode = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(
            status.is_success(),
            "{status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(body)
    }
}
