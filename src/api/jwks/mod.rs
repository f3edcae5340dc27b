//! The public keys of whoever signs user tokens, kept up to date from a file or a URL.
//!
//! The set is read again regularly, and at once when a token names a key that it does not have:
//! that is how a rotation looks from here. A flood of such tokens makes no flood of fetches: there
//! is one at a time, and after each a pause. While the source cannot be read, the keys of before
//! stay in use.

mod set;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use reqwest::redirect::Policy;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(crate) use self::set::KeySet;
use crate::config::AuthConfig;
use crate::shutdown::Lifetime;

/// Shortest time between two fetches that nobody asked for.
pub(crate) const REFRESH_MIN: Duration = Duration::from_secs(10);

/// Bytes of a set. A key with its certificates has a few kilobytes.
const BYTES_MAX: usize = 256 * 1024;

/// How long a fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// How long after a fetch an unknown key causes none.
const ASK_PAUSE: Duration = Duration::from_secs(5);

/// How often a file is looked at: an operator who changes it waits for it.
const FILE_INTERVAL: Duration = Duration::from_secs(2);

/// How soon a source that failed is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Where a set comes from.
enum Source {
    File(PathBuf),
    Url(reqwest::Client, String),
}

/// The keys as they are now. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Keys(Arc<Shared>);

struct Shared {
    set: RwLock<Arc<KeySet>>,
    rounds: watch::Sender<Rounds>,
    wanted: Notify,
}

/// How often the source was read.
#[derive(Debug, Clone, Copy, Default)]
struct Rounds {
    begun: u64,
    ended: u64,
    last: Option<Instant>,
}

impl Rounds {
    /// Whether it is too early to read it again because somebody asks.
    fn is_recent(&self) -> bool {
        self.last.is_some_and(|last| last.elapsed() < ASK_PAUSE)
    }
}

impl Keys {
    /// Starts to keep the configured set, if one is; its task ends with `lifetime.closing`.
    pub(crate) fn start(config: &AuthConfig, lifetime: &Lifetime) -> Option<Self> {
        let (source, interval) = match (&config.jwks_file, &config.jwks_url) {
            (Some(file), _) => (Source::File(file.into()), FILE_INTERVAL),
            (None, Some(url)) => match client(url) {
                Ok(client) => (Source::Url(client, url.clone()), config.jwks_refresh),
                Err(error) => {
                    let error = queue::describe(&error.without_url());
                    warn!(error, "no keys for user tokens: their URL cannot be asked");
                    return None;
                }
            },
            (None, None) => return None,
        };
        let keys = Self(Arc::new(Shared {
            set: RwLock::default(),
            rounds: watch::Sender::default(),
            wanted: Notify::new(),
        }));
        // A file is there before the first request; a URL may be down without holding up a start.
        if let Source::File(file) = &source
            && let Ok(set) = read_file(file)
        {
            keys.replace(set);
        }
        let keeping = keys
            .clone()
            .keep(source, interval, lifetime.closing.clone());
        lifetime.tasks.spawn(keeping);
        Some(keys)
    }

    /// The set as it is now.
    pub(crate) fn now(&self) -> Arc<KeySet> {
        let set = self.0.set.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&set)
    }

    /// Has the source read again, unless that was just done. Answers whether it was read.
    pub(crate) async fn renew(&self) -> bool {
        let mut rounds = self.0.rounds.subscribe();
        let now = *rounds.borrow();
        let goal = if now.begun > now.ended {
            now.begun
        } else if now.is_recent() {
            return false;
        } else {
            self.0.wanted.notify_one();
            now.begun + 1
        };
        let ended = rounds.wait_for(|rounds| rounds.ended >= goal);
        timeout(FETCH_TIMEOUT, ended)
            .await
            .is_ok_and(|ended| ended.is_ok())
    }

    fn replace(&self, set: KeySet) {
        let mut place = self.0.set.write().unwrap_or_else(PoisonError::into_inner);
        *place = Arc::new(set);
    }

    /// Reads the source every `interval`, and when somebody asks.
    async fn keep(self, source: Source, interval: Duration, stop: CancellationToken) {
        let mut due = Instant::now();
        let mut known = Vec::new();
        let mut is_well = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(due) => {}
                () = self.0.wanted.notified() => {
                    if self.0.rounds.borrow().is_recent() {
                        continue;
                    }
                }
            }
            self.0.rounds.send_modify(|rounds| rounds.begun += 1);
            let read = tokio::select! {
                () = stop.cancelled() => return,
                read = source.read() => read,
            };
            let parsed = read.and_then(|bytes| {
                if bytes == known {
                    return Ok(());
                }
                self.replace(KeySet::parse(&bytes)?);
                known = bytes;
                info!("the keys of user tokens were read");
                Ok(())
            });
            // Told once, not each time.
            if let Err(problem) = parsed
                && is_well
            {
                warn!(
                    problem,
                    "the keys of user tokens could not be read; those of before stay"
                );
            }
            is_well = parsed.is_ok();
            due = Instant::now()
                + if is_well {
                    interval
                } else {
                    interval.min(RETRY_INTERVAL)
                };
            self.0.rounds.send_modify(|rounds| {
                rounds.ended = rounds.begun;
                rounds.last = Some(Instant::now());
            });
        }
    }
}

impl Source {
    /// Reads the whole set; the error names no address.
    async fn read(&self) -> Result<Vec<u8>, &'static str> {
        match self {
            Self::File(path) => {
                let bytes = tokio::fs::read(path).await;
                let bytes = bytes.or(Err("the file cannot be read"))?;
                if bytes.len() > BYTES_MAX {
                    return Err("it is longer than 256 KiB");
                }
                Ok(bytes)
            }
            Self::Url(client, url) => timeout(FETCH_TIMEOUT, fetch(client, url))
                .await
                .unwrap_or(Err("the URL did not answer in time")),
        }
    }
}

async fn fetch(client: &reqwest::Client, url: &str) -> Result<Vec<u8>, &'static str> {
    let asked = client.get(url).header("accept", "application/json").send();
    let mut response = asked.await.or(Err("the URL did not answer"))?;
    if response.status() != reqwest::StatusCode::OK {
        return Err("the URL did not answer 200");
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.or(Err("the answer broke off"))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > BYTES_MAX {
            return Err("it is longer than 256 KiB");
        }
    }
    Ok(bytes)
}

/// A client for one URL: no redirects, which could lead from `https` to `http`, and no proxy.
fn client(url: &str) -> reqwest::Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("Postrider/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(FETCH_TIMEOUT)
        .pool_max_idle_per_host(0);
    if url.starts_with("https:") {
        builder.build()
    } else {
        // Without TLS there is no need of the machine's certificates, which it may not have.
        builder.tls_certs_only([]).build()
    }
}

/// Reads a set that is meant to be used.
pub(crate) fn read_file(path: &Path) -> Result<KeySet, String> {
    let text = crate::config::read_bounded(path, BYTES_MAX as u64)?;
    let set = KeySet::parse(text.as_bytes())?;
    if set.is_empty() {
        return Err("it has no key that can check a signature".to_owned());
    }
    Ok(set)
}
