//! Reads the configuration file into a tree of texts that knows its lines.
//!
//! The YAML library names a line only in an error. So a place is found by reading the file again
//! and stopping there with an error of our own: right for every way to write YAML, where counting
//! lines by hand is right for some. It is done for the few places that are shown to somebody.
//!
//! Scalars stay the text that was written: `0123` and `1.10` are settings, not numbers.

use std::fmt;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IgnoredAny, MapAccess, SeqAccess,
    Visitor,
};

/// Largest file that is read: a hundred times what every setting once would take.
pub(super) const FILE_BYTES_MAX: usize = 256 * 1024;

/// What is written in one place of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// Nothing, or `~`: the value stays what it was.
    Empty,
    Text(String),
    List(Vec<Self>),
    /// In the order of the file; a key may be there twice, which is for others to refuse.
    Map(Vec<(String, Self)>),
}

/// The way to a place: which entry of each map, which item of each list.
pub(super) type Route = Vec<usize>;

/// A configuration file that could be read.
#[derive(Debug, Clone)]
pub(super) struct Yaml {
    /// Its path, as it was named.
    pub(super) name: String,
    text: String,
}

impl Yaml {
    pub(super) fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }

    /// Reads the whole file.
    ///
    /// # Errors
    ///
    /// One line with the place, when it is not YAML or more than one document.
    pub(super) fn parse(&self) -> Result<Node, String> {
        let mut documents = yaml_serde::Deserializer::from_str(&self.text);
        let Some(document) = documents.next() else {
            return Ok(Node::Empty);
        };
        let mut node = Node::deserialize(document).map_err(|error| self.malformed(&error))?;
        if documents.next().is_some() {
            return Err(format!(
                "{}: holds several documents; a line `---` begins another one",
                self.name
            ));
        }
        self.restore_texts(&mut node, &mut Route::new());
        Ok(node)
    }

    /// Puts what was written in place of what YAML takes for a number or a truth.
    fn restore_texts(&self, node: &mut Node, route: &mut Route) {
        let mut restore_below = |index: usize, child: &mut Node| {
            route.push(index);
            self.restore_texts(child, route);
            route.pop();
        };
        match node {
            Node::Text(text) if text.as_str() == INTERPRETED => {
                let mut written = None;
                self.seek(route, Aim::Text(&mut written));
                *node = written.map_or(Node::Empty, Node::Text);
            }
            Node::Empty | Node::Text(_) => {}
            Node::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    restore_below(index, item);
                }
            }
            Node::Map(entries) => {
                for (index, (_, child)) in entries.iter_mut().enumerate() {
                    restore_below(index, child);
                }
            }
        }
    }

    /// The line of a place, counted from 1.
    pub(super) fn line_of(&self, route: &[usize]) -> usize {
        self.seek(route, Aim::Line).unwrap_or(1)
    }

    /// Reads up to a place and answers its line.
    fn seek(&self, route: &[usize], aim: Aim<'_>) -> Option<usize> {
        let document = yaml_serde::Deserializer::from_str(&self.text).next()?;
        let stopped = Seeker { route, aim }.deserialize(document).err()?;
        stopped.location().map(|place| place.line())
    }

    fn malformed(&self, error: &yaml_serde::Error) -> String {
        let line = error.location().map_or(1, |place| place.line());
        let written = self.text.lines().nth(line.saturating_sub(1));
        let indent: String = written
            .unwrap_or_default()
            .chars()
            .take_while(|character| character.is_whitespace())
            .collect();
        let advice = if indent.contains('\t') {
            "; indent with spaces, not with tabs"
        } else {
            ""
        };
        format!("{}:{line}: cannot be read: {error}{advice}", self.name)
    }
}

/// Marks a scalar that YAML did not leave a text. A text of ours cannot be it, for YAML has no way
/// to write this character.
const INTERPRETED: &str = "\u{fffe}";

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

/// Answers a visitor's methods for numbers and truths with the mark.
macro_rules! interpreted {
    ($($method:ident: $kind:ty,)*) => {
        $(
            fn $method<E>(self, _value: $kind) -> Result<Node, E> {
                Ok(Node::Text(INTERPRETED.to_owned()))
            }
        )*
    };
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sections of settings")
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    interpreted! {
        visit_bool: bool,
        visit_i64: i64,
        visit_u64: u64,
        visit_i128: i128,
        visit_u128: u128,
        visit_f64: f64,
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Empty)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Empty)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            nodes.push(entry);
        }
        Ok(Node::Map(nodes))
    }

    /// What a tag becomes.
    fn visit_enum<A: EnumAccess<'de>>(self, _tagged: A) -> Result<Node, A::Error> {
        Err(A::Error::custom("a tag such as `!name` means nothing here"))
    }
}

