//! Rules about the floors of the house: which crate may know which.
//!
//! A missing line in a `Cargo.toml` is what enforces most of them; these tests keep it missing.

use super::repository::{File, Findings, files};

/// Which of our crates each crate may depend on. `ARCHITECTURE.md` says why.
const MAY_USE: [(&str, &[&str]); 9] = [
    // No channels: the front cannot send.
    (
        "postrider",
        &["workers", "queue", "store", "render", "callbacks", "domain"],
    ),
    (
        "postrider-workers",
        &[
            "queue",
            "store",
            "channels",
            "render",
            "callbacks",
            "domain",
        ],
    ),
    // Nothing of ours: the queue does not know what a notification is.
    ("postrider-queue", &[]),
    ("postrider-store", &["domain"]),
    ("postrider-channels", &["domain"]),
    ("postrider-render", &["domain"]),
    ("postrider-callbacks", &["domain"]),
    ("postrider-domain", &[]),
    ("postrider-testkit", &["queue", "store", "domain"]),
];

/// Crates that only some of ours may name: each is the tool of one floor.
const BELONGS_TO: [(&str, &[&str]); 10] = [
    (
        "sqlx",
        &["postrider-queue", "postrider-store", "postrider-testkit"],
    ),
    ("apalis", &["postrider-queue", "postrider-workers"]),
    ("apalis-core", &["postrider-queue", "postrider-workers"]),
    ("axum", &["postrider"]),
    ("async-nats", &["postrider"]),
    ("rdkafka", &["postrider"]),
    // The front fetches the keys of user tokens, and nothing else.
    ("reqwest", &["postrider-channels", "postrider"]),
    ("lettre", &["postrider-channels"]),
    ("minijinja", &["postrider-render"]),
    ("tokio-tungstenite", &[]),
];

/// All that the domain may use: it decides, and has no I/O, no runtime and no clock.
const PURE: [&str; 12] = [
    "base64",
    "cel",
    "chrono",
    "chrono-tz",
    "croner",
    "regex",
    "regex-syntax",
    "serde",
    "serde_json",
    "sha2",
    "thiserror",
    "uuid",
];

#[test]
fn no_crate_depends_on_one_it_must_not_know() {
    let mut findings = Findings::default();
    for manifest in files("toml")
        .into_iter()
        .filter(|file| file.path.ends_with("Cargo.toml"))
    {
        let package = package_name(&manifest);
        let Some((_, may_use)) = MAY_USE.iter().find(|(name, _)| *name == package) else {
            findings.add(
                &manifest,
                1,
                "say in tests/tidy.rs which crates this one may use",
            );
            continue;
        };
        for (number, dependency) in dependencies(&manifest) {
            let is_allowed = if let Some(ours) = dependency.strip_prefix("postrider-") {
                may_use.contains(&ours)
            } else if package == "postrider-domain" {
                PURE.contains(&dependency)
            } else {
                BELONGS_TO
                    .iter()
                    .find(|(name, _)| *name == dependency)
                    .is_none_or(|(_, owners)| owners.contains(&package))
            };
            if !is_allowed {
                let advice = format!("{package} must not depend on {dependency}");
                findings.add(&manifest, number, advice);
            }
        }
    }
    findings.expect_none();
}

/// The two files that would change if apalis were replaced.
const APALIS_FILES: [&str; 2] = ["crates/queue/src/backend.rs", "workers/src/runtime.rs"];

#[test]
fn apalis_is_named_in_two_files() {
    let mut findings = Findings::default();
    for file in files("rs") {
        if APALIS_FILES.contains(&file.path.as_str()) || !file.path.contains("src/") {
            continue;
        }
        for (number, line) in file.lines() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains("apalis::") || code.contains("apalis_core::") {
                let advice = format!("only {} may name apalis", APALIS_FILES.join(" and "));
                findings.add(&file, number, advice);
            }
        }
    }
    findings.expect_none();
}

fn package_name(manifest: &File) -> &str {
    let name = manifest
        .text
        .lines()
        .find_map(|line| line.strip_prefix("name = \""));
    name.unwrap_or_default().trim_end_matches('"')
}

/// Lists what a manifest depends on outside of tests.
fn dependencies(manifest: &File) -> impl Iterator<Item = (usize, &str)> {
    let mut is_section = false;
    manifest.lines().filter_map(move |(number, line)| {
        if line.starts_with('[') {
            let section = line.trim_matches(['[', ']']);
            is_section = section.ends_with("dependencies")
                && !section.ends_with("dev-dependencies")
                && section != "workspace.dependencies";
            return None;
        }
        let is_end = |character: char| matches!(character, '.' | '=' | ' ');
        let name = line.split(is_end).next().filter(|name| !name.is_empty())?;
        (is_section && !name.starts_with('#')).then_some((number, name))
    })
}
