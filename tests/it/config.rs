//! The configuration file and its commands, as a shell runs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A directory with a configuration file, to run commands in.
struct Place {
    dir: PathBuf,
}

impl Place {
    fn new(name: &str, file: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("postrider-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("postrider.yaml"), file).unwrap();
        Self { dir }
    }

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_postrider"))
            .args(arguments)
            .current_dir(&self.dir)
            .env_clear()
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

fn lines(text: &[u8]) -> Vec<&str> {
    std::str::from_utf8(text).unwrap().lines().collect()
}

#[test]
fn a_usable_configuration_is_said_to_be_so() {
    let place = Place::new("config-ok", "log:\n  filter: ${LEVEL:-warn}\n");

    let output = place.run(&["config", "check"], &[]);

    assert_eq!(output.status.code(), Some(0));
    assert_eq!(lines(&output.stdout), ["the configuration is usable"]);
}

#[test]
fn every_problem_has_a_line_of_its_own_and_the_exit_says_so() {
    let place = Place::new("config-bad", "htpp: {}\nlog:\n  format: loud\n");

    let output = place.run(&["config", "check"], &[("POSTRIDER__LOG__FLITER", "x")]);

    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        lines(&output.stderr),
        [
            "postrider.yaml:1: there is no setting `htpp`; did you mean `http`?",
            "postrider.yaml:3: log.format: expected auto, human or json",
            "POSTRIDER__LOG__FLITER: there is no setting `log.fliter`; did you mean `log.filter`?",
        ]
    );
    let output = place.run(&["config", "check", "--json"], &[]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["usable"], false);
    assert_eq!(answer["problems"].as_array().unwrap().len(), 2);
}

/// What is a text to the configuration has to be a key to whoever signs with it.
#[test]
fn what_no_worker_would_start_with_is_not_usable() {
    let place = Place::new("config-worker", "");

    let output = place.run(&["config", "check"], &[("WEBHOOK_SECRET", "whsec_hush!")]);

    assert_eq!(output.status.code(), Some(1));
    let text = lines(&output.stderr).join("\n");
    assert!(text.contains("secret") && !text.contains("hush"), "{text}");
}

/// Whatever else is asked for: a role with a mistyped setting does not start without it.
#[test]
fn every_other_command_refuses_it_in_one_line() {
    let place = Place::new("config-refused", "log:\n  format: loud\n");

    let output = place.run(&["token", "--user", "u"], &[("JWT_SECRET", "s")]);

    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        lines(&output.stderr),
        [
            "error: the configuration is not usable: postrider.yaml:2: log.format: expected auto, \
          human or json"
        ]
    );
}

#[test]
fn a_named_file_takes_the_place_of_the_usual_one_and_has_to_be_there() {
    let place = Place::new("config-named", "htpp: {}\n");
    std::fs::write(place.path().join("other.yaml"), "smtp:\n  hello: us\n").unwrap();

    let named = ["config", "show", "--json", "--config", "other.yaml"];
    let shown = place.run(&named, &[]);
    let missing = place.run(&["--config", "none.yaml", "config", "check"], &[]);

    let settings: Vec<Value> = serde_json::from_slice(&shown.stdout).unwrap();
    let hello = settings.iter().find(|it| it["setting"] == "smtp.hello");
    assert_eq!(hello.unwrap()["from"], "other.yaml:2");
    assert_eq!(missing.status.code(), Some(1));
    let text = lines(&missing.stderr)[0];
    assert!(text.starts_with("none.yaml: could not read it: "), "{text}");
}

/// An operator pastes this into a ticket.
#[test]
fn what_is_shown_names_its_source_and_no_secret() {
    let file = "\
smtp:
  url: smtp://ada:${PASSWORD}@mail.example
webhook:
  headers: {X-Team: \"hush-2\"}
  bearer: hush-3
";
    let place = Place::new("config-show", file);
    std::fs::write(place.path().join("secret"), "hush-4\n").unwrap();
    std::fs::create_dir(place.path().join("data")).unwrap();
    std::fs::write(
        place.path().join("data/database_url"),
        "postgres://u:hush-5@h/d\n",
    )
    .unwrap();
    let variables = [
        ("PASSWORD", "hush-1"),
        ("JWT_SECRET_FILE", "secret"),
        ("WEBHOOK_SECRET", "whsec_hush-6"),
        ("PORT", "8080"),
    ];

    let shown = place.run(&["config", "show", "--data-dir", "data"], &variables);

    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(!text.contains("hush"), "{text}");
    let row = |name: &str| -> Vec<&str> {
        let row = text.lines().find(|line| line.starts_with(name)).unwrap();
        row.split_whitespace().collect()
    };
    for (name, value, source) in [
        (
            "smtp.url",
            "smtp://ada:****@mail.example",
            "postrider.yaml:2",
        ),
        ("webhook.headers", "X-Team=****", "postrider.yaml:4"),
        ("webhook.bearer", "****", "postrider.yaml:5"),
        ("auth.jwt_secret", "****", "JWT_SECRET_FILE"),
        ("database.url", "postgres://u:****@h/d", "data/database_url"),
        ("webhook.secret", "****", "WEBHOOK_SECRET"),
        ("http.listen", "0.0.0.0:8080", "PORT"),
        ("webhook.timeout", "10s", "default"),
    ] {
        assert_eq!(row(name), [name, value, source]);
    }
}

#[test]
fn completions_are_written_without_looking_at_the_configuration() {
    let place = Place::new("config-completions", "htpp: {}\n");

    for shell in ["bash", "zsh", "fish"] {
        let output = place.run(&["completions", shell], &[]);
        assert_eq!(output.status.code(), Some(0));
        assert!(
            String::from_utf8(output.stdout)
                .unwrap()
                .contains("dead-letters")
        );
    }
    let unknown = place.run(&["completions", "tcsh"], &[]);
    assert_eq!(unknown.status.code(), Some(2));
}
