//! What the sources may say, and what is answered when they say it wrong.

use std::time::Duration;

use serde_json::json;

use super::yaml::Yaml;
use super::*;

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn load(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(variables(pairs))
}

fn read(file: &str, pairs: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let yaml = Yaml::new("x.yaml", file);
    Loaded::read(variables(pairs).into_iter().collect(), Some(yaml))
}

fn problems(file: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    read(file, pairs).unwrap_err().problems
}

#[test]
fn a_setting_is_read_by_section_and_key() {
    let config = load(&[
        ("POSTRIDER__HTTP__LISTEN", "0.0.0.0:9000"),
        ("POSTRIDER__SHUTDOWN__GRACE", "3s"),
        ("POSTRIDER__WORK__QUEUES", "route, render"),
        ("POSTRIDER__RETRY__WEB_PUSH__ATTEMPTS", "3"),
        ("UNRELATED", "x"),
    ])
    .unwrap();

    assert_eq!(config.http.listen.to_string(), "0.0.0.0:9000");
    assert_eq!(config.shutdown.grace, Duration::from_secs(3));
    assert_eq!(config.work.queues, ["route", "render"]);
    assert_eq!(config.retry.web_push.attempts, 3);
}

#[test]
fn all_problems_are_reported_together() {
    let problems = problems(
        "http:\n  lisen: 1\nintake:\n  committers: 0\n",
        &[
            ("POSTRIDER__HTTP__LISTEN", "nowhere"),
            ("POSTRIDER__QUEU__LEASE", "3s"),
            ("POSTRIDER__INTAKE__GROUP_ROWS", "0"),
            ("PORT", "http"),
        ],
    );

    assert_eq!(
        problems,
        [
            "x.yaml:2: there is no setting `http.lisen`; did you mean `http.listen`?",
            "PORT: expected a number from 0 to 65535",
            "POSTRIDER__HTTP__LISTEN: expected an address with a port, such as 127.0.0.1:8003",
            "POSTRIDER__QUEU__LEASE: there is no setting `queu.lease`; docs/configuration.md lists \
             them all",
            "POSTRIDER__INTAKE__GROUP_ROWS: intake.group_rows must be at least 1",
            "x.yaml:4: intake.committers must be at least 1",
        ]
    );
}

#[test]
fn port_opens_the_address_and_our_own_name_wins_over_it() {
    assert_eq!(
        load(&[("PORT", "80")]).unwrap().http.listen.to_string(),
        "0.0.0.0:80"
    );
    let both = load(&[("PORT", "80"), ("POSTRIDER__HTTP__LISTEN", "127.0.0.1:81")]).unwrap();
    assert_eq!(both.http.listen.to_string(), "127.0.0.1:81");
}

#[test]
fn a_secret_can_be_a_file_and_is_not_printed() {
    let path = std::env::temp_dir().join(format!("postrider-secret-{}", std::process::id()));
    std::fs::write(&path, "hush\n").unwrap();

    let config = load(&[("JWT_SECRET_FILE", path.to_str().unwrap())]).unwrap();

    std::fs::remove_file(&path).unwrap();
    assert_eq!(config.auth.jwt_secret.as_ref().unwrap().reveal(), "hush");
    assert!(!format!("{config:?}").contains("hush"));
}

#[test]
fn an_empty_variable_unsets_what_can_be_unset_and_leaves_the_rest() {
    let file = "smtp:\n  url: smtp://mail.example\n  from: ada@example.com\n";
    let config = read(file, &[("SMTP_URL", ""), ("MAIL_FROM", "")])
        .unwrap()
        .config;

    assert_eq!(config.smtp.url, None);
    assert_eq!(config.smtp.from, "ada@example.com");
}

#[test]
fn a_value_and_its_file_together_are_refused() {
    let error = load(&[("DATABASE_URL", "x"), ("DATABASE_URL_FILE", "/y")]).unwrap_err();
    assert_eq!(
        error.problems,
        ["DATABASE_URL and DATABASE_URL_FILE are both set; keep one"]
    );
}

