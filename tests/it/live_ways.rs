//! The other ways to the live feed: tickets, server-sent events, long polling, and who is let in.

use std::time::Duration;

use reqwest::Response;
use serde_json::{Value, json};
use testkit::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::SOON;
use crate::front::{ADMIN_KEY, Front, token};
use crate::socket::Socket;

/// Events of a stream, one at a time.
struct Events {
    answer: Response,
    text: String,
}

impl Events {
    async fn open(front: &Front, query: &str, last_event_id: Option<&str>) -> Self {
        let mut request = reqwest::Client::new().get(front.url(&format!("/v1/stream?{query}")));
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let text = String::new();
        Self { answer, text }
    }

    /// The next block of lines, without its blank line; `None` at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.into();
                return Some(block);
            }
            let chunk = tokio::time::timeout(SOON, self.answer.chunk()).await;
            let chunk = chunk.expect("the stream says something in time").unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event: its id, if it has one, and its frame.
    async fn next(&mut self) -> (Option<i64>, Value) {
        let block = self.block().await.expect("the stream goes on");
        let field = |name: &str| {
            let mut lines = block.lines();
            lines.find_map(|line| line.strip_prefix(name).map(str::to_owned))
        };
        let id = field("id: ").map(|id| id.parse().unwrap());
        let data = field("data: ").unwrap_or_else(|| panic!("no data in {block:?}"));
        (id, serde_json::from_str(&data).unwrap())
    }
}

async fn ticket(front: &Front, user: &str) -> String {
    let answer = front
        .post_as(&token(user), "/v1/ws/ticket", json!({}))
        .await;
    answer.expect(200)["ticket"].as_str().unwrap().to_owned()
}

async fn poll(front: &Front, user: &str, query: &str) -> Value {
    let answer = front
        .get_as(&token(user), &format!("/v1/poll?{query}"))
        .await;
    answer.expect(200)
}

#[tokio::test]
async fn a_ticket_opens_one_socket_and_no_second() {
    let front = Front::start().await;
    let ticket = ticket(&front, "u1").await;

    let mut first = Socket::open_bare(&front, &format!("ticket={ticket}"))
        .await
        .unwrap();
    assert_eq!(first.hear().await["type"], "hello");
    let mut second = Socket::open_bare(&front, &format!("ticket={ticket}"))
        .await
        .unwrap();
    assert_eq!(second.hear_close().await, 4401);

    front.deliver("u2", "another's").await;
    front.deliver("u1", "own").await;
    assert_eq!(first.hear().await["title"], "own");
}

#[tokio::test]
async fn a_ticket_that_is_over_or_forged_or_anothers_opens_nothing() {
    let front = Front::start().await;
    let late = ticket(&front, "u1").await;
    sqlx::query("update live_tickets set expires_at = now() - interval '1 second'")
        .execute(front.store.pool())
        .await
        .unwrap();

    for query in [format!("ticket={late}"), "ticket=made-up".to_owned()] {
        let mut socket = Socket::open_bare(&front, &query).await.unwrap();
        assert_eq!(socket.hear_close().await, 4401);
        let stream = front.client.get(front.url(&format!("/v1/stream?{query}")));
        assert_eq!(stream.send().await.unwrap().status(), 401);
    }
    let own = ticket(&front, "u1").await;
    match Socket::open_bare(&front, &format!("ticket={own}&user_id=u2")).await {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), 403),
        _ => panic!("another's feed was opened"),
    }
}

#[tokio::test]
async fn tickets_are_for_users_and_for_whom_an_admin_names() {
    let front = Front::start().await;
    front
        .post("/v1/ws/ticket", json!({}))
        .await
        .expect_problem(422);
    let named = front
        .post("/v1/ws/ticket?user_id=u7", json!({}))
        .await
        .expect(200);
    let ticket = named["ticket"].as_str().unwrap();
    front.deliver("u7", "theirs").await;

    let query = format!("ticket={ticket}&last_seq=0");
    let mut socket = Socket::open_bare(&front, &query).await.unwrap();

    assert_eq!(socket.hear().await["seq"], 1);
    assert_eq!(socket.hear().await["title"], "theirs");
    let user = front
        .post_as(&token("u1"), "/v1/ws/ticket?user_id=u7", json!({}))
        .await;
    user.expect_problem(403);
    let nobody = front
        .client
        .post(front.url("/v1/ws/ticket"))
        .send()
        .await
        .unwrap();
    assert_eq!(nobody.status(), 401);
}

