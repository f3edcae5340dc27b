//! Whether receivers who use the published libraries of Standard Webhooks believe our signatures.

use channels::{Provider, Secret, WebhookConfig};
use serde_json::{Value, json};

use crate::foreign::{ask, node, python};
use crate::web_server::{Act, Request, WebServer};
use crate::webhook::{config, webhook, webhook_to};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEXT_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER_SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What both libraries say about a request.
async fn verified(request: &Request, secret: &str, body: &str) -> [Value; 2] {
    let headers: Value = request
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let input = json!({"secret": secret, "headers": headers, "body": body});
    [
        ask(python("verify_webhook.py"), &input).await,
        ask(node("verify_webhook.js"), &input).await,
    ]
}

#[tokio::test]
async fn receivers_believe_either_secret_during_a_change_and_no_other() {
    let server = WebServer::start(|_, _| Act::ok()).await;
    let webhook = webhook(WebhookConfig {
        secrets: vec![Secret::new(SECRET), Secret::new(NEXT_SECRET)],
        ..config()
    });
    let mut outgoing = webhook_to(&server.url("/"));
    // The libraries refuse what is older than five minutes.
    outgoing.sent_at = chrono::Utc::now();

    webhook.send(&outgoing).await.unwrap();

    let [request] = &server.requests()[..] else {
        panic!()
    };
    let body: Value = serde_json::from_str(&request.body).unwrap();
    for secret in [SECRET, NEXT_SECRET] {
        for said in verified(request, secret, &request.body).await {
            assert_eq!(said["payload"], body, "{said}");
        }
    }
    for said in verified(request, OTHER_SECRET, &request.body).await {
        assert!(said["error"].is_string(), "{said}");
    }
    let altered = request.body.replace('7', "8");
    for said in verified(request, SECRET, &altered).await {
        assert!(said["error"].is_string(), "{said}");
    }
}

#[tokio::test]
async fn an_old_webhook_is_not_believed_again() {
    let server = WebServer::start(|_, _| Act::ok()).await;
    let webhook = webhook(WebhookConfig {
        secrets: vec![Secret::new(SECRET)],
        ..config()
    });
    let mut outgoing = webhook_to(&server.url("/"));
    outgoing.sent_at = chrono::Utc::now() - chrono::TimeDelta::minutes(6);
    webhook.send(&outgoing).await.unwrap();
    let [request] = &server.requests()[..] else {
        panic!()
    };
    for said in verified(request, SECRET, &request.body).await {
        assert!(
            said["error"].as_str().unwrap().contains("too old"),
            "{said}"
        );
    }
}
