//! Schemas that could cost too much are refused; those that may be kept are held against the worst
//! data for them, on a stack as small as any.

use std::thread;

use serde_json::{Map, json};

use super::*;

/// What the runtime gives its threads.
const STACK_BYTES: usize = 2 * 1024 * 1024;

/// Runs what would end the process if it went too deep.
fn on_small_stack<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn(run);
    thread.unwrap().join().unwrap()
}

fn refusal(schema: Value) -> String {
    on_small_stack(move || match compile_schema(&schema) {
        Ok(schema) => panic!("it is let through: {:?}", schema.work),
        Err(issue) => issue.to_string(),
    })
}

/// What a schema that may be kept has against data.
fn errors(schema: Value, data: Value) -> Vec<FieldError> {
    on_small_stack(move || {
        let schema = compile_schema(&schema).unwrap_or_else(|issue| panic!("{issue}"));
        schema.validate(&data)
    })
}

/// `levels` times `around`, with `inner` within.
fn nested(levels: usize, inner: Value, around: impl Fn(Value) -> Value) -> Value {
    (0..levels).fold(inner, |inner, _| around(inner))
}

/// A chain of definitions, each of which `leads` to the next one.
fn chain(length: usize, leads: impl Fn(Value) -> Value) -> Value {
    let next = |number| json!({"$ref": format!("#/$defs/a{number}")});
    let mut defs: Map<String, Value> = (0..length)
        .map(|number| (format!("a{number}"), leads(next(number + 1))))
        .collect();
    defs.insert(format!("a{length}"), json!({}));
    json!({"$defs": defs, "$ref": "#/$defs/a0"})
}

fn times(count: usize, schema: &Value) -> Vec<Value> {
    vec![schema.clone(); count]
}

const TOO_MANY: &str = "/variables: could cost more than 2000 checks of one value";

#[test]
fn references_that_multiply_are_refused() {
    for keyword in ["allOf", "anyOf", "oneOf"] {
        let schema = chain(14, |next| json!({keyword: times(10, &next)}));
        assert!(refusal(schema).starts_with(TOO_MANY), "{keyword}");
    }
    let branches = |next: Value| json!({"not": next, "if": next, "then": next, "else": next});
    assert!(refusal(chain(20, branches)).starts_with(TOO_MANY));
    let dependent = |next: Value| json!({"dependentSchemas": {"a": next, "b": next}});
    assert!(refusal(chain(30, dependent)).starts_with(TOO_MANY));
    let parts = |next: Value| json!({"items": next, "contains": next});
    assert!(refusal(chain(40, parts)).starts_with(TOO_MANY));
    let parts = |next: Value| json!({"patternProperties": {"a": next, "^": next}});
    assert!(refusal(chain(20, parts)).starts_with(TOO_MANY));
}

#[test]
fn a_circle_that_branches_is_refused() {
    let tree = json!({"$ref": "#"});
    for schema in [
        json!({"allOf": [{"items": tree}, {"items": tree}]}),
        json!({"anyOf": [{"properties": {"a": tree}}, {"properties": {"b": tree}}]}),
        json!({"items": {"anyOf": [tree, tree]}}),
        json!({"items": tree, "contains": tree}),
        json!({"patternProperties": {"^a": tree, "b$": tree}}),
        json!({"additionalProperties": tree, "unevaluatedProperties": tree}),
        json!({
            "$defs": {"base": {"properties": {"a": tree}}},
            "allOf": [{"$ref": "#/$defs/base"}],
            "unevaluatedProperties": false,
        }),
    ] {
        let text = schema.to_string();
        assert!(refusal(schema).starts_with(TOO_MANY), "{text}");
    }
}

#[test]
fn a_circle_without_data_is_refused() {
    for schema in [
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}]}),
        json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
            "properties": {"x": {"$ref": "#/$defs/a"}}}),
    ] {
        let refused = "/variables: refers to itself without going into the data";
        assert!(refusal(schema).starts_with(refused));
    }
}

#[test]
fn what_is_looked_at_again_is_counted_again() {
    let schema = nested(
        30,
        json!({}),
        |inner| json!({"allOf": [inner], "unevaluatedProperties": false}),
    );

    assert!(refusal(schema).starts_with(TOO_MANY));
    for keyword in ["unevaluatedProperties", "unevaluatedItems"] {
        let schema = nested(60, json!({}), |inner| json!({keyword: inner}));
        assert!(refusal(schema).starts_with(TOO_MANY), "{keyword}");
    }
    for keyword in ["additionalProperties", "items"] {
        let schema = nested(
            60,
            json!({}),
            |inner| json!({keyword: inner, "unevaluatedProperties": false, "unevaluatedItems": false}),
        );
        assert_eq!(errors(schema, json!(1)), [], "{keyword}");
    }
}

