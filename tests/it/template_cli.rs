//! `postrider template`, as a shell runs it.

use std::fs;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use testkit::TestDatabase;
use tokio::process::Command;

use crate::cli::{run, stdout};

const WELCOME: &str = "\
name: welcome
channels:
  email:
    subject: Hello {{ name }}
    body: |
      Hello, {{ name }}.

      This is all.
translations:
  ru:
    email:
      subject: Привет, {{ name }}
samples:
  - name: Ada
tags: [spring]
";

/// A folder of its own for a test.
fn folder(test: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    drop(fs::remove_dir_all(&dir));
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// Runs a command where no database is configured.
async fn alone(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_postrider"))
        .args(arguments)
        .args(["--data-dir", "no-such-folder"])
        .env_remove("DATABASE_URL")
        .env("POSTRIDER__LOG__FILTER", "error")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap()
}

fn of_json(output: &Output) -> Value {
    serde_json::from_str(stdout(output)).unwrap()
}

#[tokio::test]
async fn what_ships_is_listed_and_sound_without_a_database() {
    let list = of_json(&alone(&["template", "list", "--json"]).await);
    let list = list.as_array().unwrap();
    let filled = list.iter().find(|it| it["name"] == "order.filled").unwrap();
    assert_eq!(
        (&filled["version"], &filled["source"]),
        (&json!(0), &json!("builtin"))
    );
    let table = alone(&["template", "list"]).await;
    assert!(stdout(&table).contains("order.filled"));

    let checked = alone(&["template", "check"]).await;
    let expected = format!("{} templates, 0 problems", list.len());
    assert_eq!(stdout(&checked).lines().last(), Some(expected.as_str()));
}

#[tokio::test]
async fn a_message_is_rendered_from_a_file_in_a_language() {
    let path = folder("template_render").join("welcome.yaml");
    fs::write(&path, WELCOME).unwrap();
    let path = path.to_str().unwrap();

    let render = ["template", "render", "--file", path, "--channel", "email"];
    let shown = alone(&render).await;
    assert_eq!(stdout(&shown), "Hello Ada\n\nHello, Ada.\n\nThis is all.");
    let more = ["--locale", "ru-RU", "--data", r#"{"name":"Ю"}"#, "--json"];
    let shown = of_json(&alone(&[&render[..], &more[..]].concat()).await);
    assert_eq!(
        (&shown["subject"], &shown["locale"]),
        (&json!("Привет, Ю"), &json!("ru"))
    );

    let empty = alone(&[&render[..], &["--data", "{}"][..]].concat()).await;
    assert_eq!(empty.status.code(), Some(1));
    let error = String::from_utf8(empty.stderr).unwrap();
    assert!(
        error.starts_with("error: /channels/email/subject: line 1"),
        "{error}"
    );
    let unknown = alone(&["template", "render", "no.such", "--channel", "sms"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    let error = String::from_utf8(unknown.stderr).unwrap();
    assert!(error.contains("there is no template no.such"), "{error}");
}

#[tokio::test]
async fn a_check_names_file_and_line_of_each_problem_and_fails() {
    let dir = folder("template_check");
    fs::write(dir.join("good.yaml"), WELCOME).unwrap();
    let russian = WELCOME.replace("Привет, {{ name }}", "Привет, {{ nam }}");
    fs::write(dir.join("russian.yaml"), russian).unwrap();
    let broken = WELCOME.replace("This is all.", "This is {{ all.");
    fs::create_dir(dir.join("more")).unwrap();
    fs::write(dir.join("more/broken.yml"), broken).unwrap();
    fs::write(dir.join("notes.txt"), "not a template").unwrap();

    let checked = alone(&["template", "check", dir.to_str().unwrap()]).await;

    assert_eq!(checked.status.code(), Some(1));
    let text = String::from_utf8(checked.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(
        lines[0].contains("more/broken.yml:8: channels.email.body"),
        "{text}"
    );
    assert!(
        lines[1].contains("russian.yaml:12: translations.ru.email.subject"),
        "{text}"
    );
    assert_eq!(lines[2], "3 templates, 2 problems");
    let good = dir.join("good.yaml");
    let good = alone(&["template", "check", good.to_str().unwrap(), "--json"]).await;
    assert_eq!(of_json(&good), json!({"templates": 1, "problems": []}));
}

#[tokio::test]
async fn a_text_that_goes_too_deep_is_named_and_not_imported() {
    let database = TestDatabase::create().await;
    stdout(&run(&database, &["migrate"]).await);
    let dir = folder("template_deep");
    let deep = format!("This is {{{{ 1{} }}}}.", "+1".repeat(6000));
    let deep = WELCOME.replace("This is all.", &deep);
    fs::write(dir.join("deep.yaml"), deep).unwrap();
    let dir = dir.to_str().unwrap();

    for command in ["check", "import"] {
        let refused = run(&database, &["template", command, dir]).await;

        assert_eq!(refused.status.code(), Some(1), "{command}");
        let text = [refused.stdout, refused.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        let place = "deep.yaml:8: channels.email.body: has more than 200 operators";
        assert!(text.contains(place), "{command}: {text}");
    }
}

#[tokio::test]
async fn what_is_imported_is_exported_as_it_was() {
    let database = TestDatabase::create().await;
    stdout(&run(&database, &["migrate"]).await);
    let (from, to) = (folder("template_import"), folder("template_export"));
    fs::write(from.join("welcome.yaml"), WELCOME).unwrap();
    let filled = "name: order.filled\nchannels: {sms: {body: Filled}}\n";
    fs::write(from.join("filled.json"), filled).unwrap();
    let import = ["template", "import", from.to_str().unwrap(), "--json"];

    let first = of_json(&run(&database, &import).await);
    assert_eq!(
        first[0],
        json!({"name": "order.filled", "version": 1, "result": "created"})
    );
    let again = of_json(&run(&database, &import).await);
    assert_eq!(
        again[1],
        json!({"name": "welcome", "version": 1, "result": "unchanged"})
    );
    let export = ["template", "export", to.to_str().unwrap()];
    let written = run(&database, &export).await;
    assert_eq!(stdout(&written).lines().count(), 2);
    let back = ["template", "import", to.to_str().unwrap(), "--json"];
    let back = of_json(&run(&database, &back).await);
    assert!(
        back.as_array()
            .unwrap()
            .iter()
            .all(|it| it["result"] == "unchanged"),
        "{back}"
    );

    fs::write(from.join("filled.json"), filled.replace("Filled", "Done")).unwrap();
    let changed = of_json(&run(&database, &import).await);
    assert_eq!(
        changed[0],
        json!({"name": "order.filled", "version": 2, "result": "replaced"})
    );
    let list = of_json(&run(&database, &["template", "list", "--json"]).await);
    let own = list
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["source"] == "stored");
    assert_eq!(own.count(), 2);
    let shown = ["template", "render", "ORDER_FILLED", "--channel", "sms"];
    assert_eq!(stdout(&run(&database, &shown).await), "Done");
    let others = ["template", "list", "--tenant", "other", "--json"];
    let others = of_json(&run(&database, &others).await);
    assert!(
        others
            .as_array()
            .unwrap()
            .iter()
            .all(|it| it["source"] == "builtin")
    );

    fs::write(
        from.join("welcome.yaml"),
        WELCOME.replace("spring", "autumn"),
    )
    .unwrap();
    fs::write(
        from.join("broken.yaml"),
        "name: broken\nchannels: {sms: {body: \"{{ x\"}}\n",
    )
    .unwrap();
    let refused = run(&database, &import).await;
    assert_eq!(refused.status.code(), Some(1));
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("broken.yaml:2: "), "{error}");
    let versions: i64 = sqlx::query_scalar("select count(*) from template_versions")
        .fetch_one(&database.pool().await)
        .await
        .unwrap();
    assert_eq!(versions, 3);
}

#[tokio::test]
async fn a_check_without_files_finds_stored_templates_that_do_not_work_any_more() {
    let database = TestDatabase::create().await;
    stdout(&run(&database, &["migrate"]).await);
    let dir = folder("template_stored");
    fs::write(dir.join("welcome.yaml"), WELCOME).unwrap();
    stdout(&run(&database, &["template", "import", dir.to_str().unwrap()]).await);
    stdout(&run(&database, &["template", "check"]).await);

    // As an engine that has learnt to be stricter would see it.
    sqlx::query("update template_versions set body = jsonb_set(body, $1, $2)")
        .bind(["channels", "email", "subject"])
        .bind(json!("{{ name | no_such_filter }}"))
        .execute(&database.pool().await)
        .await
        .unwrap();

    let checked = run(&database, &["template", "check"]).await;
    assert_eq!(checked.status.code(), Some(1));
    let text = String::from_utf8(checked.stdout).unwrap();
    let place = "stored welcome version 1/channels/email/subject:1: ";
    assert!(text.lines().any(|line| line.starts_with(place)), "{text}");
}
