//! What is said in each language: plural forms against CLDR's own samples, the rest by example.

use chrono::DateTime;
use domain::{Channel, NotificationId, Priority, UserId};
use serde_json::{Value, json};

use crate::{Brand, NotificationVars, Template, TemplateBody, UserVars, Vars};

/// What `text` says in a language, to a reader in a zone.
fn say_in(
    locale: &str,
    timezone: Option<&str>,
    text: &str,
    data: &Value,
) -> Result<String, String> {
    let mut body = json!({"name": "x", "channels": {"in_app": {"title": "x", "message": text}}});
    if locale != "en" {
        body["translations"] = json!({locale: {"in_app": {"title": "x", "message": text}}});
    }
    let body = TemplateBody::parse(body).map_err(|errors| format!("{errors:?}"))?;
    let template = Template::compile(&body).map_err(|issues| issues[0].to_string())?;
    let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let vars = Vars {
        data,
        items: None,
        event: None,
        user: UserVars {
            id: &UserId::from("u1"),
            locale: Some(locale),
            timezone,
        },
        notification: NotificationVars {
            id: NotificationId::at(at),
            kind: "x",
            category: None,
            priority: Priority::Normal,
            created_at: at,
        },
        brand: &Brand::default(),
        locale,
    };
    let rendered = template.render(Channel::InApp, &vars);
    rendered
        .map(|rendered| rendered.message.body)
        .map_err(|error| error.to_issue().detail)
}

fn say(locale: &str, text: &str, data: &Value) -> String {
    say_in(locale, None, text, data).unwrap_or_else(|error| panic!("{locale} {text}: {error}"))
}

/// The cardinal samples of CLDR's `plurals.xml`: language, category, integers and decimals. `a~b`
/// stands for every number between, in steps of the last digit.
const CLDR_SAMPLES: [(&str, &str, &str); 29] = [
    ("en", "one", "1"),
    (
        "en",
        "other",
        "0 2~16 100 1000 10000 100000 1000000 0.0~1.5 10.0 100.0 1000.0",
    ),
    ("ru", "one", "1 21 31 41 51 61 71 81 101 1001"),
    ("ru", "few", "2~4 22~24 32~34 42~44 52~54 62 102 1002"),
    ("ru", "many", "0 5~19 100 1000 10000 100000 1000000"),
    (
        "ru",
        "other",
        "0.0~1.5 10.0 100.0 1000.0 10000.0 100000.0 1000000.0",
    ),
    ("ar", "zero", "0 0.0 0.00 0.000"),
    ("ar", "one", "1 1.0 1.00 1.000"),
    ("ar", "two", "2 2.0 2.00 2.000"),
    (
        "ar",
        "few",
        "3~10 103~110 1003 3.0 4.0 9.0 10.0 103.0 1003.0",
    ),
    ("ar", "many", "11~26 111 1011 11.0 12.0 18.0 111.0 1011.0"),
    (
        "ar",
        "other",
        "100~102 200~202 300~302 400~402 500~502 600 1000 10000 100000 1000000 0.1~0.9 1.1~1.7 10.1",
    ),
    ("pl", "one", "1"),
    ("pl", "few", "2~4 22~24 32~34 42~44 52~54 62 102 1002"),
    ("pl", "many", "0 5~19 100 1000 10000 100000 1000000"),
    ("pl", "other", "0.0~1.5 10.0 100.0"),
    ("fr", "one", "0 1 0.0~1.5"),
    ("fr", "many", "1000000"),
    ("fr", "other", "2~17 100 1000 10000 100000 2.0~3.5 10.0"),
    ("cy", "zero", "0"),
    ("cy", "one", "1"),
    ("cy", "two", "2"),
    ("cy", "few", "3"),
    ("cy", "many", "6"),
    ("cy", "other", "4 5 7~20 100 1000"),
    ("lt", "one", "1 21 31 41 51 61 71 81 101 1001"),
    ("lt", "few", "2~9 22~29 102 1002"),
    ("lt", "many", "0.1~0.9 1.1~1.7 10.1"),
    ("ja", "other", "0~15 100 1000 10000 100000 1000000 0.0~1.5"),
];

