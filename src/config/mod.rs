//! Every setting, in one tree; loaded once, passed down by value.
//!
//! A setting is written once, in a [`section!`](tree): its documentation, its type, its default and
//! the name other tools know it by. From there come what `postrider.yaml` and the environment may
//! say (`POSTRIDER__SECTION__KEY` wins over the file), `config show`, and
//! `docs/configuration.md`. A name that means nothing is an error, and all problems are reported
//! together, each with its file and line or its variable.
//!
//! Nothing else in the program reads settings from the environment.
//!
//! # Reading order
//!
//! This file, [`edge`], [`channels`] and [`brand`] are the tree. [`load`] puts the sources in order, [`sources`] puts
//! what they say onto the tree, [`yaml`] and [`expand`] read the file. [`check`] knows what no
//! single setting can know. [`retention`] is what [`upkeep`](crate::upkeep) is told.

mod brand;
pub mod channels;
mod check;
mod check_edge;
pub mod edge;
mod expand;
mod load;
mod page;
mod retention;
mod secret;
mod setting;
mod sources;
#[cfg(test)]
mod tests;
mod tree;
mod yaml;

use std::net::SocketAddr;
use std::time::Duration;

pub use brand::BrandConfig;
pub use channels::{
    ChannelRetry, RetryConfig, SmtpConfig, WebPushConfig, WebhookConfig, WorkChannels,
};
pub use edge::{AuthConfig, CorsConfig, HttpConfig, LimitsConfig, ProxyHeader};
pub(crate) use load::read_bounded;
pub use load::{ConfigError, FILE_DEFAULT, Loaded, SettingView};
pub use page::page;
pub use secret::Secret;
pub use sources::Origin;
use tree::section;

section! {
    /// Where the rows live.
    pub struct DatabaseConfig {
        /// The Postgres to use.
        pub url: Option<Secret> = None => "DATABASE_URL",
        /// A way to the same Postgres around a PgBouncer, for LISTEN and session locks. Without it
        /// `url` is used for those as well.
        pub direct_url: Option<Secret> = None => "DATABASE_DIRECT_URL",
        /// Connections the pool may open in this process.
        pub connections_max: u32 = 16,
        /// Whether `url` leads to a PgBouncer in transaction mode: statements are not cached then.
        pub pgbouncer: bool = false,
        /// How long a task waits for a free connection.
        pub acquire_timeout: Duration = Duration::from_secs(5),
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
        /// How long notifications and their deliveries are kept. A `send_at` further ahead is refused.
        pub retention: Duration = Duration::from_hours(90 * 24),
        /// How long an `event_id` stays taken.
        pub event_id_window: Duration = Duration::from_hours(30 * 24),
        /// How long a `dedupe_key` stays taken.
        pub dedupe_window: Duration = Duration::from_hours(24),
        /// How long a group is tried again while Postgres is away, before its requests get 503.
        pub deadline: Duration = Duration::from_secs(10),
    }
}

section! {
    /// NATS, where several processes share the work: wake-ups of the live feed go this way then, and
    /// Postgres is asked only while it is away.
    pub struct NatsConfig {
        /// Servers to connect to, separated by commas: `nats://user:password@host:4222`, or `tls://`.
        pub url: Option<Secret> = None => "NATS_URL",
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
        /// Frames a client may send per second, and twenty times as many at once, which is a whole
        /// inbox acknowledged one by one; a socket that sends more is closed with 4429. 0 leaves it
        /// open.
        pub frames_per_second: u32 = 50,
        /// Rows of a feed that are told again to who comes back; who missed more is told to fetch
        /// the list (`resync`). 0 leaves it open.
        pub replay_max: u32 = 10_000,
        /// How often it is looked whether the feeds of connected users went on without a wake-up.
        pub poll_interval: Duration = Duration::from_secs(2),
        /// How often a quiet socket is pinged. Two unanswered pings close it.
        pub ping_interval: Duration = Duration::from_secs(30),
    }
}

