//! What comes out of templates: their words, their languages, and what one channel lends another.

use std::sync::LazyLock;

use chrono::DateTime;
use domain::{Channel, Message, NotificationId, Priority, UserId};
use serde_json::{Map, Value, json};

use super::{Rendered, literal};
use crate::file::Source;
use crate::section::Shape;
use crate::{
    Brand, EventVars, Gathered, NotificationVars, PLAIN, RenderError, Templates, UserVars, Vars,
};

/// Renders with `data` as the payload of an event of type `kind`.
pub(super) fn render_event(
    templates: &Templates,
    template: &str,
    channel: Channel,
    kind: &str,
    data: &Value,
) -> Result<Message, RenderError> {
    render_any(templates, template, channel, |vars| Vars {
        data,
        event: vars.event.map(|event| EventVars { kind, ..event }),
        notification: NotificationVars {
            kind,
            ..vars.notification
        },
        ..vars
    })
    .map(|rendered| rendered.message)
}

pub(super) fn render_in(
    templates: &Templates,
    template: &str,
    channel: Channel,
    locale: &str,
) -> Result<Rendered, RenderError> {
    render_any(templates, template, channel, |vars| Vars { locale, ..vars })
}

fn render_digest(
    templates: &Templates,
    template: &str,
    channel: Channel,
    items: Option<Gathered<'_>>,
) -> Result<Message, RenderError> {
    render_any(templates, template, channel, |vars| Vars { items, ..vars })
        .map(|rendered| rendered.message)
}

fn render_any<'a>(
    templates: &Templates,
    template: &str,
    channel: Channel,
    change: impl FnOnce(Vars<'a>) -> Vars<'a>,
) -> Result<Rendered, RenderError> {
    static USER: LazyLock<UserId> = LazyLock::new(|| UserId::from("u1"));
    static BRAND: LazyLock<Brand> = LazyLock::new(Brand::default);
    let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let vars = change(Vars {
        data: &Value::Null,
        items: None,
        event: Some(EventVars {
            id: "order-1",
            kind: "x",
            created_at: now,
        }),
        user: UserVars {
            id: &USER,
            locale: None,
            timezone: None,
        },
        notification: NotificationVars {
            id: NotificationId::at(now),
            kind: "x",
            category: None,
            priority: Priority::Normal,
            created_at: now,
        },
        brand: &BRAND,
        locale: "en",
    });
    templates.render(template, channel, &vars)
}

pub(super) fn compile(text: &str) -> Templates {
    let plain = include_str!("../../../../templates/plain.yaml");
    let sources = [("x.yaml", text), ("plain.yaml", plain)];
    Templates::compile(
        sources
            .into_iter()
            .map(|(file, text)| Source { file, text }),
    )
    .unwrap()
}

#[test]
fn a_filled_order_reads_as_a_sentence_in_app() {
    let templates = Templates::builtin().unwrap();
    let payload = json!({"symbol": "AAPL", "side": "BUY", "quantity": 10, "price": 189.5});

    let message = render_event(
        &templates,
        "order.filled",
        Channel::InApp,
        "ORDER_FILLED",
        &payload,
    )
    .unwrap();

    assert_eq!(message.subject.as_deref(), Some("Order filled"));
    assert_eq!(
        message.body,
        "Your buy order for 10 AAPL was filled at 189.5."
    );
    assert_eq!(message.data, None);
}

#[test]
fn every_builtin_renders_on_every_channel_whatever_the_payload() {
    let templates = Templates::builtin().unwrap();
    for name in templates.names() {
        let samples = templates.samples(name);
        assert!(!samples.is_empty(), "{name} has no sample");
        let mut payloads: Vec<Value> = samples.iter().cloned().map(Value::Object).collect();
        // Each known variable missing, null, and of a type nobody meant.
        payloads.push(Value::Null);
        for odd in [
            Value::Null,
            json!(7),
            json!([1, {"a": null}]),
            json!({"x": {"y": "z"}}),
        ] {
            let keys = samples.iter().flat_map(Map::keys).cloned();
            payloads.push(Value::Object(keys.map(|key| (key, odd.clone())).collect()));
        }
        for (channel, payload) in Channel::ALL
            .into_iter()
            .flat_map(|channel| payloads.iter().map(move |it| (channel, it)))
        {
            let message = render_event(&templates, name, channel, "some.event", payload)
                .unwrap_or_else(|error| panic!("{name} on {channel} with {payload}: {error:?}"));

            let has_words = !message.body.trim().is_empty() || message.data.is_some();
            // A plain notification of nothing has only its title to show.
            assert!(
                has_words || name == PLAIN,
                "{name} on {channel} with {payload}"
            );
            assert_eq!(message.subject.is_some(), Shape::of(channel).needs_subject);
            let is_sentence = channel == Channel::InApp || channel == Channel::Sms;
            assert!(
                !(is_sentence && message.body.contains("  ")),
                "{name}: {:?}",
                message.body
            );
        }
    }
}

