//! Templates in the console: the list, the form with its preview, saving, and what changed.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{HOSTILE, Visitor, shows_as_text, token_in};
use crate::front::Front;

const PATH: &str = "/console/templates";

fn body(name: &str) -> Value {
    json!({
        "name": name, "category": "orders",
        "channels": {
            "email": {"subject": "Order {{ number }}", "body": "Plain\nlines",
                "body_html": "<p>Rich {{ number }}</p>"},
            "in_app": {"title": "Order {{ number }}", "message": "It is filled"},
        },
        "translations": {"de": {"in_app": {"title": "Auftrag {{ number }}", "message": "Da"}}},
        "samples": [{"number": 7}],
    })
}

async fn made(front: &Front, name: &str) -> String {
    let made = front.post("/v1/templates", body(name)).await.expect(201);
    format!("{PATH}/{}", made["id"].as_str().unwrap())
}

/// The fields of the form on a page, as a browser would send them.
fn form_of(html: &str) -> Vec<(String, String)> {
    let (_, form) = html.split_once("<form id=\"edit\"").unwrap();
    let (form, _) = form.split_once("</form>").unwrap();
    let plain = |text: &str| {
        let text = text.replace("&#60;", "<").replace("&#62;", ">");
        text.replace("&#34;", "\"")
            .replace("&#39;", "'")
            .replace("&#38;", "&")
    };
    let attribute = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
        Some(plain(rest.split('"').next()?))
    };
    let mut fields = Vec::new();
    for part in form.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap_or((part, ""));
        let Some(name) = attribute(tag, "name") else {
            continue;
        };
        if tag.starts_with("textarea") {
            let text = plain(text.strip_prefix('\n').unwrap_or(text));
            fields.push((name, text.replace('\n', "\r\n")));
        } else if tag.starts_with("input") && name != "add_locale" {
            let value = attribute(tag, "value").unwrap_or_else(|| "on".to_owned());
            let is_ticked = tag.contains(" checked");
            if !tag.contains("checkbox") || is_ticked {
                fields.push((name, value));
            }
        }
    }
    fields
}

/// Sends a form with some fields changed.
async fn send(
    visitor: &Visitor<'_>,
    path: &str,
    fields: &[(String, String)],
    changed: &[(&str, &str)],
) -> super::Page {
    let is_changed = |name: &str| changed.iter().any(|(each, _)| *each == name);
    let kept = fields.iter().filter(|(name, _)| !is_changed(name));
    let mut all: Vec<_> = kept
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    all.extend(changed);
    visitor.send(path, &all).await
}

#[tokio::test]
async fn the_list_names_our_own_and_those_that_ship() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    made(&front, "order.paid").await;

    let html = visitor.get(PATH).await.shown();
    assert!(
        html.contains("order.paid") && html.contains("ships with Postrider"),
        "{html}"
    );
    let own = visitor.get(&format!("{PATH}?source=own")).await.shown();
    assert!(
        own.contains("order.paid") && !own.contains("ships with Postrider"),
        "{own}"
    );
    let named = visitor.get(&format!("{PATH}?name=ORDER.P")).await.shown();
    assert!(
        named.contains("order.paid") && !named.contains("approval-request"),
        "{named}"
    );
    let none = visitor.get(&format!("{PATH}?tag=nowhere")).await.shown();
    assert!(none.contains("No template here"), "{none}");
}

