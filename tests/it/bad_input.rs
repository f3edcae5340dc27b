//! Whatever comes in: the contract's 4xx that names the field; never a 5xx, never half a write.

use serde_json::{Value, json};

use crate::front::{ADMIN_KEY, Answer, Front};

const MIB: usize = 1024 * 1024;

fn nested(levels: usize) -> String {
    format!(
        "{{\"type\":\"a\",\"payload\":{}1{}}}",
        "{\"k\":".repeat(levels),
        "}".repeat(levels)
    )
}

#[tokio::test]
async fn a_body_that_is_not_json_is_400_and_points_at_the_place() {
    let front = Front::start().await;
    for (body, pointer) in [
        (b"".to_vec(), ""),
        (b"{".to_vec(), ""),
        (b"{\"type\":\"\xff\xfe\",\"payload\":{}}".to_vec(), "/type"),
        (
            b"{\"type\":\"a\",\"payload\":{\"n\":1e999}}".to_vec(),
            "/payload/n",
        ),
        (b"{\"type\":\"\\ud800\",\"payload\":{}}".to_vec(), "/type"),
    ] {
        let answer = front.post_bytes("/v1/events", body.clone()).await;
        let text = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(answer.expect_problem(400), [pointer], "{text}");
    }
    let deep = front.post_bytes("/v1/events", nested(100_000)).await;
    assert!(deep.expect_problem(400)[0].starts_with("/payload/k/k"));
    assert_eq!(front.count("events").await, 0);
}

#[tokio::test]
async fn a_field_that_is_not_acceptable_is_422_by_name() {
    let front = Front::start().await;
    for (body, pointers) in [
        (json!([]), vec![""]),
        (json!("text"), vec![""]),
        (json!({"payload": {}}), vec!["/type"]),
        (json!({"type": 7, "payload": {}}), vec!["/type"]),
        (json!({"type": "a", "payload": []}), vec!["/payload"]),
        (
            json!({"type": "a", "payload": {}, "colour": 1}),
            vec!["/colour"],
        ),
        (json!({"type": "a\0", "payload": {}}), vec!["/type"]),
        (
            json!({"type": "a", "payload": {"x": ["\0"]}}),
            vec!["/payload/x/0"],
        ),
        (
            json!({"type": "t".repeat(256), "payload": {}}),
            vec!["/type"],
        ),
        (
            json!({"type": "a", "payload": {}, "occurred_at": "soon"}),
            vec!["/occurred_at"],
        ),
        (
            json!({"type": "a", "payload": {}, "severity": "dire"}),
            vec!["/severity"],
        ),
    ] {
        let answer = front.post("/v1/events", body.clone()).await;
        assert_eq!(answer.expect_problem(422), pointers, "{body}");
    }
    assert_eq!(front.count("events").await, 0);
    assert_eq!(front.count("queue.jobs").await, 0);
}

#[tokio::test]
async fn a_direct_send_that_is_not_acceptable_is_422_by_name() {
    let front = Front::start().await;
    for (body, pointer) in [
        (json!({"content": "Hi"}), "/user_id"),
        (
            json!({"user_id": "u", "content": "Hi", "channels": ["pigeon"]}),
            "/channels/0",
        ),
        (
            json!({"user_id": "u", "template": "no.such.template"}),
            "/template",
        ),
        (
            json!({"user_id": "u", "content": "Hi", "subject": "a\r\nBcc: b"}),
            "/subject",
        ),
        (
            json!({"user_id": "u", "content": "Hi", "send_at": "2999-01-01T00:00:00Z"}),
            "/send_at",
        ),
    ] {
        let answer = front.post("/v1/notifications", body.clone()).await;
        assert_eq!(answer.expect_problem(422), [pointer], "{body}");
    }
    assert_eq!(front.count("notifications").await, 0);
}

#[tokio::test]
async fn a_payload_of_128_levels_is_stored_and_one_level_more_is_named() {
    let front = Front::start().await;

    front
        .post_bytes("/v1/events", nested(128))
        .await
        .expect(202);
    let answer = front.post_bytes("/v1/events", nested(129)).await;

    assert!(answer.expect_problem(422)[0].starts_with("/payload/k/k"));
    assert_eq!(front.count("events").await, 1);
}

