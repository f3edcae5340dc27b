//! Checks of the database: that it is there, keeps what it is given, and has our schema.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use queue::Clock;
use queue::probe::{ProbeError, wakeup};
use store::server::{MigrationState, ServerFacts, Way};
use store::{Connection, Store, StoreError};
use tokio::time::timeout;

use super::super::process;
use super::{LOOK, Report};
use crate::config::Config;

/// The oldest version that Postrider is tested with, as the server writes it.
const VERSION_MIN: i32 = 150_000;

/// Connections of one process beside its pool: two to claim, three to settle, and one each for the
/// session lock, the listener and the bell.
const ENGINE_CONNECTIONS: u32 = 8;

/// Below it even a small queue is read from the disk.
const SHARED_BUFFERS_MIN: i64 = 128 * 1024 * 1024;

/// A clock that differs more shows in every time that is displayed.
const SKEW_WARN: TimeDelta = TimeDelta::seconds(1);

/// A clock that differs more makes ids and expiries wrong: tokens and limits are judged by ours,
/// due times by the server's.
const SKEW_FAIL: TimeDelta = TimeDelta::seconds(30);

/// How long a wake-up may take.
const WAKEUP: Duration = Duration::from_secs(5);

/// A wake-up that takes longer than a poll is of no use.
const WAKEUP_SLOW: Duration = Duration::from_millis(500);

/// Looks at the database, and answers it if it can be worked with.
pub(super) async fn look(config: &Config, clock: &Clock, report: &mut Report) -> Option<Store> {
    const CHECK: &str = "database";
    let Some(url) = &config.database.url else {
        report.fail(
            CHECK,
            "not set",
            "set DATABASE_URL, or start `postrider up` here",
        );
        return None;
    };
    // In this order: what is wrong with the way there explains why connecting fails.
    if !look_at_way(config, url.reveal(), report).await {
        return None;
    }
    let store = match timeout(LOOK * 2, process::connect(config, Duration::ZERO)).await {
        Ok(Ok(store)) => store,
        Ok(Err(error)) => {
            let seen = queue::describe(error.as_ref());
            report.fail(CHECK, seen, "check DATABASE_URL");
            return None;
        }
        Err(_) => {
            report.fail(
                CHECK,
                "does not answer",
                "check DATABASE_URL and the network",
            );
            return None;
        }
    };
    report.ok(CHECK, url.masked());
    match timeout(LOOK * 2, look_inside(config, &store, clock, report)).await {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => return None,
        Ok(Err(error)) => {
            report.fail(CHECK, queue::describe(&error), "see the server's log");
            return None;
        }
        Err(_) => {
            report.fail(CHECK, "stopped answering", "see the server's log");
            return None;
        }
    }
    look_at_wakeups(config, report).await;
    Some(store)
}

/// Whether a pooler stands between, and whether we know; `false` if nobody is there at all.
async fn look_at_way(config: &Config, url: &str, report: &mut Report) -> bool {
    const CHECK: &str = "pooler";
    const REACHED: &str = "database";
    let way = match timeout(LOOK, store::server::way(url)).await {
        Ok(Ok(way)) => way,
        Ok(Err(error)) => {
            report.fail(
                REACHED,
                queue::describe(&error),
                "check DATABASE_URL, and whether Postgres runs there and takes this user",
            );
            return false;
        }
        Err(_) => {
            let advice = "check DATABASE_URL, and that a firewall lets us through to it";
            report.fail(REACHED, "does not answer", advice);
            return false;
        }
    };
    let has_direct = config.database.direct_url.is_some();
    match (way, config.database.pgbouncer) {
        (Way::Direct, false) => report.ok(CHECK, "none between"),
        (Way::Pooled, true) if has_direct => report.ok(CHECK, "between, with a way around it"),
        (Way::Pooled, true) => report.warn(
            CHECK,
            "between, and no way around it: takeover takes ten seconds instead of two",
            "set DATABASE_DIRECT_URL to the server itself",
        ),
        (Way::Direct, true) => report.warn(
            CHECK,
            "database.pgbouncer is set, and there is none: statements are planned each time",
            "set database.pgbouncer to false",
        ),
        (Way::Pooled, false) => {
            report.fail(
                CHECK,
                "there is one between, and database.pgbouncer is not set",
                "set POSTRIDER__DATABASE__PGBOUNCER=true and DATABASE_DIRECT_URL",
            );
            return false;
        }
    }
    true
}

