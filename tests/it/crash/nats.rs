//! A real nats-server that may be killed and started again on its port.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use testkit::eventually;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// How long it may take until it answers.
const START_MAX: Duration = Duration::from_secs(20);

pub(crate) struct Nats {
    address: SocketAddr,
    child: Option<Child>,
}

impl Nats {
    pub(crate) async fn start(address: SocketAddr) -> Self {
        let mut nats = Self {
            address,
            child: None,
        };
        nats.start_again().await;
        nats
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    pub(crate) async fn start_again(&mut self) {
        let program = std::env::var("POSTRIDER_TEST_NATS_SERVER").expect(
            "POSTRIDER_TEST_NATS_SERVER names no nats-server; run the tests by script/test, which \
             gets one",
        );
        let child = Command::new(program)
            .args(["--addr", &self.address.ip().to_string()])
            .args(["--port", &self.address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let address = self.address;
        eventually(START_MAX, async || {
            TcpStream::connect(address).await.is_ok()
        })
        .await;
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().await.unwrap();
    }
}
