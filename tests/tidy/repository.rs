//! Reads the repository's files, and collects what is wrong with them.

use std::collections::BTreeSet;
use std::fmt::{Display, Write as _};
use std::fs;
use std::path::Path;

pub(super) const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A text file of the repository.
pub(super) struct File {
    /// From the root, with `/` between the parts.
    pub(super) path: String,
    pub(super) text: String,
}

impl File {
    /// The lines, counted from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }
}

/// Reads one file that has to be there.
pub(super) fn file(path: &str) -> File {
    let text = fs::read_to_string(Path::new(ROOT).join(path))
        .unwrap_or_else(|error| unreadable(path, &error));
    File {
        path: path.to_owned(),
        text,
    }
}

/// Reads every file with this extension that belongs to the repository.
pub(super) fn files(extension: &str) -> Vec<File> {
    let mut paths = BTreeSet::new();
    collect(Path::new(ROOT), extension, &mut paths);
    paths.iter().map(|path| file(path)).collect()
}

fn collect(folder: &Path, extension: &str, paths: &mut BTreeSet<String>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| unreadable(folder.display(), &error));
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if path.is_dir() {
            // Build output, databases and caches are hidden or called `target` or `node_modules`.
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                collect(&path, extension, paths);
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            let path = path.strip_prefix(ROOT).unwrap_or(&path);
            paths.insert(path.to_string_lossy().replace('\\', "/"));
        }
    }
}

#[expect(
    clippy::panic,
    reason = "a test that cannot read the repository has nothing to say"
)]
fn unreadable<T>(path: impl Display, error: &std::io::Error) -> T {
    panic!("could not read {path}: {error}")
}

/// What is wrong, where, and what to do about it.
#[derive(Default)]
pub(super) struct Findings {
    text: String,
}

impl Findings {
    pub(super) fn add(&mut self, file: &File, line: usize, advice: impl Display) {
        writeln!(self.text, "{}:{line}: {advice}", file.path).expect("a string takes all text");
    }

    pub(super) fn expect_none(self) {
        assert!(self.text.is_empty(), "\n{}", self.text);
    }
}
