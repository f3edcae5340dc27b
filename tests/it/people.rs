//! People: what they want is heeded, topics hold them, and they can be told and forgotten.

use domain::Role;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::SOON;
use crate::front::{ADMIN_KEY, Answer, Front, token};
use crate::house::House;

impl Front {
    /// Sends `body`, if any, as whoever holds `credential`; an empty one is left out.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        credential: &str,
        body: Option<&Value>,
    ) -> Answer {
        let mut request = self.client.request(method, self.url(path));
        if !credential.is_empty() {
            request = request.bearer_auth(credential);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    /// Puts as the admin.
    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, ADMIN_KEY, Some(&body)).await
    }

    /// Deletes as the admin.
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, ADMIN_KEY, None).await
    }
}

#[tokio::test]
async fn a_channel_that_is_off_is_suppressed_and_the_trace_names_the_row() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let ada = json!({"addresses": {"email": "ada@example.com", "phone": "+15551234567"}});
    front.put("/v1/users/ada", ada).await.expect(200);
    let off = json!({"channels": {"email": {"enabled": false}}});
    front
        .put("/v1/users/ada/preferences", off)
        .await
        .expect(200);

    let send = |channels: Value| json!({"user_id": "ada", "content": "Hi", "channels": channels});
    let mail = house.send(send(json!(["email"]))).await;
    let both = house.send(send(json!(["email", "sms"]))).await;

    let shown = house.comes_to(&mail, "suppressed").await;
    let error = shown["deliveries"][0]["error"].as_str().unwrap();
    assert!(error.contains("/channels/email/enabled"), "{error}");
    let trace = front.get(&format!("/v1/notifications/{mail}/trace")).await;
    let trace = trace.expect(200);
    let step = trace.as_array().unwrap().last().unwrap();
    assert_eq!(step["decision"], "suppressed");
    assert_eq!(step["detail"]["row"], "/channels/email/enabled");

    let shown = house.comes_to(&both, "sent").await;
    let statuses: Vec<_> = shown["deliveries"].as_array().unwrap().iter().collect();
    assert_eq!(statuses[0]["status"], "suppressed");
    assert_eq!(statuses[1]["status"], "sent");
}

#[tokio::test]
async fn an_event_is_told_as_its_user_wants_and_in_their_language() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let wishes = json!({"locale": "de", "min_severity": "high"});
    front
        .call(Method::PUT, "/v1/preferences", &token("ada"), Some(&wishes))
        .await
        .expect(200);

    for severity in ["low", "high"] {
        let event = json!({"type": "ORDER_FILLED", "severity": severity,
                           "payload": {"user_id": "ada", "symbol": "AAPL", "quantity": 3}});
        front.post("/v1/events", event).await.expect(202);
    }

    let with = async |status: &str| {
        let path = format!("/v1/notifications?user_id=ada&status={status}");
        let page = front.get(&path).await.expect(200);
        page["items"].as_array().unwrap().clone()
    };
    eventually(SOON, async || {
        with("delivered").await.len() == 1 && with("suppressed").await.len() == 1
    })
    .await;
    assert_eq!(with("delivered").await[0]["locale"], "de");
    assert_eq!(with("suppressed").await[0]["priority"], "low");
}

#[tokio::test]
async fn preferences_are_replaced_by_put_and_merged_by_post_on_every_path() {
    let front = Front::start().await;
    let own = token("ada");
    let call = async |method: Method, path: &str, body: Value| {
        let body = (!body.is_null()).then_some(body);
        front
            .call(method, path, &own, body.as_ref())
            .await
            .expect(200)
    };

    let fresh = call(Method::GET, "/v1/preferences", Value::Null).await;
    assert_eq!(fresh["enabled"], true);
    assert_eq!(fresh["quiet_hours"]["start"], "22:00");

    let first = json!({"locale": "de", "channels": {"websocket": {"enabled": false}}});
    let stored = call(Method::PUT, "/v1/prefs", first).await;
    assert_eq!(stored["channels"], json!({"in_app": {"enabled": false}}));
    let patch = json!({"locale": null, "categories": {"news": {"min_priority": "medium"}}});
    let merged = call(Method::POST, "/v1/users/ada/preferences", patch).await;
    assert_eq!(merged["locale"], Value::Null);
    assert_eq!(merged["categories"]["news"]["min_priority"], "normal");
    assert_eq!(merged["channels"], stored["channels"]);

    // What is shown can be written back as it is.
    for path in ["/v1/preferences", "/v1/prefs", "/v1/users/ada/preferences"] {
        let shown = call(Method::GET, path, Value::Null).await;
        assert_eq!(shown, merged, "{path}");
        assert_eq!(
            call(Method::PUT, path, shown.clone()).await,
            shown,
            "{path}"
        );
    }
    let replaced = call(Method::PUT, "/v1/preferences", json!({})).await;
    assert_eq!(replaced, fresh);
}

