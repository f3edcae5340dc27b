//! A notification's whole way on a real database: load, handle, settle, and so on with what the
//! settlement enqueued. The queue is left out: each job is run once, in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ::channels::{Channels, Outgoing, Scripted, SendError};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{Channel, EventId, NotificationId, Priority, Status};
use queue::{Ending, Job, LeaseInfo, NewJob, Outcome};
use serde::Deserialize;
use serde_json::json;
use store::effect::NewNotification;
use store::events::{NewEvent, insert_events};
use store::notifications::insert_notifications;
use store::settlement::apply;
use store::{Connection, Effect, deliveries, inbox, notifications};
use testkit::TestDatabase;

use super::{context, lease, now};
use crate::{
    BatchFlush, Context, Deliver, QuietHours, Render, Retry, Route, batch_flush, deliver,
    quiet_hours, render, retry, route,
};

/// Loads and runs one job, whatever its kind.
pub(super) async fn run(
    job: &NewJob,
    connection: &mut Connection,
    cx: &Context,
) -> Outcome<Effect> {
    let lease = LeaseInfo {
        job_id: job.job_id,
        ..lease()
    };
    macro_rules! run_as {
        ($kind:ident, $module:ident) => {{
            let job = $kind::deserialize(&job.payload).unwrap();
            let loaded = $module::prepare(connection, cx, std::slice::from_ref(&job))
                .await
                .unwrap()
                .remove(0);
            let loaded = loaded.as_ref().map(std::borrow::Borrow::borrow);
            $module::run(job, loaded, cx, lease).await.unwrap()
        }};
    }
    match job.kind.as_str() {
        Route::KIND => run_as!(Route, route),
        Render::KIND => run_as!(Render, render),
        Deliver::KIND => run_as!(Deliver, deliver),
        Retry::KIND => run_as!(Retry, retry),
        QuietHours::KIND => run_as!(QuietHours, quiet_hours),
        BatchFlush::KIND => run_as!(BatchFlush, batch_flush),
        kind => panic!("unknown kind {kind}"),
    }
}

/// Runs `job` and all that follow from it, moving the clock to when each is due. Answers the kinds
/// in the order they ran.
pub(super) async fn run_to_the_end(
    job: NewJob,
    connection: &mut Connection,
    cx: &Context,
) -> Vec<String> {
    let mut ran = Vec::new();
    let mut jobs = VecDeque::from([job]);
    while let Some(job) = jobs.pop_front() {
        if let Some(wait) = job
            .run_at
            .and_then(|due| (due - cx.clock.now()).to_std().ok())
        {
            cx.clock.advance(wait);
        }
        let outcome = run(&job, connection, cx).await;
        assert_eq!(outcome.ending, Ending::Complete, "{}", job.kind);
        apply(connection, &outcome.effects).await.unwrap();
        jobs.extend(outcome.jobs);
        ran.push(job.kind);
    }
    ran
}

/// A direct send to `ada`'s feed.
pub(super) fn send(send_at: Option<DateTime<Utc>>) -> NewNotification {
    NewNotification {
        decided: store::effect::Decided::default(),
        id: NotificationId::at(now()),
        tenant_id: "default".into(),
        user_id: "ada".into(),
        event_id: None,
        created_at: now(),
        send_at,
        expires_at: None,
        kind: "notification".into(),
        category: None,
        priority: Priority::Normal,
        status: Status::Pending,
        template: None,
        locale: None,
        subject: None,
        content: Some("World".into()),
        channels: Some(vec![Channel::InApp]),
        data: None,
        delivery_count: 0,
        is_test: false,
        bypass_quiet_hours: false,
    }
}

