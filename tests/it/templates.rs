//! Templates over the API: made, used, changed, pinned, tried, removed.

use chrono::Utc;
use domain::{Channel, Role, TenantId};
use serde_json::{Value, json};
use store::templates::{NewTemplate, TemplateRef, create_template, remove_template};
use testkit::eventually;

use crate::SOON;
use crate::front::{ADMIN_KEY, Front};
use crate::house::House;
use crate::once::post_once;

fn news(text: &str) -> Value {
    json!({
        "name": "news.flash",
        "category": "news",
        "channels": {"in_app": {"title": "News", "message": text}},
        "samples": [{"headline": "Rain"}],
    })
}

fn flash(headline: &str) -> Value {
    json!({"user_id": "ada", "channels": ["in_app"], "template": "News_Flash",
           "data": {"headline": headline}})
}

/// What a notification says in the feed of its user.
async fn said(house: &House, id: &str) -> String {
    let shown = house.comes_to(id, "delivered").await;
    shown["in_app"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_template_is_used_as_soon_as_it_is_made_and_changed() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let before = front.post("/v1/notifications", flash("Rain")).await;
    assert_eq!(before.expect_problem(422), ["/template"]);

    let made = front
        .post("/v1/templates", news("One: {{ headline }}"))
        .await;
    let made = made.expect(201);
    assert_eq!(
        (&made["version"], &made["source"]),
        (&json!(1), &json!("stored"))
    );
    let first = house.send(flash("Rain")).await;
    assert_eq!(said(&house, &first).await, "One: Rain");

    let changed = front.put("/v1/templates/NEWS_FLASH", news("Two: {{ headline }}"));
    let changed = changed.await.expect(200);
    assert_eq!(changed["version"], 2);
    assert_eq!(changed["id"], made["id"]);
    let second = house.send(flash("Snow")).await;
    assert_eq!(said(&house, &second).await, "Two: Snow");

    let again = front.post("/v1/templates", news("Three")).await;
    again.expect_problem(409);
    front.delete("/v1/templates/news.flash").await.expect_gone();
    front
        .delete("/v1/templates/news.flash")
        .await
        .expect_problem(404);
    front
        .get("/v1/templates/news.flash")
        .await
        .expect_problem(404);
    let after = front.post("/v1/notifications", flash("Rain")).await;
    assert_eq!(after.expect_problem(422), ["/template"]);
    let last = front.post("/v1/templates", news("Four")).await.expect(201);
    assert_eq!((&last["version"], &last["id"]), (&json!(3), &made["id"]));
}

#[tokio::test]
async fn a_message_is_in_the_language_of_its_reader_and_its_times_in_their_zone() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let text = "{{ user.locale | default('-', true) }} {{ at | datetime }} {{ n | number }}";
    let template = json!({
        "name": "times", "channels": {"in_app": {"title": "t", "message": text}},
        "translations": {"ru": {"in_app": {"message": text}}},
    });
    front.post("/v1/templates", template).await.expect(201);
    let ada = json!({"addresses": {}, "locale": "ru-RU", "timezone": "Europe/Moscow"});
    front.put("/v1/users/ada", ada).await.expect(200);
    let bob = json!({"addresses": {}, "timezone": "Europe/Moscow"});
    front.put("/v1/users/bob", bob).await.expect(200);
    let wish = json!({"timezone": "Asia/Tokyo"});
    front
        .put("/v1/users/bob/preferences", wish)
        .await
        .expect(200);

    let mut said_to = Vec::new();
    for user in ["ada", "bob", "carol"] {
        let send = json!({"user_id": user, "channels": ["in_app"], "template": "times",
                          "data": {"at": "2026-01-15T16:09:00Z", "n": 1234.5}});
        let id = house.send(send).await;
        said_to.push(said(&house, &id).await.replace(['\u{a0}', '\u{202f}'], " "));
    }

    assert_eq!(
        said_to,
        [
            "ru-RU 15 янв. 2026 г., 19:09 1 234,5",
            "- Jan 16, 2026, 1:09 AM 1,234.5",
            "- Jan 15, 2026, 4:09 PM UTC 1,234.5",
        ]
    );
}

