//! Rate limits from outside: listed, changed while the system runs, and heeded at the next send.

use axum::http::Method;
use domain::Role;
use serde_json::{Value, json};
use testkit::eventually;

use crate::SOON;
use crate::front::{ADMIN_KEY, Front};
use crate::house::House;

fn of_mail(max: u32, window: &str) -> Value {
    json!({
        "name": "email_per_user", "scope": "user_channel", "channel": "email", "max": max,
        "window": window,
    })
}

fn mail() -> Value {
    json!({
        "user_id": "ada", "channels": ["email"], "content": "Hi",
        "data": {"email": "ada@example.com"},
    })
}

async fn trace(house: &House, id: &str) -> Vec<Value> {
    let path = format!("/v1/notifications/{id}/trace");
    let steps = house.front.get(&path).await.expect(200);
    steps.as_array().unwrap().clone()
}

#[tokio::test]
async fn a_limit_made_now_holds_for_the_next_send_and_its_trace_says_so() {
    let house = House::with_outbox().await;
    for _ in 0..3 {
        let id = house.send(mail()).await;
        house.comes_to(&id, "sent").await;
    }

    house
        .front
        .post("/v1/limits", of_mail(3, "1h"))
        .await
        .expect(201);
    let id = house.send(mail()).await;

    // Those sent under the default count: it had the same name.
    eventually(SOON, async || {
        trace(&house, &id).await.iter().any(is_limited)
    })
    .await;
    let shown = house.comes_to(&id, "queued").await;
    assert_eq!(shown["deliveries"][0]["status"], "queued");
    assert_eq!(shown["deliveries"][0]["attempts"], json!([]));
    let steps = trace(&house, &id).await;
    let step = steps.iter().find(|step| is_limited(step)).unwrap();
    assert_eq!(step["step"], "deliver");
    assert_eq!(step["detail"]["limit"], "email_per_user");
    assert_eq!(step["detail"]["max"], 3);
    assert_eq!(step["detail"]["window_s"], 3600);
    assert!(step["detail"]["until"].as_str().unwrap().ends_with('Z'));
    assert!(!step.to_string().contains("example.com"));

    let other = json!({
        "user_id": "ada", "channels": ["in_app"], "content": "Hi",
    });
    let other = house.send(other).await;
    house.comes_to(&other, "delivered").await;
}

fn is_limited(step: &Value) -> bool {
    step["decision"] == "rate_limited"
}

#[tokio::test]
async fn a_default_is_switched_off_by_its_name_and_comes_back_when_that_is_removed() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let listed = front.get("/v1/limits").await.expect(200);
    let names: Vec<_> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["name"])
        .collect();
    assert_eq!(names.len(), 9, "{names:?}");
    let default = front.get("/v1/limits/sms_per_user").await.expect(200);
    assert_eq!(
        (&default["id"], &default["source"]),
        (&Value::Null, &json!("default"))
    );
    assert_eq!(
        (&default["max"], &default["window"]),
        (&json!(10), &json!("1h"))
    );
    front
        .delete("/v1/limits/sms_per_user")
        .await
        .expect_problem(409);

    let mut off = of_mail(1, "1h");
    off["enabled"] = json!(false);
    let put = front
        .put("/v1/limits/email_per_user", off)
        .await
        .expect(200);
    assert_eq!(
        (&put["source"], &put["enabled"]),
        (&json!("tenant"), &json!(false))
    );
    for _ in 0..3 {
        let id = house.send(mail()).await;
        house.comes_to(&id, "sent").await;
    }

    let path = format!("/v1/limits/{}", put["id"].as_str().unwrap());
    assert_eq!(front.delete(&path).await.status, 204);
    front.get(&path).await.expect_problem(404);
    let back = front.get("/v1/limits/email_per_user").await.expect(200);
    assert_eq!(
        (&back["source"], &back["max"]),
        (&json!("default"), &json!(100))
    );
}

