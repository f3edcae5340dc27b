//! The `webhook` provider against endpoints that misbehave as told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use channels::{
    Channels, Outgoing, Provider, ReceiptStatus, Secret, SendError, Webhook, WebhookConfig,
};
use chrono::SecondsFormat;
use domain::{Channel, DeliveryId, Message};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::mail::{Identity, crowded_server, now, silent_server};
use crate::web_server::{Act, WebServer};

/// Where silence is expected: short, so that the test is over soon.
const HASTE: Duration = Duration::from_millis(1500);

pub(crate) fn webhook_to(url: &str) -> Outgoing {
    Outgoing {
        delivery_id: DeliveryId::at(now()),
        channel: Channel::Webhook,
        address: Some(url.to_owned()),
        message: Message {
            subject: None,
            body: String::new(),
            body_html: None,
            data: Some(json!({"order_id": 7, "note": "größer\n"})),
            mail: None,
        },
        kind: "order.filled".to_owned(),
        created_at: now(),
        sent_at: now(),
    }
}

pub(crate) fn config() -> WebhookConfig {
    WebhookConfig {
        allow_cidrs: vec!["127.0.0.0/8".parse().unwrap()],
        ..WebhookConfig::default()
    }
}

/// The same for an endpoint that will be silent.
fn hasty() -> WebhookConfig {
    WebhookConfig {
        timeout: HASTE,
        ..config()
    }
}

pub(crate) fn webhook(config: WebhookConfig) -> Webhook {
    Webhook::try_new(config).unwrap()
}

#[tokio::test]
async fn a_webhook_says_what_happened_and_when() {
    let server = WebServer::start(|_, _| Act::ok()).await;
    let outgoing = webhook_to(&server.url("/hook?a=b"));
    let webhook = webhook(WebhookConfig {
        bearer: Some(Secret::new("token")),
        api_key: Some(("X-Api-Key".into(), Secret::new("key"))),
        headers: vec![("X-Source".into(), Secret::new("test"))],
        ..config()
    });

    let receipt = webhook.send(&outgoing).await.unwrap();

    assert_eq!(receipt.status, ReceiptStatus::Delivered);
    assert_eq!(receipt.response.as_deref(), Some("200 fine"));
    let [request] = &server.requests()[..] else {
        panic!()
    };
    assert_eq!(request.line, "POST /hook?a=b HTTP/1.1");
    let body: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(
        body,
        json!({
            "type": "order.filled",
            "timestamp": now().to_rfc3339_opts(SecondsFormat::Millis, true),
            "data": {"order_id": 7, "note": "größer\n"},
        })
    );
    assert_eq!(
        request.header("webhook-id"),
        outgoing.delivery_id.to_string()
    );
    assert_eq!(request.header("webhook-timestamp"), "1800000000");
    assert_eq!(
        request.header("webhook-signature"),
        "",
        "there is no secret to sign with"
    );
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("authorization"), "Bearer token");
    assert_eq!(request.header("x-api-key"), "key");
    assert_eq!(request.header("x-source"), "test");
}

#[tokio::test]
async fn a_message_without_data_is_posted_in_its_words() {
    let server = WebServer::start(|_, _| Act::ok()).await;
    let mut outgoing = webhook_to(&server.url("/"));
    outgoing.message = Message {
        subject: Some("Order filled".into()),
        body: "Your order was filled.".into(),
        data: None,
        ..outgoing.message
    };
    webhook(config()).send(&outgoing).await.unwrap();
    let body: Value = serde_json::from_str(&server.requests()[0].body).unwrap();
    let words = json!({"subject": "Order filled", "body": "Your order was filled."});
    assert_eq!(body["data"], words);
}

/// An endpoint on a bad day: it fails, asks for a pause, and takes the third attempt, all under
/// one id.
#[tokio::test]
async fn an_endpoint_that_fails_and_recovers_gets_the_same_id_each_time() {
    let server = WebServer::start(|number, _| match number {
        1 => Act::Answer(500, "", "oops, ada@example.com".to_owned()),
        2 => Act::Answer(429, "retry-after: 7\r\n", String::new()),
        _ => Act::Answer(204, "", String::new()),
    })
    .await;
    let channels = Channels::new().with_webhook(config()).unwrap();
    let provider = channels.provider(Channel::Webhook).unwrap();
    let outgoing = webhook_to(&server.url("/"));

    let first = channels.send(provider, &outgoing).await;
    let second = channels.send(provider, &outgoing).await;
    let third = channels.send(provider, &outgoing).await.unwrap();

    let detail = "500 oops, …".to_owned();
    assert_eq!(first, Err(SendError::Transient { detail }));
    let retry_after = Some(Duration::from_secs(7));
    let detail = "429".to_owned();
    assert_eq!(
        second,
        Err(SendError::Throttled {
            retry_after,
            detail
        })
    );
    assert_eq!(third.status, ReceiptStatus::Delivered);
    let ids: Vec<_> = server
        .requests()
        .iter()
        .map(|it| it.header("webhook-id").to_owned())
        .collect();
    assert_eq!(ids, vec![outgoing.delivery_id.to_string(); 3]);
    assert_eq!(server.connections(), 1, "the connection is used again");
}

