//! Numbers, shares and money, as a language writes them.
//!
//! Digits, separators and signs are those of CLDR by way of ICU4X: Arabic is written with the
//! digits 0 to 9, except where the region prefers its own (`ar-EG`) or the tag asks for others
//! (`ar-u-nu-arab`).
//! The patterns around them, which ICU4X does not have yet, are the small tables below: complete
//! for English, Russian and Arabic, and plain but unmistakable elsewhere.

use fixed_decimal::{Decimal, Sign, SignedRoundingMode, UnsignedRoundingMode};
use icu_decimal::DecimalFormatter;
use minijinja::Value;

/// Most digits after the point that a template may ask for.
const DIGITS_MAX: u8 = 12;

/// Digits after the point of a number that says nothing of them: what is left of a third, and what
/// the smallest part of a coin needs.
const DIGITS_DEFAULT: u8 = 8;

/// Characters of the longest text that is taken for a number.
const NUMBER_CHARS_MAX: usize = 40;

/// Languages that set a space before the percent sign, after CLDR's `#,##0 %`.
const SPACED_PERCENT: [&str; 19] = [
    "be", "bg", "ca", "cs", "da", "de", "es", "fi", "fr", "hr", "lt", "nb", "nn", "no", "ro", "ru",
    "sk", "sl", "sv",
];

const NO_BREAK_SPACE: char = '\u{a0}';
const RIGHT_TO_LEFT_MARK: char = '\u{200f}';

/// Takes a value for a number: one, or a text that is written like one, such as `"1234.50"`.
pub(crate) fn decimal(value: &Value) -> Option<Decimal> {
    let text = match value.as_str() {
        Some(text) => text.trim().to_owned(),
        None if value.is_number() => float_or_integer(value)?,
        None => return None,
    };
    let is_plain = text.len() <= NUMBER_CHARS_MAX
        && text.contains(|c: char| c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || "+-.".contains(c));
    if !is_plain {
        return None;
    }
    let mut decimal = Decimal::try_from_str(&text).ok()?;
    if decimal.sign == Sign::Positive {
        decimal.sign = Sign::None;
    }
    decimal.absolute.trim_start();
    Some(decimal)
}

/// A number the way the engine writes it, without an exponent.
fn float_or_integer(value: &Value) -> Option<String> {
    if value.is_integer() {
        return Some(value.to_string());
    }
    let float = f64::try_from(value.clone()).ok()?;
    float.is_finite().then(|| {
        // Without the noise of binary fractions: 0.1 + 0.2 is 0.3.
        let text = format!("{float:.*}", usize::from(DIGITS_MAX));
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    })
}

/// Rounds half away from zero, as people do.
fn round(decimal: &mut Decimal, digits: u8) {
    let mode = SignedRoundingMode::Unsigned(UnsignedRoundingMode::HalfExpand);
    decimal.round_with_mode(-i16::from(digits), mode);
    if decimal.absolute.is_zero() {
        decimal.sign = Sign::None;
    }
}

/// Exactly `digits` after the point.
fn fix(decimal: &mut Decimal, digits: u8) {
    round(decimal, digits);
    decimal.absolute.pad_end(-i16::from(digits));
}

/// At most `digits` after the point.
fn limit(decimal: &mut Decimal, digits: u8) {
    if decimal.absolute.nonzero_magnitude_end() < -i16::from(digits) {
        round(decimal, digits);
        decimal.absolute.trim_end();
    }
}

/// The digits after the point that a template asked for.
pub(crate) fn check_digits(digits: i64) -> Result<u8, String> {
    match u8::try_from(digits) {
        Ok(digits) if digits <= DIGITS_MAX => Ok(digits),
        _ => Err(format!("`digits` must be between 0 and {DIGITS_MAX}")),
    }
}

pub(crate) fn number(
    formatter: &DecimalFormatter,
    mut decimal: Decimal,
    digits: Option<u8>,
) -> String {
    match digits {
        Some(digits) => fix(&mut decimal, digits),
        None => limit(&mut decimal, DIGITS_DEFAULT),
    }
    formatter.format(&decimal).to_string()
}

/// A share of one, in hundredths: 0.82 is 82 %.
pub(crate) fn percent(
    formatter: &DecimalFormatter,
    language: &str,
    mut decimal: Decimal,
    digits: Option<u8>,
) -> String {
    decimal.absolute.multiply_pow10(2);
    decimal.absolute.trim_start();
    if let Some(digits) = digits {
        fix(&mut decimal, digits);
    } else {
        limit(&mut decimal, 2);
        decimal.absolute.trim_end();
    }
    let text = formatter.format(&decimal).to_string();
    match language {
        // The sign comes with the digits.
        "ar" if text.is_ascii() => format!("{text}\u{200e}%\u{200e}"),
        "ar" => format!("{text}\u{66a}\u{61c}"),
        "tr" => format!("%{text}"),
        language if SPACED_PERCENT.contains(&language) => format!("{text}{NO_BREAK_SPACE}%"),
        _ => format!("{text}%"),
    }
}

