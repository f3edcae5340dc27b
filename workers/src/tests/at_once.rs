//! In-app messages that arrive by the settlement that routes them, and those that do not.

use std::time::Duration;

use ::channels::Channels;
use chrono::TimeDelta;
use domain::{
    Action, Channel, EventId, Limit, LimitOf, Preferences, Rule, RuleBook, RuleId, Scope, Selector,
    Status, TenantId, UserId,
};
use queue::{Connection, JobId, NewJob, Outcome};
use serde_json::{Value, json};
use store::effect::NewNotification;
use store::events::{NewEvent, insert_events};
use store::notifications::insert_notifications;
use store::settlement::apply;
use store::templates::{NewTemplate, create_template};
use store::{Effect, Store, StoreOptions};
use testkit::TestDatabase;

use super::way::{self, run_to_the_end, send};
use super::{context, lease, now};
use crate::{Context, Route, at_once, queues, route};

struct Kit {
    _database: TestDatabase,
    store: Store,
    connection: Connection,
    cx: Context,
}

impl Kit {
    async fn new() -> Self {
        let database = TestDatabase::create().await;
        let options = StoreOptions::default();
        let store = Store::connect(database.url(), &options).await.unwrap();
        let mut connection = database.connection().await;
        store::partitions::ensure(&mut connection, now())
            .await
            .unwrap();
        let mut cx = context(Channels::new());
        cx.arrives_at_once = true;
        Self {
            _database: database,
            store,
            connection,
            cx,
        }
    }

    /// Stores an event of a filled order and answers its job.
    async fn ordered(&mut self, user: &str, payload: Value) -> Route {
        let mut event = NewEvent {
            id: EventId::at(now()),
            tenant_id: TenantId::default(),
            created_at: now(),
            occurred_at: None,
            event_id: user.to_owned(),
            producer: "trading".into(),
            kind: "ORDER_FILLED".into(),
            severity: None,
            dedupe_key: None,
            payload,
        };
        event.payload["user_id"] = user.into();
        insert_events(&mut self.connection, std::slice::from_ref(&event))
            .await
            .unwrap();
        Route::Event { event_id: event.id }
    }

    async fn sent(&mut self, sent: NewNotification) -> Route {
        insert_notifications(&mut self.connection, std::slice::from_ref(&sent))
            .await
            .unwrap();
        Route::Notification {
            notification_id: sent.id,
        }
    }

    /// Loads, routes and settles one job; answers the kinds of what follows.
    async fn routed(&mut self, job: Route) -> Vec<String> {
        let outcome = self.run(job).await;
        apply(&mut self.connection, &outcome.effects).await.unwrap();
        outcome.jobs.into_iter().map(|job| job.kind).collect()
    }

    async fn run(&self, job: Route) -> Outcome<Effect> {
        let loaded = at_once::load(&self.store, &self.cx, std::slice::from_ref(&job));
        let loaded = loaded.await.unwrap().remove(0);
        route::run(job, loaded.as_deref(), &self.cx, lease())
            .await
            .unwrap()
    }

    async fn statuses(&mut self) -> Vec<(String, String)> {
        sqlx::query_as("select channel, status from deliveries order by id, position")
            .fetch_all(&mut self.connection)
            .await
            .unwrap()
    }
}

fn filled() -> Value {
    json!({"symbol": "AAPL", "quantity": 3})
}

/// Names users, and tells them over `channels`.
fn tell(cx: &Context, users: impl Iterator<Item = String>, channels: Vec<Channel>) {
    let rule = Rule {
        id: RuleId::at(now()),
        version: 1,
        name: "Orders".into(),
        description: None,
        enabled: true,
        valid_from: None,
        valid_until: None,
        event_types: vec!["ORDER_FILLED".into()],
        domains: Vec::new(),
        conditions: Vec::new(),
        when: None,
        schedule: None,
        actions: vec![Action {
            channels: Some(channels),
            recipients: vec![Selector::Users(users.map(UserId::from).collect())],
            ..Action::default()
        }],
    };
    cx.catalog
        .keep_rules(TenantId::default(), RuleBook::compile(vec![rule], None));
}

