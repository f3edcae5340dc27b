//! Months go by: partitions are there before they are needed and gone when nobody needs them.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, Months, TimeDelta, Utc};
use domain::{
    AttemptStatus, Channel, DeliveryId, EventId, NotificationId, Status, TenantId, TraceStep,
};
use postrider::config::Config;
use postrider::upkeep::Upkeep;
use queue::Clock;
use serde_json::json;
use store::effect::{Effect, InboxArrival, NewAttempt, NewDelivery, NewNotification, Stored};
use store::events::NewEvent;
use store::templates::{NewTemplate, TemplateRef, create_template, replace_template};
use store::{Store, StoreOptions};
use testkit::TestDatabase;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::front::notification;

/// Tables by month, each with the column whose id says which.
const TABLES: [(&str, &str); 6] = [
    ("events", "id"),
    ("notifications", "id"),
    ("deliveries", "id"),
    ("attempts", "delivery_id"),
    ("traces", "subject_id"),
    ("outbox", "delivery_id"),
];

/// Events go a month earlier than the rest.
const EVENTS_KEPT: TimeDelta = TimeDelta::days(60);
const OTHERS_KEPT: TimeDelta = TimeDelta::days(90);

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

struct Installation {
    store: Store,
    clock: Clock,
    upkeep: Upkeep,
    _database: TestDatabase,
}

/// The three rows of one submission.
#[derive(Debug, Clone, Copy)]
struct Made {
    event: EventId,
    notification: NotificationId,
    delivery: DeliveryId,
}

impl Installation {
    /// An installation whose clock stands at `now`.
    async fn at(now: DateTime<Utc>) -> Self {
        let database = TestDatabase::create().await;
        let store = Store::connect(database.url(), &StoreOptions::default())
            .await
            .unwrap();
        let clock = Clock::manual(now);
        let mut config = Config::default();
        config.retention.events = Some(EVENTS_KEPT.to_std().unwrap());
        let upkeep = Upkeep {
            store: store.clone(),
            catalog: workers::Catalog::new(render::Templates::builtin().unwrap()),
            clock: clock.clone(),
            keeping: config.keeping(),
            stopping: CancellationToken::new(),
        };
        upkeep.run_once().await.unwrap();
        Self {
            store,
            clock,
            upkeep,
            _database: database,
        }
    }

    async fn run(&self) {
        self.upkeep.run_once().await.unwrap();
    }

    /// Moves the clock to `moment`.
    fn come_to(&self, moment: DateTime<Utc>) {
        let ahead = (moment - self.clock.now()).to_std().unwrap();
        self.clock.advance(ahead);
    }

    /// An event now, the notification it leads to, and a mail that the outbox took.
    async fn make(&self) -> Made {
        let now = self.clock.now();
        let made = Made {
            event: EventId::at(now),
            notification: NotificationId::at(now),
            delivery: DeliveryId::at(now),
        };
        self.accept(made).await;
        self.route(made).await;
        made
    }

