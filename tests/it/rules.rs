//! Rules over the API and from files: made, heeded, changed, refused, removed.

use std::fs;
use std::path::Path;

use domain::Role;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{TestDatabase, eventually};

use crate::SOON;
use crate::cli::{run, stdout};
use crate::front::{ADMIN_KEY, Front, token};
use crate::house::House;
use crate::once::post_once;

fn margin_call() -> Value {
    json!({
        "name": "Margin Call",
        "event_type": "MARGIN_CALL",
        "conditions": [{"field": "severity", "operator": "gte", "value": "high"}],
        "actions": [{
            "channels": ["INAPP", "sms"], "fallback": ["push"], "priority": "high",
            "recipients": {"type": "dynamic", "expression": "event.data.user_id"},
            "batch_window": "5m", "batch_size": 100, "batch_key": "event.data.account_id",
        }],
    })
}

#[tokio::test]
async fn a_rule_is_made_shown_changed_and_removed_by_id_or_name() {
    let front = Front::start().await;
    let made = front.post("/v1/rules", margin_call()).await.expect(201);
    assert_eq!(
        (&made["version"], &made["source"]),
        (&json!(1), &json!("api"))
    );
    assert_eq!(made["event_types"], json!(["MARGIN_CALL"]));
    assert_eq!(made["actions"][0]["channels"], json!(["in_app", "sms"]));
    let id = made["id"].as_str().unwrap();
    for path in [
        format!("/v1/rules/{id}"),
        "/v1/rules/Margin%20Call".to_owned(),
    ] {
        assert_eq!(front.get(&path).await.expect(200), made);
    }
    front
        .post("/v1/rules", margin_call())
        .await
        .expect_problem(409);

    let other = json!({"name": "Orders", "domains": ["order"], "channels": ["email"]});
    front.post("/v1/rules", other.clone()).await.expect(201);
    let listed = front.get("/v1/rules?limit=1").await.expect(200);
    assert_eq!(listed["items"][0]["name"], "Orders");
    let cursor = listed["next_cursor"].as_str().unwrap();
    let rest = front
        .get(&format!("/v1/rules?cursor={cursor}"))
        .await
        .expect(200);
    assert_eq!(rest["items"][0]["id"], made["id"]);

    let renamed = json!({"name": "Calls", "when": "event.type == 'a'", "channels": ["email"]});
    let changed = front
        .put(&format!("/v1/rules/{id}"), renamed)
        .await
        .expect(200);
    assert_eq!(
        (&changed["version"], &changed["name"]),
        (&json!(2), &json!("Calls"))
    );
    assert_eq!(changed["created_at"], made["created_at"]);
    front
        .put("/v1/rules/Calls", other)
        .await
        .expect_problem(409);
    front
        .put("/v1/rules/none", margin_call())
        .await
        .expect_problem(404);

    assert_eq!(front.delete("/v1/rules/Calls").await.status, 204);
    front.delete("/v1/rules/Calls").await.expect_problem(404);
    front
        .get(&format!("/v1/rules/{id}"))
        .await
        .expect_problem(404);
}