#[tokio::test]
async fn a_form_that_is_sent_as_it_came_changes_nothing_and_a_change_is_a_version() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    let path = made(&front, "order.paid").await;
    let before = front.get("/v1/templates/order.paid").await.expect(200);
    let form = form_of(&visitor.get(&path).await.shown());

    let led = send(&visitor, &path, &form, &[("do", "save")])
        .await
        .led_to();
    assert!(visitor.get(&led).await.shown().contains("Saved."));
    let after = front.get("/v1/templates/order.paid").await.expect(200);
    for field in [
        "channels",
        "translations",
        "samples",
        "category",
        "enabled",
        "tags",
    ] {
        assert_eq!(after[field], before[field], "{field}");
    }

    let form = form_of(&visitor.get(&path).await.shown());
    let changed = [("/translations/de/in_app/title", "Bezahlt {{ number }}")];
    send(&visitor, &path, &form, &changed).await.led_to();
    let after = front.get("/v1/templates/order.paid").await.expect(200);
    assert_eq!(after["version"], 3);
    assert_eq!(
        after["translations"]["de"]["in_app"]["title"],
        "Bezahlt {{ number }}"
    );
    let html = visitor.get(&format!("{path}/versions/3")).await.shown();
    assert!(
        html.contains("gone\">− ") && html.contains("Auftrag"),
        "{html}"
    );
    assert!(
        html.contains("new\">+ ") && html.contains("Bezahlt"),
        "{html}"
    );
    assert!(html.contains("by key:pr_admin"), "{html}");
    visitor.get(&format!("{path}/versions/1")).await.shown();
    for gone in ["0", "4", "-1", "x", "99999999999"] {
        let page = visitor.get(&format!("{path}/versions/{gone}")).await;
        assert_eq!(page.status, 404, "{gone}");
    }
    let actions: Vec<String> = sqlx::query_scalar(
        "select action from audit where action like 'template.%' order by audit_id",
    )
    .fetch_all(front.store.pool())
    .await
    .unwrap();
    assert_eq!(
        actions,
        ["template.created", "template.replaced", "template.replaced"]
    );
}

#[tokio::test]
async fn whoever_was_overtaken_is_told_and_keeps_what_they_wrote() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    let path = made(&front, "order.paid").await;
    let form = form_of(&visitor.get(&path).await.shown());
    send(&visitor, &path, &form, &[("/category", "first")])
        .await
        .led_to();

    for _ in 0..2 {
        let page = send(&visitor, &path, &form, &[("/category", "second")]).await;
        assert_eq!(page.status, StatusCode::CONFLICT);
        assert!(
            page.text.contains("somebody else has saved"),
            "{}",
            page.text
        );
        assert!(page.text.contains("value=\"second\""), "{}", page.text);
    }
    let stored = front.get("/v1/templates/order.paid").await.expect(200);
    assert_eq!(
        (stored["category"].as_str(), stored["version"].as_i64()),
        (Some("first"), Some(2))
    );
    // One that ships is begun once.
    let builtin = format!("{PATH}/digest");
    let form = form_of(&visitor.get(&builtin).await.shown());
    send(&visitor, &builtin, &form, &[]).await.led_to();
    let page = send(&visitor, &builtin, &form, &[]).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn an_error_stands_at_its_field_and_nothing_is_saved() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    let path = made(&front, "order.paid").await;
    let form = form_of(&visitor.get(&path).await.shown());

    for (field, text) in [
        ("/channels/email/subject", "Hello {{ number"),
        ("/samples", "[{"),
        ("/samples", "[7]"),
        ("/category", "x\u{0}y"),
    ] {
        let page = send(&visitor, &path, &form, &[(field, text)]).await;
        assert_eq!(
            page.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{field}: {page:?}"
        );
        assert!(page.text.contains("Not saved"), "{}", page.text);
    }
    let wrong = [("/channels/email/subject", "Hello {{ number")];
    let html = send(&visitor, &path, &form, &wrong).await.text;
    let (_, rest) = html.split_once("id=\"/channels/email/subject\"").unwrap();
    assert!(
        rest.split("<textarea")
            .next()
            .unwrap()
            .contains("field-error"),
        "{rest}"
    );
    assert_eq!(
        front.get("/v1/templates/order.paid").await.expect(200)["version"],
        1
    );
}

