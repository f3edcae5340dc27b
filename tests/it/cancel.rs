//! A notification is taken back before it goes out, waits for its moment, or comes too late.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::Role;
use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::eventually;
use workers::{Providers, WorkerLimits};

use crate::SOON;
use crate::front::{ADMIN_KEY, Front, token};
use crate::house::{House, RETRIES, work};

fn mail(more: Value) -> Value {
    let mut body = json!({"user_id": "u1", "channels": ["email"], "content": "Moin",
                          "data": {"email": "ada@example.com"}});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn in_an_hour() -> DateTime<Utc> {
    Utc::now() + TimeDelta::hours(1)
}

fn cancel(id: &str) -> String {
    format!("/v1/notifications/{id}/cancel")
}

async fn execute(front: &Front, statement: &'static str) {
    sqlx::raw_sql(statement)
        .execute(front.store.pool())
        .await
        .unwrap();
}

fn outbox() -> Providers {
    Providers {
        has_outbox: true,
        ..Providers::default()
    }
}

/// Waits until a notification's delivery waits for its moment, or in its queue.
async fn is_planned(house: &House, id: &str) {
    house.comes_to(id, "queued").await;
    eventually(SOON, async || {
        let waiting = "select count(*) from queue.jobs where state = 'available'";
        let waiting: i64 = sqlx::query_scalar(waiting)
            .fetch_one(house.front.store.pool())
            .await
            .unwrap();
        waiting > 0
    })
    .await;
}

#[tokio::test]
async fn what_is_cancelled_before_its_moment_leaves_nothing_behind() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let id = house.send(mail(json!({"send_at": in_an_hour()}))).await;
    is_planned(&house, &id).await;

    let cancelled = front.post(&cancel(&id), json!({})).await.expect(200);

    assert_eq!(cancelled["id"], json!(id));
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(cancelled["deliveries"][0]["status"], "cancelled");
    assert_eq!(front.count("queue.jobs").await, 0);
    let again = front.post(&cancel(&id), json!({})).await.expect(200);
    assert_eq!(again, cancelled, "a repeat changes nothing");
    let trace = front
        .get(&format!("/v1/notifications/{id}/trace"))
        .await
        .expect(200);
    let last = trace.as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&last["step"], &last["decision"]),
        (&json!("cancel"), &json!("cancelled"))
    );
    let audited: (String, String) = sqlx::query_as("select action, subject from audit")
        .fetch_one(front.store.pool())
        .await
        .unwrap();
    assert_eq!(audited, ("notification.cancelled".to_owned(), id));
}

#[tokio::test]
async fn what_was_not_even_routed_is_cancelled_with_its_job() {
    let front = Front::start().await;
    let sent = front
        .post("/v1/notifications", mail(json!({})))
        .await
        .expect(202);
    let id = sent["id"].as_str().unwrap();

    let cancelled = front.post(&cancel(id), json!({})).await.expect(200);

    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(cancelled["deliveries"], json!([]));
    assert_eq!(front.count("queue.jobs").await, 0);
}

/// The job that routes it may be running just then; that is not yet sending.
#[tokio::test]
async fn what_is_for_later_can_be_taken_back_the_moment_it_was_sent() {
    let house = House::with_outbox().await;
    for round in 0..40 {
        let id = house.send(mail(json!({"send_at": in_an_hour()}))).await;

        let answer = house.front.post(&cancel(&id), json!({})).await;

        assert_eq!(answer.expect(200)["status"], "cancelled", "round {round}");
    }
    assert_eq!(house.front.count("queue.jobs").await, 0);
}

#[tokio::test]
async fn once_sent_it_is_too_late() {
    let house = House::with_outbox().await;
    let id = house.send(mail(json!({}))).await;
    let sent = house.comes_to(&id, "sent").await;

    let refused = house.front.post(&cancel(&id), json!({})).await;

    refused.expect_problem(409);
    assert_eq!(refused.json()["type"], "urn:postrider:problem:conflict");
    let path = format!("/v1/notifications/{id}");
    assert_eq!(house.front.get(&path).await.expect(200), sent);
}

