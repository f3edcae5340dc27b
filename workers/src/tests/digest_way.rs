//! The way of digests on a real database, where every step dies once before its commit.
#![allow(
    clippy::disallowed_methods,
    reason = "the tables are asked what no crate reads like this"
)]

use std::collections::VecDeque;

use ::channels::Channels;
use chrono::TimeDelta;
use domain::{Action, Batch, Channel, EventId, Rule, RuleBook, RuleId, Status, TenantId};
use queue::{JobId, NewJob};
use serde_json::{Value, json};
use sqlx::Connection as _;
use store::digests::{DigestStatus, list_digests, list_to_tell};
use store::effect::Effect;
use store::events::{NewEvent, insert_events};
use store::settlement::apply;
use store::{Connection, inbox};
use testkit::TestDatabase;

use super::way::run;
use super::{context, now};
use crate::{BatchFlush, Context, Route, Subject, cancel, ledger, queues};

/// Gathers events of type `trade` by account, for a minute or until there are three.
fn gathering(cx: &Context) {
    let rule = Rule {
        id: RuleId::at(now()),
        version: 1,
        name: "Trades".into(),
        description: None,
        enabled: true,
        valid_from: None,
        valid_until: None,
        event_types: vec!["trade".into()],
        domains: Vec::new(),
        conditions: Vec::new(),
        when: None,
        schedule: None,
        actions: vec![Action {
            channels: Some(vec![Channel::InApp]),
            batch: Some(Batch {
                window: std::time::Duration::from_mins(1),
                size: Some(3),
                key: Some("event.data.account.id".into()),
            }),
            ..Action::default()
        }],
    };
    let book = RuleBook::compile(vec![rule], None);
    cx.catalog.keep_rules(TenantId::default(), book);
}

/// Stores an event and answers its `route` job.
async fn trade(connection: &mut Connection, account: &str, n: u64) -> NewJob {
    let id = EventId::at(now());
    let event = NewEvent {
        id,
        tenant_id: TenantId::default(),
        created_at: now(),
        occurred_at: None,
        event_id: id.to_string(),
        producer: String::new(),
        kind: "trade".into(),
        severity: None,
        dedupe_key: None,
        payload: json!({"user_id": "ada", "n": n, "account": {"id": account}}),
    };
    insert_events(connection, [&event]).await.unwrap();
    NewJob::new(
        JobId::at(now()),
        queues::ROUTE,
        &Route::Event { event_id: id },
    )
}

/// Runs a job and settles it, as the settler does; the first time the process dies before the
/// commit. Answers what follows.
pub(super) async fn settled(
    job: &NewJob,
    connection: &mut Connection,
    cx: &Context,
) -> Vec<NewJob> {
    for dies in [true, false] {
        let outcome = run(job, connection, cx).await;
        let mut tx = connection.begin().await.unwrap();
        let applied = apply(&mut tx, &outcome.effects).await.unwrap();
        if dies {
            tx.rollback().await.unwrap();
            continue;
        }
        tx.commit().await.unwrap();
        let mut next = outcome.jobs;
        next.extend(ledger::follow_ups(&applied, cx.clock.now()));
        return next;
    }
    Vec::new()
}

/// Runs jobs and all that follow, the clock moving to when each is due. Answers their kinds.
async fn run_all(jobs: Vec<NewJob>, connection: &mut Connection, cx: &Context) -> Vec<String> {
    let mut ran = Vec::new();
    let mut waiting = VecDeque::from(jobs);
    while let Some(place) = next_due(&waiting) {
        let job = waiting.remove(place).unwrap();
        let wait = job.run_at.map(|due| due - cx.clock.now());
        if let Some(wait) = wait.and_then(|wait| wait.to_std().ok()) {
            cx.clock.advance(wait);
        }
        waiting.extend(settled(&job, connection, cx).await);
        ran.push(job.kind);
    }
    ran
}

fn next_due(waiting: &VecDeque<NewJob>) -> Option<usize> {
    let due = waiting.iter().enumerate();
    due.min_by_key(|(place, job)| (job.run_at, *place))
        .map(|(place, _)| place)
}

/// What reached `ada`, and in how many parts: the last event of each and the count of its items.
async fn reached(connection: &mut Connection) -> Vec<(Value, i64)> {
    let (tenant, ada) = (TenantId::default(), "ada".into());
    let feed = inbox::feed_after(connection, &tenant, &ada, 0, 100)
        .await
        .unwrap();
    let mut reached = Vec::new();
    for entry in feed {
        let count = sqlx::query_scalar(
            "select count(*) from notifications as notification
             join digest_items as item on item.digest_id = notification.digest_id
             where notification.id = $1",
        )
        .bind(entry.notification_id.as_uuid())
        .fetch_one(&mut *connection)
        .await
        .unwrap();
        reached.push((entry.data.unwrap()["n"].clone(), count));
    }
    reached
}

async fn prepared() -> (TestDatabase, sqlx::PgConnection, Context) {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    store::partitions::ensure(&mut connection, now())
        .await
        .unwrap();
    let cx = context(Channels::new());
    gathering(&cx);
    (database, connection, cx)
}

#[tokio::test]
async fn events_of_two_accounts_are_two_messages_at_the_end_of_the_window() {
    let (_database, mut connection, cx) = prepared().await;
    let mut jobs = Vec::new();
    for (account, n) in [("eu/1", 1), ("1/eu", 2), ("eu/1", 3), ("1/eu", 4)] {
        jobs.push(trade(&mut connection, account, n).await);
    }

    let ran = run_all(jobs, &mut connection, &cx).await;

    let count = |kind| ran.iter().filter(|ran| *ran == kind).count();
    // Four events, and two digests that are told.
    assert_eq!((count("route"), count("batch_flush")), (4 + 2, 2));
    assert_eq!((count("render"), count("deliver")), (2, 2));
    assert_eq!(cx.clock.now(), now() + TimeDelta::minutes(1));
    let mut reached = reached(&mut connection).await;
    reached.sort_by_key(|(n, _)| n.as_u64());
    assert_eq!(reached, [(json!(3), 2), (json!(4), 2)]);
}

