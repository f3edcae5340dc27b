//! A web server on a real socket that answers as a test tells it to, down to the byte.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A request as it arrived.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    /// Method and path.
    pub(crate) line: String,
    /// Names in lower case, in the order of arrival.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }
}

/// What the server does with a request.
pub(crate) enum Act {
    /// Status, further headers, body.
    Answer(u16, &'static str, String),
    /// After a pause.
    AnswerLate(Duration),
    /// Says nothing, for ever.
    Hang,
    /// Hangs up.
    Cut,
    /// Begins an answer of 100 bytes and hangs up with a reset.
    CutInBody(u16),
    /// One byte of the head after the other, for ever.
    TrickleHead,
    /// 200, and one byte of the body after the other, for ever.
    TrickleBody,
    /// 200, and a body without end, as fast as it is read.
    Flood,
}

impl Act {
    pub(crate) fn ok() -> Self {
        Self::Answer(200, "", "fine".to_owned())
    }
}

/// A connection, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {
    fn reset_on_close(&self);
}

impl Stream for TcpStream {
    fn reset_on_close(&self) {
        self.set_zero_linger().unwrap();
    }
}

impl Stream for TlsStream<TcpStream> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }
}

type Line = BufReader<Box<dyn Stream>>;

type Script = Box<dyn Fn(usize, &Request) -> Act + Send + Sync>;

struct Shared {
    script: Script,
    requests: Mutex<Vec<Request>>,
    open: AtomicUsize,
    open_max: AtomicUsize,
    connections: AtomicUsize,
    flooded: AtomicUsize,
}

#[derive(Clone)]
pub(crate) struct WebServer {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl WebServer {
    /// A server that asks `script` what to do with each request, counted from 1.
    pub(crate) async fn start(
        script: impl Fn(usize, &Request) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(None, script).await
    }

    /// The same under TLS.
    pub(crate) async fn start_under(
        tls: TlsAcceptor,
        script: impl Fn(usize, &Request) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(Some(tls), script).await
    }

    async fn start_with(
        tls: Option<TlsAcceptor>,
        script: impl Fn(usize, &Request) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            requests: Mutex::default(),
            open: AtomicUsize::new(0),
            open_max: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            flooded: AtomicUsize::new(0),
        });
        let server = Self {
            address,
            shared: Arc::clone(&shared),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let open = shared.open.fetch_add(1, Ordering::SeqCst) + 1;
                shared.open_max.fetch_max(open, Ordering::SeqCst);
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => shared.serve(Box::new(stream)).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                shared.serve(Box::new(stream)).await;
                            }
                        }
                    }
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Bytes of endless bodies that were taken from it.
    pub(crate) fn flooded(&self) -> usize {
        self.shared.flooded.load(Ordering::SeqCst)
    }

    /// The most connections that were open at one time.
    pub(crate) fn open_max(&self) -> usize {
        self.shared.open_max.load(Ordering::SeqCst)
    }
}

impl Shared {
    async fn serve(&self, stream: Box<dyn Stream>) {
        let mut line = BufReader::new(stream);
        while let Some(request) = read_request(&mut line).await {
            let number = {
                let mut requests = self.requests.lock().unwrap();
                requests.push(request.clone());
                requests.len()
            };
            let goes_on = match (self.script)(number, &request) {
                Act::Answer(status, headers, body) => {
                    answer(&mut line, status, headers, &body).await
                }
                Act::AnswerLate(pause) => {
                    tokio::time::sleep(pause).await;
                    answer(&mut line, 200, "", "fine").await
                }
                Act::Hang => std::future::pending().await,
                Act::Cut => return,
                Act::CutInBody(status) => {
                    let head = format!("HTTP/1.1 {status} x\r\ncontent-length: 100\r\n\r\nhalf");
                    line.write_all(head.as_bytes()).await.unwrap();
                    // No time to linger: the peer sees a reset.
                    line.get_ref().reset_on_close();
                    return;
                }
                Act::TrickleHead => trickle(&mut line, "HTTP/1.1 200 OK\r\nx: ").await,
                Act::TrickleBody => {
                    trickle(
                        &mut line,
                        "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n",
                    )
                    .await
                }
                Act::Flood => {
                    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
                    line.write_all(head.as_bytes()).await.unwrap();
                    let flood = vec![b'x'; 65536];
                    while line.write_all(&flood).await.is_ok() {
                        self.flooded.fetch_add(flood.len(), Ordering::SeqCst);
                    }
                    false
                }
            };
            if !goes_on {
                return;
            }
        }
    }
}

async fn answer(line: &mut Line, status: u16, headers: &str, body: &str) -> bool {
    let length = body.len();
    let text = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
    line.write_all(text.as_bytes()).await.is_ok()
}

async fn trickle(line: &mut Line, start: &str) -> bool {
    let mut is_open = line.write_all(start.as_bytes()).await.is_ok();
    while is_open {
        tokio::time::sleep(Duration::from_millis(20)).await;
        is_open = line.write_all(b"x").await.is_ok();
    }
    false
}

async fn read_request(line: &mut Line) -> Option<Request> {
    let mut request = Request::default();
    loop {
        let mut text = String::new();
        if !matches!(line.read_line(&mut text).await, Ok(1..)) {
            return None;
        }
        let text = text.trim_end();
        if text.is_empty() {
            break;
        }
        if request.line.is_empty() {
            text.clone_into(&mut request.line);
        } else {
            let (name, value) = text.split_once(": ").unwrap();
            request
                .headers
                .push((name.to_lowercase(), value.to_owned()));
        }
    }
    let length = request.header("content-length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    line.read_exact(&mut body).await.ok()?;
    request.body = String::from_utf8(body).unwrap();
    Some(request)
}