/// Writes `1.1~1.7` out.
fn samples(text: &str) -> Vec<String> {
    let one = |item: &str| -> Vec<String> {
        let Some((from, to)) = item.split_once('~') else {
            return vec![item.to_owned()];
        };
        let digits = from.split_once('.').map_or(0, |(_, digits)| digits.len());
        let scale = 10_f64.powi(digits as i32);
        let step = |text: &str| (text.parse::<f64>().unwrap() * scale).round() as i64;
        (step(from)..=step(to))
            .map(|n| format!("{:.digits$}", n as f64 / scale))
            .collect()
    };
    text.split(' ').flat_map(one).collect()
}

#[test]
fn every_sample_of_cldr_gets_its_plural_form() {
    let text = "{{ plural(n, zero='zero', one='one', two='two', few='few', many='many', \
                other='other') }}";
    let mut count = 0;
    for (locale, category, numbers) in CLDR_SAMPLES {
        for number in samples(numbers) {
            let said = say(locale, text, &json!({"n": number}));
            assert_eq!(said, category, "{number} in {locale}");
            count += 1;
        }
    }
    assert_eq!(count, 426);
}

#[test]
fn a_plural_form_that_is_missing_is_that_of_other() {
    let text = "{{ n }} {{ plural(n, one='файл', few='файла', many='файлов', other='файла') }}";
    let said = |n: i64| say("ru", text, &json!({"n": n}));
    for (n, words) in [
        (1, "1 файл"),
        (3, "3 файла"),
        (11, "11 файлов"),
        (101, "101 файл"),
    ] {
        assert_eq!(said(n), words);
    }
    let text = "{{ plural(n, one='file', other='files') }}";
    assert_eq!(say("ar", text, &json!({"n": 3})), "files");
    assert_eq!(say("en", text, &json!({"n": 1.0})), "file");
}

#[test]
fn a_number_is_written_as_its_language_writes_it() {
    let data = json!({"n": 1_234_567.891, "text": "1234.50", "less": -0.5, "third": 1.0 / 3.0});
    for (locale, text, expected) in [
        ("en", "{{ n | number }}", "1,234,567.891"),
        ("ru", "{{ n | number }}", "1\u{a0}234\u{a0}567,891"),
        ("ar", "{{ n | number }}", "1,234,567.891"),
        ("ar-EG", "{{ n | number }}", "١٬٢٣٤٬٥٦٧٫٨٩١"),
        ("ar-AE", "{{ n | number }}", "1,234,567.891"),
        ("ar-EG-u-nu-latn", "{{ n | number }}", "1,234,567.891"),
        ("de", "{{ n | number }}", "1.234.567,891"),
        ("hi", "{{ n | number }}", "12,34,567.891"),
        ("en", "{{ n | number(digits=1) }}", "1,234,567.9"),
        ("en", "{{ n | number(digits=0) }}", "1,234,568"),
        ("en", "{{ text | number }}", "1,234.50"),
        ("ru", "{{ text | number(digits=3) }}", "1\u{a0}234,500"),
        ("en", "{{ third | number }}", "0.33333333"),
        ("en", "{{ (0.1 + 0.2) | number }}", "0.3"),
        (
            "en",
            "{{ less | number }} {{ -0.4 | number(digits=0) }}",
            "-0.5 0",
        ),
        ("en", "{{ 2.5 | number(digits=0) }} {{ 0 | number }}", "3 0"),
        (
            "en",
            "{{ 0.8215 | percent }} {{ 1 | percent(digits=1) }}",
            "82.15% 100.0%",
        ),
        ("ru", "{{ 0.82 | percent }}", "82\u{a0}%"),
        ("ar", "{{ 0.82 | percent }}", "82\u{200e}%\u{200e}"),
        ("ar-EG", "{{ 0.82 | percent }}", "٨٢٪\u{61c}"),
        ("tr", "{{ 0.82 | percent }}", "%82"),
    ] {
        assert_eq!(say(locale, text, &data), expected, "{text} in {locale}");
    }
}

