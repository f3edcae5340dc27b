//! The live feed on real sockets.

use std::time::Duration;

use chrono::Utc;
use domain::{NotificationId, TenantId, UserId};
use postrider::api::token::issue_token;
use postrider::config::Secret;
use serde_json::json;
use testkit::eventually;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::SOON;
use crate::front::{Front, JWT_SECRET, token};
use crate::socket::Socket;

#[tokio::test]
async fn a_socket_hears_hello_then_each_notification_in_order() {
    let front = Front::start().await;
    let first = front.deliver("u1", "before").await;
    let mut socket = Socket::open(&front, "u1", "").await;

    assert_eq!(
        socket.hear().await,
        json!({"type": "hello", "seq": 1, "unread": 1})
    );
    let second = front.deliver("u1", "after").await;
    front.deliver("u2", "another's").await;
    let frame = socket.hear().await;

    assert_eq!(
        (&frame["type"], &frame["seq"]),
        (&json!("notification"), &json!(2))
    );
    assert_eq!(frame["id"], second.to_string());
    assert_eq!(
        (&frame["title"], &frame["message"]),
        (&json!("after"), &json!("Body"))
    );
    assert_eq!(frame["data"], json!({"order": "after"}));
    assert_eq!(
        (&frame["priority"], &frame["category"]),
        (&json!("normal"), &json!("orders"))
    );
    assert!(frame["created_at"].as_str().unwrap().ends_with('Z'));
    assert_ne!(first, second);
}

#[tokio::test]
async fn last_seq_resumes_without_gap_or_repeat() {
    let front = Front::start().await;
    for number in 1..=230 {
        front.deliver("u1", &number.to_string()).await;
    }

    let mut socket = Socket::open(&front, "u1", "last_seq=3").await;

    assert_eq!(socket.hear().await["seq"], 230);
    for seq in 4..=230 {
        let frame = socket.hear().await;
        assert_eq!(
            (&frame["seq"], &frame["title"]),
            (&json!(seq), &json!(seq.to_string()))
        );
    }
    front.deliver("u1", "231").await;
    assert_eq!(socket.hear().await["seq"], 231);
}

#[tokio::test]
async fn notifications_that_arrive_while_sockets_come_and_go_are_each_heard_once() {
    let front = Front::start().await;
    let mut last_seq = 0;
    let delivering = async {
        for number in 1..=60 {
            front.deliver("u1", &number.to_string()).await;
        }
    };
    let listening = async {
        while last_seq < 60 {
            let mut socket = Socket::open(&front, "u1", &format!("last_seq={last_seq}")).await;
            assert_eq!(socket.hear().await["type"], "hello");
            // A few frames at a time, then away and back again.
            for _ in 0..7 {
                if last_seq == 60 {
                    break;
                }
                let seq = socket.hear().await["seq"].as_i64().unwrap();
                assert_eq!(seq, last_seq + 1);
                last_seq = seq;
            }
        }
    };
    tokio::join!(delivering, listening);
}

#[tokio::test]
async fn a_seq_from_elsewhere_and_a_gap_that_is_gone_lead_to_resync() {
    let front = Front::start().await;
    for number in 1..=3 {
        front.deliver("u1", &number.to_string()).await;
    }
    let mut ahead = Socket::open(&front, "u1", "last_seq=900").await;
    assert_eq!(ahead.hear().await["seq"], 3);
    assert_eq!(ahead.hear().await, json!({"type": "resync", "seq": 3}));

    sqlx::query("delete from inbox where seq <= 2")
        .execute(front.store.pool())
        .await
        .unwrap();
    let mut behind = Socket::open(&front, "u1", "last_seq=0").await;
    assert_eq!(behind.hear().await["type"], "hello");
    assert_eq!(behind.hear().await, json!({"type": "resync", "seq": 2}));
    assert_eq!(behind.hear().await["seq"], 3);
}