/// A job that runs may be handing its message over at this moment.
#[tokio::test]
async fn while_it_is_sending_nothing_is_changed() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let body = mail(json!({"send_at": in_an_hour(), "channels": ["email", "in_app"]}));
    let id = house.send(body).await;
    is_planned(&house, &id).await;
    // One of its two jobs is claimed by somebody.
    execute(
        front,
        "insert into queue.workers (epoch, locked, pid, node, queues)
         values ('00000000-0000-7000-8000-000000000001', true, 1, 'else', '{}');
         update queue.jobs set state = 'running', attempt = 1, claimed_at = now(),
                epoch = '00000000-0000-7000-8000-000000000001'
         where job_id = (select job_id from queue.jobs order by job_id limit 1)",
    )
    .await;

    let shown = front
        .get(&format!("/v1/notifications/{id}"))
        .await
        .expect(200);
    let refused = front.post(&cancel(&id), json!({})).await;

    let statuses = shown["deliveries"].as_array().unwrap().iter();
    assert!(
        statuses
            .clone()
            .any(|delivery| delivery["status"] == "sending")
    );
    refused.expect_problem(409);
    assert_eq!(front.count("queue.jobs").await, 2);
    let open = "deliveries where status = 'queued'";
    assert_eq!(front.count(open).await, 2);
    assert_eq!(front.count("audit").await, 0);
}

