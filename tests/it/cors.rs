//! Which web pages may call the API: preflights, and answers that a browser lets a page read.

use reqwest::{Method, Response};
use serde_json::json;

use crate::front::{ADMIN_KEY, Front};

const PAGE: &str = "https://app.example.com";

fn header(response: &Response, name: &str) -> Option<String> {
    let value = response.headers().get(name)?;
    Some(value.to_str().unwrap().to_ascii_lowercase())
}

async fn preflight(front: &Front, origin: &str) -> Response {
    let request = front
        .client
        .request(Method::OPTIONS, front.url("/v1/events"))
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,idempotency-key",
        );
    request.send().await.unwrap()
}

async fn allowed(origins: &[&str]) -> Front {
    let origins = origins.iter().map(|&origin| origin.to_owned()).collect();
    Front::start_with(|config| config.cors.origins = origins).await
}

#[tokio::test]
async fn a_listed_page_may_ask_first_without_a_credential() {
    let front = allowed(&["https://other.example", "https://app.example.com/"]).await;

    let response = preflight(&front, PAGE).await;

    assert!(response.status().is_success());
    assert_eq!(
        header(&response, "access-control-allow-origin").as_deref(),
        Some(PAGE)
    );
    let methods = header(&response, "access-control-allow-methods").unwrap();
    for method in ["get", "post", "put", "delete"] {
        assert!(methods.contains(method), "{methods}");
    }
    let headers = header(&response, "access-control-allow-headers").unwrap();
    for name in [
        "authorization",
        "x-api-key",
        "idempotency-key",
        "content-type",
        "last-event-id",
    ] {
        assert!(headers.contains(name), "{headers}");
    }
    assert!(header(&response, "vary").unwrap().contains("origin"));
    assert_eq!(header(&response, "access-control-allow-credentials"), None);
    let stranger = preflight(&front, "https://evil.example").await;
    assert_eq!(header(&stranger, "access-control-allow-origin"), None);
    assert!(header(&stranger, "vary").unwrap().contains("origin"));
}

#[tokio::test]
async fn a_page_can_read_refusals_and_what_they_say_in_their_headers() {
    let front = Front::start_with(|config| {
        config.cors.origins = vec![PAGE.to_owned()];
        config.limits.requests_per_second_per_ip = Some(1);
        config.limits.burst_per_ip = Some(4);
    })
    .await;
    let get = |path: &str, key: &str| {
        let request = front.client.get(front.url(path)).header("origin", PAGE);
        request.bearer_auth(key).send()
    };
    let large = front
        .client
        .post(front.url("/v1/events"))
        .header("origin", PAGE)
        .bearer_auth(ADMIN_KEY)
        .json(&json!({"type": "a", "payload": {"x": "x".repeat(1_100_000)}}));

    for (response, status) in [
        (get("/v1/notifications", ADMIN_KEY).await.unwrap(), 200),
        (get("/v1/notifications", "bad").await.unwrap(), 401),
        (get("/nowhere", ADMIN_KEY).await.unwrap(), 404),
        (large.send().await.unwrap(), 413),
        (get("/v1/notifications", ADMIN_KEY).await.unwrap(), 429),
    ] {
        assert_eq!(response.status(), status);
        let origin = header(&response, "access-control-allow-origin");
        assert_eq!(origin.as_deref(), Some(PAGE), "{status}");
        let exposed = header(&response, "access-control-expose-headers").unwrap();
        for name in ["retry-after", "ratelimit", "ratelimit-policy"] {
            assert!(exposed.contains(name), "{exposed}");
        }
    }
}

#[tokio::test]
async fn without_origins_no_page_may_and_every_page_may_where_a_star_is() {
    let none = Front::start().await;
    let response = preflight(&none, PAGE).await;
    assert_eq!(response.status(), 405);
    assert_eq!(header(&response, "access-control-allow-origin"), None);

    let all = allowed(&["*"]).await;
    let response = preflight(&all, "https://anybody.example").await;
    assert_eq!(
        header(&response, "access-control-allow-origin").as_deref(),
        Some("*")
    );
    assert_eq!(header(&response, "access-control-allow-credentials"), None);
}

#[tokio::test]
async fn pages_of_this_machine_may_where_that_is_said() {
    let front = Front::start_with(|config| config.cors.localhost = true).await;

    for origin in [
        "http://localhost:3000",
        "https://127.0.0.1:8443",
        "http://[::1]:5173",
    ] {
        let response = preflight(&front, origin).await;
        assert_eq!(
            header(&response, "access-control-allow-origin").as_deref(),
            Some(origin)
        );
    }
    let response = preflight(&front, "http://localhost.evil.example").await;
    assert_eq!(header(&response, "access-control-allow-origin"), None);
}
