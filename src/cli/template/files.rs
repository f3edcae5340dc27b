//! Files of templates: which a path means, and what is wrong with one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use render::{Source, TemplateBody, TemplateError};

use super::FILE_BYTES_MAX;
use crate::config::read_bounded;
use crate::templates::issues_of;

/// Files read by one command.
const FILES_MAX: usize = 1000;

/// How deep folders are searched.
const DEPTH_MAX: usize = 8;

/// What holds a template.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// A file, read.
#[derive(Debug)]
pub(super) struct TemplateFile {
    name: String,
    text: String,
}

/// The files that paths name, and those in folders that they name, in their order.
pub(super) fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<TemplateFile>> {
    let mut found = Vec::new();
    for path in paths {
        gather(path, 0, &mut found)?;
    }
    ensure!(
        !found.is_empty(),
        "there is no template file here; they end in .yaml, .yml or .json"
    );
    let read = |path: PathBuf| {
        let name = path.display().to_string();
        let text = read_bounded(&path, FILE_BYTES_MAX)
            .map_err(|problem| anyhow::anyhow!("{name}: could not read it: {problem}"))?;
        Ok(TemplateFile { name, text })
    };
    found.into_iter().map(read).collect()
}

fn gather(path: &Path, depth: usize, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if !path.is_dir() {
        ensure!(found.len() < FILES_MAX, "more than {FILES_MAX} files");
        found.push(path.to_owned());
        return Ok(());
    }
    ensure!(depth < DEPTH_MAX, "{}: too deep", path.display());
    let unreadable = || format!("{}: could not read it", path.display());
    let entries = fs::read_dir(path).with_context(unreadable)?;
    let mut entries = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .with_context(unreadable)?;
    entries.sort();
    for entry in entries {
        let extension = entry.extension().and_then(|it| it.to_str());
        let is_template = extension.is_some_and(|it| EXTENSIONS.contains(&it));
        if entry.is_dir() || is_template {
            gather(&entry, depth + 1, found)?;
        }
    }
    Ok(())
}

impl TemplateFile {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The template that the file holds, and tries it; or everything that is wrong with it, with
    /// its lines.
    pub(super) fn check(&self) -> Result<TemplateBody, Vec<TemplateError>> {
        let source = Source {
            file: &self.name,
            text: &self.text,
        };
        let body = source.parse()?;
        let issues = issues_of(&body);
        if issues.is_empty() {
            return Ok(body);
        }
        Err(issues.iter().map(|issue| source.locate(issue)).collect())
    }
}