/// Reads what the server and the schema say; `false` if the tables cannot be relied on.
async fn look_inside(
    config: &Config,
    store: &Store,
    clock: &Clock,
    report: &mut Report,
) -> Result<bool, StoreError> {
    let mut connection = store.acquire().await?;
    let before = clock.now();
    let facts = store::server::facts(&mut connection).await?;
    let after = clock.now();
    look_at_server(config, &facts, report);
    look_at_clocks(facts.now, before, after, report);
    look_at_schema(&mut connection, after, report).await
}

fn look_at_server(config: &Config, facts: &ServerFacts, report: &mut Report) {
    let version = &facts.version;
    if facts.version_number < VERSION_MIN {
        let advice = "move to Postgres 15 or later";
        report.fail("postgres version", version.as_str(), advice);
    } else {
        report.ok("postgres version", version.as_str());
    }
    if facts.is_standby {
        let advice = "point DATABASE_URL at the primary";
        report.fail("standby", "this server only follows another one", advice);
    }
    let unsafe_settings = [
        ("fsync = off", !facts.fsync),
        ("full_page_writes = off", !facts.full_page_writes),
    ];
    let unsafe_settings: Vec<&str> = unsafe_settings
        .into_iter()
        .filter_map(|(setting, is_set)| is_set.then_some(setting))
        .collect();
    if !unsafe_settings.is_empty() {
        report.fail(
            "durability",
            format!(
                "{}: a crash can ruin everything",
                unsafe_settings.join(", ")
            ),
            "turn it on in postgresql.conf; only tests may do without",
        );
    } else if facts.synchronous_commit == "off" {
        report.fail(
            "durability",
            "synchronous_commit = off: a crash forgets what was answered with 202",
            "turn it on, for the server or for our role",
        );
    } else {
        let seen = format!("synchronous_commit = {}", facts.synchronous_commit);
        report.ok("durability", seen);
    }
    if facts.autovacuum {
        report.ok("autovacuum", "on");
    } else {
        let advice = "turn it on: the queue's tables need it every few seconds";
        report.fail("autovacuum", "off", advice);
    }
    look_at_room(config, facts, report);
    let mebibytes = facts.shared_buffers_bytes / (1024 * 1024);
    if facts.shared_buffers_bytes < SHARED_BUFFERS_MIN {
        let advice = "set it to a quarter of the memory";
        report.warn("shared buffers", format!("{mebibytes} MiB"), advice);
    } else {
        report.ok("shared buffers", format!("{mebibytes} MiB"));
    }
}

/// Whether two more processes of ours fit, as during a deploy.
fn look_at_room(config: &Config, facts: &ServerFacts, report: &mut Report) {
    const CHECK: &str = "connections";
    let ours = i64::from(config.database.connections_max + ENGINE_CONNECTIONS);
    let usable = i64::from(facts.connections_max - facts.connections_reserved);
    let open = facts.connections;
    let seen = format!("{open} of {usable} open; a process of ours may open {ours}");
    if ours > usable {
        let advice = "lower database.connections_max, or raise max_connections";
        report.fail(CHECK, seen, advice);
    } else if open + 2 * ours > usable {
        let advice = "raise max_connections, or put a PgBouncer in between: two more do not fit";
        report.warn(CHECK, seen, advice);
    } else {
        report.ok(CHECK, seen);
    }
}

/// Ours was read before and after; what lies between is no difference.
fn look_at_clocks(
    theirs: DateTime<Utc>,
    before: DateTime<Utc>,
    after: DateTime<Utc>,
    report: &mut Report,
) {
    const CHECK: &str = "clocks";
    const ADVICE: &str = "run a time daemon (chrony, systemd-timesyncd) on both machines";
    let skew = if theirs < before {
        before - theirs
    } else {
        (theirs - after).max(TimeDelta::zero())
    };
    let seen = format!(
        "{:.1} s between ours and the server's",
        skew.as_seconds_f64()
    );
    if skew > SKEW_FAIL {
        report.fail(CHECK, seen, ADVICE);
    } else if skew > SKEW_WARN {
        report.warn(CHECK, seen, ADVICE);
    } else {
        report.ok(CHECK, seen);
    }
}

async fn look_at_schema(
    connection: &mut Connection,
    now: DateTime<Utc>,
    report: &mut Report,
) -> Result<bool, StoreError> {
    const CHECK: &str = "migrations";
    let state = store::server::migrations(connection).await?;
    let MigrationState {
        applied,
        missing,
        unknown,
        changed,
    } = state;
    if !changed.is_empty() {
        let seen = format!("{changed:?} were applied in another form");
        report.fail(
            CHECK,
            seen,
            "this database was made by another build: use that one",
        );
        return Ok(false);
    }
    if !missing.is_empty() {
        let seen = format!("{applied} applied, {missing:?} are missing");
        report.fail(CHECK, seen, "run `postrider migrate`");
        return Ok(false);
    }
    if unknown.is_empty() {
        report.ok(CHECK, format!("{applied} applied, none missing"));
    } else {
        let seen = format!("{unknown:?} are newer than this build");
        report.warn(CHECK, seen, "finish the deploy of the newer version");
    }
    let partitions = store::partitions::missing_soon(connection, now).await?;
    if partitions.is_empty() {
        report.ok("partitions", "there for this month and the next");
    } else {
        let advice = "run `postrider migrate`; any running process makes them every six hours";
        report.fail(
            "partitions",
            format!("missing: {}", partitions.join(", ")),
            advice,
        );
    }
    Ok(true)
}

