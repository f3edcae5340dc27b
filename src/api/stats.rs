//! `GET /v1/stats` and `/v1/admin/stats`: how many, over which channel, to what end.
//!
//! The counts are kept up by the transactions that change what they count; asking reads those few
//! rows and never the history itself. Test sends are not counted.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{Channel, Priority, Role, Status, TenantId};
use serde::Serialize;
use store::StoreError;
use store::stats::{Count, SideCount, Window};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::body::Json;
use super::error::ApiError;
use super::openapi::words::WindowWord;
use super::query::Query;
use super::view::Moment;
use crate::app::App;

/// The windows that have a name, and the one meant when nothing is said.
const WINDOWS: [(&str, TimeDelta); 4] = [
    ("1h", TimeDelta::hours(1)),
    ("24h", TimeDelta::hours(24)),
    ("7d", TimeDelta::days(7)),
    ("30d", TimeDelta::days(30)),
];
const WINDOW_DEFAULT: &str = "24h";

/// The longest window: as long as counts are kept.
const WINDOW_MAX: TimeDelta = TimeDelta::days(400);

/// Up to here jobs are counted; beyond it a queue is long, however long.
const BACKLOG_MAX: i64 = 10_000;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(show))
        .routes(routes!(show_admin))
}

/// Deliveries counted together. Those in `planned` are in one of the others each.
#[derive(Debug, Default, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = DeliveryCounts)]
pub(super) struct CountsView {
    planned: i64,
    /// Still on their way: pending, queued, sending or retrying.
    open: i64,
    sent: i64,
    delivered: i64,
    failed: i64,
    cancelled: i64,
    suppressed: i64,
    expired: i64,
    /// Sent and delivered ones, of those and the failed; null while there are none.
    #[schema(required)]
    success_rate: Option<f64>,
    /// Planned ones per second of the window.
    per_second: f64,
}

impl CountsView {
    fn add(&mut self, count: &Count) {
        let place = match count.status {
            None => &mut self.planned,
            Some(Status::Sent) => &mut self.sent,
            Some(Status::Delivered) => &mut self.delivered,
            Some(Status::Failed) => &mut self.failed,
            Some(Status::Cancelled) => &mut self.cancelled,
            Some(Status::Suppressed) => &mut self.suppressed,
            Some(Status::Expired) => &mut self.expired,
            Some(Status::Pending | Status::Queued | Status::Sending | Status::Retrying) => return,
        };
        *place += count.count;
    }

    fn summed_up(mut self, seconds: f64) -> Self {
        let reached = self.sent + self.delivered;
        let ended = reached + self.failed + self.cancelled + self.suppressed + self.expired;
        self.open = self.planned - ended;
        let tried = reached + self.failed;
        self.success_rate = (tried > 0).then(|| reached as f64 / tried as f64);
        self.per_second = self.planned as f64 / seconds;
        self
    }
}

/// Notifications counted together.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NotificationCounts)]
pub(super) struct NotificationsView {
    count: i64,
    per_second: f64,
    by_priority: BTreeMap<&'static str, i64>,
}

/// What was planned within a window, and what has become of it since.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Stats)]
pub(super) struct StatsView {
    /// The window's name; null where `since` or `until` was given.
    #[schema(required)]
    window: Option<&'static str>,
    /// The window as it was counted: whole minutes, whole hours where it begins long ago.
    since: Moment,
    until: Moment,
    notifications: NotificationsView,
    deliveries: CountsView,
    by_channel: BTreeMap<&'static str, CountsView>,
    by_priority: BTreeMap<&'static str, CountsView>,
    /// Deliveries by where they have come to.
    by_status: BTreeMap<&'static str, i64>,
    /// Tests of templates or channels, by rule and action.
    variants: Vec<VariantView>,
}

/// One side of a rule's test.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = VariantCounts)]
pub(super) struct VariantView {
    rule_id: String,
    /// Which of the rule's actions, from 0.
    action: u16,
    variant: String,
    notifications: i64,
    deliveries: CountsView,
}

/// What waits in a queue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Backlog)]
pub(super) struct BacklogView {
    queue: String,
    /// Jobs, due now or later; counted up to 10 000.
    waiting: i64,
    /// Counted up to 10 000 over all queues.
    dead_letters: i64,
}

/// The counts, and what waits.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdminStats)]
pub(super) struct AdminStatsView {
    /// `installation` for admins of the tenant `default`, who see every tenant's; else `tenant`.
    scope: &'static str,
    #[serde(flatten)]
    stats: StatsView,
    /// What waits; only for the installation, because tenants share the queues.
    #[schema(required)]
    queues: Option<Vec<BacklogView>>,
}

/// Count what was planned within a window, and what has become of it.
///
/// Needs the role `read`. Test sends are not counted.
#[utoipa::path(
    get, path = "/v1/stats", tag = "Look up", operation_id = "stats",
    params(
        ("window" = Option<WindowWord>, Query, description = "Until now.", example = "24h"),
        ("since" = Option<String>, Query, format = DateTime, description = "Instead of a window."),
        ("until" = Option<String>, Query, format = DateTime, description = "Now, if not given."),
    ),
    responses((status = 200, description = "The counts.", body = StatsView)),
)]
async fn show(
    State(app): State<App>,
    caller: Caller,
    query: Query,
) -> Result<Json<StatsView>, ApiError> {
    let stats = own(&app, caller, query).await?;
    Ok(Json(StatusCode::OK, stats))
}