/// The names of channels that no setting of ours reads yet belong to others, too.
#[test]
fn names_that_other_tools_set_are_left_alone() {
    load(&[
        ("SENDGRID_API_KEY", "x"),
        ("TWILIO_AUTH_TOKEN_FILE", "/nowhere"),
        ("KAFKA_BROKERS", "x:9092"),
    ])
    .unwrap();
}

const WHOLE: &str = "\
http:
  listen: 127.0.0.1:${HTTP_PORT:-9001}
database:
  url: ${DB}
  connections_max: 4
work:
  queues: [route, ${EXTRA}]
  channels: {sms: 2}
retry:
  email:
    attempts: 3
webhook:
  headers:
    X-Team: core
    X-Count: 010
  allow_cidrs:
    - 10.0.0.0/8
log:
";

#[test]
fn a_file_is_read_with_its_variables_below_the_environment() {
    let file = WHOLE.replace("${EXTRA}", "\"${EXTRA}\"");
    let loaded = read(
        &file,
        &[
            ("DB", "postgres://ada:hush@db/app"),
            ("EXTRA", "render"),
            ("POSTRIDER__DATABASE__CONNECTIONS_MAX", "7"),
        ],
    )
    .unwrap();
    let config = &loaded.config;

    assert_eq!(config.http.listen.port(), 9001);
    let url = config.database.url.as_ref().map(Secret::reveal);
    assert_eq!(url, Some("postgres://ada:hush@db/app"));
    assert_eq!(config.database.connections_max, 7);
    assert_eq!(config.work.queues, ["route", "render"]);
    assert_eq!(config.work.channels.sms, Some(2));
    assert_eq!(config.retry.email.attempts, 3);
    assert_eq!(config.webhook.headers["X-Count"].reveal(), "010");
    assert_eq!(config.webhook.allow_cidrs, ["10.0.0.0/8"]);

    let shown = loaded.settings();
    let setting = |path: &str| {
        let found = shown.iter().find(|setting| setting.path == path).unwrap();
        (found.value.clone(), found.origin.to_string())
    };
    for (path, value, origin) in [
        ("http.listen", json!("127.0.0.1:9001"), "x.yaml:2"),
        (
            "database.url",
            json!("postgres://ada:****@db/app"),
            "x.yaml:4",
        ),
        (
            "database.connections_max",
            json!(7),
            "POSTRIDER__DATABASE__CONNECTIONS_MAX",
        ),
        ("work.channels.sms", json!(2), "x.yaml:8"),
        (
            "webhook.headers",
            json!({"X-Team": "****", "X-Count": "****"}),
            "x.yaml:13",
        ),
        ("intake.retention", json!("90d"), "default"),
        ("auth.jwt_secret", json!(null), "default"),
    ] {
        assert_eq!(setting(path), (value, origin.to_owned()), "{path}");
    }
    assert!(!format!("{loaded:?}").contains("hush"));
}