#[tokio::test]
async fn what_still_waits_beside_what_was_sent_is_cancelled() {
    let house = House::with_outbox().await;
    let front = &house.front;
    front
        .post("/v1/admin/queues/email/pause", json!({}))
        .await
        .expect(200);
    let id = house
        .send(mail(json!({"channels": ["in_app", "email"]})))
        .await;
    eventually(SOON, async || {
        let arrived = front.count("deliveries where status = 'delivered'").await;
        let waits = front
            .count("queue.jobs where queue = 'email' and state = 'available'")
            .await;
        (arrived, waits) == (1, 1)
    })
    .await;

    let cancelled = front.post(&cancel(&id), json!({})).await.expect(200);

    assert_eq!(cancelled["status"], "delivered");
    let mut ends: Vec<String> = cancelled["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|delivery| format!("{} {}", delivery["channel"], delivery["status"]))
        .collect();
    ends.sort();
    assert_eq!(
        ends,
        ["\"email\" \"cancelled\"", "\"in_app\" \"delivered\""]
    );
    front
        .post(&cancel(&id), json!({}))
        .await
        .expect_problem(409);
}

#[tokio::test]
async fn what_failed_or_expired_has_nothing_left_to_cancel() {
    let house = House::start(Providers::default()).await;
    let failed = house.send(mail(json!({}))).await;
    house.comes_to(&failed, "failed").await;
    house
        .front
        .post(&cancel(&failed), json!({}))
        .await
        .expect_problem(409);

    let front = &house.front;
    front
        .post("/v1/admin/queues/render/pause", json!({}))
        .await
        .expect(200);
    let expired = house.send(mail(json!({"expires_at": in_an_hour()}))).await;
    is_planned(&house, &expired).await;
    execute(front, "update notifications set expires_at = now()").await;
    front
        .post("/v1/admin/queues/render/resume", json!({}))
        .await
        .expect(200);
    house.comes_to(&expired, "expired").await;
    house
        .front
        .post(&cancel(&expired), json!({}))
        .await
        .expect_problem(409);
    // Nobody's failure, so nobody's dead letter.
    assert_eq!(house.front.count("queue.dead_letters").await, 1);
}

#[tokio::test]
async fn only_who_may_send_may_take_back() {
    let front = Front::start().await;
    let sent = front
        .post("/v1/notifications", mail(json!({})))
        .await
        .expect(202);
    let path = cancel(sent["id"].as_str().unwrap());
    front
        .create_key("pr_reader", "default", &[Role::Read])
        .await;
    front.create_key("pr_other", "other", &[Role::Admin]).await;
    front
        .create_key("pr_sender", "default", &[Role::Send])
        .await;

    front
        .post_as("pr_nobody", &path, json!({}))
        .await
        .expect_problem(401);
    front
        .post_as("pr_reader", &path, json!({}))
        .await
        .expect_problem(403);
    front
        .post_as(&token("u1"), &path, json!({}))
        .await
        .expect_problem(403);
    front
        .post_as("pr_other", &path, json!({}))
        .await
        .expect_problem(404);
    front
        .post(&cancel("7"), json!({}))
        .await
        .expect_problem(404);
    front
        .post_as("pr_sender", &path, json!({}))
        .await
        .expect(200);
}

/// Workers and whoever takes back reach for the same rows, and one of the two gets them. Few senders
/// let most of them wait for a while, and the takers come from the other end.
#[tokio::test]
async fn each_of_two_hundred_is_either_cancelled_and_never_tried_or_sent() {
    let front = Front::start().await;
    let limits = WorkerLimits {
        concurrency: 4,
        ..WorkerLimits::default()
    };
    let _workers = work(&front, outbox(), RETRIES, limits).await;
    let notifications: Vec<Value> = (0..200).map(|_| mail(json!({}))).collect();
    let body = json!({"notifications": notifications});
    let accepted = front.post("/v1/notifications/bulk", body).await.expect(202);
    let mut ids: Vec<String> = serde_json::from_value(accepted["accepted"].clone()).unwrap();
    ids.reverse();

    let mut answers = Vec::new();
    for ids in ids.chunks(8) {
        let chunk = ids.iter().map(async |id| {
            let answer = front.post(&cancel(id), json!({})).await;
            if answer.status != 200 {
                answer.expect_problem(409);
            }
            answer.status == 200
        });
        answers.extend(join_all(chunk).await);
    }

    let mut cancelled = 0;
    for (id, was_cancelled) in ids.iter().zip(answers) {
        let status = if was_cancelled { "cancelled" } else { "sent" };
        let path = format!("/v1/notifications/{id}");
        let shown = eventually(SOON, async || {
            let shown = front.get(&path).await.expect(200);
            (shown["status"] == status).then_some(shown)
        })
        .await;
        let tries = shown["deliveries"][0]["attempts"]
            .as_array()
            .map_or(0, Vec::len);
        assert_eq!(tries, usize::from(!was_cancelled), "{shown}");
        cancelled += i64::from(was_cancelled);
    }
    eventually(SOON, async || front.count("queue.jobs").await == 0).await;
    assert_eq!(front.count("attempts").await, 200 - cancelled);
    assert_eq!(front.count("queue.dead_letters").await, 0);
    assert!((1..200).contains(&cancelled), "one side had them all");
}

/// The moment is in the row, so it does not matter who is there when it comes.
#[tokio::test]
async fn a_send_at_outlives_the_workers_and_is_not_early() {
    let front = Front::start().await;
    let before = work(&front, outbox(), RETRIES, WorkerLimits::default()).await;
    let send_at = Utc::now() + TimeDelta::milliseconds(1500);
    let sent = front
        .post("/v1/notifications", mail(json!({"send_at": send_at})))
        .await
        .expect(202);
    eventually(SOON, async || {
        front.count("queue.jobs where queue = 'render'").await == 1
    })
    .await;
    before.stop(Duration::from_secs(1)).await;
    assert_eq!(front.count("attempts").await, 0);

    let _after = work(&front, outbox(), RETRIES, WorkerLimits::default()).await;

    let path = format!("/v1/notifications/{}", sent["id"].as_str().unwrap());
    eventually(SOON, async || {
        front.get_as(ADMIN_KEY, &path).await.expect(200)["status"] == "sent"
    })
    .await;
    let shown = front.get(&path).await.expect(200);
    let started = &shown["deliveries"][0]["attempts"][0]["started_at"];
    let started: DateTime<Utc> = started.as_str().unwrap().parse().unwrap();
    assert!(started >= send_at - TimeDelta::milliseconds(1), "{started}");
}
