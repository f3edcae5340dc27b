//! Compiled templates: versions that somebody pinned, loaded when they are asked for and kept while
//! they are used.
//!
//! A version never changes, so nothing here is ever old; what is bounded is how much is kept.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use render::{Template, TemplateBody, TemplateIssue, Templates};
use serde_json::Value;
use store::templates::{VersionRef, load_versions};
use store::{Connection, StoreError};

/// The version of what ships with the binary.
const SHIPPED: u32 = 0;

/// Versions kept at most.
const KEPT_MAX: usize = 2000;

/// Text of the versions kept at most, as JSON. Compiled it is a few times as large.
const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How much is kept when there was too much, as a share of four.
const KEPT_AFTER: usize = 3;

/// Why a version cannot be rendered. Only what pinned it fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// None of this name was there, or none that is enabled.
    #[error("there is no template `{name}`")]
    Unknown { name: String },
    /// There is no such version, or not any more.
    #[error("version {version} of template `{name}` is gone")]
    Gone { name: String, version: u32 },
    /// It was written for another version of Postrider.
    #[error("version {version} of template `{name}` does not compile any more: {issue}")]
    Broken {
        name: String,
        version: u32,
        issue: String,
    },
}

/// A template to render, or why there is none.
pub type Text = Result<Arc<Template>, PinError>;

/// The answer to a look-up of several versions.
#[derive(Debug)]
pub struct PinnedTemplates {
    builtin: Arc<Templates>,
    stored: HashMap<VersionRef, Text>,
}

impl PinnedTemplates {
    /// Those that ship with the binary, and nothing else.
    pub(crate) fn shipped(builtin: &Arc<Templates>) -> Self {
        Self {
            builtin: Arc::clone(builtin),
            stored: HashMap::new(),
        }
    }

    /// One of the versions that were asked for; those that ship with the binary are always there.
    pub fn get(&self, wanted: &VersionRef) -> Text {
        let gone = || PinError::Gone {
            name: wanted.key.clone(),
            version: wanted.version,
        };
        if wanted.version == SHIPPED {
            return self.builtin.get(&wanted.key).cloned().ok_or_else(gone);
        }
        let stored = self.stored.get(wanted).cloned();
        stored.unwrap_or_else(|| Err(gone()))
    }
}

/// What is kept.
#[derive(Debug, Default)]
pub(crate) struct Compiled(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_version: HashMap<VersionRef, Slot>,
    bytes: usize,
    /// Counts look-ups: who was used last.
    uses: u64,
}

#[derive(Debug)]
struct Slot {
    text: Text,
    bytes: usize,
    used: u64,
}

impl Compiled {
    /// Looks versions up; what is not kept is loaded in one statement.
    pub(crate) async fn pinned(
        &self,
        connection: &mut Connection,
        builtin: &Arc<Templates>,
        wanted: &[VersionRef],
    ) -> Result<PinnedTemplates, StoreError> {
        let mut pinned = PinnedTemplates::shipped(builtin);
        let stored = || wanted.iter().filter(|it| it.version != SHIPPED);
        pinned.stored = self.kept(stored());
        let found = &mut pinned.stored;
        let missing: HashSet<_> = stored().filter(|it| !found.contains_key(*it)).collect();
        if missing.is_empty() {
            return Ok(pinned);
        }
        let missing: Vec<_> = missing.into_iter().cloned().collect();
        for loaded in load_versions(connection, &missing).await? {
            let bytes = loaded.body.to_string().len();
            let text = compile(&loaded.wanted, loaded.body);
            self.keep(loaded.wanted.clone(), text.clone(), bytes);
            found.insert(loaded.wanted, text);
            // Compiling many at once, as after a start, must not keep a thread from all others.
            tokio::task::yield_now().await;
        }
        Ok(pinned)
    }

    fn kept<'a>(&self, wanted: impl Iterator<Item = &'a VersionRef>) -> HashMap<VersionRef, Text> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let now = kept.uses;
        let mut found = HashMap::new();
        for version in wanted {
            if let Some(slot) = kept.by_version.get_mut(version) {
                slot.used = now;
                found
                    .entry(version.clone())
                    .or_insert_with(|| slot.text.clone());
            }
        }
        found
    }

    fn keep(&self, version: VersionRef, text: Text, bytes: usize) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let used = kept.uses;
        let slot = Slot { text, bytes, used };
        kept.bytes += bytes;
        if let Some(same) = kept.by_version.insert(version, slot) {
            kept.bytes -= same.bytes;
        }
        if kept.by_version.len() > KEPT_MAX || kept.bytes > KEPT_BYTES_MAX {
            kept.forget(KEPT_MAX / 4 * KEPT_AFTER, KEPT_BYTES_MAX / 4 * KEPT_AFTER);
        }
    }
}

