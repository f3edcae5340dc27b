//! Measures what a message costs: `cargo run --release -p postrider-render --example cost`.

use std::hint::black_box;
use std::io::Write;

use chrono::DateTime;
use domain::{Channel, NotificationId, Priority, UserId};
use render::{
    Brand, EventVars, NotificationVars, Template, TemplateBody, Templates, UserVars, Vars,
};
use serde_json::{Value, json};

fn main() {
    let started = Instant(cpu_nanoseconds());
    let templates = Templates::builtin().expect("they compile");
    say("all built-in templates, compiled", started, 1);
    let brand = Brand::default();
    let user = UserId::from("user-1");
    let (brand, user) = (&*Box::leak(Box::new(brand)), &*Box::leak(Box::new(user)));
    let vars = |data, locale| vars(data, locale, brand, user);

    for name in ["order.filled", "plain", "risk.margin_call"] {
        let template = templates.get(name).expect("it is shipped");
        let sample: &Value = Box::leak(Box::new(Value::Object(template.body().samples[0].clone())));
        for locale in ["en", "ru", "ar"] {
            for channel in [Channel::InApp, Channel::Email] {
                measure(&format!("{name} {channel} {locale}"), 3000, || {
                    drop(black_box(template.render(channel, &vars(sample, locale))));
                });
            }
        }
    }

    let cases = [
        ("a text", "{{ a }}"),
        ("a number", "{{ n | number }}"),
        ("money", "{{ n | money('USD') }}"),
        ("a date and time", "{{ t | datetime }}"),
        ("a plural", "{{ plural(n, one='file', other='files') }}"),
    ];
    let data: &Value = Box::leak(Box::new(
        json!({"a": "b", "n": 1234.5, "t": "2026-01-15T16:09:35Z"}),
    ));
    for (what, text) in cases {
        let template = compile(&json!({"sms": {"body": text}}));
        measure(what, 20_000, || {
            drop(black_box(template.render(Channel::Sms, &vars(data, "ru"))));
        });
    }
    for (what, html) in [
        (
            "mail, two paragraphs",
            "<p>Hello</p><p>World</p>".to_owned(),
        ),
        (
            "mail, table of 20 rows",
            format!(
                "<table>{}</table>",
                "<tr><th>a</th><td>b</td></tr>".repeat(20)
            ),
        ),
        (
            "mail, own style",
            "<style>p{color:red}</style><p>Hello</p><p>World</p>".to_owned(),
        ),
        (
            "mail, a page",
            "<html><body><p>Hello</p></body></html>".to_owned(),
        ),
    ] {
        let template = compile(&json!({"email": {"subject": "s", "body": "b", "body_html": html}}));
        measure(what, 1000, || {
            drop(black_box(
                template.render(Channel::Email, &vars(data, "en")),
            ));
        });
        let template = compile(&json!({"email": {"subject": "s", "body_html": html}}));
        measure(&format!("{what}, and its text"), 1000, || {
            drop(black_box(
                template.render(Channel::Email, &vars(data, "en")),
            ));
        });
    }
    worst(&vars);
}

