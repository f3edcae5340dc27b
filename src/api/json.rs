//! Parses a request body, and says where a bad one is bad.
//!
//! `serde_json` alone would refuse a payload of 128 levels (its own limit counts the wrapper) and
//! name a line and a column where a client wants a field. So the depth is bounded here, before
//! anything recurses, and an error's offset is turned into a JSON Pointer.

use serde::Deserialize;
use serde_json::Value;

/// How deep a body may nest before it is not parsed at all. Objects that a caller names are held
/// to 128 levels by the domain, which names the field; this bound only keeps the parser's
/// recursion small, so it is generous.
const DEPTH_MAX: usize = 512;

/// Why a body is not JSON, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) pointer: String,
    pub(crate) detail: String,
}

/// Parses `bytes` as one JSON value.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Malformed> {
    if let Err(error) = std::str::from_utf8(bytes) {
        return Err(malformed(bytes, error.valid_up_to(), "is not valid UTF-8"));
    }
    if let Some(offset) = first_deeper_than(bytes, DEPTH_MAX) {
        let detail = format!("nests deeper than {DEPTH_MAX} levels");
        return Err(malformed(bytes, offset, &detail));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    deserializer.disable_recursion_limit();
    Value::deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| {
            let offset = offset_of(bytes, error.line(), error.column());
            malformed(bytes, offset, &format!("is not valid JSON: {error}"))
        })
}

fn malformed(bytes: &[u8], offset: usize, detail: &str) -> Malformed {
    Malformed {
        pointer: pointer_at(bytes, offset),
        detail: format!("the body {detail}"),
    }
}

/// The offset before the byte at `line` and `column`, both counted from 1.
fn offset_of(bytes: &[u8], line: usize, column: usize) -> usize {
    let line_start = match line {
        0 | 1 => 0,
        _ => bytes
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .nth(line - 2)
            .map_or(0, |(offset, _)| offset + 1),
    };
    (line_start + column.saturating_sub(1)).min(bytes.len())
}

/// The offset of the first bracket that opens level `depth_max + 1`.
fn first_deeper_than(bytes: &[u8], depth_max: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut is_string = false;
    let mut is_escaped = false;
    for (offset, byte) in bytes.iter().enumerate() {
        if is_string {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => is_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => is_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > depth_max {
                    return Some(offset);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// One level of nesting on the way to an offset.
enum Step {
    Index(usize),
    /// The raw text of the key being read or whose value is being read.
    Key(Vec<u8>),
}

/// Most steps a pointer names; a deeper one is cut off there.
const STEPS_MAX: usize = 16;

/// The JSON Pointer of the value that contains `offset`, as far as the bytes before it tell.
fn pointer_at(bytes: &[u8], offset: usize) -> String {
    let mut steps: Vec<Step> = Vec::new();
    let mut string_start = None;
    let mut last_string: &[u8] = &[];
    let mut is_escaped = false;
    for (at, byte) in bytes.iter().enumerate().take(offset) {
        if let Some(start) = string_start {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => {
                    last_string = bytes.get(start..at).unwrap_or_default();
                    string_start = None;
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => string_start = Some(at + 1),
            b'{' => steps.push(Step::Key(Vec::new())),
            b'[' => steps.push(Step::Index(0)),
            b'}' | b']' => drop(steps.pop()),
            b':' => {
                if let Some(Step::Key(key)) = steps.last_mut() {
                    *key = last_string.to_vec();
                }
            }
            b',' => match steps.last_mut() {
                Some(Step::Index(index)) => *index += 1,
                Some(Step::Key(key)) => key.clear(),
                None => {}
            },
            _ => {}
        }
    }
    let mut pointer = String::new();
    for step in steps.iter().take(STEPS_MAX) {
        match step {
            Step::Index(index) => {
                pointer.push('/');
                pointer.push_str(&index.to_string());
            }
            Step::Key(key) if key.is_empty() => break,
            Step::Key(key) => {
                let key = String::from_utf8_lossy(key)
                    .replace('~', "~0")
                    .replace('/', "~1");
                pointer.push('/');
                pointer.push_str(&key);
            }
        }
    }
    pointer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer_of(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().pointer
    }

    #[test]
    fn an_error_names_the_field_it_is_in() {
        assert_eq!(
            pointer_of(r#"{"type":"a","payload":{"n":1e999}}"#),
            "/payload/n"
        );
        assert_eq!(
            pointer_of(r#"{"events":[{},{"type":"\ud800"}]}"#),
            "/events/1/type"
        );
        assert_eq!(pointer_of("{\"a\":1,\n\"b\":[1,2,\n}"), "/b/2");
        assert_eq!(pointer_of("not json"), "");
        assert_eq!(pointer_of(r#"{"a/b~c":tru}"#), "/a~1b~0c");
    }

    #[test]
    fn invalid_utf8_is_named_where_it_stands() {
        let error = parse(b"{\"type\":\"\xff\"}").unwrap_err();
        assert_eq!(error.pointer, "/type");
        assert_eq!(error.detail, "the body is not valid UTF-8");
    }

    #[test]
    fn nesting_is_bounded_before_anything_recurses() {
        let deep = format!("{{\"payload\":{}", "[".repeat(1_000_000));
        let error = parse(deep.as_bytes()).unwrap_err();
        assert!(
            error.pointer.starts_with("/payload/0/0"),
            "{}",
            error.pointer
        );
        assert_eq!(error.detail, "the body nests deeper than 512 levels");

        let allowed = format!("{}1{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        assert!(parse(allowed.as_bytes()).is_ok());
    }

    #[test]
    fn brackets_inside_strings_do_not_count() {
        let text = format!(r#"{{"a":"{}\""}}"#, "[".repeat(DEPTH_MAX + 1));
        assert!(parse(text.as_bytes()).is_ok());
    }

    #[test]
    fn text_after_the_value_is_refused() {
        assert!(parse(b"{} {}").is_err());
        assert!(parse(b"").is_err());
    }
}