#[test]
fn the_plain_template_shows_the_senders_words_or_else_the_payload() {
    let templates = Templates::builtin().unwrap();
    let shown = |payload: &Value| {
        let it = render_event(
            &templates,
            PLAIN,
            Channel::InApp,
            "NETTING_CYCLE.done",
            payload,
        );
        let message = it.unwrap();
        (message.subject.unwrap(), message.body)
    };

    assert_eq!(
        shown(&json!({"user_id": "u1", "title": "Hello", "message": "It is done."})),
        ("Hello".to_owned(), "It is done.".to_owned())
    );
    assert_eq!(
        shown(&json!({"user_id": "u1", "net_amount": 5, "ok": true, "items": [1]})),
        (
            "Netting cycle done".to_owned(),
            "Net amount: 5\nOk: yes".to_owned()
        )
    );
}

#[test]
fn html_is_escaped_and_text_is_not() {
    let templates = compile(
        "name: x\nchannels:\n  email:\n    subject: s\n    body: '{{ who }}'\n    \
         body_html: '<b>{{ who }}</b>'\n",
    );

    let message = render_event(
        &templates,
        "x",
        Channel::Email,
        "x",
        &json!({"who": "<Ada & Co>"}),
    )
    .unwrap();

    assert_eq!(message.body, "<Ada & Co>");
    let html = message.body_html.unwrap();
    assert!(html.contains("<b>&lt;Ada &amp; Co&gt;</b>"), "{html}");
}

#[test]
fn a_variable_in_structured_data_cannot_change_its_shape_and_keeps_its_type() {
    let templates = compile(
        "name: x\nchannels:\n  slack:\n    text: t\n    blocks:\n    - {type: section, text: 'Hi \
         {{ who }}', n: '{{ count }}', raw: '{{ who | safe }}'}\n",
    );
    let payload = json!({"who": "\"}], \"x\": [{\"", "count": 3});

    let message = render_event(&templates, "x", Channel::Slack, "x", &payload).unwrap();

    let block = json!({
        "type": "section", "text": "Hi \"}], \"x\": [{\"", "n": 3, "raw": "\"}], \"x\": [{\"",
    });
    assert_eq!(message.data, Some(json!({"blocks": [block]})));
}

#[test]
fn an_undefined_variable_is_an_error_that_names_the_place() {
    let templates = compile("name: x\nchannels:\n  sms:\n    body: |\n      a\n      {{ typo }}\n");

    let error = render_event(&templates, "x", Channel::Sms, "x", &json!({})).unwrap_err();

    assert_eq!(
        error.to_string(),
        "template `x/sms.body.txt` failed in line 2"
    );
}

#[test]
fn a_payload_cannot_replace_what_postrider_says() {
    let templates = compile(
        "name: x\nchannels:\n  sms:\n    body: '{{ user.id }} {{ data.user }} {{ event.type }} {{ \
         event.data.n }} {{ n }}'\n",
    );

    let message = render_event(
        &templates,
        "x",
        Channel::Sms,
        "e",
        &json!({"user": "eve", "n": 1}),
    )
    .unwrap();

    assert_eq!(message.body, "u1 eve e 1 1");
}

#[test]
fn a_channel_without_a_section_borrows_the_words_of_another() {
    let templates = compile(
        "name: x\ndescription: About x\nchannels:\n  email:\n    subject: Short\n    body: Long\n",
    );
    let message = |channel| render_event(&templates, "x", channel, "x", &json!({"a": 1})).unwrap();

    let in_app = message(Channel::InApp);
    assert_eq!(
        (in_app.subject.as_deref(), in_app.body.as_str()),
        (Some("Short"), "Long")
    );
    assert_eq!(message(Channel::Sms).body, "Short");
    assert_eq!(message(Channel::Webhook).data, Some(json!({"a": 1})));

    let sms_only = compile("name: x\ndescription: About x\nchannels:\n  sms:\n    body: Hi\n");
    let email = render_event(&sms_only, "x", Channel::Email, "x", &json!({})).unwrap();
    assert_eq!(
        (email.subject.as_deref(), email.body.as_str()),
        (Some("About x"), "Hi")
    );
}

