//! What the build believes about the database is true, and still used.
//!
//! The compiler checks queries against `.sqlx` instead of a database. It notices a query that has
//! no data there, but not data that a migration has made wrong; that is noticed here, by asking the
//! migrated database about each stored query again.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor as _, SqlSafeStr as _};
use testkit::TestDatabase;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What one file in `.sqlx` says.
struct StoredQuery {
    file: PathBuf,
    sql: String,
    /// Parameters, columns and which of them may be null, as the macros wrote them.
    description: Value,
}

#[tokio::test]
async fn stored_queries_agree_with_the_migrations() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;

    let mut findings = String::new();
    for stored in stored_queries() {
        let sql = AssertSqlSafe(stored.sql.as_str()).into_sql_str();
        let finding = match connection.describe(sql).await {
            Ok(description) => difference(&stored.description, &serde_json::json!(description)),
            Err(error) => Some(format!("does not prepare: {error}")),
        };
        if let Some(finding) = finding {
            report(&mut findings, &stored, &finding);
        }
    }

    assert!(
        findings.is_empty(),
        "run script/prepare and look at what it changes\n{findings}"
    );
}

#[test]
fn every_stored_query_is_used() {
    let mut sources = Vec::new();
    for folder in ["src", "workers", "crates", "tests", "benches"] {
        collect_sources(&Path::new(ROOT).join(folder), &mut sources);
    }

    let mut findings = String::new();
    for stored in stored_queries() {
        let sql = skeleton(&stored.sql);
        if !sources.iter().any(|source| source.contains(&sql)) {
            report(&mut findings, &stored, "no source contains it");
        }
    }

    assert!(
        findings.is_empty(),
        "run script/prepare, or delete these files\n{findings}"
    );
}

fn stored_queries() -> Vec<StoredQuery> {
    let folder = Path::new(ROOT).join(".sqlx");
    let files = fs::read_dir(&folder).expect("run script/prepare, which makes .sqlx");
    let mut queries: Vec<_> = files.flatten().map(|file| read(&file.path())).collect();
    queries.sort_by(|one, other| one.file.cmp(&other.file));
    assert!(!queries.is_empty(), "run script/prepare, which fills .sqlx");
    queries
}

fn read(file: &Path) -> StoredQuery {
    let text = fs::read_to_string(file).expect("a file that was listed can be read");
    let mut stored: Value = serde_json::from_str(&text).expect("the macros write valid JSON");
    StoredQuery {
        file: file.strip_prefix(ROOT).unwrap_or(file).to_owned(),
        sql: stored["query"]
            .as_str()
            .expect("the macros store the text")
            .to_owned(),
        description: stored["describe"].take(),
    }
}

/// Says which part of a description has changed, and into what.
fn difference(stored: &Value, found: &Value) -> Option<String> {
    let part = ["parameters", "columns", "nullable"]
        .into_iter()
        .find(|part| stored[part] != found[part])?;
    Some(format!(
        "{part}: stored {}, but the database says {}",
        stored[part], found[part]
    ))
}

fn report(findings: &mut String, stored: &StoredQuery, finding: &str) {
    writeln!(
        findings,
        "\n{}: {finding}\n{}",
        stored.file.display(),
        stored.sql.trim_end()
    )
    .expect("a string takes all text");
}

/// Reads every file that may hold a query, as skeletons.
fn collect_sources(folder: &Path, sources: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect_sources(&path, sources);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "rs" || extension == "sql")
        {
            let text = fs::read_to_string(&path).expect("sources are text");
            sources.push(skeleton(&text));
        }
    }
}

/// Leaves out what differs between a string literal and the string it stands for.
fn skeleton(text: &str) -> String {
    let is_kept = |character: &char| !character.is_whitespace() && !"\\\"+".contains(*character);
    text.chars().filter(is_kept).collect()
}

#[test]
fn a_literal_and_its_string_have_the_same_skeleton() {
    let literal = r#""select a as \"a!\" \
                      from t""#;
    assert_eq!(skeleton(literal), skeleton("select a as \"a!\" from t"));
}
