//! Rules files: YAML, read as the API reads its bodies, with a line for everything that is wrong.
//!
//! The YAML library names a line only in an error. So a place is found by reading the file again
//! and stopping there with an error of our own.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use domain::{FieldError, RuleSubmission};
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Value, json};

use super::{PROBLEMS_SHOWN_MAX, apply::repeated};

/// Largest file that is read: about as much as ten thousand rules take.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A rule that can be applied.
#[derive(Debug)]
pub(super) struct FileRule {
    pub(super) submission: RuleSubmission,
    file: String,
    /// Its place in the file.
    index: usize,
}

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    file: String,
    /// From 1.
    line: usize,
    /// The name of the rule, if it has one.
    rule: Option<String>,
    /// A JSON pointer into the rule.
    pointer: String,
    detail: String,
}

impl Problem {
    fn of_file(file: &str, line: usize, detail: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            rule: None,
            pointer: String::new(),
            detail: detail.into(),
        }
    }

    pub(super) fn to_value(&self) -> Value {
        json!({
            "file": self.file, "line": self.line, "rule": self.rule, "pointer": self.pointer,
            "detail": self.detail,
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.file, self.line)?;
        if let Some(rule) = &self.rule {
            write!(f, " rule `{rule}`:")?;
        }
        if !self.pointer.is_empty() {
            write!(f, " {}", self.pointer)?;
        }
        write!(f, " {}", self.detail)
    }
}

/// Reads all files, or tells everything that is wrong with them.
pub(super) fn read(files: &[PathBuf]) -> Result<Vec<FileRule>, Vec<Problem>> {
    let mut rules = Vec::new();
    let mut problems = Vec::new();
    for path in files {
        let name = path.display().to_string();
        match load(path) {
            Ok(text) => match parse(&name, &text) {
                Ok(found) => rules.extend(found),
                Err(found) => problems.extend(found),
            },
            Err(detail) => problems.push(Problem::of_file(&name, 1, detail)),
        }
    }
    let again = repeated(&rules).take(PROBLEMS_SHOWN_MAX);
    problems.extend(again.map(|rule| Problem {
        file: rule.file.clone(),
        line: load(Path::new(&rule.file)).map_or(1, |text| {
            line_of(&text, &format!("/rules/{}/name", rule.index))
        }),
        rule: Some(rule.submission.name().to_owned()),
        pointer: "/name".to_owned(),
        detail: "is the name of another rule in these files".to_owned(),
    }));
    if problems.is_empty() {
        Ok(rules)
    } else {
        Err(problems)
    }
}

fn load(path: &Path) -> Result<String, String> {
    let size = fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if size.len() > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes"));
    }
    fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))
}

/// Reads one file.
fn parse(file: &str, text: &str) -> Result<Vec<FileRule>, Vec<Problem>> {
    let at = |line, detail: String| vec![Problem::of_file(file, line, detail)];
    // This one refuses a key that is given twice.
    let document: yaml_serde::Value = yaml_serde::from_str(text).map_err(|error| {
        let line = error.location().map_or(1, |place| place.line());
        at(line, format!("cannot be read as YAML: {error}"))
    })?;
    let mut document = document;
    document
        .apply_merge()
        .map_err(|error| at(1, format!("cannot be read as YAML: {error}")))?;
    let document = serde_json::to_value(&document)
        .map_err(|error| at(1, format!("cannot be read as JSON: {error}")))?;
    let Value::Object(mut document) = document else {
        return Err(at(1, "must have the key `rules`".to_owned()));
    };
    let items = match document.remove("rules") {
        Some(Value::Array(items)) => items,
        Some(_) => {
            return Err(at(
                line_of(text, "/rules"),
                "`rules` must be a list".to_owned(),
            ));
        }
        None => return Err(at(1, "must have the key `rules`".to_owned())),
    };
    let mut problems: Vec<_> = document
        .keys()
        .map(|key| {
            let line = line_of(text, &format!("/{key}"));
            Problem::of_file(
                file,
                line,
                format!("`{key}` is not a known key; only `rules` is"),
            )
        })
        .collect();
    let mut rules = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let name = item.get("name").and_then(Value::as_str).map(str::to_owned);
        match RuleSubmission::parse(item) {
            Ok(submission) => rules.push(FileRule {
                submission,
                file: file.to_owned(),
                index,
            }),
            Err(errors) => {
                for FieldError { pointer, detail } in errors {
                    // A look costs a pass over the file, and who has more mends these first.
                    if problems.len() >= PROBLEMS_SHOWN_MAX {
                        return Err(problems);
                    }
                    problems.push(Problem {
                        file: file.to_owned(),
                        line: line_of(text, &format!("/rules/{index}{pointer}")),
                        rule: name.clone(),
                        pointer,
                        detail,
                    });
                }
            }
        }
    }
    if problems.is_empty() {
        Ok(rules)
    } else {
        Err(problems)
    }
}