/// A notification there and back, on the ways a process would use.
async fn look_at_wakeups(config: &Config, report: &mut Report) {
    const CHECK: &str = "wake-ups";
    const ADVICE: &str = "check DATABASE_DIRECT_URL: it has to reach the same database, \
                          without a pooler";
    let Ok(database) = process::database(config) else {
        return report.fail(CHECK, "a database URL cannot be read", ADVICE);
    };
    let token = Clock::system().now().timestamp_micros().to_string();
    let heard = timeout(WAKEUP * 3, wakeup(&database, &token, WAKEUP)).await;
    match heard.unwrap_or(Err(ProbeError::Silent)) {
        Ok(delay) if delay > WAKEUP_SLOW => report.warn(
            CHECK,
            format!("arrive after {} ms", delay.as_millis()),
            "polling finds jobs sooner: look at the load of the server",
        ),
        Ok(delay) => report.ok(CHECK, format!("arrive after {} ms", delay.as_millis())),
        Err(ProbeError::NoDirectWay) => {
            report.ok(CHECK, "none behind the pooler: jobs are found by polling");
        }
        Err(error) => report.fail(CHECK, queue::describe(&error), ADVICE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;

    fn facts() -> ServerFacts {
        ServerFacts {
            version_number: 150_008,
            version: "15.8".to_owned(),
            fsync: true,
            full_page_writes: true,
            autovacuum: true,
            synchronous_commit: "on".to_owned(),
            connections_max: 100,
            connections_reserved: 3,
            connections: 5,
            shared_buffers_bytes: SHARED_BUFFERS_MIN,
            is_standby: false,
            now: DateTime::UNIX_EPOCH,
        }
    }

    /// The checks that are not ok.
    fn complaints(facts: &ServerFacts) -> Vec<(&'static str, Verdict)> {
        let mut report = Report::default();
        look_at_server(&Config::default(), facts, &mut report);
        let findings = report.findings.iter();
        findings
            .filter(|finding| finding.verdict != Verdict::Ok)
            .map(|finding| (finding.check, finding.verdict))
            .collect()
    }

    #[test]
    fn a_server_that_forgets_or_has_no_room_is_complained_of() {
        type Change = fn(&mut ServerFacts);
        let cases: [(Change, &str, Verdict); 10] = [
            (
                |it| it.version_number = 140_012,
                "postgres version",
                Verdict::Fail,
            ),
            (|it| it.fsync = false, "durability", Verdict::Fail),
            (
                |it| it.full_page_writes = false,
                "durability",
                Verdict::Fail,
            ),
            (
                |it| it.synchronous_commit = "off".to_owned(),
                "durability",
                Verdict::Fail,
            ),
            (|it| it.autovacuum = false, "autovacuum", Verdict::Fail),
            (|it| it.is_standby = true, "standby", Verdict::Fail),
            (|it| it.connections_max = 26, "connections", Verdict::Fail),
            (|it| it.connections = 50, "connections", Verdict::Warn),
            (|it| it.connections_max = 27, "connections", Verdict::Warn),
            (
                |it| it.shared_buffers_bytes -= 1,
                "shared buffers",
                Verdict::Warn,
            ),
        ];
        assert_eq!(complaints(&facts()), []);
        for (change, check, verdict) in cases {
            let mut facts = facts();
            change(&mut facts);
            assert_eq!(complaints(&facts), [(check, verdict)]);
        }
    }

    #[test]
    fn clocks_may_differ_by_a_second() {
        let at = |seconds: i64| DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap();
        let verdict = |theirs| {
            let mut report = Report::default();
            look_at_clocks(theirs, at(0), at(2), &mut report);
            report.findings[0].verdict
        };

        for (theirs, expected) in [
            (-31, Verdict::Fail),
            (-2, Verdict::Warn),
            (-1, Verdict::Ok),
            (1, Verdict::Ok),
            (3, Verdict::Ok),
            (4, Verdict::Warn),
            (33, Verdict::Fail),
        ] {
            assert_eq!(verdict(at(theirs)), expected, "{theirs}");
        }
    }
}