/// The counts of the caller's tenant.
pub(super) async fn own(app: &App, caller: Caller, query: Query) -> Result<StatsView, ApiError> {
    if !caller.may(Role::Read) {
        return Err(ApiError::forbidden("counts need the role `read`"));
    }
    read(app, Some(caller.tenant_id), query).await
}

/// Count for operators: also what waits in the queues.
///
/// Needs the role `admin`. An admin of the tenant `default` sees the whole installation, of another
/// tenant that tenant alone.
#[utoipa::path(
    get, path = "/v1/admin/stats", tag = "Operate", operation_id = "admin_stats",
    params(
        ("window" = Option<WindowWord>, Query, description = "Until now.", example = "24h"),
        ("since" = Option<String>, Query, format = DateTime, description = "Instead of a window."),
        ("until" = Option<String>, Query, format = DateTime, description = "Now, if not given."),
    ),
    responses((status = 200, description = "The counts.", body = AdminStatsView)),
)]
async fn show_admin(
    State(app): State<App>,
    caller: Caller,
    query: Query,
) -> Result<Json<AdminStatsView>, ApiError> {
    admin(&app, caller, query)
        .await
        .map(|stats| Json(StatusCode::OK, stats))
}

/// The counts as an admin may see them.
pub(super) async fn admin(
    app: &App,
    caller: Caller,
    query: Query,
) -> Result<AdminStatsView, ApiError> {
    if !caller.may(Role::Admin) {
        return Err(ApiError::forbidden("this needs the role `admin`"));
    }
    if caller.tenant_id != TenantId::default() {
        return Ok(AdminStatsView {
            scope: "tenant",
            stats: read(app, Some(caller.tenant_id), query).await?,
            queues: None,
        });
    }
    let stats = read(app, None, query).await?;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let queues: Vec<&str> = workers::queues::all().collect();
    let backlogs = queue::inspect::backlogs(&mut conn, &queues, BACKLOG_MAX)
        .await
        .map_err(|source| {
            ApiError::from_store(StoreError::Database {
                operation: "count what waits",
                source,
            })
        })?;
    let backlogs = backlogs.into_iter().map(|backlog| BacklogView {
        queue: backlog.queue,
        waiting: backlog.waiting,
        dead_letters: backlog.dead_letters,
    });
    Ok(AdminStatsView {
        scope: "installation",
        stats,
        queues: Some(backlogs.collect()),
    })
}

/// Reads the counts that `query` asks for.
async fn read(
    app: &App,
    tenant_id: Option<TenantId>,
    mut query: Query,
) -> Result<StatsView, ApiError> {
    let now = app.clock.now();
    let (name, since, until) = window(&mut query, now);
    query.finish()?;
    let window = Window {
        tenant_id,
        since,
        until,
    }
    .aligned(now);
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let counts = store::stats::counts(&mut conn, &window)
        .await
        .map_err(ApiError::from_store)?;
    let sides = store::stats::side_counts(&mut conn, &window)
        .await
        .map_err(ApiError::from_store)?;
    Ok(view(name, &window, now, &counts, &sides))
}

/// The window that is asked for. Problems are noted on the query.
fn window(
    query: &mut Query,
    now: DateTime<Utc>,
) -> (Option<&'static str>, DateTime<Utc>, DateTime<Utc>) {
    let named = query.parsed("window", "must be one of 1h, 24h, 7d and 30d", |text| {
        WINDOWS.into_iter().find(|(name, _)| *name == text)
    });
    let (since, until) = (query.time("since"), query.time("until"));
    if since.is_none() && until.is_none() {
        let default = || {
            WINDOWS
                .into_iter()
                .find(|(name, _)| *name == WINDOW_DEFAULT)
        };
        let (name, length) = named.or_else(default).unwrap_or(WINDOWS[0]);
        return (Some(name), now - length, now);
    }
    if named.is_some() {
        query.refuse("window", "goes without since and until");
    }
    let until = until.unwrap_or(now);
    let since = since.unwrap_or(until - TimeDelta::hours(24));
    if since >= until {
        query.refuse("since", "must be before until");
    } else if until - since > WINDOW_MAX {
        query.refuse("since", "is at most 400 days before until");
    }
    (None, since, until)
}