#[tokio::test]
async fn what_is_planned_is_told_in_the_version_of_then_even_if_the_template_is_removed() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let render = async |verb: &str| {
        let path = format!("/v1/admin/queues/render/{verb}");
        front.post(&path, json!({})).await.expect(200);
    };
    let routed = async |count: i64| {
        eventually(SOON, async || front.count("deliveries").await == count).await;
    };
    let old = front
        .post("/v1/templates", news("Old: {{ headline }}"))
        .await;
    old.expect(201);
    render("pause").await;
    let first = house.send(flash("Rain")).await;
    let event = json!({"type": "NEWS_FLASH", "payload": {"user_id": "ada", "headline": "Hail"}});
    front.post("/v1/events", event).await.expect(202);
    routed(2).await;
    let new = news("New: {{ headline }}");
    front.put("/v1/templates/news.flash", new).await.expect(200);
    // The workers have seen the new version when they route this.
    let second = house.send(flash("Snow")).await;
    routed(3).await;

    render("resume").await;
    assert_eq!(said(&house, &first).await, "Old: Rain");
    assert_eq!(said(&house, &second).await, "New: Snow");
    eventually(SOON, async || front.count("inbox").await == 3).await;
    let page = front.get("/v1/notifications?user_id=ada").await.expect(200);
    let mut all = page["items"].as_array().unwrap().iter();
    let event = all.find(|it| it["type"] == "NEWS_FLASH").unwrap();
    assert_eq!(event["in_app"]["message"], "Old: Hail");

    render("pause").await;
    let last = house.send(flash("Fog")).await;
    routed(4).await;
    front.delete("/v1/templates/news.flash").await.expect_gone();
    render("resume").await;
    assert_eq!(said(&house, &last).await, "New: Fog");
}

#[tokio::test]
async fn a_stored_template_stands_before_a_built_in_one_of_its_tenant_alone() {
    let house = House::with_outbox().await;
    let front = &house.front;
    front.create_key("pr_other", "other", &[Role::Admin]).await;
    let builtin = front.get("/v1/templates/ORDER_FILLED").await.expect(200);
    assert_eq!(
        (&builtin["version"], &builtin["source"]),
        (&json!(0), &json!("builtin"))
    );
    front
        .delete("/v1/templates/order.filled")
        .await
        .expect_problem(409);

    let own = json!({"channels": {"in_app": {"title": "Ours", "message": "{{ symbol }}!"}},
                     "samples": [{"symbol": "AAPL"}]});
    let stored = front
        .put("/v1/templates/order.filled", own)
        .await
        .expect(200);
    assert_eq!(
        (&stored["version"], &stored["name"]),
        (&json!(1), &json!("order.filled"))
    );
    let filled = |user: &str| {
        json!({"type": "order.filled", "payload": {"user_id": user, "symbol": "AAPL",
               "quantity": 3}})
    };
    front.post("/v1/events", filled("ada")).await.expect(202);
    front
        .post_as("pr_other", "/v1/events", filled("bob"))
        .await
        .expect(202);
    eventually(SOON, async || front.count("inbox").await == 2).await;
    let message = async |key: &str| {
        let page = front.get_as(key, "/v1/notifications").await.expect(200);
        page["items"][0]["in_app"]["message"].clone()
    };
    assert_eq!(message(ADMIN_KEY).await, "AAPL!");
    assert_ne!(message("pr_other").await, "AAPL!");
    let others = front
        .get_as("pr_other", "/v1/templates/order.filled")
        .await
        .expect(200);
    assert_eq!(others["source"], "builtin");
    let by_id = format!("/v1/templates/{}", stored["id"].as_str().unwrap());
    front.get(&by_id).await.expect(200);
    front.get_as("pr_other", &by_id).await.expect_problem(404);

    front.delete(&by_id).await.expect_gone();
    let shown = front.get("/v1/templates/order.filled").await.expect(200);
    assert_eq!(shown, builtin);
}

#[tokio::test]
async fn a_disabled_template_is_found_by_nobody() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let off = json!({"name": "order.filled", "enabled": false,
                     "channels": {"in_app": {"title": "Ours", "message": "Ours"}}});
    front.post("/v1/templates", off).await.expect(201);

    let send = json!({"user_id": "ada", "channels": ["in_app"], "template": "order.filled"});
    let refused = front.post("/v1/notifications", send.clone()).await;
    assert_eq!(refused.expect_problem(422), ["/template"]);
    let bulk = json!({"notifications": [send, flash("Rain"), {"user_id": "u", "content": "Hi"}]});
    let bulk = front.post("/v1/notifications/bulk", bulk).await.expect(202);
    assert_eq!(bulk["accepted"].as_array().unwrap().len(), 1);
    assert_eq!(bulk["errors"].as_array().unwrap().len(), 2);

    let event = json!({"type": "order.filled", "payload": {"user_id": "ada", "quantity": 3}});
    front.post("/v1/events", event).await.expect(202);
    eventually(SOON, async || front.count("inbox").await == 2).await;
    let page = front.get("/v1/notifications?user_id=ada").await.expect(200);
    assert_eq!(page["items"][0]["template"], Value::Null);
    let plain = &page["items"][0]["in_app"];
    assert!(
        !plain["message"].as_str().unwrap().contains("Ours"),
        "{plain}"
    );
    // It can still be tried.
    let preview = json!({"channel": "in_app"});
    let shown = front
        .post("/v1/templates/order.filled/preview", preview)
        .await
        .expect(200);
    assert_eq!(shown["body"], "Ours");
}