#[tokio::test]
async fn a_template_is_begun_grows_and_is_removed() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    let drafts = "/console/drafts/template";
    let form = form_of(&visitor.get(drafts).await.shown());

    let more = [
        ("do", "add_channel"),
        ("add_channel", "sms"),
        ("/name", "a.b"),
    ];
    let html = send(&visitor, drafts, &form, &more).await.shown();
    assert!(html.contains("name=\"/channels/sms/body\""), "{html}");
    let form = form_of(&html);
    let more = [("do", "add_locale"), ("add_locale", "pt-BR")];
    let form = form_of(&send(&visitor, drafts, &form, &more).await.shown());
    let words = [
        ("/channels/sms/body", "Hi {{ who }}"),
        ("/translations/pt-BR/sms/body", "Oi {{ who }}"),
        ("/samples", "[{\"who\": \"Ada\"}]"),
        ("do", "save"),
    ];
    let led = send(&visitor, drafts, &form, &words).await.led_to();
    let stored = front.get("/v1/templates/a.b").await.expect(200);
    assert_eq!(stored["channels"], json!({"sms": {"body": "Hi {{ who }}"}}));
    assert_eq!(
        stored["translations"],
        json!({"pt-BR": {"sms": {"body": "Oi {{ who }}"}}})
    );
    let wrong = send(
        &visitor,
        drafts,
        &form,
        &[("do", "add_locale"), ("add_locale", "?")],
    )
    .await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    let again = send(&visitor, drafts, &form, &words).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "the name is taken");

    let (page, _) = led.split_once('?').unwrap();
    let led = visitor
        .submit(page, &format!("{page}/remove"), &[])
        .await
        .led_to();
    assert!(visitor.get(&led).await.shown().contains("a.b is removed"));
    front.get("/v1/templates/a.b").await.expect_problem(404);
}

#[tokio::test]
async fn a_draft_is_shown_as_it_would_be_told_and_kept_nowhere() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    let path = made(&front, "order.paid").await;
    let html = visitor.get(&path).await.shown();
    assert!(html.contains("Order 7"), "the first sample: {html}");
    let form = form_of(&html);
    let show = async |changed: &[(&str, &str)]| {
        let path = "/console/drafts/template/preview";
        send(&visitor, path, &form, changed).await.shown()
    };

    let german = [
        ("preview_channel", "in_app"),
        ("preview_locale", "de"),
        ("/translations/de/in_app/title", "Neu {{ number }}"),
    ];
    let html = show(&german).await;
    assert!(
        html.contains("Neu 7") && html.contains("in_app · de"),
        "{html}"
    );
    let other = [
        ("preview_channel", "email"),
        ("preview_data", "{\"number\": \"<b>\"}"),
    ];
    let html = show(&other).await;
    assert!(
        html.contains("Order &#60;b&#62;") && html.contains("sandbox"),
        "{html}"
    );
    assert!(
        !html.contains("<b>") && !html.contains("<script>"),
        "{html}"
    );
    for wrong in [
        [
            ("/channels/email/subject", "{{ number"),
            ("preview_channel", "email"),
        ],
        [("preview_data", "{"), ("preview_channel", "email")],
        [("preview_data", "[]"), ("preview_channel", "email")],
        [("preview_locale", "?"), ("preview_channel", "email")],
    ] {
        assert!(
            show(&wrong).await.contains("cannot be told yet"),
            "{wrong:?}"
        );
    }
    let mail = send(&visitor, "/console/drafts/template/mail", &form, &other).await;
    let policy = mail.policy.clone().unwrap();
    assert!(
        policy.starts_with("sandbox; default-src 'none';"),
        "{policy}"
    );
    assert!(mail.shown().contains("Rich"), "it is the mail");
    assert_eq!(front.count("template_versions").await, 1);
    assert_eq!(front.count("queue.jobs").await, 0);
}

#[tokio::test]
async fn what_people_wrote_stays_text() {
    let front = Front::start().await;
    let visitor = Visitor::admin(&front).await;
    let source = format!("{{% raw %}}{HOSTILE}{{% endraw %}}");
    let body = json!({"name": HOSTILE, "description": HOSTILE, "category": HOSTILE,
        "channels": {"in_app": {"title": source, "message": source},
            "slack": {"text": source}},
        "samples": [{HOSTILE: HOSTILE}], "tags": [HOSTILE]});
    let made = front.post("/v1/templates", body).await.expect(201);
    let path = format!("{PATH}/{}", made["id"].as_str().unwrap());
    let version = format!("{path}/versions/1");
    let by_name = format!("{PATH}/{}", super::encode(HOSTILE));
    let filtered = format!(
        "{PATH}?{}",
        super::query(&[("name", HOSTILE), ("tag", HOSTILE)])
    );

    for path in [PATH, &path, &version, &by_name, &filtered] {
        shows_as_text(&visitor.get(path).await.shown(), path);
    }
    let html = visitor.get(&path).await.shown();
    assert!(!token_in(&html).is_empty());
    let page = send(
        &visitor,
        &path,
        &form_of(&html),
        &[("/samples", "[<script>alert(1)]")],
    )
    .await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    shows_as_text(&page.text, "a refused form");
}