/// Nothing of a ticket is in the table but its hash, and nothing of one that was used.
#[tokio::test]
async fn what_is_stored_of_a_ticket_opens_nothing() {
    let front = Front::start().await;
    let ticket = ticket(&front, "u1").await;
    let stored: Vec<u8> = sqlx::query_scalar("select hash from live_tickets")
        .fetch_one(front.store.pool())
        .await
        .unwrap();

    let digits = stored.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.map(|digit| char::from_digit(digit.into(), 16).unwrap());
    let hex: String = digits.collect();
    assert_ne!(hex, ticket);
    let mut forged = Socket::open_bare(&front, &format!("ticket={hex}"))
        .await
        .unwrap();
    assert_eq!(forged.hear_close().await, 4401);
    Socket::open_bare(&front, &format!("ticket={ticket}"))
        .await
        .unwrap()
        .hear()
        .await;
    assert_eq!(front.count("live_tickets").await, 0);
}

#[tokio::test]
async fn a_stream_says_what_a_socket_says_and_goes_on_after_the_last_event() {
    let front = Front::start().await;
    for number in 1..=3 {
        front.deliver("u1", &number.to_string()).await;
    }
    let query = format!("token={}", token("u1"));

    let mut events = Events::open(&front, &query, None).await;
    let (id, hello) = events.next().await;
    assert_eq!(
        (id, &hello["type"], &hello["seq"]),
        (Some(3), &json!("hello"), &json!(3))
    );
    front.deliver("u1", "4").await;
    let (id, frame) = events.next().await;
    assert_eq!(
        (id, &frame["type"], &frame["title"]),
        (Some(4), &json!("notification"), &json!("4"))
    );
    drop(events);

    front.deliver("u1", "5").await;
    // What the browser remembers wins over what the page wrote into the address.
    let query = format!("{query}&last_seq=1");
    let mut events = Events::open(&front, &query, Some("4")).await;
    assert_eq!(events.next().await.1["type"], "hello");
    assert_eq!(events.next().await.0, Some(5));
    let mut first_time = Events::open(&front, &query, None).await;
    first_time.next().await;
    for seq in 2..=5 {
        assert_eq!(first_time.next().await.0, Some(seq));
    }
}

#[tokio::test]
async fn a_stream_tells_of_gaps_and_of_what_was_read() {
    let front = Front::start().await;
    let first = front.deliver("u1", "1").await;
    front.deliver("u1", "2").await;
    sqlx::query("delete from inbox where seq = 1")
        .execute(front.store.pool())
        .await
        .unwrap();
    let query = format!("token={}", token("u1"));

    let mut events = Events::open(&front, &query, Some("0")).await;
    events.next().await;
    assert_eq!(
        events.next().await,
        (Some(1), json!({"type": "resync", "seq": 1}))
    );
    assert_eq!(events.next().await.0, Some(2));
    let ack = json!({"up_to_seq": 2});
    front
        .post_as(&token("u1"), "/v1/notifications/ack", ack)
        .await
        .expect(200);
    let (id, read) = events.next().await;
    assert_eq!(
        (id, &read["type"], &read["unread"]),
        (None, &json!("read"), &json!(1))
    );
    assert!(!read["ids"].as_array().unwrap().contains(&json!(first)));
}

#[tokio::test]
async fn streams_end_when_the_process_stops_and_say_when_to_come_back() {
    let front = Front::start().await;
    let mut events = Events::open(&front, &format!("token={}", token("u1")), None).await;
    events.next().await;

    front.stop().await;

    let goodbye = events.block().await.unwrap();
    let pause: u64 = goodbye.strip_prefix("retry: ").unwrap().parse().unwrap();
    assert!(pause <= 10_000);
    assert_eq!(events.block().await, None);
}

