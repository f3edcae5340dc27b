//! Catalog: this process's copy of rules, templates and limits, as old as its revision says.
//!
//! [`Catalog::current`] asks the database for the revisions, once per claim, and loads again what
//! has changed since. What it answers is a snapshot: a job is decided on one, whatever changes
//! meanwhile.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    ConsentCategories, LimitBook, NamedTemplate, RuleBook, SharedRule, TemplateNames, TenantId,
};
use render::Templates;
use store::limits::list_all_limits;
use store::revisions::{Revisions, read_revisions};
use store::templates::{CHANGES_MAX, TemplateChange, VersionRef, list_changes};
use store::{Connection, StoreError};

use crate::compiled::{Compiled, PinnedTemplates};
use crate::rulebooks::{self, Books};

/// A snapshot of what is kept.
#[derive(Debug, Clone)]
pub struct Shelf {
    /// `None` before the first look.
    revisions: Option<Revisions>,
    rules: Books,
    /// Of tenants that have some of their own.
    limits: HashMap<TenantId, Arc<LimitBook>>,
    /// What holds for the others.
    default_limits: Arc<LimitBook>,
    /// What is sent only to who has agreed, as this process is told.
    consent: ConsentCategories,
    /// Those that ship with the binary, which every tenant has.
    builtin: Arc<Templates>,
    shared_names: Arc<TemplateNames>,
    /// Of the tenants that have templates of their own.
    names: HashMap<TenantId, Arc<TemplateNames>>,
}

/// The copy of one process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog {
    shelf: Arc<RwLock<Arc<Shelf>>>,
    compiled: Arc<Compiled>,
    /// When somebody last began to look, in milliseconds of Unix time.
    looked_at: Arc<AtomicI64>,
}

impl Catalog {
    /// Knows nothing yet but the templates that ship with the binary.
    pub fn new(builtin: Templates) -> Self {
        let named = builtin.names().map(|name| (name, builtin.category(name)));
        let shelf = Shelf {
            revisions: None,
            rules: Books::new(),
            shared_names: Arc::new(TemplateNames::new(named)),
            names: HashMap::new(),
            limits: HashMap::new(),
            default_limits: Arc::default(),
            consent: ConsentCategories::default(),
            builtin: Arc::new(builtin),
        };
        Self {
            shelf: Arc::new(RwLock::new(Arc::new(shelf))),
            compiled: Arc::default(),
            looked_at: Arc::default(),
        }
    }

    /// Says what is sent only to who has agreed.
    #[must_use]
    pub fn asking(self, consent: ConsentCategories) -> Self {
        let mut shelf = Shelf::clone(&self.latest());
        shelf.consent = consent;
        *self.shelf.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(shelf);
        self
    }

    /// The snapshot at the revisions of the database.
    pub async fn current(&self, connection: &mut Connection) -> Result<Arc<Shelf>, StoreError> {
        let revisions = read_revisions(connection).await?;
        let known = self.latest();
        if known.revisions == Some(revisions) {
            return Ok(known);
        }
        let mut shelf = Shelf::clone(&known);
        // Each part is loaded here if its revision differs.
        let before = known.revisions.unwrap_or_default();
        if before.templates != revisions.templates {
            shelf.load_templates(connection, before.templates).await?;
        }
        if known.revisions.map(|known| known.limits) != Some(revisions.limits) {
            shelf.limits = limits(connection).await?;
        }
        if before.rules != revisions.rules {
            shelf.rules = rulebooks::load(connection, before.rules, &known.rules).await?;
        }
        shelf.revisions = Some(revisions);
        Ok(self.put(Arc::new(shelf)))
    }

    /// Keeps a snapshot, unless somebody who looked later was faster.
    fn put(&self, shelf: Arc<Shelf>) -> Arc<Shelf> {
        let mut kept = self.shelf.write().unwrap_or_else(PoisonError::into_inner);
        if !kept.is_newer_than(&shelf) {
            *kept = Arc::clone(&shelf);
        }
        shelf
    }

    /// Versions of templates, compiled. Those that this process has not at hand are loaded in one
    /// statement.
    pub async fn pinned(
        &self,
        connection: &mut Connection,
        wanted: &[VersionRef],
    ) -> Result<PinnedTemplates, StoreError> {
        let builtin = &self.latest().builtin;
        self.compiled.pinned(connection, builtin, wanted).await
    }