/// A currency: its code, the digits after the point, and its signs in English, Russian and Arabic,
/// after CLDR. An empty sign is the code.
struct Currency(&'static str, u8, [&'static str; 3]);

const CURRENCIES: [Currency; 31] = [
    Currency("AED", 2, ["", "", "د.إ.\u{200f}"]),
    Currency("AMD", 2, ["", "", ""]),
    Currency("AUD", 2, ["A$", "A$", "AU$"]),
    Currency("BHD", 3, ["", "", "د.ب.\u{200f}"]),
    Currency("BRL", 2, ["R$", "R$", "R$"]),
    Currency("BTC", 8, ["", "", ""]),
    Currency("BYN", 2, ["", "", ""]),
    Currency("CAD", 2, ["CA$", "CA$", "CA$"]),
    Currency("CNY", 2, ["CN¥", "CN¥", "CN¥"]),
    Currency("EGP", 2, ["", "", "ج.م.\u{200f}"]),
    Currency("ETH", 8, ["", "", ""]),
    Currency("EUR", 2, ["€", "€", "€"]),
    Currency("GBP", 2, ["£", "£", "UK£"]),
    Currency("ILS", 2, ["₪", "₪", "₪"]),
    Currency("INR", 2, ["₹", "₹", "₹"]),
    Currency("IQD", 0, ["", "", "د.ع.\u{200f}"]),
    Currency("JOD", 3, ["", "", "د.أ.\u{200f}"]),
    Currency("JPY", 0, ["¥", "¥", "JP¥"]),
    Currency("KRW", 0, ["₩", "₩", "₩"]),
    Currency("KWD", 3, ["", "", "د.ك.\u{200f}"]),
    Currency("KZT", 2, ["", "₸", ""]),
    Currency("LYD", 3, ["", "", "د.ل.\u{200f}"]),
    Currency("MAD", 2, ["", "", "د.م.\u{200f}"]),
    Currency("OMR", 3, ["", "", "ر.ع.\u{200f}"]),
    Currency("QAR", 2, ["", "", "ر.ق.\u{200f}"]),
    Currency("RUB", 2, ["", "₽", ""]),
    Currency("SAR", 2, ["", "", "ر.س.\u{200f}"]),
    Currency("TND", 3, ["", "", "د.ت.\u{200f}"]),
    Currency("UAH", 2, ["", "₴", ""]),
    Currency("USD", 2, ["$", "$", "US$"]),
    Currency("VND", 0, ["₫", "₫", "₫"]),
];

/// Digits after the point that a coin of many digits is shown with at least.
const COIN_DIGITS_MIN: u8 = 2;

/// An amount of `code`, a currency's three letters or a coin's name.
pub(crate) fn money(
    formatter: &DecimalFormatter,
    language: &str,
    mut decimal: Decimal,
    code: &str,
    digits: Option<u8>,
) -> Result<String, String> {
    let is_code = (2..=10).contains(&code.len()) && code.bytes().all(|c| c.is_ascii_alphanumeric());
    if !is_code {
        return Err("the currency must be a code, such as USD".to_owned());
    }
    let code = code.to_ascii_uppercase();
    let currency = CURRENCIES.iter().find(|it| it.0 == code);
    let usual = currency.map_or(2, |it| it.1);
    match digits {
        Some(digits) => fix(&mut decimal, digits),
        None if usual > 3 => {
            limit(&mut decimal, usual);
            decimal.absolute.trim_end();
            decimal.absolute.pad_end(-i16::from(COIN_DIGITS_MIN));
        }
        None => fix(&mut decimal, usual),
    }
    let sign_in = |index: usize| {
        let sign = currency.map_or("", |it| it.2[index]);
        if sign.is_empty() { code.as_str() } else { sign }
    };
    Ok(match language {
        "en" => {
            let minus = if decimal.sign == Sign::Negative {
                "-"
            } else {
                ""
            };
            decimal.sign = Sign::None;
            let text = formatter.format(&decimal).to_string();
            let sign = sign_in(0);
            // A sign of letters stands apart, so that the figures begin where they begin.
            if sign.ends_with(|c: char| c.is_ascii_alphabetic()) {
                format!("{minus}{sign}{NO_BREAK_SPACE}{text}")
            } else {
                format!("{minus}{sign}{text}")
            }
        }
        "ar" => {
            let text = formatter.format(&decimal).to_string();
            format!("{RIGHT_TO_LEFT_MARK}{text}{NO_BREAK_SPACE}{}", sign_in(2))
        }
        "ru" => {
            let text = formatter.format(&decimal).to_string();
            format!("{text}{NO_BREAK_SPACE}{}", sign_in(1))
        }
        _ => {
            let text = formatter.format(&decimal).to_string();
            format!("{text}{NO_BREAK_SPACE}{code}")
        }
    })
}
