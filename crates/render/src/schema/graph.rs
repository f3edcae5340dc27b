//! A JSON Schema as a graph: what is held against a value leads to what else is.
//!
//! Keywords of all drafts are known at once: a keyword that the schema's draft does not have only
//! makes the graph larger than it is. What would make it smaller is refused: references that are
//! found out while data is read, and those that lead out of the schema.

use std::collections::HashMap;
use std::ptr;

use domain::pointer_token;
use serde_json::{Map, Value};

use super::work::{PATTERN_WEIGHT, UNIQUE_WEIGHT};

/// Longest regular expression, in bytes.
const PATTERN_BYTES_MAX: usize = 1024;

/// Most regular expressions.
const PATTERNS_MAX: usize = 100;

/// What is held against the same value.
const SAME_LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
const SAME: [&str; 5] = ["not", "if", "then", "else", "contentSchema"];
const SAME_BY_NAME: [&str; 2] = ["dependentSchemas", "dependencies"];

/// A part of a value is held against one of these alone.
const ONE_OF_PARTS: [&str; 3] = ["items", "additionalItems", "additionalProperties"];

/// A part of a value is held against each of these.
const ALL_OF_PARTS: [&str; 4] = [
    "contains",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// References that depend on the way to them, and what names a schema for them.
const DYNAMIC: [&str; 2] = ["$dynamicRef", "$recursiveRef"];

/// One schema within the schema.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// What holding it against one value costs, without what it leads to.
    pub(super) weight: u64,
    /// What is held against the same value.
    pub(super) same: Vec<usize>,
    /// A part of the value is held against one of these alone …
    pub(super) one_of_parts: Vec<usize>,
    /// … and against each of these.
    pub(super) all_of_parts: Vec<usize>,
    /// It asks what the others have looked at, so they look again.
    pub(super) looks_again: bool,
    /// It gathers what each of its alternatives has against a value before it tells of one.
    pub(super) gathers: bool,
}

/// Where in the schema something cannot be, and why.
pub(super) type Refusal = (String, String);

/// The schemas that a value may be held against; the first one is the whole.
pub(super) fn read(schema: &Value) -> Result<Vec<Node>, Refusal> {
    let mut reader = Reader {
        root: schema,
        numbers: HashMap::new(),
        waiting: Vec::new(),
        anchors: anchors(schema)?,
        patterns: 0,
    };
    reader.number(schema, String::new());
    let mut nodes = Vec::new();
    while let Some((value, pointer)) = reader.waiting.get(nodes.len()).cloned() {
        let node = match value {
            Value::Object(fields) => reader.node(fields, &pointer)?,
            _ => Node {
                weight: 1,
                ..Node::default()
            },
        };
        nodes.push(node);
    }
    Ok(nodes)
}

struct Reader<'a> {
    root: &'a Value,
    /// By where the schema is in memory: one that several lead to is one.
    numbers: HashMap<*const Value, usize>,
    waiting: Vec<(&'a Value, String)>,
    /// Schemas with a name of their own. Two may have the same in parts that are no schemas.
    anchors: HashMap<&'a str, Vec<&'a Value>>,
    patterns: usize,
}

impl<'a> Reader<'a> {
    fn number(&mut self, schema: &'a Value, pointer: String) -> usize {
        let next = self.waiting.len();
        let number = *self.numbers.entry(ptr::from_ref(schema)).or_insert(next);
        if number == next {
            self.waiting.push((schema, pointer));
        }
        number
    }

    fn node(&mut self, fields: &'a Map<String, Value>, pointer: &str) -> Result<Node, Refusal> {
        let mut node = Node {
            weight: 1,
            ..Node::default()
        };
        for (keyword, value) in fields {
            let place = format!("{pointer}/{}", pointer_token(keyword));
            let keyword = keyword.as_str();
            node.weight += self.weight(keyword, value, &place)?;
            if SAME_LISTS.contains(&keyword) || SAME.contains(&keyword) {
                self.add(value, &place, &mut node.same);
                node.gathers |= matches!(keyword, "anyOf" | "oneOf");
            } else if SAME_BY_NAME.contains(&keyword) || keyword == "properties" {
                let named = match keyword {
                    "properties" => &mut node.one_of_parts,
                    _ => &mut node.same,
                };
                self.add_named(value, &place, named);
            } else if keyword == "patternProperties" {
                self.add_named(value, &place, &mut node.all_of_parts);
            } else if ONE_OF_PARTS.contains(&keyword) || keyword == "prefixItems" {
                self.add(value, &place, &mut node.one_of_parts);
            } else if ALL_OF_PARTS.contains(&keyword) {
                self.add(value, &place, &mut node.all_of_parts);
                node.looks_again |= keyword.starts_with("unevaluated");
            } else if keyword == "$ref" {
                self.add_target(value, place, &mut node.same)?;
            } else if DYNAMIC.contains(&keyword) {
                return Err((place, "is not for templates: use `$ref`".to_owned()));
            }
        }
        Ok(node)
    }

