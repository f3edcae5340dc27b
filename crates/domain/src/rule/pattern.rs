//! Regular expressions in rules: of linear time, and of bounded size.

use regex::{Regex, RegexBuilder};

/// Longest pattern, in bytes.
const SOURCE_BYTES_MAX: usize = 1024;

/// Largest compiled pattern, in bytes. A repeated Unicode class such as `\w{20}` fits; `\w{500}`
/// does not.
const COMPILED_BYTES_MAX: usize = 256 * 1024;

/// Levels of groups in a pattern.
const NESTING_MAX: u32 = 50;

/// Compiles a pattern, or says what is wrong with it.
pub(super) fn compile(source: &str) -> Result<Regex, String> {
    if source.len() > SOURCE_BYTES_MAX {
        return Err(format!("must have at most {SOURCE_BYTES_MAX} bytes"));
    }
    let compiled = RegexBuilder::new(source)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .nest_limit(NESTING_MAX)
        .build();
    compiled.map_err(|error| {
        if matches!(error, regex::Error::CompiledTooBig(_)) {
            return "is too large a regular expression".to_owned();
        }
        // The last line says what is wrong; those above draw the pattern.
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        let detail = last.strip_prefix("error: ").unwrap_or(last);
        format!("must be a regular expression: {detail}")
    })
}
