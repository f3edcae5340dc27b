//! Whether a text has the shape of a language tag.
//!
//! Only the shape of BCP 47 is checked, not the registry of languages: a tag nobody has translated
//! for falls back to another, so a wrong one does no harm.

/// Characters of the longest tag that RFC 5646 asks implementations to take.
const TAG_CHARS_MAX: usize = 35;

/// Characters between two hyphens.
const SUBTAG_CHARS_MAX: usize = 8;

/// Whether `text` looks like `de`, `pt-BR` or `zh-Hant-TW`.
pub fn is_locale(text: &str) -> bool {
    let mut subtags = text.split('-');
    let is_language = subtags.next().is_some_and(|language| {
        (2..=SUBTAG_CHARS_MAX).contains(&language.len())
            && language.chars().all(|c| c.is_ascii_alphabetic())
    });
    let mut rest = subtags.map(|subtag| {
        (1..=SUBTAG_CHARS_MAX).contains(&subtag.len())
            && subtag.chars().all(|c| c.is_ascii_alphanumeric())
    });
    text.len() <= TAG_CHARS_MAX && is_language && rest.all(|is_subtag| is_subtag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_people_use_pass_and_other_texts_do_not() {
        for tag in ["de", "pt-BR", "zh-Hant-TW", "sl-rozaj-biske-1994", "es-419"] {
            assert!(is_locale(tag), "{tag}");
        }
        let long = format!("de{}", "-abcdefgh".repeat(4));
        for text in [
            "",
            "d",
            "de_DE",
            "de-",
            "-de",
            "de--DE",
            "1a",
            "дe",
            "deutschland",
            &long,
        ] {
            assert!(!is_locale(text), "{text}");
        }
    }
}
