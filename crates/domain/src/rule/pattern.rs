//! Regular expressions in rules: of linear time, of bounded size, and with a price.
//!
//! A search keeps every place of the pattern that the text may stand at, so in the worst case each
//! byte costs as much as there are places. How many there may be at once is the pattern's breadth.
//! It is not the compiled size: `\w` has 319 states, of which a search is in one or two.
//!
//! Fifty patterns that are made to be slow took 0.1 to 15 ns a byte and place, on two cores shared
//! with other builds: `(a{1,100}){1,10}b|<i>` of breadth 2026, which is refused, took 0.25 s for
//! 16 KiB.

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind, Repetition};

/// Longest pattern, in bytes.
const SOURCE_BYTES_MAX: usize = 1024;

/// Largest compiled pattern, in bytes: a bound of memory, and of the time it takes to compile. Four
/// Unicode classes such as `\w` fit; `[a-z0-9_]` takes a hundredth of one.
const COMPILED_BYTES_MAX: usize = 256 * 1024;

/// Levels of groups in a pattern.
const NESTING_MAX: u32 = 50;

/// Places that the text may stand at.
const BREADTH_MAX: u64 = 512;

/// Longest text that is looked at, in bytes, where the pattern is not broad.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// Bytes times places of one search: 16 ms at worst.
const SEARCH_MAX: usize = 1 << 20;

/// What one place costs at one byte, in units of ten nanoseconds, rounded up.
const PLACE: f64 = 2.0;

/// Said of a text that is not looked at.
pub(super) const TEXT_TOO_LONG: &str = "the text is too long for the pattern";

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    regex: Regex,
    breadth: usize,
}

impl Pattern {
    /// Compiles a pattern, or says what is wrong with it.
    pub(super) fn compile(source: &str) -> Result<Self, String> {
        if source.len() > SOURCE_BYTES_MAX {
            return Err(format!("must have at most {SOURCE_BYTES_MAX} bytes"));
        }
        let mut parser = regex_syntax::ParserBuilder::new()
            .nest_limit(NESTING_MAX)
            .build();
        let tree = parser
            .parse(source)
            .map_err(|error| unreadable(&error.to_string()))?;
        let breadth = breadth_of(&tree);
        if breadth > BREADTH_MAX {
            return Err(too_large());
        }
        let compiled = RegexBuilder::new(source)
            .size_limit(COMPILED_BYTES_MAX)
            .dfa_size_limit(COMPILED_BYTES_MAX)
            .nest_limit(NESTING_MAX)
            .build();
        let regex = compiled.map_err(|error| {
            if matches!(error, regex::Error::CompiledTooBig(_)) {
                return too_large();
            }
            unreadable(&error.to_string())
        })?;
        Ok(Self {
            regex,
            breadth: usize::try_from(breadth).unwrap_or(usize::MAX).max(1),
        })
    }

    /// The longest text that it is looked for in, in bytes.
    pub(super) fn text_bytes_max(&self) -> usize {
        TEXT_BYTES_MAX.min(SEARCH_MAX / self.breadth)
    }

    /// What it costs at most to look for it in so many bytes; a longer text is not looked at.
    pub(super) fn cost(&self, text_bytes: f64) -> f64 {
        let looked_at = text_bytes.min(self.text_bytes_max() as f64);
        looked_at * self.breadth as f64 * PLACE
    }

    /// Whether it is in the text, or that this is too long to look at.
    pub(super) fn is_in(&self, text: &str) -> Result<bool, String> {
        if text.len() > self.text_bytes_max() {
            return Err(TEXT_TOO_LONG.to_owned());
        }
        Ok(self.regex.is_match(text))
    }
}

fn too_large() -> String {
    "is too large a regular expression".to_owned()
}

/// The last line says what is wrong; those above draw the pattern.
fn unreadable(error: &str) -> String {
    let last = error.lines().last().unwrap_or_default();
    let detail = last.strip_prefix("error: ").unwrap_or(last);
    format!("must be a regular expression: {detail}")
}

/// Places of a pattern that a search may be at in one moment, with the branches between them that
/// it follows on its way.
///
/// Recursion ends with the tree, whose groups are nested [`NESTING_MAX`] deep.
fn breadth_of(tree: &Hir) -> u64 {
    let sum = |parts: &[Hir]| parts.iter().map(breadth_of).fold(0, u64::saturating_add);
    match tree.kind() {
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(Class::Unicode(class)) if !class.is_ascii() => {
            // One for each byte of a character: the text decides which of them it can be.
            char::MAX.len_utf8() as u64
        }
        HirKind::Empty | HirKind::Look(_) | HirKind::Class(_) => 1,
        HirKind::Repetition(repetition) => {
            let (copies, branches) = copies_of(repetition);
            let copies = breadth_of(&repetition.sub).saturating_mul(copies);
            copies.saturating_add(branches)
        }
        HirKind::Capture(capture) => breadth_of(&capture.sub).saturating_add(2),
        HirKind::Concat(parts) => sum(parts),
        HirKind::Alternation(parts) => sum(parts).saturating_add(1 + parts.len() as u64),
    }
}

/// How often what is repeated stands in the compiled pattern, and the branches between.
fn copies_of(repetition: &Repetition) -> (u64, u64) {
    let least = u64::from(repetition.min);
    match repetition.max.map(u64::from) {
        Some(most) => (most.max(1), most.saturating_sub(least)),
        None => (least.max(1), 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_looked_for_in_sixteen_kilobytes() {
        for (source, breadth) in [
            (r"^order\.", 7),
            (r"(?i)error|fail|timeout", 20),
            (r"^[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,}$", 11),
            (r"^[\w.+-]+@[\w-]+\.[\w.-]+$", 19),
            (r"^\d{4}-\d{2}-\d{2}$", 36),
            (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", 42),
            (r"\p{L}+ [а-яё]+", 11),
            (r"^\w{4}$", 18),
        ] {
            let pattern = Pattern::compile(source).unwrap();
            assert_eq!(pattern.breadth, breadth, "{source}");
            assert_eq!(pattern.text_bytes_max(), TEXT_BYTES_MAX, "{source}");
        }
    }

    #[test]
    fn a_broad_pattern_is_looked_for_in_shorter_texts_or_refused() {
        let broad = Pattern::compile("(a{1,20}){1,10}b|<i>").unwrap();
        assert_eq!(broad.breadth, 426);
        assert_eq!(broad.text_bytes_max(), 2461);
        assert_eq!(broad.is_in(&"a".repeat(2461)), Ok(false));
        let too_long = Err(TEXT_TOO_LONG.to_owned());
        assert_eq!(broad.is_in(&"a".repeat(2462)), too_long);

        for source in [
            "(a{1,100}){1,10}b|<i>",
            "(((a?){10}){10}){10}",
            "(a{1000}){1000}",
            r"(?:\w?){200}!",
            r"\w{500}",
            r"\w{12}",
        ] {
            let error = Pattern::compile(source).unwrap_err();
            assert_eq!(error, "is too large a regular expression", "{source}");
        }
    }

    #[test]
    fn a_search_costs_its_bytes_times_its_places() {
        for source in [
            "a",
            "(a{1,20}){1,10}b",
            r"(?:[а-я]?){50}!",
            "(|a|aa|aaa){30}b",
        ] {
            let pattern = Pattern::compile(source).unwrap();
            let paid = 100.0 * pattern.breadth as f64 * PLACE;
            assert!((pattern.cost(100.0) - paid).abs() < 1.0, "{source}");
            // However long the text is.
            assert!(pattern.cost(1e9) <= SEARCH_MAX as f64 * PLACE, "{source}");
        }
    }
}