/// The dearest templates that are let through, with a payload as long as a request may carry.
fn worst<'a>(vars: &dyn Fn(&'a Value, &'a str) -> Vars<'a>) {
    let long: &'static Value = Box::leak(Box::new(json!({
        "text": "ab<&".repeat(250_000), "list": vec![0; 200_000],
    })));
    let copies = ["text"; 31].join(" ~ ");
    let thirds = ["text"; 10].join(" ~ ");
    let kept: Vec<_> = (0..12)
        .map(|n| format!("{{% set kept{n} = {thirds} %}}"))
        .collect();
    let kept = kept.concat();
    let styles = "p b{color:red}".repeat(1100);
    for (what, field, text) in [
        ("worst: one value of 31 payloads", "body", format!("{{{{ ({copies}) | length }}}}")),
        ("worst: twelve values of 10 payloads", "body", kept),
        ("worst: contains in a loop", "body",
            "{% for n in range(9999) %}{% if 'zz' in text %}{% endif %}{% endfor %}".to_owned()),
        ("worst: compares in a loop", "body",
            "{% set a = text ~ '1' %}{% set b = text ~ '2' %}{% for n in range(9999) %}{% if a == b \
             %}{% endif %}{% endfor %}".to_owned()),
        ("worst: lists compared in a loop", "body",
            "{% set a = list + [1] %}{% set b = list + [2] %}{% for n in range(9999) %}{% if a == b \
             %}{% endif %}{% endfor %}".to_owned()),
        ("worst: sum in a loop", "body",
            "{% for n in range(9999) %}{% set x = list | sum %}{% endfor %}".to_owned()),
        ("worst: tojson in a loop", "body",
            "{% for n in range(9999) %}{% set x = text | tojson %}{% endfor %}".to_owned()),
        ("worst: length in a loop", "body",
            "{% for n in range(9999) %}{% set x = text | length %}{% endfor %}".to_owned()),
        ("worst: captured text in a loop", "body",
            format!("{{% set x %}}{{% for n in range(24000) %}}{}{{% endfor %}}{{% endset %}}", "x".repeat(2000))),
        ("worst: loops", "body",
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}".to_owned()),
        ("worst: tags", "body_html", "<p><b>x</b></p>".repeat(4900)),
        ("worst: styles", "body_html", format!("<style>{styles}</style>{}", "<p><b>x</b></p>".repeat(500))),
        ("worst: depth", "body_html", format!("{}{}", "<div>".repeat(195), "<b>x</b>".repeat(9000))),
        ("worst: left open", "body_html",
            format!("{}{}", "<p><b><i></p>".repeat(10), "<p>x</p>".repeat(9000))),
    ] {
        let Some(template) = try_compile(&json!({"email": {"subject": "s", field: text}})) else {
            continue;
        };
        let before = peak_kilobytes();
        let started = Instant(cpu_nanoseconds());
        let made = template.render(Channel::Email, &vars(long, "en"));
        let outcome = made.map_or_else(|error| error.to_issue().detail, |_| "made".to_owned());
        say(&format!("{what} ({outcome}), peak +{} MB", (peak_kilobytes() - before) / 1024), started, 1);
    }
}

fn compile(channels: &Value) -> Template {
    try_compile(channels).expect("it compiles")
}

fn try_compile(channels: &Value) -> Option<Template> {
    let body = TemplateBody::parse(json!({"name": "x", "channels": channels}));
    let body = body.expect("it is a body");
    Template::compile(&body).ok()
}

fn vars<'a>(data: &'a Value, locale: &'a str, brand: &'a Brand, user: &'a UserId) -> Vars<'a> {
    let at = DateTime::from_timestamp(1_800_000_000, 0).expect("it is within the calendar");
    Vars {
        data,
        items: None,
        event: Some(EventVars {
            id: "event-1",
            kind: "order.filled",
            created_at: at,
        }),
        user: UserVars {
            id: user,
            locale: Some(locale),
            timezone: Some("Europe/Vilnius"),
        },
        notification: NotificationVars {
            id: NotificationId::at(at),
            kind: "order.filled",
            category: None,
            priority: Priority::Normal,
            created_at: at,
        },
        brand,
        locale,
    }
}

fn measure(what: &str, times: u32, mut run: impl FnMut()) {
    for _ in 0..times / 10 {
        run();
    }
    let started = Instant(cpu_nanoseconds());
    for _ in 0..times {
        run();
    }
    say(what, started, times);
}

fn say(what: &str, started: Instant, times: u32) {
    let micros = (cpu_nanoseconds() - started.0) / 1e3 / f64::from(times);
    writeln!(std::io::stdout(), "{micros:>12.1} µs  {what}").expect("somebody reads it");
}

fn peak_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let figure = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    figure.unwrap_or(0)
}

/// Time on a processor: what others do on the machine is not counted.
#[derive(Clone, Copy)]
struct Instant(f64);

fn cpu_nanoseconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let figure = text
        .split_whitespace()
        .next()
        .and_then(|it| it.parse().ok());
    figure.unwrap_or(0.0)
}
