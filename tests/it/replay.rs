//! Dead letters over HTTP: looked at, and run again by a replay that says what it did.

use std::sync::Arc;

use domain::Role;
use serde_json::{Value, json};
use testkit::eventually;
use workers::Providers;

use crate::SOON;
use crate::cli::bury;
use crate::front::{ADMIN_KEY, Front, token};
use crate::house::House;

/// Waits until a replay is over, and answers it.
async fn over(front: &Front, replay_id: &str) -> Value {
    let path = format!("/v1/admin/replays/{replay_id}");
    eventually(SOON, async || {
        front.get(&path).await.expect(200)["state"] != "running"
    })
    .await;
    front.get(&path).await.expect(200)
}

async fn begin(front: &Front, body: Value) -> (String, i64) {
    let path = "/v1/admin/dead-letters/replay";
    let begun = front.post(path, body).await.expect(202);
    let id = begun["replay_id"].as_str().unwrap().to_owned();
    (id, begun["matched"].as_i64().unwrap())
}

/// Three sends on channels that nobody carries: dead at once, with all that is known of them.
async fn house_with_dead_letters(users: &[&str]) -> House {
    let house = House::start(Providers::default()).await;
    for user in users {
        let id = house
            .send(
                json!({"user_id": user, "channels": ["sms"], "content": "Your code is 4711.",
                         "data": {"phone": "+4915112345678"}}),
            )
            .await;
        house.comes_to(&id, "failed").await;
    }
    house
}

#[tokio::test]
async fn a_dead_letter_is_shown_with_its_errors_its_delivery_and_its_message() {
    let house = house_with_dead_letters(&["u1", "u2", "u3"]).await;
    let front = &house.front;

    let page = front
        .get("/v1/admin/dead-letters?limit=2")
        .await
        .expect(200);
    let items = page["items"].as_array().unwrap();
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = front
        .get(&format!("/v1/admin/dead-letters?limit=2&cursor={cursor}"))
        .await
        .expect(200);

    assert_eq!((items.len(), &rest["next_cursor"]), (2, &Value::Null));
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    // The latest first.
    assert!(items[0]["died_at"].as_str() >= rest["items"][0]["died_at"].as_str());
    assert_eq!(items[0]["reason"], "no_provider");
    let oldest = front
        .get("/v1/admin/dlq?order=oldest&limit=1")
        .await
        .expect(200);
    assert_eq!(oldest["items"][0], rest["items"][0]);

    let path = format!(
        "/v1/admin/dead-letters/{}",
        items[0]["id"].as_str().unwrap()
    );
    let shown = front.get(&path).await.expect(200);
    assert_eq!(shown["errors"].as_array().unwrap().len(), 1);
    assert_eq!(shown["delivery"]["channel"], "sms");
    assert_eq!(shown["delivery"]["status"], "failed");
    assert_eq!(shown["message"]["body"], "Your code is 4711.");
    assert_eq!(shown["job_id"], items[0]["id"]);
    front
        .get("/v1/admin/dead-letters/0199e0b2-7c6f-7c3a-9c1e-5d2f0a4b6c8d")
        .await
        .expect_problem(404);
}

