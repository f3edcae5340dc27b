//! Which of a template's languages a reader gets, and which way it is written.

/// Languages written from right to left.
const RIGHT_TO_LEFT: [&str; 12] = [
    "ar", "arc", "ckb", "dv", "fa", "he", "iw", "ks", "ps", "sd", "ug", "ur",
];

/// Scripts written from right to left; where a tag names one, it decides.
const RIGHT_TO_LEFT_SCRIPTS: [&str; 8] = [
    "adlm", "arab", "hebr", "mand", "nkoo", "rohg", "syrc", "thaa",
];

/// `tag` in lower case and everything it falls back to, subtag by subtag from the right:
/// `zh-hant-tw`, `zh-hant`, `zh`.
///
/// That is the lookup of RFC 4647. A sibling is not used: `pt-PT` does not get `pt-BR`.
pub(crate) fn fallbacks(tag: &str) -> impl Iterator<Item = String> {
    let shorter = |tag: &String| {
        let mut rest = tag.rsplit_once('-')?.0;
        // A single letter only introduces what follows it.
        while let Some((before, single)) = rest.rsplit_once('-')
            && single.len() == 1
        {
            rest = before;
        }
        Some(rest.to_owned())
    };
    std::iter::successors(Some(tag.to_ascii_lowercase()), shorter)
}

/// `rtl` or `ltr`, as HTML says it.
pub(crate) fn dir(tag: &str) -> &'static str {
    let is_any =
        |list: &[&str], subtag: &str| list.iter().any(|it| it.eq_ignore_ascii_case(subtag));
    let mut subtags = tag.split('-');
    let language = subtags.next().unwrap_or_default();
    let script = subtags.next().filter(|it| it.len() == 4);
    let is_right_to_left = match script {
        Some(script) if script.chars().all(|c| c.is_ascii_alphabetic()) => {
            is_any(&RIGHT_TO_LEFT_SCRIPTS, script)
        }
        _ => is_any(&RIGHT_TO_LEFT, language),
    };
    if is_right_to_left { "rtl" } else { "ltr" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_loses_its_subtags_from_the_right() {
        let chain = |tag| fallbacks(tag).collect::<Vec<_>>();

        assert_eq!(chain("zh-Hant-TW"), ["zh-hant-tw", "zh-hant", "zh"]);
        assert_eq!(
            chain("ar-EG-u-nu-latn"),
            ["ar-eg-u-nu-latn", "ar-eg-u-nu", "ar-eg", "ar"]
        );
        assert_eq!(chain("en"), ["en"]);
        assert_eq!(chain(""), [""]);
    }

    #[test]
    fn the_way_a_language_runs_follows_from_its_tag() {
        for tag in ["ar", "AR-eg", "he-IL", "fa", "ur", "az-Arab", "pa-Arab-PK"] {
            assert_eq!(dir(tag), "rtl", "{tag}");
        }
        for tag in ["en", "ru", "ar-Latn", "az", "zh-Hant", "", "sl-1994"] {
            assert_eq!(dir(tag), "ltr", "{tag}");
        }
    }
}
