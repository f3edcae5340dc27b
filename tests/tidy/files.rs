//! Rules about files: their length, their first line, and that nothing lies about unused.

use super::repository::{Findings, files};

/// A file that needs more than this holds two things.
const RUST_LINES_MAX: usize = 600;

/// What fits beside another file on a screen. Rust lines are rustfmt's business.
const TEXT_COLUMNS_MAX: usize = 100;

#[test]
fn rust_files_have_at_most_600_lines() {
    let mut findings = Findings::default();
    for file in files("rs") {
        let lines = file.text.lines().count();
        if lines > RUST_LINES_MAX {
            findings.add(&file, lines, "split the file by what its parts are for");
        }
    }
    findings.expect_none();
}

#[test]
fn every_rust_file_begins_by_saying_what_it_is_for() {
    let mut findings = Findings::default();
    for file in files("rs") {
        if !file.text.starts_with("//! ") {
            findings.add(
                &file,
                1,
                "begin with a `//!` header: what lives here, and why",
            );
        }
    }
    findings.expect_none();
}

#[test]
fn every_rust_file_is_compiled() {
    let rust = files("rs");
    let mut findings = Findings::default();
    for file in rust.iter().filter(|file| file.path.contains("src/")) {
        let path = file
            .path
            .strip_suffix("/mod.rs")
            .or_else(|| file.path.strip_suffix(".rs"));
        let Some((folder, name)) = path.and_then(|path| path.rsplit_once('/')) else {
            continue;
        };
        if matches!(name, "lib" | "main") || folder.ends_with("/bin") {
            continue;
        }
        let is_parent = |path: &str| {
            let parents = ["lib.rs", "main.rs", "mod.rs"].map(|name| format!("{folder}/{name}"));
            path == format!("{folder}.rs") || parents.iter().any(|parent| parent == path)
        };
        let declaration = format!("mod {name};");
        if !rust
            .iter()
            .any(|parent| is_parent(&parent.path) && parent.text.contains(&declaration))
        {
            findings.add(
                file,
                1,
                format_args!("declare it with `{declaration}`, or delete it"),
            );
        }
    }
    findings.expect_none();
}

#[test]
fn sql_and_prose_fit_in_100_columns() {
    let mut findings = Findings::default();
    for file in files("sql").into_iter().chain(files("md")) {
        for (number, line) in file.lines() {
            // A table's row and an address cannot be broken.
            let is_breakable = !line.trim_start().starts_with('|') && !line.contains("://");
            if is_breakable && line.chars().count() > TEXT_COLUMNS_MAX {
                findings.add(&file, number, "break the line before column 100");
            }
        }
    }
    findings.expect_none();
}

#[test]
fn every_statement_of_the_queue_is_used_in_one_place() {
    let sources = files("rs");
    let mut findings = Findings::default();
    for statement in files("sql") {
        let Some(name) = statement.path.strip_prefix("crates/queue/sql/") else {
            continue;
        };
        let uses = sources
            .iter()
            .filter(|file| file.path.starts_with("crates/queue/src/"))
            .map(|file| file.text.matches(&format!("sql/{name}\"")).count())
            .sum::<usize>();
        if uses != 1 {
            findings.add(
                &statement,
                1,
                format_args!("is used in {uses} places; make it one"),
            );
        }
    }
    findings.expect_none();
}