#[tokio::test]
async fn a_replay_is_counted_first_run_by_the_workers_and_tells_of_each_item() {
    let house = house_with_dead_letters(&["u1", "u2"]).await;
    let front = &house.front;
    // Meanwhile one of them has arrived by other means.
    sqlx::raw_sql("update deliveries set status = 'delivered' where user_id = 'u1'")
        .execute(front.store.pool())
        .await
        .unwrap();

    let dry = json!({"queue": "sms", "dry_run": true});
    let counted = front
        .post("/v1/admin/dead-letters/replay", dry)
        .await
        .expect(202);
    assert_eq!(counted, json!({"replay_id": null, "matched": 2}));
    let (id, matched) = begin(front, json!({"queue": "sms", "rate": "100/s"})).await;
    let replay = over(front, &id).await;

    assert_eq!(matched, 2);
    assert_eq!(replay["state"], "done");
    assert_eq!(
        (&replay["replayed"], &replay["skipped"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(replay["results"]["skipped_delivered"], 1);
    assert_eq!(replay["actor"], "key:pr_admin");
    assert_eq!(replay["filter"], json!({"queue": "sms"}));
    let mut results: Vec<_> = replay["items"].as_array().unwrap().iter().collect();
    results.sort_by_key(|item| item["result"].to_string());
    assert_eq!(results[0]["result"], "replayed");
    assert_eq!(results[1]["result"], "skipped_delivered");
    let page = front
        .get(&format!("/v1/admin/replays/{id}?limit=1"))
        .await
        .expect(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    assert!(page["next_cursor"].is_string());
    let list = front.get("/v1/admin/replays").await.expect(200);
    assert_eq!(list["items"][0]["replay_id"], json!(id));

    let audited: Vec<(String, String, String)> =
        sqlx::query_as("select actor, action, subject from audit")
            .fetch_all(front.store.pool())
            .await
            .unwrap();
    let expected = ("key:pr_admin".into(), "dead_letters.replayed".into(), id);
    assert_eq!(audited, [expected]);
    // It died once more, for nobody carries the channel still.
    eventually(SOON, async || front.count("queue.dead_letters").await == 2).await;
    let trace = "select count(*) from traces where steps::jsonb @> '[{\"step\": \"replay\"}]'";
    let traced: i64 = sqlx::query_scalar(trace)
        .fetch_one(front.store.pool())
        .await
        .unwrap();
    assert_eq!(traced, 1);
}

#[tokio::test]
async fn what_has_expired_is_sent_only_when_told() {
    let house = house_with_dead_letters(&["u1"]).await;
    let front = &house.front;
    sqlx::raw_sql("update notifications set expires_at = now() - interval '1 minute'")
        .execute(front.store.pool())
        .await
        .unwrap();

    let (id, _) = begin(front, json!({})).await;
    assert_eq!(over(front, &id).await["results"]["skipped_expired"], 1);
    let (id, _) = begin(front, json!({"include_expired": true})).await;
    assert_eq!(over(front, &id).await["replayed"], 1);

    // Tried again, and not stopped by its age.
    eventually(SOON, async || front.count("queue.dead_letters").await == 1).await;
    let list = front.get("/v1/admin/dead-letters").await.expect(200);
    assert_eq!(list["items"][0]["reason"], "no_provider");
}

#[tokio::test]
async fn a_replay_is_stopped_by_whoever_may() {
    let front = Front::start().await;
    let pool = front.store.pool();
    for n in 0..30 {
        bury(pool, "email", &format!("error {n}")).await;
    }
    // Nobody works here, so it stands.
    let (id, matched) = begin(&front, json!({"rate": 1})).await;
    assert_eq!(matched, 30);
    let path = format!("/v1/admin/replays/{id}/cancel");

    let stopped = front.post(&path, json!({})).await.expect(200);

    assert_eq!(stopped["state"], "cancelled");
    assert_eq!(
        front.post(&path, json!({})).await.expect(200)["state"],
        "cancelled"
    );
    assert_eq!(front.count("queue.jobs").await, 0);
    assert_eq!(front.count("queue.dead_letters").await, 30);
    assert_eq!(front.count("audit").await, 2);
}

#[tokio::test]
async fn the_short_form_replays_one_by_its_job() {
    let front = Front::start().await;
    let id = bury(front.store.pool(), "email", "Mailbox full").await;

    let outside = front.get("/admin/dlq").await.expect(200);
    let begun = front
        .post("/admin/dlq/replay", json!({"job_id": id}))
        .await
        .expect(202);

    assert_eq!(outside["items"][0]["job_id"], json!(id));
    assert_eq!(begun["matched"], 1);
    let missing = json!({"job_id": "0199e0b2-7c6f-7c3a-9c1e-5d2f0a4b6c8d"});
    front
        .post("/v1/admin/dlq/replay", missing)
        .await
        .expect_problem(404);
    let nameless = front.post("/v1/admin/dlq/replay", json!({})).await;
    assert_eq!(nameless.expect_problem(422), ["/job_id"]);
    // Nothing was left of what was refused.
    assert_eq!(front.count("replays").await, 1);
}

#[tokio::test]
async fn a_tenants_admin_meets_its_own_dead_letters_alone() {
    let house = house_with_dead_letters(&["u1"]).await;
    let front = &house.front;
    front.create_key("pr_other", "other", &[Role::Admin]).await;
    let own = front.get("/v1/admin/dead-letters").await.expect(200);
    let id = own["items"][0]["id"].as_str().unwrap();
    let (replay_id, _) = begin(front, json!({"ids": [id], "queue": "email"})).await;
    over(front, &replay_id).await;

    let listed = front
        .get_as("pr_other", "/v1/admin/dead-letters")
        .await
        .expect(200);
    assert_eq!(listed["items"], json!([]));
    let all = json!({});
    let replay = front
        .post_as("pr_other", "/v1/admin/dead-letters/replay", all)
        .await
        .expect(202);
    assert_eq!(replay["matched"], 0);
    for path in [
        format!("/v1/admin/dead-letters/{id}"),
        format!("/v1/admin/replays/{replay_id}"),
    ] {
        front.get_as("pr_other", &path).await.expect_problem(404);
    }
    let path = format!("/v1/admin/replays/{replay_id}/cancel");
    front
        .post_as("pr_other", &path, json!({}))
        .await
        .expect_problem(404);
    front
        .get_as("pr_other", "/v1/admin/queues")
        .await
        .expect_problem(403);
    let path = "/v1/admin/queues/email/pause";
    front
        .post_as("pr_other", path, json!({}))
        .await
        .expect_problem(403);
    assert_eq!(front.count("queue.dead_letters").await, 1);
}

#[tokio::test]
async fn only_admins_operate() {
    let front = Front::start().await;
    front
        .create_key("pr_sender", "default", &[Role::Send, Role::Read])
        .await;
    let id = "0199e0b2-7c6f-7c3a-9c1e-5d2f0a4b6c8d";
    let user = token("u1");

    for path in [
        "/v1/admin/dead-letters".to_owned(),
        "/admin/dlq".to_owned(),
        "/v1/admin/dlq".to_owned(),
        format!("/v1/admin/dead-letters/{id}"),
        "/v1/admin/replays".to_owned(),
        format!("/v1/admin/replays/{id}"),
        "/v1/admin/queues".to_owned(),
    ] {
        front.get_as("pr_sender", &path).await.expect_problem(403);
        front.get_as(&user, &path).await.expect_problem(403);
        front.get_as("pr_nobody", &path).await.expect_problem(401);
    }
    for path in [
        "/v1/admin/dead-letters/replay".to_owned(),
        "/admin/dlq/replay".to_owned(),
        "/v1/admin/dlq/replay".to_owned(),
        format!("/v1/admin/replays/{id}/cancel"),
        "/v1/admin/queues/email/pause".to_owned(),
        "/v1/admin/queues/email/resume".to_owned(),
    ] {
        front
            .post_as("pr_sender", &path, json!({}))
            .await
            .expect_problem(403);
        front
            .post_as(&user, &path, json!({}))
            .await
            .expect_problem(403);
        front
            .post_as("pr_nobody", &path, json!({}))
            .await
            .expect_problem(401);
    }
}

#[tokio::test]
async fn bad_filters_are_refused_by_name() {
    let front = Front::start().await;

    for (query, pointer) in [
        ("limit=0", "/limit"),
        ("cursor=7", "/cursor"),
        ("order=up", "/order"),
        ("since=yesterday", "/since"),
        ("error=%00", "/error"),
    ] {
        let refused = front.get(&format!("/v1/admin/dead-letters?{query}")).await;
        assert_eq!(refused.expect_problem(422), [pointer]);
    }
    let body = json!({"rate": 0, "ids": ["x"], "all": true});
    let refused = front.post("/v1/admin/dead-letters/replay", body).await;
    assert_eq!(refused.expect_problem(422), ["/ids/0", "/rate", "/all"]);
    front
        .post("/v1/admin/queues/emial/pause", json!({}))
        .await
        .expect_problem(404);
    front
        .post("/v1/admin/replays/7/cancel", json!({}))
        .await
        .expect_problem(404);
}

#[tokio::test]
async fn a_queue_is_paused_and_resumed_over_http_and_signed() {
    let front = Arc::new(Front::start().await);
    let queue = async |name: &str| -> Value {
        let queues = front.get("/v1/admin/queues").await.expect(200);
        let items = queues["items"].as_array().unwrap().clone();
        items
            .into_iter()
            .find(|queue| queue["name"] == name)
            .unwrap()
    };
    let body = json!({"user_id": "u1", "channels": ["email"], "content": "x"});
    front.post("/v1/notifications", body).await.expect(202);
    assert_eq!(queue("route").await["available"], 1);
    assert_eq!(queue("email").await["paused"], false);

    let paused = front
        .post("/v1/admin/queues/email/pause", json!({}))
        .await
        .expect(200);

    assert_eq!(paused, json!({"name": "email", "paused": true}));
    assert!(queue("email").await["paused_at"].is_string());
    let again = front
        .post("/v1/admin/queues/email/resume", json!({}))
        .await
        .expect(200);
    assert_eq!(again["paused"], false);
    let actions: Vec<String> =
        sqlx::query_scalar("select actor || ' ' || action from audit order by 1")
            .fetch_all(front.store.pool())
            .await
            .unwrap();
    let actor = "key:pr_admin";
    assert_eq!(
        actions,
        [
            format!("{actor} queue.paused"),
            format!("{actor} queue.resumed")
        ]
    );
}

/// A client that has lost the answer asks again, and must not replay twice.
#[tokio::test]
async fn a_repeated_request_begins_one_replay() {
    let front = Front::start().await;
    bury(front.store.pool(), "email", "Mailbox full").await;
    let ask = async || -> Value {
        let request = front
            .client
            .post(front.url("/v1/admin/dead-letters/replay"))
            .bearer_auth(ADMIN_KEY)
            .header("Idempotency-Key", "night-shift")
            .json(&json!({}));
        request.send().await.unwrap().json().await.unwrap()
    };

    let first = ask().await;

    assert_eq!(ask().await, first);
    assert_eq!(front.count("replays").await, 1);
}