/// The line of what a pointer leads to; of what is not there, the line of what it should be in.
fn line_of(text: &str, pointer: &str) -> usize {
    let mut tokens: Vec<String> = pointer
        .split('/')
        .skip(1)
        .map(|token| token.replace("~1", "/").replace("~0", "~"))
        .collect();
    loop {
        let found = yaml_serde::Deserializer::from_str(text)
            .next()
            .and_then(|document| {
                let stopped = Seeker(&tokens).deserialize(document).err()?;
                let is_there = stopped.to_string().contains(STOPPED);
                is_there
                    .then(|| stopped.location().map(|place| place.line()))
                    .flatten()
            });
        match found {
            Some(line) => return line,
            None if tokens.pop().is_none() => return 1,
            None => {}
        }
    }
}

const STOPPED: &str = "stopped here";

/// Reads to the end of a way, and stops.
struct Seeker<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Seeker<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.0.is_empty() {
            return deserializer.deserialize_any(Stop);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seeker<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what was here a moment ago")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((token, rest)) = self.0.split_first() else {
            return Ok(());
        };
        let index: usize = token.parse().map_err(A::Error::custom)?;
        for _ in 0..index {
            items.next_element::<IgnoredAny>()?;
        }
        items.next_element_seed(Seeker(rest))?;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some((token, rest)) = self.0.split_first() else {
            return Ok(());
        };
        // The last key is stopped at itself: its value may be on another line.
        let mut wanted = Wanted {
            token,
            is_last: rest.is_empty(),
        };
        while let Some(is_wanted) = entries.next_key_seed(&mut wanted)? {
            if is_wanted {
                entries.next_value_seed(Seeker(rest))?;
                return Ok(());
            }
            entries.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// A key that is looked for; the last of a way stops where it stands.
struct Wanted<'a> {
    token: &'a str,
    is_last: bool,
}

impl<'de> DeserializeSeed<'de> for &mut Wanted<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for &mut Wanted<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        if key == self.token && self.is_last {
            return Err(E::custom(STOPPED));
        }
        Ok(key == self.token)
    }
}

/// Fails wherever it is put, which makes the library say where that is.
struct Stop;

impl Visitor<'_> for Stop {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STOPPED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# Who hears of what.
rules:
  - name: Margin Call
    event_type: MARGIN_CALL
    conditions: [{field: severity, operator: gte, value: high}]
    actions:
      - type: notify
        channels: [in_app, sms]
        recipients: {type: dynamic, expression: event.data.user_id}
        batch_window: 5m
  - name: Report
    valid_from: 2030-01-01T00:00:00Z
    channels:
      - email
      - pigeon
    colour: red
    recipients:
      type: crowd
";

    fn lines(text: &str) -> Vec<(usize, String)> {
        let problems = parse("r.yaml", text).expect_err("the file is bad");
        problems
            .into_iter()
            .map(|problem| (problem.line, problem.pointer))
            .collect()
    }

    #[test]
    fn every_problem_has_the_line_it_stands_on() {
        let mut found = lines(FILE);
        found.sort();
        let expected = [
            (15, "/channels/1"),
            (16, "/colour"),
            (18, "/recipients/type"),
        ];
        let expected = expected.map(|(line, pointer)| (line, pointer.to_owned()));
        assert_eq!(found, expected);
        let text = parse("r.yaml", FILE).unwrap_err()[0].to_string();
        assert!(
            text.starts_with("r.yaml:15: rule `Report`: /channels/1 must be one of"),
            "{text}"
        );
    }

    #[test]
    fn what_is_missing_has_the_line_of_what_it_is_missing_in() {
        let text =
            "rules:\n  - name: a\n    channels: [email]\n  - event_type: x\n    channels: [sms]\n";
        assert_eq!(lines(text), [(4, "/name".to_owned())]);
    }

    #[test]
    fn a_good_file_is_read_in_its_order() {
        let good = FILE.split("  - name: Report").next().unwrap();
        let rules = parse("r.yaml", good).unwrap();
        assert_eq!(rules[0].submission.name(), "Margin Call");
    }

    #[test]
    fn what_is_no_rules_file_says_so() {
        for (text, line, expected) in [
            ("", 1, "must have the key `rules`"),
            ("- a\n", 1, "must have the key `rules`"),
            ("x: 1\nrules: 7\n", 2, "`rules` must be a list"),
            ("rules: []\nmore: 1\n", 2, "`more` is not a known key"),
            ("rules:\n  - {name: a\n", 2, "cannot be read as YAML"),
            (
                "rules: []\nrules: []\n",
                1,
                "cannot be read as YAML: duplicate entry",
            ),
        ] {
            let problem = &parse("r.yaml", text).unwrap_err()[0];
            assert!(problem.detail.starts_with(expected), "{text}: {problem}");
            assert!(problem.line >= line, "{text}: {problem}");
        }
    }

    #[test]
    fn a_name_is_used_once_in_all_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let text = "rules:\n  - {name: a, channels: [email]}\n  - {name: a, channels: [sms]}\n";
        fs::write(path("a.yaml"), text).unwrap();
        let problems = read(&[path("a.yaml"), path("missing.yaml")]).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert_eq!(
            (problems[1].line, problems[1].pointer.as_str()),
            (3, "/name")
        );
    }
}