section! {
    /// The feed of each user.
    pub struct InboxConfig {
        /// Entries that may be unread. When one more arrives, the oldest counts as read; 0 leaves
        /// it open.
        pub unread_max: u32 = 1000,
    }
}

section! {
    /// What must be agreed to.
    pub struct ConsentConfig {
        /// Categories that are sent only to who has given consent; an empty list asks for none.
        pub categories: Vec<String> = vec!["marketing".to_owned()],
    }
}

section! {
    /// How long things are kept. Most lie in tables by month, of which a month is dropped once its
    /// last day is older than this, and no open job or dead letter leads into it.
    pub struct RetentionConfig {
        /// Events. Unset, as long as notifications: `intake.retention`.
        pub events: Option<Duration> = None,
        /// Attempts with providers. Unset, as long as notifications.
        pub attempts: Option<Duration> = None,
        /// Traces of decisions. Unset, as long as notifications.
        pub traces: Option<Duration> = None,
        /// The list of what the outbox took. Unset, as long as notifications, and never longer.
        pub outbox: Option<Duration> = None,
        /// Entries of users' feeds, each on its own day, and never longer than notifications.
        pub inbox: Duration = Duration::from_hours(30 * 24),
        /// Replays of dead letters that are done or cancelled, with what became of each.
        pub replays: Duration = Duration::from_hours(90 * 24),
        /// Counts of `/v1/stats`.
        pub stats: Duration = Duration::from_hours(400 * 24),
    }
}

section! {
    /// Which jobs this process works on.
    pub struct WorkConfig {
        /// Queues to work on; empty means all. `--queues` wins.
        pub queues: Vec<String> = Vec::new(),
        /// Sends at once per outside channel in this process. One destination gets at most a third
        /// of them.
        pub concurrency: usize = 256,
        /// Sends at once of single channels, where `work.concurrency` does not fit. In-app waits
        /// for nobody and has no limit here.
        pub channels: WorkChannels = WorkChannels::default(),
        /// Whether the outbox takes messages on channels that no provider carries: they are stored
        /// and listed, and sent to nobody. Without it they fail. `up` always has it.
        pub outbox: bool = false,
        /// What this process is called where an operator sees it.
        pub node: String = "postrider".to_owned(),
        /// Where `work` answers `/health` and `/metrics`, such as 0.0.0.0:9100; unset, it listens
        /// nowhere. `PORT` is not meant for it: that is the API's.
        pub metrics_listen: Option<SocketAddr> = None,
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
        /// How long the API goes on serving after the first signal, with `/health` at 503 already,
        /// so that a load balancer stops sending before the door closes.
        pub drain: Duration = Duration::ZERO,
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

section! {
    /// The whole tree.
    pub struct Config {
        pub http: HttpConfig = HttpConfig::default(),
        pub database: DatabaseConfig = DatabaseConfig::default(),
        pub auth: AuthConfig = AuthConfig::default(),
        pub cors: CorsConfig = CorsConfig::default(),
        pub limits: LimitsConfig = LimitsConfig::default(),
        pub intake: IntakeConfig = IntakeConfig::default(),
        pub nats: NatsConfig = NatsConfig::default(),
        pub live: LiveConfig = LiveConfig::default(),
        pub inbox: InboxConfig = InboxConfig::default(),
        pub consent: ConsentConfig = ConsentConfig::default(),
        pub retention: RetentionConfig = RetentionConfig::default(),
        pub work: WorkConfig = WorkConfig::default(),
        pub brand: BrandConfig = BrandConfig::default(),
        pub retry: RetryConfig = RetryConfig::default(),
        pub smtp: SmtpConfig = SmtpConfig::default(),
        pub web_push: WebPushConfig = WebPushConfig::default(),
        pub webhook: WebhookConfig = WebhookConfig::default(),
        pub metrics: MetricsConfig = MetricsConfig::default(),
        pub log: LogConfig = LogConfig::default(),
        pub shutdown: ShutdownConfig = ShutdownConfig::default(),
    }
}
