//! The rules of this repository that a program can check, one test for each.
//!
//! A failure names the file and the line and says what to do. What Clippy can check is in
//! `clippy.toml` and under `[workspace.lints]` instead; this is what it cannot see: texts, names of
//! files, and which crate may depend on which.

mod tidy {
    mod documents;
    mod files;
    mod floors;
    mod repository;
    mod words;
}
