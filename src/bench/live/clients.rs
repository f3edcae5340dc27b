//! Thousands of clients of the live feed in a process of their own, told what to do by lines on
//! standard input: `begin` forgets what was measured, `storm SECONDS` lets every other client come
//! back twice, `report` prints the figures.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use domain::{TenantId, UserId};
use queue::Clock;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::TaskTracker;

use super::super::percentiles::Percentiles;
use super::socket::Socket;
use crate::api::token::issue_token;
use crate::config::Secret;

/// Connections being made at once.
const OPENING: usize = 200;

/// Loopback addresses the clients come from, so that ports suffice.
const ADDRESSES: u64 = 8;

/// Pause before a client whose socket ended comes back by itself.
const PAUSE: Duration = Duration::from_millis(200);

/// What is said once all are connected.
pub(super) const CONNECTED: &str = "connected";

/// Which clients to be.
#[derive(Debug, Clone, clap::Args)]
pub struct ClientsArgs {
    /// Where the server is.
    #[arg(long)]
    pub(super) address: SocketAddr,
    #[arg(long)]
    pub(super) sockets: u64,
    /// Signs the tokens of the users; without it they subscribe to nchan's channels.
    #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
    pub(super) secret: Option<String>,
}

/// What the clients have seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) received: u64,
    /// Of those who stayed: from publishing to the client.
    pub(super) latency_ms: Percentiles,
    /// Numbers that came twice or were left out.
    pub(super) out_of_order: u64,
    /// Sockets opened again.
    pub(super) came_back: u64,
}

struct Crowd {
    args: ClientsArgs,
    clock: Clock,
    opening: Semaphore,
    connected: AtomicU64,
    received: AtomicU64,
    out_of_order: AtomicU64,
    came_back: AtomicU64,
    is_storm: AtomicBool,
    latencies: Mutex<Vec<u32>>,
}

/// Runs until standard input ends.
pub async fn run(args: ClientsArgs) -> anyhow::Result<()> {
    let sockets = args.sockets;
    let crowd = Arc::new(Crowd {
        args,
        clock: Clock::system(),
        opening: Semaphore::new(OPENING),
        connected: AtomicU64::new(0),
        received: AtomicU64::new(0),
        out_of_order: AtomicU64::new(0),
        came_back: AtomicU64::new(0),
        is_storm: AtomicBool::new(false),
        latencies: Mutex::default(),
    });
    let (storm, _) = watch::channel(Duration::ZERO);
    let tracker = TaskTracker::new();
    for number in 0..sockets {
        tracker.spawn(follow(Arc::clone(&crowd), number, storm.subscribe()));
    }
    while crowd.connected.load(Ordering::Acquire) < sockets {
        sleep(Duration::from_millis(20)).await;
    }
    say(CONNECTED)?;
    let (heard, mut lines) = mpsc::channel(1);
    // Standard input can only be waited for by a thread, which ends with it.
    let listener = tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if heard.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = lines.recv().await {
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("begin", _) => crowd.forget(),
            ("storm", seconds) => {
                crowd.is_storm.store(true, Ordering::Release);
                storm.send_replace(Duration::from_secs(seconds.parse()?));
            }
            _ => {
                let seen = serde_json::to_string(&crowd.seen())?;
                say(&seen)?;
            }
        }
    }
    listener.await.context("standard input ended badly")
}

impl Crowd {
    fn forget(&self) {
        self.received.store(0, Ordering::Release);
        let latencies = self.latencies.lock();
        latencies.unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn seen(&self) -> Seen {
        let latencies = self.latencies.lock();
        let latencies = latencies.unwrap_or_else(PoisonError::into_inner).clone();
        Seen {
            received: self.received.load(Ordering::Acquire),
            latency_ms: Percentiles::of(latencies),
            out_of_order: self.out_of_order.load(Ordering::Acquire),
            came_back: self.came_back.load(Ordering::Acquire),
        }
    }

    async fn open(&self, number: u64, last_seq: Option<i64>) -> anyhow::Result<Socket> {
        let _permit = self.opening.acquire().await?;
        let last_byte = 2 + (number % ADDRESSES) as u8;
        let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last_byte), 0));
        let (path, headers) = match &self.args.secret {
            Some(secret) => {
                let now = self.clock.now();
                let user = UserId::from(user(number));
                let hour = Duration::from_hours(1);
                let token =
                    issue_token(&Secret::new(secret), &TenantId::default(), &user, now, hour)?;
                let last = last_seq.map_or_else(String::new, |seq| format!("?last_seq={seq}"));
                (
                    format!("/v1/ws{last}"),
                    format!("sec-websocket-protocol: postrider.v1, bearer.{token}\r\n"),
                )
            }
            None => (format!("/sub/{}", user(number)), String::new()),
        };
        Socket::open(self.args.address, from, &path, &headers).await
    }

    /// Notes what a frame says; answers its number, if it has one.
    fn hear(&self, text: &str, is_restless: bool) -> Option<i64> {
        let sent = number_after(text, "\"sent_us\":")?;
        let late = self.clock.now().timestamp_micros() - sent;
        self.received.fetch_add(1, Ordering::AcqRel);
        if !(is_restless && self.is_storm.load(Ordering::Acquire)) {
            let latencies = self.latencies.lock();
            let late = u32::try_from(late.max(0)).unwrap_or(u32::MAX);
            latencies.unwrap_or_else(PoisonError::into_inner).push(late);
        }
        number_after(text, "\"seq\":")
    }
}