#[tokio::test]
async fn no_answer_or_half_of_one_is_unknown_within_its_time() {
    for act in [
        || Act::Hang,
        || Act::Cut,
        || Act::TrickleHead,
        || Act::CutInBody(200),
    ] {
        let server = WebServer::start(move |_, _| act()).await;
        let start = Instant::now();
        let answer = webhook(hasty()).send(&webhook_to(&server.url("/"))).await;
        assert!(
            matches!(answer, Err(SendError::Unknown { .. })),
            "{answer:?}"
        );
        assert!(start.elapsed() < 3 * HASTE);
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_refusal_stands_even_if_its_body_breaks_off() {
    let server = WebServer::start(|_, _| Act::CutInBody(500)).await;
    let answer = webhook(config()).send(&webhook_to(&server.url("/"))).await;
    assert!(
        matches!(answer, Err(SendError::Transient { .. })),
        "{answer:?}"
    );
}

/// The status has told all that matters; the rest is for the history, and bounded.
#[tokio::test]
async fn a_body_without_end_neither_delays_nor_fills_the_memory() {
    for act in [|| Act::TrickleBody, || Act::Flood] {
        let server = WebServer::start(move |_, _| act()).await;
        let channels = Channels::new().with_webhook(config()).unwrap();
        let provider = channels.provider(Channel::Webhook).unwrap();
        let start = Instant::now();
        let receipt = channels
            .send(provider, &webhook_to(&server.url("/")))
            .await
            .unwrap();
        assert_eq!(receipt.status, ReceiptStatus::Delivered);
        let response = receipt.response.unwrap();
        assert!(
            response.starts_with("200 x") && response.len() <= 512,
            "{response}"
        );
        assert!(start.elapsed() < Duration::from_secs(5));
        // What the two kernels hold between them, no more.
        assert!(server.flooded() < 32 << 20, "{}", server.flooded());
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let inner = WebServer::start(|_, _| Act::ok()).await;
    let headers: &'static str = format!("location: {}\r\n", inner.url("/secret")).leak();
    for status in [301, 302, 303, 307, 308] {
        let outer = WebServer::start(move |_, _| Act::Answer(status, headers, String::new())).await;
        let answer = webhook(config()).send(&webhook_to(&outer.url("/"))).await;
        let Err(SendError::Rejected { detail }) = answer else {
            panic!("{answer:?}")
        };
        assert!(detail.contains("redirects are not followed"), "{detail}");
    }
    assert_eq!(inner.connections(), 0);
}

#[tokio::test]
async fn a_target_on_this_machine_is_not_even_connected_to() {
    let server = WebServer::start(|_, _| Act::ok()).await;
    let port = server.address.port();
    let webhook = webhook(WebhookConfig {
        allow_cidrs: Vec::new(),
        ..config()
    });
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"] {
        let answer = webhook
            .send(&webhook_to(&format!("http://{host}:{port}/")))
            .await;
        let Err(SendError::Rejected { detail }) = answer else {
            panic!("{host}: {answer:?}")
        };
        assert!(detail.contains("a loopback address"), "{detail}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn an_allowed_network_is_reached_by_name_too() {
    let server = WebServer::start(|_, _| Act::ok()).await;
    let url = format!("http://localhost:{}/", server.address.port());
    webhook(config()).send(&webhook_to(&url)).await.unwrap();
    assert_eq!(
        server.requests()[0].header("host"),
        format!("localhost:{}", server.address.port())
    );
}

#[tokio::test]
async fn what_cannot_be_connected_to_is_tried_later() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let plain = WebServer::start(|_, _| Act::ok()).await;
    for (url, why) in [
        (format!("http://{nobody}/"), "could not connect"),
        ("http://nobody.invalid/".to_owned(), "could not"),
        // A server that does not speak TLS.
        (format!("https://{}/", plain.address), "could not connect"),
    ] {
        let answer = webhook(config()).send(&webhook_to(&url)).await;
        let Err(SendError::Transient { detail }) = answer else {
            panic!("{url}: {answer:?}")
        };
        assert!(detail.contains(why) || detail.contains("TLS"), "{detail}");
        assert!(
            !detail.contains("127.0.0.1") && !detail.contains("nobody"),
            "{detail}"
        );
    }
}

#[tokio::test]
async fn nothing_in_a_message_or_an_address_becomes_a_header() {
    let server = WebServer::start(|_, _| Act::ok()).await;
    let mut outgoing = webhook_to(&server.url("/a\r\nx-evil: 1\r\n\r\n?b=\r\nx-evil: 2"));
    outgoing.kind = "order\r\nx-evil: 3".to_owned();
    outgoing.message.data = Some(json!({"x\r\nx-evil": "4\r\nx-evil: 5"}));

    webhook(config()).send(&outgoing).await.unwrap();

    let [request] = &server.requests()[..] else {
        panic!()
    };
    assert_eq!(request.header("x-evil"), "");
    let body: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(body["type"], "order\r\nx-evil: 3");
}

#[tokio::test]
async fn hundreds_at_once_share_few_connections_to_a_host() {
    let server = WebServer::start(|_, _| Act::AnswerLate(Duration::from_millis(2))).await;
    let webhook = Arc::new(webhook(WebhookConfig {
        at_once_per_host_max: 10,
        ..config()
    }));
    let mut sends = JoinSet::new();
    for _ in 0..400 {
        let (webhook, outgoing) = (Arc::clone(&webhook), webhook_to(&server.url("/")));
        sends.spawn(async move {
            loop {
                match webhook.send(&outgoing).await {
                    // On a busy machine some are told to come again, and do.
                    Err(SendError::Busy { after, .. }) => tokio::time::sleep(after).await,
                    sent => return sent,
                }
            }
        });
    }
    while let Some(sent) = sends.join_next().await {
        assert_eq!(sent.unwrap().unwrap().status, ReceiptStatus::Delivered);
    }
    assert_eq!(server.requests().len(), 400);
    assert!(server.open_max() <= 10, "{}", server.open_max());
}

/// An endpoint that hangs takes its own places and its own time, nobody else's.
#[tokio::test]
async fn a_host_that_hangs_does_not_hold_up_another() {
    let hanging = WebServer::start(|_, _| Act::Hang).await;
    let quick = WebServer::start(|_, _| Act::ok()).await;
    let webhook = Arc::new(webhook(WebhookConfig {
        at_once_per_host_max: 2,
        ..hasty()
    }));
    let mut stuck = JoinSet::new();
    for _ in 0..20 {
        let (webhook, outgoing) = (Arc::clone(&webhook), webhook_to(&hanging.url("/")));
        stuck.spawn(async move { webhook.send(&outgoing).await });
    }
    for _ in 0..20 {
        webhook.send(&webhook_to(&quick.url("/"))).await.unwrap();
    }
    // Those that never got a place were never sent.
    let (mut unknown, mut unsent) = (0, 0);
    while let Some(ended) = stuck.join_next().await {
        match ended.unwrap() {
            Err(SendError::Unknown { .. }) => unknown += 1,
            Err(SendError::Transient { .. } | SendError::Busy { .. }) => unsent += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(unknown, hanging.requests().len());
    assert_eq!(unknown + unsent, 20);
    assert!(unsent > 0);
}

#[tokio::test]
async fn an_endpoint_under_tls_has_to_show_a_certificate_that_is_trusted() {
    let identity = Identity::fresh();
    let server = WebServer::start_under(identity.acceptor(), |_, _| Act::ok()).await;
    let url = format!("https://{}/", server.address);
    let trusting = WebhookConfig {
        roots: vec![identity.certificate.clone()],
        ..config()
    };

    let refused = webhook(config()).send(&webhook_to(&url)).await;
    webhook(trusting).send(&webhook_to(&url)).await.unwrap();

    let Err(SendError::Transient { detail }) = refused else {
        panic!("{refused:?}")
    };
    assert!(detail.contains("certificate"), "{detail}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_in_time_was_sent_nothing() {
    let (_listener, _crowd, crowded) = crowded_server().await;
    let (_listener, silent) = silent_server().await;
    for url in [format!("http://{crowded}/"), format!("https://{silent}/")] {
        let answer = webhook(hasty()).send(&webhook_to(&url)).await;
        let detail = "could not connect in time".to_owned();
        assert_eq!(answer, Err(SendError::Transient { detail }), "{url}");
    }
}