#[tokio::test]
async fn an_event_reaches_the_feed_of_the_user_in_its_payload() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    let cx = context(Channels::new());
    let payload = json!({"user_id": "ada", "symbol": "AAPL", "quantity": 3});
    let event = NewEvent {
        id: EventId::at(now()),
        tenant_id: "default".into(),
        created_at: now(),
        occurred_at: None,
        event_id: "order-1".into(),
        producer: "trading".into(),
        kind: "ORDER_FILLED".into(),
        severity: None,
        dedupe_key: None,
        payload: payload.clone(),
    };
    store::partitions::ensure(&mut connection, now())
        .await
        .unwrap();
    insert_events(&mut connection, std::slice::from_ref(&event))
        .await
        .unwrap();

    let job = NewJob::new(
        queue::JobId::at(now()),
        "route",
        &Route::Event { event_id: event.id },
    );
    let ran = run_to_the_end(job, &mut connection, &cx).await;

    assert_eq!(ran, ["route", "render", "deliver"]);
    let (tenant, ada) = ("default".into(), "ada".into());
    let feed = inbox::feed_after(&mut connection, &tenant, &ada, 0, 10)
        .await
        .unwrap();
    assert_eq!(feed.len(), 1);
    assert_eq!(feed[0].seq, 1);
    assert_eq!(feed[0].title.as_deref(), Some("Order filled"));
    assert_eq!(feed[0].message, "Your order for 3 AAPL was filled.");
    assert_eq!(feed[0].data, Some(payload));
    let id = feed[0].notification_id;
    let stored = notifications::find_notification(&mut connection, &tenant, id)
        .await
        .unwrap();
    assert_eq!(stored.unwrap().status, Status::Delivered);
}

#[tokio::test]
async fn a_mail_that_is_refused_at_first_is_sent_after_the_wait() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    let refused = SendError::Transient {
        detail: "greylisted".into(),
    };
    let provider = Arc::new(Scripted::failing(1, refused));
    let cx = context(Channels::new().with(Channel::Email, Arc::<Scripted>::clone(&provider) as _));
    let sent = NewNotification {
        decided: store::effect::Decided::default(),
        id: NotificationId::at(now()),
        tenant_id: "default".into(),
        user_id: "ada".into(),
        event_id: None,
        created_at: now(),
        send_at: None,
        expires_at: Some(now() + TimeDelta::days(1)),
        kind: "notification".into(),
        category: None,
        priority: Priority::Normal,
        status: Status::Pending,
        template: None,
        locale: None,
        subject: Some("Hello".into()),
        content: Some("World".into()),
        channels: Some(vec![Channel::Email, Channel::Sms]),
        data: Some(json!({"email": "ada@example.com"})),
        delivery_count: 0,
        is_test: false,
        bypass_quiet_hours: false,
    };
    store::partitions::ensure(&mut connection, now())
        .await
        .unwrap();
    insert_notifications(&mut connection, std::slice::from_ref(&sent))
        .await
        .unwrap();

    let payload = Route::Notification {
        notification_id: sent.id,
    };
    let job = NewJob::new(queue::JobId::at(now()), "route", &payload);
    let ran = run_to_the_end(job, &mut connection, &cx).await;

    assert_eq!(ran, ["route", "render", "deliver", "retry", "deliver"]);
    let given = provider.given();
    assert_eq!(given.len(), 2);
    // The same message under the same key; only the attempt's own time has moved on.
    assert!(given[0].sent_at < given[1].sent_at);
    let repeat = Outgoing {
        sent_at: given[0].sent_at,
        ..given[1].clone()
    };
    assert_eq!(given[0], repeat);
    assert_eq!(given[1].address.as_deref(), Some("ada@example.com"));
    let deliveries = deliveries::list_deliveries(&mut connection, &[sent.id])
        .await
        .unwrap();
    let ends: Vec<_> = deliveries
        .iter()
        .map(|it| (it.channel, it.status, it.attempts))
        .collect();
    // Nobody knows a phone number of hers.
    assert_eq!(
        ends,
        [
            (Channel::Email, Status::Sent, 2),
            (Channel::Sms, Status::Failed, 0)
        ]
    );
    let tenant = "default".into();
    let stored = notifications::find_notification(&mut connection, &tenant, sent.id).await;
    assert_eq!(stored.unwrap().unwrap().status, Status::Sent);
}

