//! What the built-in templates say: complete in three languages, fit for their channels, and
//! without a trace of what a payload left out.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use chrono::DateTime;
use domain::{Channel, Message, NotificationId, Priority, UserId};
use serde_json::{Map, Value, json};

use crate::section::Shape;
use crate::{Brand, EventVars, NotificationVars, PLAIN, Template, Templates, UserVars, Vars};

pub(super) const LOCALES: [&str; 3] = ["en", "ru", "ar"];

/// What calls somebody, or wakes them.
const ALARMS: [&str; 8] = [
    "circuit-breaker-alert",
    "compliance.alert",
    "infrastructure-alert",
    "liquidity.low",
    "pipeline-failure",
    "risk.margin_call",
    "risk.threshold_exceeded",
    "security-alert",
];

pub(super) fn builtin() -> &'static Templates {
    static COMPILED: LazyLock<Templates> = LazyLock::new(|| Templates::builtin().unwrap());
    &COMPILED
}

pub(super) fn render(template: &Template, channel: Channel, locale: &str, data: &Value) -> Message {
    let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let user_id = UserId::from("u1");
    let vars = Vars {
        data,
        items: None,
        brand: &Brand::default(),
        event: Some(EventVars {
            id: "event-1",
            kind: template.name(),
            created_at: now,
        }),
        user: UserVars {
            id: &user_id,
            locale: Some(locale),
            timezone: Some("Europe/Riga"),
        },
        notification: NotificationVars {
            id: NotificationId::at(now),
            kind: template.name(),
            category: None,
            priority: Priority::Normal,
            created_at: now,
        },
        locale,
    };
    let rendered = template
        .render(channel, &vars)
        .unwrap_or_else(|error| panic!("{} on {channel} in {locale}: {error:?}", template.name()));
    assert_eq!(rendered.locale, locale, "{} on {channel}", template.name());
    rendered.message
}

/// Every text of every template with every sample, and a name for it.
fn each_text(mut see: impl FnMut(&str, Channel, &str, &Value, &str, &str)) {
    for template in builtin().iter() {
        for sample in &template.body().samples {
            let sample = Value::Object(sample.clone());
            for channel in Channel::ALL {
                // A webhook carries the payload, not words.
                if channel == Channel::Webhook {
                    continue;
                }
                for locale in LOCALES {
                    let message = render(template, channel, locale, &sample);
                    let texts = [
                        ("subject", message.subject),
                        ("body", Some(message.body)),
                        ("body_html", message.body_html),
                    ];
                    for (field, text) in texts {
                        if let Some(text) = text {
                            see(template.name(), channel, locale, &sample, field, &text);
                        }
                    }
                }
            }
        }
    }
}

/// What a reader sees of HTML.
fn without_tags(html: &str) -> String {
    let mut text = String::new();
    let mut is_tag = false;
    for c in html.chars() {
        match c {
            '<' => is_tag = true,
            '>' => {
                is_tag = false;
                text.push(' ');
            }
            c if !is_tag => text.push(c),
            _ => {}
        }
    }
    text.replace("&nbsp;", " ").replace("&amp;", "&")
}

fn is_cyrillic(c: char) -> bool {
    ('\u{400}'..='\u{4ff}').contains(&c)
}

fn is_arabic(c: char) -> bool {
    ('\u{600}'..='\u{6ff}').contains(&c)
}

#[test]
fn every_template_passes_its_own_check() {
    for template in builtin().iter() {
        let issues = template.check();

        assert!(issues.is_empty(), "{}: {issues:#?}", template.name());
        let samples = template.body().samples.len();
        assert!((2..=4).contains(&samples), "{}: {samples}", template.name());
    }
}

#[test]
fn no_text_shows_a_trace_of_what_is_missing() {
    each_text(|name, channel, locale, sample, field, text| {
        let place = format!("{name} {channel}.{field} in {locale} with {sample}: {text:?}");
        // An HTML document has a style sheet, which has braces.
        let is_html = field == "body_html";
        for trace in ["None", "none", "undefined", "null", "…", "\n\n\n", "!"] {
            let is_seen = text.contains(trace) && !(is_html && trace.len() < 9);
            assert!(!is_seen, "{trace:?} in {place}");
        }
        if is_html {
            return;
        }
        for trace in [
            "{", "}", "  ", " .", " ,", "..", ": .", "()", " :", " \n", "::",
        ] {
            assert!(!text.contains(trace), "{trace:?} in {place}");
        }
        assert_eq!(text.trim(), text, "{place}");
        let only_title = name == PLAIN && field == "body";
        assert!(!text.is_empty() || only_title, "{place}");
    });
}

#[test]
fn every_template_has_the_channels_a_notice_of_its_kind_needs() {
    for template in builtin().iter() {
        let name = template.name();
        let mut needed = vec![Channel::InApp, Channel::Email, Channel::Slack];
        if name != PLAIN {
            needed.extend([Channel::Sms, Channel::Push]);
        }
        if ALARMS.contains(&name) {
            needed.extend([Channel::Voice, Channel::Pagerduty]);
        }
        for channel in needed {
            assert!(
                template.body().channels.contains_key(&channel),
                "{name}: {channel}"
            );
        }
        let email = &template.body().channels[&Channel::Email];
        assert!(email.contains_key("body") && email.contains_key("body_html"));
        assert!(template.body().description.is_some(), "{name}");
    }
}