/// Writes a line to whoever holds the reins.
fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("nobody listens")
}

/// The user of a client.
pub(super) fn user(number: u64) -> String {
    format!("user{number}")
}

/// When a restless client lets go of its socket: once in each half of the storm, all of them evenly
/// and in an order that is not that of the sockets.
fn goings(number: u64, now: Instant, span: Duration) -> VecDeque<Instant> {
    let share = (number.wrapping_mul(0x9e37_79b9) % 10_007) as f64 / 10_007.0;
    let halves = [share / 2.0, share / 2.0 + 0.5];
    halves.map(|part| now + span.mul_f64(part)).into()
}

/// Waits until it is time to go; for ever without one.
async fn time_to_go(goings: &VecDeque<Instant>) {
    match goings.front() {
        Some(&due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// One client, which comes back when its socket ends.
async fn follow(crowd: Arc<Crowd>, number: u64, mut storm: watch::Receiver<Duration>) {
    let is_restless = number % 2 == 1;
    let mut later = VecDeque::new();
    let (mut last_seq, mut is_known) = (None, false);
    loop {
        match crowd.open(number, last_seq).await {
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "a client could not connect");
                sleep(PAUSE).await;
                continue;
            }
            Ok(mut socket) => {
                // nchan says nothing at first, Postrider says hello.
                if crowd.args.secret.is_none() && !is_known {
                    is_known = true;
                    crowd.connected.fetch_add(1, Ordering::AcqRel);
                }
                loop {
                    let text = tokio::select! {
                        next = socket.next() => next,
                        Ok(()) = storm.changed(), if is_restless => {
                            later = goings(number, Instant::now(), *storm.borrow_and_update());
                            continue;
                        }
                        () = time_to_go(&later) => {
                            later.pop_front();
                            break;
                        }
                    };
                    let Ok(Some(text)) = text else { break };
                    if !is_known {
                        is_known = true;
                        last_seq = number_after(&text, "\"seq\":");
                        crowd.connected.fetch_add(1, Ordering::AcqRel);
                    } else if let Some(seq) = crowd.hear(&text, is_restless) {
                        if last_seq.is_some_and(|last| last + 1 != seq) {
                            crowd.out_of_order.fetch_add(1, Ordering::AcqRel);
                        }
                        last_seq = Some(seq);
                    }
                }
            }
        }
        crowd.came_back.fetch_add(1, Ordering::AcqRel);
    }
}

/// The number that follows a key.
fn number_after(text: &str, key: &str) -> Option<i64> {
    let (_, rest) = text.split_once(key)?;
    let end = rest
        .find(|it: char| !it.is_ascii_digit())
        .unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

/// Tells a process of clients what to do, and hears what they say.
pub(super) struct Reins {
    child: tokio::process::Child,
    commands: tokio::process::ChildStdin,
    answers: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Reins {
    /// Starts the clients and waits until all are connected.
    pub(super) async fn take(args: &ClientsArgs) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("could not find this program")?;
        let mut command = tokio::process::Command::new(program);
        command
            .args(["bench", "live-clients"])
            .args(["--address", &args.address.to_string()])
            .args(["--sockets", &args.sockets.to_string()])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .env_remove("JWT_SECRET")
            .kill_on_drop(true);
        if let Some(secret) = &args.secret {
            command.env("JWT_SECRET", secret);
        }
        let mut child = command.spawn().context("could not start the clients")?;
        let commands = child.stdin.take().context("the clients hear nothing")?;
        let answers = child.stdout.take().context("the clients say nothing")?;
        let mut reins = Self {
            child,
            commands,
            answers: BufReader::new(answers).lines(),
        };
        let line = reins.hear().await?;
        anyhow::ensure!(line == CONNECTED, "the clients said {line}");
        Ok(reins)
    }

    async fn hear(&mut self) -> anyhow::Result<String> {
        let line = self.answers.next_line().await?;
        line.context("the clients have ended")
    }

    pub(super) async fn say(&mut self, command: &str) -> anyhow::Result<()> {
        use tokio::io::AsyncWriteExt as _;
        let line = format!("{command}\n");
        self.commands.write_all(line.as_bytes()).await?;
        Ok(())
    }

    pub(super) async fn report(&mut self) -> anyhow::Result<Seen> {
        self.say("report").await?;
        Ok(serde_json::from_str(&self.hear().await?)?)
    }

    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.child
            .kill()
            .await
            .context("could not stop the clients")
    }
}
