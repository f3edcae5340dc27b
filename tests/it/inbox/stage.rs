//! Pages of other people, at an origin of their own, and a proxy that lets no WebSocket through.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::front::Front;

/// What a proxy keeps to itself: without them an upgrade is an ordinary request.
const HOP_BY_HOP: [&str; 4] = ["connection", "upgrade", "host", "transfer-encoding"];

/// Bytes that pass the proxy at once.
const BODY_MAX: usize = 1 << 20;

/// A server on a free port, until it is dropped.
pub(super) struct Stage {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

/// What is served: pages with their policies, or all of a front.
struct Play {
    pages: HashMap<&'static str, (&'static str, String)>,
    policy: String,
    behind: Option<SocketAddr>,
    client: reqwest::Client,
}

impl Stage {
    /// Serves `pages` (path, media type, text) under a content security policy.
    pub(super) async fn of_pages(
        policy: &str,
        pages: impl IntoIterator<Item = (&'static str, &'static str, String)>,
    ) -> Self {
        let pages = pages
            .into_iter()
            .map(|(path, media, text)| (path, (media, text)));
        Self::serve(Play {
            pages: pages.collect(),
            policy: policy.to_owned(),
            behind: None,
            client: reqwest::Client::new(),
        })
        .await
    }

    /// Passes on everything to `front` but upgrades.
    pub(super) async fn without_sockets(front: &Front) -> Self {
        Self::serve(Play {
            pages: HashMap::new(),
            policy: String::new(),
            behind: Some(front.address),
            client: reqwest::Client::new(),
        })
        .await
    }

    async fn serve(play: Play) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(Arc::new(play));
        let serving = async move { axum::serve(listener, router).await.unwrap() };
        Self {
            address,
            serving: tokio::spawn(serving),
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(play): State<Arc<Play>>, request: Request) -> Response<Body> {
    if let Some(front) = play.behind {
        return pass_on(&play.client, front, request).await;
    }
    match play.pages.get(request.uri().path()) {
        Some((media, text)) => Response::builder()
            .header(header::CONTENT_TYPE, *media)
            .header(header::CONTENT_SECURITY_POLICY, &play.policy)
            .body(Body::from(text.clone())),
        None => Response::builder()
            .status(StatusCode::NOT_FOUND)
            .body(Body::empty()),
    }
    .unwrap()
}

async fn pass_on(client: &reqwest::Client, front: SocketAddr, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_MAX).await.unwrap();
    let url = format!("http://{front}{}", parts.uri);
    let asked = client
        .request(parts.method, url)
        .headers(kept(&parts.headers))
        .body(body);
    let Ok(answered) = asked.send().await else {
        // The browser has gone, or the front.
        let mut gone = Response::new(Body::empty());
        *gone.status_mut() = StatusCode::BAD_GATEWAY;
        return gone;
    };
    let (status, headers) = (answered.status(), kept(answered.headers()));
    let mut response = Response::new(Body::from(answered.bytes().await.unwrap_or_default()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn kept(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers
}