#[tokio::test]
async fn an_ack_is_told_to_all_of_the_users_sockets() {
    let front = Front::start().await;
    let first = front.deliver("u1", "one").await;
    let second = front.deliver("u1", "two").await;
    let mut phone = Socket::open(&front, "u1", "").await;
    let mut desk = Socket::open(&front, "u1", "").await;
    for socket in [&mut phone, &mut desk] {
        assert_eq!(socket.hear().await["unread"], 2);
    }

    phone.say(json!({"type": "ack", "id": first})).await;
    for socket in [&mut phone, &mut desk] {
        assert_eq!(
            socket.hear().await,
            json!({"type": "read", "ids": [first], "unread": 1})
        );
    }
    desk.say(json!({"type": "ack", "up_to_seq": 2})).await;
    for socket in [&mut phone, &mut desk] {
        assert_eq!(
            socket.hear().await,
            json!({"type": "read", "ids": [second], "unread": 0})
        );
    }
    // Saying it again changes nothing, and only the asker is answered.
    desk.say(json!({"type": "ack", "up_to_seq": 2})).await;
    assert_eq!(
        desk.hear().await,
        json!({"type": "read", "ids": [], "unread": 0})
    );

    let third = front.deliver("u1", "three").await;
    for socket in [&mut phone, &mut desk] {
        assert_eq!(socket.hear().await["id"], third.to_string());
    }
    let ack = json!({"notification_id": third});
    front
        .post_as(&token("u1"), "/v1/notifications/ack", ack)
        .await
        .expect(200);
    assert_eq!(
        phone.hear().await,
        json!({"type": "read", "ids": [third], "unread": 0})
    );
}

#[tokio::test]
async fn frames_that_are_not_understood_are_answered_and_the_socket_stays() {
    let front = Front::start().await;
    let mut socket = Socket::open(&front, "u1", "").await;
    socket.hear().await;

    for frame in [
        json!({}),
        json!({"type": "ack"}),
        json!([1]),
        json!({"type": "dance"}),
    ] {
        socket.say(frame).await;
        let answer = socket.hear().await;
        assert_eq!(
            (&answer["type"], &answer["code"]),
            (&json!("error"), &json!("bad_frame"))
        );
    }
    socket.send(Message::binary(vec![0, 159])).await;
    assert_eq!(socket.hear().await["type"], "error");
    let stranger = NotificationId::at(Utc::now());
    socket.say(json!({"type": "ack", "id": stranger})).await;
    assert_eq!(
        socket.hear().await,
        json!({"type": "read", "ids": [], "unread": 0})
    );
    socket.say(json!({"type": "ping"})).await;
    assert_eq!(socket.hear().await, json!({"type": "pong"}));
}

#[tokio::test]
async fn a_frame_over_its_limit_closes_with_1009() {
    let front = Front::start().await;
    let mut socket = Socket::open(&front, "u1", "").await;
    socket.hear().await;

    socket.send(Message::text("x".repeat(512 * 1024 + 1))).await;

    assert_eq!(socket.hear_close().await, 1009);
}

#[tokio::test]
async fn a_bad_token_closes_with_4401_and_no_token_is_refused() {
    let front = Front::start().await;
    let mut forged = Socket::open_with(&front, "a.b.c", "").await;
    assert_eq!(forged.hear_close().await, 4401);
    // A service has no feed.
    let mut service = Socket::open_with(&front, crate::front::ADMIN_KEY, "").await;
    assert_eq!(service.hear_close().await, 4401);

    for query in ["", "user_id=u1"] {
        match Socket::open_bare(&front, query).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 401),
            Ok(_) => panic!("`{query}` was let in"),
            Err(error) => panic!("{error}"),
        }
    }
    match Socket::open_bare(&front, &format!("token={}&last_seq=-1", token("u1"))).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 422),
        _ => panic!("a negative last_seq was let in"),
    }
}

#[tokio::test]
async fn a_socket_ends_with_its_token() {
    let front = Front::start().await;
    let short = issue_token(
        &Secret::new(JWT_SECRET),
        &TenantId::default(),
        &UserId::from("u1"),
        Utc::now(),
        Duration::from_secs(2),
    )
    .unwrap();

    let mut socket = Socket::open_with(&front, &short, "").await;

    assert_eq!(socket.hear().await["type"], "hello");
    assert_eq!(socket.hear_close().await, 4401);
}