#[tokio::test]
async fn a_poll_answers_at_once_with_what_is_there_and_waits_for_what_is_not() {
    let front = Front::start().await;
    let position = poll(&front, "u1", "").await;
    assert_eq!(
        position,
        json!({"items": [], "seq": 0, "unread": 0, "resync": false})
    );
    front.deliver("u1", "1").await;
    front.deliver("u1", "2").await;

    let answer = poll(&front, "u1", "after_seq=0&wait=25s").await;
    let titles: Vec<_> = answer["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["title"])
        .collect();
    assert_eq!(titles, ["1", "2"]);
    assert_eq!((&answer["seq"], &answer["unread"]), (&json!(2), &json!(2)));

    let waiting = poll(&front, "u1", "after_seq=2&wait=25s");
    let delivering = async {
        eventually(SOON, async || following(&front).await == 1).await;
        front.deliver("u1", "3").await;
    };
    let (answer, ()) = tokio::join!(waiting, delivering);
    assert_eq!(answer["items"][0]["title"], "3");
    assert_eq!((&answer["seq"], &answer["unread"]), (&json!(3), &json!(3)));

    let nothing = poll(&front, "u1", "after_seq=3&wait=10ms").await;
    assert_eq!(
        nothing,
        json!({"items": [], "seq": 3, "unread": 3, "resync": false})
    );
    let elsewhere = poll(&front, "u1", "after_seq=900").await;
    assert_eq!(
        elsewhere,
        json!({"items": [], "seq": 3, "unread": 3, "resync": true})
    );
}

/// How many streams and polls are open.
async fn following(front: &Front) -> u64 {
    let metrics = front.get("/metrics").await.text;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("postrider_live_streams "));
    line.unwrap().split_once(' ').unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn a_poll_hears_what_was_read_elsewhere() {
    let front = Front::start().await;
    let first = front.deliver("u1", "1").await;
    front.deliver("u1", "2").await;

    let waiting = poll(&front, "u1", "after_seq=2&wait=25s");
    let reading = async {
        eventually(SOON, async || following(&front).await == 1).await;
        let path = format!("/v1/notifications/{first}/read");
        front
            .post_as(&token("u1"), &path, json!({}))
            .await
            .expect(200);
    };
    let (answer, ()) = tokio::join!(waiting, reading);

    assert_eq!(
        answer,
        json!({"items": [], "seq": 2, "unread": 1, "resync": false})
    );
}

#[tokio::test]
async fn bad_polls_and_streams_are_refused_by_name() {
    let front = Front::start().await;
    for (path, pointer) in [
        ("/v1/poll?after_seq=-1", "/after_seq"),
        ("/v1/poll?after_seq=x", "/after_seq"),
        ("/v1/poll?after_seq=0&wait=2h", "/wait"),
        ("/v1/stream?last_seq=x", "/last_seq"),
    ] {
        let answer = front.get_as(&token("u1"), path).await;
        assert_eq!(answer.expect_problem(422), [pointer], "{path}");
    }
    for path in ["/v1/poll", "/v1/stream"] {
        let nobody = front.client.get(front.url(path)).send().await.unwrap();
        assert_eq!(nobody.status(), 401);
        assert!(nobody.headers().contains_key("www-authenticate"));
        front.get_as(ADMIN_KEY, path).await.expect_problem(401);
        let other = format!("{path}?user_id=u2");
        front.get_as(&token("u1"), &other).await.expect_problem(403);
    }
}

#[tokio::test]
async fn pages_of_strangers_open_no_socket() {
    let front = Front::start_with(|config| {
        config.cors.origins = vec!["https://shop.example".to_owned()];
    })
    .await;
    let own = format!("http://{}", front.address);
    for origin in ["https://shop.example", &own] {
        let mut socket = Socket::open_from(&front, origin).await.unwrap();
        assert_eq!(socket.hear().await["type"], "hello");
    }
    for origin in ["https://evil.example", "null", "http://localhost:3000"] {
        match Socket::open_from(&front, origin).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), 403, "{origin}"),
            _ => panic!("{origin} was let in"),
        }
    }
}

#[tokio::test]
async fn a_stream_that_nobody_reads_is_cut() {
    let patience = Duration::from_millis(300);
    let front = Front::start_with(|config| config.http.write_timeout = patience).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stalled = socket.connect(front.address).await.unwrap();
    let request = format!(
        "GET /v1/stream?token={} HTTP/1.1\r\nhost: test\r\n\r\n",
        token("u1")
    );
    stalled.write_all(request.as_bytes()).await.unwrap();
    stalled.read_exact(&mut [0; 100]).await.unwrap();

    // Large enough to fill what the kernel buffers on the way.
    let title = "x".repeat(400_000);
    for _ in 0..40 {
        front.deliver("u1", &title).await;
    }

    eventually(SOON, async || {
        let metrics = front.get("/metrics").await.text;
        metrics.contains("postrider_live_streams 0\n")
    })
    .await;
}