#[tokio::test]
async fn what_another_process_changes_is_seen_at_the_door_at_once_or_soon() {
    let front = Front::start().await;
    let tenant = TenantId::default();
    let new = NewTemplate {
        name: "news.flash".into(),
        description: None,
        category: None,
        channels: vec![Channel::InApp],
        locales: vec![],
        tags: vec![],
        enabled: true,
        body: news("{{ headline }}"),
        actor: "key:pr_x".into(),
        at: Utc::now(),
    };
    let mut tx = front.store.begin().await.unwrap();
    let made = create_template(&mut tx, &tenant, queue::uuid_at(Utc::now()), new).await;
    made.unwrap();
    tx.commit().await.unwrap();
    // Nobody is refused for what this process has not heard of yet.
    front
        .post("/v1/notifications", flash("Rain"))
        .await
        .expect(202);

    let mut tx = front.store.begin().await.unwrap();
    let by = TemplateRef::parse("news.flash");
    let removed = remove_template(&mut tx, &tenant, &by, Utc::now()).await;
    removed.unwrap().unwrap();
    tx.commit().await.unwrap();
    eventually(SOON, async || {
        let answer = front.post("/v1/notifications", flash("Rain")).await;
        answer.status == 422
    })
    .await;
}

#[tokio::test]
async fn data_that_does_not_fit_the_variables_is_refused_at_its_pointer() {
    let front = Front::start().await;
    let mut body = news("{{ headline }}");
    body["variables"] = json!({
        "type": "object", "required": ["headline"],
        "properties": {"headline": {"type": "string"}},
    });
    front.post("/v1/templates", body).await.expect(201);

    let mut send = flash("Rain");
    front
        .post("/v1/notifications", send.clone())
        .await
        .expect(202);
    send["data"]["headline"] = json!(7);
    let refused = front.post("/v1/notifications", send.clone()).await;
    assert_eq!(refused.expect_problem(422), ["/data/headline"]);
    let metadata = json!({"user_id": "ada", "template": "news.flash", "metadata": {"headline": 7}});
    let refused = front.post("/api/v1/notifications", metadata).await;
    assert_eq!(refused.expect_problem(422), ["/metadata/headline"]);
    send["data"] = json!({});
    let refused = front.post("/v1/notifications", send).await;
    assert!(refused.expect_problem(422)[0].starts_with("/data"));
}

#[tokio::test]
async fn a_template_that_cannot_be_used_is_refused_with_the_place() {
    let front = Front::start().await;
    let refused = async |body: Value| {
        let answer = front.post("/v1/templates", body).await;
        (answer.expect_problem(422), answer.text)
    };

    let (pointers, text) = refused(news("fine\n{{ headline }")).await;
    assert_eq!(pointers, ["/channels/in_app/message"]);
    assert!(text.contains("line 2"), "{text}");
    let (pointers, text) = refused(news("{{ headlin }}")).await;
    assert_eq!(pointers, ["/channels/in_app/message"]);
    assert!(
        text.contains("`headlin` is undefined (sample 0, en)"),
        "{text}"
    );
    let mut russian = news("{{ headline }}");
    russian["translations"] = json!({"ru": {"in_app": {"message": "{{ headlin }}"}}});
    let (pointers, _) = refused(russian).await;
    assert_eq!(pointers, ["/translations/ru/in_app/message"]);
    let endless = "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}";
    let (pointers, _) = refused(news(endless)).await;
    assert_eq!(pointers, ["/channels/in_app/message"]);
    let line = "x".repeat(400);
    let huge = format!("{{% for a in range(9000) %}}{line}{{% endfor %}}");
    let (pointers, _) = refused(news(&huge)).await;
    assert_eq!(pointers, ["/channels/in_app/message"]);
    let (pointers, _) = refused(json!({
        "name": "01a1fd07-8744-7641-88a2-f2ce7bb7e257",
        "channels": {"sms": {"body": "x"}},
    }))
    .await;
    assert_eq!(pointers, ["/name"]);
    let mut unknown = news("x");
    unknown["chanels"] = json!({});
    assert_eq!(refused(unknown).await.0, ["/chanels"]);
    assert_eq!(front.count("templates").await, 0);

    front
        .post("/v1/templates", news("{{ headline }}"))
        .await
        .expect(201);
    let renamed = json!({"name": "other", "channels": {"sms": {"body": "x"}}});
    let refused = front.put("/v1/templates/news.flash", renamed).await;
    assert_eq!(refused.expect_problem(422), ["/name"]);
    let refused = front.put("/v1/templates/no.such", news("x")).await;
    refused.expect_problem(404);
}