impl Kept {
    /// Lets go of what was used longest ago, until little enough is left.
    fn forget(&mut self, versions_max: usize, bytes_max: usize) {
        let mut by_age: Vec<_> = self
            .by_version
            .iter()
            .map(|(version, slot)| (slot.used, version.clone()))
            .collect();
        by_age.sort_unstable_by_key(|(used, _)| *used);
        for (_, version) in by_age {
            if self.by_version.len() <= versions_max && self.bytes <= bytes_max {
                return;
            }
            if let Some(slot) = self.by_version.remove(&version) {
                self.bytes -= slot.bytes;
            }
        }
    }
}

fn compile(version: &VersionRef, body: Value) -> Text {
    let body = TemplateBody::parse(body)
        .map_err(|errors| errors.into_iter().map(TemplateIssue::from).collect());
    let template = body.and_then(|body| Template::compile(&body));
    template.map(Arc::new).map_err(|issues: Vec<_>| {
        let first = issues.first().map(ToString::to_string);
        PinError::Broken {
            name: version.key.clone(),
            version: version.version,
            issue: first.unwrap_or_default(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u32) -> VersionRef {
        VersionRef {
            tenant_id: "default".into(),
            key: "news".into(),
            version: number,
        }
    }

    fn text(number: u32) -> Text {
        Err(PinError::Gone {
            name: "news".into(),
            version: number,
        })
    }

    #[test]
    fn what_was_used_longest_ago_is_let_go_of_first() {
        let compiled = Compiled::default();
        for number in 0..KEPT_MAX as u32 {
            compiled.keep(version(number), text(number), 1);
        }
        assert_eq!(compiled.kept([version(0)].iter()).len(), 1);

        compiled.keep(version(9999), text(9999), 1);

        let kept = |number| !compiled.kept([version(number)].iter()).is_empty();
        assert!(kept(0) && kept(9999));
        let left = compiled.0.lock().unwrap().by_version.len();
        assert_eq!(left, KEPT_MAX / 4 * KEPT_AFTER);
    }

    #[test]
    fn long_texts_are_let_go_of_sooner() {
        let compiled = Compiled::default();
        let half = KEPT_BYTES_MAX / 2;
        for number in 0..4 {
            compiled.kept([].iter());
            compiled.keep(version(number), text(number), half);
        }

        assert!(compiled.0.lock().unwrap().bytes <= KEPT_BYTES_MAX);
        assert_eq!(compiled.kept([version(3)].iter()).len(), 1);
        assert!(compiled.kept([version(0)].iter()).is_empty());
    }

    #[test]
    fn a_version_that_cannot_be_read_says_which_and_why() {
        let body = serde_json::json!({"name": "news", "channels": {"sms": {"body": "{{ x"}}});

        let broken = compile(&version(3), body).unwrap_err();

        assert!(
            broken.to_string().starts_with(
                "version 3 of template `news` does not compile any more: /channels/sms/body"
            ),
            "{broken}"
        );
    }

    #[test]
    fn a_version_that_would_overflow_the_stack_is_broken_and_ends_nothing() {
        let sums = format!("{{{{ 1{} }}}}", "+1".repeat(60_000));
        let choices = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(5000));
        for text in [sums, choices] {
            let body = serde_json::json!({"name": "news", "channels": {"sms": {"body": text}}});

            let broken = compile(&version(3), body).unwrap_err().to_string();

            let place = "version 3 of template `news` does not compile any more: \
                         /channels/sms/body line 1: has more than ";
            assert!(broken.starts_with(place), "{broken}");
        }
    }

    #[test]
    fn a_version_whose_schema_costs_without_bound_is_broken() {
        let again = serde_json::json!({"$ref": "#"});
        let body = serde_json::json!({
            "name": "news",
            "channels": {"sms": {"body": "x"}},
            "variables": {"anyOf": [{"items": again}, {"items": again}]},
        });

        let broken = compile(&version(3), body).unwrap_err().to_string();

        assert!(broken.contains("/variables: could cost"), "{broken}");
    }
}
