//! What is held of a person can be had, and forgotten.

use reqwest::Method;
use serde_json::{Value, json};
use store::erase;
use testkit::eventually;

use crate::SOON;
use crate::front::{ADMIN_KEY, Front, token};
use crate::house::House;

/// In every address, content, subject and value.
const MARK: &str = "xyzzy";

/// Tables that hold a marked value, of ours and of the queue's.
async fn marked_tables(front: &Front) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables
         where schemaname in ('public', 'queue') order by 1",
    )
    .fetch_all(front.store.pool())
    .await
    .unwrap();
    let mut marked = Vec::new();
    for table in tables {
        // Bytes are written in hex.
        let statement = format!(
            "select count(*) from {table} as row
             where strpos(row::text, '{MARK}') > 0
                or strpos(row::text, encode('{MARK}'::bytea, 'hex')) > 0"
        );
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
            .fetch_one(front.store.pool())
            .await
            .unwrap();
        if count > 0 {
            marked.push(table);
        }
    }
    marked
}

/// Tells Ada things that end in the feed, are sent, and wait.
async fn told(house: &House) {
    let front = &house.front;
    let addresses = json!({"email": format!("{MARK}@example.com"), "slack": format!("#{MARK}"),
                           "webhook": format!("http://127.0.0.1:1/{MARK}")});
    let ada = json!({"addresses": addresses, "data": {"name": MARK}, "roles": ["trader"]});
    front.put("/v1/users/ada", ada).await.expect(200);
    let wishes = json!({"channels": {"sms": {"address": "+15550123456"},
                                     "slack": {"address": format!("@{MARK}")}}});
    let wish = front
        .client
        .post(front.url("/v1/users/ada/preferences"))
        .bearer_auth(ADMIN_KEY)
        .header("idempotency-key", "k1")
        .json(&wishes);
    assert_eq!(wish.send().await.unwrap().status(), 200);
    front
        .post("/v1/topics", json!({"name": "news"}))
        .await
        .expect(201);
    let members = json!({"user_ids": ["ada", "bob"]});
    front
        .post("/v1/topics/news/members", members)
        .await
        .expect(200);

    let consent = json!({"user_id": "ada", "category": "news", "granted": true, "note": MARK});
    front.post("/v1/consents", consent).await.expect(201);

    let event = json!({"type": "ORDER_FILLED",
                       "payload": {"user_id": "ada", "symbol": MARK, "quantity": 3}});
    front.post("/v1/events", event).await.expect(202);
    let send = |channel: &str, more: Value| {
        let mut body = json!({"user_id": "ada", "channels": [channel], "subject": MARK,
                              "content": format!("{MARK} inside"), "data": {"about": MARK}});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    house.send(send("in_app", json!({}))).await;
    let mail = house.send(send("email", json!({}))).await;
    house.comes_to(&mail, "sent").await;
    let later = json!({"send_at": chrono::Utc::now() + chrono::TimeDelta::days(1)});
    let waiting = house.send(send("email", later)).await;
    house.comes_to(&waiting, "queued").await;
    eventually(SOON, async || {
        let path = "/v1/notifications?user_id=ada&status=delivered";
        let page = front.get(path).await.expect(200);
        page["items"].as_array().unwrap().len() == 2
    })
    .await;
}

#[tokio::test]
async fn an_erased_user_is_found_nowhere_and_the_counts_stay() {
    let house = House::with_outbox().await;
    let front = &house.front;
    told(&house).await;
    sqlx::query(
        "insert into queue.dead_letters (job_id, enqueued_at, priority, lane, attempt, failures,
             max_attempts, crashes, queue, kind, reason, payload, errors)
         select gen_random_uuid(), now(), 2, 0, 1, 1, 8, 0, 'email', 'deliver', 'permanent',
             jsonb_build_object('delivery_id', id), jsonb_build_array($1::text)
         from deliveries where channel = 'email' limit 1",
    )
    .bind(format!("no such user: {MARK}@example.com"))
    .execute(front.store.pool())
    .await
    .unwrap();
    let marked = marked_tables(front).await;
    for table in [
        "users",
        "preferences",
        "queue.dead_letters",
        "idempotency_keys",
    ] {
        let is_there = marked.iter().any(|each| each.ends_with(table));
        assert!(is_there, "{table} is not among {marked:?}");
    }
    let (sent, deliveries) = (
        front.count("notifications").await,
        front.count("deliveries").await,
    );

    let answer = front.delete("/v1/users/ada").await;

    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""));
    assert_eq!(marked_tables(front).await, [""; 0]);
    assert_eq!(front.count("notifications").await, sent);
    assert_eq!(front.count("deliveries").await, deliveries);
    for table in ["inbox", "inbox_heads", "users", "preferences", "queue.jobs"] {
        assert_eq!(front.count(table).await, 0, "{table}");
    }
    let members = front.get("/v1/topics/news/members").await.expect(200);
    assert_eq!(members["items"][0]["user_id"], "bob");
    let statuses: Vec<(String, i64)> = sqlx::query_as(
        "select status, count(*) from notifications group by status order by status",
    )
    .fetch_all(front.store.pool())
    .await
    .unwrap();
    let words: Vec<_> = statuses.iter().map(|(status, _)| status.as_str()).collect();
    assert!(
        words.contains(&"cancelled") && words.contains(&"delivered"),
        "{statuses:?}"
    );
    assert!(
        !words.contains(&"queued") && !words.contains(&"pending"),
        "{statuses:?}"
    );

    front.get("/v1/users/ada").await.expect_problem(404);
    let export = front.get("/v1/users/ada/export").await.expect(200);
    assert_eq!(
        (&export["user"], &export["topics"], &export["consents"]),
        (&Value::Null, &json!([]), &json!([]))
    );
    let unread = front
        .get_as(&token("ada"), "/v1/notifications/unread-count")
        .await;
    assert_eq!(unread.expect(200), json!({"unread": 0}));
}

