//! A TCP proxy before Postgres that can lose a COMMIT's answer, or hang like a dead network.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    /// Connections so far; each has its number.
    accepted: AtomicU64,
    /// Connections of lower numbers carry nothing and are not closed.
    stalled_below: watch::Sender<u64>,
    /// What befalls the next COMMIT on a connection that has carried a text.
    fault: Mutex<Option<(Fault, &'static str)>>,
    faults: AtomicUsize,
}

#[derive(Clone, Copy)]
enum Fault {
    LoseAnswer,
    Hang,
}

impl Proxy {
    pub(crate) async fn start(host: &str, port: u16) -> Self {
        let server: SocketAddr = tokio::net::lookup_host((host, port))
            .await
            .unwrap()
            .next()
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            shared: Arc::new(Shared {
                accepted: AtomicU64::new(0),
                stalled_below: watch::Sender::new(0),
                fault: Mutex::new(None),
                faults: AtomicUsize::new(0),
            }),
        };
        let accepting = Arc::clone(&proxy.shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = accepting.accepted.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect(server).await.unwrap();
                tokio::spawn(carry(Arc::clone(&accepting), number, client, server));
            }
        });
        proxy
    }

    /// Lets nothing through, on any connection, and closes none.
    pub(crate) fn stall(&self) {
        self.shared.stalled_below.send_replace(u64::MAX);
    }

    /// Lets nothing through on the connections there are; those to come work.
    pub(crate) fn stall_present(&self) {
        let accepted = self.shared.accepted.load(Ordering::SeqCst);
        self.shared.stalled_below.send_replace(accepted);
    }

    /// Lets everything through again, with what was held up.
    pub(crate) fn flow(&self) {
        self.shared.stalled_below.send_replace(0);
    }

    /// The next COMMIT on a connection that has carried `text` reaches the server; its answer does
    /// not reach the client, which sees the connection close.
    pub(crate) fn lose_commit_after(&self, text: &'static str) {
        *self.shared.fault.lock().unwrap() = Some((Fault::LoseAnswer, text));
    }

    /// The next COMMIT on a connection that has carried `text` does not reach the server, and the
    /// connection carries nothing more, though it stays open on both sides.
    pub(crate) fn hang_commit_after(&self, text: &'static str) {
        *self.shared.fault.lock().unwrap() = Some((Fault::Hang, text));
    }

    /// COMMITs that something befell.
    pub(crate) fn faults(&self) -> usize {
        self.shared.faults.load(Ordering::SeqCst)
    }
}

async fn carry(shared: Arc<Shared>, number: u64, mut client: TcpStream, mut server: TcpStream) {
    let mut stalled_below = shared.stalled_below.subscribe();
    let (mut from_client, mut from_server) = (vec![0; 65536], vec![0; 65536]);
    // What this connection is used for shows when its statements are prepared, once.
    let mut prepared = Vec::new();
    loop {
        if stalled_below
            .wait_for(|below| number >= *below)
            .await
            .is_err()
        {
            return;
        }
        tokio::select! {
            _ = stalled_below.changed() => {}
            read = client.read(&mut from_client) => {
                let Ok(length @ 1..) = read else { return };
                let bytes = &from_client[..length];
                prepared.extend_from_slice(bytes);
                let fault = shared.befalls(bytes, &prepared);
                if matches!(fault, Some(Fault::Hang)) {
                    std::future::pending::<()>().await;
                }
                if server.write_all(bytes).await.is_err() {
                    return;
                }
                if fault.is_some() {
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

impl Shared {
    fn befalls(&self, bytes: &[u8], carried: &[u8]) -> Option<Fault> {
        if !contains(bytes, "COMMIT") {
            return None;
        }
        let mut fault = self.fault.lock().unwrap();
        let (fault, _) = fault.take_if(|(_, text)| contains(carried, text))?;
        self.faults.fetch_add(1, Ordering::SeqCst);
        Some(fault)
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}
