//! What expressions may be, and what they answer.

use chrono::DateTime;
use serde_json::{Value, json};

use super::cost::Dimensions;
use super::{Scene, compile};
use crate::{EventFacts, Severity};

fn facts(payload: &Value) -> EventFacts<'_> {
    EventFacts {
        event_id: "e-1",
        producer: "risk",
        created_at: DateTime::UNIX_EPOCH,
        kind: "order.filled",
        severity: Some(Severity::High),
        payload,
    }
}

/// What `source` answers for an event with this payload.
fn answer(source: &str, payload: &Value) -> Result<cel::Value, String> {
    Scene::of(&facts(payload)).evaluate(&compile(source)?)
}

#[test]
fn an_expression_sees_all_of_the_event() {
    let payload = json!({
        "amount": 10.5, "count": 3, "big": u64::MAX, "user_ids": ["u1", "u2"], "gone": null,
        "account": {"id": "a-1"}, "note": "Grüße",
    });
    for source in [
        "event.type == 'order.filled'",
        "event.severity == 'high' && event.producer == 'risk' && event.id == 'e-1'",
        "event.data.amount > 10",
        "event.data.count > 2.5 && event.data.count == 3.0",
        "event.data.big > 9",
        "event.payload.account.id == event.data.account.id",
        "'u1' in event.data.user_ids",
        "has(event.data.amount) && !has(event.data.nothing)",
        "event.data.gone == null",
        "event.data.user_ids.exists(u, u.startsWith('u'))",
        "event.data.note.matches('^Gr.*e$')",
        "event.type.matches(r'^order\\.')",
        "event.created_at < timestamp('2020-01-01T00:00:00Z')",
        "size(event.data.user_ids) == 2",
        "event.data['account']['id'] == 'a-1'",
    ] {
        assert_eq!(answer(source, &payload), Ok(true.into()), "{source}");
    }
}

#[test]
fn an_error_names_the_field_and_never_the_content() {
    let long = "secret".repeat(3000);
    let payload = json!({"name": "secret", "zero": 0, "keys": {"secret": 1}, "long": long});
    for (source, expected) in [
        ("event.data.amount > 1", "the event has no `amount`"),
        (
            "event.data[event.data.name] == 1",
            "the event has no field that is asked for",
        ),
        (
            "event.data.name > 1",
            "`_>_` does not go with string and int",
        ),
        ("event.data.name + 1 == ''", "two values do not go together"),
        ("1 / event.data.zero == 1", "it divides by zero"),
        (
            "event.data.long.matches('x')",
            "the text is too long for the pattern",
        ),
        (
            "int(event.data.name) == 1",
            "`int` could not take what it was given",
        ),
    ] {
        let error = answer(source, &payload).unwrap_err();
        assert!(!error.contains("secret"), "{source}: {error}");
        assert_eq!(error, expected, "{source}");
    }
}

#[test]
fn what_cannot_be_evaluated_is_refused_when_it_is_compiled() {
    let long = format!("event.type == '{}'", "x".repeat(super::SOURCE_BYTES_MAX));
    let deep = format!("{}1{}", "(".repeat(201), ")".repeat(201));
    let sum = vec!["1"; 100].join(" + ");
    let doubling = format!("['x']{}", ".map(a, a+a+a+a+a+a+a+a)".repeat(8));
    let nested = "[1,2,3,4].map(a, event.data.x.map(b, event.data.x.map(c, \
                  event.data.x.map(d, event.data.x.map(e, event.data.x)))))";
    for (source, expected) in [
        ("", "must not be empty"),
        ("event.type ==", "cannot be read as CEL at 1:14"),
        (&long, "must have at most 4096 bytes"),
        (&deep, "must have at most 200 brackets and question marks"),
        (
            &format!("{}true", "!".repeat(60)),
            "must have at most 50 signs in a row",
        ),
        (&sum, "is nested deeper than 24 levels"),
        (
            "user.name == 'x'",
            "knows `event` and what macros name, not `user`",
        ),
        (
            "event.data.exists(x, y == 1)",
            "knows `event` and what macros name, not `y`",
        ),
        ("now() == 1", "has no function `now` with so many arguments"),
        (
            "event.data.x.matches(event.data.y)",
            "must give `matches` its pattern",
        ),
        (
            "event.data.x.matches('(')",
            "the pattern of `matches` must be a regular expression",
        ),
        (
            "event.data.x.matches(r'\\w{900}')",
            "the pattern of `matches` is too large",
        ),
        (
            "event.data.x.matches('(a{1,100}){1,10}b|<i>')",
            "the pattern of `matches` is too large",
        ),
        ("Message{a: 1}", "must not make messages"),
        (&doubling, "could take too long, even for a small event"),
        (nested, "could take too long, even for a small event"),
    ] {
        let error = compile(source).map(|_| ()).unwrap_err();
        assert!(error.starts_with(expected), "{source}: {error}");
    }
}

#[test]
fn many_alternatives_are_not_deep() {
    let many: Vec<_> = (0..100).map(|n| format!("event.data.n == {n}")).collect();
    let payload = json!({"n": 99});
    assert_eq!(answer(&many.join(" || "), &payload), Ok(true.into()));
}

