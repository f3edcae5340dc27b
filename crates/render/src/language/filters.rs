//! The filters and functions of the template language that depend on the language of the text.
//!
//! A value that cannot be what is asked for is an error that names the filter; with `default=` that
//! value is shown instead.

use std::rc::Rc;

use chrono_tz::Tz;
use icu_plurals::{PluralCategory, PluralOperands};
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::Speech;
use super::date::{DateFormatters, Moment, Style};
use super::number;
use super::speaker::Speaker;
use crate::vars::SPEECH;

/// The categories of CLDR, and so the forms that `plural` takes.
const CATEGORIES: [&str; 6] = ["zero", "one", "two", "few", "many", "other"];

/// Adds them to an environment.
pub(crate) fn install(engine: &mut Environment<'static>) {
    engine.add_filter("number", number_filter);
    engine.add_filter("percent", percent_filter);
    engine.add_filter("money", money_filter);
    engine.add_filter("date", |state: &State<'_, '_>, value, kwargs| {
        moment_filter("date", state, value, kwargs, DateFormatters::date)
    });
    engine.add_filter("time", |state: &State<'_, '_>, value, kwargs| {
        moment_filter("time", state, value, kwargs, DateFormatters::time)
    });
    engine.add_filter("datetime", |state: &State<'_, '_>, value, kwargs| {
        moment_filter("datetime", state, value, kwargs, DateFormatters::datetime)
    });
    engine.add_function("plural", plural);
    engine.add_test("numeric", |value: Value| number::decimal(&value).is_some());
    engine.add_test("timestamp", |value: Value| {
        matches!(Moment::parse(&value), Some(Moment::Instant(_)))
    });
}

fn number_filter(state: &State<'_, '_>, value: Value, kwargs: Kwargs) -> Result<Value, Error> {
    let digits = digits("number", &kwargs)?;
    let fallback = fallback(&kwargs)?;
    let Some(decimal) = number::decimal(&value) else {
        return fallback.ok_or_else(|| no_number("number", &value));
    };
    let (_, speaker) = speaking(state)?;
    Ok(number::number(speaker.decimal(), decimal, digits).into())
}

fn percent_filter(state: &State<'_, '_>, value: Value, kwargs: Kwargs) -> Result<Value, Error> {
    let digits = digits("percent", &kwargs)?;
    let fallback = fallback(&kwargs)?;
    let Some(decimal) = number::decimal(&value) else {
        return fallback.ok_or_else(|| no_number("percent", &value));
    };
    let (_, speaker) = speaking(state)?;
    let text = number::percent(speaker.decimal(), speaker.language(), decimal, digits);
    Ok(text.into())
}

fn money_filter(
    state: &State<'_, '_>,
    value: Value,
    currency: Option<Value>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let digits = digits("money", &kwargs)?;
    let fallback = fallback(&kwargs)?;
    let Some(decimal) = number::decimal(&value) else {
        return fallback.ok_or_else(|| no_number("money", &value));
    };
    let (_, speaker) = speaking(state)?;
    // An amount of nobody knows what is still an amount.
    let currency = currency.filter(|it| !it.is_none() && it.as_str() != Some(""));
    let text = match &currency {
        None => Ok(number::number(
            speaker.decimal(),
            decimal,
            digits.or(Some(2)),
        )),
        Some(code) => {
            let code = code.as_str().unwrap_or_default();
            number::money(speaker.decimal(), speaker.language(), decimal, code, digits)
        }
    };
    match (text, fallback) {
        (Ok(text), _) => Ok(text.into()),
        (Err(_unknown_currency), Some(fallback)) => Ok(fallback),
        (Err(detail), None) => Err(refused("money", &detail)),
    }
}

