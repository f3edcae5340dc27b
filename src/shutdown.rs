//! The order in which things stop, and how long each may take.
//!
//! 1. The first SIGTERM or SIGINT cancels `draining`: `/health` answers 503, all else goes on, so
//!    that a balancer leaves before the door closes. After `shutdown.drain`, `stopping` is
//!    cancelled: the listener closes, the claim loop stops.
//! 2. Running requests and attempts end, until the grace period is over. What has not ended then
//!    is given back by the queue, its attempt not charged.
//! 3. `closing` is cancelled: sockets are told 1001, the feed and the intake end. They come last,
//!    so that an answer still gets its commit and a delivery still reaches its socket.
//! 4. With `up`, the private Postgres stops when nobody needs it any more.
//!
//! A second signal exits at once. Nothing is lost either way: what was accepted is a row.

use std::future::pending;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

/// What a shell reports for a process ended by SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// How long after the first signal another one is taken for its echo: `timeout` and some
/// supervisors signal a process and its whole group.
const ECHO: Duration = Duration::from_millis(300);

/// How long sockets have to say goodbye, and the intake to commit what it holds.
const CLOSING_GRACE: Duration = Duration::from_secs(2);

/// The process's life: three tokens to end it in order, one tracker for all tasks of the front.
#[derive(Debug, Clone, Default)]
pub struct Lifetime {
    /// The end has been announced.
    pub draining: CancellationToken,
    /// Nothing begins any more.
    pub stopping: CancellationToken,
    /// What is still open is closed.
    pub closing: CancellationToken,
    /// Requests at work: connections of the HTTP server.
    pub requests: TaskTracker,
    /// What serves them: intake, feed and sockets.
    pub tasks: TaskTracker,
}

impl Lifetime {
    /// Cancels `draining` on the first SIGTERM or SIGINT, and `stopping` after `drain`; exits on the
    /// second signal.
    pub fn stop_on_signal(&self, drain: Duration) -> std::io::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (draining, stopping) = (self.draining.clone(), self.stopping.clone());
        // On no tracker: it waits for a second signal until the very end.
        #[expect(clippy::disallowed_methods, reason = "lives as long as the process")]
        let _watcher = tokio::spawn(async move {
            either(&mut interrupt, &mut terminate).await;
            info!("stopping; a second signal exits at once");
            draining.cancel();
            let echo_ends = Instant::now() + ECHO;
            let second = async {
                while timeout_at(echo_ends, either(&mut interrupt, &mut terminate))
                    .await
                    .is_ok()
                {}
                either(&mut interrupt, &mut terminate).await;
            };
            let stop = async {
                sleep(drain).await;
                stopping.cancel();
                pending::<()>().await;
            };
            tokio::select! {
                () = second => {}
                () = stop => {}
            }
            std::process::exit(EXIT_INTERRUPTED);
        });
        Ok(())
    }

    /// Stops in order: requests have `grace` to end, and so have the `workers`, where there are
    /// any, who keep their own deadline and give back what is left; then what is open is closed.
    pub async fn stop(&self, grace: Duration, workers: impl Future<Output = ()>) {
        self.draining.cancel();
        self.stopping.cancel();
        self.requests.close();
        let requests = timeout(grace, self.requests.wait());
        if tokio::join!(requests, workers).0.is_err() {
            warn!(
                requests = self.requests.len(),
                "some requests did not end in time"
            );
        }
        self.closing.cancel();
        self.tasks.close();
        if timeout(CLOSING_GRACE, self.tasks.wait()).await.is_err() {
            warn!(tasks = self.tasks.len(), "some tasks did not end in time");
        }
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
