//! How the front stops: what runs ends well, what waits is told.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::front::{ADMIN_KEY, Front};
use crate::socket::Socket;

#[tokio::test]
async fn a_request_at_work_is_answered_and_sockets_are_told_1001() {
    let front = Front::start().await;
    let mut socket = Socket::open(&front, "u1", "").await;
    socket.hear().await;
    let body = json!({"type": "a", "payload": {}}).to_string();
    let mut request = TcpStream::connect(front.address).await.unwrap();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN_KEY}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    request.write_all(head.as_bytes()).await.unwrap();
    // The head has been read once a second request on another connection is through.
    front.get("/health").await.expect(200);

    let finishing = async {
        front.lifetime.stopping.cancelled().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        request.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        request.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let (answer, ()) = tokio::join!(finishing, front.stop());

    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(front.count("events").await, 1);
    assert_eq!(socket.hear_close().await, 1001);
    assert!(TcpStream::connect(front.address).await.is_err());
    assert!(front.lifetime.tasks.is_empty());
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_stop() {
    let front = Front::start().await;
    let _idle = TcpStream::connect(front.address).await.unwrap();
    front.get("/health").await.expect(200);

    let stopped = tokio::time::timeout(Duration::from_secs(2), front.stop()).await;

    assert!(stopped.is_ok());
}