#[tokio::test]
async fn a_digest_that_its_size_has_closed_is_told_at_once_and_not_at_the_end_of_its_window() {
    let (_database, mut connection, cx) = prepared().await;
    let mut jobs = Vec::new();
    for n in 1..=4 {
        jobs.push(trade(&mut connection, "eu/1", n).await);
    }

    let ran = run_all(jobs, &mut connection, &cx).await;

    // The fourth event is alone in the next one; the end of each window is looked at.
    assert_eq!(ran.iter().filter(|ran| *ran == "batch_flush").count(), 2);
    assert_eq!(
        reached(&mut connection).await,
        [(json!(3), 3), (json!(4), 1)]
    );
}

#[tokio::test]
async fn a_digest_whose_job_an_operator_cancels_is_taken_back_with_what_it_holds() {
    let (_database, mut connection, cx) = prepared().await;
    let first = trade(&mut connection, "eu/1", 1).await;
    let flush = settled(&first, &mut connection, &cx).await.remove(0);
    queue::enqueue(&mut connection, [&flush], None)
        .await
        .unwrap();

    cancel(&mut connection, flush.job_id, cx.clock.now())
        .await
        .unwrap();

    let Some(Subject::Digest(id)) = Subject::of(&flush.kind, &flush.payload) else {
        panic!("{flush:?}")
    };
    let digests = list_digests(&mut connection, &[id]).await.unwrap();
    assert_eq!(digests[0].status, DigestStatus::Cancelled);
    let late = NewJob::new(
        JobId::at(now()),
        queues::BATCH_FLUSH,
        &BatchFlush { digest_id: id },
    );
    assert_eq!(settled(&late, &mut connection, &cx).await, []);
    let next = trade(&mut connection, "eu/1", 2).await;
    run_all(vec![next], &mut connection, &cx).await;
    assert_eq!(reached(&mut connection).await, [(json!(2), 1)]);
}

/// The window of a notification that is told in a digest ends for each of its own deliveries.
#[tokio::test]
async fn what_quiet_hours_gather_is_told_once_and_what_was_taken_back_is_not() {
    let (_database, mut connection, cx) = prepared().await;
    let wishes = json!({
        "quiet_hours": {"enabled": true, "start": quiet(-1), "end": quiet(1), "timezone": "UTC",
                        "channels": ["in_app"]},
        "categories": {"news": {"enabled": true, "quiet_hours": "digest"}},
    });
    sqlx::query("insert into preferences (tenant_id, user_id, body) values ('default', 'ada', $1)")
        .bind(wishes)
        .execute(&mut connection)
        .await
        .unwrap();
    let mut jobs = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let mut sent = super::way::send(None);
        sent.category = Some("news".into());
        ids.push(sent.id);
        let notification_id = sent.id;
        store::notifications::insert_notifications(&mut connection, [&sent])
            .await
            .unwrap();
        let job = Route::Notification { notification_id };
        let job = NewJob::new(JobId::at(now()), queues::ROUTE, &job);
        jobs.extend(settled(&job, &mut connection, &cx).await);
    }
    assert_eq!(
        jobs.len(),
        1,
        "one digest was opened, and nothing else: {jobs:?}"
    );
    let taken_back = crate::withdraw(&mut connection, &TenantId::default(), ids[1], now())
        .await
        .unwrap();
    assert_eq!(taken_back, crate::Withdrawn::Done);

    let ran = run_all(jobs, &mut connection, &cx).await;

    assert_eq!(ran, ["batch_flush", "route", "render", "deliver"]);
    let (tenant, ada) = (TenantId::default(), "ada".into());
    let feed = inbox::feed_after(&mut connection, &tenant, &ada, 0, 100)
        .await
        .unwrap();
    assert_eq!(feed.len(), 1);
    let mut statuses = Vec::new();
    for id in ids {
        let found = store::notifications::find_notification(&mut connection, &tenant, id)
            .await
            .unwrap();
        statuses.push(found.unwrap().status);
    }
    let told = Status::Suppressed;
    assert_eq!(statuses, [told, Status::Cancelled, told]);
    let digest = sqlx::query_scalar("select digest_id from digests")
        .fetch_one(&mut connection)
        .await
        .map(|id: uuid::Uuid| id.into())
        .unwrap();
    let to_tell = list_to_tell(&mut connection, &[digest]).await.unwrap();
    assert_eq!(to_tell[0].count, 2);
}

/// The wall time so many hours from now.
fn quiet(hours: i64) -> String {
    (now() + TimeDelta::hours(hours))
        .format("%H:%M")
        .to_string()
}

#[tokio::test]
async fn an_effect_of_a_digest_alone_is_settled_too() {
    let (_database, mut connection, cx) = prepared().await;
    let job = trade(&mut connection, "eu/1", 1).await;
    let outcome = run(&job, &mut connection, &cx).await;
    let joins = outcome
        .effects
        .into_iter()
        .filter(|effect| matches!(effect, Effect::DigestJoined(_)));

    let applied = apply(&mut connection, &joins.collect::<Vec<_>>())
        .await
        .unwrap();

    assert_eq!(applied.opened.len(), 1);
}
