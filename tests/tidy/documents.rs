//! Rules about documents: what they name exists, and what exists is in them.

use std::fs;
use std::path::Path;

use super::repository::{Findings, ROOT, file, files};

#[test]
fn paths_named_in_the_documents_exist() {
    let mut findings = Findings::default();
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "docs/operating.md",
    ]
    .map(file)
    {
        for (number, line) in document.lines() {
            for path in named_paths(line) {
                if !Path::new(ROOT).join(path).exists() {
                    findings.add(&document, number, format_args!("there is no `{path}`"));
                }
            }
        }
    }
    findings.expect_none();
}

#[test]
fn every_crate_is_on_the_map() {
    let map = file("ARCHITECTURE.md");
    let mut findings = Findings::default();
    for manifest in files("toml")
        .into_iter()
        .filter(|file| file.path.ends_with("/Cargo.toml"))
    {
        let folder = manifest.path.trim_end_matches("/Cargo.toml");
        if !map.text.contains(folder) {
            findings.add(&map, 1, format_args!("say what `{folder}` is for"));
        }
    }
    findings.expect_none();
}

#[test]
fn every_kind_of_job_has_a_row_and_a_golden_payload() {
    let table = file("workers/README.md");
    let mut findings = Findings::default();
    for source in files("rs")
        .into_iter()
        .filter(|file| file.path.starts_with("workers/src/"))
    {
        for (number, line) in source.lines() {
            let Some(kind) = line.split("const KIND: &'static str = \"").nth(1) else {
                continue;
            };
            let kind = kind.split('"').next().unwrap_or_default();
            if !table.text.contains(&format!("| `{kind}` |")) {
                let advice = format!("give `{kind}` a row in workers/README.md");
                findings.add(&source, number, advice);
            }
            let goldens = format!("workers/tests/data/payloads/{kind}");
            if !fs::read_dir(Path::new(ROOT).join(&goldens))
                .is_ok_and(|mut dir| dir.next().is_some())
            {
                findings.add(
                    &source,
                    number,
                    format_args!("put a payload of it into {goldens}/"),
                );
            }
        }
    }
    findings.expect_none();
}

#[test]
fn every_metric_is_documented() {
    if !Path::new(ROOT).join("docs/metrics.md").exists() {
        return;
    }
    let document = file("docs/metrics.md");
    let mut findings = Findings::default();
    for source in files("rs")
        .into_iter()
        .filter(|file| file.path.ends_with("/metrics.rs"))
    {
        for (number, line) in source.lines() {
            for metric in line
                .split('"')
                .filter(|literal| literal.starts_with("postrider_"))
                // Samples, with labels and values, are what tests look for.
                .filter(|literal| !literal.contains(['{', ' ']))
            {
                if !document.text.contains(&format!("`{metric}`")) {
                    let advice = format!("describe `{metric}` in docs/metrics.md");
                    findings.add(&source, number, advice);
                }
            }
        }
    }
    findings.expect_none();
}

#[test]
fn every_line_of_the_doctor_is_explained() {
    let page = file("docs/operating.md");
    let mut findings = Findings::default();
    for source in files("rs")
        .into_iter()
        .filter(|file| file.path.starts_with("src/cli/doctor/"))
    {
        let code = source.text.split("#[cfg(test)]").next().unwrap_or_default();
        for check in checks(code) {
            if !page.text.contains(&format!("| `{check}` |")) {
                let advice = format!("say in docs/operating.md what `{check}` is about");
                findings.add(&source, 1, advice);
            }
        }
    }
    findings.expect_none();
}

/// Lists the names of checks in a source of the doctor.
fn checks(code: &str) -> Vec<&str> {
    let marks = [
        ".ok(",
        ".warn(",
        ".fail(",
        "CHECK: &str = ",
        "REACHED: &str = ",
    ];
    let after = marks.into_iter().flat_map(|mark| code.split(mark).skip(1));
    let literals = after.filter_map(|rest| rest.trim_start().strip_prefix('"'));
    literals.filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn names_of_checks_are_found_in_calls_and_constants() {
    let code =
        "const CHECK: &str = \"a b\"; report.ok(CHECK, \"x\"); report.warn(\n  \"c\", \"y\")";
    assert_eq!(checks(code), ["c", "a b"]);
}

/// Lists the paths of this repository that a line of Markdown names, in backticks or as a link.
fn named_paths(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split('`').skip(1).step_by(2);
    let linked = line
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let links = linked.filter(|link| !link.contains("://") && !link.starts_with('#'));
    let is_path = |text: &&str| {
        let first = text.split('/').next().unwrap_or_default();
        let is_plain = |character: char| character.is_alphanumeric() || "/._-".contains(character);
        text.contains('/')
            && text.chars().all(is_plain)
            && !first.is_empty()
            && Path::new(ROOT).join(first).exists()
    };
    let links = links.map(|link| link.split('#').next().unwrap_or_default());
    quoted.filter(is_path).chain(links)
}

#[test]
fn paths_are_found_in_backticks_and_links() {
    let line = "Read `src/lib.rs`, `Tx` and [the map](ARCHITECTURE.md#floors).";
    assert_eq!(
        named_paths(line).collect::<Vec<_>>(),
        ["src/lib.rs", "ARCHITECTURE.md"]
    );
}
