//! A TCP proxy before Postgres that can lose the answer to a COMMIT, or everything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    /// The next COMMIT reaches the server, its answer does not reach the client.
    lose_next_commit: Arc<AtomicBool>,
    cut: CancellationToken,
}

impl Proxy {
    /// Starts a proxy to the server of `url`.
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            lose_next_commit: Arc::default(),
            cut: CancellationToken::new(),
        };
        let accepting = proxy.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = tokio::select! {
                    () = accepting.cut.cancelled() => return,
                    accepted = listener.accept() => accepted.unwrap(),
                };
                let Ok(server) = TcpStream::connect(server).await else {
                    continue;
                };
                tokio::spawn(accepting.clone().carry(client, server));
            }
        });
        proxy
    }

    pub(crate) fn lose_next_commit(&self) {
        self.lose_next_commit.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_lost_a_commit(&self) -> bool {
        !self.lose_next_commit.load(Ordering::SeqCst)
    }

    /// Closes every connection and accepts none.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }

    async fn carry(self, mut client: TcpStream, mut server: TcpStream) {
        let (mut from_client, mut from_server) = ([0; 16384], [0; 16384]);
        loop {
            tokio::select! {
                () = self.cut.cancelled() => return,
                read = client.read(&mut from_client) => {
                    let Ok(length @ 1..) = read else { return };
                    let bytes = &from_client[..length];
                    if server.write_all(bytes).await.is_err() {
                        return;
                    }
                    let is_commit = bytes.windows(6).any(|window| window == b"COMMIT");
                    if is_commit && self.lose_next_commit.swap(false, Ordering::SeqCst) {
                        // The answer says that the server is done; it goes no further.
                        let answer = server.read(&mut from_server);
                        drop(tokio::time::timeout(Duration::from_secs(5), answer).await);
                        return;
                    }
                }
                read = server.read(&mut from_server) => {
                    let Ok(length @ 1..) = read else { return };
                    if client.write_all(&from_server[..length]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}