#[test]
fn a_template_without_words_is_shown_plainly() {
    let templates = compile("name: x\nchannels:\n  webhook:\n    data: {n: '{{ n }}'}\n");
    let payload = json!({"n": 4});

    let webhook = render_event(&templates, "x", Channel::Webhook, "x", &payload).unwrap();
    let sms = render_event(&templates, "x", Channel::Sms, "x", &payload).unwrap();

    assert_eq!(webhook.data, Some(json!({"n": 4})));
    assert_eq!(sms.body, "N: 4");
}

#[test]
fn a_null_is_shown_as_nothing_and_stays_one_in_structured_data() {
    let templates = compile(
        "name: x\nchannels:\n  sms: {body: '[{{ n }}]'}\n  webhook: {data: {n: '{{ n }}'}}\n",
    );
    let message =
        |channel| render_event(&templates, "x", channel, "x", &json!({"n": null})).unwrap();

    assert_eq!(message(Channel::Sms).body, "[]");
    assert_eq!(message(Channel::Webhook).data, Some(json!({"n": null})));
}

#[test]
fn a_line_break_in_a_subject_becomes_a_space() {
    let templates =
        compile("name: x\nchannels:\n  email:\n    subject: 'A {{ b }}'\n    body: c\n");
    let payload = json!({"b": "x\r\nBcc: eve@example.com"});

    let message = render_event(&templates, "x", Channel::Email, "x", &payload).unwrap();

    assert_eq!(message.subject.as_deref(), Some("A x Bcc: eve@example.com"));
}

#[test]
fn a_text_message_has_plain_spaces_and_slack_no_markup_from_a_variable() {
    let templates = compile(
        "name: x\nchannels:\n  sms:\n    body: '{{ t | time }}'\n  in_app:\n    title: t\n    message: \
         '{{ t | time }}'\n  slack:\n    text: '<{{ url }}|{{ who }}> {{ who | safe }}'\n    blocks:\n    - \
         {text: {type: mrkdwn, text: 'Hi {{ who }}'}}\n    - {text: {type: plain_text, text: '{{ who \
         }}'}, url: '{{ url }}'}\n",
    );
    let payload = json!({"t": 0, "who": "<!channel> & co", "url": "https://a.example/?a=1&b=2"});
    let message = |channel| render_event(&templates, "x", channel, "x", &payload).unwrap();

    assert_eq!(message(Channel::Sms).body, "12:00 AM UTC");
    assert_eq!(message(Channel::InApp).body, "12:00\u{202f}AM\u{a0}UTC");
    let slack = message(Channel::Slack);
    assert_eq!(
        slack.body,
        "<https://a.example/?a=1&amp;b=2|&lt;!channel&gt; &amp; co> <!channel> & co"
    );
    assert_eq!(
        slack.data,
        Some(json!({"blocks": [
            {"text": {"type": "mrkdwn", "text": "Hi &lt;!channel&gt; &amp; co"}},
            {"text": {"type": "plain_text", "text": "<!channel> & co"},
             "url": "https://a.example/?a=1&b=2"},
        ]}))
    );
}

#[test]
fn each_field_is_taken_from_the_nearest_language_that_has_it() {
    let templates = compile(
        "name: x\nchannels:\n  email: {subject: 'en s', body: 'en b {{ 1.5 | number }}', body_html: '<html>en \
         h</html>'}\n  sms: {body: en}\ntranslations:\n  pt:\n    email: {subject: 'pt s', body: 'pt b {{ \
         1.5 | number }} {{ locale }}'}\n  pt-BR:\n    email: {subject: 'br s'}\n  ar:\n    in_app: {message: \
         ar}\n",
    );
    let render = |channel, locale| {
        let rendered = render_in(&templates, "x", channel, locale).unwrap();
        let Message {
            subject,
            body,
            body_html,
            ..
        } = rendered.message;
        assert_eq!(
            body_html.is_some(),
            channel == Channel::Email,
            "{channel} in {locale}"
        );
        (rendered.locale, subject.unwrap_or_default(), body)
    };
    let said = |locale: &str, subject: &str, body: &str| {
        (locale.to_owned(), subject.to_owned(), body.to_owned())
    };

    // What is in another language is formatted as that one, what is in a nearer one as asked for.
    assert_eq!(render(Channel::Email, "en"), said("en", "en s", "en b 1.5"));
    assert_eq!(render(Channel::Email, "de"), said("en", "en s", "en b 1.5"));
    assert_eq!(render(Channel::Email, "ar"), said("en", "en s", "en b 1.5"));
    assert_eq!(
        render(Channel::Email, "pt-PT"),
        said("pt", "pt s", "pt b 1,5 pt-PT")
    );
    assert_eq!(
        render(Channel::Email, "PT-br-x-any"),
        said("pt-BR", "br s", "pt b 1,5 PT-br-x-any")
    );
    assert_eq!(render(Channel::Sms, "pt-BR"), said("en", "", "en"));
    // Words of the reader's language in another section are nearer than none at all.
    assert_eq!(render(Channel::InApp, "ar"), said("ar", "x", "ar"));
}