#[tokio::test]
async fn a_template_that_would_end_or_hold_up_the_server_is_refused() {
    let front = Front::start().await;
    let refused = async |body: Value| {
        let answer = front.post("/v1/templates", body).await;
        answer.expect_problem(422)
    };

    for text in [
        format!("{{{{ {}1 }}}}", "-".repeat(100_000)),
        format!("{{{{ headline{} }}}}", "|upper".repeat(18_000)),
        format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(5000)),
        "{% set headline = [[[[[[[[[[headline]]]]]]]]]] %}".repeat(1000),
    ] {
        assert_eq!(refused(news(&text)).await, ["/channels/in_app/message"]);
    }
    let next = |number| json!({"allOf": vec![json!({"$ref": format!("#/$defs/a{number}")}); 10]});
    let mut defs: serde_json::Map<_, _> = (0..14)
        .map(|number| (format!("a{number}"), next(number + 1)))
        .collect();
    defs.insert("a14".to_owned(), json!({}));
    let mut body = news("{{ headline }}");
    body["variables"] = json!({"$defs": defs, "$ref": "#/$defs/a0"});
    assert_eq!(refused(body.clone()).await, ["/variables"]);
    body["variables"] = json!({"items": {"pattern": "\\p{L}{1000}"}});
    assert_eq!(refused(body).await, ["/variables/items/pattern"]);

    assert_eq!(front.count("templates").await, 0);
    front.get("/v1/templates").await.expect(200);
}

#[tokio::test]
async fn a_preview_shows_what_would_be_sent_and_sends_nothing() {
    let front = Front::start().await;
    let body = json!({
        "name": "greeting",
        "channels": {"email": {"subject": "Hello {{ name }}", "body": "Hello, {{ name }}.",
                               "body_html": "<p>Hello, {{ name }}.</p>"}},
        "translations": {"ru": {"email": {"subject": "Привет {{ name }}"}}},
        "samples": [{"name": "Ada"}],
    });
    front.post("/v1/templates", body).await.expect(201);
    let preview = async |body: Value| front.post("/v1/templates/greeting/preview", body).await;

    let shown = preview(json!({"channel": "email"})).await.expect(200);
    assert_eq!(shown["subject"], "Hello Ada");
    assert_eq!(shown["body"], "Hello, Ada.");
    assert_eq!(
        (&shown["locale"], &shown["version"]),
        (&json!("en"), &json!(1))
    );
    let asked = json!({"channel": "email", "locale": "ru-RU", "data": {"name": "<b>"}});
    let shown = preview(asked).await.expect(200);
    assert_eq!(
        (&shown["subject"], &shown["locale"]),
        (&json!("Привет <b>"), &json!("ru"))
    );
    let html = shown["body_html"].as_str().unwrap();
    assert!(
        html.contains("&lt;b&gt;") && !html.contains("<b>"),
        "{html}"
    );

    let failed = preview(json!({"channel": "email", "data": {}})).await;
    assert_eq!(failed.expect_problem(422), ["/channels/email/subject"]);
    assert!(failed.text.contains("line 1"), "{failed:?}");
    assert_eq!(preview(json!({})).await.expect_problem(422), ["/channel"]);
    let unknown = front
        .post("/v1/templates/no.such/preview", json!({"channel": "sms"}))
        .await;
    unknown.expect_problem(404);
    let shipped = json!({"channel": "in_app"});
    let shipped = front
        .post("/v1/templates/ORDER_FILLED/preview", shipped)
        .await
        .expect(200);
    assert_eq!(shipped["version"], 0);
    assert_eq!(front.count("notifications").await, 0);
    assert_eq!(front.count("queue.jobs").await, 0);
}