#[tokio::test]
async fn bad_preferences_and_users_are_422_and_every_field_is_named() {
    let front = Front::start().await;
    let body = json!({"timezone": "Mars", "channels": {"fax": {}}, "colour": 1});

    for method in [Method::PUT, Method::POST] {
        let answer = front
            .call(method, "/v1/users/ada/preferences", ADMIN_KEY, Some(&body))
            .await;
        let mut pointers = answer.expect_problem(422);
        pointers.sort();
        assert_eq!(pointers, ["/channels/fax", "/colour", "/timezone"]);
    }
    let body = json!({"addresses": {"email": "nobody", "push": [{"token": "t"}]}, "rolls": []});
    let mut pointers = front.put("/v1/users/ada", body).await.expect_problem(422);
    pointers.sort();
    assert_eq!(
        pointers,
        ["/addresses/email", "/addresses/push/0/platform", "/rolls"]
    );
    front.get("/v1/users/ada").await.expect_problem(404);
    for query in ["limit=0", "cursor=xyz"] {
        let path = format!("/v1/users?{query}");
        front.get(&path).await.expect_problem(422);
    }
    let long = format!("/v1/users/{}", "u".repeat(256));
    assert_eq!(
        front.put(&long, json!({})).await.expect_problem(422),
        ["/user_id"]
    );
    front
        .put("/v1/users/%ff", json!({}))
        .await
        .expect_problem(400);
    for nameless in [&long, "/v1/users/a%00b", "/v1/users/%ff"] {
        front.get(nameless).await.expect_problem(404);
        front.delete(nameless).await.expect_problem(404);
    }
    // A service says whom it means.
    let whose = front.get("/v1/preferences").await.expect_problem(422);
    assert_eq!(whose, ["/user_id"]);
}