fn view(
    name: Option<&'static str>,
    window: &Window,
    now: DateTime<Utc>,
    counts: &[Count],
    sides: &[SideCount],
) -> StatsView {
    // A window that reaches into the future has not lasted longer than until now.
    let end = window.until.min(now);
    let seconds = ((end - window.since).num_milliseconds() as f64 / 1000.0).max(1.0);
    let mut all = CountsView::default();
    let mut by_channel: BTreeMap<_, _> = Channel::ALL
        .map(|channel| (channel.as_str(), CountsView::default()))
        .into();
    let mut by_priority: BTreeMap<_, _> = Priority::ALL
        .map(|priority| (priority.as_str(), CountsView::default()))
        .into();
    let mut notifications: BTreeMap<_, _> =
        Priority::ALL.map(|priority| (priority.as_str(), 0)).into();
    for count in counts {
        let priority = count.priority.as_str();
        let Some(channel) = count.channel else {
            *notifications.entry(priority).or_default() += count.count;
            continue;
        };
        all.add(count);
        by_channel.entry(channel.as_str()).or_default().add(count);
        by_priority.entry(priority).or_default().add(count);
    }
    let all = all.summed_up(seconds);
    let sum_up = |counts: BTreeMap<&'static str, CountsView>| {
        counts
            .into_iter()
            .map(|(word, counts)| (word, counts.summed_up(seconds)))
            .collect()
    };
    let count = notifications.values().sum();
    StatsView {
        window: name,
        since: Moment(window.since),
        until: Moment(window.until),
        notifications: NotificationsView {
            count,
            per_second: count as f64 / seconds,
            by_priority: notifications,
        },
        by_status: BTreeMap::from([
            ("open", all.open),
            ("sent", all.sent),
            ("delivered", all.delivered),
            ("failed", all.failed),
            ("cancelled", all.cancelled),
            ("suppressed", all.suppressed),
            ("expired", all.expired),
        ]),
        by_channel: sum_up(by_channel),
        by_priority: sum_up(by_priority),
        deliveries: all,
        variants: variants(sides, seconds),
    }
}

/// Sums up each side of each test, in the order of their rules.
fn variants(sides: &[SideCount], seconds: f64) -> Vec<VariantView> {
    let mut views: Vec<VariantView> = Vec::new();
    for side in sides {
        let rule_id = side.rule_id.to_string();
        let is_same = |view: &VariantView| {
            view.rule_id == rule_id && view.action == side.action && view.variant == side.variant
        };
        if !views.last().is_some_and(is_same) {
            views.push(VariantView {
                rule_id,
                action: side.action,
                variant: side.variant.clone(),
                notifications: 0,
                deliveries: CountsView::default(),
            });
        }
        if let Some(view) = views.last_mut() {
            match side.count.channel {
                None => view.notifications += side.count.count,
                Some(_) => view.deliveries.add(&side.count),
            }
        }
    }
    for view in &mut views {
        view.deliveries = std::mem::take(&mut view.deliveries).summed_up(seconds);
    }
    views
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-21T12:30:30Z".parse().unwrap()
    }

    fn asked(text: &str) -> Result<(Option<&'static str>, TimeDelta), ApiError> {
        let mut query = Query::parse(text);
        let (name, since, until) = window(&mut query, now());
        query.finish()?;
        Ok((name, until - since))
    }

    #[test]
    fn a_window_is_named_or_given_by_its_ends() {
        assert_eq!(asked(""), Ok((Some("24h"), TimeDelta::hours(24))));
        assert_eq!(asked("window=7d"), Ok((Some("7d"), TimeDelta::days(7))));
        assert_eq!(
            asked("since=2026-11-21T12:00:00Z"),
            Ok((None, TimeDelta::seconds(1830)))
        );
        assert_eq!(
            asked("until=2026-11-21T12:00:00Z"),
            Ok((None, TimeDelta::hours(24)))
        );
        for bad in [
            "window=2h",
            "since=2026-11-21T12:31:00Z",
            "window=1h&since=2026-11-21T12:00:00Z",
            "since=2020-01-01T00:00:00Z",
        ] {
            assert!(asked(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_follow_from_the_counts() {
        let count = |status, count| Count {
            channel: Some(Channel::Email),
            priority: Priority::High,
            status,
            count,
        };
        let window = Window {
            tenant_id: None,
            since: now() - TimeDelta::seconds(100),
            until: now(),
        };
        let counts = [
            count(None, 10),
            count(Some(Status::Sent), 3),
            count(Some(Status::Delivered), 3),
            count(Some(Status::Failed), 2),
        ];

        let side = |variant: &str, count: Count| SideCount {
            rule_id: uuid::Uuid::nil().into(),
            action: 0,
            variant: variant.to_owned(),
            count,
        };
        let planned = count(None, 4);
        let notifications = Count {
            channel: None,
            ..planned.clone()
        };
        let sides = [
            side("a", notifications),
            side("a", planned.clone()),
            side("a", count(Some(Status::Delivered), 1)),
            side("b", planned),
        ];

        let view = view(None, &window, now(), &counts, &sides);

        let email = &view.by_channel["email"];
        assert_eq!((email.open, email.success_rate), (2, Some(0.75)));
        assert!((email.per_second - 0.1).abs() < 1e-9);
        assert_eq!(view.by_status["open"], 2);
        assert_eq!(view.by_channel["sms"].success_rate, None);
        let [a, b] = &view.variants[..] else {
            panic!("{:?}", view.variants);
        };
        assert_eq!((a.notifications, a.deliveries.delivered), (4, 1));
        assert_eq!((b.notifications, b.deliveries.open), (0, 4));
    }
}