    /// Whether the last look is longer ago than `age_max`: then the caller is to look, and all
    /// others may take it that somebody does.
    pub fn begin_look(&self, now: DateTime<Utc>, age_max: TimeDelta) -> bool {
        let now = now.timestamp_millis();
        let last = self.looked_at.load(Ordering::Relaxed);
        // A clock that was set back must not keep everybody from looking.
        let is_fresh = (0..=age_max.num_milliseconds()).contains(&now.saturating_sub(last));
        !is_fresh
            && self
                .looked_at
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Keeps a tenant's rules that no database has.
    #[cfg(test)]
    pub(crate) fn keep_rules(&self, tenant: TenantId, book: RuleBook) {
        let mut kept = self.shelf.write().unwrap_or_else(PoisonError::into_inner);
        let mut shelf = Shelf::clone(&kept);
        shelf.rules.insert(tenant, Arc::new(book));
        *kept = Arc::new(shelf);
    }

    /// The last snapshot, without a look at the database.
    pub fn latest(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shelf {
    /// The templates that ship with the binary.
    pub fn templates(&self) -> &Arc<Templates> {
        &self.builtin
    }

    /// A version of a tenant's template: the one that was pinned, else the current one, if there is
    /// one.
    pub fn version(
        &self,
        tenant: &TenantId,
        name: &str,
        pinned: Option<u32>,
    ) -> Option<VersionRef> {
        let version = pinned.or_else(|| self.template_names(tenant).version_of(name))?;
        Some(VersionRef {
            tenant_id: tenant.clone(),
            key: domain::template_key(name),
            version,
        })
    }

    /// What routing needs to know of the templates of a tenant.
    pub fn template_names(&self, tenant: &TenantId) -> Arc<TemplateNames> {
        Arc::clone(self.names.get(tenant).unwrap_or(&self.shared_names))
    }

    /// What is sent only to who has agreed.
    pub(crate) fn consent(&self) -> &ConsentCategories {
        &self.consent
    }

    /// A tenant's rate limits.
    pub(crate) fn limits(&self, tenant: &TenantId) -> &LimitBook {
        self.limits.get(tenant).unwrap_or(&self.default_limits)
    }

    /// Whether the limits are those of `revision`.
    pub(crate) fn has_limits_of(&self, revision: i64) -> bool {
        self.revisions.is_some_and(|known| known.limits == revision)
    }

    /// The same with other rules for a tenant: those of a file that is not applied yet.
    #[must_use]
    pub fn trying(&self, tenant: TenantId, rules: RuleBook) -> Self {
        let mut shelf = self.clone();
        shelf.rules.insert(tenant, Arc::new(rules));
        shelf
    }

    /// A tenant's rules; `None` where there are none.
    pub fn rules(&self, tenant: &TenantId) -> Option<&Arc<RuleBook>> {
        self.rules.get(tenant)
    }

    /// All rules, with their tenants.
    pub(crate) fn all_rules(&self) -> impl Iterator<Item = (&TenantId, &SharedRule)> {
        let books = self.rules.iter();
        books.flat_map(|(tenant, book)| book.rules().map(move |rule| (tenant, rule)))
    }

    /// Whether it was read after `other`, in any part.
    fn is_newer_than(&self, other: &Self) -> bool {
        match (self.revisions, other.revisions) {
            (Some(own), Some(others)) => {
                own.rules > others.rules
                    || own.templates > others.templates
                    || own.limits > others.limits
            }
            _ => false,
        }
    }

    /// Takes in what has become of templates after `revision`.
    async fn load_templates(
        &mut self,
        connection: &mut Connection,
        mut revision: i64,
    ) -> Result<(), StoreError> {
        loop {
            let changes = list_changes(connection, revision).await?;
            let is_last = changes.len() < CHANGES_MAX;
            for change in changes {
                revision = change.revision;
                self.take_in(change);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn take_in(&mut self, change: TemplateChange) {
        let shared = &self.shared_names;
        let names = self.names.entry(change.tenant_id);
        let names = names.or_insert_with(|| Arc::new(TemplateNames::over(shared)));
        // Snapshots that somebody holds keep what they have.
        let names = Arc::make_mut(names);
        if change.is_removed {
            names.remove(&change.head.name);
        } else {
            names.insert(NamedTemplate {
                name: change.head.name,
                category: change.head.category,
                version: change.head.version,
                is_enabled: change.head.enabled,
            });
        }
    }
}

async fn limits(
    connection: &mut Connection,
) -> Result<HashMap<TenantId, Arc<LimitBook>>, StoreError> {
    let tenants = list_all_limits(connection).await?;
    let books = tenants
        .into_iter()
        .map(|(tenant_id, limits)| (tenant_id, Arc::new(LimitBook::new(limits))));
    Ok(books.collect())
}