#[test]
fn schemas_in_a_row_are_bounded() {
    let refused = "/variables: holds more than 32 schemas in a row";
    for (keyword, length) in [("$ref", 15), ("allOf", 10)] {
        let leads = |next: Value| match keyword {
            "$ref" => json!({"allOf": [next]}),
            _ => json!({"allOf": [{"anyOf": [next]}]}),
        };
        assert_eq!(
            errors(chain(length, leads), json!({"a": 1})),
            [],
            "{keyword}"
        );
        for longer in [2 * length, 300] {
            assert!(
                refusal(chain(longer, leads)).starts_with(refused),
                "{keyword}"
            );
        }
    }
    let within = |levels| nested(levels, json!({}), |inner| json!({"not": inner}));
    assert_eq!(errors(within(30), json!(1)), []);
    assert!(refusal(within(62)).starts_with(refused));
}

#[test]
fn a_schema_as_deep_as_data_fits_the_stack() {
    let wide = |inner: Value| json!({"type": "object", "properties": {"a": inner}});
    let schema = nested(60, json!({"type": "integer"}), wide);
    let data = nested(60, json!(1), |inner| json!({"a": inner}));
    assert_eq!(errors(schema.clone(), data), []);
    let data = nested(60, json!("x"), |inner| json!({"a": inner}));
    assert_eq!(errors(schema, data).len(), 1);

    let parts = |next: Value| json!({"items": {"anyOf": [{"type": "null"}, next]}});
    let data = nested(126, json!(1), |inner| json!([inner]));
    assert_eq!(errors(chain(126, parts), data), []);
}

#[test]
fn a_circle_that_goes_into_the_data_is_kept() {
    let list = json!({
        "$defs": {"node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "next": {"anyOf": [{"type": "null"}, {"allOf": [{"$ref": "#/$defs/node"}]}]},
                "left": {"$ref": "#/$defs/node"},
                "right": {"$ref": "#/$defs/node"},
                "more": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "unevaluatedProperties": false,
        }},
        "$ref": "#/$defs/node",
    });
    let deep = |inner| nested(126, inner, |inner| json!({"value": 1, "next": inner}));
    assert_eq!(errors(list.clone(), deep(json!(null))), []);
    assert_eq!(errors(list.clone(), deep(json!(5))).len(), 1);
    let left = |inner| nested(126, inner, |inner| json!({"left": inner, "right": {}}));
    assert_eq!(errors(list.clone(), left(json!({}))), []);
    assert_eq!(errors(list, left(json!(5))).len(), 1);
}

#[test]
fn a_path_as_long_as_it_may_be_fits_the_stack() {
    // Five schemas for each level of data, which is the most.
    let circle = |wraps: usize| {
        let again = nested(
            wraps,
            json!({"$ref": "#"}),
            |inner| json!({"anyOf": [inner]}),
        );
        json!({"items": again})
    };
    let data = nested(126, json!([]), |inner| json!([inner]));
    assert_eq!(errors(circle(3), data), []);
    let refused = "/variables: needs more than 640 schemas in a row";
    assert!(refusal(circle(4)).starts_with(refused));
    assert!(refusal(circle(8)).starts_with(refused));
}

#[test]
fn patterns_are_bounded() {
    let with = |pattern: &str| json!({"pattern": pattern});
    assert_eq!(errors(with("^[A-Z]{3}(-\\w{1,20})?$"), json!("ABC-d")), []);
    assert_eq!(
        errors(with("^(a+)+$"), json!("a".repeat(100_000) + "b")).len(),
        1
    );
    for pattern in ["\\p{L}{500}", "((a{100}){100}){100}"] {
        let refusal = refusal(with(pattern));
        assert!(
            refusal.starts_with("/variables/pattern: is not a regular"),
            "{refusal}"
        );
    }
    let long = "a".repeat(1025);
    let refused = "has a pattern of more than 1024 bytes";
    assert_eq!(
        refusal(with(&long)),
        format!("/variables/pattern: {refused}")
    );
    assert_eq!(
        refusal(with(&"(".repeat(100_000))),
        format!("/variables/pattern: {refused}")
    );
    let names = json!({"patternProperties": {long: {}}});
    assert_eq!(
        refusal(names),
        format!("/variables/patternProperties: {refused}")
    );
    assert!(refusal(with(&"(".repeat(1000))).starts_with("/variables/pattern: is not"));

    let fields = |count| {
        let fields = (0..count).map(|number| (format!("f{number:03}"), with("^a$")));
        json!({"properties": Value::Object(fields.collect())})
    };
    assert_eq!(errors(fields(100), json!({"f001": "a"})), []);
    assert!(refusal(fields(101)).contains("is one pattern more than the 100"));

    let same = |count| json!({"allOf": times(count, &with("^a$"))});
    assert_eq!(errors(same(7), json!("a")), []);
    assert!(refusal(same(8)).starts_with(TOO_MANY));
}

#[test]
fn a_payload_is_not_read_as_a_pattern() {
    let schema = json!({"$schema": "http://json-schema.org/draft-07/schema#", "format": "regex"});

    assert_eq!(errors(schema, json!("(".repeat(500_000))), []);
}

#[test]
fn a_long_list_is_searched_for_twins_in_one_go() {
    let numbers = |count| (0..count).map(Value::from).collect::<Vec<_>>();
    let unique = json!({"uniqueItems": true});
    assert_eq!(errors(unique.clone(), json!(numbers(50_000))), []);
    assert_eq!(
        errors(unique.clone(), json!([numbers(500), numbers(500)])).len(),
        1
    );
    let many = json!({"allOf": times(200, &unique)});
    assert!(refusal(many).starts_with(TOO_MANY));
}