/// All that is known of `user`'s message, but for ids and what it took.
async fn left_of(connection: &mut Connection, user: &str) -> Value {
    sqlx::query_scalar(
        "select jsonb_build_object(
             'notification', to_jsonb(notification) - array['id', 'event_id', 'user_id'],
             'delivery', to_jsonb(delivery) - array['id', 'notification_id', 'user_id'],
             'attempts', (
                 select jsonb_agg(to_jsonb(attempt) - array['delivery_id'])
                 from attempts as attempt
                 where attempt.delivery_id = delivery.id
             ),
             'inbox', (
                 select jsonb_agg(
                     to_jsonb(entry) - array['notification_id', 'delivery_id', 'user_id']
                 )
                 from inbox as entry
                 where entry.delivery_id = delivery.id
             ),
             'head', (
                 select to_jsonb(head) - array['user_id']
                 from inbox_heads as head
                 where head.user_id = notification.user_id
             ),
             'trace', (
                 select jsonb_agg(steps::jsonb #- '{0,detail,user_id}')
                 from traces
                 where subject_id = notification.id
             )
         )
         from notifications as notification
         join deliveries as delivery on delivery.notification_id = notification.id
         where notification.user_id = $1",
    )
    .bind(user)
    .fetch_one(connection)
    .await
    .unwrap()
}

#[tokio::test]
async fn what_arrives_at_once_leaves_what_three_jobs_would_have_left() {
    let mut kit = Kit::new().await;
    for user in ["ada", "bob"] {
        let said = json!({"locale": "ru", "timezone": "Europe/Moscow"});
        let said = Preferences::parse(said).unwrap();
        let (tenant, user) = (TenantId::default(), user.into());
        store::preferences::upsert_preferences(&mut kit.connection, &tenant, &user, &said, now())
            .await
            .unwrap();
    }
    let job = kit.ordered("ada", filled()).await;
    let none: [&str; 0] = [];
    assert_eq!(kit.routed(job).await, none);

    let job = kit.ordered("bob", filled()).await;
    let job = NewJob::new(JobId::at(now()), queues::ROUTE, &job);
    let ran = run_to_the_end(job, &mut kit.connection, &kit.cx).await;
    assert_eq!(ran, ["route", "render", "deliver"]);

    let at_once = left_of(&mut kit.connection, "ada").await;
    let step_by_step = left_of(&mut kit.connection, "bob").await;
    assert_eq!(at_once, step_by_step);
    assert_eq!(at_once["delivery"]["status"], "delivered");
    assert_eq!(at_once["notification"]["status"], "delivered");
    assert_eq!(at_once["inbox"][0]["seq"], 1);
    let counted: Vec<(String, String, i64)> = sqlx::query_as(
        "select channel, status, sum(count)::bigint from stats group by 1, 2 order by 1, 2",
    )
    .fetch_all(&mut kit.connection)
    .await
    .unwrap();
    let counted: Vec<_> = counted
        .iter()
        .filter(|(_, _, count)| *count != 0)
        .map(|(channel, status, count)| (channel.as_str(), status.as_str(), *count))
        .collect();
    assert!(counted.contains(&("in_app", "delivered", 2)), "{counted:?}");
    assert!(
        !counted.iter().any(|(_, status, _)| *status == "queued"),
        "{counted:?}"
    );
}

#[tokio::test]
async fn a_direct_send_arrives_at_once_unless_it_waits_or_is_a_test() {
    let mut kit = Kit::new().await;
    let none: [&str; 0] = [];

    let job = kit.sent(send(None)).await;
    assert_eq!(kit.routed(job).await, none);
    assert_eq!(
        kit.statuses().await,
        [("in_app".into(), "delivered".into())]
    );
    let status: String = sqlx::query_scalar("select status from notifications")
        .fetch_one(&mut kit.connection)
        .await
        .unwrap();
    assert_eq!(status, "delivered");

    let job = kit.sent(send(Some(now() + TimeDelta::hours(1)))).await;
    assert_eq!(kit.routed(job).await, ["render"]);
    let test = NewNotification {
        is_test: true,
        ..send(None)
    };
    let job = kit.sent(test).await;
    assert_eq!(kit.routed(job).await, ["render"]);
}

