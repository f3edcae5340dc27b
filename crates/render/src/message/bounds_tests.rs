//! What stops a template that does too much.

use domain::Channel;
use serde_json::json;

use super::tests::{compile, render_event, render_in};
use crate::RenderError;

#[test]
fn a_template_that_works_too_long_or_writes_too_much_is_stopped() {
    let endless = compile(
        "name: x\nchannels:\n  sms:\n    body: '{% for a in range(9999) %}{% for b in \
         range(9999) %}{% endfor %}{% endfor %}'\n",
    );
    let error = render_event(&endless, "x", Channel::Sms, "x", &json!({})).unwrap_err();
    assert!(matches!(error, RenderError::Evaluation { .. }), "{error:?}");

    let verbose = compile(
        "name: x\nchannels:\n  sms:\n    body: '{% for a in range(9999) %}a long way to say nothing at \
         all, told again and again{% endfor %}'\n",
    );
    let error = render_event(&verbose, "x", Channel::Sms, "x", &json!({})).unwrap_err();
    assert!(matches!(error, RenderError::TooLarge { .. }), "{error:?}");
}

#[test]
fn a_template_that_makes_much_of_little_is_stopped() {
    let letters = "abcdefgh".repeat(1000);
    let payload = json!({"text": letters, "list": vec![1; 1000]});
    let nothing = "{% if 0 %}";
    for (text, expected) in [
        (
            "{% for n in range(9999) %}{% set x = text | tojson %}{% endfor %}",
            "32",
        ),
        (
            "{% for n in range(9999) %}{% set x = list | sort %}{% endfor %}",
            "32",
        ),
        ("{% set x = range(99999) | join(text) %}", "1048576 bytes"),
        ("{% set x = text | replace('a', text) %}", "1048576 bytes"),
        (
            "{% set x %}{% for n in range(9999) %}{{ text }}{% endfor %}{% endset %}",
            "32",
        ),
        (
            "{% filter upper %}{% for n in range(9999) %}{{ list }}{% endfor %}{% endfilter %}",
            "32",
        ),
        ("{{ list | map('upper') }}", "attribute"),
        ("{{ text | indent(1000000000) }}", "indent"),
        ("{{ '%1000000000d' | format(1) }}", "format"),
        ("{{ range(1000000000) }}", "too many elements"),
        ("{{ namespace(a=1) }}", "namespace"),
    ] {
        let yaml = json!({"name": "x", "channels": {"sms": {"body": format!("{text}{nothing}{{% endif %}}")}}});
        let error = render_event(
            &compile(&yaml.to_string()),
            "x",
            Channel::Sms,
            "x",
            &payload,
        );
        let issue = error.expect_err(text).to_issue().to_string();
        assert!(issue.contains(expected), "{text}: {issue}");
    }
}

#[test]
fn the_work_of_all_fields_of_a_message_is_counted_together() {
    let busy = "{% for n in range(9999) %}{% endfor %}";
    let leaves: Vec<_> = (0..20).map(|_| busy).collect();
    let body = json!({"name": "x", "channels": {"webhook": {"data": leaves}}});

    let error = render_event(
        &compile(&body.to_string()),
        "x",
        Channel::Webhook,
        "x",
        &json!({}),
    );

    assert!(
        matches!(error, Err(RenderError::Evaluation { .. })),
        "{error:?}"
    );
    let body = json!({"name": "x", "channels": {"webhook": {"data": [busy]}}});
    assert!(
        render_event(
            &compile(&body.to_string()),
            "x",
            Channel::Webhook,
            "x",
            &json!({})
        )
        .is_ok()
    );
}

#[test]
fn the_limit_counts_all_parts_of_a_message_together() {
    let half = "{% for a in range(9999) %}twenty-eight letters, counted{% endfor %}";
    let text = format!(
        "name: x\nchannels:\n  email:\n    subject: s\n    body: '{half}'\n    body_html: '{half}'\n"
    );

    let error = render_event(&compile(&text), "x", Channel::Email, "x", &json!({})).unwrap_err();

    assert!(matches!(error, RenderError::TooLarge { .. }), "{error:?}");
}

#[test]
fn html_that_no_parser_should_see_is_refused_with_its_place() {
    let deep = compile(
        "name: x\nchannels:\n  email: {subject: s, body_html: \"{% for n in range(1000) %}<div>{% endfor \
         %}\"}\n",
    );

    let error = render_in(&deep, "x", Channel::Email, "en").unwrap_err();
    assert_eq!(
        error.to_issue().to_string(),
        "/channels/email/body_html: renders to HTML that is nested deeper than 200 elements"
    );
}

#[test]
fn a_field_may_do_less_with_a_payload_of_very_many_values() {
    let text = "name: x\nchannels:\n  sms: {body: '{% for n in range(9999) %}{% endfor %}'}\n";
    let templates = compile(text);
    let render = |values: usize| {
        let payload = json!({"list": vec![0; values]});
        render_event(&templates, "x", Channel::Sms, "x", &payload)
    };

    assert!(render(9_000).is_ok());
    let error = render(90_000).unwrap_err();
    assert!(matches!(error, RenderError::Evaluation { .. }), "{error:?}");
}