#[test]
fn a_reference_that_cannot_be_followed_is_refused() {
    let elsewhere = "must refer to a part of this schema: `#/$defs/name`";
    for (schema, expected) in [
        (
            json!({"$ref": "http://json-schema.org/draft-07/schema#"}),
            elsewhere,
        ),
        (
            json!({"$id": "http://x.test/a", "$ref": "http://x.test/a#"}),
            elsewhere,
        ),
        (
            json!({"$ref": "#/$defs/a"}),
            "refers to nothing in this schema",
        ),
        (json!({"$ref": "#a"}), "refers to nothing in this schema"),
    ] {
        assert_eq!(refusal(schema), format!("/variables/$ref: {expected}"));
    }
    let dynamic = refusal(json!({"items": {"$dynamicRef": "#a"}}));
    assert_eq!(
        dynamic,
        "/variables/items/$dynamicRef: is not for templates: use `$ref`"
    );
    let named = refusal(json!({"$defs": {"a": {"$anchor": "a%62"}}, "$ref": "#a%62"}));
    assert_eq!(named, format!("/variables/$ref: {elsewhere}"));
    for (draft, keyword) in [
        ("2020-12/schema", "$id"),
        ("2020-12/schema", "$schema"),
        ("draft-04/schema", "id"),
    ] {
        let base = match draft {
            "draft-04/schema" => "http://json-schema.org/",
            _ => "https://json-schema.org/draft/",
        };
        // What is referred to is in the part that is a document of its own.
        let inner = json!({
            "$schema": format!("{base}{draft}"),
            "unknown": {keyword: "http://x.test/", "a": {"$ref": "#/b"}, "b": {}},
            "b": {},
            "$ref": "#/unknown/a",
        });
        let expected = format!("/variables: has `{keyword}` below its top, where it must not be");
        assert_eq!(refusal(inner), expected);
    }
    assert_eq!(
        errors(json!({"properties": {"id": {}, "$id": {}}}), json!({})),
        []
    );
}

#[test]
fn a_reference_by_any_name_is_followed() {
    let bad = chain(14, |next| json!({"allOf": times(10, &next)}));
    let around = |inner: Value, reference: &str| {
        let mut schema = bad.clone();
        schema["$ref"] = json!(reference);
        schema["$defs"]["a b~/%"] = inner;
        schema
    };
    let start = |name: &str| json!({"$anchor": name, "$ref": "#/$defs/a0"});
    for reference in ["#/$defs/a%20b~0~1%25", "#start", "#/%24defs/a0"] {
        assert!(
            refusal(around(start("start"), reference)).starts_with(TOO_MANY),
            "{reference}"
        );
    }
    let text = json!({"$defs": {"a b": {"type": "string"}}, "$ref": "#/$defs/a%20b"});
    assert_eq!(errors(text, json!(1)).len(), 1);
}

#[test]
fn what_does_not_fit_is_told_as_far_as_it_can_be() {
    let rows = json!({"items": {"properties": {"n": {"enum": times(20, &json!(1))}}}});
    let data = |count| json!(vec![json!({"n": "x"}); count]);
    let told = errors(rows.clone(), data(30));
    assert_eq!(told.len(), PROBLEMS_MAX);
    assert_eq!(told[0].pointer, "/0/n");

    // The first one of many.
    let told = errors(rows.clone(), data(20_000));
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].pointer, "/0/n");

    let told = errors(json!({"anyOf": [rows]}), data(20_000));
    assert_eq!(
        told[0].detail,
        "does not fit `variables`, and is too large to say where"
    );
}

#[test]
fn a_schema_as_people_write_them_is_kept() {
    let field = json!({
        "type": "object",
        "required": ["name", "amount"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^\\S.*\\S$"},
            "mail": {"pattern": "^[^@\\s]+@[^@\\s]+\\.[a-z]{2,}$"},
            "id": {"pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
            "text": {"pattern": "^.{1,200}$"},
            "amount": {"anyOf": [{"type": "number"}, {"$ref": "#/$defs/money"}]},
            "kind": {"enum": ["a", "b", "c"]},
        },
        "additionalProperties": false,
    });
    let fields = (0..60).map(|number| (format!("f{number}"), json!({"$ref": "#/$defs/field"})));
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://example.com/order",
        "$defs": {
            "money": {"type": "object", "properties": {"value": {"type": "string"}}},
            "field": field,
        },
        "properties": Value::Object(fields.collect()),
        "if": {"required": ["f1"]},
        "then": {"required": ["f2"]},
    });
    let good = json!({"name": "a b", "amount": {"value": "1"}, "mail": "a@b.cd", "text": "é"});
    assert_eq!(errors(schema.clone(), json!({"f1": good, "f2": good})), []);
    assert_eq!(
        errors(schema, json!({"f1": {"name": "xy", "amount": 1}})).len(),
        1
    );
}
