//! The far side of webhooks: a server that answers as it is told, request by request.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// What becomes of one request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// A status, with these header lines and this body.
    Status(u16, &'static str, &'static str),
    /// Taken, and never answered.
    Hang,
    /// Half an answer, and the connection is cut.
    Cut,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Seen {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

pub(crate) struct FarSide {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    _accepting: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Script {
    replies: VecDeque<Reply>,
    /// Once the script is over.
    at_last: Reply,
    seen: Vec<Seen>,
}

impl FarSide {
    /// Answers with `replies` in turn, then always with `at_last`.
    pub(crate) async fn start(replies: &[Reply], at_last: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script {
            replies: replies.iter().cloned().collect(),
            at_last,
            seen: Vec::new(),
        }));
        let shared = Arc::clone(&script);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&shared)));
            }
        });
        Self {
            address,
            script,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Answers with `reply` from now on.
    pub(crate) fn is_mended(&self, reply: Reply) {
        let mut script = self.script.lock().unwrap();
        script.replies.clear();
        script.at_last = reply;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.script.lock().unwrap().seen.clone()
    }
}

/// Waits between the requests seen.
pub(crate) fn gaps(seen: &[Seen]) -> Vec<Duration> {
    let pairs = seen.windows(2);
    pairs.map(|pair| pair[1].at - pair[0].at).collect()
}

async fn converse(mut stream: TcpStream, script: Arc<Mutex<Script>>) {
    let mut buffer = Vec::new();
    while let Some(seen) = request(&mut stream, &mut buffer).await {
        let reply = {
            let mut script = script.lock().unwrap();
            script.seen.push(seen);
            let next = script.replies.pop_front();
            next.unwrap_or_else(|| script.at_last.clone())
        };
        let text = match reply {
            Reply::Hang => std::future::pending().await,
            Reply::Cut => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_owned(),
            Reply::Status(status, headers, body) => {
                let length = body.len();
                format!("HTTP/1.1 {status} So\r\n{headers}content-length: {length}\r\n\r\n{body}")
            }
        };
        if stream.write_all(text.as_bytes()).await.is_err() || matches!(reply, Reply::Cut) {
            return;
        }
    }
}

/// Reads one request with its body; `None` at the end of the connection.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    loop {
        let text = String::from_utf8_lossy(buffer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let seen = Seen {
                at: Instant::now(),
                head: head.to_owned(),
                body: body.to_owned(),
            };
            let length = seen
                .header("content-length")
                .map_or(0, |it| it.parse().unwrap());
            if body.len() >= length {
                buffer.drain(..head.len() + 4 + length);
                return Some(seen);
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(count @ 1..) => buffer.extend_from_slice(&chunk[..count]),
            _ => return None,
        }
    }
}