#[test]
fn every_text_is_there_in_every_language() {
    for template in builtin().iter() {
        let body = template.body();
        for (&channel, fields) in &body.channels {
            let shape = Shape::of(channel);
            let texts = [shape.subject, shape.body, shape.body_html];
            for field in texts.into_iter().flatten() {
                let Some(english) = fields.get(field) else {
                    continue;
                };
                for locale in ["ru", "ar"] {
                    let own = &body.translations[locale][&channel];
                    let place = format!("{} {locale} {channel}.{field}", template.name());
                    assert!(own.contains_key(field), "{place} is missing");
                    assert_ne!(own[field], *english, "{place} is English");
                }
            }
        }
    }
}

#[test]
fn a_translation_is_in_its_script_and_has_no_english_in_it() {
    each_text(|name, channel, locale, sample, field, text| {
        let is_own: fn(char) -> bool = match locale {
            "ru" => is_cyrillic,
            "ar" => is_arabic,
            _ => return,
        };
        // The words of a plain notification are the sender's.
        if name == PLAIN {
            return;
        }
        let text = match field {
            "body_html" => without_tags(text),
            _ => text.to_owned(),
        };
        let place = format!("{name} {channel}.{field} in {locale} with {sample}: {text:?}");
        // A digest shows what its items say.
        assert!(text.contains(is_own) || name == "digest", "{place}");
        // What the payload brings, and names: the rest has to be in the language.
        let brought = sample.to_string().to_lowercase().replace('_', " ");
        for word in text.split(|c: char| !c.is_ascii_alphabetic()) {
            let is_name = ["", "Postrider", "IP", "UTC"].contains(&word);
            // Signs of money, such as `US$`.
            let is_known = word.len() <= 2 || brought.contains(&word.to_lowercase());
            assert!(is_name || is_known, "{word:?} in {place}");
        }
    });
}

#[test]
fn a_text_message_fits_into_one_part_in_english_and_into_two_elsewhere() {
    // A part of a longer message has 67 units of UCS-2; one alone has 70.
    const UCS2_UNITS_MAX: usize = 2 * 67;
    const GSM7_SEPTETS_MAX: usize = 160;
    each_text(|name, channel, locale, sample, _, text| {
        if channel != Channel::Sms || name == PLAIN {
            return;
        }
        let place = format!("{name} in {locale} with {sample}: {text:?}");
        if locale != "en" {
            let units = text.encode_utf16().count();
            assert!(units <= UCS2_UNITS_MAX, "{units} units: {place}");
            return;
        }
        let septets: usize = text
            .chars()
            .map(|c| match c {
                '€' | '[' | ']' | '~' | '^' | '\\' | '|' => 2,
                '£' | '$' | '¥' | '@' | '\n' => 1,
                c if c.is_ascii() && !c.is_control() && c != '`' => 1,
                c => panic!("{c:?} is not in the GSM alphabet: {place}"),
            })
            .sum();
        assert!(septets <= GSM7_SEPTETS_MAX, "{septets} septets: {place}");
    });
}

#[test]
fn every_variable_that_is_described_is_used_and_the_other_way_round() {
    let ours = [
        "data",
        "event",
        "user",
        "notification",
        "brand",
        "locale",
        "dir",
        "plural",
        "either",
    ];
    for template in builtin().iter() {
        let Some(schema) = &template.body().variables else {
            assert_eq!(template.name(), PLAIN);
            continue;
        };
        let described: BTreeSet<String> = schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        let mut used = BTreeSet::new();
        for (_, text) in template.engine.templates() {
            for name in text.undeclared_variables(true) {
                let name = name.strip_prefix("data.").unwrap_or(&name).to_owned();
                if !ours.contains(&name.as_str()) && !name.contains('.') {
                    used.insert(name);
                }
            }
        }

        assert_eq!(described, used, "{}", template.name());
    }
}

#[test]
fn a_payload_nobody_meant_still_makes_a_message() {
    for template in builtin().iter() {
        let names = template.body().variables.as_ref();
        let names = names.and_then(|schema| schema["properties"].as_object());
        let keys: Vec<_> = names.into_iter().flat_map(Map::keys).cloned().collect();
        let odd = [
            Value::Null,
            json!(7),
            json!(-0.5),
            json!(true),
            json!(""),
            json!("two\nlines"),
            json!([1, {"a": null}]),
            json!({"x": {"y": "z"}}),
        ];
        for value in odd {
            let payload = keys.iter().map(|key| (key.clone(), value.clone()));
            let payload = Value::Object(payload.collect());
            for locale in LOCALES {
                for channel in Channel::ALL {
                    let message = render(template, channel, locale, &payload);

                    let has_words = !message.body.is_empty() || message.data.is_some();
                    let place = format!("{} on {channel} with {value}", template.name());
                    assert!(has_words || template.name() == PLAIN, "{place}");
                }
            }
        }
    }
}

#[test]
fn a_price_and_a_small_quantity_are_not_rounded() {
    let payload = json!({
        "symbol": "BTC", "quantity": "0.00012345", "price": 1.08453, "currency": "EUR",
    });
    let template = builtin().get("order.filled").unwrap();

    let shown = LOCALES.map(|locale| render(template, Channel::Sms, locale, &payload).body);

    assert_eq!(
        shown,
        [
            "Order filled: 0.00012345 BTC at 1.08453 EUR.",
            "Заявка исполнена: 0,00012345 BTC по цене 1,08453 EUR.",
            "تم تنفيذ أمرك: 0.00012345 BTC بسعر 1.08453 EUR.",
        ]
    );
}
