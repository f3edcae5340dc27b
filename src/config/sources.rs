//! Puts what a file and the environment say onto the tree, and remembers which of them said it.

use std::collections::BTreeMap;
use std::fmt;

use super::expand::expand;
use super::tree::{Entry, Given, Outline};
use super::yaml::{Node, Route, Yaml};

/// The environment, by name.
pub(super) type Variables = BTreeMap<String, String>;

/// Where the value of a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// A line of the file.
    File {
        name: String,
        line: usize,
    },
    /// A variable of the environment.
    Variable(String),
    /// What an `up` left in its data directory.
    DataDir(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Variable(name) | Self::DataDir(name) => f.write_str(name),
        }
    }
}

/// Who has set what, and what was wrong with it.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// By path. Places in the file, whose lines are looked up when somebody asks.
    pub(super) routes: BTreeMap<String, Route>,
    /// By path; wins over the file.
    pub(super) variables: BTreeMap<String, String>,
    /// By path: files of a data directory, for what nobody else has set.
    pub(super) adopted: BTreeMap<String, String>,
    pub(super) problems: Vec<String>,
}

/// Puts a file's settings onto the tree.
pub(super) struct FileReader<'a, 'tree> {
    pub(super) yaml: &'a Yaml,
    pub(super) variables: &'a Variables,
    pub(super) outline: &'a mut Outline<'tree>,
    pub(super) findings: &'a mut Findings,
}

impl FileReader<'_, '_> {
    pub(super) fn read(&mut self) {
        match self.yaml.parse() {
            Ok(root) => self.section("", &root, &mut Route::new()),
            Err(problem) => self.findings.problems.push(problem),
        }
    }

    /// Reads the settings below `path`, which is a section.
    fn section(&mut self, path: &str, node: &Node, route: &mut Route) {
        let entries = match node {
            Node::Empty => return,
            Node::Map(entries) => entries,
            Node::Text(_) | Node::List(_) => {
                let what = if path.is_empty() {
                    "expected sections such as `http:`, with their settings indented below"
                        .to_owned()
                } else {
                    format!("`{path}` is a section; put its settings below it, indented")
                };
                return self.problem(route, &what);
            }
        };
        for (index, (key, child)) in entries.iter().enumerate() {
            let inner = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            route.push(index);
            if self.is_repeated(entries, index, &inner, route) {
                // Said already.
            } else if key.contains('.') {
                let advice = "write each part on a line of its own, indented, without dots";
                self.problem(route, &format!("there is no `{inner}`: {advice}"));
            } else if self.outline.is_section(&inner) {
                self.section(&inner, child, route);
            } else {
                self.setting(&inner, child, route);
            }
            route.pop();
        }
    }

    /// Whether the entry at `index` has the key of an earlier one, which is a problem: one of them
    /// would be forgotten without a word.
    fn is_repeated(
        &mut self,
        entries: &[(String, Node)],
        index: usize,
        path: &str,
        route: &[usize],
    ) -> bool {
        let key = entries.get(index).map(|(key, _)| key);
        let first = entries.iter().position(|(other, _)| Some(other) == key);
        let Some(first) = first.filter(|first| *first < index) else {
            return false;
        };
        let mut earlier = route.to_vec();
        earlier.pop();
        earlier.push(first);
        let line = self.yaml.line_of(&earlier);
        self.problem(route, &format!("`{path}` is set already in line {line}"));
        true
    }

    fn setting(&mut self, path: &str, node: &Node, route: &mut Route) {
        if self.outline.find(path).is_none() {
            let problem = unknown(path, self.outline);
            return self.problem(route, &problem);
        }
        let Some(given) = self.given(node, route) else {
            return;
        };
        let answer = self.outline.find(path).map(|entry| entry.slot.set(&given));
        match answer {
            Some(Err(problem)) => self.problem(route, &format!("{path}: {problem}")),
            _ => {
                self.findings.routes.insert(path.to_owned(), route.clone());
            }
        }
    }

