//! Every setting, in one tree; loaded once, passed down by value.
//!
//! A setting is written once, below: its documentation, its type and its default. The environment
//! is the only source so far: `POSTRIDER__SECTION__KEY`, and the names other tools set
//! (`DATABASE_URL`, `PORT`, …), each also as `NAME_FILE`, a path to a mounted secret. A name with
//! our prefix that means nothing is an error, and all problems are reported together.
//!
//! Nothing else in the program reads settings from the environment.

mod load;
mod setting;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

pub use load::ConfigError;
pub use setting::Secret;
use setting::Setting;

/// Declares one section: its struct, its defaults, and how a key's text is read into it.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        pub struct $name:ident {
            $( $(#[doc = $doc:literal])* pub $key:ident: $kind:ty = $default:expr, )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone)]
        pub struct $name {
            $( $(#[doc = $doc])* pub $key: $kind, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $key: $default, )* }
            }
        }

        impl $name {
            /// Reads `text` into the setting `key`; `None` when there is no such key.
            fn set(&mut self, key: &str, text: &str) -> Option<Result<(), String>> {
                match key {
                    $( stringify!($key) => {
                        Some(<$kind as Setting>::read(text).map(|value| self.$key = value))
                    } )*
                    _ => None,
                }
            }
        }
    };
}

section! {
    /// How the HTTP server listens.
    pub struct HttpConfig {
        /// The address to listen on. `PORT` replaces the port and opens the address to the
        /// network, as Procfile platforms expect.
        pub listen: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8003),
        /// How long a connection may take to send a request's headers, and how long it may rest
        /// between requests.
        pub header_timeout: Duration = Duration::from_mins(1),
        /// How long a request's body may take to arrive.
        pub body_timeout: Duration = Duration::from_mins(1),
    }
}

section! {
    /// Where the rows live.
    pub struct DatabaseConfig {
        /// The Postgres to use. Also read as `DATABASE_URL`.
        pub url: Option<Secret> = None,
        /// A way to the same Postgres around a PgBouncer, for LISTEN and session locks. Also read
        /// as `DATABASE_DIRECT_URL`. Without it `url` is used for those as well.
        pub direct_url: Option<Secret> = None,
        /// Connections the pool may open in this process.
        pub connections_max: u32 = 16,
        /// Whether `url` leads to a PgBouncer in transaction mode: statements are not cached then.
        pub pgbouncer: bool = false,
        /// How long a task waits for a free connection.
        pub acquire_timeout: Duration = Duration::from_secs(5),
    }
}

section! {
    /// Who may come in.
    pub struct AuthConfig {
        /// Signs and checks user tokens (HS256). Also read as `JWT_SECRET`. Without it every user
        /// token is refused.
        pub jwt_secret: Option<Secret> = None,
        /// What a token's `aud` must contain. Unset, `aud` is not looked at.
        pub jwt_audience: Option<String> = None,
        /// Whether a socket may authenticate by `?token=`. Such a URL can end up in a proxy's log.
        pub query_token: bool = true,
        /// An admin key of tenant `default` that exists from the start. Also read as
        /// `POSTRIDER_BOOTSTRAP_API_KEY`.
        pub bootstrap_api_key: Option<Secret> = None,
    }
}

section! {
    /// How submissions are gathered into transactions.
    pub struct IntakeConfig {
        /// Rows after which a group is committed without waiting for more.
        pub group_rows: usize = 500,
        /// How long the first submission of a group waits for company.
        pub group_window: Duration = Duration::from_millis(1),
        /// Transactions at work at once.
        pub committers: usize = 2,
        /// Rows that may wait for their commit. Beyond it a request waits, then gets 503.
        pub pending_rows_max: u32 = 50_000,
        /// How long notifications are kept. A `send_at` further ahead is refused.
        pub retention: Duration = Duration::from_hours(90 * 24),
        /// How long a group is tried again while Postgres is away, before its requests get 503.
        pub deadline: Duration = Duration::from_secs(10),
    }
}

section! {
    /// The live feed.
    pub struct LiveConfig {
        /// Frames that may wait for a slow socket before it is closed with 4408.
        pub send_buffer: usize = 256,
        /// Sockets this process accepts; 0 leaves it open.
        pub sockets_max: usize = 0,
        /// Sockets one user may have here; 0 leaves it open.
        pub sockets_per_user_max: usize = 0,
        /// How often the feeds of connected users are read without a wake-up.
        pub poll_interval: Duration = Duration::from_secs(1),
        /// How often a quiet socket is pinged. Two unanswered pings close it.
        pub ping_interval: Duration = Duration::from_secs(30),
    }
}

section! {
    /// Which jobs this process works on.
    pub struct WorkConfig {
        /// Queues to work on; empty means all. `--queues` wins.
        pub queues: Vec<String> = Vec::new(),
        /// Sends at once per outside channel in this process.
        pub concurrency: usize = 64,
        /// What this process is called where an operator sees it.
        pub node: String = "postrider".to_owned(),
    }
}

section! {
    /// What `/metrics` shows.
    pub struct MetricsConfig {
        /// Adds the names of the systems Postrider replaces, where they break today's conventions.
        pub legacy_names: bool = false,
    }
}

section! {
    /// What is written to stderr.
    pub struct LogConfig {
        /// Levels per target, as in `info,postrider::live=debug`.
        pub filter: String = "info".to_owned(),
        /// `human`, `json`, or `auto`: human on a terminal.
        pub format: LogFormat = LogFormat::Auto,
    }
}

section! {
    /// How the process stops.
    pub struct ShutdownConfig {
        /// How long running requests and jobs may take to end after the first signal.
        pub grace: Duration = Duration::from_secs(5),
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    Human,
    Json,
}

/// The whole tree.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub http: HttpConfig,
    pub database: DatabaseConfig,
    pub auth: AuthConfig,
    pub intake: IntakeConfig,
    pub live: LiveConfig,
    pub work: WorkConfig,
    pub metrics: MetricsConfig,
    pub log: LogConfig,
    pub shutdown: ShutdownConfig,
}

impl Config {
    /// Reads `text` into `section.key`; `None` when there is no such setting.
    fn set(&mut self, section: &str, key: &str, text: &str) -> Option<Result<(), String>> {
        match section {
            "http" => self.http.set(key, text),
            "database" => self.database.set(key, text),
            "auth" => self.auth.set(key, text),
            "intake" => self.intake.set(key, text),
            "live" => self.live.set(key, text),
            "work" => self.work.set(key, text),
            "metrics" => self.metrics.set(key, text),
            "log" => self.log.set(key, text),
            "shutdown" => self.shutdown.set(key, text),
            _ => None,
        }
    }

    /// What no single setting can know about itself.
    fn cross_check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut positive = |name: &str, value: u64| {
            if value == 0 {
                problems.push(format!("{name} must be at least 1"));
            }
        };
        positive(
            "database.connections_max",
            self.database.connections_max.into(),
        );
        positive("intake.group_rows", self.intake.group_rows as u64);
        positive("intake.committers", self.intake.committers as u64);
        positive("live.send_buffer", self.live.send_buffer as u64);
        positive(
            "live.poll_interval",
            self.live.poll_interval.as_millis() as u64,
        );
        positive(
            "live.ping_interval",
            self.live.ping_interval.as_millis() as u64,
        );
        positive("work.concurrency", self.work.concurrency as u64);
        if self.intake.pending_rows_max < crate::intake::UNIT_ROWS_MAX {
            problems.push(format!(
                "intake.pending_rows_max must hold one batch request: at least {}",
                crate::intake::UNIT_ROWS_MAX
            ));
        }
        problems
    }
}