fn moment_filter(
    name: &str,
    state: &State<'_, '_>,
    value: Value,
    kwargs: Kwargs,
    format: impl Fn(&DateFormatters, Moment, Tz) -> Option<String>,
) -> Result<Value, Error> {
    let style = Style::parse(kwargs.get::<Option<&str>>("style")?);
    let style = style.map_err(|detail| refused(name, &detail))?;
    let fallback = fallback(&kwargs)?;
    let (zone, speaker) = speaking(state)?;
    let text = Moment::parse(&value).and_then(|moment| {
        let text = format(speaker.dates(style), moment, zone.unwrap_or(Tz::UTC))?;
        // A date is taken for what it is; a time of day must say whose it is.
        if zone.is_none() && name != "date" {
            Some(format!("{text}\u{a0}UTC"))
        } else {
            Some(text)
        }
    });
    match (text, fallback) {
        (Some(text), _) => Ok(text.into()),
        (None, Some(fallback)) => Ok(fallback),
        (None, None) => Err(no_moment(name, &value)),
    }
}

/// The form of a word that goes with a number, by the rules of the language.
fn plural(state: &State<'_, '_>, count: Value, forms: Kwargs) -> Result<Value, Error> {
    if let Some(unknown) = forms.args().find(|name| !CATEGORIES.contains(name)) {
        let known = CATEGORIES.join(", ");
        return Err(refused(
            "plural",
            &format!("has no form `{unknown}`, only {known}"),
        ));
    }
    let other = forms.get::<Option<Value>>("other")?;
    let other = other.ok_or_else(|| refused("plural", "needs the form `other`"))?;
    let Some(decimal) = number::decimal(&count) else {
        return Err(no_number("plural", &count));
    };
    let (_, speaker) = speaking(state)?;
    let category = match speaker
        .plurals()
        .category_for(PluralOperands::from(&decimal))
    {
        PluralCategory::Zero => "zero",
        PluralCategory::One => "one",
        PluralCategory::Two => "two",
        PluralCategory::Few => "few",
        PluralCategory::Many => "many",
        PluralCategory::Other => "other",
    };
    let form = forms.get::<Option<Value>>(category)?;
    forms.assert_all_used().or_else(|_unused_forms| {
        // Forms that this number does not need are none too many.
        Ok::<_, Error>(())
    })?;
    Ok(form.unwrap_or(other))
}

fn digits(filter: &str, kwargs: &Kwargs) -> Result<Option<u8>, Error> {
    let digits = kwargs.get::<Option<i64>>("digits")?;
    digits
        .map(number::check_digits)
        .transpose()
        .map_err(|detail| refused(filter, &detail))
}

/// What to show of a value that is not what it should be. The last keyword to be read: another one
/// is an error.
fn fallback(kwargs: &Kwargs) -> Result<Option<Value>, Error> {
    let fallback = kwargs.get::<Option<Value>>("default")?;
    kwargs.assert_all_used()?;
    Ok(fallback)
}

/// The language of the text that is being rendered, and the reader's zone.
fn speaking(state: &State<'_, '_>) -> Result<(Option<Tz>, Rc<Speaker>), Error> {
    let value = state.lookup(SPEECH);
    let speech = value
        .as_ref()
        .and_then(|it| it.downcast_object_ref::<Speech>());
    // Every scope has one. A text that is rendered without would be a mistake of ours.
    let speech = speech.ok_or_else(|| refused("a filter", "knows no language here"))?;
    Ok((speech.zone, Speaker::of(&speech.tag)))
}

fn no_number(filter: &str, value: &Value) -> Error {
    if value.is_undefined() {
        return undefined(filter);
    }
    refused(filter, "takes a number")
}

fn no_moment(filter: &str, value: &Value) -> Error {
    if value.is_undefined() {
        return undefined(filter);
    }
    let detail = match filter {
        "date" => "takes an RFC 3339 time, a date as 2026-01-15, or seconds since 1970",
        _ => "takes an RFC 3339 time or seconds since 1970",
    };
    refused(filter, detail)
}

fn undefined(filter: &str) -> Error {
    let detail = format!("`{filter}` was given a variable that is not there");
    Error::new(ErrorKind::UndefinedError, detail)
}

/// The words of a refusal name the filter, never the value.
fn refused(filter: &str, detail: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("`{filter}` {detail}"))
}