#[tokio::test]
async fn of_several_channels_the_feed_comes_at_once_and_the_notification_is_what_all_come_to() {
    let mut kit = Kit::new().await;
    let both = NewNotification {
        channels: Some(vec![Channel::Email, Channel::InApp]),
        data: Some(json!({"email": "ada@example.com"})),
        ..send(None)
    };
    let job = kit.sent(both).await;

    assert_eq!(kit.routed(job).await, ["render"]);

    assert_eq!(
        kit.statuses().await,
        [
            ("email".into(), "queued".into()),
            ("in_app".into(), "delivered".into())
        ]
    );
    let status: String = sqlx::query_scalar("select status from notifications")
        .fetch_one(&mut kit.connection)
        .await
        .unwrap();
    assert_eq!(
        status,
        Status::aggregate([Status::Queued, Status::Delivered]).as_str()
    );
}

#[tokio::test]
async fn while_a_queue_is_paused_nothing_goes_past_it() {
    for queue in at_once::SPARED {
        let mut kit = Kit::new().await;
        queue::control::pause(&mut kit.connection, queue, None)
            .await
            .unwrap();

        let job = kit.ordered("ada", filled()).await;

        assert_eq!(kit.routed(job).await, ["render"], "{queue}");
    }
}

#[tokio::test]
async fn what_does_not_render_fails_in_the_job_that_is_named_for_it() {
    let mut kit = Kit::new().await;
    let template = NewTemplate {
        name: "news".into(),
        description: None,
        category: None,
        channels: vec![Channel::InApp],
        locales: Vec::new(),
        tags: Vec::new(),
        enabled: true,
        body: json!({"name": "news", "channels": {"in_app": {"title": "{{ n }}", "message": "-"}}}),
        actor: "test".into(),
        at: now(),
    };
    let id = uuid::Uuid::from_u128(7);
    create_template(&mut kit.connection, &TenantId::default(), id, template)
        .await
        .unwrap();
    let news = NewNotification {
        template: Some("news".into()),
        content: None,
        ..send(None)
    };
    let job = kit.sent(news).await;
    let outcome = kit.run(job).await;
    apply(&mut kit.connection, &outcome.effects).await.unwrap();
    let [render] = &outcome.jobs[..] else {
        panic!("{:?}", outcome.jobs);
    };

    let rendered = way::run(render, &mut kit.connection, &kit.cx).await;

    assert_eq!(super::buried_as(&rendered), Some("permanent"));
}

#[tokio::test]
async fn what_finds_its_limit_full_waits_in_front_of_its_own_queue() {
    let mut kit = Kit::new().await;
    let limit = Limit {
        id: uuid::Uuid::from_u128(7),
        name: "one an hour".into(),
        scope: Scope::UserChannel,
        of: LimitOf {
            channel: Some(Channel::InApp),
            ..LimitOf::default()
        },
        max: 1,
        window: Duration::from_hours(1),
        when_unavailable: None,
        enabled: true,
        created_at: now(),
        updated_at: now(),
    };
    let tenant = TenantId::default();
    store::limits::lock_limits(&mut kit.connection, &tenant)
        .await
        .unwrap();
    store::limits::upsert_limit(&mut kit.connection, &tenant, &limit)
        .await
        .unwrap();

    let mut follow = Vec::new();
    for _ in 0..2 {
        let job = kit.sent(send(None)).await;
        follow.push(kit.routed(job).await);
    }

    assert_eq!(follow, [vec![], vec!["render".to_owned()]]);
}

#[tokio::test]
async fn of_many_messages_of_one_job_some_are_left_to_others() {
    let mut kit = Kit::new().await;
    tell(
        &kit.cx,
        (0..100).map(|n| format!("user{n}")),
        vec![Channel::InApp],
    );
    let job = kit.ordered("ada", filled()).await;

    let follow = kit.routed(job).await;

    assert_eq!(follow, vec!["render"; 36]);
    let statuses = kit.statuses().await;
    let delivered = statuses.iter().filter(|(_, status)| status == "delivered");
    assert_eq!((statuses.len(), delivered.count()), (100, 64));
}
