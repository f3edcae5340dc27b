//! Catalog: this process's copy of rules, templates and limits, as old as its revision says.
//!
//! [`Catalog::current`] asks the database for the revisions, once per claim, and loads again what
//! has changed since. What it answers is a snapshot: a job is decided on one, whatever changes
//! meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use domain::{LimitBook, RuleBook, TemplateNames, TenantId};
use render::Templates;
use store::limits::list_all_limits;
use store::revisions::{Revisions, read_revisions};
use store::{Connection, StoreError};

/// A snapshot of what is kept.
#[derive(Debug, Clone)]
pub struct Shelf {
    /// `None` before the first look.
    revisions: Option<Revisions>,
    rules: HashMap<TenantId, Arc<RuleBook>>,
    /// Of tenants that have some of their own.
    limits: HashMap<TenantId, Arc<LimitBook>>,
    /// What holds for the others.
    default_limits: Arc<LimitBook>,
    /// Those that ship with the binary, which every tenant has.
    builtin: Arc<Templates>,
    names: Arc<TemplateNames>,
}

/// The copy of one process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog(Arc<RwLock<Arc<Shelf>>>);

impl Catalog {
    /// Knows nothing yet but the templates that ship with the binary.
    pub fn new(builtin: Templates) -> Self {
        let named = builtin.names().map(|name| (name, builtin.category(name)));
        let names = Arc::new(TemplateNames::new(named));
        Self(Arc::new(RwLock::new(Arc::new(Shelf {
            revisions: None,
            rules: HashMap::new(),
            limits: HashMap::new(),
            default_limits: Arc::default(),
            builtin: Arc::new(builtin),
            names,
        }))))
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
        if known.revisions.map(|known| known.limits) != Some(revisions.limits) {
            shelf.limits = limits(connection).await?;
        }
        shelf.revisions = Some(revisions);
        let shelf = Arc::new(shelf);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&shelf);
        Ok(shelf)
    }

    /// The last snapshot, without a look at the database.
    pub fn latest(&self) -> Arc<Shelf> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shelf {
    /// The templates that ship with the binary.
    pub fn templates(&self) -> &Arc<Templates> {
        &self.builtin
    }

    /// What routing needs to know of the templates.
    pub(crate) fn template_names(&self) -> &Arc<TemplateNames> {
        &self.names
    }

    /// A tenant's rate limits.
    pub(crate) fn limits(&self, tenant: &TenantId) -> &LimitBook {
        self.limits.get(tenant).unwrap_or(&self.default_limits)
    }

    /// Whether the limits are those of `revision`.
    pub(crate) fn has_limits_of(&self, revision: i64) -> bool {
        self.revisions.is_some_and(|known| known.limits == revision)
    }

    /// A tenant's rules; `None` where there are none.
    pub fn rules(&self, tenant: &TenantId) -> Option<&Arc<RuleBook>> {
        self.rules.get(tenant)
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