#[tokio::test]
async fn who_was_never_known_cannot_be_erased_and_others_are_left_alone() {
    let front = Front::start().await;
    front
        .put("/v1/users/bob", json!({"locale": "de"}))
        .await
        .expect(200);
    front.deliver("bob", "Hello").await;

    front.delete("/v1/users/ada").await.expect_problem(404);
    front.delete("/v1/users/ada").await.expect_problem(404);

    front.get("/v1/users/bob").await.expect(200);
    assert_eq!(front.count("inbox").await, 1);
    let body: Option<Value> = sqlx::query_scalar("select message from deliveries")
        .fetch_one(front.store.pool())
        .await
        .unwrap();
    assert!(body.is_some());
}

/// More than two pages of them, of which the last takes the rest with it.
#[tokio::test]
async fn direct_sends_that_are_not_routed_yet_are_cancelled_with_their_user() {
    let front = Front::start().await;
    let notifications: Vec<_> = (0..1100)
        .map(|n| json!({"user_id": "ada", "content": format!("{MARK} {n}"), "data": {"n": MARK}}))
        .collect();
    let bulk = json!({"notifications": notifications});
    front.post("/v1/notifications/bulk", bulk).await.expect(202);

    assert_eq!(front.delete("/v1/users/ada").await.status, 204);

    assert_eq!(marked_tables(&front).await, [""; 0]);
    let cancelled = "notifications where status = 'cancelled' and content is null";
    assert_eq!(front.count(cancelled).await, 1100);
    // Forgetting somebody again is no mistake.
    assert_eq!(front.delete("/v1/users/ada").await.status, 204);
}

#[tokio::test]
async fn an_erasure_that_was_interrupted_is_finished_by_the_next() {
    let front = Front::start().await;
    let notifications: Vec<_> = (0..600)
        .map(|n| json!({"user_id": "ada", "content": format!("{MARK} {n}")}))
        .collect();
    let bulk = json!({"notifications": notifications});
    front.post("/v1/notifications/bulk", bulk).await.expect(202);
    let ada = json!({"data": {"name": MARK}});
    front.put("/v1/users/ada", ada).await.expect(200);
    // The first page alone, as when the process dies after it.
    let (tenant, user) = ("default".into(), "ada".into());
    let (now, mut tx) = (chrono::Utc::now(), front.store.begin().await.unwrap());
    let until = domain::NotificationId::at(now);
    let page = erase::find_page(&mut tx, &tenant, &user, None, until)
        .await
        .unwrap();
    erase::blank(&mut tx, &page, now).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!marked_tables(&front).await.is_empty());

    assert_eq!(front.delete("/v1/users/ada").await.status, 204);

    assert_eq!(marked_tables(&front).await, [""; 0]);
    assert_eq!(front.count("notifications").await, 600);
}

#[tokio::test]
async fn an_export_holds_everything_and_spans_pages() {
    let house = House::with_outbox().await;
    let front = &house.front;
    told(&house).await;
    let notifications: Vec<_> = (0..450)
        .map(|n| json!({"user_id": "ada", "content": format!("number {n}"), "channels": ["sms"]}))
        .collect();
    let bulk = json!({"notifications": notifications});
    front.post("/v1/notifications/bulk", bulk).await.expect(202);

    let export = front
        .call(Method::GET, "/v1/users/ada/export", ADMIN_KEY, None)
        .await
        .expect(200);

    assert_eq!(
        export["user"]["addresses"]["email"],
        format!("{MARK}@example.com")
    );
    assert_eq!(
        export["preferences"]["channels"]["slack"]["address"],
        format!("@{MARK}")
    );
    assert_eq!(export["topics"], json!(["news"]));
    assert_eq!(export["consents"][0]["note"], MARK);
    assert_eq!(export["feed"]["seq"], 2);
    let held = export["notifications"].as_array().unwrap();
    assert_eq!(held.len(), 454);
    let mut ids: Vec<_> = held.iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert!(ids.is_sorted_by(|a, b| a > b));
    ids.dedup();
    assert_eq!(ids.len(), 454);
    let event = held.iter().find(|it| !it["event"].is_null()).unwrap();
    assert_eq!(event["event"]["payload"]["symbol"], MARK);
    let mail = held
        .iter()
        .find(|it| it["deliveries"][0]["channel"] == "email" && it["status"] == "sent")
        .unwrap();
    assert_eq!(
        mail["deliveries"][0]["address"],
        format!("{MARK}@example.com")
    );
    assert_eq!(mail["deliveries"][0]["message"]["subject"], MARK);
    assert_eq!(mail["deliveries"][0]["attempts"][0]["number"], 1);
}