#[test]
fn a_mail_of_html_alone_gets_a_text_and_stands_in_the_layout_of_its_language() {
    let templates = compile(
        "name: x\nchannels:\n  email: {subject: 'A & B', body_html: '<p>Hi {{ brand.name }}</p>'}\n\
         translations:\n  ar:\n    email: {body_html: '<p>ar</p>'}\n",
    );

    let english = render_in(&templates, "x", Channel::Email, "en-GB")
        .unwrap()
        .message;
    let arabic = render_in(&templates, "x", Channel::Email, "ar-EG")
        .unwrap()
        .message;
    let german = render_in(&templates, "x", Channel::Email, "de")
        .unwrap()
        .message;

    assert_eq!(
        (english.body.as_str(), arabic.body.as_str()),
        ("Hi Postrider", "ar")
    );
    let (english, arabic) = (english.body_html.unwrap(), arabic.body_html.unwrap());
    assert!(
        english.contains("<html lang=\"en-GB\" dir=\"ltr\">"),
        "{english}"
    );
    assert!(english.contains("<title>A &amp; B</title>"), "{english}");
    assert!(
        arabic.contains("<html lang=\"ar-EG\" dir=\"rtl\">"),
        "{arabic}"
    );
    assert!(
        german
            .body_html
            .unwrap()
            .contains("<html lang=\"en\" dir=\"ltr\">")
    );
}

#[test]
fn a_digest_sees_its_items_and_at_top_level_the_last() {
    let templates = compile(
        "name: x\nchannels:\n  sms:\n    body: '{{ count }} {{ first.n }} {{ last.n }} {{ n }}{% for item \
         in items %} {{ item.n }}{% endfor %}'\n",
    );
    let items = [
        json!({"n": 1}),
        json!({"n": 2, "count": 9}),
        json!({"n": 3}),
    ];

    let digest = render_digest(&templates, "x", Channel::Sms, Some(Gathered::all(&items))).unwrap();
    assert_eq!(digest.body, "3 1 3 3 1 2 3");

    let last = json!({"n": 5000});
    let shown_in_part = Gathered {
        items: &items,
        count: 5000,
        last: Some(&last),
    };
    let digest = render_digest(&templates, "x", Channel::Sms, Some(shown_in_part)).unwrap();
    assert_eq!(digest.body, "5000 1 5000 5000 1 2 3");

    let single = render_digest(&templates, "x", Channel::Sms, None).unwrap_err();
    assert!(
        matches!(single, RenderError::Evaluation { .. }),
        "{single:?}"
    );
}

#[test]
fn content_is_taken_literally_and_gets_a_subject_where_one_is_needed() {
    let in_app = literal(Channel::InApp, None, "{{ 1 + 1 }}");
    assert_eq!(in_app.body, "{{ 1 + 1 }}");
    assert_eq!(in_app.subject.as_deref(), Some("Notification"));

    let email = literal(Channel::Email, Some("Hi"), "Text");
    assert_eq!(email.subject.as_deref(), Some("Hi"));
    assert_eq!(literal(Channel::Sms, Some("Hi"), "Text").subject, None);
}

#[test]
fn an_unknown_template_is_named() {
    let templates = Templates::builtin().unwrap();

    let error = render_event(&templates, "no.such", Channel::Sms, "x", &json!({})).unwrap_err();

    assert_eq!(error.to_string(), "there is no template `no.such`");
}

#[test]
fn what_no_text_column_can_hold_is_left_out() {
    let templates = compile("name: x\nchannels:\n  sms:\n    body: '{{ \"a\\u0000b\" }}'\n");

    let message = render_event(&templates, "x", Channel::Sms, "x", &json!({})).unwrap();

    assert_eq!(message.body, "ab");
}