#[tokio::test]
async fn limits_are_made_changed_and_listed_by_name() {
    let front = Front::start().await;
    let mut body = json!({
        "name": "news", "scope": "user_category", "category": "news", "max": 3, "window": "24h",
        "when_unavailable": "defer",
    });
    let made = front.post("/v1/limits", body.clone()).await.expect(201);
    assert_eq!(
        (&made["window"], &made["when_unavailable"]),
        (&json!("1d"), &json!("defer"))
    );
    front
        .post("/v1/limits", body.clone())
        .await
        .expect_problem(409);
    let by_name = front.get("/v1/limits/news").await.expect(200);
    let by_id = front
        .get(&format!("/v1/limits/{}", made["id"].as_str().unwrap()))
        .await;
    assert_eq!((by_name, by_id.expect(200)), (made.clone(), made.clone()));

    body["name"] = json!("papers");
    body["max"] = json!(4);
    let changed = front.put("/v1/limits/news", body.clone()).await.expect(200);
    assert_eq!((&changed["id"], &changed["max"]), (&made["id"], &json!(4)));
    front.get("/v1/limits/news").await.expect_problem(404);
    front
        .put("/v1/limits/news", body.clone())
        .await
        .expect_problem(404);
    let pointers = front
        .put("/v1/limits/sms_total", body.clone())
        .await
        .expect_problem(422);
    assert_eq!(pointers, ["/name"]);
    body["name"] = json!("email_total");
    front
        .put("/v1/limits/papers", body.clone())
        .await
        .expect(200);
    front
        .post("/v1/limits", body.clone())
        .await
        .expect_problem(409);

    let page = front.get("/v1/limits?limit=4").await.expect(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = front
        .get(&format!("/v1/limits?cursor={cursor}"))
        .await
        .expect(200);
    let (page, rest) = (&page["items"], &rest["items"]);
    let names: Vec<_> = [page, rest]
        .iter()
        .flat_map(|page| page.as_array().unwrap())
        .map(|limit| limit["name"].as_str().unwrap())
        .collect();
    assert!(names.is_sorted() && names.len() == 9, "{names:?}");
    assert_eq!(front.count("audit where action like 'limit.%'").await, 3);
}

#[tokio::test]
async fn a_bad_limit_is_refused_by_field_and_a_hundred_are_enough() {
    let front = Front::start().await;
    for (field, value) in [
        ("max", json!(0)),
        ("max", json!(1_000_000_001)),
        ("window", json!("1 week")),
        ("scope", json!("world")),
        ("channel", json!("fax")),
        ("burst", json!(1)),
        ("name", json!("a\u{0}b")),
    ] {
        let mut body = of_mail(1, "1h");
        body[field] = value;
        let pointers = front.post("/v1/limits", body).await.expect_problem(422);
        assert_eq!(pointers, [format!("/{field}")]);
    }

    for n in 0..100 {
        let mut body = of_mail(1, "1h");
        body["name"] = json!(format!("limit {n}"));
        front.post("/v1/limits", body).await.expect(201);
    }
    front
        .post("/v1/limits", of_mail(1, "1h"))
        .await
        .expect_problem(409);
    front
        .put("/v1/limits/email_per_user", of_mail(1, "1h"))
        .await
        .expect_problem(409);
}

#[tokio::test]
async fn limits_are_for_admins_to_change_and_a_tenants_own() {
    let front = Front::start().await;
    front.create_key("pr_read", "default", &[Role::Read]).await;
    front.create_key("pr_send", "default", &[Role::Send]).await;
    front.create_key("pr_other", "other", &[Role::Admin]).await;
    front.post("/v1/limits", of_mail(7, "1h")).await.expect(201);

    for (method, path, body) in [
        (Method::GET, "/v1/limits", None),
        (Method::GET, "/v1/limits/email_per_user", None),
        (Method::POST, "/v1/limits", Some(of_mail(1, "1h"))),
        (
            Method::PUT,
            "/v1/limits/email_per_user",
            Some(of_mail(1, "1h")),
        ),
        (Method::DELETE, "/v1/limits/email_per_user", None),
    ] {
        let status = async |key: &str| {
            front
                .call(method.clone(), path, key, body.as_ref())
                .await
                .status
                .as_u16()
        };
        assert_eq!(status("").await, 401, "{method} {path}");
        assert_eq!(status("pr_send").await, 403, "{method} {path}");
        let reader = if method == Method::GET { 200 } else { 403 };
        assert_eq!(status("pr_read").await, reader, "{method} {path}");
    }
    let others = front
        .get_as("pr_other", "/v1/limits/email_per_user")
        .await
        .expect(200);
    assert_eq!(others["source"], "default");
    let repeat = async || {
        let request = front
            .client
            .post(front.url("/v1/limits"))
            .bearer_auth(ADMIN_KEY)
            .header("idempotency-key", "once")
            .json(&json!({"name": "a", "scope": "channel", "max": 1, "window": "1m"}));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((repeat().await, repeat().await), (201, 201));
}

#[tokio::test]
async fn what_waits_goes_out_when_its_limit_is_raised_switched_off_or_removed() {
    let house = House::with_outbox().await;
    let front = &house.front;
    front.post("/v1/limits", of_mail(1, "1h")).await.expect(201);
    let first = house.send(mail()).await;
    house.comes_to(&first, "sent").await;
    let put_off = async || {
        let id = house.send(mail()).await;
        eventually(SOON, async || {
            trace(&house, &id).await.iter().any(is_limited)
        })
        .await;
        id
    };

    let waits = put_off().await;
    let path = "/v1/limits/email_per_user";
    front.put(path, of_mail(2, "1h")).await.expect(200);
    house.comes_to(&waits, "sent").await;

    let waits = put_off().await;
    let mut off = of_mail(2, "1h");
    off["enabled"] = json!(false);
    front.put(path, off).await.expect(200);
    house.comes_to(&waits, "sent").await;

    front.put(path, of_mail(1, "1h")).await.expect(200);
    let waits = put_off().await;
    assert_eq!(front.delete(path).await.status, 204);
    house.comes_to(&waits, "sent").await;
}