#[test]
fn money_is_written_with_the_signs_and_digits_of_its_currency() {
    let data = json!({"n": 1234.5, "code": "USD"});
    for (locale, text, expected) in [
        ("en", "{{ n | money('USD') }}", "$1,234.50"),
        ("en", "{{ -5 | money(code) }}", "-$5.00"),
        (
            "en",
            "{{ n | money('EUR') }} {{ n | money('GBP') }}",
            "€1,234.50 £1,234.50",
        ),
        ("en", "{{ n | money('JPY') }}", "¥1,235"),
        ("en", "{{ n | money(digits=1) }}", "1,234.5"),
        ("en", "{{ n | money('KWD') }}", "KWD\u{a0}1,234.500"),
        ("en", "{{ n | money('CHF') }}", "CHF\u{a0}1,234.50"),
        (
            "en",
            "{{ 0.00012345 | money('BTC') }}",
            "BTC\u{a0}0.00012345",
        ),
        ("en", "{{ 2 | money('btc') }}", "BTC\u{a0}2.00"),
        ("en", "{{ n | money('USD', digits=0) }}", "$1,235"),
        (
            "en",
            "{{ n | money }} {{ n | money('') }}",
            "1,234.50 1,234.50",
        ),
        ("en", "{{ '10.005' | money('USD') }}", "$10.01"),
        ("ru", "{{ n | money('RUB') }}", "1\u{a0}234,50\u{a0}₽"),
        ("ru", "{{ n | money('USD') }}", "1\u{a0}234,50\u{a0}$"),
        ("ru", "{{ n | money('CHF') }}", "1\u{a0}234,50\u{a0}CHF"),
        (
            "ar-EG",
            "{{ n | money('EGP') }}",
            "\u{200f}١٬٢٣٤٫٥٠\u{a0}ج.م.\u{200f}",
        ),
        (
            "ar-EG",
            "{{ n | money('USD') }}",
            "\u{200f}١٬٢٣٤٫٥٠\u{a0}US$",
        ),
        (
            "ar-AE",
            "{{ n | money('AED') }}",
            "\u{200f}1,234.50\u{a0}د.إ.\u{200f}",
        ),
        (
            "ar-EG",
            "{{ n | money('KWD') }}",
            "\u{200f}١٬٢٣٤٫٥٠٠\u{a0}د.ك.\u{200f}",
        ),
        ("de", "{{ n | money('EUR') }}", "1.234,50\u{a0}EUR"),
    ] {
        assert_eq!(say(locale, text, &data), expected, "{text} in {locale}");
    }
}

#[test]
fn a_date_is_written_as_its_language_writes_it_in_the_readers_zone() {
    let data = json!({"t": "2026-01-15T16:09:35Z", "epoch": 1_768_493_375, "ms": 1_768_493_375_000_i64,
                      "day": "2026-01-15"});
    let vilnius = Some("Europe/Vilnius");
    for (locale, zone, text, expected) in [
        ("en", None, "{{ t | date }}", "Jan 15, 2026"),
        ("en", None, "{{ t | date(style='short') }}", "1/15/2026"),
        (
            "en",
            None,
            "{{ t | date(style='long') }}",
            "January 15, 2026",
        ),
        (
            "en-GB",
            None,
            "{{ t | date(style='long') }}",
            "15 January 2026",
        ),
        ("en", None, "{{ t | time }}", "4:09\u{202f}PM\u{a0}UTC"),
        ("en", vilnius, "{{ t | time }}", "6:09\u{202f}PM"),
        (
            "en",
            vilnius,
            "{{ t | time(style='long') }}",
            "6:09:35\u{202f}PM",
        ),
        (
            "en",
            vilnius,
            "{{ t | datetime }}",
            "Jan 15, 2026, 6:09\u{202f}PM",
        ),
        (
            "en",
            vilnius,
            "{{ epoch | datetime }}",
            "Jan 15, 2026, 6:09\u{202f}PM",
        ),
        (
            "en",
            vilnius,
            "{{ ms | datetime }}",
            "Jan 15, 2026, 6:09\u{202f}PM",
        ),
        (
            "en",
            Some("Pacific/Kiritimati"),
            "{{ t | date }}",
            "Jan 16, 2026",
        ),
        (
            "en",
            Some("Pacific/Kiritimati"),
            "{{ day | date }}",
            "Jan 15, 2026",
        ),
        (
            "en",
            Some("Mars/Olympus"),
            "{{ t | time }}",
            "4:09\u{202f}PM\u{a0}UTC",
        ),
        ("ru", vilnius, "{{ t | date }}", "15 янв. 2026\u{202f}г."),
        (
            "ru",
            vilnius,
            "{{ t | datetime(style='long') }}",
            "15 января 2026\u{202f}г. в 18:09",
        ),
        (
            "ru",
            vilnius,
            "{{ t | datetime(style='short') }}",
            "15.01.2026, 18:09",
        ),
        (
            "ar-EG",
            vilnius,
            "{{ t | date(style='long') }}",
            "١٥ يناير ٢٠٢٦",
        ),
        ("ar-EG", vilnius, "{{ t | time }}", "٦:٠٩ م"),
        (
            "ar-u-nu-latn",
            vilnius,
            "{{ t | date(style='long') }}",
            "15 يناير 2026",
        ),
    ] {
        let said = say_in(locale, zone, text, &data).unwrap();
        assert_eq!(said, expected, "{text} in {locale}");
    }
}

