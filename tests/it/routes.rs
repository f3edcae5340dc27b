//! Who may do what, asked of every route that the description names: a new one is asked as well.

use std::time::Duration;

use chrono::Utc;
use domain::{Role, TenantId, UserId};
use postrider::api::token::issue_token;
use postrider::config::Secret;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::front::{ADMIN_KEY, Answer, Front, JWT_SECRET, token};

/// One operation of the description.
#[derive(Debug, Clone)]
struct Route {
    method: Method,
    path: String,
    /// The role that its text names, if it names one.
    role: Option<Role>,
    /// Whether a caller may name somebody by `?user_id=`.
    names_users: bool,
    is_open: bool,
    has_body: bool,
}

/// Every route of the served description.
async fn routes(front: &Front) -> Vec<Route> {
    let document = front.get("/openapi.json").await.json();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = Method::from_bytes(method.to_ascii_uppercase().as_bytes()) else {
                continue;
            };
            let about = operation["description"].as_str().unwrap_or_default();
            let role = Role::ALL
                .into_iter()
                .find(|role| about.contains(&format!("Needs the role `{}`", role.as_str())));
            let parameters = operation["parameters"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let security = operation["security"].as_array();
            routes.push(Route {
                method,
                path: path.clone(),
                role,
                names_users: parameters
                    .iter()
                    .any(|each| each["name"] == "user_id" && each["in"] == "query"),
                // `security: [{}]` is an operation that needs none.
                is_open: security.is_some_and(|all| all.iter().all(|one| one == &json!({}))),
                has_body: operation.get("requestBody").is_some(),
            });
        }
    }
    assert!(routes.len() > 20, "{routes:?}");
    routes
}

impl Route {
    /// Its path with every parameter filled in.
    fn path_of(&self, id: &str, user: &str) -> String {
        let path = self.path.replace("{user_id}", user);
        let mut filled = String::new();
        for part in path.split_inclusive('/') {
            if part.starts_with('{') {
                filled.push_str(id);
                filled.push_str(if part.ends_with('/') { "/" } else { "" });
            } else {
                filled.push_str(part);
            }
        }
        filled
    }

    async fn ask(&self, front: &Front, path: &str, authorization: Option<&str>) -> Response {
        let mut request = front.client.request(self.method.clone(), front.url(path));
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        if self.has_body {
            request = request.json(&json!({}));
        }
        if self.path.ends_with("/ws") {
            request = request
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-version", "13")
                .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        }
        request.send().await.unwrap()
    }

    /// The feed tells of a bad credential by a close code, because a page cannot read a status.
    fn is_socket(&self) -> bool {
        self.path.ends_with("/ws")
    }
}

fn bearer(credential: &str) -> String {
    format!("Bearer {credential}")
}

#[tokio::test]
async fn no_route_lets_anybody_in_without_a_good_credential() {
    let front = Front::start().await;
    let revoked = front
        .create_key("pr_revoked", "default", &[Role::Admin])
        .await;
    let ended = front
        .create_key("pr_ended", "default", &[Role::Admin])
        .await;
    let mut conn = front.store.acquire().await.unwrap();
    store::api_keys::revoke_api_key(&mut conn, revoked, Utc::now())
        .await
        .unwrap();
    sqlx::query("update api_keys set expires_at = now() where api_key_id = $1")
        .bind(ended)
        .execute(&mut *conn)
        .await
        .unwrap();
    drop(conn);
    let issue = |secret: &str, begun: i64| {
        let (secret, tenant) = (Secret::new(secret), TenantId::default());
        let at = Utc::now() - chrono::TimeDelta::seconds(begun);
        issue_token(
            &secret,
            &tenant,
            &UserId::from("u1"),
            at,
            Duration::from_mins(1),
        )
        .unwrap()
    };
    let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1MSIsImV4cCI6NDAwMDAwMDAwMH0.";
    let cases = [
        ("nothing", None),
        ("another scheme", Some(format!("Basic {ADMIN_KEY}"))),
        ("no scheme", Some(ADMIN_KEY.to_owned())),
        ("nothing after the scheme", Some("Bearer ".to_owned())),
        ("an unknown key", Some(bearer("pr_unknown"))),
        ("a revoked key", Some(bearer("pr_revoked"))),
        ("a key that has ended", Some(bearer("pr_ended"))),
        ("a token that is none", Some(bearer("a.b.c"))),
        ("a token that is over", Some(bearer(&issue(JWT_SECRET, 61)))),
        ("a forged token", Some(bearer(&issue("another secret", 0)))),
        ("alg: none", Some(bearer(none))),
    ];

    for route in routes(&front).await {
        let path = route.path_of(&Uuid::from_u128(7).to_string(), "u1");
        for (case, authorization) in &cases {
            let response = route.ask(&front, &path, authorization.as_deref()).await;
            if route.is_open {
                assert!(response.status().is_success(), "{case} at {route:?}");
                continue;
            }
            if route.is_socket() && response.status() == StatusCode::SWITCHING_PROTOCOLS {
                assert_ne!(*case, "nothing");
                continue;
            }
            let challenge = response.headers().get("www-authenticate");
            assert_eq!(challenge.unwrap(), "Bearer", "{case} at {route:?}");
            Answer::of(response).await.expect_problem(401);
        }
    }
}

