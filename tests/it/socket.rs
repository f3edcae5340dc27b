//! A WebSocket client that speaks in JSON.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

use crate::front::{Front, token};

/// Longer than the poll, which brings what no wake-up announced.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Socket {
    inner: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// Connects as `user`, with the token where a browser would put it.
    pub(crate) async fn open(front: &Front, user: &str, query: &str) -> Self {
        Self::open_with(front, &token(user), query).await
    }

    pub(crate) async fn open_with(front: &Front, token: &str, query: &str) -> Self {
        Self::open_at(&address(front, query), token).await
    }

    pub(crate) async fn open_at(address: &str, token: &str) -> Self {
        let mut request = address.into_client_request().unwrap();
        let protocols = format!("postrider.v1, bearer.{token}");
        request
            .headers_mut()
            .insert("sec-websocket-protocol", protocols.parse().unwrap());
        let (inner, response) = connect_async(request).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "postrider.v1");
        Self { inner }
    }

    /// Connects with a small receive buffer, so that the server soon notices that nobody reads.
    pub(crate) async fn open_narrow(front: &Front, user: &str) -> Self {
        Self::open_narrow_with(front, user, "").await
    }

    /// The same with more in the query.
    pub(crate) async fn open_narrow_with(front: &Front, user: &str, more: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = MaybeTlsStream::Plain(socket.connect(front.address).await.unwrap());
        let query = format!("token={}&{more}", token(user));
        let (inner, _) = client_async(address(front, &query), stream).await.unwrap();
        Self { inner }
    }

    /// Connects without any header; the error is what the server answered.
    pub(crate) async fn open_bare(front: &Front, query: &str) -> Result<Self, Error> {
        let (inner, _) = connect_async(address(front, query)).await?;
        Ok(Self { inner })
    }

    /// Connects as a page of `origin` does.
    pub(crate) async fn open_from(front: &Front, origin: &str) -> Result<Self, Error> {
        let query = format!("token={}", token("u1"));
        let mut request = address(front, &query).into_client_request().unwrap();
        request
            .headers_mut()
            .insert("origin", origin.parse().unwrap());
        let (inner, _) = connect_async(request).await?;
        Ok(Self { inner })
    }

    pub(crate) async fn say(&mut self, frame: Value) {
        self.inner
            .send(Message::text(frame.to_string()))
            .await
            .unwrap();
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.inner.send(message).await.unwrap();
    }

    /// The next frame.
    pub(crate) async fn hear(&mut self) -> Value {
        match self.next().await {
            Message::Text(text) => serde_json::from_str(text.as_str()).unwrap(),
            other => panic!("expected a text frame, got {other:?}"),
        }
    }

    /// The code of the server's goodbye, which must be next.
    pub(crate) async fn hear_close(&mut self) -> u16 {
        match self.next().await {
            Message::Close(Some(frame)) => frame.code.into(),
            other => panic!("expected a goodbye, got {other:?}"),
        }
    }

    /// The server's goodbye, which must be next: its code and its reason.
    pub(crate) async fn hear_goodbye(&mut self) -> (u16, String) {
        match self.next().await {
            Message::Close(Some(frame)) => (frame.code.into(), frame.reason.as_str().to_owned()),
            other => panic!("expected a goodbye, got {other:?}"),
        }
    }

    /// The next frame, or the code of the server's goodbye.
    pub(crate) async fn hear_or_close(&mut self) -> Result<Value, u16> {
        match self.next().await {
            Message::Text(text) => Ok(serde_json::from_str(text.as_str()).unwrap()),
            Message::Close(Some(frame)) => Err(frame.code.into()),
            other => panic!("expected a frame or a goodbye, got {other:?}"),
        }
    }

    async fn next(&mut self) -> Message {
        loop {
            let received = tokio::time::timeout(PATIENCE, self.inner.next()).await;
            match received
                .expect("the server says something in time")
                .unwrap()
                .unwrap()
            {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }
}

fn address(front: &Front, query: &str) -> String {
    format!("ws://{}/v1/ws?{query}", front.address)
}
