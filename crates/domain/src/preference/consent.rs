//! Consent: what must not be sent to who has not agreed to it, and who has.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::decide::Suppression;
use super::{Preferences, decide};
use crate::Channel;

/// The categories that are sent only to who has agreed. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentCategories(Arc<BTreeSet<String>>);

/// What one user has agreed to, as far as it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consents {
    asked: ConsentCategories,
    /// Those that stand, the latest first.
    records: Vec<ConsentRecord>,
}

/// The record that stands of a category.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentRecord {
    pub category: String,
    /// `None` means every channel.
    pub channel: Option<Channel>,
    /// `false` where it was withdrawn.
    pub is_granted: bool,
}

impl Default for ConsentCategories {
    /// What the law of most places asks consent for.
    fn default() -> Self {
        Self::new(["marketing".to_owned()])
    }
}

impl ConsentCategories {
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(Arc::new(names.into_iter().collect()))
    }

    /// Consent is asked for nothing.
    pub fn none() -> Self {
        Self::new([])
    }

    /// By name, in order.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }

    pub fn contains(&self, category: &str) -> bool {
        self.0.contains(category)
    }
}

impl Default for Consents {
    /// Nothing is asked.
    fn default() -> Self {
        Self::new(ConsentCategories::none(), Vec::new())
    }
}

impl Consents {
    /// `records` are those that stand, the latest first.
    pub fn new(asked: ConsentCategories, records: Vec<ConsentRecord>) -> Self {
        Self { asked, records }
    }

    /// Why a category may not go over a channel, if consent is asked for it and there is none.
    ///
    /// Of the records that speak of the channel, or of every channel, the latest decides. Where
    /// there is none, who has named the category in their preferences, and has it on, has agreed.
    pub(super) fn refusal(
        &self,
        channel: Channel,
        category: Option<&str>,
        preferences: &Preferences,
    ) -> Option<Suppression> {
        let category = category.filter(|name| self.asked.contains(name))?;
        let speaks = |record: &&ConsentRecord| {
            record.category == category && record.channel.is_none_or(|of| of == channel)
        };
        let is_given = match self.records.iter().find(speaks) {
            Some(record) => record.is_granted,
            None => preferences
                .categories
                .get(category)
                .is_some_and(|said| said.enabled),
        };
        (!is_given).then(|| decide::no_consent(category))
    }
}