#[tokio::test]
async fn no_route_takes_a_role_that_is_not_the_one_it_names() {
    let front = Front::start().await;
    front.create_key("pr_send", "default", &[Role::Send]).await;
    front.create_key("pr_read", "default", &[Role::Read]).await;
    front
        .create_key("pr_both", "default", &[Role::Send, Role::Read])
        .await;
    let user = token("u1");

    for route in routes(&front).await {
        let Some(role) = route.role else { continue };
        let path = route.path_of(&Uuid::from_u128(7).to_string(), "u1");
        let key = match role {
            Role::Send => "pr_read",
            Role::Read => "pr_send",
            Role::Admin => "pr_both",
        };
        for credential in [key, &user] {
            let response = route.ask(&front, &path, Some(&bearer(credential))).await;
            assert_eq!(response.status(), 403, "{credential} at {route:?}");
            Answer::of(response).await.expect_problem(403);
        }
    }
}

#[tokio::test]
async fn no_route_lets_a_user_name_another() {
    let front = Front::start().await;
    let user = bearer(&token("u1"));

    let mut asked = 0;
    for route in routes(&front).await {
        let path = route.path_of(&Uuid::from_u128(7).to_string(), "u2");
        let paths = [
            route.path.contains("{user_id}").then(|| path.clone()),
            route.names_users.then(|| format!("{path}?user_id=u2")),
        ];
        for path in paths.into_iter().flatten() {
            asked += 1;
            let response = route.ask(&front, &path, Some(&user)).await;
            let is_refused = [403, 404].contains(&response.status().as_u16());
            assert!(is_refused, "{} at {route:?}", response.status());
            let status = response.status().as_u16();
            Answer::of(response).await.expect_problem(status);
        }
    }
    assert!(asked > 5, "{asked}");
}

/// What a tenant has, by the beginning of the paths that lead to it.
async fn belongings(front: &Front) -> Vec<(&'static str, String)> {
    let key = front
        .post("/v1/admin/keys", json!({"roles": ["read"]}))
        .await
        .expect(201);
    let notification = front.deliver("u2", "theirs").await;
    let topic = front.post("/v1/topics", json!({"name": "theirs"})).await;
    assert!(topic.status.is_success(), "{topic:?}");
    vec![
        ("/v1/admin/keys/", key["id"].as_str().unwrap().to_owned()),
        ("/v1/notifications/", notification.to_string()),
        ("/v1/topics/", "theirs".to_owned()),
    ]
}

#[tokio::test]
async fn no_route_tells_another_tenants_admin_whether_a_thing_exists() {
    let front = Front::start().await;
    front.create_key("pr_other", "other", &[Role::Admin]).await;
    let other = bearer("pr_other");
    let theirs = belongings(&front).await;

    let mut asked = 0;
    for route in routes(&front).await {
        let Some((_, id)) = theirs.iter().find(|(begin, _)| {
            let rest = route.path.strip_prefix(begin);
            rest.is_some_and(|rest| rest.starts_with('{'))
        }) else {
            continue;
        };
        let never = if Uuid::parse_str(id).is_ok() {
            Uuid::from_u128(7).to_string()
        } else {
            "nobody".to_owned()
        };
        let ask = async |id: &str| {
            let response = route
                .ask(&front, &route.path_of(id, "u2"), Some(&other))
                .await;
            let answer = Answer::of(response).await;
            (answer.status, answer.text.replace(id, "ID"))
        };
        let (existing, missing) = (ask(id).await, ask(&never).await);
        asked += 1;
        assert_eq!(existing.0, missing.0, "{route:?}");
        if existing.0.is_client_error() {
            assert_eq!(existing.1, missing.1, "{route:?}");
        }
    }
    assert!(asked > 10, "{asked}");
    let kept: Value = front.get("/v1/topics/theirs").await.expect(200);
    assert_eq!(kept["name"], "theirs");
}