#[tokio::test]
async fn a_user_is_stored_under_any_id_and_listed_by_role_and_group() {
    let front = Front::start().await;
    let full = json!({
        "addresses": {"email": "ada@example.com", "push": [{"token": "t", "platform": "ios"}]},
        "locale": "pt-BR", "timezone": "America/Sao_Paulo", "roles": ["trader"],
        "groups": ["london", "paris"], "data": {"name": "Ada"},
    });
    // `a/b c?ю`, encoded.
    let strange = "/v1/users/a%2Fb%20c%3F%D1%8E";

    let stored = front.put(strange, full.clone()).await.expect(200);
    assert_eq!(stored["user_id"], "a/b c?ю");
    assert_eq!(stored["addresses"], full["addresses"]);
    assert_eq!(front.get(strange).await.expect(200), stored);
    assert_eq!(front.put(strange, stored.clone()).await.expect(200), stored);
    for (user, role) in [("bob", "trader"), ("cyd", "clerk")] {
        let body = json!({"roles": [role], "groups": ["london"]});
        let path = format!("/v1/users/{user}");
        front.put(&path, body).await.expect(200);
    }

    let ids = async |query: &str| -> Vec<String> {
        let page = front.get(&format!("/v1/users?{query}")).await.expect(200);
        let items = page["items"].as_array().unwrap().iter();
        let ids = items.map(|item| item["user_id"].as_str().unwrap().to_owned());
        ids.collect()
    };
    assert_eq!(ids("").await, ["a/b c?ю", "bob", "cyd"]);
    assert_eq!(ids("role=trader").await, ["a/b c?ю", "bob"]);
    assert_eq!(ids("role=clerk&group=london").await, ["cyd"]);
    assert_eq!(ids("group=berlin").await, [""; 0]);
    let first = front.get("/v1/users?limit=1").await.expect(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    assert_eq!(
        ids(&format!("limit=2&cursor={cursor}")).await,
        ["bob", "cyd"]
    );
    let last = front.get("/v1/users?limit=3").await.expect(200);
    assert_eq!(last["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_topic_is_made_named_filled_and_removed() {
    let front = Front::start().await;
    let body = json!({"name": "releases", "description": "What is new."});

    let made = front.post("/v1/topics", body.clone()).await.expect(201);
    let id = made["id"].as_str().unwrap();
    front.post("/v1/topics", body).await.expect_problem(409);
    for path in [format!("/v1/topics/{id}"), "/v1/topics/releases".to_owned()] {
        assert_eq!(front.get(&path).await.expect(200), made);
    }
    front
        .post("/v1/topics", json!({"name": "ops/all"}))
        .await
        .expect(201);
    let listed = front.get("/v1/topics").await.expect(200);
    assert_eq!(listed["items"][0]["name"], "ops/all");
    assert_eq!(listed["items"][1], made);
    let renamed = front
        .put("/v1/topics/releases", json!({"name": "news"}))
        .await;
    assert_eq!(renamed.expect(200)["id"], made["id"]);
    let taken = json!({"name": "ops/all"});
    front
        .put("/v1/topics/news", taken)
        .await
        .expect_problem(409);
    front.get("/v1/topics/releases").await.expect_problem(404);

    let path = "/v1/topics/news/members";
    let members = |users: &[&str]| json!({"user_ids": users});
    let added = front
        .post(path, members(&["c", "a", "b", "a"]))
        .await
        .expect(200);
    assert_eq!(added, json!({"added": 3, "removed": 0}));
    let replaced = front.put(path, members(&["b", "d"])).await.expect(200);
    assert_eq!(replaced, json!({"added": 1, "removed": 2}));
    let one_less = members(&["d", "nobody"]);
    let removed = front
        .call(Method::DELETE, path, ADMIN_KEY, Some(&one_less))
        .await
        .expect(200);
    assert_eq!(removed, json!({"added": 0, "removed": 1}));
    front.post(path, members(&["e"])).await.expect(200);
    let page = front.get(&format!("{path}?limit=1")).await.expect(200);
    assert_eq!(page["items"][0]["user_id"], "b");
    let cursor = page["next_cursor"].as_str().unwrap();
    let page = front
        .get(&format!("{path}?cursor={cursor}"))
        .await
        .expect(200);
    assert_eq!(page["items"][0]["user_id"], "e");
    let pointers = front
        .post(path, json!({"user_ids": [1]}))
        .await
        .expect_problem(422);
    assert_eq!(pointers, ["/user_ids/0"]);

    assert_eq!(front.delete("/v1/topics/news").await.status, 204);
    front.get(path).await.expect_problem(404);
    assert_eq!(front.count("topic_members").await, 0);
    front.delete("/v1/topics/news").await.expect_problem(404);
}

#[tokio::test]
async fn a_repeated_post_is_answered_the_same_and_done_once() {
    let front = Front::start().await;
    let post = async |path: &str, body: &Value| {
        let request = front
            .client
            .post(front.url(path))
            .bearer_auth(ADMIN_KEY)
            .header("idempotency-key", "k")
            .json(body);
        Answer::of(request.send().await.unwrap()).await
    };

    for (path, body, status) in [
        ("/v1/topics", json!({"name": "t"}), 201),
        ("/v1/topics/t/members", json!({"user_ids": ["u1"]}), 200),
        ("/v1/users/u1/preferences", json!({"locale": "de"}), 200),
    ] {
        let first = post(path, &body).await;
        let again = post(path, &body).await;
        assert_eq!(again.expect(status), first.expect(status), "{path}");
    }

    assert_eq!(front.count("audit").await, 3);
}

#[tokio::test]
async fn every_change_is_noted_with_who_made_it_and_no_address() {
    let front = Front::start().await;
    let ada = json!({"addresses": {"email": "ada@example.com"}, "roles": ["trader"]});
    front.put("/v1/users/ada", ada).await.expect(200);
    let wish = json!({"channels": {"email": {"address": "home@example.com"}}});
    let own = token("ada");
    front
        .call(Method::POST, "/v1/prefs", &own, Some(&wish))
        .await
        .expect(200);
    front
        .post("/v1/topics", json!({"name": "news"}))
        .await
        .expect(201);
    let members = json!({"user_ids": ["ada"]});
    front
        .post("/v1/topics/news/members", members)
        .await
        .expect(200);
    front.delete("/v1/topics/news").await;
    assert_eq!(front.delete("/v1/users/ada").await.status, 204);

    let mut conn = front.store.acquire().await.unwrap();
    let mut entries = store::audit::list(
        &mut conn,
        &"default".into(),
        &store::audit::AuditFilter::default(),
        None,
        10,
    )
    .await
    .unwrap();
    entries.reverse();

    let noted: Vec<_> = entries
        .iter()
        .map(|entry| (entry.actor.as_str(), entry.action.as_str()))
        .collect();
    assert_eq!(
        noted,
        [
            ("key:pr_admin", "user.replaced"),
            ("user:ada", "preferences.changed"),
            ("key:pr_admin", "topic.created"),
            ("key:pr_admin", "topic.members_changed"),
            ("key:pr_admin", "topic.removed"),
            ("key:pr_admin", "user.erased"),
        ]
    );
    assert!(!format!("{entries:?}").contains("example.com"));
}

/// Every route of people and topics, with a body that would be good.
fn routes() -> Vec<(Method, &'static str, Option<Value>)> {
    let (user, wishes) = (json!({}), json!({"enabled": true}));
    let (topic, members) = (json!({"name": "t"}), json!({"user_ids": ["u1"]}));
    let mut routes = vec![
        (Method::GET, "/v1/users", None),
        (Method::GET, "/v1/users/u1", None),
        (Method::GET, "/v1/users/u1/export", None),
        (Method::PUT, "/v1/users/u1", Some(user)),
        (Method::DELETE, "/v1/users/u1", None),
        (Method::GET, "/v1/topics", None),
        (Method::POST, "/v1/topics", Some(topic.clone())),
        (Method::GET, "/v1/topics/t", None),
        (Method::PUT, "/v1/topics/t", Some(topic)),
        (Method::GET, "/v1/topics/t/members", None),
        (Method::PUT, "/v1/topics/t/members", Some(members.clone())),
        (Method::POST, "/v1/topics/t/members", Some(members.clone())),
        (Method::DELETE, "/v1/topics/t/members", Some(members)),
        (Method::DELETE, "/v1/topics/t", None),
    ];
    for path in ["/v1/users/u1/preferences", "/v1/preferences", "/v1/prefs"] {
        routes.push((Method::GET, path, None));
        routes.push((Method::PUT, path, Some(wishes.clone())));
        routes.push((Method::POST, path, Some(wishes.clone())));
    }
    routes
}

#[tokio::test]
async fn nobody_gets_in_without_the_credential_that_a_route_asks_for() {
    let front = Front::start().await;
    front.create_key("pr_send", "default", &[Role::Send]).await;
    front.create_key("pr_read", "default", &[Role::Read]).await;
    let other_user = token("u2");

    for (method, path, body) in routes() {
        let status = async |credential: &str| {
            let answer = front
                .call(method.clone(), path, credential, body.as_ref())
                .await;
            assert_eq!(
                answer.content_type, "application/problem+json",
                "{answer:?}"
            );
            answer.status.as_u16()
        };
        let route = format!("{method} {path}");
        for credential in ["", "pr_unknown"] {
            assert_eq!(status(credential).await, 401, "{route} as {credential:?}");
        }
        assert_eq!(status("pr_send").await, 403, "{route} as a sender");
        if !(method == Method::GET && path.starts_with("/v1/topics")) {
            assert_eq!(status("pr_read").await, 403, "{route} as a reader");
        }
        if !matches!(path, "/v1/preferences" | "/v1/prefs") {
            assert_eq!(status(&other_user).await, 403, "{route} as another user");
        }
    }
}

/// A user may say what they want, but not who they are.
#[tokio::test]
async fn a_user_reaches_their_own_preferences_and_nothing_else() {
    let front = Front::start().await;
    let own = token("u1");

    for (method, path, body) in routes() {
        let answer = front.call(method.clone(), path, &own, body.as_ref()).await;
        let expected = if path.ends_with("prefs") || path.ends_with("preferences") {
            200
        } else {
            403
        };
        assert_eq!(answer.status, expected, "{method} {path}");
    }
    front
        .get_as(&own, "/v1/preferences?user_id=u2")
        .await
        .expect_problem(403);
}

#[tokio::test]
async fn another_tenant_sees_and_changes_nothing_of_it() {
    let front = Front::start().await;
    front.create_key("pr_other", "other", &[Role::Admin]).await;
    let ada = json!({"addresses": {"email": "ada@example.com"}});
    front.put("/v1/users/u1", ada).await.expect(200);
    let off = json!({"enabled": false});
    front.put("/v1/users/u1/preferences", off).await.expect(200);
    let topic = front
        .post("/v1/topics", json!({"name": "t"}))
        .await
        .expect(201);
    let id = topic["id"].as_str().unwrap();

    for path in ["/v1/users", "/v1/topics"] {
        let listed = front.get_as("pr_other", path).await.expect(200);
        assert_eq!(listed["items"], json!([]), "{path}");
    }
    let members = json!({"user_ids": ["u1"]});
    let by_id = format!("/v1/topics/{id}");
    for (method, path, body) in [
        (Method::GET, "/v1/users/u1", None),
        (Method::DELETE, "/v1/users/u1", None),
        (Method::GET, "/v1/users/u1/export", None),
        (Method::GET, "/v1/topics/t", None),
        (Method::GET, by_id.as_str(), None),
        (Method::PUT, by_id.as_str(), Some(json!({"name": "x"}))),
        (Method::DELETE, by_id.as_str(), None),
        (Method::POST, "/v1/topics/t/members", Some(members)),
    ] {
        let answer = front.call(method, path, "pr_other", body.as_ref()).await;
        answer.expect_problem(404);
    }
    let theirs = front.get_as("pr_other", "/v1/users/u1/preferences").await;
    assert_eq!(theirs.expect(200)["enabled"], true);
    let own = front.get("/v1/users/u1/preferences").await.expect(200);
    assert_eq!(own["enabled"], false);
}
