//! The live feed where it is easily wrong: pages that are just full, bursts, feeds that begin anew.

use postrider::config::Config;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

use crate::front::{ADMIN_KEY, Front, token};
use crate::socket::Socket;

async fn deliver(front: &Front, user: &str, count: usize) {
    for number in 1..=count {
        front.deliver(user, &number.to_string()).await;
    }
}

fn seqs(answer: &Value) -> Vec<i64> {
    let items = answer["items"].as_array().unwrap().iter();
    items.map(|item| item["seq"].as_i64().unwrap()).collect()
}

/// Twenty come with the greeting and two hundred with a read, so that it is not known at once whether
/// there are more.
#[tokio::test]
async fn a_poll_that_just_fills_a_page_is_answered_at_once() {
    let front = Front::start().await;
    let user = token("u1");
    for (count, wait) in [(19, "30s"), (1, "0s"), (1, "30s"), (179, "0s"), (1, "30s")] {
        deliver(&front, "u1", count).await;
        let path = format!("/v1/poll?after_seq=0&wait={wait}");

        let answer = front.get_as(&user, &path).await.expect(200);

        let all = front.count("inbox").await;
        assert_eq!(seqs(&answer), (1..=all.min(200)).collect::<Vec<_>>());
        assert_eq!(answer["unread"], all);
    }
}

#[tokio::test]
async fn a_burst_longer_than_the_buffer_reaches_a_reader_that_reads() {
    let narrow = |config: &mut Config| config.live.send_buffer = 4;
    let front = Front::start_with(narrow).await;
    let mut socket = Socket::open(&front, "u1", "").await;
    assert_eq!(socket.hear().await["type"], "hello");

    deliver(&front, "u1", 250).await;

    for seq in 1..=250 {
        let mut frame = socket.hear().await;
        // What was marked meanwhile is counted anew.
        while frame["type"] == "read" {
            frame = socket.hear().await;
        }
        assert_eq!(
            (&frame["type"], &frame["seq"]),
            (&json!("notification"), &json!(seq))
        );
    }
}

#[tokio::test]
async fn rows_that_are_in_the_count_of_unread_are_told_before_it() {
    let front = Front::start().await;
    deliver(&front, "u1", 2).await;
    let mut socket = Socket::open(&front, "u1", "").await;
    assert_eq!(socket.hear().await["unread"], 2);

    // Nobody is woken for the third; the mark wakes.
    deliver(&front, "u1", 1).await;
    let (user, ack) = (token("u1"), json!({"up_to_seq": 1}));
    let marked = front.post_as(&user, "/v1/notifications/ack", ack).await;
    marked.expect(200);

    assert_eq!(socket.hear().await["seq"], 3);
    let read = socket.hear().await;
    assert_eq!(
        (&read["type"], &read["unread"]),
        (&json!("read"), &json!(2))
    );
}

#[tokio::test]
async fn an_open_socket_of_an_erased_user_hears_what_they_are_told_afterwards() {
    let front = Front::start().await;
    let known = front.client.put(front.url("/v1/users/u1")).json(&json!({}));
    let known = known.bearer_auth(ADMIN_KEY).send().await.unwrap();
    assert!(known.status().is_success(), "{known:?}");
    deliver(&front, "u1", 5).await;
    let mut socket = Socket::open(&front, "u1", "").await;
    assert_eq!(socket.hear().await["seq"], 5);

    let erasing = front.client.delete(front.url("/v1/users/u1"));
    let erased = erasing.bearer_auth(ADMIN_KEY).send().await.unwrap();
    assert!(erased.status().is_success(), "{erased:?}");

    assert_eq!(socket.hear().await, json!({"type": "resync", "seq": 0}));
    front.deliver("u1", "told anew").await;
    let frame = socket.hear().await;
    assert_eq!(
        (&frame["seq"], &frame["title"]),
        (&json!(1), &json!("told anew"))
    );
}

#[tokio::test]
async fn a_ticket_is_not_spent_on_a_request_that_is_refused() {
    let front = Front::start().await;
    let answer = front
        .post_as(&token("u1"), "/v1/ws/ticket", json!({}))
        .await
        .expect(200);
    let ticket = answer["ticket"].as_str().unwrap();

    match Socket::open_bare(&front, &format!("ticket={ticket}&last_seq=x")).await {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), 422),
        _ => panic!("a socket was opened after x"),
    }

    let mut socket = Socket::open_bare(&front, &format!("ticket={ticket}"))
        .await
        .unwrap();
    assert_eq!(socket.hear().await["type"], "hello");
}