    /// What a keyword costs by itself.
    fn weight(&mut self, keyword: &str, value: &Value, place: &str) -> Result<u64, Refusal> {
        let weight = match keyword {
            "enum" | "const" | "required" | "dependentRequired" | "dependencies" => values(value),
            "properties" => value.as_object().map_or(0, |it| it.len() as u64),
            "uniqueItems" | "format" => UNIQUE_WEIGHT,
            "pattern" => {
                self.pattern(value.as_str().unwrap_or_default(), place)?;
                PATTERN_WEIGHT
            }
            "patternProperties" => {
                let patterns = value.as_object().into_iter().flatten();
                let mut weight = 0;
                for (pattern, _) in patterns {
                    self.pattern(pattern, place)?;
                    weight += PATTERN_WEIGHT;
                }
                weight
            }
            _ => 1,
        };
        Ok(weight)
    }

    fn pattern(&mut self, pattern: &str, place: &str) -> Result<(), Refusal> {
        self.patterns += 1;
        let detail = if pattern.len() > PATTERN_BYTES_MAX {
            format!("has a pattern of more than {PATTERN_BYTES_MAX} bytes")
        } else if self.patterns > PATTERNS_MAX {
            format!("is one pattern more than the {PATTERNS_MAX} that a schema may have")
        } else {
            return Ok(());
        };
        Err((place.to_owned(), detail))
    }

    /// A schema, or a list of them.
    fn add(&mut self, value: &'a Value, place: &str, to: &mut Vec<usize>) {
        match value {
            Value::Array(schemas) => {
                for (index, schema) in schemas.iter().enumerate() {
                    to.push(self.number(schema, format!("{place}/{index}")));
                }
            }
            schema => to.push(self.number(schema, place.to_owned())),
        }
    }

    fn add_named(&mut self, value: &'a Value, place: &str, to: &mut Vec<usize>) {
        for (name, schema) in value.as_object().into_iter().flatten() {
            // A dependency may be a list of names.
            if !schema.is_array() {
                let place = format!("{place}/{}", pointer_token(name));
                to.push(self.number(schema, place));
            }
        }
    }

    fn add_target(
        &mut self,
        reference: &'a Value,
        place: String,
        to: &mut Vec<usize>,
    ) -> Result<(), Refusal> {
        let Some(reference) = reference.as_str() else {
            // The schema's own schema refuses it.
            return Ok(());
        };
        let fragment = reference.strip_prefix('#');
        // A name needs no escapes.
        let fragment = fragment.filter(|it| it.starts_with('/') || !it.contains('%'));
        let Some(fragment) = fragment.map(decode) else {
            let detail = "must refer to a part of this schema: `#/$defs/name`";
            return Err((place, detail.to_owned()));
        };
        let targets = if fragment.is_empty() || fragment.starts_with('/') {
            Vec::from_iter(self.root.pointer(&fragment))
        } else {
            let named = self.anchors.get(fragment.as_str());
            named.cloned().unwrap_or_default()
        };
        if targets.is_empty() {
            return Err((place, "refers to nothing in this schema".to_owned()));
        }
        for target in targets {
            to.push(self.number(target, fragment.clone()));
        }
        Ok(())
    }
}

/// What may be referred to by a name, wherever it stands. What would make a part a document of its
/// own, in which references lead elsewhere, is refused wherever it stands, too.
fn anchors(schema: &Value) -> Result<HashMap<&str, Vec<&Value>>, Refusal> {
    let draft = schema.get("$schema").and_then(Value::as_str);
    let is_old = draft.is_some_and(|draft| draft.contains("draft-04"));
    let mut anchors: HashMap<&str, Vec<&Value>> = HashMap::new();
    let mut waiting = vec![schema];
    while let Some(value) = waiting.pop() {
        let Value::Object(fields) = value else {
            waiting.extend(value.as_array().into_iter().flatten());
            continue;
        };
        for keyword in ["$anchor", "$dynamicAnchor", "$id", "id", "$schema"] {
            let Some(Value::String(name)) = fields.get(keyword) else {
                continue;
            };
            let in_document = name.strip_prefix('#');
            let begins_document = match keyword {
                "$schema" => true,
                "$id" => in_document.is_none(),
                "id" => in_document.is_none() && is_old,
                _ => false,
            };
            if begins_document && !ptr::eq(value, schema) {
                let detail = format!("has `{keyword}` below its top, where it must not be");
                return Err((String::new(), detail));
            }
            let name = in_document.unwrap_or(name);
            anchors.entry(name).or_default().push(value);
        }
        waiting.extend(fields.values());
    }
    Ok(anchors)
}

/// How many values there are in one.
pub(super) fn values(value: &Value) -> u64 {
    let mut count = 0;
    let mut waiting = vec![value];
    while let Some(value) = waiting.pop() {
        count += 1;
        match value {
            Value::Array(items) => waiting.extend(items),
            Value::Object(fields) => waiting.extend(fields.values()),
            _ => {}
        }
    }
    count
}

/// Reads `%20` and its like in the fragment of an address.
fn decode(fragment: &str) -> String {
    let mut decoded = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|it| char::from(*it).to_digit(16));
        rest = after;
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => decoded.push(first),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