/// The parser's thread and a worker's stack both hold what is accepted; a stack that overflows ends
/// the process, and this test with it.
#[test]
fn the_deepest_expression_that_is_accepted_fits_the_stack() {
    for source in [
        format!("{}1{}", "(".repeat(200), ")".repeat(200)),
        format!("{}1{}", "[".repeat(200), "]".repeat(200)),
        format!(
            "{}{}1{}",
            "event.data.x + (".repeat(60),
            "-".repeat(50),
            ")".repeat(60)
        ),
        format!("{}1", "true ? 1 : ".repeat(199)),
        format!("{}1{}", "size(".repeat(62), ")".repeat(62)),
        format!("event.data{}", ".x".repeat(2000)),
        "(".repeat(200),
        "[{".repeat(100),
        "a.b".repeat(1300),
    ] {
        // Whether it is accepted is not the point.
        if let Ok(expression) = compile(&source) {
            let payload = json!({"x": 1});
            drop(Scene::of(&facts(&payload)).evaluate(&expression));
        }
    }
    let deep = format!("{}1{}", "[".repeat(23), "]".repeat(23));
    assert!(answer(&deep, &json!({})).is_ok());
}

#[test]
fn a_join_runs_over_a_small_event_and_not_over_a_large_one() {
    let source = "event.data.xs.exists(x, event.data.ys.exists(y, x == y))";
    let of = |count: u32| {
        let xs: Vec<_> = (0..count).collect();
        let ys: Vec<_> = (count..2 * count).collect();
        answer(source, &json!({"xs": xs, "ys": ys}))
    };
    assert_eq!(of(100), Ok(false.into()));
    assert_eq!(
        of(5000).unwrap_err(),
        "could take too long for an event so large"
    );
}

#[test]
fn lists_of_hundreds_are_filtered_and_gathered() {
    let items: Vec<_> = (0..300)
        .map(|n| json!({"sku": format!("sku {n}"), "n": n}))
        .collect();
    let source = "event.data.items.filter(i, i.n > 5).map(i, i.sku).size() == 294";
    assert_eq!(answer(source, &json!({"items": items})), Ok(true.into()));
}

#[test]
fn copies_of_copies_are_refused_for_what_is_no_small_event() {
    let items = vec![json!({"a": 1, "b": 2}); 300];
    let source = "event.data.items.map(x, event.data.items).size() == 1";
    let refused = answer(source, &json!({"items": items})).unwrap_err();
    assert_eq!(refused, "could take too long for an event so large");
}

#[test]
fn a_large_event_does_not_stop_an_expression_that_looks_at_little_of_it() {
    let large = vec![json!({"text": "x".repeat(100)}); 5000];
    let payload = json!({"xs": ["a", "b"], "rest": large});
    let source = "event.data.xs.exists(x, x == 'b')";
    assert_eq!(answer(source, &payload), Ok(true.into()));
}

/// What is paid is bytes times places. An event has 100 million units, of ten nanoseconds, and a
/// place costs two at each byte.
#[test]
fn searches_share_the_budget_of_their_event_by_bytes_and_places() {
    let searches = |pattern: &str, text_bytes: usize| {
        let payload = json!({"s": "a".repeat(text_bytes), "n": 1});
        let event = facts(&payload);
        let scene = Scene::of(&event);
        let expression = compile(&format!("event.data.s.matches('{pattern}')")).unwrap();
        let evaluated = std::iter::repeat_with(|| scene.evaluate(&expression));
        evaluated.take(10_000).take_while(Result::is_ok).count()
    };
    // Of breadth 426: 2400 × 426 × 2 = 2 million.
    assert_eq!(searches("(a{1,20}){1,10}b|<i>", 2400), 48);
    // Of breadth 7 and 11.
    assert!(searches("^order[.]", 2400) > 2000);
    assert!(searches("[a-z0-9]+@[a-z0-9]+[.][a-z]{2,}", 10_000) > 400);
}

#[test]
fn a_pattern_in_a_macro_is_paid_for_every_round() {
    let source = "event.data.xs.exists(x, x.matches('^(sku|part)-[0-9]+$'))";
    let of = |count: usize| answer(source, &json!({"xs": vec!["a".repeat(100); count]}));
    assert_eq!(of(10), Ok(false.into()));
    assert_eq!(
        of(1000).unwrap_err(),
        "could take too long for an event so large"
    );
}

#[test]
fn to_measure_an_event_is_paid_for_as_well() {
    let large = json!({"xs": vec![1; 200_000], "n": 1});
    let event = facts(&large);
    let scene = Scene::of(&event);
    // Each measures 200 000 values, and finds that it may not run.
    let expression = compile("event.data.xs.map(x, x + 1).exists(x, x == 0)").unwrap();
    let evaluated = std::iter::repeat_with(|| scene.evaluate(&expression).unwrap_err());
    let too_large = |error: &String| error == "could take too long for an event so large";
    assert!(evaluated.take(10_000).take_while(too_large).count() < 500);
}

#[test]
fn the_types_that_an_expression_is_confined_to_are_found() {
    for (source, expected) in [
        ("event.type == 'a.b'", Some(vec!["a.b"])),
        (
            "event.data.x > 1 && 'a' == event.type && true",
            Some(vec!["a"]),
        ),
        (
            "event.type in ['a', 'b'] && event.data.x == 1",
            Some(vec!["a", "b"]),
        ),
        (
            "event.type == 'a' || event.type == 'b'",
            Some(vec!["a", "b"]),
        ),
        ("event.type == 'a' || event.data.x == 1", None),
        ("event.type != 'a'", None),
        ("event.data.type == 'a'", None),
        ("event.type == event.data.x", None),
    ] {
        let types = compile(source).unwrap().event_types();
        let expected = expected.map(|types| types.iter().map(ToString::to_string).collect());
        assert_eq!(types, expected, "{source}");
    }
}

/// The texts of the event are weighed with its values.
#[test]
fn dimensions_count_values_and_texts() {
    let small = Dimensions::of(&json!({"a": [1, 2, 3]}));
    let large = Dimensions::of(&json!({"a": "x".repeat(64_000)}));
    assert_ne!(small, large);
}