    async fn accept(&self, made: Made) {
        let now = self.clock.now();
        let tenant_id = TenantId::default();
        let event = NewEvent {
            id: made.event,
            created_at: now,
            occurred_at: None,
            tenant_id: tenant_id.clone(),
            event_id: made.event.to_string(),
            producer: String::new(),
            kind: "order.filled".to_owned(),
            severity: None,
            dedupe_key: None,
            payload: json!({}),
        };
        let mut tx = self.store.begin().await.unwrap();
        store::events::insert_events(&mut tx, &[event])
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    async fn route(&self, made: Made) {
        let now = self.clock.now();
        let tenant_id = TenantId::default();
        let effects = [
            Effect::NotificationPlanned(Box::new(NewNotification {
                decided: store::effect::Decided::default(),
                event_id: Some(made.event),
                created_at: now,
                ..notification(made.notification, "ada")
            })),
            Effect::DeliveryPlanned(Box::new(NewDelivery {
                id: made.delivery,
                notification_id: made.notification,
                tenant_id: tenant_id.clone(),
                user_id: "ada".into(),
                channel: Channel::Email,
                status: Status::Queued,
                position: 0,
                address: None,
                error: None,
                job_id: None,
                created_at: now,
            })),
            Effect::Attempted(NewAttempt {
                delivery_id: made.delivery,
                number: 1,
                provider: "outbox".to_owned(),
                status: AttemptStatus::Sent,
                error: None,
                provider_message_id: None,
                response: None,
                started_at: now,
                finished_at: now,
            }),
            Effect::OutboxStored(Stored {
                delivery_id: made.delivery,
                tenant_id,
                user_id: "ada".into(),
                channel: Channel::Email,
                at: now,
            }),
            Effect::Traced {
                subject_id: made.notification.as_uuid(),
                at: now,
                steps: vec![TraceStep::new("route", "planned", "a test wants it")],
            },
        ];
        let mut tx = self.store.begin().await.unwrap();
        store::settlement::apply(&mut tx, &effects).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// The ids that a table has.
    async fn ids(&self, table: &str, column: &str) -> BTreeSet<Uuid> {
        let statement = sqlx::AssertSqlSafe(format!("select {column} from {table}"));
        let ids: Vec<Uuid> = sqlx::query_scalar(statement)
            .fetch_all(self.store.pool())
            .await
            .unwrap();
        ids.into_iter().collect()
    }

    /// The months that a table has, such as `2030_01`.
    async fn months(&self, table: &str) -> BTreeSet<String> {
        let names: Vec<String> = sqlx::query_scalar(
            "select substring(relname from '.{7}$') from pg_inherits
             join pg_class on pg_class.oid = inhrelid
             where inhparent = $1::text::regclass",
        )
        .bind(table)
        .fetch_all(self.store.pool())
        .await
        .unwrap();
        names.into_iter().collect()
    }

    async fn job(&self, table: &str, payload: serde_json::Value) {
        let statement = match table {
            "jobs" => {
                "insert into queue.jobs (job_id, queue, kind, payload)
                 values (gen_random_uuid(), 'email', 'deliver', $1)"
            }
            _ => {
                "insert into queue.dead_letters
                     (job_id, enqueued_at, priority, lane, attempt, failures, max_attempts,
                      crashes, queue, kind, reason, payload, errors)
                 values (gen_random_uuid(), now(), 2, 0, 1, 1, 8, 0, 'email', 'deliver',
                         'permanent', $1, '[]')"
            }
        };
        sqlx::query(statement)
            .bind(payload)
            .execute(self.store.pool())
            .await
            .unwrap();
    }
}

/// Whether rows made at `made` are still kept at `now`: their month ends at most `kept` ago.
fn is_kept(made: DateTime<Utc>, kept: TimeDelta, now: DateTime<Utc>) -> bool {
    let first = made.date_naive().with_day(1).unwrap();
    let end = (first + Months::new(1))
        .and_time(chrono::NaiveTime::MIN)
        .and_utc();
    end + kept > now
}

#[tokio::test]
async fn as_months_pass_partitions_come_in_time_and_go_when_they_are_due() {
    let months = Installation::at(at("2030-01-10T00:00:00Z")).await;
    let mut made = Vec::new();
    // Every ten days, and the last and the first moment of every month.
    let mut moments: BTreeSet<_> = (0..21)
        .map(|step| at("2030-01-10T00:00:00Z") + TimeDelta::days(10 * step))
        .collect();
    for month in 1..7 {
        let first = at("2030-01-01T00:00:00Z") + Months::new(month);
        moments.extend([first - TimeDelta::milliseconds(1), first]);
    }

    for moment in moments {
        months.come_to(moment);
        made.push((moment, months.make().await));
        months.run().await;

        let kept = |age, id: fn(&Made) -> Uuid| -> BTreeSet<Uuid> {
            let kept = made.iter().filter(|(at, _)| is_kept(*at, age, moment));
            kept.map(|(_, made)| id(made)).collect()
        };
        for (table, column) in TABLES {
            let expected = match table {
                "events" => kept(EVENTS_KEPT, |made| made.event.as_uuid()),
                "notifications" | "traces" => kept(OTHERS_KEPT, |made| made.notification.as_uuid()),
                _ => kept(OTHERS_KEPT, |made| made.delivery.as_uuid()),
            };
            assert_eq!(
                months.ids(table, column).await,
                expected,
                "{table} {moment}"
            );
            let there = months.months(table).await;
            for ahead in 0..=2 {
                let name = (moment + Months::new(ahead)).format("%Y_%m").to_string();
                assert!(there.contains(&name), "{table} has no {name} at {moment}");
            }
        }
    }
    // Otherwise nothing was dropped.
    let events = months.ids("events", "id").await;
    assert!(
        events.len() * 2 < made.len(),
        "{} of {}",
        events.len(),
        made.len()
    );
}

#[tokio::test]
async fn a_month_is_kept_while_an_open_job_leads_into_it() {
    is_kept_for("jobs").await;
}

#[tokio::test]
async fn a_month_is_kept_while_a_dead_letter_leads_into_it() {
    is_kept_for("dead_letters").await;
}

async fn is_kept_for(table: &str) {
    let months = Installation::at(at("2030-01-20T00:00:00Z")).await;
    let mut of_month = Vec::new();
    for month in 0..5 {
        months.come_to(at("2030-01-20T00:00:00Z") + Months::new(month));
        let made = months.make().await;
        if month == 0 {
            months.job(table, json!({"event_id": made.event})).await;
        }
        of_month.push(made);
        months.run().await;
    }
    // A delivery of May for a notification of February, which an event of January led to: the
    // workers had been away.
    let late = Made {
        event: of_month[0].event,
        notification: NotificationId::from(sibling(of_month[1].notification.as_uuid())),
        delivery: DeliveryId::at(months.clock.now()),
    };
    months.route(late).await;
    sqlx::raw_sql("delete from queue.jobs; delete from queue.dead_letters")
        .execute(months.store.pool())
        .await
        .unwrap();
    months
        .job(table, json!({"delivery_id": late.delivery}))
        .await;

    months.come_to(at("2030-12-15T00:00:00Z"));
    months.run().await;
    for (name, _) in TABLES {
        let there = months.months(name).await;
        let past: Vec<_> = there
            .iter()
            .filter(|month| *month < &"2030_11".to_owned())
            .collect();
        // February's events had their time before the late delivery was planned.
        let expected: &[&str] = match name {
            "events" => &["2030_01", "2030_05"],
            _ => &["2030_01", "2030_02", "2030_05"],
        };
        assert_eq!(past, expected, "{table} {name}");
    }

    sqlx::raw_sql("delete from queue.jobs; delete from queue.dead_letters")
        .execute(months.store.pool())
        .await
        .unwrap();
    months.run().await;
    for (name, _) in TABLES {
        let there = months.months(name).await;
        assert_eq!(there.first().unwrap(), "2030_11", "{table} {name}");
    }
}

/// Another id of the same moment.
fn sibling(id: Uuid) -> Uuid {
    Uuid::from_u128(id.as_u128() ^ 1)
}

#[tokio::test]
async fn a_month_in_use_is_dropped_another_time_and_keeps_nobody_waiting() {
    let months = Installation::at(at("2030-01-20T00:00:00Z")).await;
    months.make().await;
    months.come_to(at("2030-09-15T00:00:00Z"));
    let mut reader = months.store.begin().await.unwrap();
    sqlx::query("select from notifications")
        .execute(&mut *reader)
        .await
        .unwrap();

    // Ends, though the reader does not.
    months.run().await;
    assert!(months.months("notifications").await.contains("2030_01"));
    assert!(!months.months("events").await.contains("2030_01"));
    // And nothing is left that others would have to wait for.
    sqlx::query("select from notifications")
        .execute(months.store.pool())
        .await
        .unwrap();

    reader.rollback().await.unwrap();
    months.run().await;
    assert!(!months.months("notifications").await.contains("2030_01"));
}

#[tokio::test]
async fn a_month_that_was_taken_off_before_a_crash_is_dropped_afterwards() {
    let months = Installation::at(at("2030-01-20T00:00:00Z")).await;
    months.make().await;
    months.come_to(at("2030-09-15T00:00:00Z"));
    sqlx::query("alter table notifications detach partition notifications_2030_01")
        .execute(months.store.pool())
        .await
        .unwrap();

    months.run().await;

    let is_there: bool =
        sqlx::query_scalar("select to_regclass('notifications_2030_01') is not null")
            .fetch_one(months.store.pool())
            .await
            .unwrap();
    assert!(!is_there);
}

#[tokio::test]
async fn one_process_at_a_time_looks_after_the_tables() {
    let months = Installation::at(at("2030-01-20T00:00:00Z")).await;
    months.come_to(at("2030-09-15T00:00:00Z"));
    let mut other = months.store.begin().await.unwrap();
    assert!(store::retention::try_lock(&mut other).await.unwrap());

    months.run().await;
    assert!(months.months("events").await.contains("2030_01"));

    other.commit().await.unwrap();
    months.run().await;
    assert!(!months.months("events").await.contains("2030_01"));
}

#[tokio::test]
async fn a_feed_whose_oldest_deliveries_are_gone_goes_on_with_the_rest() {
    let months = Installation::at(at("2030-01-20T00:00:00Z")).await;
    for moment in ["2030-01-21T00:00:00Z", "2030-02-21T00:00:00Z"] {
        months.come_to(at(moment));
        let made = months.make().await;
        let arrival = Effect::InboxArrived(InboxArrival {
            delivery_id: made.delivery,
            notification_id: made.notification,
            tenant_id: TenantId::default(),
            user_id: "ada".into(),
            attempt: 2,
            started_at: months.clock.now(),
            at: months.clock.now(),
            is_sole: true,
        });
        let mut tx = months.store.begin().await.unwrap();
        store::settlement::apply(&mut tx, [&arrival]).await.unwrap();
        tx.commit().await.unwrap();
    }
    sqlx::raw_sql("drop table deliveries_2030_01; drop table notifications_2030_01")
        .execute(months.store.pool())
        .await
        .unwrap();

    let mut conn = months.store.acquire().await.unwrap();
    let tenant = TenantId::default();
    let feed = store::inbox::feed_after(&mut conn, &tenant, &"ada".into(), 0, 1)
        .await
        .unwrap();
    assert_eq!(feed.iter().map(|item| item.seq).collect::<Vec<_>>(), [2]);
    drop(conn);

    // Entries go on their own day, and what was unread of them is not counted any more.
    months.come_to(at("2030-03-01T00:00:00Z"));
    months.run().await;
    let mut conn = months.store.acquire().await.unwrap();
    let head = store::inbox::head(&mut conn, &tenant, &"ada".into())
        .await
        .unwrap();
    assert_eq!((head.seq, head.unread), (2, 1));
}

#[tokio::test]
async fn what_has_a_day_of_its_own_goes_on_that_day() {
    let months = Installation::at(at("2030-01-20T00:00:00Z")).await;
    sqlx::raw_sql(
        "insert into event_keys values ('default', '', 'young', gen_random_uuid(), '2030-05-01Z'),
                                       ('default', '', 'old', gen_random_uuid(), '2030-02-01Z');
         insert into dedupe_keys values ('default', 't', 'young', gen_random_uuid(), '2030-05-01Z'),
                                        ('default', 't', 'old', gen_random_uuid(), '2030-02-01Z');
         insert into idempotency_keys values ('default', 'young', '', '2030-05-01Z', 200, ''),
                                             ('default', 'old', '', '2030-02-01Z', 200, '');
         insert into replays (replay_id, died_before, matched, actor, state, finished_at, filter)
         select gen_random_uuid(), now(), 1, 'cli:ada', state, finished_at, '{}'
         from (values ('done', '2029-12-01Z'::timestamptz), ('cancelled', '2029-12-01Z'),
                      ('failed', '2029-12-01Z'), ('done', '2030-04-01Z'), ('running', null))
             as replay (state, finished_at);
         insert into replay_items select replay_id, gen_random_uuid(), now(), 'replayed'
         from replays, generate_series(1, 3);
         insert into stats values ('2028-01-01Z', 1, 0, 'default', 'sms', 'high', 'planned'),
                                  ('2030-04-14Z', 1, 0, 'default', 'sms', 'high', 'planned')",
    )
    .execute(months.store.pool())
    .await
    .unwrap();

    months.come_to(at("2030-04-15T00:00:00Z"));
    months.run().await;

    let count = async |table: &str| -> i64 {
        let statement = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
        sqlx::query_scalar(statement)
            .fetch_one(months.store.pool())
            .await
            .unwrap()
    };
    for table in ["event_keys", "dedupe_keys", "idempotency_keys", "stats"] {
        assert_eq!(count(table).await, 1, "{table}");
    }
    assert_eq!(
        (count("replays").await, count("replay_items").await),
        (3, 9)
    );
    // One that failed can be made to go on, so it stays like one that runs.
    assert_eq!(
        count("replays where state in ('running', 'failed')").await,
        2
    );
}

#[tokio::test]
async fn versions_of_templates_stay_as_long_as_a_send_may_need_them() {
    let start = at("2026-01-10T00:00:00Z");
    let house = Installation::at(start).await;
    let write = async |text: &str, is_first: bool| {
        let mut tx = house.store.begin().await.unwrap();
        let tenant = TenantId::default();
        let new = NewTemplate {
            name: "news".into(),
            description: None,
            category: None,
            channels: vec![Channel::Sms],
            locales: vec![],
            tags: vec![],
            enabled: true,
            body: json!({"name": "news", "channels": {"sms": {"body": text}}}),
            actor: "key:pr_x".into(),
            at: house.clock.now(),
        };
        if is_first {
            let made = create_template(&mut tx, &tenant, Uuid::now_v7(), new).await;
            made.unwrap();
        } else {
            let by = TemplateRef::parse("news");
            let stored = replace_template(&mut tx, &tenant, &by, new).await;
            stored.unwrap().unwrap();
        }
        tx.commit().await.unwrap();
    };
    let versions = async || {
        let count = sqlx::query_scalar("select count(*) from template_versions");
        let count: i64 = count.fetch_one(house.store.pool()).await.unwrap();
        count
    };
    write("one", true).await;
    house.come_to(start + TimeDelta::days(400));
    house.run().await;
    assert_eq!(versions().await, 1);
    write("two", false).await;

    // The first version may be pinned by a send that was accepted just before the second.
    house.come_to(start + TimeDelta::days(400) + OTHERS_KEPT * 2 - TimeDelta::hours(1));
    house.run().await;
    assert_eq!(versions().await, 2);
    house.come_to(start + TimeDelta::days(400) + OTHERS_KEPT * 2 + TimeDelta::hours(1));
    house.run().await;
    assert_eq!(versions().await, 1);
}

/// The last link of a chain may have died: buried, or lost with a dump of yesterday.
#[tokio::test]
async fn a_schedule_that_has_no_link_any_more_is_begun_again() {
    let months = Installation::at(at("2030-01-20T00:30:00Z")).await;
    let mut tx = months.store.begin().await.unwrap();
    let body = serde_json::json!({"name": "nightly", "schedule": "0 3 * * *",
                                  "timezone": "Europe/Berlin", "recipients": ["ada"]});
    let rule = store::rules::NewRule {
        rule_id: domain::RuleId::at(months.clock.now()),
        name: "nightly".to_owned(),
        enabled: true,
        body,
    };
    store::rules::create_rule(&mut tx, &TenantId::default(), rule, months.clock.now())
        .await
        .unwrap();
    tx.commit().await.unwrap();

    for _ in 0..2 {
        months.run().await;
        let links: Vec<DateTime<Utc>> =
            sqlx::query_scalar("select run_at from queue.jobs where kind = 'schedule'")
                .fetch_all(months.store.pool())
                .await
                .unwrap();
        assert_eq!(links, [at("2030-01-20T02:00:00Z")], "one, however often");
    }
}