#[tokio::test]
async fn a_client_that_sends_too_many_frames_is_closed_with_4429() {
    let front = Front::start_with(|config| config.live.frames_per_second = 2).await;
    let mut socket = Socket::open(&front, "u1", "").await;
    socket.hear().await;

    for _ in 0..80 {
        socket.send(Message::text(r#"{"type":"ping"}"#)).await;
    }

    let mut pongs = 0;
    let code = loop {
        match socket.hear_or_close().await {
            Ok(frame) => {
                assert_eq!(frame["type"], "pong");
                pongs += 1;
            }
            Err(code) => break code,
        }
    };
    assert_eq!(code, 4429);
    assert!((40..80).contains(&pongs), "{pongs} were answered");
}

#[tokio::test]
async fn a_frame_of_half_a_mebibyte_is_read() {
    let front = Front::start().await;
    let mut socket = Socket::open(&front, "u1", "").await;
    socket.hear().await;

    socket.send(Message::text("x".repeat(512 * 1024))).await;

    assert_eq!(socket.hear().await["code"], "bad_frame");
}

#[tokio::test]
async fn who_missed_more_than_is_told_again_fetches_the_list() {
    let front = Front::start_with(|config| config.live.replay_max = 3).await;
    for number in 1..=5 {
        front.deliver("u1", &number.to_string()).await;
    }
    let mut late = Socket::open(&front, "u1", "last_seq=1").await;
    late.hear().await;
    assert_eq!(late.hear().await, json!({"type": "resync", "seq": 5}));

    let mut in_time = Socket::open(&front, "u1", "last_seq=2").await;
    in_time.hear().await;
    for seq in 3..=5 {
        assert_eq!(in_time.hear().await["seq"], seq);
    }
    front.deliver("u1", "6").await;
    assert_eq!(late.hear().await["seq"], 6);
}

#[tokio::test]
async fn sockets_are_told_when_to_come_back_when_the_process_stops() {
    let front = Front::start().await;
    let mut socket = Socket::open(&front, "u1", "").await;
    socket.hear().await;

    let stopping = front.stop();
    let hearing = async {
        let (code, reason) = socket.hear_goodbye().await;
        assert_eq!(code, 1001);
        let pause: u64 = reason
            .strip_prefix("reconnect_in_ms=")
            .unwrap()
            .parse()
            .unwrap();
        assert!(pause <= 10_000);
    };
    tokio::join!(stopping, hearing);
}

#[tokio::test]
async fn what_is_archived_or_unread_again_sends_the_other_tab_to_the_list() {
    let front = Front::start().await;
    let first = front.deliver("u1", "1").await;
    let second = front.deliver("u1", "2").await;
    let mut tab = Socket::open(&front, "u1", "").await;
    tab.hear().await;
    let mark = async |id: &domain::NotificationId, word: &str| {
        let path = format!("/v1/notifications/{id}/{word}");
        front
            .post_as(&token("u1"), &path, json!({}))
            .await
            .expect(200);
    };
    let read = |ids: Value, unread: i64| json!({"type": "read", "ids": ids, "unread": unread});

    mark(&first, "archive").await;
    assert_eq!(tab.hear().await, read(json!([first]), 1));
    assert_eq!(tab.hear().await, read(json!([]), 1));
    mark(&first, "unread").await;
    assert_eq!(tab.hear().await, read(json!([]), 2));
    // To have seen something is no news.
    mark(&second, "seen").await;
    mark(&second, "read").await;
    assert_eq!(tab.hear().await, read(json!([second]), 1));
}

/// Ten thousand are opened and closed in the benchmark; here it is about what is left of each.
#[tokio::test]
async fn nothing_is_left_of_followers_that_have_gone() {
    let front = Front::start().await;
    let metrics = [
        "notification_websocket_connections 0",
        "postrider_live_streams 0",
    ];
    for number in 0..20 {
        let user = format!("u{number}");
        let mut socket = Socket::open(&front, &user, "").await;
        socket.hear().await;
        let mut events = Events::open(&front, &format!("token={}", token(&user)), None).await;
        events.next().await;
    }
    eventually(Duration::from_secs(30), async || {
        let text = front.get("/metrics").await.text;
        metrics.iter().all(|line| text.contains(line))
    })
    .await;
}
