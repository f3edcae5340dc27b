//! Direct sends in, notifications out: lists, pages, one with its deliveries.

use chrono::Utc;
use domain::NotificationId;
use serde_json::json;

use crate::front::{Front, token};

#[tokio::test]
async fn a_direct_send_is_stored_pending_with_its_route_job() {
    let front = Front::start().await;

    let answer = front
        .post(
            "/v1/notifications",
            json!({"user_id": "u1", "content": "Hi", "channels": ["INAPP", "email"],
                   "priority": "high", "data": {"email": "u1@example.com"}}),
        )
        .await
        .expect(202);

    assert_eq!(answer["status"], "pending");
    let shown = front
        .get(&format!(
            "/v1/notifications/{}",
            answer["id"].as_str().unwrap()
        ))
        .await
        .expect(200);
    assert_eq!(shown["channels"], json!(["in_app", "email"]));
    assert_eq!(
        (&shown["priority"], &shown["status"]),
        (&json!("high"), &json!("pending"))
    );
    assert_eq!(shown["deliveries"], json!([]));
    assert!(shown["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(front.count("queue.jobs").await, 1);
}

#[tokio::test]
async fn a_repeated_dedupe_key_answers_with_the_first_id() {
    let front = Front::start().await;
    let send = json!({"user_id": "u1", "content": "Hi", "dedupe_key": "k"});

    let first = front
        .post("/v1/notifications", send.clone())
        .await
        .expect(202);
    let again = front
        .post("/v1/notifications", send.clone())
        .await
        .expect(202);
    let bulk = json!({"notifications": [send, {"user_id": "u2", "content": "Hi"}, {}]});
    let bulk = front.post("/v1/notifications/bulk", bulk).await.expect(202);

    assert_eq!(again, json!({"id": first["id"], "status": "duplicate"}));
    assert_eq!(bulk["accepted"][0], first["id"]);
    assert_eq!(bulk["accepted"].as_array().unwrap().len(), 2);
    assert_eq!(bulk["errors"][0]["index"], 2);
    assert_eq!(front.count("notifications").await, 2);
}

#[tokio::test]
async fn a_notification_is_shown_with_its_deliveries_and_attempts() {
    let front = Front::start().await;
    let id = front.deliver("u1", "Filled").await;

    let shown = front
        .get(&format!("/v1/notifications/{id}"))
        .await
        .expect(200);

    assert_eq!(shown["status"], "delivered");
    let delivery = &shown["deliveries"][0];
    assert_eq!(
        (&delivery["channel"], &delivery["seq"]),
        (&json!("in_app"), &json!(1))
    );
    assert_eq!(delivery["attempts"][0]["number"], 1);
    assert_eq!(delivery["attempts"][0]["status"], "delivered");
}

#[tokio::test]
async fn a_delivery_whose_job_runs_is_shown_as_sending() {
    let front = Front::start().await;
    let id = front.deliver("u1", "Filled").await;
    let job = queue::uuid_at(Utc::now());
    sqlx::query("update deliveries set status = 'queued', job_id = $1")
        .bind(job)
        .execute(front.store.pool())
        .await
        .unwrap();
    let shown = async || {
        let shown = front
            .get(&format!("/v1/notifications/{id}"))
            .await
            .expect(200);
        shown["deliveries"][0]["status"].clone()
    };
    assert_eq!(shown().await, "queued");

    sqlx::query(
        "insert into queue.jobs (job_id, epoch, state, queue, kind, payload) \
         values ($1, gen_random_uuid(), 'running', 'in_app', 'deliver', '{}')",
    )
    .bind(job)
    .execute(front.store.pool())
    .await
    .unwrap();

    assert_eq!(shown().await, "sending");
}

#[tokio::test]
async fn pages_show_every_notification_once_newest_first() {
    let front = Front::start().await;
    let mut sent = Vec::new();
    for number in 0..7 {
        sent.push(front.deliver("u1", &number.to_string()).await.to_string());
    }
    sent.reverse();

    let mut seen: Vec<String> = Vec::new();
    let mut path = "/v1/notifications?limit=3".to_owned();
    let mut pages = 0;
    loop {
        let page = front.get(&path).await.expect(200);
        let ids = page["items"].as_array().unwrap().iter();
        seen.extend(ids.map(|item| item["id"].as_str().unwrap().to_owned()));
        // A row that comes in between belongs to no later page.
        front.deliver("u1", "late").await;
        pages += 1;
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/v1/notifications?limit=3&cursor={cursor}");
    }

    assert_eq!((pages, seen), (3, sent));
}

#[tokio::test]
async fn filters_narrow_the_list() {
    let front = Front::start().await;
    let first = front.deliver("u1", "one").await;
    let second = front.deliver("u2", "two").await;
    front
        .post(
            "/v1/notifications",
            json!({"user_id": "u1", "content": "x"}),
        )
        .await
        .expect(202);
    let ids = async |query: &str| -> Vec<String> {
        let page = front
            .get(&format!("/v1/notifications?{query}"))
            .await
            .expect(200);
        let items = page["items"].as_array().unwrap().iter();
        items
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let (first, second) = (first.to_string(), second.to_string());
    let (first, second) = (first.as_str(), second.as_str());

    assert_eq!(ids("user_id=u2").await, [second]);
    assert_eq!(ids("status=delivered").await, [second, first]);
    assert_eq!(ids("user_id=u1&channel=in_app").await, [first]);
    assert_eq!(ids("category=orders&user_id=u1").await, [first]);
    let later = (Utc::now() + chrono::TimeDelta::hours(1)).format("%Y-%m-%dT%H:%M:%SZ");
    assert_eq!(ids(&format!("since={later}")).await, [""; 0]);
    assert_eq!(ids(&format!("until={later}")).await.len(), 3);

    let ack = json!({"ids": [first]});
    let path = "/v1/notifications/ack?user_id=u1";
    assert_eq!(
        front.post(path, ack).await.expect(200),
        json!({"unread": 0})
    );
    assert_eq!(ids("unread=true").await, [second]);
}

#[tokio::test]
async fn acknowledging_counts_only_what_was_unread() {
    let front = Front::start().await;
    let first = front.deliver("u1", "one").await;
    for title in ["two", "three"] {
        front.deliver("u1", title).await;
    }
    let user = token("u1");
    let unread = async || {
        front
            .get_as(&user, "/v1/notifications/unread-count")
            .await
            .expect(200)
    };

    assert_eq!(unread().await, json!({"unread": 3}));
    let path = "/v1/notifications/ack";
    for _ in 0..2 {
        let acked = front
            .post_as(&user, path, json!({"notification_id": first}))
            .await;
        assert_eq!(acked.expect(200), json!({"unread": 2}));
    }
    let unknown = json!({"ids": [NotificationId::at(Utc::now())]});
    assert_eq!(
        front.post_as(&user, path, unknown).await.expect(200),
        json!({"unread": 2})
    );
    let acked = front.post_as(&user, path, json!({"up_to_seq": 3})).await;
    assert_eq!(acked.expect(200), json!({"unread": 0}));
    assert_eq!(unread().await, json!({"unread": 0}));

    front
        .post(path, json!({"up_to_seq": 3}))
        .await
        .expect_problem(422);
    let stranger = front
        .post_as(&token("u2"), path, json!({"notification_id": first}))
        .await;
    assert_eq!(stranger.expect(200), json!({"unread": 0}));
}