#[tokio::test]
async fn a_token_in_the_query_works_unless_it_is_switched_off() {
    let front = Front::start().await;
    let query = format!("token={}", token("u1"));
    let mut socket = Socket::open_bare(&front, &query).await.unwrap();
    assert_eq!(socket.hear().await["type"], "hello");

    let strict = Front::start_with(|config| config.auth.query_token = false).await;
    assert!(Socket::open_bare(&strict, &query).await.is_err());
}

#[tokio::test]
async fn more_sockets_than_allowed_are_closed_with_4429() {
    let front = Front::start_with(|config| config.live.sockets_per_user_max = 1).await;
    let mut first = Socket::open(&front, "u1", "").await;
    first.hear().await;

    let mut second = Socket::open(&front, "u1", "").await;
    assert_eq!(second.hear_close().await, 4429);
    let mut other = Socket::open(&front, "u2", "").await;
    assert_eq!(other.hear().await["type"], "hello");
}

/// Nothing is read from the socket while more comes than its buffers hold.
#[tokio::test]
async fn a_reader_that_is_too_slow_is_closed_with_4408() {
    let front = Front::start_with(|config| config.live.send_buffer = 1).await;
    let mut socket = Socket::open_narrow(&front, "u1").await;
    socket.hear().await;

    // Large enough to fill what the kernel buffers on the way.
    let title = "x".repeat(400_000);
    for _ in 0..40 {
        front.deliver("u1", &title).await;
    }
    // More comes while a frame is stuck.
    eventually(SOON, async || {
        front.deliver("u1", "more").await;
        let metrics = front.get("/metrics").await.text;
        metrics.contains("notification_websocket_errors_total 1\n")
    })
    .await;

    // What was written before arrives, and then why there is no more.
    let mut heard = 0;
    let code = loop {
        match socket.hear_or_close().await {
            Ok(frame) => {
                heard += 1;
                assert_eq!(frame["seq"], heard);
            }
            Err(code) => break code,
        }
    };
    assert_eq!(code, 4408);
    assert!(heard < 40);
}

/// A read of the feed that is given up whenever the client says something would begin anew each
/// time, and on a slow day never end.
#[tokio::test]
async fn a_client_that_speaks_meanwhile_is_caught_up_by_one_read() {
    let front = Front::start().await;
    // More than comes with the greeting, and large enough to wait for a narrow reader.
    let title = "x".repeat(200_000);
    for _ in 0..24 {
        front.deliver("u1", &title).await;
    }
    let mut socket = Socket::open_narrow_with(&front, "u1", "last_seq=0").await;
    assert_eq!(socket.hear().await["seq"], 24);
    let mut lock = front.store.pool().begin().await.unwrap();
    let statement = sqlx::query("lock table inbox in access exclusive mode");
    statement.execute(&mut *lock).await.unwrap();
    for seq in 1..=20 {
        assert_eq!(socket.hear().await["seq"], seq);
    }

    for _ in 0..10 {
        socket.say(json!({"type": "ping"})).await;
        assert_eq!(socket.hear().await["type"], "pong");
    }

    let reading = sqlx::query_scalar::<_, i64>(
        "select count(*) from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock'",
    );
    assert_eq!(reading.fetch_one(&mut *lock).await.unwrap(), 1);
    lock.commit().await.unwrap();
    for seq in 21..=24 {
        assert_eq!(socket.hear().await["seq"], seq);
    }
}

#[tokio::test]
async fn open_sockets_are_counted() {
    let front = Front::start().await;
    let mut socket = Socket::open(&front, "u1", "").await;
    socket.hear().await;

    let metrics = front.get("/metrics").await.text;

    assert!(metrics.contains("notification_websocket_connections 1"));
}

/// An item of a batch may be nearly as large as the batch, 16 MiB. Here the text is in the frame
/// twice, and the client takes 16 MiB at most.
#[tokio::test]
async fn a_very_large_notification_arrives_and_does_not_hold_up_the_next() {
    let front = Front::start().await;
    let mut socket = Socket::open(&front, "u1", "").await;
    socket.hear().await;

    front.deliver("u1", &"x".repeat(7 * 1024 * 1024)).await;
    front.deliver("u1", "small").await;

    assert_eq!(socket.hear().await["seq"], 1);
    assert_eq!(socket.hear().await["title"], "small");
}
