//! Rules about words: in the names of things, and in comments.

use super::repository::{Findings, files};

/// Words that name no thing, and words that will be wrong next year.
const EMPTY_NAMES: [&str; 6] = ["util", "utils", "helper", "helpers", "misc", "v2"];

/// In the name of a file these say when it was written rather than what it is.
const EMPTY_FILE_NAMES: [&str; 3] = ["new", "old", "common"];

#[test]
fn names_say_what_a_thing_is() {
    let mut findings = Findings::default();
    for file in files("rs") {
        let name = file
            .path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".rs");
        for word in words(name) {
            if EMPTY_NAMES.contains(&word.as_str()) || EMPTY_FILE_NAMES.contains(&word.as_str()) {
                findings.add(
                    &file,
                    1,
                    format_args!("name the file by its subject, not `{word}`"),
                );
            }
        }
        for (number, line) in file.lines() {
            for name in defined_names(line) {
                if let Some(word) = words(name).find(|word| EMPTY_NAMES.contains(&word.as_str())) {
                    let advice = format!("`{name}`: say what it does instead of `{word}`");
                    findings.add(&file, number, advice);
                }
            }
        }
    }
    findings.expect_none();
}

/// What a comment must not say, and what to do instead.
const EMPTY_PHRASES: [(&str, &str); 6] = [
    ("exactly once", "promise what a test shows: at least once"),
    ("simply", "leave the word out"),
    ("obviously", "leave the word out, or say why"),
    ("todo", "do it, or name the issue: TODO(#123)"),
    ("fixme", "fix it, or name the issue: TODO(#123)"),
    ("migration script here", "say what the migration is for"),
];

#[test]
fn comments_promise_no_more_than_tests_show() {
    let mut findings = Findings::default();
    for extension in ["rs", "sql", "toml", "sh"] {
        for file in files(extension) {
            for (number, line) in file.lines() {
                let comment = comment_of(line, extension).to_lowercase();
                let words = comment.replace(|letter: char| !letter.is_alphanumeric(), " ");
                for (phrase, advice) in EMPTY_PHRASES {
                    // The title of an entry under "Not promised", and work that has an issue.
                    let is_excused = comment.contains("- **exactly once.**")
                        || comment.contains(&format!("{phrase}(#"));
                    if format!(" {words} ").contains(&format!(" {phrase} ")) && !is_excused {
                        findings.add(&file, number, format_args!("`{phrase}`: {advice}"));
                    }
                }
            }
        }
    }
    findings.expect_none();
}

/// Splits a name of either case into lower-case words.
fn words(name: &str) -> impl Iterator<Item = String> {
    let mut spaced = String::new();
    for character in name.chars() {
        if character.is_uppercase() || matches!(character, '_' | '-') {
            spaced.push(' ');
        }
        if character.is_alphanumeric() {
            spaced.extend(character.to_lowercase());
        }
    }
    spaced
        .split(' ')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .into_iter()
}

/// Lists the names that a line of Rust defines.
fn defined_names(line: &str) -> impl Iterator<Item = &str> {
    const KEYWORDS: [&str; 7] = ["const", "enum", "fn", "mod", "static", "struct", "trait"];
    let code = line.split("//").next().unwrap_or_default();
    let tokens: Vec<_> = code.split_whitespace().collect();
    let names = (1..tokens.len())
        .filter(|&index| KEYWORDS.contains(&tokens[index - 1]))
        .map(|index| {
            let is_end = |character: char| !character.is_alphanumeric() && character != '_';
            tokens[index].split(is_end).next().unwrap_or_default()
        });
    names.collect::<Vec<_>>().into_iter()
}

/// Cuts the comment out of a line; empty if it has none.
fn comment_of<'a>(line: &'a str, extension: &str) -> &'a str {
    let mark = match extension {
        "rs" => "//",
        "sql" => "--",
        _ => "#",
    };
    let line = line.trim_start();
    if line.starts_with(mark) {
        return line;
    }
    // A mark inside a string, as in an address, has no space before it.
    line.split_once(&format!(" {mark}"))
        .map_or("", |(_, comment)| comment)
}

#[test]
fn names_and_comments_are_found_in_a_line() {
    assert_eq!(
        words("QueueHelper_v2").collect::<Vec<_>>(),
        ["queue", "helper", "v2"]
    );
    assert_eq!(
        defined_names("pub(crate) async fn claim<T>(").collect::<Vec<_>>(),
        ["claim"]
    );
    assert_eq!(comment_of("let url = \"http://x\"; // why", "rs"), " why");
    assert_eq!(comment_of("let url = \"http://x\";", "rs"), "");
}