/// What is wanted of a place.
enum Aim<'a> {
    /// Its line: of the key, in a map.
    Line,
    /// What is written there.
    Text(&'a mut Option<String>),
}

/// Reads to the end of `route`, and stops.
struct Seeker<'a> {
    route: &'a [usize],
    aim: Aim<'a>,
}

impl<'de> DeserializeSeed<'de> for Seeker<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if !self.route.is_empty() {
            return deserializer.deserialize_any(self);
        }
        match self.aim {
            Aim::Line => deserializer.deserialize_any(Stop),
            Aim::Text(written) => {
                *written = Some(String::deserialize(deserializer)?);
                Ok(())
            }
        }
    }
}

impl<'de> Visitor<'de> for Seeker<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what was here a moment ago")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((&index, route)) = self.route.split_first() else {
            return Ok(());
        };
        for _ in 0..index {
            items.next_element::<IgnoredAny>()?;
        }
        let inner = Seeker {
            route,
            aim: self.aim,
        };
        items.next_element_seed(inner)?;
        Err(A::Error::custom(STOPPED))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some((&index, route)) = self.route.split_first() else {
            return Ok(());
        };
        for _ in 0..index {
            entries.next_entry::<IgnoredAny, IgnoredAny>()?;
        }
        if route.is_empty() && matches!(self.aim, Aim::Line) {
            entries.next_key_seed(Stop)?;
            return Ok(());
        }
        entries.next_key::<IgnoredAny>()?;
        let inner = Seeker {
            route,
            aim: self.aim,
        };
        entries.next_value_seed(inner)?;
        Err(A::Error::custom(STOPPED))
    }
}

/// Fails wherever it is put, which makes the library say where that is.
struct Stop;

const STOPPED: &str = "stopped here";

impl<'de> DeserializeSeed<'de> for Stop {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Stop {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STOPPED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Node {
        Node::Text(text.to_owned())
    }

    fn parse(text: &str) -> Node {
        Yaml::new("x.yaml", text).parse().unwrap()
    }

    #[test]
    fn scalars_stay_as_they_were_written() {
        let scalars = "[0123, 1.10, 1e5, true, 0x1F, 123456789012345678901234567890, 'q', -1]";
        let written = scalars.trim_matches(['[', ']']).split(", ");

        let nodes = written.map(|it| text(it.trim_matches('\''))).collect();
        assert_eq!(parse(scalars), Node::List(nodes));
    }

    #[test]
    fn a_file_without_settings_is_empty() {
        for empty in ["", "\n\n", "# only words\n", "---\n", "~"] {
            assert_eq!(parse(empty), Node::Empty, "{empty:?}");
        }
    }

    #[test]
    fn every_place_knows_its_line_however_it_is_written() {
        let yaml = Yaml::new(
            "x.yaml",
            "# words\nhttp:\n  listen: >\n    one\n    two\n  \"quoted\": 1\nwebhook: {\n  a: 1,\n  \
             b: [x,\n    y]\n}\n",
        );
        yaml.parse().unwrap();

        for (route, line) in [
            (vec![0], 2),
            (vec![0, 0], 3),
            (vec![0, 1], 6),
            (vec![1], 7),
            (vec![1, 0], 8),
            (vec![1, 1], 9),
            (vec![1, 1, 1], 10),
        ] {
            assert_eq!(yaml.line_of(&route), line, "{route:?}");
        }
    }

    #[test]
    fn a_key_given_twice_is_kept_twice() {
        let Node::Map(entries) = parse("a: 1\na: 2\n") else {
            panic!("a map was written");
        };
        assert_eq!(entries.len(), 2);
    }

    #[test]
    fn what_is_not_yaml_says_where() {
        let error = |text: &str| Yaml::new("x.yaml", text).parse().unwrap_err();

        let tab = error("http:\n\tlisten: x\n");
        assert!(tab.starts_with("x.yaml:2: cannot be read: "), "{tab}");
        assert!(tab.ends_with("indent with spaces, not with tabs"), "{tab}");
        assert!(
            error("a: [1\n").starts_with("x.yaml:"),
            "{}",
            error("a: [1\n")
        );
        let tag = error("a:\n  b: !secret c\n");
        assert!(
            tag.starts_with("x.yaml:2: ") && tag.contains("a tag such as"),
            "{tag}"
        );
        assert!(error("a: 1\n---\nb: 2\n").contains("several documents"));
        assert!(error(&"[".repeat(5000)).starts_with("x.yaml:"));
    }
}