    /// What is written for a setting, with its variables put in; `None` if that is nothing, or
    /// wrong.
    fn given(&mut self, node: &Node, route: &mut Route) -> Option<Given> {
        match node {
            Node::Empty => None,
            Node::Text(text) => self.expanded(text, route).map(Given::Text),
            Node::List(items) => {
                let texts: Vec<Option<String>> = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.inner_text(item, index, route))
                    .collect();
                texts.into_iter().collect::<Option<_>>().map(Given::List)
            }
            Node::Map(entries) => {
                let texts: Vec<Option<(String, String)>> = entries
                    .iter()
                    .enumerate()
                    .map(|(index, (name, value))| {
                        route.push(index);
                        let is_repeated = self.is_repeated(entries, index, name, route);
                        route.pop();
                        if is_repeated {
                            return None;
                        }
                        let value = self.inner_text(value, index, route)?;
                        Some((name.clone(), value))
                    })
                    .collect();
                texts.into_iter().collect::<Option<_>>().map(Given::Map)
            }
        }
    }

    /// One item of a list, or one value of a map: always a text.
    fn inner_text(&mut self, node: &Node, index: usize, route: &mut Route) -> Option<String> {
        route.push(index);
        let text = match node {
            Node::Text(text) => self.expanded(text, route),
            Node::Empty => Some(String::new()),
            Node::List(_) | Node::Map(_) => {
                self.problem(route, "expected one value here, without more below it");
                None
            }
        };
        route.pop();
        text
    }

    fn expanded(&mut self, text: &str, route: &[usize]) -> Option<String> {
        match expand(text, |name| self.variables.get(name).cloned()) {
            Ok(text) => Some(text),
            Err(problem) => {
                self.problem(route, &problem);
                None
            }
        }
    }

    fn problem(&mut self, route: &[usize], what: &str) {
        let line = self.yaml.line_of(route);
        let problem = format!("{}:{line}: {what}", self.yaml.name);
        self.findings.problems.push(problem);
    }
}

/// What every name of ours begins with.
pub(super) const PREFIX: &str = "POSTRIDER__";

/// Puts the environment's settings onto the tree: first the names that other tools set, then ours.
pub(super) fn read_environment(
    variables: &Variables,
    outline: &mut Outline<'_>,
    findings: &mut Findings,
) {
    for entry in &mut outline.entries {
        let Some(name) = entry.alias else { continue };
        match value_or_file(variables, name) {
            Ok(None) => {}
            // `MAIL_FROM=` is how a Compose file hands on a variable that nobody has set.
            Ok(Some((_, text))) if text.is_empty() && !entry.slot.can_be_unset() => {}
            Ok(Some((source, text))) => put(entry, source, &text, findings),
            Err(problem) => findings.problems.push(problem),
        }
    }
    for (name, text) in variables {
        let Some(path) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let path = path.to_ascii_lowercase().replace("__", ".");
        if let Some(entry) = outline.find(&path) {
            put(entry, name.clone(), text, findings);
        } else {
            let problem = unknown(&path, outline);
            findings.problems.push(format!("{name}: {problem}"));
        }
    }
}

/// The name of ours for a setting.
pub(super) fn variable_of(path: &str) -> String {
    format!("{PREFIX}{}", path.to_ascii_uppercase().replace('.', "__"))
}

fn put(entry: &mut Entry<'_>, source: String, text: &str, findings: &mut Findings) {
    match entry.slot.set(&Given::Text(text.to_owned())) {
        Ok(()) => {
            findings.variables.insert(entry.path.clone(), source);
        }
        Err(problem) => findings.problems.push(format!("{source}: {problem}")),
    }
}

fn unknown(path: &str, outline: &Outline<'_>) -> String {
    if outline.is_section(path) {
        return format!("`{path}` is a section; set one of its settings");
    }
    match outline.nearest(path) {
        Some(known) => format!("there is no setting `{path}`; did you mean `{known}`?"),
        None => format!("there is no setting `{path}`; docs/configuration.md lists them all"),
    }
}

/// Longest mounted secret.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// The value of `name`, or the contents of the file that `NAME_FILE` names, with where it is from.
fn value_or_file(variables: &Variables, name: &str) -> Result<Option<(String, String)>, String> {
    let file_name = format!("{name}_FILE");
    match (variables.get(name), variables.get(&file_name)) {
        (Some(_), Some(_)) => Err(format!("{name} and {file_name} are both set; keep one")),
        (Some(value), None) => Ok(Some((name.to_owned(), value.clone()))),
        (None, Some(path)) => super::load::read_bounded(path.as_ref(), SECRET_BYTES_MAX)
            // An editor ends a file with a line break that is not part of the value.
            .map(|text| {
                let value = text.trim_end_matches(['\r', '\n']);
                Some((file_name.clone(), value.to_owned()))
            })
            .map_err(|problem| format!("{file_name}: could not read {path}: {problem}")),
        (None, None) => Ok(None),
    }
}