/// Twice the limit is drained so that the answer arrives; what is beyond four times is not read.
#[tokio::test]
async fn a_body_over_its_limit_is_413_and_the_answer_arrives() {
    let front = Front::start().await;
    let body = |bytes: usize| {
        let text = json!({"type": "a", "payload": {"text": "x".repeat(bytes)}});
        text.to_string()
    };

    front
        .post_bytes("/v1/events", body(2 * MIB))
        .await
        .expect_problem(413);
    front
        .post_bytes("/v1/events", body(MIB - 100))
        .await
        .expect(202);
    front
        .post_bytes("/v1/events/batch", body(2 * MIB))
        .await
        .expect_problem(422);
    front
        .post_bytes("/v1/events/batch", body(17 * MIB))
        .await
        .expect_problem(413);
    assert_eq!(front.count("events").await, 1);
}

#[tokio::test]
async fn another_media_type_is_415() {
    let front = Front::start().await;
    for media_type in ["text/plain", "application/xml", "application/jsonp"] {
        let request = front
            .client
            .post(front.url("/v1/events"))
            .bearer_auth(ADMIN_KEY)
            .header("content-type", media_type)
            .body(r#"{"type":"a","payload":{}}"#);
        Answer::of(request.send().await.unwrap())
            .await
            .expect_problem(415);
    }
    let request = front
        .client
        .post(front.url("/v1/events"))
        .bearer_auth(ADMIN_KEY)
        .header("content-type", "Application/JSON; charset=utf-8")
        .body(r#"{"type":"a","payload":{}}"#);
    Answer::of(request.send().await.unwrap()).await.expect(202);
}

#[tokio::test]
async fn an_unknown_path_is_404_and_an_unknown_method_405() {
    let front = Front::start().await;

    front.get("/v1/nowhere").await.expect_problem(404);
    front
        .get("/v1/notifications/not-an-id")
        .await
        .expect_problem(404);
    front.get("/v1/notifications/%00").await.expect_problem(404);
    front.get("/v1/notifications/%ff").await.expect_problem(404);
    let response = front
        .client
        .delete(front.url("/v1/events"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["allow"], "POST");
    Answer::of(response).await.expect_problem(405);
}

#[tokio::test]
async fn a_bad_query_parameter_is_422_by_name() {
    let front = Front::start().await;
    for (query, pointers) in [
        ("limit=0", vec!["/limit"]),
        ("limit=1001", vec!["/limit"]),
        ("cursor=zzz", vec!["/cursor"]),
        ("cursor=%00", vec!["/cursor"]),
        ("user_id=%00", vec!["/user_id"]),
        ("status=done&channel=pigeon", vec!["/status", "/channel"]),
        (
            "since=yesterday&until=2026-13-01T00:00:00Z",
            vec!["/since", "/until"],
        ),
        ("unread=maybe", vec!["/unread"]),
    ] {
        let answer = front.get(&format!("/v1/notifications?{query}")).await;
        assert_eq!(answer.expect_problem(422), pointers, "{query}");
    }
}

#[tokio::test]
async fn moments_at_the_edge_of_time_are_no_trouble() {
    let front = Front::start().await;
    let ends = [
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:60Z",
        "1969-12-31T23:59:59-14:00",
    ];
    for end in ends {
        front
            .get(&format!("/v1/notifications?since={end}"))
            .await
            .expect(200);
        front
            .get(&format!("/v1/notifications?until={end}"))
            .await
            .expect(200);
        let event = json!({"type": "a", "payload": {}, "occurred_at": end});
        front.post("/v1/events", event).await.expect(202);
    }
}

#[tokio::test]
async fn the_same_name_twice_in_a_body_is_read_once() {
    let front = Front::start().await;

    let body = r#"{"type":"a","type":"b","payload":{"k":1,"k":2}}"#;
    front.post_bytes("/v1/events", body).await.expect(202);

    let row: (String, Value) = sqlx::query_as("select type, payload from events")
        .fetch_one(front.store.pool())
        .await
        .unwrap();
    assert_eq!(row, ("b".to_owned(), json!({"k": 2})));
}