#[test]
fn a_value_that_does_not_fit_is_an_error_that_names_the_filter_and_not_the_value() {
    let data = json!({"n": "secret", "o": {}, "b": true, "nothing": null, "far": 1e300});
    for (text, expected) in [
        ("{{ n | number }}", "`number` takes a number"),
        ("{{ b | number }}", "`number` takes a number"),
        ("{{ o | percent }}", "`percent` takes a number"),
        ("{{ nothing | money('USD') }}", "`money` takes a number"),
        ("{{ far | number }}", "`number` takes a number"),
        (
            "{{ 1 | money('US Dollar') }}",
            "`money` the currency must be a code, such as USD",
        ),
        (
            "{{ 1 | number(digits=99) }}",
            "`number` `digits` must be between 0 and 12",
        ),
        ("{{ n | date }}", "`date` takes an RFC 3339 time"),
        ("{{ far | datetime }}", "`datetime` takes an RFC 3339 time"),
        ("{{ '2026-01-15' | time }}", "`time` takes an RFC 3339 time"),
        (
            "{{ 0 | date(style='wide') }}",
            "`date` `style` must be short, medium or long",
        ),
        ("{{ plural(n, other='x') }}", "`plural` takes a number"),
        (
            "{{ plural(1, one='x') }}",
            "`plural` needs the form `other`",
        ),
        (
            "{{ plural(1, other='x', some='y') }}",
            "`plural` has no form `some`",
        ),
        ("{{ 1 | number(color='red') }}", "color"),
        ("{{ missing | number }}", "undefined"),
    ] {
        let error = say_in("en", None, text, &data).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(!error.contains("secret"), "{text}: {error}");
    }
}

#[test]
fn a_value_that_does_not_fit_can_be_shown_as_it_is() {
    let data = json!({"deadline": "16:00", "n": "a few", "code": "US Dollar"});
    for (text, expected) in [
        ("{{ deadline | datetime(default=deadline) }}", "16:00"),
        ("{{ n | number(default=n) }}", "a few"),
        ("{{ 5 | money(code, default='5 ' ~ code) }}", "5 US Dollar"),
        ("{{ 'n' if n is numeric else 'text' }}", "text"),
        ("{{ 't' if deadline is timestamp else 'text' }}", "text"),
        ("{{ 't' if '2026-01-15T16:00:00+02:00' is timestamp }}", "t"),
    ] {
        assert_eq!(say("en", text, &data), expected, "{text}");
    }
}

#[test]
fn a_text_knows_its_language_and_which_way_it_runs() {
    let text = "{{ locale }} {{ dir }} {{ user.locale }}";
    assert_eq!(say("ar", text, &json!({})), "ar rtl ar");
    assert_eq!(say("en-GB", text, &json!({})), "en-GB ltr en-GB");
}