#[tokio::test]
async fn a_list_holds_stored_and_built_in_templates_in_the_order_of_their_names() {
    let front = Front::start().await;
    let mut spring = news("x");
    spring["tags"] = json!(["spring"]);
    front.post("/v1/templates", spring).await.expect(201);
    let own = json!({"channels": {"sms": {"body": "x"}}, "enabled": false});
    front
        .put("/v1/templates/order.filled", own)
        .await
        .expect(200);
    let names = async |query: &str| {
        let mut names = Vec::new();
        let mut path = format!("/v1/templates?{query}");
        loop {
            let page = front.get(&path).await.expect(200);
            let items = page["items"].as_array().unwrap().iter();
            names.extend(items.map(|it| it["name"].as_str().unwrap().to_owned()));
            let Some(next) = page["next_cursor"].as_str() else {
                return names;
            };
            path = format!("/v1/templates?{query}&cursor={next}");
        }
    };

    let all = names("").await;
    assert!(all.is_sorted(), "{all:?}");
    assert!(all.contains(&"news.flash".to_owned()) && all.contains(&"plain".to_owned()));
    assert_eq!(all.iter().filter(|name| *name == "order.filled").count(), 1);
    assert_eq!(names("limit=1").await, all);
    assert_eq!(names("limit=2").await, all);
    assert_eq!(names("tag=spring").await, ["news.flash"]);
    assert_eq!(names("enabled=false").await, ["order.filled"]);
    assert!(
        !names("enabled=true")
            .await
            .contains(&"order.filled".to_owned())
    );
    assert_eq!(names("category=news").await, ["news.flash"]);
    front
        .get("/v1/templates?enabled=perhaps")
        .await
        .expect_problem(422);
}

#[tokio::test]
async fn versions_are_listed_and_changes_are_noted_with_who_made_them() {
    let front = Front::start().await;
    let made = front.post("/v1/templates", news("One")).await.expect(201);
    for text in ["Two", "Three"] {
        front
            .put("/v1/templates/news.flash", news(text))
            .await
            .expect(200);
    }

    let page = front
        .get("/v1/templates/news.flash/versions?limit=2")
        .await
        .expect(200);
    assert_eq!(page["items"][0]["version"], 3);
    assert_eq!(
        page["items"][1]["body"]["channels"]["in_app"]["message"],
        "Two"
    );
    assert!(
        page["items"][0]["actor"]
            .as_str()
            .unwrap()
            .starts_with("key:")
    );
    let cursor = page["next_cursor"].as_str().unwrap();
    let path = format!("/v1/templates/news.flash/versions?limit=2&cursor={cursor}");
    let rest = front.get(&path).await.expect(200);
    assert_eq!(rest["items"][0]["version"], 1);
    assert_eq!(rest["next_cursor"], Value::Null);

    let noted: Vec<String> =
        sqlx::query_scalar("select action from audit where subject = $1 order by audit_id")
            .bind(made["id"].as_str().unwrap())
            .fetch_all(front.store.pool())
            .await
            .unwrap();
    assert_eq!(
        noted,
        ["template.created", "template.replaced", "template.replaced"]
    );
}

#[tokio::test]
async fn only_admins_write_only_readers_look_and_a_repeat_is_answered_alike() {
    let front = Front::start().await;
    front.create_key("pr_read", "default", &[Role::Read]).await;
    front.create_key("pr_send", "default", &[Role::Send]).await;

    front
        .post_as("pr_read", "/v1/templates", news("x"))
        .await
        .expect_problem(403);
    front.get_as("pr_read", "/v1/templates").await.expect(200);
    front
        .get_as("pr_send", "/v1/templates")
        .await
        .expect_problem(403);
    let preview = json!({"channel": "sms"});
    front
        .post_as("pr_read", "/v1/templates/plain/preview", preview.clone())
        .await
        .expect(200);
    let refused = front
        .post_as("pr_send", "/v1/templates/plain/preview", preview)
        .await;
    refused.expect_problem(403);

    let first = post_once(&front, ADMIN_KEY, "/v1/templates", "k1", &news("x"))
        .await
        .expect(201);
    let again = post_once(&front, ADMIN_KEY, "/v1/templates", "k1", &news("x"))
        .await
        .expect(201);
    assert_eq!(first, again);
    assert_eq!(front.count("template_versions").await, 1);
}