#[tokio::test]
async fn a_rule_is_heeded_by_the_next_event_and_a_removed_one_is_not() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let rule = json!({
        "name": "desk", "event_type": "desk.opened", "when": "event.data.size > 1",
        "recipients": ["ada", "grace"], "channels": ["in_app"],
    });
    front.post("/v1/rules", rule).await.expect(201);
    let opened = |size: u32| json!({"type": "DESK_OPENED", "payload": {"size": size}});

    front.post("/v1/events", opened(1)).await.expect(202);
    front.post("/v1/events", opened(2)).await.expect(202);
    eventually(SOON, async || front.count("inbox").await == 2).await;

    front.delete("/v1/rules/desk").await.expect_gone();
    let plain = json!({"type": "desk.opened", "payload": {"size": 3, "user_id": "mary"}});
    front.post("/v1/events", plain).await.expect(202);
    // Who is named by the payload hears of it, and nobody else.
    eventually(SOON, async || front.count("inbox").await == 3).await;
    let of_mary = front
        .get("/v1/notifications?user_id=mary")
        .await
        .expect(200);
    assert_eq!(of_mary["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn what_is_wrong_with_a_rule_is_named_and_nothing_is_stored() {
    let front = Front::start().await;
    let bad = json!({
        "name": "bad", "when": "event.type ==", "colour": 1,
        "actions": [{"channels": ["pigeon"], "batch_size": 5}],
    });
    let mut pointers = front.post("/v1/rules", bad).await.expect_problem(422);
    pointers.sort();
    let expected = [
        "/actions/0/batch_window",
        "/actions/0/channels/0",
        "/colour",
        "/when",
    ];
    assert_eq!(pointers, expected);
    for body in [
        json!([]),
        json!(7),
        json!({"name": "x".repeat(300), "channels": ["email"]}),
    ] {
        assert!(front.post("/v1/rules", body).await.status.is_client_error());
    }
    let listed = front.get("/v1/rules").await.expect(200);
    assert_eq!(listed["items"], json!([]));
}

#[tokio::test]
async fn a_repeated_post_makes_one_rule() {
    let front = Front::start().await;
    let first = post_once(&front, ADMIN_KEY, "/v1/rules", "key-1", &margin_call()).await;
    let again = post_once(&front, ADMIN_KEY, "/v1/rules", "key-1", &margin_call()).await;
    assert_eq!(first.expect(201), again.expect(201));
}

#[tokio::test]
async fn rules_are_written_by_admins_and_seen_by_their_tenant() {
    let front = Front::start().await;
    front
        .create_key("pr_reader_key_of_the_tests_01234", "default", &[Role::Read])
        .await;
    front
        .create_key("pr_other_key_of_the_tests_012345", "other", &[Role::Admin])
        .await;
    front.post("/v1/rules", margin_call()).await.expect(201);
    let path = "/v1/rules/Margin%20Call";
    let user = token("ada");
    for (credential, method, body, status) in [
        ("", Method::GET, None, 401),
        (user.as_str(), Method::GET, None, 403),
        ("pr_reader_key_of_the_tests_01234", Method::GET, None, 200),
        (
            "pr_reader_key_of_the_tests_01234",
            Method::PUT,
            Some(margin_call()),
            403,
        ),
        (
            "pr_reader_key_of_the_tests_01234",
            Method::DELETE,
            None,
            403,
        ),
        ("pr_other_key_of_the_tests_012345", Method::GET, None, 404),
        (
            "pr_other_key_of_the_tests_012345",
            Method::DELETE,
            None,
            404,
        ),
        (ADMIN_KEY, Method::GET, None, 200),
    ] {
        let answer = front
            .call(method.clone(), path, credential, body.as_ref())
            .await;
        assert_eq!(answer.status, status, "{method} as {credential}");
    }
}

#[tokio::test]
async fn every_change_of_a_rule_is_in_the_audit() {
    let front = Front::start().await;
    let made = front.post("/v1/rules", margin_call()).await.expect(201);
    front
        .put("/v1/rules/Margin%20Call", margin_call())
        .await
        .expect(200);
    front.delete("/v1/rules/Margin%20Call").await;

    let mut connection = front.store.acquire().await.unwrap();
    let entries = store::audit::list(
        &mut connection,
        &"default".into(),
        &store::audit::AuditFilter::default(),
        None,
        10,
    )
    .await;
    let of_rules: Vec<_> = entries
        .unwrap()
        .into_iter()
        .filter(|entry| made["id"] == entry.subject)
        .map(|entry| entry.action)
        .collect();
    assert_eq!(of_rules, ["rule.removed", "rule.replaced", "rule.created"]);
}

const FILE: &str = "\
rules:
  - name: Margin Call
    event_type: MARGIN_CALL
    conditions: [{field: severity, operator: gte, value: high}]
    actions:
      - type: notify
        channels: [in_app, sms]
        recipients: {type: dynamic, expression: event.data.user_id}
  - name: Orders
    domains: [order]
    channels: [email]
";

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn json_of(output: &std::process::Output) -> Value {
    serde_json::from_str(stdout(output)).unwrap()
}

#[tokio::test]
async fn files_are_applied_whole_and_pruned() {
    let database = TestDatabase::create().await;
    stdout(&run(&database, &["migrate"]).await);
    let directory = tempfile::tempdir().unwrap();
    let both = write(directory.path(), "rules.yaml", FILE);
    let dry = run(&database, &["rules", "apply", &both, "--dry-run", "--json"]).await;
    assert_eq!(json_of(&dry)["created"], json!(["Margin Call", "Orders"]));
    let listed = run(&database, &["rules", "list", "--json"]).await;
    assert_eq!(json_of(&listed), json!([]));

    let applied = run(&database, &["rules", "apply", &both]).await;
    let text = stdout(&applied);
    assert!(text.contains("created  Margin Call"), "{text}");
    assert!(
        text.ends_with("created 2, updated 0, removed 0; 0 as before"),
        "{text}"
    );
    let again = run(&database, &["rules", "apply", &both, "--prune", "--json"]).await;
    assert_eq!(json_of(&again)["left"], 2);

    let one = FILE
        .split("  - name: Orders")
        .next()
        .unwrap()
        .replace("sms", "email");
    let one = write(directory.path(), "one.yaml", &one);
    let pruned = run(&database, &["rules", "apply", &one, "--prune", "--json"]).await;
    let pruned = json_of(&pruned);
    assert_eq!(pruned["updated"], json!(["Margin Call"]));
    assert_eq!(pruned["removed"], json!(["Orders"]));
    let listed = json_of(&run(&database, &["rules", "list", "--json"]).await);
    assert_eq!(listed[0]["source"], "file");
    assert_eq!(listed[0]["version"], 2);
    let table = run(&database, &["rules", "list"]).await;
    assert!(stdout(&table).contains("MARGIN_CALL"));
}

#[tokio::test]
async fn a_file_with_a_problem_changes_nothing_and_names_the_line() {
    let database = TestDatabase::create().await;
    stdout(&run(&database, &["migrate"]).await);
    let directory = tempfile::tempdir().unwrap();
    let bad = write(
        directory.path(),
        "rules.yaml",
        &FILE.replace("[email]", "[pigeon]"),
    );
    for command in ["check", "apply"] {
        let output = run(&database, &["rules", command, &bad]).await;
        assert!(!output.status.success());
        let text = String::from_utf8(output.stderr).unwrap();
        let expected = format!("{bad}:11: rule `Orders`: /channels/0 must be one of");
        assert!(text.starts_with(&expected), "{text}");
    }
    let checked = run(&database, &["rules", "check", &bad, "--json"]).await;
    let problems: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(problems["problems"][0]["line"], 11);
    let listed = run(&database, &["rules", "list", "--json"]).await;
    assert_eq!(json_of(&listed), json!([]));

    let good = write(directory.path(), "good.yaml", FILE);
    let checked = run(&database, &["rules", "check", &good]).await;
    assert_eq!(stdout(&checked), "2 rules good");
}

#[tokio::test]
async fn a_template_that_is_not_there_is_warned_of_and_the_dry_run_says_how_it_ends() {
    let house = House::with_outbox().await;
    let front = &house.front;
    let rule = json!({"name": "Later", "event_type": "later", "template": "not.yet",
                      "recipients": ["ada"]});
    let made = front.post("/v1/rules", rule.clone()).await.expect(201);
    let detail = "names the template `not.yet`, which there is not yet";
    let warnings = json!([{"pointer": "/actions/0/template", "detail": detail}]);
    assert_eq!(made["warnings"], warnings);
    let replaced = front.put("/v1/rules/Later", rule.clone()).await.expect(200);
    assert_eq!(replaced["warnings"], warnings);
    let shown = front.get("/v1/rules/Later").await.expect(200);
    assert_eq!(shown["warnings"], Value::Null);

    let event = json!({"type": "later", "payload": {}});
    let dry = json!({ "event": event });
    let dry = front.post("/v1/rules/test", dry).await.expect(200);
    let delivery = &dry["notifications"][0]["deliveries"][0];
    assert_eq!(delivery["status"], "failed");
    assert_eq!(delivery["due_at"], Value::Null);

    front.post("/v1/events", event).await.expect(202);
    let path = "/v1/notifications?user_id=ada&status=failed";
    eventually(SOON, async || {
        front.get(path).await.expect(200)["items"][0].is_object()
    })
    .await;
    let failed = front.get(path).await.expect(200);
    let path = format!(
        "/v1/notifications/{}",
        failed["items"][0]["id"].as_str().unwrap()
    );
    let real = front.get(&path).await.expect(200);
    assert_eq!(real["deliveries"][0]["status"], delivery["status"]);
    assert_eq!(real["deliveries"][0]["error"], delivery["error"]);

    let template =
        json!({"name": "not.yet", "channels": {"in_app": {"title": "a", "message": "b"}}});
    front.post("/v1/templates", template).await.expect(201);
    let replaced = front.put("/v1/rules/Later", rule).await.expect(200);
    assert_eq!(replaced.get("warnings"), None);
}

#[tokio::test]
async fn files_that_name_templates_there_are_not_are_applied_with_a_warning() {
    let database = TestDatabase::create().await;
    stdout(&run(&database, &["migrate"]).await);
    let directory = tempfile::tempdir().unwrap();
    let text = FILE.replace(
        "channels: [email]",
        "channels: [email]\n    template: not.yet",
    );
    let file = write(directory.path(), "rules.yaml", &text);
    let expected = "warning: rule `Orders`: /actions/0/template names the template `not.yet`, which \
                    there is not yet";
    for command in ["check", "apply"] {
        let output = run(&database, &["rules", command, &file]).await;
        assert!(output.status.success());
        let text = String::from_utf8(output.stderr.clone()).unwrap();
        assert!(text.contains(expected), "{command}: {text}");
        let told = json_of(&run(&database, &["rules", command, &file, "--json"]).await);
        assert_eq!(told["warnings"][0]["pointer"], "/actions/0/template");
    }
}
