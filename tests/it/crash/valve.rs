//! A network before Postgres that can stand still: connections stay open, and nothing gets through,
//! not even their end. What was on its way arrives when it moves again.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Valve {
    address: SocketAddr,
    is_open: watch::Sender<bool>,
}

impl Valve {
    /// Starts a way to `server`, open.
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (is_open, flow) = watch::channel(true);
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(join(client, server, flow.clone()));
            }
        });
        Self { address, is_open }
    }

    /// `url` through this valve.
    pub(crate) fn url(&self, url: &str) -> String {
        let (user, rest) = url.rsplit_once('@').unwrap();
        let (_, database) = rest.split_once('/').unwrap();
        format!("{user}@{}/{database}", self.address)
    }

    pub(crate) fn close(&self) {
        self.is_open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.is_open.send_replace(true);
    }
}

/// Carries one connection, both ways.
async fn join(client: TcpStream, server: SocketAddr, mut flow: watch::Receiver<bool>) {
    passes(&mut flow).await;
    // A server that is away is found out as if it had been asked directly.
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        carry(from_client, to_server, flow.clone()),
        carry(from_server, to_client, flow),
    );
}

/// Carries one direction, its end included.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut flow: watch::Receiver<bool>) {
    let mut bytes = [0; 16_384];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        passes(&mut flow).await;
        if read == 0 {
            break;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
    drop(to.shutdown().await);
}

/// Waits until the valve is open.
async fn passes(flow: &mut watch::Receiver<bool>) {
    // An error means that the test is over.
    drop(flow.wait_for(|is_open| *is_open).await);
}