#[test]
fn every_mistake_in_a_file_names_its_line() {
    for (file, problem) in [
        (
            "- http\n",
            "x.yaml:1: expected sections such as `http:`, with their settings indented below",
        ),
        (
            "yes\n",
            "x.yaml:1: expected sections such as `http:`, with their settings indented below",
        ),
        (
            "\nhttp: 8003\n",
            "x.yaml:2: `http` is a section; put its settings below it, indented",
        ),
        (
            "htpp:\n  listen: x\n",
            "x.yaml:1: there is no setting `htpp`; did you mean `http`?",
        ),
        (
            "zebra: 1\n",
            "x.yaml:1: there is no setting `zebra`; docs/configuration.md lists them all",
        ),
        (
            "http:\n  listen: [a]\n",
            "x.yaml:2: http.listen: expected an address with a port, such as \
          127.0.0.1:8003, not a list",
        ),
        (
            "http:\n  listen: {a: 1}\n",
            "x.yaml:2: http.listen: expected an address with a port, such \
          as 127.0.0.1:8003, not settings of its own",
        ),
        (
            "work:\n  queues:\n  - a\n  - [b]\n",
            "x.yaml:4: expected one value here, without more below \
          it",
        ),
        (
            "log:\n  filter: info\n  filter: debug\n",
            "x.yaml:3: `log.filter` is set already in line 2",
        ),
        (
            "log:\n  filter: a\nlog:\n  format: json\n",
            "x.yaml:3: `log` is set already in line 1",
        ),
        (
            "log.filter: info\n",
            "x.yaml:1: there is no `log.filter`: write each part on a line of its \
          own, indented, without dots",
        ),
        (
            "LOG:\n  filter: a\n",
            "x.yaml:1: there is no setting `LOG`; did you mean `log`?",
        ),
        (
            "webhook:\n  headers:\n    A: 1\n    A: 2\n",
            "x.yaml:4: `A` is set already in line 3",
        ),
        (
            "database:\n  url: ${DB}\n",
            "x.yaml:2: DB is not set; set it, or write `${DB:-default}`",
        ),
        (
            "work:\n  queues: [a,\n    '${B}']\n",
            "x.yaml:3: B is not set; set it, or write \
          `${B:-default}`",
        ),
        (
            "webhook:\n  allow_cidrs: [10.0.0.1/99]\n",
            "x.yaml:2: webhook.allow_cidrs has \
          `10.0.0.1/99`, which is no network such as 10.0.0.0/8",
        ),
        (
            "webhook:\n  headers: {a b: c}\n",
            "x.yaml:2: webhook.headers has `a b`, which is no name of \
          a header",
        ),
        (
            "retry:\n  sms:\n    longest_wait: 1s\n",
            "x.yaml:3: retry.sms.longest_wait must not be \
          below first_wait",
        ),
        (
            "work:\n  queues: emial\n",
            "x.yaml:2: work.queues has `emial`; there are route, render, \
          retry, quiet_hours, batch_flush, email, sms, voice, push, web_push, slack, webhook, in_app, pagerduty",
        ),
        (
            "log:\n  filter: a=b=c\n",
            "x.yaml:2: log.filter is no log filter, such as \
          info,postrider::live=debug",
        ),
        (
            "smtp:\n  url: http://u:hush@h\n",
            "x.yaml:2: smtp.url cannot be used: the SMTP URL must begin with smtp:// or smtps://",
        ),
    ] {
        assert_eq!(problems(file, &[]), [problem], "{file}");
    }
}

#[test]
fn an_empty_file_and_empty_sections_change_nothing() {
    for file in [
        "",
        "# nothing\n",
        "http:\ndatabase: ~\n",
        "http: {}\n",
        "log:\n  filter:\n",
    ] {
        assert_eq!(
            read(file, &[]).unwrap().config.log.filter,
            "info",
            "{file:?}"
        );
    }
}

#[test]
fn a_mistyped_variable_is_told_what_was_meant() {
    let error = load(&[("POSTRIDER__WEBHOOK__ALOW_CIDRS", "x")]).unwrap_err();
    assert_eq!(
        error.problems,
        [
            "POSTRIDER__WEBHOOK__ALOW_CIDRS: there is no setting `webhook.alow_cidrs`; did you mean \
          `webhook.allow_cidrs`?"
        ]
    );
}

#[test]
fn a_file_that_is_named_and_missing_is_an_error() {
    let error = Loaded::from_environment(Some("/nowhere/x.yaml".as_ref())).unwrap_err();
    assert!(
        error.problems[0].starts_with("/nowhere/x.yaml: could not read it: "),
        "{error}"
    );
}

#[test]
fn every_setting_is_documented_and_has_a_default_that_passes() {
    assert_eq!(Config::default().cross_check(), []);
    let mut config = Config::default();
    for entry in tree::Outline::of(&mut config).entries {
        assert!(
            !entry.doc.trim().is_empty(),
            "{} needs a sentence",
            entry.path
        );
    }
}

#[test]
fn the_page_of_all_settings_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page(),
        "run `postrider config page > docs/configuration.md` and look at what it changes"
    );
}