#[tokio::test]
async fn what_a_user_does_not_want_ends_as_suppressed_and_the_trace_names_the_row() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    let cx = context(Channels::new());
    store::partitions::ensure(&mut connection, now())
        .await
        .unwrap();
    let (tenant, ada) = ("default".into(), "ada".into());
    let said = json!({"categories": {"trading": {"channels": ["email"]}}, "locale": "de"});
    let said = domain::Preferences::parse(said).unwrap();
    store::preferences::upsert_preferences(&mut connection, &tenant, &ada, &said, now())
        .await
        .unwrap();
    let event = NewEvent {
        id: EventId::at(now()),
        tenant_id: "default".into(),
        created_at: now(),
        occurred_at: None,
        event_id: "order-1".into(),
        producer: "trading".into(),
        kind: "ORDER_FILLED".into(),
        severity: None,
        dedupe_key: None,
        payload: json!({"user_id": "ada", "symbol": "AAPL", "quantity": 3}),
    };
    insert_events(&mut connection, std::slice::from_ref(&event))
        .await
        .unwrap();

    let job = Route::Event { event_id: event.id };
    let job = NewJob::new(queue::JobId::at(now()), "route", &job);
    let ran = run_to_the_end(job, &mut connection, &cx).await;

    assert_eq!(ran, ["route"]);
    let filter = store::history::HistoryFilter::default();
    let stored = store::history::list(&mut connection, &tenant, &filter, None, 10)
        .await
        .unwrap()
        .items
        .remove(0);
    assert_eq!(stored.status, Status::Suppressed);
    assert_eq!(stored.locale.as_deref(), Some("de"));
    let trace = store::traces::list_trace(&mut connection, stored.id)
        .await
        .unwrap();
    let step = &trace.last().unwrap().step;
    assert_eq!(step.decision, "suppressed");
    assert_eq!(step.detail["row"], "/categories/trading/channels");
}

#[tokio::test]
async fn what_the_user_turns_off_while_it_waits_for_its_send_at_is_not_sent() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    let cx = context(Channels::new());
    store::partitions::ensure(&mut connection, now())
        .await
        .unwrap();
    let (tenant, ada) = ("default".into(), "ada".into());
    let sends = [send(Some(now() + TimeDelta::days(1))), send(None)];
    insert_notifications(&mut connection, &sends).await.unwrap();
    let mut renders = Vec::new();
    for sent in &sends {
        let payload = Route::Notification {
            notification_id: sent.id,
        };
        let job = NewJob::new(queue::JobId::at(now()), "route", &payload);
        let outcome = run(&job, &mut connection, &cx).await;
        apply(&mut connection, &outcome.effects).await.unwrap();
        renders.extend(outcome.jobs);
    }

    let off = domain::Preferences::parse(json!({"enabled": false})).unwrap();
    store::preferences::upsert_preferences(&mut connection, &tenant, &ada, &off, now())
        .await
        .unwrap();
    // The one that waits last: its wait is a day.
    for job in renders.into_iter().rev() {
        run_to_the_end(job, &mut connection, &cx).await;
    }

    let mut ends = Vec::new();
    for sent in &sends {
        let stored = notifications::find_notification(&mut connection, &tenant, sent.id).await;
        ends.push(stored.unwrap().unwrap().status);
    }
    assert_eq!(ends, [Status::Suppressed, Status::Delivered]);
}

#[tokio::test]
async fn a_retry_at_three_in_the_morning_wakes_nobody_up() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    let busy = SendError::Throttled {
        retry_after: Some(Duration::from_hours(1)),
        detail: "come back later".into(),
    };
    let provider = Arc::new(Scripted::failing(1, busy));
    let cx = context(Channels::new().with(Channel::Sms, Arc::<Scripted>::clone(&provider) as _));
    store::partitions::ensure(&mut connection, now())
        .await
        .unwrap();
    // Two in the morning in Chicago, and not quiet before three.
    let (tenant, ada) = ("default".into(), "ada".into());
    let said = json!({"timezone": "America/Chicago",
                      "quiet_hours": {"enabled": true, "start": "02:59:59", "end": "07:30"}});
    let said = domain::Preferences::parse(said).unwrap();
    store::preferences::upsert_preferences(&mut connection, &tenant, &ada, &said, now())
        .await
        .unwrap();
    let sent = NewNotification {
        content: Some("World".into()),
        channels: Some(vec![Channel::Sms]),
        data: Some(json!({"phone": "+15551234567"})),
        ..send(None)
    };
    insert_notifications(&mut connection, std::slice::from_ref(&sent))
        .await
        .unwrap();

    let payload = Route::Notification {
        notification_id: sent.id,
    };
    let job = NewJob::new(queue::JobId::at(now()), "route", &payload);
    let ran = run_to_the_end(job, &mut connection, &cx).await;

    let expected = [
        "route",
        "render",
        "deliver",
        "retry",
        "deliver",
        "quiet_hours",
        "deliver",
    ];
    assert_eq!(ran, expected);
    let given: Vec<_> = provider.given().iter().map(|it| it.sent_at).collect();
    let morning = now() + TimeDelta::minutes(5 * 60 + 30);
    assert_eq!(given, [now(), morning]);
    let stored = notifications::find_notification(&mut connection, &tenant, sent.id).await;
    assert_eq!(stored.unwrap().unwrap().status, Status::Sent);
}
